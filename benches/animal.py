"""Animal models over simulated pedigrees: time, memory, and what relationship matrices would take.

    python benches/animal.py --animals 1000,4000,16000,64000
    python benches/animal.py --animals 1000,2000,4000 --matrix 1000,2000,4000 --dense 1000
    python benches/animal.py --animals 1000,4000 --peers pedigreemm,sommer

Each size is a process of its own, so that peaks of memory are its own; two records an animal. The
pedigree is given as such, or, where asked for, as a dense relationship matrix; its time is part of
the time told. R packages that are installed fit the same model in the same run: pedigreemm from the
pedigree, sommer (`mmec`) from the relationship matrix.
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

#: Animals without parents, and those before an animal that its parents are drawn from.
FOUNDERS, REACH = 20, 200


def pedigree(n: int, rng: np.random.Generator) -> np.ndarray:
    """Sire and dam of each animal, (n, 2), among the 200 before; -1 for the first 20."""
    parents = np.full((n, 2), -1)
    for i in range(FOUNDERS, n):
        parents[i] = rng.choice(np.arange(max(0, i - REACH), i), 2, replace=False)
    return parents


def relationships(parents: np.ndarray) -> np.ndarray:
    """Numerator relationship matrix by the tabular method."""
    a = np.eye(len(parents))
    for i in range(FOUNDERS, len(parents)):
        sire, dam = parents[i]
        a[i, :i] = a[:i, i] = (a[sire, :i] + a[dam, :i]) / 2
        a[i, i] = 1.0 + a[sire, dam] / 2
    return a


def records(n: int) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Two records an animal in 30 herds, and the parents of each animal."""
    rng = np.random.default_rng(n)
    parents = pedigree(n, rng)
    effects = rng.normal(size=n)
    for i in range(FOUNDERS, n):
        # Of animals that are not inbred: the model is to be fitted, not to be true.
        effects[i] = effects[parents[i]].mean() + np.sqrt(0.5) * effects[i]
    labels = np.array([*(f"a{k}" for k in range(n)), None], dtype=object)
    animal = np.repeat(np.arange(n), 2)
    herd = rng.integers(0, 30, 2 * n)
    y = effects[animal] + rng.normal(size=30)[herd] + rng.normal(size=2 * n)
    data = pd.DataFrame({"y": y, "x": rng.normal(size=2 * n), "herd": herd.astype(str)})
    data["animal"] = labels[animal]
    names = {"sire": labels[parents[:, 0]], "dam": labels[parents[:, 1]]}
    return data, pd.DataFrame({"id": labels[:-1], **names})


def measure(n: int, given: str, engine: str) -> None:
    """Print one line: animals, engine, seconds, peak memory, log-likelihood."""
    import mlmfast as mlm  # here, so that the parent stays small

    data, animals = records(n)
    matrix = None
    if given == "matrix":
        place = {label: k for k, label in enumerate(animals["id"])}
        codes = animals[["sire", "dam"]].map(lambda label: place.get(label, -1)).to_numpy()
        matrix = relationships(codes)
    mlm.lmm("y ~ x + (1 | herd)", data)  # what is imported on first use is imported
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    options = {"engine": engine} if engine != "default" else None
    start, used = time.perf_counter(), time.process_time()
    known = mlm.pedigree(animals) if matrix is None else (animals["id"], matrix)
    fit = mlm.lmm("y ~ x + (1 | animal) + (1 | herd)", data, cov={"animal": known}, options=options)
    seconds, used = time.perf_counter() - start, time.process_time() - used
    peak = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024
    name = f"{given}, {fit.certificate.engine}"
    print(
        f"{n:8,} animals {fit.nobs:8,} rows  {name:52} {seconds:9.2f} s {used:9.2f} s processor "
        f"{peak:7.0f} MB more  {fit.certificate.n_evaluations:3} evaluations  {fit.llf:.6f}",
        flush=True,
    )


def peer(n: int, package: str, timeout: float) -> None:
    """Print the line of an R package."""
    data, animals = records(n)
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
    times = f"{found['seconds']:9.2f} s {found['used']:9.2f} s processor {found['llf']:.6f}"
    print(f"{n:8,} animals {len(data):8,} rows  {name:52} {times}", flush=True)


def main() -> None:
    """Run each size in a process of its own."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--animals", default="1000,4000,16000", help="numbers of animals")
    parser.add_argument("--matrix", default="", help="those that are given by a matrix too")
    parser.add_argument("--dense", default="", help="those that the dense engine fits too")
    parser.add_argument("--peers", default="", help="R packages: pedigreemm, sommer")
    parser.add_argument("--timeout", type=float, default=300.0, help="seconds of an R package")
    parser.add_argument("--one", nargs=3, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.one:
        measure(int(arguments.one[0]), *arguments.one[1:])
        return
    matrix, dense = set(arguments.matrix.split(",")), set(arguments.dense.split(","))
    for n in arguments.animals.split(","):
        ways = [["pedigree", "default"]]
        ways += [["matrix", "default"]] * (n in matrix) + [["pedigree", "dense"]] * (n in dense)
        for way in ways:
            subprocess.run([sys.executable, __file__, "--one", n, *way], check=True)
        for package in filter(None, arguments.peers.split(",")):
            peer(int(n), package, arguments.timeout)


if __name__ == "__main__":
    main()
