"""Bytes to bytes, as Spark's mapInArrow calls it."""

import pickle
import sys
from types import SimpleNamespace

import numpy as np
import pyarrow as pa
import pytest

import mlmfast as mlm
from mlmfast.errors import DataError
from mlmfast.mergeable.arrow_batches import BatchReducer, merge_bytes

FORMULA = "Reaction ~ Days + (Days | Subject)"


@pytest.fixture(scope="module")
def table():
    data = mlm.load_sleepstudy()
    data.loc[[3, 100], "Reaction"] = np.nan
    return data.sample(frac=1.0, random_state=2)


def partitions(table, sizes):
    batches, first = [], 0
    for size in sizes:
        own = pa.Table.from_pandas(table[first : first + size], preserve_index=False)
        batches.append(own.to_batches(max_chunksize=25))
        first += size
    return batches


def test_partitions_become_bytes_and_bytes_a_fit(table):
    plan = mlm.reduce(FORMULA, table[:40]).plan
    sent = pickle.dumps(BatchReducer(plan))
    found = [
        batch.column("reduction")[0].as_py()
        for own in partitions(table, [70, 0, 1, 109])
        for batch in pickle.loads(sent)(iter(own))
    ]
    assert len(found) == 4
    whole = merge_bytes(found)
    expected = mlm.lmm(FORMULA, table)
    fit = whole.fit()
    assert (whole.nobs, whole.n_dropped) == (178, 2)
    assert abs(fit.llf / expected.llf - 1) < 1e-12
    np.testing.assert_allclose(fit.bse, expected.bse, rtol=1e-7)
    with pytest.raises(DataError, match="comes twice"):
        merge_bytes([*found, found[0]])


def test_partitions_are_named_as_spark_names_them(table, monkeypatch):
    context = SimpleNamespace(partitionId=lambda: 37)
    spark = SimpleNamespace(TaskContext=SimpleNamespace(get=lambda: context))
    monkeypatch.setitem(sys.modules, "pyspark", spark)
    reducer = BatchReducer(mlm.reduce(FORMULA, table[:40]).plan, na_action="raise")
    with pytest.raises(DataError, match="partition 37: column 'Reaction' has 1 missing values"):
        list(reducer(iter(partitions(table[table.index != 3], [179])[0])))
