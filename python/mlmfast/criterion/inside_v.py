"""Points of unbounded covariances brought back to where V is positive definite."""

from __future__ import annotations

import numpy as np

from mlmfast.arrays import FloatArray, IntArray
from mlmfast.criterion.parameters.functions import CovarianceFunctions

#: Doublings of the residual variance until V is positive definite.
_DOUBLINGS = 60


def with_larger_residual(
    functions: CovarianceFunctions, which: IntArray, points: FloatArray
) -> FloatArray:
    """Points whose V is no covariance matrix, with a residual variance that makes it one.

    The covariances of random effects stay what they are: parameters held keep their values, if the
    residual variance is not among them.

    Parameters
    ----------
    functions
        The model's covariance parameters.
    which : shape (n_rows, k), positions of those held in each row.
    points : shape (n_rows, n_coordinates)
    """
    if functions.model.design.is_bounded or not functions.has_scale:
        return points
    criterion, out, n = functions.criterion, points.copy(), functions.criterion.n_theta
    rows = np.flatnonzero((which != functions.scale_position).all(axis=1))
    for _ in range(_DOUBLINGS):
        theta = np.ascontiguousarray(out[rows, :n])
        value = criterion.value(theta, np.zeros(len(rows), dtype=np.intp))
        rows = rows[~np.isfinite(value)]
        if rows.size == 0:
            break
        half = np.full((len(rows), 1), np.sqrt(0.5))
        for term, s in zip(criterion.terms, criterion.theta_slices, strict=True):
            out[rows, s] = term.shared.scaled(out[rows, s], half)
        out[rows, -1] += np.log(2.0)
    return out
