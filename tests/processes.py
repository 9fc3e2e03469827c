"""Work for real processes: one fit by each engine, as bits, and calls that take long."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

import mlmfast as mlm


def _named(prefix: str) -> dict[str, Callable[[], Callable[[], Any]]]:
    found = [(n, make) for n, make in globals().items() if n.startswith(prefix)]
    return {name.removeprefix(prefix): make for name, make in found}


def crossed_frame(n: int = 4_000) -> pd.DataFrame:
    """Responses of 100 levels crossed with 30."""
    rng = np.random.default_rng(7)
    g, h = rng.integers(0, 100, n), rng.integers(0, 30, n)
    x = rng.normal(size=n)
    y = x + rng.normal(size=100)[g] + rng.normal(size=30)[h] + rng.normal(size=n)
    return pd.DataFrame({"y": y, "x": x, "g": g, "h": h})


def trial_frame(n_subjects: int = 24, n_trials: int = 15) -> pd.DataFrame:
    """Autocorrelated trials of subjects who share items."""
    rng = np.random.default_rng(8)
    n = n_subjects * n_trials
    subject, trial = np.divmod(np.arange(n), n_trials)
    item, x = rng.integers(0, 12, n), rng.normal(size=n)
    y = x + rng.normal(size=12)[item] + rng.normal(size=n)
    return pd.DataFrame({"y": y, "x": x, "item": item, "subject": subject, "trial": trial})


def nested() -> list[float]:
    """More than the values from which rows are read on several threads."""
    frame = crossed_frame(150_000)
    fit = mlm.lmm("y ~ x + (1 + x | g)", frame)
    return [fit.llf, *fit.params, *fit.bse]


def crossed() -> list[float]:
    fit = mlm.lmm("y ~ x + (1 | g) + (1 | h)", crossed_frame())
    return [fit.llf, *fit.params, *fit.bse]


def iterative() -> list[float]:
    options = {"engine": "iterative"}
    fit = mlm.lmm("y ~ x + (1 | g) + (1 | h)", crossed_frame(), options=options, ddf="asymptotic")
    return [fit.llf, *fit.params]


def dense() -> list[float]:
    fit = mlm.lmm("y ~ x + (1 | item)", trial_frame(), residual="ar1(trial | subject)")
    return [fit.llf, *fit.params]


def fit_many() -> list[float]:
    model = mlm.LMM("y ~ x + (1 | g)", crossed_frame(600))
    batch = model.fit_many(model.fit().simulate(40, seed=2))
    return [*batch.llf, *batch.params.ravel()]


def bootstrap() -> list[float]:
    fit = mlm.lmm("y ~ x + (1 | g)", crossed_frame(600))
    return [*fit.bootstrap(n=60, seed=3).replicates.to_numpy().ravel()]


def fit_each() -> list[float]:
    """Data sets that are arrays, reduced side by side."""
    rng = np.random.default_rng(4)
    x, b, e = rng.normal(size=(60, 80)), rng.normal(size=(60, 10)), rng.normal(size=(60, 80))
    y = x + np.repeat(b, 8, axis=1) + e
    batch = mlm.fit_each(y=y, X=np.stack([np.ones_like(x), x], axis=2), groups=np.arange(80) // 8)
    return [*batch.llf, *batch.params.ravel()]


TASKS = (nested, crossed, iterative, dense, fit_many, fit_each, bootstrap)
WORK = {task.__name__: task for task in TASKS}


def bits(name: str) -> str:
    """The numbers of a piece of work, every bit."""
    return np.array(WORK[name](), dtype=np.float64).tobytes().hex()


def long_fit_many():
    model = mlm.LMM("y ~ x + (1 + x | g)", crossed_frame(500))
    responses = model.fit().simulate(100_000, seed=1)
    return lambda: model.fit_many(responses)


def long_bootstrap():
    fit = mlm.lmm("y ~ x + (1 + x | g)", crossed_frame(500))
    return lambda: fit.bootstrap(n=200_000, seed=1)


def long_profile():
    fit = mlm.lmm("y ~ x + (1 | g) + (1 | h)", crossed_frame(4_000))

    def call() -> None:
        for _ in range(200):
            fit.profile()

    return call


def long_influence():
    frame = crossed_frame(6_000)
    fit = mlm.lmm("y ~ x + (1 | g)", frame)

    def call() -> None:
        for _ in range(200):
            fit.influence().one_step()

    return call


def long_crossed():
    rng = np.random.default_rng(3)
    n = 100_000
    g, h = rng.integers(0, 8_000, n), rng.integers(0, 5_000, n)
    y = rng.normal(size=8_000)[g] + rng.normal(size=5_000)[h] + rng.normal(size=n)
    model = mlm.LMM("y ~ 1 + (1 | g) + (1 | h)", pd.DataFrame({"y": y, "g": g, "h": h}))
    return lambda: model.fit(options={"engine": "crossed", "schur": "dense"})


def long_iterative():
    frame = crossed_frame(300_000)
    model = mlm.LMM("y ~ x + (1 + x | g) + (1 + x | h)", frame)
    return lambda: model.fit(options={"engine": "iterative", "probes": 2_000})


def long_dense():
    frame = trial_frame(200, 20)
    model = mlm.LMM("y ~ x + (1 | item)", frame, residual="ar1(trial | subject)")
    return lambda: model.fit()


def long_structures():
    frame = trial_frame(400, 15)

    def call() -> None:
        for _ in range(50):
            mlm.compare_structures("y ~ x", frame, "trial", "subject")

    return call


#: Calls of many seconds, prepared.
LONG = _named("long_")


# -- limits of memory ----------------------------------------------------------------------------


def limited_small():
    frame = crossed_frame(200)
    return lambda: mlm.lmm("y ~ x + (1 | g)", frame)


def limited_nested():
    frame = crossed_frame(200_000)
    return lambda: mlm.lmm("y ~ x + (1 + x | g)", frame)


def limited_crossed():
    frame = _ratings(40_000, 1_500, 900)
    return lambda: mlm.lmm("y ~ 1 + (1 | g) + (1 | h)", frame)


def limited_iterative():
    frame = _ratings(200_000, 30_000, 20_000)
    options = {"engine": "iterative", "probes": 8}
    return lambda: mlm.lmm("y ~ 1 + (1 | g) + (1 | h)", frame, options=options, ddf="asymptotic")


def limited_joined():
    model = mlm.LMM("y ~ x + (1 | item)", trial_frame(110, 15), residual="ar1(trial | subject)")
    # Residuals that are held cost one evaluation a step, and no search for other minima.
    held = {"AR(1)": 0.2}
    return lambda: model.fit(hold=held, ddf="asymptotic")


def limited_visits():
    rng = np.random.default_rng(5)
    frame = trial_frame(400, 16).assign(y=rng.normal(size=6_400))
    return lambda: mlm.lmm("y ~ x", frame, residual="us(trial | subject)", ddf="asymptotic")


def limited_batch():
    model = mlm.LMM("y ~ x + (1 + x | g)", crossed_frame(500))
    responses = model.fit().simulate(1_000, seed=1)
    return lambda: model.fit_many(responses)


def _ratings(n: int, n_g: int, n_h: int) -> pd.DataFrame:
    rng = np.random.default_rng(6)
    g, h = rng.integers(0, n_g, n), rng.integers(0, n_h, n)
    y = rng.normal(size=n_g)[g] + rng.normal(size=n_h)[h] + rng.normal(size=n)
    return pd.DataFrame({"y": y, "g": g, "h": h})


def too_large_dense():
    frame = trial_frame(450, 20)
    return lambda: mlm.lmm("y ~ x + (1 | item)", frame, residual="ar1(trial | subject)")


def too_large_dense_factor():
    frame = _ratings(60_000, 25_000, 20_000)
    options = {"engine": "crossed", "schur": "dense"}
    return lambda: mlm.lmm("y ~ 1 + (1 | g) + (1 | h)", frame, options=options)


def too_large_slopes():
    rng = np.random.default_rng(9)
    names = [f"x{k}" for k in range(200)]
    frame = pd.DataFrame(rng.normal(size=(9_000, 200)), columns=names)
    frame = frame.assign(g=np.arange(9_000) % 30, y=rng.normal(size=9_000))
    return lambda: mlm.lmm(f"y ~ 1 + ({' + '.join(names)} | g)", frame)


#: Fits that memory may just allow, and megabytes beside what the process holds before them.
LIMITED = _named("limited_")
ROOM = (0, 30, 70, 90, 130, 250, 600)
TOO_LARGE = _named("too_large_")


def within_limit(name: str, limit: str, room: int) -> str:
    """What becomes of a fit in a process of its own that may take ``room`` megabytes more."""
    code = f"from tests.processes import print_limited as p; p({name!r}, {limit!r}, {room})"
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", code], capture_output=True, text=True, timeout=120
    )
    last = done.stderr.strip().rpartition("\n")[2]
    return done.stdout.strip() if done.returncode == 0 else f"died of {done.returncode}: {last}"


def print_limited(name: str, limit: str, room: int) -> None:
    """Fit under a limit and print the bits, or the MemoryError."""
    import resource

    # Parts of libraries are loaded on first use, and a limit there is an ImportError of theirs.
    import scipy.interpolate
    import scipy.linalg
    import scipy.sparse.csgraph
    import scipy.special  # noqa: F401

    held = {"AS": "VmSize:", "DATA": "VmData:"}[limit]
    call = (LIMITED | TOO_LARGE)[name]()
    lines = Path("/proc/self/status").read_text().splitlines()
    used = next(int(line.split()[1]) for line in lines if line.startswith(held))
    top = 1024 * used + room * 10**6
    resource.setrlimit(getattr(resource, f"RLIMIT_{limit}"), (top, top))
    try:
        fit = call()
    except MemoryError as error:
        print("MemoryError", error)
    else:
        print(
            "fit",
            np.array(fit.llf).tobytes().hex()[:200],
            np.array(fit.params).tobytes().hex()[:80],
        )
