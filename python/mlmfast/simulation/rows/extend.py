"""More or fewer levels of a variable, or rows within clusters, of a design."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd

from mlmfast.arrays import IntArray
from mlmfast.design.design import Design
from mlmfast.errors import DataError, ModelError
from mlmfast.simulation.rows.rebuild import check_extensible
from mlmfast.simulation.streams import Parts, stream
from mlmfast.simulation.true_model import AnyModel, TrueModel
from mlmfast.words import did_you_mean


def along(design: AnyModel, name: str, n: int) -> AnyModel:
    """The design with n levels of a variable.

    Of a design made from levels, the levels are counted anew; of one made from data or a fit, the
    levels there are repeated in turn under new labels, or the first of them kept, so that what is
    constant within them keeps its shares; an even series of numbers goes on.

    Raises
    ------
    DataError
        For a variable that is not in the design (the nearest is suggested), or no number of levels.
    ModelError
        Where the model does not tell what further levels mean.
    """
    n = number_of("along", name, n)
    check_variable(design, name)
    if design.crossing is not None:
        crossing = design.crossing.with_number(name, n)
        table = crossing.frame(Parts(stream(design.row_seed)))
        found = replace(design.with_rows(table), crossing=crossing)
    else:
        check_extensible(design.model)
        found = design.with_rows(_table_along(design, name, n))
    return _in_order_of(found, found.data[name])


def within(design: AnyModel, names: str, n: int) -> AnyModel:
    """The design with n rows in each cluster (of one variable, or combination: ``"id:visit"``).

    A cluster's rows are repeated in turn, or the first of them kept.

    Raises
    ------
    DataError, ModelError
        As `along`.
    """
    n = number_of("within", names, n)
    check_variable(design, names, is_within=True)
    columns = clusters_of(names)
    if design.redraws_rows:
        raise ModelError(
            "within= repeats rows, and covariates of this design are drawn anew in each; give a "
            "variable of levels= that is crossed with the clusters, and extend along= it"
        )
    if design.crossing is None:
        check_extensible(design.model)
    clusters = _codes([design.data[name] for name in columns])
    order = np.argsort(clusters, kind="stable")
    _, first, counts = np.unique(clusters[order], return_index=True, return_counts=True)
    copies = np.arange(n)
    rows = order[(first[:, None] + copies % counts[:, None]).reshape(-1)]
    copy = np.tile(copies, len(first))
    back = np.lexsort((copy, rows)) if n > counts.max() else np.argsort(rows, kind="stable")
    table = design.data.iloc[rows[back]].reset_index(drop=True)
    found = replace(design.with_rows(table), crossing=None)
    return _in_order_of(found, pd.Series(copy[back]))


def clusters_of(names: str) -> list[str]:
    """Variables whose combinations are clusters.

    Examples
    --------
    >>> clusters_of("id : visit")
    ['id', 'visit']
    """
    return [part.strip() for part in str(names).replace("+", ":").split(":")]


def check_variable(design: TrueModel, name: str, *, is_within: bool = False) -> None:
    """Refuse to extend along what is no variable of the design, or within it.

    Raises
    ------
    DataError, ModelError
    """
    if name == design.response:
        raise ModelError(f"{name!r} is the response; extend along a variable of the design")
    for part in clusters_of(name) if is_within else [name]:
        _known("within" if is_within else "along", part, design.data)
    if not is_within and design.crossing is not None:
        design.crossing.with_number(name, design.crossing.levels[name].n if name in
                                    design.crossing.levels else 1)  # fmt: skip


def number_of(role: str, name: str, n: Any) -> int:
    """A number of levels or rows.

    Raises
    ------
    DataError
    """
    if isinstance(n, bool) or not isinstance(n, int | np.integer) or n < 1:
        if isinstance(n, float | np.floating) and n == int(n) and n >= 1:
            return int(n)
        raise DataError(f"{role}={name!r}: {n!r} is no number of levels; give whole numbers from 1")
    return int(n)


def _table_along(design: TrueModel, name: str, n: int) -> pd.DataFrame:
    """Rows of data with n levels of a column."""
    _known("along", name, design.data)
    column = design.data[name]
    in_fixed = name in design.model.fixed.variables
    if isinstance(column.dtype, pd.CategoricalDtype) or not pd.api.types.is_numeric_dtype(column):
        codes, levels = _levels(column)
        if in_fixed and n > len(levels):
            raise ModelError(
                f"{name!r} is a factor of the fixed effects with {len(levels)} levels; no effect "
                f"of further levels is known, so along={name!r} goes up to {len(levels)}"
            )
        return _repeated(design, name, codes, [str(level) for level in levels], n, in_fixed)
    values, codes = np.unique(column.to_numpy(), return_inverse=True)
    if not in_fixed and _is_group(design, name):
        codes = codes.astype(np.int64)
        return _repeated(design, name, codes, values.tolist(), n, False)
    if n > len(values):
        steps = np.diff(values)
        if len(steps) == 0 or not np.allclose(steps, steps[0]):
            raise ModelError(
                f"{name!r} has {len(values)} values that do not go on evenly, and {n} are asked "
                "for; extend within= its clusters, or give data with the values wanted"
            )
        more = values[0] + np.arange(n) * (values[1] - values[0])
        return _continued(design, name, codes, more, len(values))
    return design.data[codes < n].reset_index(drop=True)


def _is_group(design: TrueModel, name: str) -> bool:
    residual = design.design.residual
    subjects = () if residual is None else residual.subject.columns
    return name in subjects or any(name in f.columns for f in design.design.factors)


def _repeated(
    design: TrueModel, name: str, codes: IntArray, levels: list[Any], n: int, in_fixed: bool
) -> pd.DataFrame:
    """Rows of n levels, those of the present ones in turn."""
    chosen = np.arange(len(levels)) if in_fixed else interleaved(design.data, codes, name)
    order = np.argsort(codes, kind="stable")
    starts = np.searchsorted(codes[order], np.arange(len(levels) + 1))
    parts, new = [], []
    for k in range(n):
        source = int(chosen[k % len(levels)])
        rows = order[starts[source] : starts[source + 1]]
        parts.append(rows)
        new.append(np.full(len(rows), k))
    table = design.data.iloc[np.concatenate(parts)].reset_index(drop=True)
    labels = [levels[int(chosen[k])] for k in range(min(n, len(levels)))]
    labels += _more_labels(levels, n - len(levels))
    table[name] = pd.Categorical.from_codes(
        np.concatenate(new), categories=pd.Index(list(map(str, labels)))
    )
    return table


def _more_labels(levels: list[Any], n: int) -> list[str]:
    """Labels of further levels: numbers that none has."""
    taken, k = {str(level) for level in levels}, len(levels) + 1
    out: list[str] = []
    while len(out) < n:
        if str(k) not in taken:
            out.append(str(k))
        k += 1
    return out


def _continued(
    design: TrueModel, name: str, codes: IntArray, values: Any, n_before: int
) -> pd.DataFrame:
    """Rows of an even series of numbers that goes on: those of its last value again."""
    last = design.data[codes == n_before - 1]
    more = [last.assign(**{name: value}) for value in values[n_before:]]
    whole: pd.DataFrame = pd.concat([design.data, *more], ignore_index=True)
    groups = [c for f in design.design.factors for c in f.columns if c != name]
    if not groups:
        return whole
    keys = [_levels(whole[c])[0] for c in dict.fromkeys(groups)]
    order = np.lexsort([whole[name].to_numpy(), *reversed(keys)])
    out: pd.DataFrame = whole.iloc[order].reset_index(drop=True)
    return out


def interleaved(table: pd.DataFrame, codes: IntArray, name: str) -> IntArray:
    """Order of clusters in which those with the same values of factors between them alternate.

    The first half of a trial sorted by arm would be one arm.

    Examples
    --------
    >>> table = pd.DataFrame({"id": list("abcd"), "arm": ["c", "c", "t", "t"]})
    >>> interleaved(table, np.arange(4), "id").tolist()
    [0, 2, 1, 3]
    """
    n = int(codes.max()) + 1
    first = np.full(n, -1, dtype=np.int64)
    first[codes[::-1]] = np.arange(len(codes))[::-1]
    profile = np.zeros(n, dtype=np.int64)
    for column in table.columns:
        values = table[column]
        if column == name or pd.api.types.is_numeric_dtype(values):
            continue
        own = pd.factorize(values)[0]
        if (own == own[first][codes]).all() and own.max() + 1 < n:
            profile = np.unique(profile * (own.max() + 1) + own[first], return_inverse=True)[1]
    rank = np.zeros(n)
    for value in np.unique(profile):
        same = np.flatnonzero(profile == value)
        rank[same] = (np.arange(len(same)) + 0.5) / len(same)
    return np.lexsort((profile, rank))


def _levels(column: pd.Series[Any]) -> tuple[IntArray, list[Any]]:
    """Codes and levels in the order of the categories, or sorted."""
    if isinstance(column.dtype, pd.CategoricalDtype):
        column = column.cat.remove_unused_categories()
        return column.cat.codes.to_numpy().astype(np.int64), column.cat.categories.tolist()
    codes, levels = pd.factorize(column, sort=True)
    return np.asarray(codes, dtype=np.int64), list(levels)


def _codes(columns: list[pd.Series[Any]]) -> IntArray:
    out = np.zeros(len(columns[0]), dtype=np.int64)
    for column in columns:
        codes, levels = _levels(column)
        out = np.unique(out * len(levels) + codes, return_inverse=True)[1]
    return out


def _known(role: str, name: str, table: pd.DataFrame) -> None:
    if name in table:
        return
    known = [str(c) for c in table]
    hint = did_you_mean(name, known)
    raise DataError(
        f"{role}: {name!r} is no variable of the design{hint} (there are {', '.join(known)})"
    )


def _in_order_of(design: AnyModel, key: pd.Series[Any]) -> AnyModel:
    """Draws are taken by rows, and levels, in the order of a key: larger designs go on."""
    codes = _levels(key)[0]
    rows = np.argsort(codes, kind="stable")
    return replace(design, row_order=rows, level_orders=_level_orders(design.design, codes))


def _level_orders(design: Design, codes: IntArray) -> tuple[IntArray, ...]:
    orders = []
    for factor in design.factors:
        least = np.full(factor.n_levels, np.iinfo(np.int64).max)
        np.minimum.at(least, factor.codes, codes)
        orders.append(np.argsort(least, kind="stable"))
    return tuple(orders)
