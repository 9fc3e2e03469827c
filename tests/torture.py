"""Odd inputs, signals, forks and limits at random: ``make torture``.

Every trial is a process of its own, so that a hang, an abort or an exit by a signal is seen. One
that goes wrong is printed with its seed, and ``python -m tests.torture --only KIND --seed SEED``
repeats it.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import signal
import subprocess
import sys
import threading
import time
import traceback
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

import mlmfast as mlm

from .processes import LIMITED, LONG, WORK, bits, within_limit

#: Seconds after which a trial counts as hanging, and within which Ctrl-C is to be answered.
HANGS, ANSWERED = 120, 1.0
#: What Ctrl-C costs besides where other work shares the processors, by processor asked for.
BUSY = 2.0


# -- inputs --------------------------------------------------------------------------------------


def _odd_numbers(rng: np.random.Generator, n: int) -> Any:
    values = rng.normal(size=n)
    some = rng.random(n) < 0.2
    choices: list[Callable[[], Any]] = [
        lambda: values,
        lambda: np.where(some, np.nan, values),
        lambda: np.where(some, np.inf, values),
        lambda: values * 10.0 ** rng.integers(-320, 300),
        lambda: np.zeros(n),
        lambda: np.full(n, np.nan),
        lambda: values + 1e15,
        lambda: rng.integers(0, 2, n).astype(bool),
        lambda: rng.integers(0, 2**63, n, dtype=np.uint64) * np.uint64(2),
        lambda: values.astype(np.float16),
        lambda: values.astype(complex),
        lambda: [str(v) for v in values],
        lambda: [None if s else v for s, v in zip(some, values, strict=True)],
        lambda: pd.array(np.where(some, None, rng.integers(0, 5, n)), dtype="Int64"),
        lambda: pd.Series(values, index=rng.permutation(n)).to_numpy(),
        lambda: np.ma.masked_array(values, some),
        lambda: pd.to_datetime(rng.integers(0, 10**9, n), unit="s"),
    ]
    return choices[rng.integers(len(choices))]()


def _odd_labels(rng: np.random.Generator, n: int) -> Any:
    codes = rng.integers(0, max(1, int(n ** rng.random())), n)
    choices: list[Callable[[], Any]] = [
        lambda: codes,
        lambda: np.arange(n),
        lambda: np.zeros(n, dtype=int),
        lambda: codes.astype(float) + 0.5,
        lambda: [f"level {c}\n\N{SNOWMAN}" for c in codes],
        lambda: pd.Categorical(codes, categories=range(-3, n + 3)),
        lambda: [None if c == 0 else str(c) for c in codes],
        lambda: [float("nan") if c == 0 else c for c in codes],
        lambda: [c if c % 2 else str(c) for c in codes.tolist()],
        lambda: codes.astype(np.uint64) + np.uint64(2**63),
        lambda: [(int(c), 1) for c in codes],
        lambda: [b"bytes %d" % c for c in codes],
    ]
    return choices[rng.integers(len(choices))]()


FORMULAS = (
    "y ~ x + (1 | g)",
    "y ~ x + (x | g)",
    "y ~ x + (x || g)",
    "y ~ x * h + (1 | g) + (1 | h)",
    "y ~ x + (1 | g/h)",
    "y ~ 0 + (1 | g)",
    "y ~ poly(x, 3) + (1 | g)",
    "y ~ C(h) + (0 + C(h) | g)",
    "log(y) ~ x + (1 | g)",
    "y ~ x",
    "y ~ x + (1 | missing)",
    "y ~ x + (1 |",
    "~ x",
    "",
    "y ~ y + (y | g)",
)
RESIDUALS = (None, None, None, "ar1(h | g)", "us(h | g)", "cs(h | g)", "sp_exp(x | g)", "no(h | g)")


def inputs(seed: int) -> str:
    """A fit or an error with words of our own."""
    rng = np.random.default_rng(seed)
    n = int(rng.choice([0, 1, 2, 3, 10, 60, 200]))
    data: dict[str, Any] = {"y": _odd_numbers(rng, n), "x": _odd_numbers(rng, n)}
    if rng.random() < 0.7:
        data["y"] = rng.normal(size=n)
    data |= {"g": _odd_labels(rng, n), "h": _odd_labels(rng, n)}
    formula = FORMULAS[rng.integers(len(FORMULAS))]
    residual = RESIDUALS[rng.integers(len(RESIDUALS))]
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            fit = mlm.lmm(formula, data, residual=residual, options={"max_iter": 50})
            str(fit.summary())
    except (mlm.MlmError, MemoryError) as error:
        if len(str(error)) < 15:
            raise AssertionError(f"{error!r} says nothing") from error
        return type(error).__name__
    numbers = np.asarray(fit.params, dtype=np.float64)
    assert not np.isinf(numbers).any(), "infinite coefficients"
    return "fit"


# -- signals, forks, limits, files ---------------------------------------------------------------


def signals(seed: int) -> str:
    """Ctrl-C at any moment of a long call; then the same bits, here and in a child."""
    rng = np.random.default_rng(seed)
    name = rng.choice(list(LONG))
    before = bits("crossed")
    call = LONG[name]()
    sent: list[float] = []

    def press() -> None:
        sent.append(time.monotonic())
        os.kill(os.getpid(), signal.SIGINT)

    threading.Timer(float(rng.uniform(0.01, 4.0)), press).start()
    try:
        call()
    except KeyboardInterrupt:
        waited = time.monotonic() - sent[0]
        share = max(1.0, BUSY * os.getloadavg()[0] / (os.cpu_count() or 1))
        assert waited < ANSWERED * share, f"{name} answered Ctrl-C after {waited:.2f} s"
    else:
        time.sleep(0 if sent else 5)
        return f"{name} was over before"
    assert bits("crossed") == before
    _in_fork("crossed", before)
    return f"{name} {waited:.3f} s"


def _in_fork(name: str, expected: str) -> None:
    with multiprocessing.get_context("fork").Pool(1) as pool:
        assert pool.apply_async(bits, (name,)).get(timeout=60) == expected, name


def forks(seed: int) -> str:
    """Children of a process whose threads compute give its bits."""
    rng = np.random.default_rng(seed)
    names = [str(name) for name in rng.choice(list(WORK), size=2)]
    before = {name: bits(name) for name in names}
    over = threading.Event()

    def compute() -> None:
        while not over.is_set():
            bits(names[0])

    threads = [threading.Thread(target=compute) for _ in range(int(rng.integers(0, 4)))]
    for thread in threads:
        thread.start()
    try:
        for name in names:
            time.sleep(float(rng.uniform(0.0, 0.2)))
            _in_fork(name, before[name])
    finally:
        over.set()
    return f"{' then '.join(names)} beside {len(threads)} threads"


def limits(seed: int) -> str:
    """A fit or a MemoryError under a limit."""
    rng = np.random.default_rng(seed)
    name, limit = str(rng.choice(list(LIMITED))), str(rng.choice(["AS", "DATA"]))
    room = int(10.0 ** rng.uniform(0.0, 3.3))
    outcome = within_limit(name, limit, room)
    assert outcome.startswith(("fit", "MemoryError")), outcome
    return f"{name} {limit} {room} MB: {outcome.split()[0]}"


KILLED = """
import sys, mlmfast as mlm
fit = mlm.lmm("Reaction ~ Days + (Days | Subject)", mlm.load_sleepstudy())
fit.to_json(sys.argv[1])
print("saved", flush=True)
while True:
    fit.to_json(sys.argv[1])
