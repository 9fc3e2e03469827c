"""Numbers of persons that floats do not hold stay apart, beside missing values too."""

import numpy as np
import pandas as pd
import pytest

import mlmfast as mlm
import mlmfast.data.files as files
from mlmfast.errors import DataError
from tests.mergeable.data import relative

FORMULA = "y ~ x + (1 | g)"


@pytest.fixture(scope="module")
def short():
    """Groups numbered from 0."""
    rng = np.random.default_rng(4)
    g = np.arange(240) % 24
    y = rng.normal(size=240) + rng.normal(size=24)[g]
    return pd.DataFrame({"y": y, "x": rng.normal(size=240), "g": g})


@pytest.fixture(scope="module")
def parts(short):
    """Groups numbered from 2^60, one missing in the second part."""
    own = short["g"].astype("Int64") + 2**60
    own[150] = pd.NA
    long = short.assign(g=own)
    return [long[:120].astype({"g": "int64"}), long[120:]]


@pytest.fixture(scope="module")
def expected(short):
    fit = mlm.lmm(FORMULA, short.drop(index=150))
    return [*fit.params, *fit.bse, *fit.df, fit.llf]


def _numbers(fit):
    return [*fit.params, *fit.bse, *fit.df, fit.llf]


@pytest.fixture(scope="module")
def paths(parts, tmp_path_factory):
    folder = tmp_path_factory.mktemp("long")
    names = [str(folder / f"{k}.csv") for k in range(2)]
    for name, part in zip(names, parts, strict=True):
        part.to_csv(name, index=False)
    return names


def test_of_text_files(paths, expected):
    for found in (mlm.lmm(FORMULA, paths), mlm.reduce(FORMULA, paths).fit()):
        assert relative(_numbers(found), expected, 1e-3) < 1e-7
    one = mlm.reduce(FORMULA, paths[:1]) + mlm.reduce(FORMULA, paths[1:])
    assert relative(_numbers(one.fit()), expected, 1e-3) < 1e-7


def test_large_values_of_a_covariate_stay_numbers(short, tmp_path):
    path = tmp_path / "large.csv"
    large = short.assign(x=short["x"] * 1e20)
    large.loc[3, "x"] = np.nan
    large.to_csv(path, index=False)
    assert files.read_table(str(path)).equals(large)


def test_of_a_text_in_pieces(paths, monkeypatch):
    monkeypatch.setattr(files, "_WHOLE", 0)
    pieces = files.read_text_in_pieces(paths[1], ["g"], 20)
    assert len(next(pieces)) == 20
    with pytest.raises(DataError, match=r"column 'g' holds whole numbers of 16 digits or more"):
        list(pieces)


def test_small_floats_beside_large_integers(short):
    """A part that holds small numbers, and floats for one that is missing."""
    whole = short.assign(g=np.where(short["g"] < 3, short["g"], short["g"] + 2**60))
    order = np.argsort(short["g"].to_numpy() < 3, kind="stable")
    one, two = whole.iloc[order[:210]], whole.iloc[order[210:]].astype({"g": "float64"})
    fit = mlm.lmm(FORMULA, short)
    for found in (mlm.lmm(FORMULA, [one, two]), mlm.reduce(FORMULA, [one, two]).fit()):
        assert relative(_numbers(found), _numbers(fit), 1e-3) < 1e-7


def test_large_floats_beside_large_integers_are_refused(parts):
    with pytest.raises(DataError, match="which do not tell such integers apart"):
        mlm.reduce(FORMULA, [parts[0], parts[1].astype({"g": "float64"})])
