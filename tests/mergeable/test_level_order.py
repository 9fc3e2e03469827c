"""Order of the levels of grouping columns: as given, as declared, else as the data have it."""

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest

import mlmfast as mlm
from mlmfast.errors import DataError

from .data import relative

FORMULA, ORDER = "y ~ x + (1 | g)", ["g4", "g2", "g0", "g1", "g3"]


@pytest.fixture(scope="module")
def data():
    rng = np.random.default_rng(2)
    g = np.concatenate([np.arange(5), rng.integers(0, 5, 75)])
    data = pd.DataFrame({"x": rng.normal(size=80), "g": [f"g{k}" for k in g]})
    data["h"] = rng.choice(["u", "v"], 80)
    data["y"] = data.x + rng.normal(size=5)[g] + rng.normal(size=80)
    return data


def labels(fit, name="g"):
    return fit.ranef[name].index.tolist()


def tables(data):
    categorical = data.assign(g=pd.Categorical(data.g, [*ORDER, "g9"]))
    arrow = pa.Table.from_pandas(categorical, preserve_index=False)
    enum = pl.from_pandas(data).with_columns(pl.col("g").cast(pl.Enum([*ORDER, "g9"])))
    text = pl.from_pandas(data).with_columns(pl.col("g").cast(pl.Categorical))
    return {"pandas": categorical, "arrow": arrow, "enum": enum, "polars": text, "text": data}


@pytest.mark.parametrize("kind", ["pandas", "arrow", "enum", "polars", "text"])
def test_levels_stand_as_in_memory(data, kind, tmp_path):
    table = tables(data)[kind]
    whole = mlm.lmm(FORMULA, table)
    cut = slice(0, 37), slice(37, 80)
    parts = [table[own] if kind != "arrow" else table.slice(own.start, own.stop - own.start)
             for own in cut]  # fmt: skip
    found = mlm.Reduction.merge([mlm.reduce(FORMULA, [own]) for own in parts])
    found.save(tmp_path / "kept.arrow")
    for fit in (
        mlm.reduce(FORMULA, parts).fit(),
        mlm.load_reduction(tmp_path / "kept.arrow").fit(),
    ):
        assert labels(fit) == labels(whole)
        assert relative(fit.ranef["g"], whole.ranef["g"], 1e-3) < 1e-9


def test_an_order_that_is_given_holds(data):
    fit = mlm.reduce(FORMULA, [data], levels={"g": ORDER}).fit()
    assert labels(fit) == ORDER
    nested = mlm.reduce("y ~ x + (1 | g:h)", [data], levels={"g": ORDER}).fit()
    assert [own.split(":")[0] for own in labels(nested, "g:h")] == sorted(
        (own.split(":")[0] for own in labels(nested, "g:h")), key=ORDER.index
    )


def test_levels_that_are_not_among_those_given_are_refused(data):
    with pytest.raises(DataError, match="frame 1: 'g' has the level 'g0', which is not among"):
        mlm.reduce(FORMULA, [data], levels={"g": ["g4", "g3"]})
    with pytest.raises(DataError, match=r"'h' has the level 'w', which levels=.* does not list"):
        mlm.reduce("y ~ h", [data.assign(h="w")], levels={"h": ["u", "v"]})
    with pytest.raises(DataError, match="is the text 'uv'; give a list"):
        mlm.reduce("y ~ h", [data], levels={"h": "uv"})


def test_orders_that_contradict_each_other_leave_that_of_the_labels(data):
    one = data.assign(g=pd.Categorical(data.g, ORDER))
    two = data.assign(g=pd.Categorical(data.g, ORDER[::-1]))
    assert labels(mlm.reduce(FORMULA, [one, two]).fit()) == sorted(ORDER)
    assert labels(mlm.reduce(FORMULA, [one, data]).fit()) == sorted(ORDER)


def test_columns_of_one_name_are_refused(data):
    with pytest.raises(DataError, match="several columns named 'x'"):
        mlm.reduce(FORMULA, [pd.concat([data, data[["x"]]], axis=1)])


def test_a_device_is_no_file_to_write_to(data, tmp_path):
    found = mlm.reduce(FORMULA, [data])
    with pytest.raises(DataError, match="is no file that a reduction"):
        found.save(tmp_path)
