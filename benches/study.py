"""Simulation studies: rows of results a second, and what a study costs beside its fits.

    python benches/study.py                              # this build
    python benches/study.py --replicates 20000           # longer
    python benches/study.py --workers 2                  # and by processes
    python benches/study.py --statsmodels --simr         # and loops over others, few replicates
    python benches/study.py --mcpower VENV/bin/python    # and mcpower, by an interpreter with it
    python benches/study.py --many 1000000               # and as many fits, with peak memory

Rows are one a replicate, method and estimand, written to disk. The fits alone are `LMM.fit_many` or
`fit_each` on data that are there, with Satterthwaite's tests of all coefficients, whose part is
told. What the study costs beside them is drawing (a function of the user's is told apart),
intervals, rows and writing. mcpower counts rejections by z, or degrees of freedom of a table;
beside the study, with Satterthwaite's tests and all rows kept, stands `mlm.power` by z. Wall times;
processor time besides, which a busy machine disturbs less. simr needs R with the package.
"""

from __future__ import annotations

import argparse
import os
import resource
import shutil
import subprocess
import tempfile
import time
import warnings
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from contextlib import nullcontext
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

import mlmfast as mlm

CLUSTERS, ROWS = 30, 10
FORMULA = "y ~ t + x + (1 | g)"
ESTIMANDS = {"(Intercept)": 0.0, "t": 0.5, "x": 0.2}
G = np.repeat(np.arange(CLUSTERS), ROWS)
T = (G % 2).astype(float)
FIXED_X = np.random.default_rng(1).normal(size=G.size)


def new_x(condition: dict[str, Any], rng: np.random.Generator) -> dict[str, Any]:
    """Another covariate in each replicate."""
    x = rng.normal(size=G.size)
    return {"y": _response(x, rng), "t": T, "x": x, "g": G}


def same_x(condition: dict[str, Any], rng: np.random.Generator) -> dict[str, Any]:
    """Another response in each replicate."""
    return {"y": _response(FIXED_X, rng), "t": T, "x": FIXED_X, "g": G}


def _response(x: Any, rng: np.random.Generator) -> Any:
    effects = rng.normal(size=CLUSTERS) * 0.5
    return 0.5 * T + 0.2 * x + effects[G] + rng.normal(size=G.size)


def by_design() -> Any:
    """As `same_x`, by a design."""
    table = pd.DataFrame({"t": T, "x": FIXED_X, "g": G})
    return mlm.design(
        FORMULA, data=table, params={"t": 0.5, "x": 0.2}, varcorr={"g": 0.25}, sigma=1
    )


def drawn_by_design() -> Any:
    """As `new_x`, by a design."""
    return mlm.design(
        FORMULA,
        levels={"g": CLUSTERS, "row": ROWS, "t": [0, 1]},
        between={"t": "g"},
        covariates={"x": "normal"},
        params={"t": 0.5, "x": 0.2},
        varcorr={"g": 0.25},
        sigma=1,
    )


def statsmodels_loop(data: Any, condition: dict[str, Any]) -> Any:
    """What a loop does today."""
    import statsmodels.formula.api as smf

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return smf.mixedlm("y ~ t + x", data, groups="g").fit()


def study(generate: Any, n: int, methods: Any = None) -> mlm.Study:
    """One condition."""
    methods = methods or {"REML": mlm.Method(FORMULA)}
    return mlm.Study({"clusters": [CLUSTERS]} if callable(generate) else {"sigma": [1.0]}, generate,
                     methods, ESTIMANDS, n, seed=1)  # fmt: skip


def timed(action: Callable[[], object]) -> tuple[float, float]:
    """Wall and processor seconds."""
    wall, cpu = time.perf_counter(), time.process_time()
    action()
    return time.perf_counter() - wall, time.process_time() - cpu


def run(plan: mlm.Study, workers: int = 0) -> tuple[float, float]:
    """Seconds of a whole run into a new folder; without workers in this process."""
    folder = tempfile.mkdtemp()
    pool: Any = ProcessPoolExecutor(workers) if workers else nullcontext()
    with pool as executor:
        if executor is not None:
            list(executor.map(_warm, range(2 * workers)))
        found = timed(lambda: plan.run(Path(folder) / "s", executor=executor, progress=False))
    shutil.rmtree(folder)
    return found


class Used(NamedTuple):
    """Processor seconds and threads of a worker."""

    process: int
    seconds: float
    threads: int


