"""Reductions of every kind of source, by every executor: the numbers of rows in memory."""

import signal
import subprocess
import sys
import time

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pyarrow.dataset as ds
import pytest

import mlmfast as mlm
from mlmfast.errors import ModelError
from mlmfast.mergeable import running
from mlmfast.sources.executors.processes import worker_processes

FORMULA = "y ~ x * f + (x | g)"
TO_THE_END = {"tolerance": 1e-18}


@pytest.fixture(scope="module")
def table():
    """Clusters that lie in many parts, a covariate away from 0, a level that comes late."""
    rng = np.random.default_rng(5)
    n = 6_000
    g = rng.integers(0, 50, n)
    x = 50 + rng.normal(size=n)
    f = rng.choice(["b", "c"], n).astype(object)
    f[4_000:] = rng.choice(["a", "b", "c"], 2_000)
    effects = rng.normal(size=(50, 2)) * [1.0, 0.5]
    y = 2 * (x - 50) + (f == "a") + effects[g, 0] + effects[g, 1] * (x - 50) + rng.normal(size=n)
    y[::101] = np.nan
    return pd.DataFrame({"y": y, "x": x, "f": f, "g": g, "unused": "text"})


@pytest.fixture(scope="module")
def fitted(table):
    return mlm.lmm(FORMULA, table, options=TO_THE_END)


@pytest.fixture(scope="module")
def folder(table, tmp_path_factory):
    path = tmp_path_factory.mktemp("rows")
    for k in range(12):
        table[k * 500 : (k + 1) * 500].to_parquet(path / f"part-{k:02d}.parquet")
    return path


def check(reduction, expected):
    """The same fit, to the digits that doubles hold."""
    fit = reduction.fit(options=TO_THE_END)
    assert fit.nobs == expected.nobs
    assert fit.n_groups == expected.n_groups
    assert abs(fit.llf / expected.llf - 1) < 1e-12
    np.testing.assert_allclose(fit.bse, expected.bse, rtol=1e-10)
    assert (abs(fit.params - expected.params) < 1e-10 * expected.bse).all()
    assert abs(fit.sigma / expected.sigma - 1) < 1e-11


SOURCES = {
    "folder": lambda t, p: p,
    "LazyFrame": lambda t, p: pl.scan_parquet(p / "*.parquet"),
    "Dataset": lambda t, p: ds.dataset(p),
    "reader": lambda t, p: pa.Table.from_pandas(t).to_reader(900),
    "generator": lambda t, p: (t[k : k + 700] for k in range(0, 6_000, 700)),
    "frame": lambda t, p: t,
}


@pytest.mark.parametrize("kind", SOURCES)
def test_a_reduction_of_a_source_is_that_of_its_rows(kind, table, folder, fitted):
    reduction = mlm.reduce(FORMULA, SOURCES[kind](table, folder))
    assert reduction.n_dropped == int(table["y"].isna().sum())
    check(reduction, fitted)


def test_of_duckdb(table, folder, fitted):
    duckdb = pytest.importorskip("duckdb")
    relation = duckdb.connect().sql(f"select * from '{folder}/*.parquet'")
    check(mlm.reduce(FORMULA, relation), fitted)


def test_processes_reduce_what_threads_do(folder, fitted, tmp_path):
    with worker_processes(2) as processes:
        for options in ({}, {"resume": tmp_path / "kept"}, {"resume": tmp_path / "kept"}):
            by_processes = mlm.reduce(FORMULA, folder, executor=processes, **options)
            check(by_processes, fitted)
    here = mlm.reduce(FORMULA, folder, resume=tmp_path / "kept")
    assert here.to_bytes() == by_processes.to_bytes()
    assert len(here.parts) == 12
    assert any(name.endswith("part-07.parquet") for name in here.parts.values())


def test_the_first_pass_is_spared_where_the_first_part_has_all_levels(folder, monkeypatch):
    passes = []
    monkeypatch.setattr(running, "survey_part", lambda *a: passes.append(a) or 1 / 0)
    late = sorted(folder.iterdir(), reverse=True)
    assert mlm.reduce(FORMULA, late).nobs > 0
    assert passes == []
    with pytest.raises(ZeroDivisionError):
        mlm.reduce(FORMULA, folder)


