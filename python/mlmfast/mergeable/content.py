"""What a reduction holds: of one part of the rows, or of many merged."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from mlmfast.arrays import CodeArray, FloatArray
from mlmfast.data.columns.joined_factors import common_order
from mlmfast.data.factor import code_integers
from mlmfast.data.frame import Frame
from mlmfast.errors import DataError
from mlmfast.formula.residual_formula import ResidualFormula
from mlmfast.mergeable.coding.factor_columns import FactorColumns, factor_columns
from mlmfast.mergeable.coding.levels import check_levels, to_json
from mlmfast.mergeable.coding.part_rows import (
    CodedRows,
    Part,
    code_rows,
    complete_rows,
    told_of,
)
from mlmfast.mergeable.coding.plan import Plan
from mlmfast.mergeable.condensed.keys import key_values
from mlmfast.mergeable.condensed.rows import CondensedRows, condense, merge_rows
from mlmfast.mergeable.condensed.subject_rows import SubjectRows
from mlmfast.mergeable.condensed.units import (
    CondensedUnits,
    close,
    condense_units,
    merge_units,
)
from mlmfast.mergeable.row_facts import Facts, facts_of_part

#: The combination of levels of each row, and by combination the columns that go by it.
LevelTable: TypeAlias = tuple[CodeArray, FloatArray]


@dataclass(frozen=True, eq=False)
class Content:
    """Statistics of rows.

    Attributes
    ----------
    plan
        How the rows were coded.
    rows
        What stands for them; None where there were none.
    n_obs, n_dropped
        Rows used, and rows left out because a variable was missing.
    n_withheld
        Rows of clusters that were too small to leave their place.
    log_weights
        Sum of the logarithms of the weights.
    facts
        Means and frequencies.
    parts
        By the fingerprint of each part that had rows, its name.
    units
        Subjects that stand for those read, where residuals have a covariance.
    unweighted
        Of rows with weights, few that have the sums of all of them without their weights, by which
        tests of terms go; None where rows have none, or some were withheld.
    orders
        Of grouping columns whose categories every part declares, the order of these.
    """

    plan: Plan
    rows: CondensedRows | None
    n_obs: int
    n_dropped: int
    n_withheld: int
    log_weights: float
    facts: Facts
    parts: Mapping[str, str]
    units: CondensedUnits | None = None
    unweighted: CondensedRows | None = None
    orders: Mapping[str, tuple[str, ...]] = field(default_factory=dict)

    @property
    def nbytes(self) -> int:
        """Bytes of the statistics."""
        return sum(own.nbytes for own in (self.rows, self.units) if own is not None)


def nothing(plan: Plan) -> Content:
    """Statistics of no rows."""
    return Content(plan, None, 0, 0, 0, 0.0, Facts(), {})


def reduce_part(
    plan: Plan, part: Part, na_action: str = "drop", assumed: Sequence[str] = ()
) -> Content:
    """Statistics of one part: a function of the plan and the part alone.

    Parameters
    ----------
    assumed
        Columns whose levels the plan has from other parts only.

    Raises
    ------
    OtherLevels
        Where this part's levels of such a column are not among those.
    """
    rows = complete_rows(part, plan.variables, [*plan.typical, *plan.numbers], na_action)
    if rows.frame is None:
        return replace(nothing(plan), n_dropped=rows.n_dropped)
    check_levels(plan.levels, rows.frame, assumed)
    by_levels = factor_columns(plan)
    coded = code_rows(plan, rows, frozenset() if by_levels is None else by_levels.terms)
    with told_of(part.name):
        table = _table(plan, coded.frame, by_levels)
    facts = facts_of_part(plan, coded.frame, coded.offset_mean)
    empty = replace(nothing(plan), n_obs=rows.frame.n_rows, n_dropped=rows.n_dropped, facts=facts)
    if plan.within is not None:
        with told_of(part.name):
            units = _units(plan, plan.within, coded, table)
        mark = _mark(part.name, part.first_row, *_arrays_of_units(units))
        return replace(empty, units=units, parts={mark: part.name})
    keys = {name: grouping_key(rows.frame, name) for name in plan.grouping}
    condensed = condense(keys, coded.columns, plan.origin, coded.weights, table)
    mark = fingerprint(condensed, part.name, part.first_row)
    orders = _declared_orders(rows.frame, plan.grouping)
    own = replace(empty, rows=condensed, parts={mark: part.name}, orders=orders)
    if coded.weights is None:
        return own
    unweighted = condense({}, coded.columns, plan.origin, None, table)
    return replace(own, log_weights=float(np.log(coded.weights).sum()), unweighted=unweighted)


def _declared_orders(frame: Frame, names: Sequence[str]) -> dict[str, tuple[str, ...]]:
    """Categories that grouping columns declare, in their order."""
    out = {}
    for name in names:
        declared = None if frame.integers(name) is not None else frame.factor(name).declared
        if declared is not None and len(declared) <= _MOST_DECLARED:
            out[name] = declared
    return out


def _common_orders(contents: Sequence[Content]) -> dict[str, tuple[str, ...]]:
    """Orders of categories that all parts with rows agree on; see `joined_factor`."""
    present = [content.orders for content in contents if content.rows is not None]
    out = {}
    for name in present[0] if present else ():
        declared = [own[name] for own in present if name in own]
        order = common_order(declared) if len(declared) == len(present) else None
        if order is not None:
            out[name] = order
    return out


def grouping_key(frame: Frame, name: str) -> tuple[CodeArray, NDArray[Any]]:
    """Codes of a grouping column, each met, and the keys that they stand for."""
    integers = frame.integers(name)
    if integers is not None and (integers.dtype.kind == "i" or integers.dtype.itemsize < 8):
        # Labels of a million clusters in every part would take longer than all the rest.
        distinct, codes = code_integers(integers)
        return codes, distinct.astype(np.int64)
    factor = frame.factor(name)
    return factor.codes, key_values(factor)


def _units(
    plan: Plan, within: ResidualFormula, coded: CodedRows, table: LevelTable | None
) -> CondensedUnits:
    frame = coded.frame
    positions: CodeArray = np.zeros(frame.n_rows, dtype=np.int32)
    for name in within.coordinates:
        levels = plan.levels[name].labels
        positions = positions * np.int32(len(levels)) + codes_of(plan, frame, name)
    arms = np.zeros(frame.n_rows, dtype=np.int32)
    if within.arm is not None:
        arms = codes_of(plan, frame, within.arm)
    subjects = {name: grouping_key(frame, name) for name in within.subject}
    rows = SubjectRows(subjects, arms, positions, coded.columns, plan.origin, table)
    return condense_units(rows)


def _table(plan: Plan, frame: Frame, by_levels: FactorColumns | None) -> LevelTable | None:
    if by_levels is None:
        return None
    codes = [codes_of(plan, frame, name) for name in by_levels.names]
    return by_levels.cells(codes), by_levels.values


def codes_of(plan: Plan, frame: Frame, name: str) -> CodeArray:
    """Positions of a column's values among the levels of the plan."""
    codes, unknown = frame.factor(name).recode(plan.levels[name].labels)
    if unknown:
        known = plan.levels[name].labels
        raise DataError(
            f"{name!r} has the level {unknown[0]!r}, which no other part has; known are "
            f"{', '.join(known[:20])}"
        )
    return codes


