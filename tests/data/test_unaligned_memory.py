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


def moved_texts(texts):
    plain = pa.array(texts, pa.string())
    buffers = [None if b is None else pa.py_buffer(b"\0" + b.to_pybytes()).slice(1)
               for b in plain.buffers()]  # fmt: skip
    return pa.Array.from_buffers(pa.string(), len(plain), buffers)


@pytest.fixture(scope="module")
def data():
    rng = np.random.default_rng(4)
    g = rng.integers(0, 8, 90)
    x = rng.normal(size=90)
    y = x + rng.normal(size=8)[g] + rng.normal(size=90)
    return pd.DataFrame({"y": y, "x": x, "g": [f"g{k}" for k in g], "k": g})


@pytest.mark.parametrize("kind", ["pandas", "polars", "arrow"])
def test_fits_are_those_of_aligned_memory(data, kind):
    columns = {name: moved(data[name].to_numpy()) for name in ("y", "x", "k")}
    assert not any(own.flags.aligned for own in columns.values())
    arrays = {name: pa.array(own) for name, own in columns.items()}
    table = pa.table({**arrays, "g": moved_texts(data.g.tolist())})
    tables = {
        "pandas": pd.DataFrame({**columns, "g": data.g}, copy=False),
        "polars": pl.from_arrow(table),
        "arrow": table,
    }
    for group in ("g", "k"):
        found = mlm.lmm(f"y ~ x + (1 | {group})", tables[kind])
        assert found.llf == mlm.lmm(f"y ~ x + (1 | {group})", data).llf
