"""Values at odd addresses, as a network or a mapped file leaves them: read like any others."""

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest

import mlmfast as mlm


def moved(values):
    """The same values one byte beside where they should lie."""
    memory = b"\0" + values.tobytes()
    return np.frombuffer(memory, dtype=values.dtype, offset=1)


def moved_array(values, kind):
    plain = pa.array(values, kind)
    buffers = [
        None if own is None else pa.py_buffer(b"\0" + own.to_pybytes()).slice(1)
        for own in plain.buffers()
    ]
    return pa.Array.from_buffers(kind, len(plain), buffers)


@pytest.fixture(scope="module")
def data():
    rng = np.random.default_rng(4)
    g = rng.integers(0, 8, 90)
    x = rng.normal(size=90)
    y = x + rng.normal(size=8)[g] + rng.normal(size=90)
    return pd.DataFrame({"y": y, "x": x, "g": [f"g{k}" for k in g], "k": g})


def arrow(data):
    kinds = {"y": pa.float64(), "x": pa.float64(), "g": pa.large_string(), "k": pa.int64()}
    return pa.table({name: moved_array(data[name].tolist(), kind) for name, kind in kinds.items()})


def pandas(data):
    columns = {name: moved(data[name].to_numpy()) for name in ("y", "x", "k")}
    table = pd.DataFrame({name: pd.Series(own, copy=False) for name, own in columns.items()},
                         copy=False)  # fmt: skip
    assert not table["x"].to_numpy().flags.aligned
    return table.assign(g=pd.Series(arrow(data)["g"].to_pandas(types_mapper=pd.ArrowDtype)))


@pytest.mark.parametrize("make", [pandas, arrow, lambda data: pl.from_arrow(arrow(data))])
def test_fits_are_those_of_aligned_memory(data, make):
    for group in ("g", "k"):
        found = mlm.lmm(f"y ~ x + (1 | {group})", make(data))
        assert found.llf == mlm.lmm(f"y ~ x + (1 | {group})", data).llf
