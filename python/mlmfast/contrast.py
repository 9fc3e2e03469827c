"""Linear functions of the fixed effects: t tests of single rows, F tests of several."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from scipy import stats

from mlmfast.arrays import FloatArray
from mlmfast.errors import ModelError

if TYPE_CHECKING:
    from mlmfast.result import LMMResult


@dataclass(frozen=True)
class RowTests:
    """Single linear functions; arrays of shape (m,)."""

    estimate: FloatArray
    se: FloatArray
    df: FloatArray


@dataclass(frozen=True)
class FTest:
    """A joint test of several linear functions."""

    statistic: float
    df_num: int
    df_den: float
    pvalue: float
    chi2: float
    chi2_pvalue: float


def _df(fit: LMMResult, ddf: str | float | None) -> float:
    name = fit._record.ddf if ddf is None else ddf
    if isinstance(name, int | float):
        return float(name)
    if name == "residual":
        return float(fit.nobs - fit.rank)
    if name == "asymptotic":
        return float(np.inf)
    raise ModelError(f"ddf={name!r} is not available yet; use 'residual' or 'asymptotic'")


def linear_tests(
    fit: LMMResult, L: FloatArray, rhs: FloatArray | float = 0.0, ddf: str | float | None = None
) -> RowTests:
    """t tests of many single linear functions at once."""
    rows = L[:, list(fit._record.kept)]
    se = np.sqrt(((rows @ fit._record.vcov) * rows).sum(axis=1))
    return RowTests(rows @ fit._record.beta, se, np.full(len(L), _df(fit, ddf)))


def f_test(fit: LMMResult, L: FloatArray, ddf: str | float | None = None) -> FTest:
    """F test that L beta = 0."""
    rows = L[:, list(fit._record.kept)]
    b, df = rows @ fit._record.beta, _df(fit, ddf)
    chi2 = float(b @ np.linalg.solve(rows @ fit._record.vcov @ rows.T, b))
    m = len(rows)
    chi2_p = float(stats.chi2.sf(chi2, m))
    p = chi2_p if np.isinf(df) else float(stats.f.sf(chi2 / m, m, df))
    return FTest(chi2 / m, m, df, p, chi2, chi2_p)
