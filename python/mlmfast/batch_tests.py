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
from mlmfast.handed_out import hands_out_copies

if TYPE_CHECKING:
    from mlmfast.batch import FitBatch
    from mlmfast.reduced_model import ReducedModel


@hands_out_copies
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
    out = np.full((len(rows), len(batch.names)), np.nan)
    for fit, one in enumerate(rows):
        basis = None if one is None else _basis(one, method)
        if one is not None and basis is not None:
            kept = [batch.names.index(one.design.x_names[k]) for k in one.model.kept]
            out[fit, kept] = method.of_rows(basis, np.eye(len(kept)))
    return out


def batch_tests(batch: FitBatch, L: Any, rhs: Any, ddf: str | float) -> BatchTests:
    """See `FitBatch.tests`."""
    rows, method = _rows(batch), method_of(ddf)
    method.check(batch.method == "REML")
    asked = contrast_rows(batch.names, L, rhs)
    own_rows = _RowsByModel(batch.names, asked.L)
    single = np.full((5, len(rows), len(asked.L)), np.nan)
    joint = np.full((4, len(rows)), np.nan)
    for fit, one in enumerate(rows):
        matrix = None if one is None else own_rows.of(one.model)
        basis = None if one is None or matrix is None else _basis(one, method)
        if one is None or matrix is None or basis is None:
            continue
        tests = row_tests(basis, matrix, one.beta, asked.rhs)
        single[:, fit] = _numbers(tests)
        some, values = independent_rows(matrix, asked.rhs, basis.phi)
        together = joint_test(basis, some, some @ one.beta - values)
        joint[:, fit] = _joint(together)
    own_rows.check_any()
    return BatchTests(*single, *joint)


class _RowsByModel:
    """Rows of a contrast over the columns that each design of a batch keeps, found once a design.

    None where the contrast is not estimable in a design.
    """

    def __init__(self, names: tuple[str, ...], L: FloatArray) -> None:
        self._names, self._L = names, L
        self._found: dict[int, FloatArray | ModelError] = {}

    def of(self, model: ReducedModel) -> FloatArray | None:
        """The rows, shape (m, rank)."""
        if id(model) not in self._found:
            try:
                self._found[id(model)] = self._kept(model)
            except ModelError as error:
                self._found[id(model)] = error
        found = self._found[id(model)]
        return None if isinstance(found, ModelError) else found

    def check_any(self) -> None:
        """Refuse a contrast that no design of the batch can estimate."""
        errors = [found for found in self._found.values() if isinstance(found, ModelError)]
        if errors and len(errors) == len(self._found):
            raise errors[0]

    def _kept(self, model: ReducedModel) -> FloatArray:
        own, kept = model.design.x_names, tuple(model.kept.tolist())
        lacking = [j for j, name in enumerate(self._names) if name not in own]
        if self._L[:, lacking].any():
            raise ModelError("the contrast is about coefficients that no fit of the batch has")
        L = self._L[:, [self._names.index(name) for name in own]]
        return kept_rows(L, own, aliasing_of(model.design.x, model.design.n_obs, kept))


def _numbers(tests: RowTests) -> FloatArray:
    return np.stack([tests.estimate, tests.se, tests.df, tests.statistic, tests.pvalue])


def _joint(test: FTest) -> tuple[float, float, float, float]:
    return test.statistic, float(test.df_num), test.df_den, test.pvalue


def _rows(batch: FitBatch) -> tuple[FittedRows | None, ...]:
    if batch.rows is None:
        raise ModelError("this batch does not hold the design its fits were made from")
    return batch.rows


def _basis(one: FittedRows, method: DegreesOfFreedom) -> TestBasis | None:
    """What tests need; None for a fit that failed."""
    return method.basis(one) if np.isfinite(one.vcov).all() else None
