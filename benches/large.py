"""Data larger than memory: reductions against reading, in memory, duckreg, one process and two.

    python benches/large.py                                    # 1e6 rows, seconds
    python benches/large.py --rows 1e7 --duckreg .venv-duckreg/bin/python --folder /data
    python benches/large.py --rows 1e8 --no-sql --ways "DuckDB streams" streamed --folder /data

Makes Parquet files (random slopes over clusters of 100 rows), then measures each way in a process
of its own, whose largest memory the kernel tells. Needs duckdb and pyarrow, for the Dask lines
distributed; duckreg has an environment of its own: pip install duckreg==0.4.1 "duckdb<2" pyarrow.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

FORMULA = "y ~ t + x + z + arm + (t | g)"
COLUMNS = ["y", "t", "x", "z", "arm", "g"]
#: Of duckreg, least squares: it takes numbers only, and groups rows with equal covariates.
LEAST_SQUARES = "y ~ t + x + z"
PER_CLUSTER, PER_FILE, N_VISITS = 100, 2_000_000, 6
MMRM = {"formula": "y ~ arm * visit", "residual": "us(visit | id)"}


# -- data ----------------------------------------------------------------------------------------


def make_slopes(folder: Path, n: int) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    folder.mkdir(parents=True)
    for first in range(0, n, PER_FILE):
        rng, m = np.random.default_rng([7, first]), min(PER_FILE, n - first)
        c = m // PER_CLUSTER
        effects = rng.normal(size=(c, 2)) @ [[1.0, 0.2], [0.0, 0.3]]
        t = np.tile(np.arange(PER_CLUSTER) % 10, c).astype(float)
        x, z = rng.integers(0, 20, m).astype(float), rng.integers(0, 2, c).astype(float)
        arm = rng.integers(0, 3, c)
        own = z * 0.3 + (arm == 1) * 0.2 + effects[:, 0]
        y = 1 + 0.5 * t + 0.1 * x + np.repeat(own, PER_CLUSTER) + rng.normal(size=m)
        y += np.repeat(effects[:, 1], PER_CLUSTER) * t
        arms = np.array(["a", "b", "c"], dtype=object)[np.repeat(arm, PER_CLUSTER)]
        g = np.repeat(np.arange(first // PER_CLUSTER, first // PER_CLUSTER + c), PER_CLUSTER)
        z = np.repeat(z, PER_CLUSTER)
        table = pa.table({"g": g, "t": t, "x": x, "z": z, "arm": pa.array(arms), "y": y})
        pq.write_table(
            table, folder / f"part-{first // PER_FILE:03d}.parquet", row_group_size=500_000
        )


def make_visits(folder: Path, n: int) -> None:
    """Subjects of six visits, correlated, a tenth of the rows missing."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    folder.mkdir(parents=True)
    rng, subjects = np.random.default_rng(8), n // N_VISITS
    root = np.linalg.cholesky(0.5 + 0.5 * np.eye(N_VISITS) + np.diag(np.arange(N_VISITS) / 10))
    y = rng.normal(size=(subjects, N_VISITS)) @ root.T + np.arange(N_VISITS) / 3
    visit = np.tile([f"week {k}" for k in range(N_VISITS)], subjects).astype(object)
    arm = np.repeat(
        np.array(["placebo", "active"], dtype=object)[np.arange(subjects) % 2], N_VISITS
    )
    kept = rng.random(n) > 0.1
    columns = {"id": np.repeat(np.arange(subjects), N_VISITS), "visit": visit, "arm": arm}
    table = pa.table({name: own[kept] for name, own in {**columns, "y": y.ravel()}.items()})
    pq.write_table(table, folder / "visits.parquet", row_group_size=500_000)


