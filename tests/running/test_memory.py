"""Limits of memory, as real processes: a right fit or a MemoryError with its numbers, no abort."""

from __future__ import annotations

import re
import subprocess
import sys

import pytest

from mlmfast.data.whole_files import write_whole
from mlmfast.running import memory

from ..processes import LIMITED, ROOM
from ..running.test_processes import run

linux = pytest.mark.skipif(sys.platform != "linux", reason="limits are read from /proc")

LADDER = """
import sys
from tests.processes import LIMITED, within_limit

for room in {room}:
    print(room, within_limit({name!r}, {limit!r}, room), flush=True)
"""


@linux
@pytest.mark.parametrize("limit", ["AS", "DATA"])
@pytest.mark.parametrize("name", LIMITED)
def test_under_a_limit_a_fit_is_right_or_refused(name, limit, tmp_path):
    """Each rung is a process of its own, which dies of a signal where it aborts."""
    script = LADDER.format(name=name, limit=limit, room=ROOM)
    outcomes = [line.split(maxsplit=1)[1] for line in run(script, tmp_path).splitlines()]
    assert len(outcomes) == len(ROOM)
    refused = [o for o in outcomes if o.startswith("MemoryError")]
    fits = {o for o in outcomes if o.startswith("fit")}
    assert len(refused) + sum(o.startswith("fit") for o in outcomes) == len(outcomes), outcomes
    assert len(fits) == 1, "the bits do not depend on the memory"
    assert refused, "the lowest rung is too low for any fit"


LARGE = {
    "dense": ("correlates 9,000 rows", "leave out what joins the rows"),
    "dense_factor": ("matrix of order 18,997", "leave out 'schur': 'dense'"),
    "slopes": ("20,301 covariance parameters", r"write \(\.\.\. \|\| g\)"),
}


@linux
@pytest.mark.parametrize("name", LARGE)
def test_what_is_too_large_says_how_large_and_what_to_do(name, tmp_path):
    script = f"from tests.processes import within_limit\nprint(within_limit({name!r}, 'AS', 1000))"
    outcome = run(script, tmp_path)
    what, instead = LARGE[name]
    assert re.match(rf"MemoryError .*{what}.* needs [\d.,]+ GB, and 0\.\d+ GB .*{instead}", outcome)


def test_memory_is_asked_for_before_it_is_taken(monkeypatch):
    monkeypatch.setattr(memory, "memory_left", lambda: 1e9)
    memory.check_memory(9e8, "this", "do that")
    with pytest.raises(MemoryError, match=r"this needs 0\.95 GB, and 0\.94 GB are left.*; do that"):
        memory.check_memory(9.5e8, "this", "do that")


def test_what_is_left_falls_with_what_is_held():
    script = """
import resource, numpy as np
from mlmfast.running.memory import memory_left
resource.setrlimit(resource.RLIMIT_AS, (4 << 30, 4 << 30))
before = memory_left()
held = np.ones(50_000_000)
print((before - memory_left()) / held.nbytes)
"""
    if sys.platform != "linux":
        pytest.skip("limits are read from /proc")
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )
    assert float(done.stdout) == pytest.approx(1.0, abs=0.05)


# -- files ---------------------------------------------------------------------------------------


def test_a_file_is_written_whole_or_not_at_all(tmp_path, monkeypatch):
    path = tmp_path / "fit.json"
    write_whole(path, "old")
    monkeypatch.setattr("os.replace", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
    with pytest.raises(KeyboardInterrupt):
        write_whole(path, "new")
    assert path.read_text() == "old"
    assert [p.name for p in tmp_path.iterdir()] == ["fit.json"]


def test_a_link_stays_a_link_and_permissions_stay(tmp_path):
    path, link = tmp_path / "fit.json", tmp_path / "link"
    path.write_text("old")
    path.chmod(0o640)
    link.symlink_to(path)
    write_whole(link, "new")
    assert link.is_symlink()
    assert path.read_text() == "new"
    assert path.stat().st_mode & 0o777 == 0o640


def test_a_folder_that_is_not_there_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"none/fit\.json"):
        write_whole(tmp_path / "none" / "fit.json", "{}")
