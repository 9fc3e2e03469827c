"""What a user asks of the covariance parameters, read and checked."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import product
from typing import TYPE_CHECKING, Any

import numpy as np

from mlmfast.arrays import FloatArray, unmasked
from mlmfast.errors import ModelError
from mlmfast.running.first_use import OnUse

if TYPE_CHECKING:
    import pandas as pd
else:
    pd = OnUse("pandas")

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

    def __post_init__(self) -> None:
        examples = {"hold": "{'sigma': 30.0}", "bounds": "{'sigma': (10.0, None)}"}
        for name, example in examples.items():
            given = getattr(self, name)
            if not isinstance(given, Mapping):
                raise ModelError(
                    f"{name} is {given!r}; give a dict from covariance parameters to what they are "
                    f"held at or within, such as {name}={example}"
                )


def is_open(pair: object) -> bool:
    """Whether bounds are open on both sides.

    Examples
    --------
    >>> is_open((None, None)), is_open((0.0, None))
    (True, False)
    """
    if not isinstance(pair, tuple | list) or len(pair) != 2:
        return False
    return all(bound is None or bound in (-np.inf, np.inf) for bound in pair)


def start_variance(value: Any) -> float:
    """The residual variance to start from.

    Raises
    ------
    ModelError
    """
    number = finite_number("Residual", value)
    if not number > 0:
        raise ModelError(f"the residual variance to start from is {number:g}; it must be positive")
    return number


def start_matrix(group: str, value: Any, names: Sequence[str]) -> FloatArray:
    """The covariance matrix to start a grouping factor from, of shape (q, q).

    Parameters
    ----------
    group
        Name of the grouping factor.
    value
        A matrix, or a labelled one in any order of its labels.
    names
        Names of the q random effects of the factor, in order.

    Raises
    ------
    ModelError
        Where it is no symmetric matrix of finite numbers of that order.

    Examples
    --------
    >>> start_matrix("g", 2.0, ["(Intercept)"])
    array([[2.]])
    """
    if isinstance(value, pd.DataFrame) and set(value.index) == set(names) == set(value.columns):
        value = value.loc[list(names), list(names)] if value.index.is_unique else value
    try:
        given = np.atleast_2d(np.asarray(unmasked(value)))
        if given.dtype.kind not in "fiub":
            raise TypeError
        full = given.astype(np.float64)
    except (TypeError, ValueError):
        raise ModelError(
            f"the covariance matrix to start {group!r} from is {value!r}; numbers of shape "
            f"({len(names)}, {len(names)}) are needed"
        ) from None
    if full.shape != (len(names), len(names)):
        raise ModelError(
            f"the covariance matrix to start {group!r} from has shape {full.shape}; its random "
            f"effects take ({len(names)}, {len(names)}): {', '.join(names)}"
        )
    size = np.abs(full).max(initial=0.0)
    if not np.isfinite(size) or (np.abs(full - full.T) > 1e-8 * size).any():
        raise ModelError(
            f"the matrix to start {group!r} from is not a covariance matrix: it must be symmetric "
            "and its numbers finite"
        )
    return np.asarray((full + full.T) / 2)


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
