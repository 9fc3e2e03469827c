"""t tests of single linear functions of the fixed effects, F tests of several."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from mlmfast.arrays import FloatArray
from mlmfast.degrees_of_freedom import Ddf, TestBasis, method_of
from mlmfast.distributions import chi2_tail, f_tail, quantile, two_sided
from mlmfast.errors import ModelError
from mlmfast.fitting.undetermined.record import ERRORS_DEPEND
from mlmfast.handed_out import hands_out_copies
from mlmfast.inference.contrasts.estimability import check_estimable
from mlmfast.information.undetermined_effects import depend, depend_together

if TYPE_CHECKING:
    from mlmfast.fitted.fitted import Fitted


#: Share of a row that must lie outside the others' span for it to count.
_DEPENDENT = 1e-9


@hands_out_copies
@dataclass(frozen=True)
class RowTests:
    """m single linear functions; arrays of shape (m,).

    Attributes
    ----------
    estimate, se, df, statistic, pvalue
        L beta, its standard error, degrees of freedom, (estimate - rhs) / se and its two-sided p.
    rhs
        Values under the hypotheses.
    """

    estimate: FloatArray
    se: FloatArray
    df: FloatArray
    statistic: FloatArray
    pvalue: FloatArray
    rhs: FloatArray

    def interval(self, level: float = 0.95) -> tuple[FloatArray, FloatArray]:
        """Lower and upper limits by t quantiles."""
        half = quantile(self.df, level) * self.se
        return self.estimate - half, self.estimate + half


@dataclass(frozen=True)
class FTest:
    """A joint test of several linear functions.

    Attributes
    ----------
    statistic, df_num, df_den, pvalue
        F, its degrees of freedom (numerator: the rank of L) and p.
    chi2, chi2_pvalue
        Wald's chi-squared with the same covariance, and its p (PROC MIXED's CHISQ option).
    note
        Why F is NaN, where the method of degrees of freedom has none for these data.
    """

    statistic: float
    df_num: int
    df_den: float
    pvalue: float
    chi2: float
    chi2_pvalue: float
    note: str = ""


def linear_tests(
    fit: Fitted, L: FloatArray, rhs: FloatArray | float = 0.0, ddf: Ddf | None = None
) -> RowTests:
    """t tests of many single linear functions at once.

    Parameters
    ----------
    fit : the fit.
    L : shape (m, p), over all columns of X; aliased columns count as far as rows are estimable.
    rhs : shape (m,) or a number.
    ddf : method of degrees of freedom; the fit's own by default.

    Raises
    ------
    ModelError
        Where a row is not estimable.

    Examples
    --------
    >>> import mlmfast as mlm
    >>> fit = mlm.lmm("Reaction ~ Days + (Days | Subject)", mlm.load_sleepstudy())
    >>> linear_tests(fit, np.array([[1.0, 5.0]])).df.round(6).tolist()
    [17.0]
    """
    rows = check_estimable(fit, np.atleast_2d(L))
    basis = fit._basis(ddf)
    return row_tests(basis, rows, fit._record.beta, rhs)


def row_tests(
    basis: TestBasis, rows: FloatArray, beta: FloatArray, rhs: FloatArray | float
) -> RowTests:
    """t tests of rows over the columns kept, shape (m, rank)."""
    estimate = rows @ beta
    se = np.sqrt(np.maximum(((rows @ basis.vcov) * rows).sum(axis=1), 0.0))
    df = method_of(basis.method).of_rows(basis, rows)
    if basis.moves is not None:
        untold = depend(basis.moves, rows, basis.phi)
        se, df = np.where(untold, np.nan, se), np.where(untold, np.nan, df)
    values = np.broadcast_to(np.asarray(rhs, dtype=np.float64), estimate.shape)
    with np.errstate(divide="ignore", invalid="ignore"):
        statistic = (estimate - values) / se
    return RowTests(estimate, se, df, statistic, two_sided(statistic, df), values)


def f_test(
    fit: Fitted,
    L: FloatArray,
    ddf: Ddf | None = None,
    rhs: FloatArray | float = 0.0,
    term: Sequence[int] | None = None,
) -> FTest:
    """F test that L beta = rhs; rows that depend on others are left out.

    Parameters
    ----------
    fit : the fit.
    L : shape (l, p), over all columns of X.
    ddf : method of degrees of freedom; the fit's own by default.
    rhs : shape (l,) or a number.
    term
        The coefficients, by position among those kept, of the term that is tested; see
        `joint_test`.

    Raises
    ------
    ModelError
        Where a row is not estimable, all rows are 0, or dependent rows contradict each other.

    Examples
    --------
    >>> import mlmfast as mlm
    >>> fit = mlm.lmm("Reaction ~ Days + (Days | Subject)", mlm.load_sleepstudy())
    >>> test = f_test(fit, np.eye(2))
    >>> test.df_num, round(test.df_den, 6), round(test.statistic, 2)
    (2, 17.0, 749.96)
    """
    rows = check_estimable(fit, np.atleast_2d(L))
    values = np.broadcast_to(np.asarray(rhs, dtype=np.float64), len(rows))
    basis = fit._basis(ddf)
    rows, values = independent_rows(rows, values, basis.phi)
    return joint_test(basis, rows, rows @ fit._record.beta - values, term)


def joint_test(
    basis: TestBasis, rows: FloatArray, difference: FloatArray, term: Sequence[int] | None = None
) -> FTest:
    """F test of independent rows over the columns kept, ``difference`` = L beta - rhs.

    With ``term``, its coefficients, the test is that of the term: see
    `DegreesOfFreedom.joint_of_term`.
    """
    from mlmfast.degrees_of_freedom.base import wald

    method = method_of(basis.method)
    if depend_together(basis.moves, rows, basis.phi):
        return FTest(*(np.nan, len(rows), np.nan, np.nan, np.nan, np.nan), ERRORS_DEPEND)
    statistic, df = (
        method.joint_of_term(basis, rows, difference, term)
        if term
        else method.joint(basis, rows, difference)
    )
    size = len(rows)
    chi2 = wald(basis.vcov, rows, difference)
    pvalue = (
        float(chi2_tail(size * statistic, size))
        if np.isinf(df)
        else float(f_tail(statistic, size, df))
    )
    note = method.no_joint if np.isnan(statistic) else ""
    return FTest(statistic, size, df, pvalue, chi2, float(chi2_tail(chi2, size)), note)


def independent_rows(
    rows: FloatArray, values: FloatArray, phi: FloatArray
) -> tuple[FloatArray, FloatArray]:
    """The first rows that are independent, each measured by its standard error, and their values.

    Raises
    ------
    ModelError
        Where no row differs from 0, or a row left out contradicts those kept.
    """
    root = np.linalg.cholesky(phi)
    scaled = rows @ root
    sizes = np.sqrt((scaled**2).sum(axis=1))
    kept: list[int] = []
    basis = np.zeros((0, rows.shape[1]))
    largest = sizes.max(initial=0.0)
    for k, row in enumerate(scaled):
        if sizes[k] <= 1e-12 * largest or sizes[k] == 0.0:
            if values[k] != 0.0:
                raise ModelError(f"row {k + 1} of the contrast is 0, and its value {values[k]:g}")
            continue
        rest = row - (row @ basis.T) @ basis
        rest = rest - (rest @ basis.T) @ basis
        size = np.sqrt(rest @ rest)
        if size > _DEPENDENT * sizes[k]:
            basis = np.vstack([basis, rest / size])
            kept.append(k)
            continue
        weights = np.linalg.lstsq(scaled[kept].T, row, rcond=None)[0]
        implied = float(weights @ values[kept])
        if abs(implied - values[k]) > 1e-8 * max(abs(implied), abs(float(values[k])), 1e-300):
            raise ModelError(
                f"row {k + 1} of the contrast depends on the rows before it, which make its value "
                f"{implied:g}, not {values[k]:g}"
            )
    if not kept:
        raise ModelError("all rows of the contrast are 0; there is nothing to test")
    return rows[kept], np.asarray(values)[kept]
