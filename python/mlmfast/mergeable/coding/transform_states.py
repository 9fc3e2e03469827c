"""What `poly`, `scale`, `bs`, ... remember of the data, found over parts of them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from mlmfast.arrays import FloatArray
from mlmfast.data.frame import Frame
from mlmfast.design.columns.expressions import States, evaluate
from mlmfast.design.smooths.basis import fit_basis
from mlmfast.errors import DataError, FormulaError
from mlmfast.formula.deparse import deparse
from mlmfast.formula.functions import bind, data_parts, variables_of
from mlmfast.formula.smooth_terms import is_smooth, read_smooth
from mlmfast.formula.syntax import Call, Node, parse
from mlmfast.formula.transform_options import Options, State, numbers, whole
from mlmfast.formula.transforms import TRANSFORMS

#: Distinct values of a variable that are counted one by one.
MOST_VALUES = 100_000


@dataclass(frozen=True, eq=False)
class ValueCounts:
    """What was seen of a variable.

    Attributes
    ----------
    n, mean, squares
        Values, their mean, and the sum of squares about it.
    low, high
        Smallest and largest value.
    values, counts
        Distinct values and how often each stands; None where there are more than `MOST_VALUES`.
    """

    n: int
    mean: float
    squares: float
    low: float
    high: float
    values: FloatArray | None
    counts: FloatArray | None

    @classmethod
    def of(cls, x: FloatArray, counts: FloatArray | None = None) -> ValueCounts:
        """Those of the rows of one part, or of values with counts."""
        if counts is None:
            mean = float(x.mean())
            mean += float((x - mean).mean())
            squares = float(((x - mean) ** 2).sum())
            values, found = np.unique(x, return_counts=True)
            n, own = len(x), found.astype(np.float64)
        else:
            n, values, own = int(counts.sum()), x, counts
            mean = float(x[0] + counts @ (x - x[0]) / n)
            squares = float(counts @ (x - mean) ** 2)
        few = len(values) <= MOST_VALUES
        edges = (float(values[0]), float(values[-1]))
        return cls(n, mean, squares, *edges, values if few else None, own if few else None)

    def __add__(self, other: ValueCounts) -> ValueCounts:
        if self.values is not None and other.values is not None:
            own, its = self.counts, other.counts
            assert own is not None, "values are counted"
            assert its is not None, "values are counted"
            both = np.concatenate([self.values, other.values])
            values, codes = np.unique(both, return_inverse=True)
            if len(values) <= MOST_VALUES:
                counts = np.bincount(codes, np.concatenate([own, its])).astype(np.float64)
                return ValueCounts.of(values, counts)
        n, gap = self.n + other.n, other.mean - self.mean
        # Chan, Golub and LeVeque (1983), The American Statistician 37, 242-247.
        squares = self.squares + other.squares + gap**2 * self.n * other.n / n
        low, high = min(self.low, other.low), max(self.high, other.high)
        return ValueCounts(n, self.mean + gap * other.n / n, squares, low, high, None, None)

    def quantiles(self, shares: FloatArray) -> FloatArray:
        """Quantiles as `numpy.quantile` takes them by default."""
        assert self.values is not None, "the caller looked"
        assert self.counts is not None, "the caller looked"
        ends = np.cumsum(self.counts)
        place = shares * (self.n - 1)
        below = np.floor(place)
        at = np.searchsorted(ends, below, side="right")
        next_at = np.searchsorted(ends, np.minimum(below + 1, self.n - 1), side="right")
        a, b, t = self.values[at], self.values[next_at], place - below
        return np.asarray(np.where(t < 0.5, a + (b - a) * t, b - (b - a) * (1.0 - t)))


def transforms_in(expressions: Sequence[str]) -> dict[str, Call]:
    """Calls of functions that remember the data, by their text.

    Examples
    --------
    >>> list(transforms_in(["a + scale(log(x))", "poly(x, 2)"]))
    ['scale(log(x))', 'poly(x, 2)']
    """
    return {_label(node): node for text in expressions for node in _calls(parse(text))}


def _label(call: Call) -> str:
    """What the state of a call is kept by; that of the curve of a smooth too."""
    return read_smooth(call).text if is_smooth(call) else deparse(call)


def _calls(node: Node) -> Iterator[Call]:
    if isinstance(node, Call) and (node.function in TRANSFORMS or is_smooth(node)):
        inside = [inner for part in data_parts(node) for inner in _calls(part)]
        if inside:
            raise FormulaError(
                f"{deparse(node)}: one function that remembers the data inside another needs all "
                "rows at once; make the inner one a column of the data first"
            )
        yield node
        return
    for part in data_parts(node):
        yield from _calls(part)


def seen(calls: dict[str, Call], frame: Frame) -> dict[str, ValueCounts]:
    """What the rows of a part say of each call's variable."""
    out = {}
    for label, call in calls.items():
        variable, _ = _bound(call)
        if is_smooth(call):
            _check_by(call, frame)
        values = evaluate(variable, frame)
        if not isinstance(values, np.ndarray):
            raise DataError(f"{label} needs a variable of numbers")
        if not np.isfinite(values).all():
            raise DataError(f"{label}: a value is infinite; leave those rows out first")
        out[label] = ValueCounts.of(values)
    return out


def _bound(call: Call) -> tuple[Node, Options]:
    """The variable of a call, and its options; those of a smooth are its own affair."""
    if is_smooth(call):
        return read_smooth(call).variable, {}
    return bind(call, TRANSFORMS[call.function][1])


