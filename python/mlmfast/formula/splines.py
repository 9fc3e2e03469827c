"""Spline bases of a formula: R's `bs` and `ns`, mgcv's `cr`.

References: de Boor (2001), A Practical Guide to Splines; Wood (2017), Generalized Additive Models,
section 5.3.1.
"""

from __future__ import annotations

import numpy as np

from mlmfast.arrays import FloatArray
from mlmfast.errors import DataError, FormulaError
from mlmfast.formula.transform_options import Options, State, numbers, numbers_in, whole


def basis_spline(x: FloatArray, options: Options, state: State) -> FloatArray:
    """R's `bs`; beyond the boundary knots the outer polynomials go on."""
    degree = whole(options.get("degree", 3.0), "bs's degree")
    with_intercept = bool(options.get("intercept", options.get("include_intercept", False)))
    if not state:
        low, high = float(x.min()), float(x.max())
        inner = _inner_knots(x, options, "bs", degree + with_intercept)
        state["lower_bound"], state["upper_bound"] = low, high
        state["knots"] = [low] * (degree + 1) + sorted(inner) + [high] * (degree + 1)
    basis = _splines(x, np.array(numbers_in(state["knots"])), degree)
    return basis if with_intercept else basis[:, 1:]


def natural_spline(x: FloatArray, options: Options, state: State) -> FloatArray:
    """R's `ns`: the B-splines with no second derivative at the boundary, linear beyond it."""
    with_intercept = bool(options.get("intercept", False))
    if not state:
        state["boundary"] = [float(x.min()), float(x.max())]
        state["knots"] = _inner_knots(x, options, "ns", 1 + with_intercept)
    knots, (low, high) = numbers_in(state["knots"]), numbers_in(state["boundary"])
    padded = np.concatenate([np.full(4, low), np.sort(knots), np.full(4, high)])
    inside = np.clip(x, low, high)
    # Beyond an end its tangent goes on.
    basis = _splines(inside, padded, 3) + (x - inside)[:, None] * _splines(inside, padded, 3, 1)
    curvature = _splines(np.array([low, high]), padded, 3, 2)
    if not with_intercept:
        basis, curvature = basis[:, 1:], curvature[:, 1:]
    # The last columns of Q span the splines whose two end curvatures are zero.
    q, _ = np.linalg.qr(curvature.T, mode="complete")
    return np.asarray(basis @ q[:, 2:])


def cubic_regression_spline(x: FloatArray, options: Options, state: State) -> FloatArray:
    """Natural cubic regression spline as mgcv's `cr`, centred so as not to span the intercept.

    Columns are the splines that are 1 at one knot and 0 at the others, linear beyond the ends.
    """
    from scipy.interpolate import CubicSpline

    is_new = not state
    if is_new:
        low, high = float(x.min()), float(x.max())
        if options.get("knots") is None and options.get("df") is None:
            raise FormulaError("cr needs the number of its columns or its knots: cr(x, df=4)")
        # Centring takes one column of the knots'.
        inner = _inner_knots(np.unique(x), options, "cr", 1)
        state["lower_bound"], state["upper_bound"] = low, high
        state["knots"] = np.unique([low, *inner, high]).tolist()
        if len(inner) + 2 > len(numbers_in(state["knots"])):
            raise DataError(
                f"cr needs {len(inner) + 2} knots at distinct values; the data have "
                f"{np.unique(x).size} distinct values"
            )
    knots = np.array(numbers_in(state["knots"]))
    spline = CubicSpline(knots, np.eye(len(knots)), bc_type="natural")
    inside = np.clip(x, knots[0], knots[-1])
    basis = spline(inside) + (x - inside)[:, None] * spline(inside, 1)
    if is_new:
        state["constraints"] = [basis.mean(axis=0).tolist()]
    q, _ = np.linalg.qr(np.array(state["constraints"]).T, mode="complete")
    return np.asarray(basis @ q[:, 1:])


def _inner_knots(x: FloatArray, options: Options, name: str, fixed: int) -> list[float]:
    """Knots that are given, or ``df - fixed`` of them at quantiles of x; none without either."""
    knots, df = options.get("knots"), options.get("df")
    if knots is not None:
        return _given_knots(numbers(knots, f"{name}'s knots"), x, name)
    if df is None:
        return []
    n_inner = whole(df, f"{name}'s df") - fixed
    if n_inner < 0:
        raise FormulaError(f"{name}'s df is {df:g}; it needs at least {fixed}")
    return [float(knot) for knot in np.quantile(x, np.linspace(0, 1, n_inner + 2)[1:-1])]


def _given_knots(knots: list[float], x: FloatArray, name: str) -> list[float]:
    low, high = float(x.min()), float(x.max())
    outside = [knot for knot in knots if not low < knot < high]
    if outside:
        raise FormulaError(
            f"{name}'s knots lie inside the range of the values, {low:g} to {high:g}; found "
            f"{', '.join(f'{knot:g}' for knot in outside)}"
        )
    return knots


def _splines(x: FloatArray, padded: FloatArray, degree: int, order: int = 0) -> FloatArray:
    """B-splines over knots with repeated ends, or their derivatives; outer pieces go on beyond."""
    from scipy.interpolate import BSpline

    spline = BSpline(padded, np.eye(padded.size - degree - 1), degree, extrapolate=True)
    # Derivatives at the upper end are those from inside.
    at = np.minimum(x, np.nextafter(padded[-1], padded[0])) if order else x
    return np.asarray(spline(at, nu=order), dtype=np.float64)
