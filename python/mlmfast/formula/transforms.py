"""Transforms that remember the data they were made from: orthogonal polynomials, splines, scales.

Each takes values, options and a state. An empty state is filled from the values; a filled one is
used as it is, so that new rows are transformed as the rows of the fit were. A state is JSON-able.
"""

from __future__ import annotations

import numpy as np

from mlmfast.arrays import FloatArray
from mlmfast.errors import DataError
from mlmfast.formula.splines import basis_spline, cubic_regression_spline, natural_spline
from mlmfast.formula.transform_options import (
    Options,
    State,
    Transform,
    number_in,
    numbers_in,
    whole,
)


def orthogonal_polynomials(x: FloatArray, options: Options, state: State) -> FloatArray:
    """R's `poly`: columns 1, ..., degree; raw powers on request."""
    degree = whole(options.get("degree", 1.0), "poly's degree")
    if options.get("raw", False):
        return np.stack([x**power for power in range(1, degree + 1)], axis=1)
    if not state:
        n_distinct = np.unique(x).size
        if degree >= n_distinct:
            raise DataError(
                f"poly needs more distinct values than its degree: degree {degree}, "
                f"{n_distinct} distinct values"
            )
    # Without the shift the recurrence loses the digits that x has before the decimal point.
    shift = number_in(state["shift"]) if state else float(x.mean())
    x = x - shift
    if not state:
        state["shift"] = shift
        state["alpha"], state["norms2"] = _recurrence(x, degree)
    alpha, norms2 = numbers_in(state["alpha"]), numbers_in(state["norms2"])
    before, now, columns = np.zeros_like(x), np.ones_like(x), []
    for k in range(degree):
        ratio = norms2[k] / norms2[k - 1] if k else 0.0
        before, now = now, (x - alpha[k]) * now - ratio * before
        columns.append(now / np.sqrt(norms2[k + 1]))
    return np.stack(columns, axis=1)


def _recurrence(x: FloatArray, degree: int) -> tuple[list[float], list[float]]:
    """Coefficients of the monic polynomials orthogonal over x, and their squared lengths.

    p_{k+1} = (x - a_k) p_k - (n_k / n_{k-1}) p_{k-1}, a_k = sum x p_k^2 / n_k, n_k = sum p_k^2
    (Kennedy and Gentle 1980, Statistical Computing, section 8.2, whose algorithm R's poly takes).
    """
    before, now = np.zeros_like(x), np.ones_like(x)
    alpha: list[float] = []
    norms2 = [float(now @ now)]
    for k in range(degree):
        alpha.append(float((x * now) @ now) / norms2[k])
        ratio = norms2[k] / norms2[k - 1] if k else 0.0
        before, now = now, (x - alpha[k]) * now - ratio * before
        norms2.append(float(now @ now))
    return alpha, norms2


def scale(x: FloatArray, options: Options, state: State) -> FloatArray:
    """R's `scale`: minus the mean, divided by the standard deviation (divisor n - 1)."""
    if not state:
        state["center"] = float(x.mean()) if options.get("center", True) else 0.0
        centred = x - number_in(state["center"])
        spread = float(np.sqrt(centred @ centred / max(x.size - 1, 1)))
        state["scale"] = spread if options.get("scale", True) else 1.0
        if spread == 0.0 and options.get("scale", True):
            raise DataError("scale needs values that vary; all are equal")
    return (x - number_in(state["center"])) / number_in(state["scale"])


def center(x: FloatArray, options: Options, state: State) -> FloatArray:
    """Subtract the mean."""
    return scale(x, {"scale": False}, state)


# Options by position, then those that must be named.
TRANSFORMS: dict[str, tuple[Transform, tuple[str, ...]]] = {
    "poly": (orthogonal_polynomials, ("degree", "raw")),
    "bs": (basis_spline, ("df", "knots", "degree", "intercept", "include_intercept")),
    "ns": (natural_spline, ("df", "knots", "intercept")),
    "cr": (cubic_regression_spline, ("df", "knots")),
    "scale": (scale, ("center", "scale")),
    "standardize": (scale, ("center", "scale")),
    "center": (center, ()),
}
