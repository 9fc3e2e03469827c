"""Work for real processes: one fit by each engine, as bits, and calls that take long."""

from __future__ import annotations

import numpy as np
import pandas as pd

import mlmfast as mlm


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


WORK = {task.__name__: task for task in (nested, crossed, iterative, dense, fit_many, bootstrap)}


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
LONG = {
    name.removeprefix("long_"): make
    for name, make in list(globals().items())
    if name.startswith("long_")
}