def _arrays_of_units(units: CondensedUnits) -> list[NDArray[Any]]:
    arrays: list[NDArray[Any]] = [units.open_rows.values, units.open_rows.positions]
    arrays += [own.values for own in units.patterns.values()]
    return arrays


def fingerprint(rows: CondensedRows, name: str, first_row: int) -> str:
    """What tells a part from all others: its statistics, and where it stands."""
    keys = [np.array([key], dtype="U") for key in rows.keys]
    keys += [v if v.dtype != object else np.array(v.tolist(), "U") for v in rows.keys.values()]
    return _mark(
        name, first_row, rows.sizes, rows.counts, rows.weights, rows.values, rows.origin, *keys
    )


def _mark(name: str, first_row: int, *arrays: NDArray[Any]) -> str:
    found = hashlib.blake2b(f"{name}\0{first_row}".encode(), digest_size=8)
    for array in arrays:
        _digest(found, np.ascontiguousarray(array))
    return found.hexdigest()


#: Categories of a grouping column above which no order of theirs is kept.
_MOST_DECLARED = 100_000
#: Numbers that are added up, each of a long array to every so many others.
_LANES = 512


def _digest(found: hashlib.blake2b, array: NDArray[Any]) -> None:
    """Adds an array; of a long one sums of its bits, for which memory is read once and no more."""
    if array.itemsize != 8 or array.size < 4 * _LANES:
        found.update(array.tobytes())
        return
    bits = array.reshape(-1).view(np.uint64)
    whole = len(bits) // _LANES * _LANES
    lanes = bits[:whole].reshape(-1, _LANES)
    for sums in (lanes.sum(axis=0), np.bitwise_xor.reduce(lanes, axis=0), bits[whole:]):
        found.update(sums.tobytes())