def used_by_this(_: int) -> Used:
    """What this worker has used so far; asked for once each, so that none answers for another."""
    time.sleep(0.2)
    threads = len(os.listdir("/proc/self/task")) if os.path.isdir("/proc/self/task") else 0
    return Used(os.getpid(), time.process_time(), threads)


def used_by_workers(plan: mlm.Study, workers: int) -> tuple[float, float, float, int]:
    """Wall seconds of a run, processor seconds of all workers and of the parent, threads.

    Threads are the most of a worker, those of the pool itself among them.
    """
    folder = tempfile.mkdtemp()
    with ProcessPoolExecutor(workers) as pool:
        list(pool.map(_warm, range(2 * workers)))
        before = {own.process: own for own in pool.map(used_by_this, range(workers))}
        wall, parent = timed(lambda: plan.run(Path(folder) / "s", executor=pool, progress=False))
        after = {own.process: own for own in pool.map(used_by_this, range(workers))}
    shutil.rmtree(folder)
    spent = sum(own.seconds - before[own.process].seconds for own in after.values())
    return wall, spent, parent, max(own.threads for own in after.values())


def report_workers(plan: mlm.Study, workers: int) -> None:
    """What several workers are to one, by the clock and by processor time."""
    one, several = used_by_workers(plan, 1), used_by_workers(plan, workers)
    print(f"{workers} workers: {one[0] / several[0]:.2f} x one by the clock")
    for name, (wall, spent, parent, threads) in (("1", one), (str(workers), several)):
        print(
            f"    {name}: {spent:.2f} s of processor time in workers of {threads} threads at most, "
            f"{spent / int(name) / wall:.2f} of a processor each; {parent:.2f} s in the parent "
            f"({100 * parent / (spent + parent):.1f} %)"
        )
    # All workers busy, and the parent's time taken from theirs.
    possible = workers * (one[1] + one[2]) / (several[1] + several[2])
    print(f"    with {workers} free processors {possible:.2f} x by processor time")


def _warm(_: int) -> None:
    study(same_x, 2).rows(0, 0)


def fits_alone(same: bool, n: int, tests: bool = True) -> tuple[float, float]:
    """Seconds of the fits on data that are there, by the study's chunks."""
    rng = np.random.default_rng(1)
    made = [(same_x if same else new_x)({}, rng) for _ in range(n)]
    Y = np.stack([data["y"] for data in made])
    X = np.stack([np.column_stack([np.ones(G.size), T, data["x"]]) for data in made])

    def fit() -> None:
        for first in range(0, n, 1000):
            some = slice(first, first + 1000)
            if same:
                model = mlm.LMM(FORMULA, {**made[0], "g": G})
                found = model.fit_many(np.ascontiguousarray(Y[some].T))
            else:
                found = mlm.fit_each(y=Y[some], X=X[some], groups=G)
            if tests:
                found.pvalues  # noqa: B018

    return timed(fit)


def function_alone(function: Any, n: int) -> tuple[float, float]:
    """Seconds of the user's function by itself."""
    rng = np.random.default_rng(1)
    return timed(lambda: [function({}, rng) for _ in range(n)])


def draws_alone(n: int, numbers: int) -> tuple[float, float]:
    """Seconds of the normal numbers of n data sets."""
    generator = np.random.Generator(np.random.PCG64DXSM(1))
    out = np.empty(numbers)
    return timed(lambda: [generator.standard_normal(out=out) for _ in range(n)])


def report(name: str, n: int, seconds: tuple[float, float], rows: int = len(ESTIMANDS)) -> None:
    """One line."""
    wall, cpu = seconds
    each = n * rows
    print(f"{name:<34}{each / wall:>12,.0f} rows/s{each / cpu:>12,.0f} by processor time")


SIMR = """
suppressMessages(library(simr))
d <- data.frame(g = rep(1:{clusters}, each = {rows}))
d$t <- d$g %% 2; set.seed(1); d$x <- rnorm(nrow(d))
m <- makeLmer(y ~ t + x + (1 | g), fixef = c(0, 0.5, 0.2), VarCorr = 0.25, sigma = 1, data = d)
cat(system.time(powerSim(m, test = fixed("t", "sa"), nsim = {n}, progress = FALSE))[["elapsed"]])
"""


