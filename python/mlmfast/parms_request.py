"""What a user asks of the covariance parameters, read and checked."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import product
from typing import Any

import numpy as np

from mlmfast.errors import ModelError

#: Largest number of grid points.
_MOST_POINTS = 100_000


@dataclass(frozen=True)
class Parms:
    """What a user asked of the covariance parameters.

    Parameters
    ----------
    start
        Values to begin from, by name.
    hold
        Values kept, by name.
    bounds
        (lower, upper) by name, None for no bound.
    grid
        Values to try as a start: a dict of lists, whose combinations are tried, or a list of dicts.
    """

    start: Mapping[str, float] = field(default_factory=dict)
    hold: Mapping[str, float] = field(default_factory=dict)
    bounds: Mapping[str, tuple[float | None, float | None]] = field(default_factory=dict)
    grid: Mapping[str, Sequence[float]] | Sequence[Mapping[str, float]] | None = None


def finite_number(name: str, value: Any) -> float:
    """A finite number.

    Raises
    ------
    ModelError
    """
    try:
        number = float(value)
    except (TypeError, ValueError):
        number = np.nan
    if not np.isfinite(number):
        raise ModelError(f"the value of {name!r} is {value!r}; a finite number is needed")
    return number


def grid_points(grid: Any) -> list[dict[str, float]]:
    """All points of a grid, each with the same names.

    Raises
    ------
    ModelError
        Where it is no grid, is empty, has too many points, or points of other names.

    Examples
    --------
    >>> grid_points({"sigma": [1, 2], "AR(1)": [0.5]})
    [{'sigma': 1, 'AR(1)': 0.5}, {'sigma': 2, 'AR(1)': 0.5}]
    """
    if isinstance(grid, Mapping):
        lists = [np.atleast_1d(np.asarray(v, dtype=object)).tolist() for v in grid.values()]
        n = int(np.prod([len(values) for values in lists]))
        points = (
            [] if n > _MOST_POINTS else [dict(zip(grid, v, strict=True)) for v in product(*lists)]
        )
    elif isinstance(grid, Sequence) and all(isinstance(point, Mapping) for point in grid):
        points = [dict(point) for point in grid]
        n = len(points)
    else:
        raise ModelError("grid is a dict of lists of values, or a list of dicts of values")
    if n > _MOST_POINTS:
        raise ModelError(f"the grid has {n} points; at most {_MOST_POINTS} are tried")
    if not points or not points[0]:
        raise ModelError("the grid has no points")
    if any(set(point) != set(points[0]) for point in points):
        raise ModelError("the points of a grid must name the same parameters")
    return [{name: point[name] for name in points[0]} for point in points]
