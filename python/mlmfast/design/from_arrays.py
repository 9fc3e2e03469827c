"""A design from plain arrays: `LMM.from_arrays`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from mlmfast.arrays import FloatArray, unmasked
from mlmfast.covariance import STRUCTURES
from mlmfast.data.factor import code_integers, level_labels
from mlmfast.data.finite import check_finite, check_weights
from mlmfast.data.statistics import KnownStatistics
from mlmfast.design.checks import check_identified
from mlmfast.design.design import Design
from mlmfast.design.factors.grouping import GroupingFactor, RandomEffects
from mlmfast.errors import DataError
from mlmfast.handed_out import read_only

_ONE_FACTOR = "group"


def design_from_arrays(
    y: Any, X: Any, groups: Any, Z: Any, names: Any, weights: Any, offset: Any, cov: Any = None
) -> Design:
    """Check arrays and put them into a `Design`.

    Raises
    ------
    DataError
        Where an array is not numeric, not finite, or of the wrong shape.
    """
    known = KnownStatistics()
    response = _vector("y", y, known)
    n = len(response)
    rows = index_of(y, X)
    X, Z = in_order(rows, X, "X"), in_order(rows, by_name(Z), "Z")
    groups = in_order(rows, groups, "groups")
    weights, offset = in_order(rows, weights, "weights"), in_order(rows, offset, "offset")
    columns = _columns("X", X, n, known)
    p = len(columns)
    if isinstance(names, str) or (names is not None and len(names) != p):
        raise DataError(f"names must be a list of {p} names, one a column of X")
    x_names = _column_names(X, p) if names is None else tuple(map(str, names))
    if len(set(x_names)) < len(x_names):
        raise DataError("names of the columns of X must differ from each other")
    if groups is None and Z is not None:
        raise DataError("Z is given without groups; say which group each row belongs to")
    by_factor = labels_by_factor(groups)
    unknown = [name for name in Z if name not in by_factor] if isinstance(Z, Mapping) else []
    if unknown:
        raise DataError(
            f"Z has columns for {unknown[0]!r}, which is no grouping factor (groups has "
            f"{', '.join(by_factor)})"
        )
    factors = tuple(factor_of(name, labels, n) for name, labels in by_factor.items())
    design = Design(
        y=response,
        x=columns,
        x_names=x_names,
        factors=factors if cov is None else _related(factors, cov),
        random=tuple(_effects(k, name, Z, n, known) for k, name in enumerate(by_factor)),
        weights=None if weights is None else check_weights(_vector("weights", weights, known, n)),
        offset=None if offset is None else _vector("offset", offset, known, n),
        statistics=known,
    )
    check_identified(design)
    return design


def _related(factors: tuple[GroupingFactor, ...], cov: Any) -> tuple[GroupingFactor, ...]:
    from mlmfast.design.factors.related_levels import with_relationships

    return with_relationships(factors, cov)


def index_of(y: Any, X: Any) -> Any:
    """Labels of the rows by which all else is put in order; None where they have none."""
    return next((v.index for v in (y, X) if hasattr(v, "iloc")), None)


def by_name(Z: Any) -> Any:
    """Z, its names of factors as text, which those of groups are made too."""
    return {str(name): own for name, own in Z.items()} if isinstance(Z, Mapping) else Z


def in_order(rows: Any, values: Any, role: str) -> Any:
    """One object, or a dict of them by factor, in the order of rows with labels of pandas."""
    if rows is None:
        return values
    from mlmfast.data.columns.labelled_rows import in_order_of

    if isinstance(values, Mapping):
        return {name: in_order_of(rows, own, f"{role} {name!r}") for name, own in values.items()}
    return in_order_of(rows, values, role)


def _vector(name: str, values: Any, known: KnownStatistics, n: int | None = None) -> FloatArray:
    array = _array(name, values, 1, n)
    _check_finite(name, array, [array], known)
    return array


def _columns(
    name: str, values: Any, n: int, known: KnownStatistics
) -> tuple[FloatArray | None, ...]:
    """Columns of a matrix, None for one of ones, looked at once: ``known`` is what was seen."""
    matrix = _array(name, values, 2, n)
    columns = columns_of(matrix)
    _check_finite(name, matrix, [column for column in columns if column is not None], known)
    return columns


def _array(name: str, values: Any, ndim: int, n: int | None = None) -> FloatArray:
    """An array of numbers as a design holds it, read-only; whether they are finite is not asked."""
    if np.iscomplexobj(values):
        raise DataError(f"{name} is complex; real numbers are needed")
    try:
        array = np.asarray(unmasked(values))
        array = array.astype(np.float64, copy=False)
    except (TypeError, ValueError):
        raise DataError(f"{name} must be an array of numbers") from None
    if name == "X" and array.ndim == 1:
        array = array[:, None]
    if array.ndim != ndim or array.size == 0:
        raise DataError(f"{name} has shape {array.shape}; {ndim} dimension(s) are needed")
    if n is not None and array.shape[0] != n:
        raise DataError(f"{name} has {array.shape[0]} rows but y has {n}")
    if not (array.flags.c_contiguous or array.flags.f_contiguous):
        array = np.ascontiguousarray(array)
    return read_only(array)


def _check_finite(
    name: str, array: FloatArray, columns: Sequence[FloatArray], known: KnownStatistics
) -> None:
    if all(column.is_finite for column in known.of(columns)):
        return
    if np.isnan(array).any():
        raise DataError(f"{name} has missing values; leave those rows out of every array")
    check_finite(name, array.ravel())


def _column_names(X: Any, p: int) -> tuple[str, ...]:
    columns = getattr(X, "columns", None)
    if columns is not None:
        return tuple(map(str, columns))
    return tuple(f"x{j + 1}" for j in range(p))


def columns_of(matrix: FloatArray) -> tuple[FloatArray | None, ...]:
    """Columns of a matrix, None for a column of ones."""
    # A column of ones is the intercept: known as such, the others can be centred on it.
    return tuple(
        None if matrix[0, j] == 1.0 and (matrix[:, j] == 1.0).all() else matrix[:, j]
        for j in range(matrix.shape[1])
    )


def labels_by_factor(groups: Any) -> dict[str, Any]:
    """Labels of each grouping factor, by its name; those of one without a name by "group"."""
    if groups is None:
        return {}
    if isinstance(groups, Mapping):
        return {str(name): labels for name, labels in groups.items()}
    if isinstance(groups, list | tuple) and groups and np.ndim(groups[0]) == 1:
        raise DataError(
            f"groups is a list of {len(groups)} arrays; name the factors by a dict, as in "
            "groups={'school': labels, 'class': labels}"
        )
    name = getattr(groups, "name", None)
    return {str(name) if name is not None else _ONE_FACTOR: groups}


def factor_of(name: str, labels: Any, n: int) -> GroupingFactor:
    """A grouping factor of one label a row."""
    values = labels if hasattr(labels, "dtype") else np.asarray(labels)
    if np.ndim(values) != 1 or len(values) != n:
        raise DataError(f"groups {name!r} has shape {np.shape(values)}; one label a row is needed")
    if isinstance(values, np.ndarray) and values.dtype.kind in "iu" and not np.ma.isMA(values):
        # What a frame would make of them, which need not be imported for it.
        levels, codes = code_integers(values)
        return GroupingFactor(name, codes, level_labels(levels), (name,))
    from mlmfast.data.frame import Frame

    factor = Frame.from_native({name: values}).factor(name)
    if factor.has_missing():
        raise DataError(f"groups {name!r} has missing labels; drop those rows")
    return GroupingFactor(name, factor.codes, factor.levels, (name,))


def _effects(position: int, factor: str, Z: Any, n: int, known: KnownStatistics) -> RandomEffects:
    given = Z.get(factor) if isinstance(Z, Mapping) else Z
    if given is None:
        columns: tuple[FloatArray | None, ...] = (None,)
        names: Sequence[str] = ("(Intercept)",)
    else:
        columns = _columns("Z", np.atleast_2d(given).T if np.ndim(given) == 1 else given, n, known)
        labels = getattr(given, "columns", None)
        names = (
            tuple(map(str, labels))
            if labels is not None
            else tuple(f"z{j + 1}" for j in range(len(columns)))
        )
    names = tuple("(Intercept)" if c is None else m for c, m in zip(columns, names, strict=True))
    text = f"({' + '.join(names)} | {factor})"
    return RandomEffects(position, names, columns, STRUCTURES["us"](len(columns)), text)
