"""A fit for each group, or each file, of data that are read part by part."""

import numpy as np
import pytest

import mlmfast as mlm
from mlmfast.errors import DataError

FORMULA = "Reaction ~ Days + (1 | Subject)"


@pytest.fixture(scope="module")
def data():
    data = mlm.load_sleepstudy()
    data["lab"] = ["odd" if int(s) % 2 else "even" for s in data["Subject"]]
    data["unused"] = "text"
    return data


@pytest.fixture(scope="module")
def folder(data, tmp_path_factory):
    path = tmp_path_factory.mktemp("labs")
    data[:77].to_parquet(path / "a.parquet")
    data[77:].to_parquet(path / "b.parquet")
    data.to_csv(path / "all.csv", index=False)
    return path


@pytest.mark.parametrize("kind", ["pattern", "files", "text", "iterator", "frames"])
def test_groups_of_a_source_are_those_of_a_table(data, folder, kind):
    sources = {
        "pattern": str(folder / "*.parquet"),
        "files": [folder / "a.parquet", folder / "b.parquet"],
        "text": folder / "all.csv",
        "iterator": iter([data[:50], data[50:]]),
        "frames": [data[:50], data[50:]],
    }
    found = mlm.fit_each(FORMULA, sources[kind], by="lab")
    expected = mlm.fit_each(FORMULA, data, by="lab")
    np.testing.assert_array_equal(found.params, expected.params)
    assert found.glance()["lab"].tolist() == ["even", "odd"]


def test_each_file_is_a_data_set(folder):
    files = [folder / "a.parquet", str(folder / "b.parquet")]
    found = mlm.fit_each(FORMULA, files)
    np.testing.assert_array_equal(found.params[1], mlm.lmm(FORMULA, files[1]).params)


def test_what_passes_once_serves_several_formulas(data):
    models = {"a": FORMULA, "b": "Reaction ~ Days + (Days | Subject)"}
    found = mlm.fit_each(models, iter([data[:50], data[50:]]), by="lab")
    np.testing.assert_array_equal(found.params, mlm.fit_each(models, data, by="lab").params)


def test_a_source_without_by_says_what_is_missing(folder):
    with pytest.raises(DataError, match="needs by="):
        mlm.fit_each(FORMULA, str(folder / "*.parquet"))
    with pytest.raises(DataError, match="no column 'place'"):
        mlm.fit_each(FORMULA, str(folder / "*.parquet"), by="place")
