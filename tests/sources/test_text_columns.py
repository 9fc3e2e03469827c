"""Text that files hold as a list of texts and their numbers is plain text, however it is read."""

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import mlmfast as mlm
from mlmfast.data.frame import Frame
from mlmfast.sources import files
from mlmfast.sources.open_source import open_source

FORMULA = "y ~ arm + (1 | site)"


@pytest.fixture(scope="module")
def table():
    """Row groups that have some of the levels each, first met in no order; long and rare texts."""
    rng = np.random.default_rng(4)
    n = 3_000
    arm = np.array(["z", "é", "B", "a", ""], dtype=object)[np.arange(n) // 700 % 5]
    arm[rng.random(n) < 0.02] = None
    site = np.array([f"site {k % 37}" for k in range(n)], dtype=object)
    y = rng.normal(size=n) + rng.normal(size=37)[np.arange(n) % 37]
    return pa.table({"y": y, "arm": pa.array(arm), "site": pa.array(site)})


@pytest.fixture(scope="module")
def path(table, tmp_path_factory):
    path = tmp_path_factory.mktemp("text") / "rows.parquet"
    pq.write_table(table, path, row_group_size=500)
    return str(path)


@pytest.fixture(params=[None, 1])
def source(request, path):
    """Several row groups at once, and pieces of one."""
    source = open_source(path, part_bytes=request.param)
    return source


def test_levels_and_codes_are_those_of_the_text(table, path, source, monkeypatch):
    if source.part_bytes == 1:
        monkeypatch.setattr("mlmfast.sources.source._FEWEST_ROWS", 130)
    expected = Frame.from_native(table).factor("arm")
    parts = list(source.parts(["arm"]))
    assert len(parts) > (20 if source.part_bytes == 1 else 0)
    first = 0
    for part in parts:
        own = Frame.from_native(part.frame).factor("arm")
        codes = expected.codes[first : first + len(own.codes)]
        labels = [expected.levels[k] for k in sorted(set(codes.tolist()) - {-1})]
        assert own.levels == tuple(labels)
        assert own.declared is None
        assert [own.levels[k] if k >= 0 else None for k in own.codes.tolist()] == [
            expected.levels[k] if k >= 0 else None for k in codes.tolist()
        ]
        first += len(codes)
    assert first == table.num_rows


def test_files_that_hold_text_one_way_and_the_other(table, path, tmp_path, monkeypatch):
    expected = mlm.lmm(FORMULA, table)
    for k, size in enumerate((2.0, 0.0)):
        monkeypatch.setattr(files, "_FEW_TEXTS", size)
        assert files._repeated_texts(path, ["y", "arm", "site"]) == (
            ["arm", "site"] if not k else []
        )
        fit = mlm.lmm(FORMULA, path)
        assert fit.llf == expected.llf
        assert mlm.reduce(FORMULA, path).fit().params.index.equals(expected.params.index)
    pq.write_table(table[:1500], tmp_path / "a.parquet")
    pq.write_table(table[1500:], tmp_path / "b.parquet", use_dictionary=False)
    assert mlm.lmm(FORMULA, tmp_path).llf == expected.llf


def test_a_dictionary_in_the_file_keeps_its_order(table, tmp_path):
    arm = pa.DictionaryArray.from_arrays(
        pa.array(np.arange(3_000) % 3, pa.int8()), pa.array(["low", "mid", "high"])
    )
    pq.write_table(table.set_column(1, "arm", arm), tmp_path / "rows.parquet")
    fit = mlm.reduce(FORMULA, tmp_path).fit()
    assert list(fit.params.index) == ["(Intercept)", "armmid", "armhigh"]


def test_errors_call_it_text(path):
    with pytest.raises(mlm.errors.DataError, match="has type string"):
        mlm.lmm("y ~ 1 + (1 | site)", path, weights="arm")
