"""Animal models over simulated pedigrees: time, memory and, where asked for, the dense engine.

    python benches/animal.py --animals 500,1000,3000 --dense 1000
    python benches/animal.py --animals 1000 --dense "" --peers pedigreemm,sommer

Each size is a process of its own, so that peaks of memory are its own; two records an animal. R
packages that are installed fit the same model in the same run: pedigreemm from the pedigree, sommer
(`mmer`) from the relationship matrix, as mlmfast does.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import pandas as pd


def pedigree(n: int, rng: np.random.Generator) -> np.ndarray:
    """Sire and dam of each animal, (n, 2), among the 200 before; -1 for the first 20."""
    parents = np.full((n, 2), -1)
    for i in range(20, n):
        parents[i] = rng.choice(np.arange(max(0, i - 200), i), 2, replace=False)
    return parents


def relationships(parents: np.ndarray) -> np.ndarray:
    """Numerator relationship matrix by the tabular method."""
    a = np.eye(len(parents))
    for i in range(20, len(parents)):
        sire, dam = parents[i]
        a[i, :i] = a[:i, i] = (a[sire, :i] + a[dam, :i]) / 2
        a[i, i] = 1.0 + a[sire, dam] / 2
    return a


def records(n: int) -> tuple[pd.DataFrame, pd.DataFrame, np.ndarray]:
    """Two records an animal in 30 herds, the relationships and the pedigree."""
    rng = np.random.default_rng(n)
    parents = pedigree(n, rng)
    a = relationships(parents)
    labels = [f"a{k}" for k in range(n)]
    effects = np.linalg.cholesky(a) @ rng.normal(size=n)
    animal = np.repeat(np.arange(n), 2)
    herd = rng.integers(0, 30, 2 * n)
    y = effects[animal] + rng.normal(size=30)[herd] + rng.normal(size=2 * n)
    data = pd.DataFrame({"y": y, "x": rng.normal(size=2 * n), "herd": herd.astype(str)})
    data["animal"] = np.array(labels)[animal]
    return data, pd.DataFrame(a, index=labels, columns=labels), parents


def measure(n: int, engine: str) -> None:
    """Print one line: animals, engine, seconds, peak memory, log-likelihood."""
    import mlmfast as mlm  # here, so that the parent stays small

    data, a, _ = records(n)
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


def peer(n: int, package: str, timeout: float) -> None:
    """Print the line of an R package."""
    data, a, parents = records(n)
    labels = a.index.to_numpy()
    animals = pd.DataFrame({"animal": labels})
    for column, name in enumerate(("sire", "dam")):
        own = parents[:, column]
        animals[name] = np.where(own < 0, None, labels[own])
    with tempfile.TemporaryDirectory() as folder:
        paths = [Path(folder) / name for name in ("records.csv", "pedigree.csv", "out.json")]
        data.to_csv(paths[0], index=False)
        animals.to_csv(paths[1], index=False)
        command = ["Rscript", str(Path(__file__).with_suffix(".R")), package, *map(str, paths)]
        try:
            done = subprocess.run(
                command, capture_output=True, text=True, timeout=timeout, check=False
            )
        except subprocess.TimeoutExpired:
            print(f"{n:8,} animals  {package}: stopped after {timeout:g} s", flush=True)
            return
        if not paths[2].exists():
            last = " ".join(done.stderr.split())[-200:] or "no message"
            print(f"{n:8,} animals  {package}: not run, {last}", flush=True)
            return
        found = json.loads(paths[2].read_text())
    name = f"{package} {found['version']}"
    times = f"{found['seconds']:9.2f} s {found['llf']:.6f}"
    print(f"{n:8,} animals {len(data):8,} rows  {name:32} {times}", flush=True)


def main() -> None:
    """Run each size in a process of its own."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--animals", default="500,1000,3000", help="numbers of animals")
    parser.add_argument("--dense", default="500,1000", help="those that the dense engine fits too")
    parser.add_argument("--peers", default="", help="R packages: pedigreemm, sommer")
    parser.add_argument("--timeout", type=float, default=300.0, help="seconds of an R package")
    parser.add_argument("--one", nargs=2, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.one:
        measure(int(arguments.one[0]), arguments.one[1])
        return
    dense = set(arguments.dense.split(","))
    for n in arguments.animals.split(","):
        for engine in ["default"] + ["dense"] * (n in dense):
            subprocess.run([sys.executable, __file__, "--one", n, engine], check=True)
        for package in filter(None, arguments.peers.split(",")):
            peer(int(n), package, arguments.timeout)


if __name__ == "__main__":
    main()
