"""Tests of linear functions in every fit of a batch."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from mlmfast.aliasing import aliasing_of
from mlmfast.arrays import FloatArray
from mlmfast.contrast import FTest, RowTests, independent_rows, joint_test, row_tests
from mlmfast.contrast_rows import contrast_rows
from mlmfast.degrees_of_freedom import DegreesOfFreedom, FittedRows, TestBasis, method_of
from mlmfast.errors import ModelError
from mlmfast.estimability import kept_rows

if TYPE_CHECKING:
    from mlmfast.batch import FitBatch


@dataclass(frozen=True)
class BatchTests:
    """Tests of m linear functions in n fits; NaN where a fit failed.

    Attributes
    ----------
    estimate, se, df, statistic, pvalue : shape (n_fits, m)
        As in `RowTests`.
    f, df_num, df_den, f_pvalue : shape (n_fits,)
        The joint test of all rows.
    """

    estimate: FloatArray
    se: FloatArray
    df: FloatArray
    statistic: FloatArray
    pvalue: FloatArray
    f: FloatArray
    df_num: FloatArray
    df_den: FloatArray
    f_pvalue: FloatArray


def batch_df(batch: FitBatch, ddf: str | float) -> FloatArray:
    """See `FitBatch.df`."""
    rows, method = _rows(batch), method_of(ddf)
    method.check(batch.method == "REML")
    kept = rows[0].model.kept
    out = np.full((len(rows), len(batch.names)), np.nan)
    for fit, one in enumerate(rows):
        basis = _basis(one, method)
        if basis is not None:
            out[fit, kept] = method.of_rows(basis, np.eye(len(kept)))
    return out


def batch_tests(batch: FitBatch, L: Any, rhs: Any, ddf: str | float) -> BatchTests:
    """See `FitBatch.tests`."""
    rows, method = _rows(batch), method_of(ddf)
    method.check(batch.method == "REML")
    asked = contrast_rows(batch.names, L, rhs)
    kept = tuple(rows[0].model.kept.tolist())
    design = rows[0].design
    matrix = kept_rows(asked.L, batch.names, aliasing_of(design.x, design.n_obs, kept))
    single = np.full((5, len(rows), len(matrix)), np.nan)
    joint = np.full((4, len(rows)), np.nan)
    for fit, one in enumerate(rows):
        basis = _basis(one, method)
        if basis is None:
            continue
        tests = row_tests(basis, matrix, one.beta, asked.rhs)
        single[:, fit] = _numbers(tests)
        some, values = independent_rows(matrix, asked.rhs, basis.phi)
        together = joint_test(basis, some, some @ one.beta - values)
        joint[:, fit] = _joint(together)
    return BatchTests(*single, *joint)


def _numbers(tests: RowTests) -> FloatArray:
    return np.stack([tests.estimate, tests.se, tests.df, tests.statistic, tests.pvalue])


def _joint(test: FTest) -> tuple[float, float, float, float]:
    return test.statistic, float(test.df_num), test.df_den, test.pvalue


def _rows(batch: FitBatch) -> tuple[FittedRows, ...]:
    if batch.rows is None:
        raise ModelError("this batch does not hold the design its fits were made from")
    return batch.rows


def _basis(one: FittedRows, method: DegreesOfFreedom) -> TestBasis | None:
    """What tests need; None for a fit that failed."""
    return method.basis(one) if np.isfinite(one.vcov).all() else None