def merge_contents(contents: Sequence[Content]) -> Content:
    """Statistics of all rows.

    Raises
    ------
    DataError
        Where a part comes twice, or parts were coded otherwise.
    """
    if not contents:
        raise DataError("there is nothing to merge; give one reduction or more")
    first = contents[0]
    parts: dict[str, str] = {}
    for content in contents:
        _check_alike(first.plan, content.plan)
        for mark, name in content.parts.items():
            if mark in parts:
                raise DataError(
                    f"the part {mark} ({name or 'without a name'}) comes twice; its rows would "
                    "count twice: merge each part once"
                )
            parts[mark] = name
    rows = [content.rows for content in contents if content.rows is not None]
    units = [content.units for content in contents if content.units is not None]
    unweighted = [content.unweighted for content in contents if content.unweighted is not None]
    facts = Facts()
    for content in contents:
        facts += content.facts
    return Content(
        first.plan,
        merge_rows(rows) if rows else None,
        sum(content.n_obs for content in contents),
        sum(content.n_dropped for content in contents),
        sum(content.n_withheld for content in contents),
        float(sum(content.log_weights for content in contents)),
        facts,
        parts,
        merge_units(units) if units else None,
        merge_rows(unweighted) if unweighted and len(unweighted) == len(rows) else None,
        _common_orders(contents),
    )


def _check_alike(first: Plan, other: Plan) -> None:
    """Refuse to merge what was coded otherwise, saying what differs."""
    if first.digest == other.digest:
        return
    for what in ("formula", "residual", "weights", "offset"):
        ours, theirs = getattr(first, what), getattr(other, what)
        if ours != theirs:
            raise DataError(
                f"the reductions are of different models: {what} is {ours!r} in one and {theirs!r} "
                "in another; reduce all parts by one call, or by the same one"
            )
    for name in sorted(first.levels.keys() | other.levels.keys()):
        ours, theirs = to_json(first.levels).get(name), to_json(other.levels).get(name)
        if ours != theirs:
            one, two = (
                "numbers" if own is None else ", ".join(own["labels"][:20])
                for own in (ours, theirs)
            )
            raise DataError(
                f"the column {name!r} was coded by other levels: {one} in one reduction, {two} in "
                f"another; fix them beforehand by levels={{{name!r}: [...]}}"
            )
    for label in sorted(first.states.keys() | other.states.keys()):
        if first.states.get(label) != other.states.get(label):
            raise DataError(
                f"{label} was made from other rows in each reduction, so its columns differ; "
                "reduce all parts by one plan (mlm.reduce(..., plan=reduction.plan)), or scale the "
                "column beforehand by constants"
            )
    raise DataError(
        "the reductions code their columns otherwise (contrasts, or columns of numbers); reduce "
        "all parts by the same call"
    )


def withhold(content: Content, min_cluster_size: int) -> Content:
    """Without the cells of fewer rows.

    Raises
    ------
    DataError
        Where a cell of that size could stand for itself, or none is left.
    """
    rows = content.rows
    if content.units is not None:
        raise DataError(
            "min_cluster_size goes with independent residuals: with residual= the sums are of all "
            "subjects seen at the same visits; leave it out"
        )
    if rows is None:
        return content
    least = rows.values.shape[1] + 2
    if min_cluster_size < least:
        raise DataError(
            f"min_cluster_size is {min_cluster_size}; with {rows.values.shape[1]} columns a "
            f"cluster of fewer than {least} rows could be kept row by row: give {least} or more"
        )
    kept = rows.counts >= min_cluster_size
    if kept.all():
        return content
    if not kept.any():
        raise DataError(
            f"no cluster has {min_cluster_size} rows or more; give a smaller min_cluster_size"
        )
    of_row = np.repeat(kept, rows.sizes)
    own = CondensedRows(
        {name: values[kept] for name, values in rows.keys.items()},
        rows.sizes[kept],
        rows.counts[kept],
        rows.values[of_row],
        rows.weights[of_row],
        rows.origin,
    )
    n = int(own.counts.sum())
    return replace(content, rows=own, n_obs=n, n_withheld=content.n_obs - n, unweighted=None)


def without_labels(content: Content) -> Content:
    """With numbers that mean nothing elsewhere in place of the labels of clusters."""
    rows = content.rows
    if content.units is not None:
        closed = close(content.units)
        own = replace(closed, subjects={name: v[:0] for name, v in closed.subjects.items()})
        return replace(content, units=own, parts=dict.fromkeys(content.parts, ""))
    if rows is None:
        return content
    mark = hashlib.blake2b("".join(sorted(content.parts)).encode(), digest_size=6).hexdigest()
    keys = {}
    for name, values in rows.keys.items():
        # By size of the labels' rows nothing is said of their order.
        _, codes = np.unique(values.astype(str), return_inverse=True)
        order = np.random.default_rng(int(mark, 16)).permutation(int(codes.max()) + 1)
        keys[name] = np.array([f"{mark}-{k}" for k in order[codes].tolist()], dtype=object)
    parts = dict.fromkeys(content.parts, "")
    return replace(content, rows=replace(rows, keys=keys), parts=parts, orders={})
