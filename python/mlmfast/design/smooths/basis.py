"""Penalised cubic B-splines (P-splines) in mixed-model form: knots, constraint, penalty.

A curve is f(x) = B(x) beta with cubic B-splines over evenly spaced knots and the penalty
lambda |D beta|^2 of second differences. With the columns of T orthonormal complements of what has
no penalty, divided by the roots of their eigenvalues, it is

    f(x) = (x - mean) b + B(x) T u,    u ~ N(0, sigma_s^2 I),    lambda = sigma^2 / sigma_s^2,

the straight line being what second differences do not see. T is scaled so that the variance of
B(x) T u is sigma_s^2 on the average of the rows. Knots, penalty and the constraint that the curve
sums to 0 over the rows are mgcv's for bs = "ps", m = c(2, 2).

References: Eilers and Marx (1996), Statistical Science 11, 89-121; Wood (2017), Generalized
Additive Models, sections 5.3.3, 5.4.1 and 5.8.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from mlmfast.arrays import FloatArray
from mlmfast.errors import DataError
from mlmfast.formula.smooth_terms import FEWEST
from mlmfast.formula.transform_options import State, number_in, numbers_in

_DEGREE, _DIFFERENCES = 3, 2
#: Share of the range that the outer knots lie beyond the data.
MARGIN = 1e-3


def fit_basis(
    x: FloatArray, k: int, centred: bool, state: State, counts: FloatArray | None = None
) -> None:
    """Knots and T of a curve over the values x, into its state.

    Parameters
    ----------
    counts
        How many rows have each value; None for one each.

    Raises
    ------
    DataError
        Where x has fewer distinct values than there are basis functions.
    """
    from scipy.interpolate import BSpline

    _check_distinct(x, k)
    knots = _knots(float(x.min()), float(x.max()), k)
    b = BSpline.design_matrix(x, knots, _DEGREE)
    constraint, squares, mean = _moments(x, b, counts)
    complement = np.eye(k)
    if centred:
        complement = np.linalg.qr(constraint[:, None], mode="complete")[0][:, 1:]
    differences = np.diff(np.eye(k), _DIFFERENCES, axis=0) @ complement
    # Roots of the eigenvalues of the penalty, which squares would cost half of their digits.
    _, roots, rows = np.linalg.svd(differences, full_matrices=False)
    t = complement @ rows.T / roots
    # Signs are free: the largest entry of a column is positive, whatever the library chose.
    largest = np.abs(t).argmax(axis=0)
    t *= np.sign(t[largest, np.arange(t.shape[1])])
    t /= np.sqrt(np.einsum("ij,ik,kj->", t, squares, t))
    state["knots"], state["map"] = knots.tolist(), t.tolist()
    state["center"], state["centred"] = mean, centred


def _moments(
    x: FloatArray, b: Any, counts: FloatArray | None
) -> tuple[FloatArray, FloatArray, float]:
    """Means over the rows of B(x), of its squares and products, and of x."""
    if counts is None:
        squares = np.asarray((b.T @ b).todense()) / len(x)
        return np.asarray(b.mean(axis=0)).ravel(), squares, float(x.mean())
    share, dense = counts / counts.sum(), b.toarray()
    mean = float(x[0] + share @ (x - x[0]))
    return share @ dense, dense.T @ (share[:, None] * dense), mean


def straight_part(x: FloatArray, state: State) -> list[FloatArray]:
    """What has no penalty: x about its mean and, in a curve that is not centred, a constant."""
    line = x - number_in(state["center"])
    return [line] if state["centred"] else [np.ones_like(x), line]


def curved_part(x: FloatArray, state: State, order: int = 0) -> FloatArray:
    """B(x) T, or its first derivative, shape (n, k - 2); straight beyond the outer knots."""
    from scipy.interpolate import BSpline

    knots = np.array(numbers_in(state["knots"]))
    spline = BSpline(knots, np.array(state["map"], dtype=np.float64), _DEGREE)
    low, high = knots[_DEGREE], knots[-_DEGREE - 1]
    inside = np.clip(x, low, high)
    if order:
        return np.asarray(spline(inside, nu=order))
    out = np.asarray(spline(inside))
    beyond = np.flatnonzero(inside != x)
    if beyond.size:
        out[beyond] += (x - inside)[beyond, None] * spline(inside[beyond], nu=1)
    return out


def outer_knots(state: State) -> tuple[float, float]:
    """Where a curve ends to be one, and is straight beyond."""
    knots = numbers_in(state["knots"])
    return knots[_DEGREE], knots[-_DEGREE - 1]


def _knots(low: float, high: float, k: int) -> FloatArray:
    """Evenly spaced knots, as many beyond either end as the degree."""
    margin = MARGIN * (high - low)
    low, high = low - margin, high + margin
    n_inside = k - _DEGREE + 1
    step = (high - low) / (n_inside - 1)
    return np.linspace(
        low - _DEGREE * step, high + _DEGREE * step, n_inside + 2 * _DEGREE, dtype=np.float64
    )


def _check_distinct(x: FloatArray, k: int) -> None:
    n_distinct = np.unique(x).size
    if n_distinct >= k:
        return
    if n_distinct < FEWEST:
        raise DataError(
            f"its variable has {n_distinct} distinct value{'' if n_distinct == 1 else 's'}, too "
            "few for a curve; use the variable by itself, or factor() of it"
        )
    raise DataError(
        f"its variable has {n_distinct} distinct values, fewer than the {k} basis functions; "
        f"write k={n_distinct}, or less"
    )