def test_the_same_bits_twice_and_by_one_thread(folder, monkeypatch):
    once = mlm.reduce(FORMULA, folder).to_bytes()
    assert mlm.reduce(FORMULA, folder).to_bytes() == once
    monkeypatch.setattr(running, "_MOST_THREADS", 1)
    assert mlm.reduce(FORMULA, folder).to_bytes() == once


def test_a_dask_cluster_reduces_its_partitions(table, folder, fitted):
    distributed = pytest.importorskip("distributed")
    frame = pytest.importorskip("dask.dataframe").from_pandas(table, npartitions=7)
    with (
        # Workers begin with what was imported once.
        pytest.importorskip("dask").config.set(
            {"distributed.worker.multiprocessing-method": "forkserver"}
        ),
        distributed.LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=":0") as own,
        distributed.Client(own) as client,
    ):
        check(mlm.reduce(FORMULA, frame), fitted)
        check(mlm.reduce(FORMULA, folder, executor=client), fitted)


# -- memory --------------------------------------------------------------------------------------


def test_a_budget_that_the_statistics_outgrow_is_refused(monkeypatch):
    rng = np.random.default_rng(2)

    def frames():
        for k in range(40):
            g = np.arange(k * 20_000, (k + 1) * 20_000)
            yield {"y": rng.normal(size=20_000), "x": rng.normal(size=20_000), "g": g}

    with pytest.raises(MemoryError, match=r"statistics of .* rows .* take .* MB .*Raise memory="):
        mlm.reduce("y ~ x + (1 | g)", frames(), memory="50MB")
    with pytest.raises(ModelError, match="memory is 'much'; give a size"):
        mlm.reduce("y ~ x + (1 | g)", frames(), memory="much")


STREAMED = """
import resource, sys
import mlmfast as mlm
from mlmfast.sources.executors.processes import worker_processes

folder, engine = sys.argv[1:]
source = folder
if engine == "duckdb":
    import duckdb
    duckdb.sql("set memory_limit = '120MB'; set threads = 1")
    source = duckdb.sql(f"select * from '{folder}/*.parquet'")
mlm.reduce("y ~ x + z + (1 | g)", folder + "/part-0.parquet", memory="100MB").fit()
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
found = mlm.reduce("y ~ x + z + (1 | g)", source, memory="100MB")
print(found.nobs, (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * 1024)
"""


@pytest.mark.slow
@pytest.mark.parametrize("engine", ["files", "duckdb"])
def test_rows_larger_than_the_memory_allowed_pass_through_it(engine, tmp_path):
    if engine == "duckdb":
        pytest.importorskip("duckdb")
    rng = np.random.default_rng(4)
    for k in range(20):
        columns = {name: rng.normal(size=500_000) for name in "yxz"}
        columns["g"] = rng.integers(0, 500, 500_000)
        pd.DataFrame(columns).to_parquet(tmp_path / f"part-{k}.parquet", row_group_size=100_000)
    done = subprocess.run(
        [sys.executable, "-c", STREAMED, str(tmp_path), engine],
        capture_output=True,
        text=True,
        check=True,
    )
    n, grown = map(int, done.stdout.split()[-2:])
    assert n == 10_000_000
    # All rows are 320 MB.
    assert grown < 100e6


INTERRUPTED = """
import numpy as np, mlmfast as mlm

def frames():
    rows = {"y": np.arange(200_000.0), "x": np.ones(200_000), "g": np.arange(200_000) % 7}
    print("started", flush=True)
    while True:
        yield rows

mlm.reduce("y ~ 0 + x + (1 | g)", frames())
"""


def test_ctrl_c_ends_a_reduction_soon():
    process = subprocess.Popen(
        [sys.executable, "-c", INTERRUPTED], stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    process.stdout.readline()
    time.sleep(0.5)
    sent = time.monotonic()
    process.send_signal(signal.SIGINT)
    _, told = process.communicate(timeout=30)
    # Half a second on a quiet machine.
    assert time.monotonic() - sent < 3.0
    assert b"KeyboardInterrupt" in told
