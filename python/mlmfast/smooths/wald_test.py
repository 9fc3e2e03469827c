"""Test that a curve is zero everywhere: Wood's Wald test with a rank that is no whole number.

T = f'V^(r-) f with f the curve at the rows, V its Bayesian covariance and V^(r-) an inverse of rank
r, the reference degrees of freedom: eigenvectors of the largest eigenvalues, the last two of them
joined so that E T = r. The two signs that the joint leaves open give two statistics, whose
p-values and values are averaged (mgcv prints one of the statistics, and the same p-value).

References: Wood (2013), Biometrika 100, 221-228; Wood (2017), Generalized Additive Models, section
6.12.1.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from mlmfast.arrays import FloatArray
from mlmfast.smooths.weighted_chi2 import ratio_tail

#: Eigenvalue over the largest that is 0.
_NO_VARIANCE = float(np.finfo(np.float64).eps) ** 0.9


@dataclass(frozen=True)
class CurveTest:
    """A test of a curve: F, its degrees of freedom, and p."""

    f: float
    df: float
    p: float


def curve_test(
    columns: FloatArray, estimate: FloatArray, covariance: FloatArray, rank: float, df: float
) -> CurveTest:
    """Test a curve by its columns at the rows.

    Parameters
    ----------
    columns : shape (n, m), times the roots of weights.
    estimate, covariance : shapes (m,), (m, m)
    rank
        Reference degrees of freedom.
    df
        Residual degrees of freedom.
    """
    root = np.asarray(np.linalg.qr(columns, mode="r"))
    spread = root @ covariance @ root.T
    values, vectors = np.linalg.eigh((spread + spread.T) / 2)
    values, vectors = values[::-1], vectors[:, ::-1]
    n_values = int((values > _NO_VARIANCE * values[0]).sum())
    rank = min(rank, float(n_values))
    whole = int(rank)
    part = rank - whole
    needed = whole + (part > 0)
    scaled = (vectors[:, :needed].T @ (root @ estimate)) / np.sqrt(values[:needed])
    if not part:
        statistic = float(scaled @ scaled)
        return CurveTest(statistic / rank, rank, ratio_tail(np.ones(whole), statistic, df))
    joint = np.sqrt(0.5 * part * (1.0 - part))
    a, b = scaled[-2:]
    sure = float(scaled[:-1] @ scaled[:-1]) + part * b**2
    both = [sure + 2.0 * sign * joint * a * b for sign in (1.0, -1.0)]
    larger = (1.0 + part + np.sqrt(1.0 - part**2)) / 2.0
    weights = np.array([*np.ones(whole - 1), larger, 1.0 + part - larger])
    # mgcv's algorithm takes whole degrees of freedom of the scale alone.
    around = max(1.0, float(np.round(df)))
    p = float(np.mean([ratio_tail(weights, statistic, around) for statistic in both]))
    return CurveTest(float(np.mean(both)) / rank, rank, p)
