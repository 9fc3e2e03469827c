"""Plots of responses over time: everybody's data with fitted curves."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from mlmfast.arrays import FloatArray, IntArray
from mlmfast.design.factors.names import known_group
from mlmfast.display.figure import (
    ACCENT,
    INK,
    PALE,
    axes_or_new,
    legend_of,
    level_ticks,
    panels,
    plain,
    series,
)  # fmt: skip
from mlmfast.errors import DataError, ModelError

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from numpy.typing import NDArray

    from mlmfast.fitted.fitted import Fitted

#: Subjects drawn at most, of one picture and as panels; points of a population curve.
_MOST_LINES, _MOST_PANELS, _POINTS = 200, 12, 60
#: Panels of a row.
_COLUMNS = 4


@dataclass(frozen=True)
class _Courses:
    """Responses and fitted values over x, by subject.

    Attributes
    ----------
    x, observed, fitted
        By row.
    ticks
        Levels of x where it is a factor, whose values are their positions; none of a covariate.
    subjects
        Labels of those who have rows, with these.
    """

    x: FloatArray
    observed: FloatArray
    fitted: FloatArray
    ticks: tuple[str, ...]
    subjects: list[tuple[str, IntArray]]
    group: str


def spaghetti_plot(fit: Fitted, x: str, by: str | None, group: str | None, ax: Axes | None) -> Axes:
    """See `Plots.spaghetti`."""
    courses = _courses(fit, x, group)
    colours = _levels_by_row(fit, by)
    ax = axes_or_new(ax)
    shown = _some(courses.subjects, _MOST_LINES)
    own = bool(fit.ranef)
    for _, rows in shown:
        colour = INK if colours is None else series(int(colours[1][rows[0]])).colour
        ax.plot(courses.x[rows], courses.observed[rows], color=PALE, lw=0.8, marker="o", ms=2)
        if own:
            ax.plot(courses.x[rows], courses.fitted[rows], color=colour, lw=0.8, alpha=0.6)
    _population(fit, x, by, courses, ax)
    if courses.ticks:
        level_ticks(ax, courses.ticks)
    some = "" if len(shown) == len(courses.subjects) else f", {len(shown)} of them shown"
    title = f"{fit._record.response} of {len(courses.subjects)} levels of {courses.group}{some}"
    return plain(ax, x, fit._record.response, title)


def individual_plot(
    fit: Fitted, x: str, group: str | None, which: Any, ax: Any
) -> NDArray[np.object_]:
    """See `Plots.individuals`."""
    courses = _courses(fit, x, group)
    chosen = _named(courses, which)
    axes = panels(
        len(chosen), ax, columns=_COLUMNS, width=2.2, height=2.0, what="choose them by which="
    )
    low, high = _limits(courses, chosen)
    columns = 1 if ax is not None else min(_COLUMNS, len(chosen))
    for i, (panel, (label, rows)) in enumerate(zip(axes, chosen, strict=True)):
        panel.plot(courses.x[rows], courses.observed[rows], "o", color=INK, markersize=3.5)
        panel.plot(courses.x[rows], courses.fitted[rows], color=ACCENT, lw=1.4)
        panel.set_ylim(low, high)
        at_bottom, at_left = i >= len(chosen) - columns or ax is not None, i % columns == 0
        plain(panel, x * at_bottom, fit._record.response * at_left, label)
        panel.title.set_fontsize(9)
        if courses.ticks:
            level_ticks(panel, courses.ticks, 12)
    return axes


def _courses(fit: Fitted, x: str, group: str | None) -> _Courses:
    source = fit._needs_source("a plot over time")
    if source.frame is None or not source.frame.frame.has(x):
        raise DataError(f"there is no column {x!r} in the data of the fit")
    name, codes, labels = subjects_of(fit, group)
    frame = source.frame.frame
    ticks: tuple[str, ...] = ()
    if frame.is_numeric(x):
        where = frame.numeric(x)
    else:
        factor = frame.factor(x)
        where, ticks = factor.codes.astype(np.float64), tuple(map(str, factor.levels))
    fitted = np.asarray(fit.fittedvalues, dtype=np.float64)
    observed = fitted + np.asarray(fit.resid("raw"), dtype=np.float64)
    order = np.lexsort((where, codes))
    cuts = np.cumsum(np.bincount(codes, minlength=len(labels)))[:-1]
    rows = np.split(order, cuts)
    subjects = [(str(labels[i]), own) for i, own in enumerate(rows) if own.size]
    return _Courses(where, observed, fitted, ticks, subjects, name)


def subjects_of(fit: Fitted, group: str | None) -> tuple[str, IntArray, tuple[str, ...]]:
    """Name, codes and labels of whose courses they are."""
    design = fit._needs_source("a plot over time").design
    factors = [design.factors[level] for level in fit._record.levels]
    if design.residual is not None and design.residual.formula is not None:
        factors = [design.residual.subject, *factors]
    if not factors:
        raise ModelError("the model has no grouping factor, so there are no courses to plot")
    names = [factor.name for factor in factors]
    known = names[0] if group is None else known_group(group, names)
    if known is None:
        raise ModelError(f"{group!r} is no grouping factor of the fit: {', '.join(names)}")
    factor = factors[names.index(known)]
    return known, factor.codes.astype(np.intp), tuple(factor.labels)


def _levels_by_row(fit: Fitted, by: str | None) -> tuple[tuple[str, ...], IntArray] | None:
    if by is None:
        return None
    frame = fit._needs_source("a plot over time").frame
    if frame is None or not frame.frame.has(by):
        raise DataError(f"there is no column {by!r} in the data of the fit")
    factor = frame.frame.factor(by)
    return tuple(map(str, factor.levels)), factor.codes.astype(np.intp)


def _population(fit: Fitted, x: str, by: str | None, courses: _Courses, ax: Axes) -> None:
    """Marginal means over x, a curve a level of ``by``; nothing where x is not in the model."""
    from mlmfast.inference.emmeans.reference_grid import reference_grid

    names = reference_grid(fit).names
    if x not in names or (by is not None and by not in names):
        return
    distinct = np.unique(courses.x)
    values = (
        distinct if len(distinct) <= _POINTS else np.linspace(distinct[0], distinct[-1], _POINTS)
    )
    at = None if courses.ticks else {x: values}
    means = fit.emmeans([x] if by is None else [x, by], at=at).frame
    groups = [("", means)] if by is None else list(means.groupby(by, sort=False, observed=True))
    for k, (label, rows) in enumerate(groups):
        how = series(k)
        colour = ACCENT if by is None else how.colour
        where = values if not courses.ticks else _positions(rows[x], courses.ticks)
        ax.plot(
            where, rows["emmean"].to_numpy(), color=colour, lw=2.6,
            linestyle=(0, (5, 2)) if by is None else how.dash,
            label=str(label) if by is not None else "population",
        )  # fmt: skip
    legend_of(ax, by or "")


def _positions(labels: pd.Series[Any], ticks: tuple[str, ...]) -> IntArray:
    return np.array([ticks.index(str(label)) for label in labels], dtype=np.intp)


def _some(subjects: list[tuple[str, IntArray]], most: int) -> list[tuple[str, IntArray]]:
    """At most so many, spread evenly."""
    if len(subjects) <= most:
        return subjects
    places = np.linspace(0, len(subjects) - 1, most).astype(np.intp)
    return [subjects[i] for i in places]


def _named(courses: _Courses, which: Any) -> list[tuple[str, IntArray]]:
    """Subjects asked for: by their labels, or so many of them."""
    if which is None:
        return _some(courses.subjects, _MOST_PANELS)
    known = dict(courses.subjects)
    wanted = [str(label) for label in np.ravel(np.asarray(which, dtype=object))]
    missing = [label for label in wanted if label not in known]
    if missing or not wanted:
        raise DataError(
            f"which={which!r}: {', '.join(map(repr, missing)) or 'nobody'} is not among the "
            f"{len(known)} {courses.group} of the fit, such as {courses.subjects[0][0]!r}"
        )
    return [(label, known[label]) for label in wanted]


def _limits(courses: _Courses, chosen: list[tuple[str, IntArray]]) -> tuple[float, float]:
    rows = np.concatenate([own for _, own in chosen])
    both = np.concatenate([courses.observed[rows], courses.fitted[rows]])
    room = 0.06 * float(np.ptp(both)) or 1.0
    return float(both.min()) - room, float(both.max()) + room
