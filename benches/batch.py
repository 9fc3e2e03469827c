"""Batches: many responses on one design, many designs, with and without tests.

    python benches/batch.py                        # this build
    python benches/batch.py --before PATH          # and another's Python folder, in turns
    python benches/batch.py --growth               # against clusters, rows and fits too
    python benches/batch.py --peers glmm,lme-python,mixedlm,mcpower,statsmodels

Fits a second, best of some turns; processor time besides, which a busy machine disturbs less.
"""

from __future__ import annotations

import argparse
import gc
import json
import os
import subprocess
import sys
import time
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd

#: (fits, clusters, rows a cluster).
SIZE = (2000, 50, 10)
GROWTH = [
    *((2000, k, 10) for k in (10, 20, 50, 100, 200)),
    *((2000, 50, k) for k in (3, 10, 30, 100)),
    *((n, 50, 10) for n in (10, 100, 1000, 10000)),
]
FEW, SOME = 100, 500
FORMULA = "y ~ x + (x | g)"


def simulate(n_fits: int, clusters: int, rows: int, seed: int = 1) -> dict[str, Any]:
    """Random slopes; X of its own for each data set."""
    rng = np.random.default_rng(seed)
    g = np.repeat(np.arange(clusters), rows)
    X = np.stack([np.ones((n_fits, g.size)), rng.normal(size=(n_fits, g.size))], axis=2)
    effects = rng.normal(size=(n_fits, clusters, 2)) * [1.0, 0.5]
    noise = rng.normal(size=(n_fits, g.size))
    own = X.sum(axis=2) + (X * effects[:, g]).sum(axis=2) + noise
    same = X[0].sum(axis=1) + (X[0] * effects[:, g]).sum(axis=2) + noise
    # Variances near 0: most fits end at a singular covariance.
    small = X[0].sum(axis=1) + 0.1 * (X[0] * effects[:, g]).sum(axis=2) + noise
    holes = np.where(rng.random(same.shape) < 0.1, np.nan, same)
    every = (("same", same), ("small", small), ("holes", holes))
    turned = {name: np.ascontiguousarray(Y.T) for name, Y in every}
    return {"g": g, "X": X, "own": own, **turned}


def works(data: dict[str, Any]) -> dict[str, tuple[int, Callable[[], object]]]:
    """What is timed: number of fits, and a call."""
    import mlmfast as mlm

    g, X, own, same, small = (data[name] for name in ("g", "X", "own", "same", "small"))
    holes = data["holes"]
    n, few = len(own), min(FEW, len(own))
    model = mlm.LMM.from_arrays(own[0], X[0], groups=g, Z=X[0])
    table = pd.DataFrame({"y": own.ravel(), "x": X[:, :, 1].ravel()})
    table["g"] = np.tile(np.char.add("g", g.astype(str)), n)
    table["part"] = np.repeat(np.arange(n), g.size)
    # Other rows, and groups of other sizes, in each part.
    unequal = table[np.random.default_rng(2).random(len(table)) < 0.9]

    def loop(tests: bool) -> None:
        for k in range(few):
            fit = mlm.LMM.from_arrays(own[k], X[k], groups=g, Z=X[k]).fit()
            if tests:
                fit.pvalues  # noqa: B018

    out: dict[str, tuple[int, Callable[[], object]]] = {
        # What no batch could be faster than.
        "one pass over Y": (n, lambda: same.sum(axis=0)),
        "same X": (n, lambda: model.fit_many(same)),
        "new X, a loop": (few, lambda: loop(False)),
        "new X, a loop, tests": (few, lambda: loop(True)),
    }
    k, kr = min(SOME, n), "kenward-roger"
    out["same X, KR"] = (k, lambda: model.fit_many(same[:, :k], ddf=kr).pvalues)
    if hasattr(mlm, "fit_each"):
        out |= {
            "same X, tests": (n, lambda: model.fit_many(same).pvalues),
            "same X, singular, tests": (k, lambda: model.fit_many(small[:, :k]).pvalues),
            "new X": (n, lambda: mlm.fit_each(y=own, X=X, groups=g, Z=X)),
            "new X, tests": (n, lambda: mlm.fit_each(y=own, X=X, groups=g, Z=X).pvalues),
            "new X, KR": (
                k,
                lambda: mlm.fit_each(y=own[:k], X=X[:k], groups=g, Z=X[:k], ddf=kr).pvalues,
            ),
            "new X, intercept": (n, lambda: mlm.fit_each(y=own, X=X, groups=g)),
            "same X, holes, tests": (k, lambda: model.fit_many(holes[:, :k]).pvalues),
            "unequal parts, tests": (
                n,
                lambda: mlm.fit_each(FORMULA, unequal, by="part").pvalues,
            ),
            "parts of a table": (n, lambda: mlm.fit_each(FORMULA, table, by="part")),
            "parts, tests": (n, lambda: mlm.fit_each(FORMULA, table, by="part").pvalues),
        }
    else:
        out["same X, tests"] = (few, lambda: model.fit_many(same[:, :few]).df())
        out["same X, KR"] = (few, lambda: model.fit_many(same[:, :few]).df(kr))
    return out


