"""`lmm` of sources that would not fit into memory."""

import numpy as np
import pandas as pd
import pytest

import mlmfast as mlm
from mlmfast.errors import ModelError
from mlmfast.sources import in_memory

FORMULA = "Reaction ~ Days + (Days | Subject)"


@pytest.fixture
def folder(tmp_path):
    data = mlm.load_sleepstudy()
    for k in range(3):
        data[k * 60 : (k + 1) * 60].to_parquet(tmp_path / f"part-{k}.parquet")
    return tmp_path


@pytest.fixture
def no_room(monkeypatch):
    def refuse(needed, what, instead):
        raise MemoryError(f"{what} needs {needed} bytes; {instead}")

    monkeypatch.setattr(in_memory, "check_memory", refuse)


def test_rows_that_do_not_fit_are_reduced(folder, no_room):
    expected = mlm.lmm(FORMULA, mlm.load_sleepstudy(), ddf="kenward-roger")
    fit = mlm.lmm(FORMULA, folder, ddf="kenward-roger")
    assert abs(fit.llf / expected.llf - 1) < 1e-12
    np.testing.assert_allclose(fit.bse, expected.bse, rtol=1e-7)
    np.testing.assert_allclose(fit.df, expected.df, rtol=1e-6)
    with pytest.raises(ModelError, match="rows themselves are needed"):
        fit.resid()


def test_residual_covariances_over_visits_are_reduced_too(folder, no_room):
    formula, options = "Reaction ~ factor(Days)", {"residual": "cs(Days | Subject)"}
    fit, expected = (
        mlm.lmm(formula, folder, **options),
        mlm.lmm(formula, mlm.load_sleepstudy(), **options),
    )
    assert abs(fit.llf / expected.llf - 1) < 1e-12
    np.testing.assert_allclose(fit.bse, expected.bse, rtol=1e-7)


def test_what_needs_rows_or_passes_once_is_refused(folder, no_room):
    with pytest.raises(MemoryError, match=r"mlmfast.reduce\(formula, source\).fit\(\)"):
        mlm.lmm(FORMULA, folder, residual_scale="exp(Days)")
    frames = (pd.read_parquet(path) for path in sorted(folder.iterdir()))
    with pytest.raises(MemoryError, match=r"mlmfast.reduce\(formula, source\).fit\(\)"):
        mlm.lmm(FORMULA, frames)


def test_a_budget_asks_for_a_reduction(folder):
    data = mlm.load_sleepstudy()
    for source in (folder, data):
        fit = mlm.lmm(FORMULA, source, memory="1GB", REML=False)
        assert abs(fit.llf / mlm.lmm(FORMULA, data, method="ML").llf - 1) < 1e-12
    with pytest.raises(ModelError, match="residual_scale, absorb, bounded= needs the rows"):
        mlm.lmm(FORMULA, data, residual_scale="exp(Days)", absorb=True, bounded=False,
                memory="1GB")  # fmt: skip
