"""Animal models over simulated pedigrees: time, memory and, where asked for, the dense engine.

    python benches/animal.py --animals 500,1000,3000 --dense 1000

Each size is a process of its own, so that peaks of memory are its own; two records an animal.
"""

from __future__ import annotations

import argparse
import resource
import subprocess
import sys
import time

import numpy as np
import pandas as pd


def relationships(n: int, rng: np.random.Generator) -> np.ndarray:
    """Numerator relationship matrix by the tabular method, parents among the 200 before."""
    a = np.eye(n)
    for i in range(20, n):
        sire, dam = rng.choice(np.arange(max(0, i - 200), i), 2, replace=False)
        a[i, :i] = a[:i, i] = (a[sire, :i] + a[dam, :i]) / 2
        a[i, i] = 1.0 + a[sire, dam] / 2
    return a


def records(n: int) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Two records an animal in 30 herds, and the relationships."""
    rng = np.random.default_rng(n)
    a = relationships(n, rng)
    labels = [f"a{k}" for k in range(n)]
    effects = np.linalg.cholesky(a) @ rng.normal(size=n)
    animal = np.repeat(np.arange(n), 2)
    herd = rng.integers(0, 30, 2 * n)
    y = effects[animal] + rng.normal(size=30)[herd] + rng.normal(size=2 * n)
    data = pd.DataFrame({"y": y, "x": rng.normal(size=2 * n), "herd": herd.astype(str)})
    data["animal"] = np.array(labels)[animal]
    return data, pd.DataFrame(a, index=labels, columns=labels)


def measure(n: int, engine: str) -> None:
    """Print one line: animals, engine, seconds, peak memory, log-likelihood."""
    import mlmfast as mlm  # here, so that the parent stays small

    data, a = records(n)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    options = {"engine": engine} if engine != "default" else None
    start = time.perf_counter()
    fit = mlm.lmm("y ~ x + (1 | animal) + (1 | herd)", data, cov={"animal": a}, options=options)
    seconds = time.perf_counter() - start
    peak = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024
    print(
        f"{n:8,} animals {fit.nobs:8,} rows  {fit.certificate.engine:32} {seconds:9.2f} s "
        f"{peak:9.0f} MB more  {fit.certificate.n_evaluations:3} evaluations  {fit.llf:.6f}",
        flush=True,
    )


def main() -> None:
    """Run each size in a process of its own."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--animals", default="500,1000,3000", help="numbers of animals")
    parser.add_argument("--dense", default="500,1000", help="those that the dense engine fits too")
    parser.add_argument("--one", nargs=2, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.one:
        measure(int(arguments.one[0]), arguments.one[1])
        return
    dense = set(arguments.dense.split(","))
    for n in arguments.animals.split(","):
        for engine in ["default"] + ["dense"] * (n in dense):
            subprocess.run([sys.executable, __file__, "--one", n, engine], check=True)


if __name__ == "__main__":
    main()
