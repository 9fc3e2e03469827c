"""Ill-conditioned rows keep their digits on every path to a fit.

NIST's one-way layouts SmLs07 to SmLs09 (a response of 1e12, differences of 0.1) by their
definition; the right values are those of exact arithmetic on the numbers as they are held.
"""

from fractions import Fraction

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import mlmfast as mlm

REPLICATES = {"SmLs07": 21, "SmLs08": 201, "SmLs09": 2001}


def layout(replicates):
    """Treatments of mean 1e12 + 0.4, 0.3, ..., their rows alternately 0.1 below and above."""
    means = 1e12 + np.array([4, 3, 5, 2, 6, 1, 7, 0, 8]) / 10
    steps = np.tile([-0.1, 0.1], (replicates - 1) // 2)
    rows = np.concatenate([np.append(mean, mean + steps) for mean in means])
    return pd.DataFrame({"y": rows, "g": np.repeat(np.arange(9), replicates)})


def variances(data):
    """Of the rows and of the treatments: the mean squares of a balanced layout, exactly."""
    groups = [[Fraction(y) for y in own] for _, own in data.groupby("g")["y"]]
    n, means = len(groups[0]), [sum(own) / len(own) for own in groups]
    grand = sum(means) / 9
    within = sum((y - m) ** 2 for own, m in zip(groups, means, strict=True) for y in own)
    within /= 9 * (n - 1)
    between = n * sum((m - grand) ** 2 for m in means) / 8
    return within, (between - within) / n, grand


def far_covariate():
    """A covariate of mean 1e6 and standard deviation 1 within and between clusters."""
    rng = np.random.default_rng(9)
    g = np.repeat(np.arange(40), 25)
    own = rng.normal(size=1000)
    y = 2 * own + rng.normal(size=40)[g] + rng.normal(size=1000)
    return pd.DataFrame({"y": y, "x": 1e6 + own, "g": g})


def of_files(data, folder):
    for k in range(3):
        table = pa.Table.from_pandas(data[k::3], preserve_index=False)
        pq.write_table(table, folder / f"part-{k}.parquet", row_group_size=50)
    return folder


def of_duckdb(data, folder):
    duckdb = pytest.importorskip("duckdb")
    return duckdb.connect().sql(f"select * from '{of_files(data, folder)}/*.parquet'")


def of_stream(data, folder):
    return pa.Table.from_pandas(data, preserve_index=False).to_reader(max_chunksize=64)


def of_dask(data, folder):
    return pytest.importorskip("dask.dataframe").from_pandas(data, npartitions=3)


PATHS = {
    "files": of_files,
    "DuckDB": of_duckdb,
    "stream": of_stream,
    "frames": lambda data, folder: iter([data[:50], data[50:]]),
    "Dask": of_dask,
    "in memory": lambda data, folder: data,
}


def fitted(path, formula, data, folder):
    source = PATHS[path](data, folder)
    if path == "in memory":
        return mlm.lmm(formula, source)
    return mlm.reduce(formula, source).fit()


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("name", REPLICATES)
def test_of_a_large_response(name, path, tmp_path):
    data = layout(REPLICATES[name])
    within, between, grand = variances(data)
    fit = fitted(path, "y ~ 1 + (1 | g)", data, tmp_path)
    assert fit.sigma**2 == pytest.approx(float(within), rel=1e-11)
    assert fit.varcorr["g"].iloc[0, 0] == pytest.approx(float(between), rel=1e-9)
    assert abs(Fraction(float(fit.params.iloc[0])) - grand) < Fraction(1, 4096)
    error = float((between + within / REPLICATES[name]) / 9) ** 0.5
    assert fit.bse.iloc[0] == pytest.approx(error, rel=1e-9)


@pytest.mark.parametrize("path", PATHS)
def test_of_a_covariate_far_from_0(path, tmp_path):
    data = far_covariate()
    # No digit is lost by this difference.
    fit = fitted(path, "y ~ x + (1 | g)", data, tmp_path)
    near = mlm.lmm("y ~ x + (1 | g)", data.assign(x=data["x"] - 1e6))
    assert fit.params["x"] == pytest.approx(near.params["x"], rel=1e-11)
    assert fit.bse["x"] == pytest.approx(near.bse["x"], rel=1e-11)
    assert fit.sigma == pytest.approx(near.sigma, rel=1e-11)
    assert fit.llf == pytest.approx(near.llf, rel=1e-12)