def ill_conditioned(name: str) -> dict[str, np.ndarray]:
    """Sets whose digits raw sums of squares lose; NIST's SmLs07 to 09 by their definition."""
    if name == "mean 1e6":
        rng = np.random.default_rng(9)
        g = np.repeat(np.arange(40), 25)
        x = 1e6 + rng.normal(size=1000)
        y = 2 * (x - 1e6) + np.repeat(rng.normal(size=40), 25) + rng.normal(size=1000)
        return {"y": y, "x": x, "g": g}
    replicates = {"SmLs07": 21, "SmLs08": 201, "SmLs09": 2001}[name]
    # 1e12 plus a treatment's mean of 0.4, 0.3, ... and alternately 0.1 less or more.
    means = 1e12 + np.array([4, 3, 5, 2, 6, 1, 7, 0, 8]) / 10
    rows = [np.append(m, m + np.tile([-0.1, 0.1], (replicates - 1) // 2)) for m in means]
    return {"y": np.concatenate(rows), "g": np.repeat(np.arange(9), replicates)}


# -- what is measured ----------------------------------------------------------------------------


def stream_duckdb(folder: Path, columns: list[str]) -> int:
    import duckdb

    relation = duckdb.connect().sql(f"select {', '.join(columns)} from '{folder}/*.parquet'")
    return sum(batch.num_rows for batch in relation.to_arrow_reader(1_000_000))


def streamed(folder: Path) -> dict[str, Any]:
    import mlmfast as mlm

    return _reduced_and_fitted(lambda: mlm.reduce(FORMULA, folder))


def _reduced_and_fitted(reduction: Callable[[], Any]) -> dict[str, Any]:
    """Seconds and processor seconds of the reduction alone, and of the fit that follows."""
    started, worked = time.perf_counter(), time.process_time()
    reduced = reduction()
    read, cpu = time.perf_counter(), time.process_time() - worked
    fit = reduced.fit(ddf="asymptotic")
    found = {"llf": fit.llf, "params": fit.params.tolist(), "cpu": cpu}
    return {"reduce": read - started, "fit": time.perf_counter() - read, **found}


def in_memory(folder: Path) -> dict[str, Any]:
    """The table is pyarrow's to make: its seconds are told apart."""
    import pyarrow.parquet as pq

    import mlmfast as mlm

    started, worked = time.perf_counter(), time.process_time()
    table = pq.read_table(folder, columns=COLUMNS)
    read, read_cpu = time.perf_counter() - started, time.process_time() - worked
    fit = mlm.lmm(FORMULA, table, ddf="asymptotic")
    return {
        "llf": fit.llf, "params": fit.params.tolist(), "read": read, "read_cpu": read_cpu,
        "lmm": time.perf_counter() - started - read,
        "lmm_cpu": time.process_time() - worked - read_cpu,
    }  # fmt: skip


def duckreg(folder: Path) -> dict[str, Any]:
    from duckreg.estimators import DuckRegression

    base = Path(tempfile.mkdtemp(dir=folder.parent))
    try:
        import duckdb

        with duckdb.connect(base / "rows.db") as connection:
            connection.execute(f"create view rows as select * from '{folder}/*.parquet'")
        found = DuckRegression(str(base / "rows.db"), "rows", LEAST_SQUARES, "", 1, n_bootstraps=0)
        found.fit()
        return {"params": np.asarray(found.point_estimate).tolist()}
    finally:
        shutil.rmtree(base)


def _hold_to_one_processor(position: int) -> None:
    """A worker has a processor, as on a machine of its own: else one worker takes them all."""
    processors = sorted(os.sched_getaffinity(0))
    for thread in os.listdir("/proc/self/task"):
        os.sched_setaffinity(int(thread), {processors[position % len(processors)]})


def by_dask(folder: Path, processes: int) -> dict[str, Any]:
    import distributed

    import mlmfast as mlm

    with (
        distributed.LocalCluster(n_workers=processes, threads_per_worker=1,
                                 dashboard_address=":0", env={"RAYON_NUM_THREADS": "1"}) as cluster,
        distributed.Client(cluster) as client,
    ):  # fmt: skip
        for position, address in enumerate(client.scheduler_info()["workers"]):
            client.run(_hold_to_one_processor, position, workers=[address])
        levels = {"arm": ["a", "b", "c"]}
        # Workers import the package before the clock runs.
        mlm.reduce(FORMULA, sorted(folder.iterdir())[0], levels=levels, executor=client)
        started = time.perf_counter()
        reduced = mlm.reduce(FORMULA, folder, levels=levels, executor=client)
        passed = time.perf_counter() - started
        return {"reduce": passed, "llf": reduced.fit(ddf="asymptotic").llf}


def visits_read(folder: Path) -> int:
    return stream_duckdb(folder, ["id", "visit", "arm", "y"])


def visits_reduced(folder: Path) -> dict[str, Any]:
    import mlmfast as mlm

    return _reduced_and_fitted(lambda: mlm.reduce(source=folder, **MMRM))


def visits_in_memory(folder: Path) -> dict[str, Any]:
    import mlmfast as mlm

    return {"llf": mlm.lmm(data=folder, ddf="asymptotic", **MMRM).llf}


WAYS: dict[str, Callable[[Path], Any]] = {
    "DuckDB streams": lambda folder: stream_duckdb(folder, COLUMNS),
    "streamed": streamed,
    "in memory": in_memory,
    "duckreg (OLS)": duckreg,
    "Dask, 1 process": lambda folder: by_dask(folder, 1),
    "Dask, 2 processes": lambda folder: by_dask(folder, 2),
    "visits: DuckDB streams": visits_read,
    "visits: us, streamed": visits_reduced,
    "visits: us, in memory": visits_in_memory,
}


def _warm_up() -> None:
    """Imports and the first call are not what is measured."""
    import mlmfast as mlm

    data, formula = mlm.load_sleepstudy(), "Reaction ~ Days + (Days | Subject)"
    mlm.lmm(formula, data)
    with tempfile.TemporaryDirectory() as folder:
        data.to_parquet(f"{folder}/rows.parquet")
        mlm.reduce(formula, folder).fit(ddf="asymptotic")
        mlm.lmm(formula, folder, ddf="asymptotic")


def measured(way: str, folder: Path) -> None:
    """In a process of its own: seconds, what came out, and the most memory, as a line of JSON."""
    if way != "duckreg (OLS)" and not way.endswith("DuckDB streams"):
        _warm_up()
    started, worked = time.perf_counter(), time.process_time()
    found = WAYS[way](folder)
    passed, cpu = time.perf_counter() - started, time.process_time() - worked
    unit = 1e3 if sys.platform != "darwin" else 1e6
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / unit
    own = found if isinstance(found, dict) else {"rows": found}
    print(json.dumps({"seconds": passed, "cpu": cpu, "peak_mb": peak, **own}))


def run_one(way: str, folder: Path, python: str, repeat: int) -> dict[str, Any]:
    """The fastest of some runs, or what went wrong."""
    found = []
    for _ in range(repeat):
        command = [python, __file__, "--one", way, "--folder", str(folder)]
        done = subprocess.run(command, capture_output=True, text=True)
        if done.returncode:
            return {"error": (done.stderr.strip().splitlines() or ["?"])[-1]}
        found.append(json.loads(done.stdout.strip().splitlines()[-1]))
    return min(found, key=lambda own: own.get("reduce", own["seconds"]))


# -- digits ---------------------------------------------------------------------------------------


def digits() -> None:
    """Digits of the residual SD and of sd_(Intercept) that the paths share with rows in memory."""
    import pandas as pd
    import pyarrow as pa
    import pyarrow.parquet as pq

    import mlmfast as mlm

    print("\n| ill-conditioned set | path | digits of sigma | digits of the coefficients |")
    print("|---|---|---|---|")
    for name in ("mean 1e6", "SmLs07", "SmLs08", "SmLs09"):
        data = pd.DataFrame(ill_conditioned(name))
        formula = "y ~ x + (1 | g)" if "x" in data else "y ~ 1 + (1 | g)"
        expected = mlm.lmm(formula, data)
        with tempfile.TemporaryDirectory() as folder:
            for k in range(3):
                rows = pa.Table.from_pandas(data[k::3], preserve_index=False)
                pq.write_table(rows, f"{folder}/part-{k}.parquet")
            ways = {
                "files": lambda folder=folder: folder,
                "frames": lambda data=data: iter([data[:50], data[50:]]),
                "DuckDB": lambda folder=folder: _relation(f"{folder}/*.parquet"),
            }
            for way, source in ways.items():
                fit = mlm.reduce(formula, source()).fit()
                shared = _digits(fit.sigma, expected.sigma)
                coefficients = min(map(_digits, fit.params, expected.params))
                print(f"| {name} | {way} | {shared:.1f} | {coefficients:.1f} |")


def _relation(pattern: str) -> Any:
    import duckdb

    return duckdb.connect().sql(f"select * from '{pattern}'")


def _digits(value: float, expected: float) -> float:
    return min(16.0, -float(np.log10(abs(value / expected - 1.0) + 1e-17)))


def push_down(folder: Path) -> None:
    """Why nothing is pushed into SQL: the exact two-pass aggregates by cluster, against ours."""
    import duckdb

    import mlmfast as mlm

    terms = {n: n for n in "txzy"}
    terms |= {f"arm_{level}": f"(arm = '{level}')::int::double" for level in "bc"}
    means = ", ".join(f"avg({own}) as m_{name}" for name, own in terms.items())
    names = list(terms)
    sums = ", ".join(
        f"sum(({terms[a]} - m_{a}) * ({terms[b]} - m_{b})) as s_{a}_{b}"
        for k, a in enumerate(names) for b in names[k:]
    )  # fmt: skip
    rows = f"'{folder}/*.parquet'"
    query = (
        f"with m as (select g, count(*) as n, {means} from {rows} group by g) "
        f"select g, any_value(n), {', '.join(f'any_value(m_{n})' for n in names)}, {sums} "
        f"from {rows} join m using (g) group by g"
    )
    ways = {
        "two passes of SQL": lambda: duckdb.connect().sql(query).to_arrow_table(),
        "streamed to the reducer": lambda: mlm.reduce(FORMULA, folder, levels={"arm": list("abc")}),
    }
    print("\n| sums by cluster | seconds | CPU seconds |\n|---|---|---|")
    for way, action in ways.items():
        action()
        wall, cpu = time.perf_counter(), time.process_time()
        action()
        print(f"| {way} | {time.perf_counter() - wall:.2f} | {time.process_time() - cpu:.2f} |")


def report(n: int, folder: Path, arguments: argparse.Namespace) -> None:
    sets = {"slopes": folder / f"slopes-{n}", "visits": folder / f"visits-{n}"}
    ways = arguments.ways or list(WAYS)
    if not sets["slopes"].exists():
        make_slopes(sets["slopes"], n)
    if not sets["visits"].exists() and any(way.startswith("visits") for way in ways):
        make_visits(sets["visits"], n // N_VISITS * N_VISITS)
    found: dict[str, dict[str, Any]] = {}
    print(
        f"\n| {n:,} rows | seconds | of DuckDB's streaming | CPU seconds | peak MB | then the fit |"
    )
    print("|---|---|---|---|---|---|")
    for way in ways:
        python = arguments.duckreg if way == "duckreg (OLS)" else sys.executable
        if python is None:
            continue
        own = sets["visits" if way.startswith("visits") else "slopes"]
        found[way] = one = run_one(way, own, python, arguments.repeat)
        if "error" in one:
            print(f"| {way} | {one['error']} | | | | |", flush=True)
            continue
        base = found["visits: DuckDB streams" if way.startswith("visits") else "DuckDB streams"]
        seconds = one.get("reduce", one["seconds"])
        share = seconds / base["seconds"]
        fit = f"{one['fit']:.2f}" if "fit" in one else ""
        print(
            f"| {way} | {seconds:.2f} | {share:.2f} | {one['cpu']:.2f} | {one['peak_mb']:.0f} | "
            f"{fit} |",
            flush=True,
        )
    memory = found.get("in memory", {})
    if "read" in memory:
        print(
            f"in memory: pyarrow reads the table in {memory['read']:.2f} s "
            f"({memory['read_cpu']:.2f} CPU), mlm.lmm takes {memory['lmm']:.2f} s "
            f"({memory['lmm_cpu']:.2f} CPU)"
        )
    expected = memory.get("llf")
    for way in ("streamed", "Dask, 1 process", "Dask, 2 processes"):
        if expected is not None and "llf" in found.get(way, {}):
            print(f"{way}: log-likelihood {found[way]['llf'] / expected - 1:.1e} from in memory")
    if not arguments.no_sql:
        push_down(sets["slopes"])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", nargs="+", type=float, default=[1e6])
    parser.add_argument("--folder", type=Path, help="where the data are made and kept")
    parser.add_argument("--duckreg", metavar="PYTHON", help="of an environment with duckreg")
    parser.add_argument("--repeat", type=int, default=2)
    parser.add_argument("--no-sql", action="store_true")
    parser.add_argument("--ways", nargs="+", choices=WAYS, help="these alone, DuckDB's first")
    parser.add_argument("--one", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.one:
        measured(arguments.one, arguments.folder)
        return
    folder = arguments.folder or Path(tempfile.mkdtemp(prefix="mlmfast-large-"))
    try:
        for n in arguments.rows:
            report(int(n), folder, arguments)
        if not arguments.ways:
            digits()
    finally:
        if arguments.folder is None:
            shutil.rmtree(folder)


if __name__ == "__main__":
    main()