def simr_seconds(n: int) -> float | None:
    """Seconds of simr's powerSim with Satterthwaite's test; None where it is not there."""
    script = SIMR.format(clusters=CLUSTERS, rows=ROWS, n=n)
    try:
        done = subprocess.run(["Rscript", "-e", script], capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return None
    return float(done.stdout.split()[-1])


MCPOWER = """
import time, mcpower
m = mcpower.MCPower("y ~ t + x + (1|g)", family="lme")
m.set_effects("t=0.5, x=0.2")
m.set_variable_type("t=binary")
m.set_cluster("g", ICC=0.2, n_clusters={clusters})
run = lambda n: m.find_power({rows}, n_sims=n, seed=1, progress_callback=False, verbose=False)
run(200)
start, cpu = time.perf_counter(), time.process_time()
run({n})
print(mcpower.version("mcpower"), time.perf_counter() - start, time.process_time() - cpu)
"""


def mcpower_seconds(python: str, n: int) -> tuple[str, float, float]:
    """Version and seconds of mcpower's find_power of the same model, with new data in each."""
    script = MCPOWER.format(clusters=CLUSTERS, rows=G.size, n=n)
    done = subprocess.run([python, "-c", script], capture_output=True, text=True, check=True)
    version, wall, cpu = done.stdout.split()[-3:]
    return version, float(wall), float(cpu)


def power_alone(n: int) -> tuple[float, float]:
    """Seconds of `mlm.power`, which counts rejections and keeps no rows, as mcpower does."""
    how: dict[str, Any] = {"ddf": "asymptotic", "seed": 1}
    mlm.power(drawn_by_design(), "x", n=100, **how)
    return timed(lambda: mlm.power(drawn_by_design(), "x", n=n, **how))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--replicates", type=int, default=5000)
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--statsmodels", action="store_true")
    parser.add_argument("--simr", action="store_true")
    parser.add_argument("--mcpower", metavar="PYTHON")
    parser.add_argument("--many", type=int, default=0)
    arguments = parser.parse_args()
    n = arguments.replicates
    run(study(same_x, 20))
    print(f"{n:,} replicates of {G.size} rows, {CLUSTERS} clusters; {len(ESTIMANDS)} estimands")
    totals = {}
    for name, generate, same in (
        ("same X, by a design", by_design(), True),
        ("same X, by a function", same_x, True),
        ("new X, by a function", new_x, False),
        ("new X, by a design", drawn_by_design(), False),
    ):
        totals[name] = run(study(generate, n))
        alone, untested = fits_alone(same, n), fits_alone(same, n, tests=False)
        report(name, n, totals[name])
        report("    its fits and their tests alone", n, alone)
        user = function_alone(generate, n)[1] if callable(generate) else 0.0
        own = totals[name][1] - alone[1] - user
        numbers = draws_alone(n, G.size * (1 + (not same)) + CLUSTERS)[1]
        tests, fits = 1 - untested[1] / alone[1], alone[1]
        print(
            f"    of the processor time of these (tests are {tests:.2f} of it) the study takes "
            f"{own / fits:.2f}, the user's function {user / fits:.2f}, and numpy's normal numbers "
            f"would take {numbers / fits:.2f}"
        )
    if arguments.workers > 1:
        report_workers(study(new_x, 4 * n), arguments.workers)
    if arguments.statsmodels:
        few = study(new_x, 50, {"statsmodels": statsmodels_loop})
        seconds = run(few)
        report("a loop over statsmodels", 50, seconds)
        ratio = (seconds[0] / 50) / (totals["new X, by a function"][0] / n)
        print(f"    {ratio:,.0f} x the time of the study")
    if arguments.mcpower:
        version, wall, cpu = mcpower_seconds(arguments.mcpower, n)
        own = totals["new X, by a design"]
        print(
            f"mcpower {version}: {n / wall:,.0f} replicates/s, {n / cpu:,.0f} by processor time; "
            f"the study {n / own[0]:,.0f} and {n / own[1]:,.0f} "
            f"({wall / own[0]:.2f} and {cpu / own[1]:.2f} x)"
        )
        wall_own, cpu_own = power_alone(n)
        print(
            f"    mlm.power by z: {n / wall_own:,.0f} and "
            f"{n / cpu_own:,.0f} ({wall / wall_own:.2f} and {cpu / cpu_own:.2f} x)"
        )
    if arguments.many:
        seconds = run(study(by_design(), arguments.many))
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        report(f"{arguments.many:,} fits", arguments.many, seconds)
        print(f"    peak of memory {peak:,.0f} MB")
    if arguments.simr:
        found = simr_seconds(50)
        if found is None:
            print("simr: not there")
        else:
            ratio = (found / 50) / (totals["same X, by a function"][0] / n)
            print(f"simr: {50 / found:,.1f} replicates/s; {ratio:,.0f} x the time of the study")


if __name__ == "__main__":
    main()
