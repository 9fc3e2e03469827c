"""Tests of linear functions of all coefficients beside an absorbed factor."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from mlmfast.arrays import FloatArray
from mlmfast.degrees_of_freedom import Ddf, TestBasis, ddf_text, method_of
from mlmfast.errors import ModelError
from mlmfast.inference.absorbed.coefficient_tests import coefficient_tests, levels_of
from mlmfast.inference.absorbed.estimability import aliasing_of_levels
from mlmfast.inference.contrasts.contrast import Contrast
from mlmfast.inference.contrasts.estimability import kept_rows
from mlmfast.inference.contrasts.linear_tests import FTest, independent_rows, joint_test, row_tests
from mlmfast.inference.contrasts.rows import contrast_rows

if TYPE_CHECKING:
    from mlmfast.fitted.fitted import Fitted

#: Functions that are tested together at most.
MOST_FUNCTIONS = 2_000


def contrast(
    fit: Fitted, L: object, rhs: object, ddf: Ddf | None, level: float, joint: bool
) -> Contrast:
    """See `LMMResult.contrast`; functions of levels need those levels' columns alone."""
    names = levels_of(fit).x_names
    rows = contrast_rows(names, L, rhs)
    if len(rows.L) > MOST_FUNCTIONS:
        raise ModelError(
            f"{len(rows.L):,} functions at once would take matrices of that order by level; "
            f"give at most {MOST_FUNCTIONS:,}"
        )
    check_rows(fit, rows.L)
    method = fit.ddf if ddf is None else ddf_text(ddf)
    basis = coefficient_tests(fit).basis(rows.L, method)
    estimates = _estimates(fit, rows.L)
    one = np.eye(len(rows.L))
    tests = row_tests(basis, one, estimates, rows.rhs)
    together = None
    if joint and len(one) > 1:
        together = joint_of(fit, rows.L, rows.rhs, method, basis)
    return Contrast(rows, tests, together, basis.method, method_of(basis.method).label, level)


def joint_of(
    fit: Fitted,
    L: FloatArray,
    rhs: FloatArray,
    ddf: str,
    basis: TestBasis | None = None,
) -> FTest:
    """F test of L beta = rhs; rows that depend on those before are left out.

    ``basis`` is that of all rows, where it is at hand.
    """
    used = L[:, L.any(axis=0)]
    rows, values = independent_rows(used, rhs, np.eye(used.shape[1]))
    kept, at = [], 0
    for k, row in enumerate(used):
        if at < len(rows) and np.array_equal(row, rows[at]):
            kept.append(k)
            at += 1
    if basis is None or len(kept) < len(L):
        basis = coefficient_tests(fit).basis(L[kept], ddf)
    return joint_test(basis, np.eye(len(kept)), _estimates(fit, L[kept]) - values)


def check_rows(fit: Fitted, L: FloatArray) -> None:
    """Refuse rows of 0, and those that are not estimable beside aliased columns.

    Raises
    ------
    ModelError
    """
    empty = np.flatnonzero(~L.any(axis=1))
    if empty.size:
        raise ModelError(
            f"row {empty[0] + 1} of the contrast is 0 for every coefficient; there is nothing to "
            "estimate"
        )
    kept_rows(L, levels_of(fit).x_names, aliasing_of_levels(fit))


def _estimates(fit: Fitted, L: FloatArray) -> FloatArray:
    kept = list(levels_of(fit).kept)
    return np.asarray(L[:, kept] @ levels_of(fit).beta)
