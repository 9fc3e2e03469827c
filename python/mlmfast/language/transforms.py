"""Transforms that remember the data they were made from: orthogonal polynomials, splines, scales.

Each takes values, options and a state. An empty state is filled from the values; a filled one is
used as it is, so that new rows are transformed as the rows of the fit were. A state is JSON-able.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

import numpy as np

from mlmfast.arrays import FloatArray
from mlmfast.errors import DataError, FormulaError

Constant: TypeAlias = float | str | bool | tuple["Constant", ...] | None
Options: TypeAlias = dict[str, Constant]
StateValue: TypeAlias = float | bool | list[float] | list[list[float]] | None
State: TypeAlias = dict[str, StateValue]
Transform: TypeAlias = Callable[[FloatArray, Options, State], FloatArray]


def orthogonal_polynomials(x: FloatArray, options: Options, state: State) -> FloatArray:
    """R's `poly`: columns 1, ..., degree; raw powers on request."""
    degree = _whole(options.get("degree", 1.0), "poly's degree")
    if options.get("raw", False):
        return np.stack([x**power for power in range(1, degree + 1)], axis=1)
    if not state:
        n_distinct = np.unique(x).size
        if degree >= n_distinct:
            raise DataError(
                f"poly needs more distinct values than its degree: degree {degree}, "
                f"{n_distinct} distinct values"
            )
    from formulaic.transforms.poly import poly  # type: ignore[import-untyped]

    # Without the shift the recurrence loses the digits that x has before the decimal point.
    shift = _float(state["shift"]) if state else float(x.mean())
    kept = {key: dict(enumerate(_list(state[key]))) for key in ("alpha", "norms2") if state}
    values = np.asarray(poly(x - shift, degree, _state=kept), dtype=np.float64)
    state["shift"] = shift
    for key, by_degree in kept.items():
        # Filled in the order of use, not of degree.
        state[key] = [float(by_degree[k]) for k in sorted(by_degree)]
    return values


def basis_spline(x: FloatArray, options: Options, state: State) -> FloatArray:
    """R's `bs`; beyond the boundary knots the outer polynomials go on."""
    from formulaic.transforms.basis_spline import basis_spline as spline  # type: ignore[import-untyped]

    degree = _whole(options.get("degree", 3.0), "bs's degree")
    with_intercept = options.get("intercept", options.get("include_intercept", False))
    df = options.get("df")
    knots = options.get("knots")
    columns = spline(
        x,
        df=None if df is None or knots is not None else _whole(df, "bs's df"),
        knots=None if knots is None else _numbers(knots, "bs's knots"),
        degree=degree,
        include_intercept=bool(with_intercept),
        extrapolation="extend",
        _state=state,
    )
    return np.stack(list(columns.values()), axis=1)


def natural_spline(x: FloatArray, options: Options, state: State) -> FloatArray:
    """R's `ns`: the B-splines with no second derivative at the boundary, linear beyond it."""
    with_intercept = bool(options.get("intercept", False))
    if not state:
        low, high = float(x.min()), float(x.max())
        state["knots"] = _inner_knots(x, options, with_intercept)
        state["boundary"] = [low, high]
    knots, (low, high) = _list(state["knots"]), _list(state["boundary"])
    padded = np.concatenate([np.full(4, low), np.sort(knots), np.full(4, high)])
    basis = _splines_with_linear_tails(x, padded, low, high)
    curvature = _spline_derivatives(np.array([low, high]), padded, 2)
    if not with_intercept:
        basis, curvature = basis[:, 1:], curvature[:, 1:]
    # The last columns of Q span the splines whose two end curvatures are zero.
    q, _ = np.linalg.qr(curvature.T, mode="complete")
    return np.asarray(basis @ q[:, 2:])


def _inner_knots(x: FloatArray, options: Options, with_intercept: bool) -> list[float]:
    if options.get("knots") is not None:
        return _numbers(options["knots"], "ns's knots")
    df = _whole(options.get("df", 1.0), "ns's df")
    n_inner = df - 1 - with_intercept
    if n_inner < 0:
        raise FormulaError(f"ns's df is {df}; it needs at least {1 + with_intercept}")
    probabilities = np.linspace(0, 1, n_inner + 2)[1:-1]
    return [float(knot) for knot in np.quantile(x, probabilities)]


def _spline_derivatives(x: FloatArray, padded: FloatArray, order: int) -> FloatArray:
    from scipy.interpolate import BSpline

    spline = BSpline(padded, np.eye(padded.size - 4), 3, extrapolate=False)
    inside = np.nextafter(padded[-1], padded[0])
    values = spline(np.clip(x, padded[0], inside), nu=order)
    return np.asarray(values, dtype=np.float64)


def _splines_with_linear_tails(
    x: FloatArray, padded: FloatArray, low: float, high: float
) -> FloatArray:
    basis = _spline_derivatives(x, padded, 0)
    for end, outside in ((low, x < low), (high, x > high)):
        if outside.any():
            at_end = np.array([end])
            slope = _spline_derivatives(at_end, padded, 1)
            basis[outside] = _spline_derivatives(at_end, padded, 0)
            basis[outside] += (x[outside, None] - end) * slope
    return basis


def cubic_regression_spline(x: FloatArray, options: Options, state: State) -> FloatArray:
    """Natural cubic regression spline as mgcv's `cr`, centred so as not to span the intercept."""
    from formulaic.transforms.cubic_spline import cubic_spline  # type: ignore[import-untyped]

    knots, df = options.get("knots"), options.get("df")
    kept: dict[str, object] = dict(state)
    if state:
        kept["constraints"] = np.array(state["constraints"])
    columns = cubic_spline(
        x,
        df=None if df is None or knots is not None else _whole(df, "cr's df"),
        knots=None if knots is None else _numbers(knots, "cr's knots"),
        constraints="center",
        _state=kept,
    )
    state.update(kept)  # type: ignore[arg-type]
    state["constraints"] = np.asarray(kept["constraints"], dtype=np.float64).tolist()
    return np.stack(list(columns.values()), axis=1)


def scale(x: FloatArray, options: Options, state: State) -> FloatArray:
    """R's `scale`: minus the mean, divided by the standard deviation (divisor n - 1)."""
    if not state:
        state["center"] = float(x.mean()) if options.get("center", True) else 0.0
        centred = x - _float(state["center"])
        spread = float(np.sqrt(centred @ centred / max(x.size - 1, 1)))
        state["scale"] = spread if options.get("scale", True) else 1.0
        if spread == 0.0 and options.get("scale", True):
            raise DataError("scale needs values that vary; all are equal")
    return (x - _float(state["center"])) / _float(state["scale"])


def center(x: FloatArray, options: Options, state: State) -> FloatArray:
    """Subtract the mean."""
    return scale(x, {"scale": False}, state)


_MOST_COLUMNS = 500

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


def _whole(value: Constant, what: str) -> int:
    if isinstance(value, float) and 1 <= value <= _MOST_COLUMNS and value == int(value):
        return int(value)
    raise FormulaError(f"{what} is {value!r}; it must be a whole number, 1 to {_MOST_COLUMNS}")


def _numbers(value: Constant, what: str) -> list[float]:
    values = value if isinstance(value, tuple) else (value,)
    numbers = [item for item in values if isinstance(item, float)]
    if len(numbers) < len(values):
        raise FormulaError(f"{what} must be numbers, as in c(1, 2)")
    return numbers


def _list(value: StateValue) -> list[float]:
    assert isinstance(value, list)
    return [float(item) for item in value if isinstance(item, int | float)]


def _float(value: StateValue) -> float:
    assert isinstance(value, float)
    return value