def one_turn(size: tuple[int, int, int]) -> dict[str, tuple[float, float]]:
    """Fits a second by the clock and by the processor, of each work."""
    found = {}
    for name, (n, call) in works(simulate(*size)).items():
        try:
            call()
        except (AttributeError, TypeError):
            # An older build has no such call.
            continue
        # Or what earlier works left would be collected in the time of whichever comes to it.
        gc.collect()
        wall, cpu = time.perf_counter(), time.process_time()
        call()
        found[name] = (n / (time.perf_counter() - wall), n / (time.process_time() - cpu))
    return found


def turns(paths: dict[str, str], size: tuple[int, int, int], n: int) -> dict[str, dict[str, Any]]:
    """The best of n turns of each build, one build after the other in each."""
    best: dict[str, dict[str, Any]] = {name: {} for name in paths}
    for _ in range(n):
        for name, path in paths.items():
            command = [sys.executable, __file__, "--turn", json.dumps(size)]
            environment = {**os.environ, "PYTHONPATH": path, "OPENBLAS_NUM_THREADS": "1"}
            run = subprocess.run(command, env=environment, capture_output=True, check=True)
            for work, rates in json.loads(run.stdout).items():
                old = best[name].get(work, (0.0, 0.0))
                best[name][work] = [max(a, b) for a, b in zip(old, rates, strict=True)]
    return best


def show(best: dict[str, dict[str, Any]]) -> None:
    """Fits a second, and the ratio to the build before where there is one."""
    now, before = best["now"], best.get("before", {})
    print(f"{'':24}{'fits/s':>10}{'by cpu':>10}{'before':>10}{'by cpu':>10}{'ratio':>8}{'cpu':>7}")
    for work, (wall, cpu) in now.items():
        line = f"{work:24}{wall:10,.0f}{cpu:10,.0f}"
        if work in before:
            old, old_cpu = before[work]
            line += f"{old:10,.0f}{old_cpu:10,.0f}{wall / old:8.1f}{cpu / old_cpu:7.1f}"
        print(line)


def by_glmm(frame: pd.DataFrame) -> object:
    import glmm

    return glmm.fit(frame, FORMULA)


def by_statsmodels(frame: pd.DataFrame) -> object:
    # A script of this folder has the package's name.
    sys.path[:] = [path for path in sys.path if path != os.path.dirname(os.path.abspath(__file__))]
    import statsmodels.formula.api as smf

    return smf.mixedlm("y ~ x", frame, groups="g", re_formula="~x").fit()


def by_lme_python(frame: pd.DataFrame) -> object:
    import lme_python

    return lme_python.lmer(FORMULA, frame)


def by_mixedlm(frame: pd.DataFrame) -> object:
    import mixedlm

    return mixedlm.lmer(FORMULA, frame)


def mcpower_rate(n: int) -> tuple[float, float]:
    """Fits a second of its power analysis, generation of the data included."""
    from mcpower import MCPower

    def run() -> None:
        model = MCPower("y ~ x + (1 + x | g)", family="lme")
        model.set_cluster("g", ICC=0.5, n_clusters=50, random_slopes=["x"], slope_variance=0.25)
        model.set_effects("x=0.5")
        model.set_simulations(n)
        model.find_power(500, progress_callback=False, verbose=False)

    run()
    return rates(run, n)


def rates(call: Callable[[], object], n: int) -> tuple[float, float]:
    """Fits a second by the clock and by the processor."""
    wall, cpu = time.perf_counter(), time.process_time()
    call()
    return n / (time.perf_counter() - wall), n / (time.process_time() - cpu)


PEERS = {
    "glmm": by_glmm,
    "lme-python": by_lme_python,
    "mixedlm": by_mixedlm,
    "statsmodels": by_statsmodels,
}


def peers(names: list[str], n: int) -> None:
    """Fits a second of other packages, one data set after the other, formula and frame each."""
    warnings.simplefilter("ignore")
    data = simulate(*SIZE)
    frames = [
        pd.DataFrame({"y": data["own"][k], "x": data["X"][k, :, 1], "g": data["g"].astype(str)})
        for k in range(n)
    ]
    for name in names:
        try:
            if name == "mcpower":
                found = mcpower_rate(SIZE[0])
            else:
                fit = PEERS[name]
                fit(frames[0])
                found = rates(lambda fit=fit: [fit(frame) for frame in frames], n)
        except Exception as error:  # a package may raise anything
            print(f"{name:24}{type(error).__name__}: {error}"[:100])
            continue
        print(f"{name:24}{found[0]:10,.1f}{found[1]:10,.1f}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--before", help="Python folder of another build")
    parser.add_argument("--turns", type=int, default=3)
    parser.add_argument("--growth", action="store_true")
    parser.add_argument(
        "--peers",
        default="",
        help="glmm, lme-python, mixedlm, mcpower, statsmodels: where installed",
    )
    parser.add_argument("--turn", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.turn:
        print(json.dumps(one_turn(tuple(json.loads(arguments.turn)))))
        return
    here = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "python")
    paths = {"now": os.environ.get("PYTHONPATH", here)}
    if arguments.before:
        paths["before"] = arguments.before
    for size in GROWTH if arguments.growth else [SIZE]:
        print("{:,} fits, {:,} clusters of {:,} rows".format(*size))
        show(turns(paths, size, arguments.turns))
    if arguments.peers:
        peers(arguments.peers.split(","), 20)


if __name__ == "__main__":
    main()
