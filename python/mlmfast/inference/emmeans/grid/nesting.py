"""Nested factors: which they are, and which of their combinations there are."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from mlmfast.arrays import BoolArray, FloatArray
from mlmfast.errors import DataError
from mlmfast.inference.emmeans.averages import cell_counts
from mlmfast.inference.emmeans.reference_grid import ReferenceGrid, unknown_name

if TYPE_CHECKING:
    from mlmfast.fitted.fitted import Fitted

Nests = dict[str, tuple[str, ...]]

#: Combinations of two factors above which nesting is not looked for.
_MOST_CELLS = 1_000_000


def with_nests(fit: Fitted, grid: ReferenceGrid, nesting: Any = None) -> ReferenceGrid:
    """The grid with its nested factors.

    Parameters
    ----------
    fit, grid
        The fit and its grid.
    nesting
        None to detect them: a factor is nested in another if each of its levels occurs with one
        level of it only, as in R's emmeans. Else a dict of each nested factor to the one or those
        that hold it, or text such as ``"plot %in% (site*year), dose %in% drug"``; False for none.

    Raises
    ------
    DataError
        For a name that is no factor of the grid, or factors nested in each other.
    """
    nests = detected(fit, grid) if nesting is None else _given(nesting, grid)
    if not nests:
        return grid
    sizes = [variable.size for variable in grid.variables]
    present = np.ones([1] * len(sizes), dtype=np.bool_)
    for name, holders in nests.items():
        present = present & _occur(fit, grid, (name, *holders))
    return replace(grid, nests=nests, present=present)


def detected(fit: Fitted, grid: ReferenceGrid) -> Nests:
    """Factors each of whose levels occurs with one level of another only."""
    factors = [v.name for v in grid.variables if v.is_factor and v.size > 1]
    if len(factors) < 2:
        return {}
    found: dict[str, list[str]] = {}
    for name in factors:
        for other in factors:
            # Of two factors that are one, the second is not nested in turn.
            if other == name or name in found.get(other, ()):
                continue
            table = _table(fit, grid, (name, other))
            if table is not None and ((table > 0).sum(axis=1) <= 1).all():
                found.setdefault(name, []).append(other)
    return _closed({name: tuple(holders) for name, holders in found.items()})


def _table(fit: Fitted, grid: ReferenceGrid, names: Sequence[str]) -> FloatArray | None:
    """Rows of the data by two factors; None where a loaded fit does not know them."""
    variables = [grid.variables[grid.position(name)] for name in names]
    if int(np.prod([v.size for v in variables])) > _MOST_CELLS:
        return None
    counts = cell_counts(fit, grid, variables)
    return None if counts is None else counts.reshape([v.size for v in variables])


def _closed(nests: Nests) -> Nests:
    """With what holds the holders."""
    closed = {}
    for name, holders in nests.items():
        every = list(holders)
        for holder in every:
            every += [outer for outer in nests.get(holder, ()) if outer not in every]
        closed[name] = tuple(every)
    return closed


def _occur(fit: Fitted, grid: ReferenceGrid, names: Sequence[str]) -> BoolArray:
    """Whether combinations of some factors occur in the data, along the axes of the grid."""
    ordered = [v for v in grid.variables if v.name in names]
    counts = cell_counts(fit, grid, ordered)
    if counts is None:
        raise DataError(
            "a loaded fit holds no frequencies of so many cells, which nested factors need; give "
            "nesting=False, or fit the model again"
        )
    shape = [v.size if v.name in names else 1 for v in grid.variables]
    return np.asarray(counts.reshape(shape) > 0)


def _given(nesting: Any, grid: ReferenceGrid) -> Nests:
    if nesting is False or nesting == {}:
        return {}
    if isinstance(nesting, str):
        nesting = _read(nesting)
    if not isinstance(nesting, Mapping):
        raise DataError(
            f"nesting is {nesting!r}; write a dict such as {{'plot': 'site'}}, text such as 'plot "
            "%in% site', or False"
        )
    nests = {
        str(name): (holders,) if isinstance(holders, str) else tuple(map(str, holders))
        for name, holders in nesting.items()
    }
    factors = [v.name for v in grid.variables if v.is_factor]
    for name, holders in nests.items():
        for own in (name, *holders):
            if own not in factors:
                raise unknown_name(own, factors, "a factor of the grid, for nesting=")
        if not holders:
            raise DataError(f"nesting says of {name!r} nothing that it is nested in")
    closed = _closed(nests)
    for name, holders in closed.items():
        if name in holders:
            raise DataError(f"nesting has {name!r} nested in itself: {nesting!r}")
    return closed


def _read(text: str) -> Nests:
    """``plot %in% (site*year), dose %in% drug``."""
    found: Nests = {}
    for part in text.split(","):
        name, sign, holders = part.partition("%in%")
        if not sign:
            raise DataError(f"nesting {part.strip()!r} has no %in%; write 'plot %in% site'")
        plain = holders.replace("(", " ").replace(")", " ").replace("*", " ").replace(":", " ")
        found[name.strip()] = tuple(plain.split())
    return found


def nesting_note(nests: Mapping[str, tuple[str, ...]]) -> str:
    """What a table says of nested factors; empty without any.

    Examples
    --------
    >>> nesting_note({"plot": ("site", "year")})
    'Nested: plot in site and year'
    """
    if not nests:
        return ""
    return "Nested: " + ", ".join(f"{name} in {' and '.join(own)}" for name, own in nests.items())
