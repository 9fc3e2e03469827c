"""One small fit: from a data frame and a formula to the result, to the printed summary, a refit.

    python benches/small.py                                       # this build
    python benches/small.py --before PATH                         # and another's Python folder
    python benches/small.py --peers-python .bench-venv/bin/python # and glmm, from there

Microseconds of processor time, the least and the tenth part from below of many fits, in turns: a
busy machine disturbs the clock more.

Both print the formula, the likelihood, quartiles of the scaled residuals (so both find the random
effects), variances with SD and correlations, coefficients with errors, degrees of freedom, t and p,
and the coefficients' correlations. Satterthwaite's degrees of freedom are by exact derivatives
here and by a Hessian of differences there; AIC and BIC, the sizes of the clusters and what shows
the optimum (decrement, smallest eigenvalue, steps) are printed here besides.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
import warnings
from collections.abc import Callable
from typing import Any

from workloads import WORKLOADS, Workload

NAMES = ("W1", "W10")
#: Fits of one turn.
FITS = 150


def of_mlmfast(workload: Workload) -> dict[str, Callable[[], object]]:
    import mlmfast as mlm

    frame, formula = workload.frame(), workload.formula
    model = mlm.LMM(formula, frame)
    return {
        "result": lambda: mlm.lmm(formula, frame),
        "printed": lambda: str(mlm.lmm(formula, frame).summary()),
        "refit": model.fit,
    }


def of_glmm(workload: Workload) -> dict[str, Callable[[], object]]:
    import glmm

    frame, formula = workload.frame(), workload.formula
    return {
        "result": lambda: glmm.fit(frame, formula),
        "printed": lambda: glmm.fit(frame, formula).summary_object().text(),
    }


def measured(call: Callable[[], object]) -> tuple[float, float]:
    """The least, and the tenth part from below, in microseconds."""
    call()
    times = []
    for _ in range(FITS):
        start = time.process_time_ns()
        call()
        times.append((time.process_time_ns() - start) / 1e3)
    times.sort()
    return times[0], times[FITS // 10]


def one_turn(package: str) -> dict[str, Any]:
    warnings.simplefilter("ignore")
    make = of_glmm if package == "glmm" else of_mlmfast
    return {
        f"{name} {what}": measured(call)
        for name in NAMES
        for what, call in make(WORKLOADS[name]).items()
    }


def turn(package: str, python: str, path: str) -> dict[str, Any]:
    environment = {**os.environ, "PYTHONPATH": path, "OPENBLAS_NUM_THREADS": "1"}
    command = [python, __file__, "--turn", package]
    done = subprocess.run(command, env=environment, capture_output=True, check=True)
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--before", help="Python folder of another build")
    parser.add_argument("--peers-python", help="interpreter that has glmm")
    parser.add_argument("--turns", type=int, default=3)
    parser.add_argument("--turn", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.turn:
        print(json.dumps(one_turn(arguments.turn)))
        return
    here = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "python")
    own = os.environ.get("PYTHONPATH", here)
    columns = {"now": ("mlmfast", sys.executable, own)}
    if arguments.before:
        columns["before"] = ("mlmfast", sys.executable, arguments.before)
    if arguments.peers_python:
        columns["glmm"] = ("glmm", arguments.peers_python, "")
    best: dict[str, dict[str, list[float]]] = {name: {} for name in columns}
    for _ in range(arguments.turns):
        for name, column in columns.items():
            for what, times in turn(*column).items():
                old = best[name].get(what, [float("inf")] * 2)
                best[name][what] = [min(a, b) for a, b in zip(old, times, strict=True)]
    print(
        f"{'':14}"
        + "".join(f"{name:>18}" for name in columns)
        + "".join(f"{'now / ' + name:>16}" for name in columns if name != "now")
    )
    for what, now in best["now"].items():
        line = f"{what:14}"
        for name in columns:
            found = best[name].get(what)
            line += f"{'' if found is None else '{:,.0f} ({:,.0f})'.format(*found):>18}"
        for name in columns:
            if name != "now":
                found = best[name].get(what)
                line += f"{'' if found is None else f'{now[0] / found[0]:.2f}':>16}"
        print(line)


if __name__ == "__main__":
    main()
