"""Forks, start methods, threads and Ctrl-C, as real processes: no hang, the same bits."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from ..processes import LONG

ROOT = Path(__file__).parents[2]
METHODS = ["spawn"] if sys.platform == "win32" else ["fork", "forkserver", "spawn"]
posix = pytest.mark.skipif(os.name != "posix", reason="needs fork and signals")


def run(script, tmp_path, timeout=240, **environment):
    """What a script printed; a hang or an abort is a failure."""
    path = tmp_path / "script.py"
    path.write_text(script)
    search = os.pathsep.join([str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])])
    # Two threads also where there is one processor: it is their pool that is tested.
    settings = {"RAYON_NUM_THREADS": "2", "PYTHONPATH": search, **environment}
    done = subprocess.run(
        [sys.executable, "-W", "ignore", str(path)],
        env=os.environ | settings,
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=timeout,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


START = """
import multiprocessing
from tests.processes import WORK, bits

if __name__ == "__main__":
    before = {name: bits(name) for name in WORK}
    with multiprocessing.get_context(METHOD).Pool(2) as pool:
        for name in WORK:
            assert pool.apply_async(bits, (name,)).get(timeout=60) == before[name], name
    assert {name: bits(name) for name in WORK} == before
"""


@pytest.mark.parametrize("method", METHODS)
def test_children_of_every_start_method_give_the_bits_of_their_parent(method, tmp_path):
    run(START.replace("METHOD", repr(method)), tmp_path)


EXECUTOR = """
import multiprocessing
from concurrent.futures import ProcessPoolExecutor
from tests.processes import bits

if __name__ == "__main__":
    names = ["crossed", "fit_many"] * 3
    before = [bits(name) for name in names]
    context = multiprocessing.get_context(METHOD)
    with ProcessPoolExecutor(2, mp_context=context) as pool:
        assert list(pool.map(bits, names, timeout=90)) == before
"""


@posix
@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_process_pools_work_after_a_fit(method, tmp_path):
    run(EXECUTOR.replace("METHOD", repr(method)), tmp_path)


JOBLIB = """
from joblib import Parallel, delayed
from tests.processes import bits

if __name__ == "__main__":
    names = ["crossed", "iterative", "fit_many", "dense"]
    before = [bits(name) for name in names]
    for backend in ("loky", "multiprocessing", "threading"):
        work = Parallel(n_jobs=2, backend=backend, timeout=90)
        assert work(delayed(bits)(name) for name in names) == before, backend
"""


def test_joblib_works_after_a_fit(tmp_path):
    pytest.importorskip("joblib")
    run(JOBLIB, tmp_path)


BUSY = """
import os, signal, threading, time
from tests.processes import bits

def child():
    signal.alarm(60)
    return all(bits(name) == before[name] for name in before)

before = {name: bits(name) for name in ("crossed", "iterative", "fit_many")}
stop = threading.Event()
def compute():
    while not stop.is_set():
        for name in before:
            assert bits(name) == before[name]
threads = [threading.Thread(target=compute) for _ in range(3)]
for thread in threads:
    thread.start()
for k in range(8):
    time.sleep(0.05)
    pid = os.fork()
    if pid == 0:
        os._exit(0 if child() else 1)
    assert os.waitpid(pid, 0)[1] == 0, "a child hung, died or found other bits"
stop.set()
for thread in threads:
    thread.join()
"""


@posix
def test_a_fork_while_other_threads_compute_neither_hangs_nor_changes_a_bit(tmp_path):
    run(BUSY, tmp_path)


GENERATIONS = """
import os, signal
from tests.processes import bits

before = bits("crossed")
def descend(generation):
    signal.alarm(60)
    assert bits("crossed") == before
    if generation < 3:
        pid = os.fork()
        if pid == 0:
            try:
                descend(generation + 1)
            except BaseException:
                os._exit(1)
            os._exit(0)
        assert os.waitpid(pid, 0)[1] == 0
descend(0)
"""


@posix
def test_children_of_children_compute_too(tmp_path):
    run(GENERATIONS, tmp_path)


#: Those of `LONG` whose single calls into the core take long.
LONG_IN_THE_CORE = ("crossed", "dense", "iterative")

# A call into the core that heeds the signal ends with the exception. Otherwise it returns, and then
# Python raises the exception; one that was about to return does so too: several attempts. SciPy is
# imported before, as it runs text meanwhile: of a signal that text was left by Python ends, caught
# or not.
INTERRUPTED = """
import multiprocessing, os, signal, sys, threading
import scipy.linalg, scipy.sparse.csgraph, scipy.special, scipy.stats
from mlmfast import _core
from tests.processes import LONG, bits

def interrupted(call):
    ended = []
    def watch(frame, event, function):
        if event in ("c_return", "c_exception"):
            own = getattr(function, "__self__", None)
            if own is _core or type(own).__module__.startswith("mlmfast"):
                ended.append(event)
    threading.Timer(0.7, os.kill, (os.getpid(), signal.SIGINT)).start()
    sys.setprofile(watch)
    try:
        call()
    except KeyboardInterrupt:
        return ended[-1:] == ["c_exception"]
    finally:
        sys.setprofile(None)
    raise AssertionError("the call was over before the signal")

if __name__ == "__main__":
    before = bits("crossed")
    call = LONG[NAME]()
    print(any(interrupted(call) for _ in range(ATTEMPTS)))
    assert bits("crossed") == before
    with multiprocessing.get_context("fork").Pool(1) as pool:
        assert pool.apply_async(bits, ("crossed",)).get(timeout=60) == before
"""


@posix
@pytest.mark.parametrize("name", LONG)
def test_ctrl_c_ends_the_calculation_under_way_and_everything_works_afterwards(name, tmp_path):
    attempts = 6 if name in LONG_IN_THE_CORE else 1
    script = INTERRUPTED.replace("NAME", repr(name)).replace("ATTEMPTS", str(attempts))
    in_the_core = run(script, tmp_path)
    assert in_the_core == "True\n" or name not in LONG_IN_THE_CORE


def test_one_file_starts_threads():
    """A pool that another file made would hang in a forked child."""
    source = Path(__file__).parents[2] / "src"
    files = [
        p for p in source.rglob("*.rs") if re.search(r"\brayon::|thread::spawn", p.read_text())
    ]
    assert files == [source / "running" / "threads.rs"]
