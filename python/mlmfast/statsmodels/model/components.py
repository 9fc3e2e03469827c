"""Variance components -> random-effects terms.

A component is, in each group, a matrix whose columns have independent effects of one variance.
Where no row meets two columns it is a factor nested in the groups; else its columns are effects of
the group with one variance.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mlmfast.arrays import CodeArray, FloatArray, IntArray
from mlmfast.covariance import STRUCTURES
from mlmfast.data.factor import Factor
from mlmfast.design.factors.grouping import GroupingFactor, RandomEffects
from mlmfast.errors import DataError
from mlmfast.statsmodels.model.input import Groups


@dataclass(frozen=True, eq=False)
class NestedColumns:
    """A component whose rows meet one column each.

    Attributes
    ----------
    codes : shape (n,), the level, a column of one group, that each row meets.
    values : shape (n,) or None for ones
    level_group : shape (n_levels,), the group of each level.
    columns : shape (n_levels,), position of each level's column in its group's matrix.
    """

    codes: CodeArray
    values: FloatArray | None
    level_group: IntArray
    columns: IntArray


@dataclass(frozen=True, eq=False)
class SharedColumns:
    """A component whose rows meet several columns: shape (n, q), those a group lacks are 0."""

    values: FloatArray


Component = NestedColumns | SharedColumns


def component_of(
    name: str, matrices: Sequence[Any], groups: Sequence[IntArray], n: int
) -> Component:
    """Read a component from its matrices by group.

    Raises
    ------
    DataError
        Where a matrix does not have a row for each of its group's.
    """
    dense = [_matrix(name, k, matrix, rows) for k, (matrix, rows) in _pairs(name, matrices, groups)]
    if all(bool((np.count_nonzero(matrix, axis=1) <= 1).all()) for matrix in dense):
        return _nested(dense, groups, n)
    width = max(matrix.shape[1] for matrix in dense)
    values = np.zeros((n, width), order="F")
    for matrix, rows in zip(dense, groups, strict=True):
        values[rows, : matrix.shape[1]] = matrix
    return SharedColumns(values)


def _pairs(name: str, matrices: Sequence[Any], groups: Sequence[IntArray]) -> Any:
    if len(matrices) != len(groups):
        raise DataError(
            f"variance component {name!r} has {len(matrices)} matrices for {len(groups)} groups; "
            "one a group, in sorted order, is needed"
        )
    return enumerate(zip(matrices, groups, strict=True))


def _matrix(name: str, k: int, matrix: Any, rows: IntArray) -> FloatArray:
    toarray = getattr(matrix, "toarray", None)
    dense = np.asarray(matrix if toarray is None else toarray(), dtype=np.float64)
    dense = dense[:, None] if dense.ndim == 1 else dense
    if dense.ndim != 2 or len(dense) != len(rows):
        raise DataError(
            f"variance component {name!r}: the matrix of group {k} has shape {dense.shape}, and "
            f"the group has {len(rows)} rows"
        )
    if not np.isfinite(dense).all():
        raise DataError(f"variance component {name!r} has values that are missing or infinite")
    return dense


def _nested(dense: list[FloatArray], groups: Sequence[IntArray], n: int) -> NestedColumns:
    codes, values = np.zeros(n, dtype=np.int64), np.zeros(n)
    start = 0
    owner, places = [], []
    for k, (matrix, rows) in enumerate(zip(dense, groups, strict=True)):
        own = np.argmax(matrix != 0.0, axis=1) if matrix.shape[1] else np.zeros(len(rows), int)
        codes[rows] = start + own
        values[rows] = matrix[np.arange(len(rows)), own] if matrix.shape[1] else 0.0
        width = max(matrix.shape[1], 1)
        owner.append(np.full(width, k))
        places.append(np.arange(width))
        start += width
    met, compact = np.unique(codes, return_inverse=True)
    return NestedColumns(
        compact.astype(np.int32),
        None if (values == 1.0).all() else values,
        np.concatenate(owner)[met],
        np.concatenate(places)[met],
    )


def nested_levels(
    group_codes: NDArray[np.integer], codes: NDArray[np.integer], n_levels: int
) -> NestedColumns:
    """A component of a factor's indicators within groups: a column for each level a group has."""
    joint = group_codes.astype(np.int64) * n_levels + codes
    met, compact = np.unique(joint, return_inverse=True)
    groups = met // n_levels
    starts = np.searchsorted(groups, groups, side="left")
    return NestedColumns(
        compact.astype(np.int32), None, groups.astype(np.intp), np.arange(len(met)) - starts
    )


class ByGroup(Sequence[Any]):
    """One thing a group, made when it is asked for."""

    def __init__(self, n: int, make: Callable[[int], Any]) -> None:
        self._n, self._make = n, make

    def __len__(self) -> int:
        return self._n

    def __getitem__(self, k: Any) -> Any:
        if isinstance(k, slice):
            return [self[j] for j in range(*k.indices(self._n))]
        if not -self._n <= k < self._n:
            raise IndexError(k)
        return self._make(int(k) % self._n)

    def __reduce__(self) -> Any:
        return list, (list(self),)


def indicator_matrices(nested: NestedColumns, groups: Groups) -> ByGroup:
    """Matrices of a component of indicators, by group."""
    rows = groups.rows
    widths = np.bincount(nested.level_group, minlength=len(rows))

    def make(k: int) -> FloatArray:
        columns = nested.columns[nested.codes[rows[k]]]
        return np.asarray(columns[:, None] == np.arange(widths[k]), dtype=np.float64)

    return ByGroup(len(rows), make)


def level_names(nested: NestedColumns, factor: Factor, labels: Sequence[str]) -> ByGroup:
    """Names of the columns of a component of indicators, by group."""
    level_of = np.zeros(len(nested.level_group), dtype=np.intp)
    level_of[nested.codes] = factor.codes
    n = int(nested.level_group.max()) + 1
    starts = np.searchsorted(nested.level_group, np.arange(n + 1))

    def make(k: int) -> list[str]:
        return [labels[level] for level in level_of[starts[k] : starts[k + 1]]]

    return ByGroup(n, make)


def terms_of(
    components: Sequence[tuple[str, Component]], groups: GroupingFactor, first: int
) -> tuple[list[GroupingFactor], list[RandomEffects]]:
    """Grouping factors beside the groups, at positions from ``first``, and a term a component."""
    factors: list[GroupingFactor] = []
    terms: list[RandomEffects] = []
    for name, component in components:
        if isinstance(component, SharedColumns):
            q = component.values.shape[1]
            names = tuple(f"{name}[{j}]" for j in range(q))
            columns = tuple(component.values[:, j] for j in range(q))
            structure = STRUCTURES["us" if q == 1 else "homdiag"](q)
            terms.append(RandomEffects(0, names, columns, structure, f"({name} | {groups.name})"))
            continue
        if len(component.level_group) == groups.n_levels:
            # One column a group: an effect of the group itself.
            at, text = 0, f"(0 + {name} | {groups.name})"
        else:
            at, text = first + len(factors), f"(1 | {groups.name}:{name})"
            labels = tuple(map(str, range(len(component.level_group))))
            factors.append(
                GroupingFactor(f"{groups.name}:{name}", component.codes, labels, (name,))
            )
        structure = STRUCTURES["us"](1)
        terms.append(RandomEffects(at, (name,), (component.values,), structure, text))
    return factors, terms