def _check_by(call: Call, frame: Frame) -> None:
    """Refuse curves that are multiplied by numbers: whether these vary is known at the end only."""
    by = read_smooth(call).by
    if by is not None and isinstance(evaluate(by, frame), np.ndarray):
        raise FormulaError(
            f"{deparse(call)}: a curve times numbers is made from all rows at once; write by= with "
            "a factor, or fit the rows, mlm.lmm(formula, data)"
        )


def states_of(
    calls: dict[str, Call],
    found: dict[str, ValueCounts],
    levels: Mapping[str, Sequence[str]] | None = None,
) -> States:
    """The states of all calls, as the transforms would have made them of all rows.

    Parameters
    ----------
    found
        What was seen of each call's variable.
    levels
        Labels of the factors, by column, where smooths go by some.
    """
    out: States = {}
    for label, call in calls.items():
        _, options = _bound(call)
        try:
            if is_smooth(call):
                out[label] = _smooth(call, found[label], levels or {})
                continue
            state = _STATES[call.function](found[label], options)
        except (DataError, FormulaError) as error:
            raise type(error)(f"{label}: {error}") from None
        if state is not None:
            out[label] = state
    return out


def _smooth(call: Call, found: ValueCounts, levels: Mapping[str, Sequence[str]]) -> State:
    term = read_smooth(call)
    state: State = {}
    values, counts = _counted(found, "bs(x, knots=c(...))")
    fit_basis(values, term.k, True, state, counts)
    if term.by is not None:
        (column,) = variables_of(deparse(term.by))
        state["levels"] = list(levels[column])
    return state


def _scale(found: ValueCounts, options: Options) -> State:
    center = found.mean if options.get("center", True) else 0.0
    squares = found.squares + found.n * (found.mean - center) ** 2
    spread = float(np.sqrt(squares / max(found.n - 1, 1)))
    scaled = bool(options.get("scale", True))
    if spread == 0.0 and scaled:
        raise DataError("scale needs values that vary; all are equal")
    return {"center": center, "scale": spread if scaled else 1.0}


def _center(found: ValueCounts, options: Options) -> State:
    return _scale(found, {"scale": False})


def _poly(found: ValueCounts, options: Options) -> State | None:
    degree = whole(options.get("degree", 1.0), "poly's degree")
    if options.get("raw", False):
        return None
    values, counts = _counted(found, "poly(x, degree, raw=TRUE)")
    if degree >= len(values):
        raise DataError(
            f"poly needs more distinct values than its degree: degree {degree}, {len(values)} "
            "distinct values"
        )
    x = values - found.mean
    before, now = np.zeros_like(x), np.ones_like(x)
    alpha: list[float] = []
    norms2 = [float(counts.sum())]
    for k in range(degree):
        alpha.append(float((counts * x * now) @ now) / norms2[k])
        ratio = norms2[k] / norms2[k - 1] if k else 0.0
        before, now = now, (x - alpha[k]) * now - ratio * before
        norms2.append(float((counts * now) @ now))
    return {"shift": found.mean, "alpha": alpha, "norms2": norms2}


def _bs(found: ValueCounts, options: Options) -> State:
    degree = whole(options.get("degree", 3.0), "bs's degree")
    with_intercept = bool(options.get("intercept", options.get("include_intercept", False)))
    inner = _knots(found, options, "bs", degree + with_intercept)
    low, high, more = found.low, found.high, degree + 1
    knots = [low] * more + sorted(inner) + [high] * more
    return {"lower_bound": low, "upper_bound": high, "knots": knots}


def _ns(found: ValueCounts, options: Options) -> State:
    with_intercept = bool(options.get("intercept", False))
    inner = _knots(found, options, "ns", 1 + with_intercept)
    return {"boundary": [found.low, found.high], "knots": inner}


def _cr(found: ValueCounts, options: Options) -> State:
    raise FormulaError(
        "cr centres its columns over all rows at once; use ns(x, df) or bs(x, df), or make its "
        "columns part of the data"
    )


def _knots(found: ValueCounts, options: Options, name: str, fixed: int) -> list[float]:
    given, df = options.get("knots"), options.get("df")
    if given is not None:
        knots = numbers(given, f"{name}'s knots")
        outside = [knot for knot in knots if not found.low < knot < found.high]
        if outside:
            raise FormulaError(
                f"{name}'s knots lie inside the range of the values, {found.low:g} to "
                f"{found.high:g}; found {', '.join(f'{knot:g}' for knot in outside)}"
            )
        return knots
    if df is None:
        return []
    n_inner = whole(df, f"{name}'s df") - fixed
    if n_inner < 0:
        raise FormulaError(f"{name}'s df is {df:g}; it needs at least {fixed}")
    if not n_inner:
        return []
    _counted(found, f"{name}(x, knots=c(...))")
    return [float(knot) for knot in found.quantiles(np.linspace(0, 1, n_inner + 2)[1:-1])]


def _counted(found: ValueCounts, instead: str) -> tuple[FloatArray, FloatArray]:
    if found.values is None or found.counts is None:
        raise FormulaError(
            f"the variable has more than {MOST_VALUES:,} distinct values, too many to be counted "
            f"one by one over parts of the data; use {instead}, or round it"
        )
    return found.values, found.counts


_STATES = {
    "poly": _poly,
    "bs": _bs,
    "ns": _ns,
    "cr": _cr,
    "scale": _scale,
    "standardize": _scale,
    "center": _center,
}