"""


def files(seed: int) -> str:
    """A process killed while it saves leaves a whole file."""
    rng = np.random.default_rng(seed)
    path = Path(f"torture-{os.getpid()}.json").absolute()
    writer = subprocess.Popen([sys.executable, "-c", KILLED, str(path)], stdout=subprocess.PIPE)
    try:
        assert writer.stdout is not None
        writer.stdout.readline()
        time.sleep(float(rng.uniform(0.0, 0.1)))
    finally:
        writer.kill()
        writer.wait()
    try:
        mlm.load(path)
    finally:
        for part in (path, *path.parent.glob(f".{path.name}.*")):
            part.unlink(missing_ok=True)
    return "whole"


TRIALS: dict[str, Callable[[int], str]] = {
    trial.__name__: trial for trial in (inputs, signals, forks, limits, files)
}
#: Trials of inputs are quick: many in one process.
MANY = 40


def one(kind: str, seed: int) -> None:
    """Run one trial in this process and say how it went."""
    seeds = range(seed * MANY, (seed + 1) * MANY) if kind == "inputs" else [seed]
    outcomes: dict[str, int] = {}
    for own in seeds:
        try:
            outcome = TRIALS[kind](own)
        except BaseException:
            traceback.print_exc()
            sys.exit(f"{kind} {own}")
        outcomes[outcome] = outcomes.get(outcome, 0) + 1
    print(", ".join(f"{k}" if n == 1 else f"{n} x {k}" for k, n in outcomes.items()))


def run(kind: str, seed: int) -> str | None:
    """Run one trial in a process of its own; what went wrong, or None."""
    command = [sys.executable, "-W", "ignore", "-m", "tests.torture", "--only", kind]
    environment = os.environ | {"RAYON_NUM_THREADS": os.environ.get("RAYON_NUM_THREADS", "2")}
    try:
        done = subprocess.run(
            [*command, "--seed", str(seed)],
            env=environment,
            capture_output=True,
            text=True,
            timeout=HANGS,
        )
    except subprocess.TimeoutExpired as error:
        return f"hangs: {error.stderr!r}"
    print(f"{kind:8} {seed:5}  {done.stdout.strip()[:110]}", flush=True)
    return None if done.returncode == 0 else f"exit {done.returncode}\n{done.stderr[-3000:]}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=9.0, help="no trial begins later")
    parser.add_argument("--seed", type=int, default=None, help="of the first trial")
    parser.add_argument("--only", choices=TRIALS, help="one trial of this kind, in this process")
    given = parser.parse_args()
    if given.only:
        one(given.only, given.seed or 0)
        return
    seed = time.time_ns() // 10**9 % 100_000 if given.seed is None else given.seed
    end, wrong, n = time.monotonic() + 60 * given.minutes, 0, 0
    while time.monotonic() < end:
        kind = list(TRIALS)[n % len(TRIALS)]
        found = run(kind, seed + n)
        if found is not None:
            wrong += 1
            print(f"{kind} with seed {seed + n}: {found}", flush=True)
        n += 1
    print(f"{n} trials, {wrong} went wrong")
    sys.exit(wrong > 0)


if __name__ == "__main__":
    main()
