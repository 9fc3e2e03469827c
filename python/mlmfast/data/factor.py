"""Categorical columns as integer codes, and the arithmetic of codes."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final

import numpy as np
from numpy.typing import NDArray

import mlmfast._core as _core
from mlmfast.arrays import BoolArray, CodeArray, FloatArray, IntArray
from mlmfast.running.first_use import OnUse

if TYPE_CHECKING:
    import pandas as pd
else:
    pd = OnUse("pandas")

LevelValues = NDArray[np.generic]

# A table of this many entries per row is still cheaper than hashing the rows.
_DIRECT_ADDRESS_RATIO = 4
_DIRECT_ADDRESS_MINIMUM = 1 << 16
#: How arrays lie that the core reads; those that came over a network may lie at odd addresses.
_PLAIN: Final = ("C", "A")
#: Runs of equal values a row below which they are worth a look.
_RUNS = 0.5


@dataclass(frozen=True, eq=False)
class Factor:
    """A categorical column: one integer code per row, and the level each code stands for.

    Attributes
    ----------
    codes : int32 array, shape (n,)
        Position of the row's level in `levels`; -1 where the value is missing.
    levels : tuple of str
        Level names as they appear in coefficient names, in the order of the contrasts.
    values : array, shape (n_levels,)
        The levels as the user's data hold them, for example integers.
    declared : tuple of str, or None
        All levels that the column declares, those that no row has too; None where it declares none.

    Examples
    --------
    >>> import numpy as np
    >>> Factor(np.array([0, 1, 0], dtype=np.int32), ("a", "b"), np.array(["a", "b"])).n_levels
    2
    """

    codes: CodeArray
    levels: tuple[str, ...]
    values: LevelValues
    declared: tuple[str, ...] | None = None

    @property
    def n_levels(self) -> int:
        """Number of levels."""
        return len(self.levels)

    @property
    def is_numeric(self) -> bool:
        """Whether the levels are numbers in the data, and not text that reads like them."""
        if self.values.dtype == object:
            return all(isinstance(value, int | float | np.number) for value in self.values.tolist())
        return self.values.dtype.kind in "iufb"

    def has_missing(self) -> bool:
        """Whether any row has no level."""
        return self.codes.size > 0 and int(self.codes.min()) < 0

    def take(self, rows: BoolArray) -> Factor:
        """Keep the rows marked true, and the levels that still occur in them."""
        return drop_unused_levels(replace(self, codes=self.codes[rows]))

    def recode(self, levels: Sequence[str]) -> tuple[CodeArray, tuple[str, ...]]:
        """Codes in terms of other `levels`, and the own levels that are not among them.

        A row whose level is unknown gets -1, like a missing one.
        """
        if tuple(levels) == self.levels:
            return self.codes, ()
        position = {level: code for code, level in enumerate(levels)}
        translation = np.array([position.get(level, -1) for level in self.levels], dtype=np.int32)
        unknown = tuple(level for level in self.levels if level not in position)
        return translate_codes(self.codes, translation), unknown


def translate_codes(codes: NDArray[np.integer], translation: CodeArray) -> CodeArray:
    """Replace each code by its entry in `translation`; -1 stays -1."""
    if not len(translation) or (translation == np.arange(len(translation))).all():
        return np.require(codes, np.int32, _PLAIN)
    table = np.require(translation, np.int32, _PLAIN)
    return _core.translate_codes(np.require(codes, np.int32, _PLAIN), table)


def count_codes(codes: CodeArray, n_codes: int) -> NDArray[np.int64]:
    """Rows of each code; those of -1 are not counted.

    Examples
    --------
    >>> count_codes(np.array([0, 2, -1, 2], dtype=np.int32), 3)
    array([1, 0, 2])
    """
    return _core.count_codes(np.require(codes, np.int32, _PLAIN), n_codes)[1:]


def drop_unused_levels(factor: Factor) -> Factor:
    """Leave out levels that no row has."""
    used = count_codes(factor.codes, factor.n_levels) > 0
    if used.all():
        return factor
    kept = np.flatnonzero(used)
    translation = np.full(factor.n_levels, -1, dtype=np.int32)
    translation[kept] = np.arange(kept.size, dtype=np.int32)
    levels = tuple(factor.levels[k] for k in kept.tolist())
    codes = translate_codes(factor.codes, translation)
    return Factor(codes, levels, factor.values[kept], factor.declared)


def factor_from_categories(codes: NDArray[np.integer], values: LevelValues) -> Factor:
    """Make a factor from codes and categories in a given order; unused ones are no levels."""
    labels = level_labels(values)
    return drop_unused_levels(Factor(codes.astype(np.int32, copy=False), labels, values, labels))


def factor_from_uniques(codes: NDArray[np.integer], values: LevelValues) -> Factor:
    """Make a factor from codes and distinct values in any order, sorting the levels.

    Only the levels are sorted, never the rows.
    """
    order = _sorting_order(values)
    rank = np.empty(order.size, dtype=np.int32)
    rank[order] = np.arange(order.size, dtype=np.int32)
    ordered = values[order]
    return Factor(translate_codes(codes, rank), level_labels(ordered), ordered)


def _sorting_order(values: LevelValues) -> IntArray:
    if values.dtype != object:
        return np.argsort(values, kind="stable")
    items = values.tolist()
    # Python's sort of str compares code points, and is faster than NumPy's on objects.
    return np.array(sorted(range(len(items)), key=items.__getitem__), dtype=np.intp)


def factor_from_integers(values: NDArray[np.integer]) -> Factor:
    """Make a factor of integers, by direct address where their range is small."""
    distinct, codes = code_integers(values)
    return Factor(codes, level_labels(distinct), distinct)


def code_integers(
    values: NDArray[np.integer],
) -> tuple[NDArray[np.integer], CodeArray]:
    """Distinct integers in increasing order, and the position of each row's value among them."""
    if values.size == 0:
        return values, np.array([], dtype=np.int32)
    if values.dtype == np.int64:
        # Sorted rows, as files of clusters are: each value is one run.
        runs = _core.code_runs(np.require(values, np.int64, _PLAIN))
        if runs is not None:
            return values[runs[1]], runs[0]
    another: BoolArray = values[1:] != values[:-1]
    first = np.flatnonzero(another) + 1
    if len(first) < _RUNS * values.size and (values[first] > values[first - 1]).all():
        # Sorted rows, as files of clusters are: each value is one run.
        first = np.append(0, first)
        lengths = np.diff(first, append=values.size)
        return values[first], np.repeat(np.arange(len(first), dtype=np.int32), lengths)
    lowest, highest = int(values.min()), int(values.max())
    n_slots = highest - lowest + 1
    if n_slots > max(_DIRECT_ADDRESS_RATIO * values.size, _DIRECT_ADDRESS_MINIMUM):
        codes, distinct = pd.factorize(values, sort=True)
        return distinct, codes.astype(np.int32)
    # Unsigned and narrow types would wrap around in the subtraction; beyond int64 all are uint64.
    fits = highest < 2**63
    slots = values.astype(np.int64, copy=False) - lowest if fits else values - np.uint64(lowest)
    table = np.zeros(n_slots, dtype=np.int32)
    table[slots] = 1
    occupied = np.flatnonzero(table)
    table[occupied] = np.arange(occupied.size, dtype=np.int32)
    distinct = occupied + lowest if fits else occupied.astype(np.uint64) + np.uint64(lowest)
    return distinct.astype(values.dtype), table[slots]


def factor_from_floats(values: FloatArray) -> Factor:
    """Make a factor of numbers; NaN is missing."""
    missing = np.isnan(values)
    present = values[~missing] if missing.any() else values
    codes, distinct = pd.factorize(present)
    return spread_factor(factor_from_uniques(codes, np.asarray(distinct)), missing)


def factor_from_spans(values: NDArray[np.timedelta64]) -> Factor:
    """Make a factor of spans of time, sorted by length; NaT is missing.

    Examples
    --------
    >>> factor_from_spans(np.array([48, 3, "NaT"], dtype="timedelta64[h]")).levels
    ('0 days 03:00:00', '2 days')
    """
    codes, distinct = pd.factorize(pd.Index(values))
    return factor_from_uniques(codes, np.asarray(distinct))


def spread_factor(present: Factor, missing: BoolArray) -> Factor:
    """Put the factor of the rows that have a value back among those that have none."""
    if not missing.any():
        return present
    codes = np.full(missing.size, -1, dtype=np.int32)
    codes[~missing] = present.codes
    return replace(present, codes=codes)


def factor_from_logicals(values: BoolArray) -> Factor:
    """Make a factor with R's two levels of a logical, `FALSE` and `TRUE`, both kept."""
    return Factor(values.astype(np.int32), ("FALSE", "TRUE"), np.array([False, True]))


def level_labels(values: LevelValues) -> tuple[str, ...]:
    """Text of each level: R's `FALSE`/`TRUE`, numbers without a needless `.0`."""
    if values.dtype.kind == "b":
        return tuple("TRUE" if value else "FALSE" for value in values.tolist())
    if values.dtype.kind == "f":
        return tuple(number_label(value) for value in values.tolist())
    if values.dtype.kind in "iuU":
        return tuple(map(str, values.tolist()))
    if values.dtype.kind in "mM":
        return tuple(str(value).removesuffix(" 00:00:00") for value in pd.Index(values))
    items = values.tolist()
    if set(map(type, items)) <= {str}:
        return tuple(items)
    return tuple(map(level_label, items))


def are_texts(values: LevelValues) -> bool:
    """Whether all values are text.

    Examples
    --------
    >>> mixed = np.array(["a", 2.0], dtype=object)
    >>> are_texts(mixed[:1]), are_texts(mixed)
    (True, False)
    """
    if values.dtype != object:
        return values.dtype.kind == "U"
    # Joining looks at each without a step of Python, and refuses what is no text.
    try:
        "".join(values.tolist())
    except TypeError:
        return False
    return True


def level_label(value: object) -> str:
    """Text of a level as the user's data hold it, such as True, 2.0 or "a".

    Examples
    --------
    >>> level_label(True), level_label(2.0), level_label("a")
    ('TRUE', '2', 'a')
    """
    if isinstance(value, str):
        return value
    if isinstance(value, bool | np.bool_):
        return "TRUE" if value else "FALSE"
    if isinstance(value, float):
        return number_label(value)
    return str(value)


def number_label(value: float) -> str:
    """Print a number as R prints a level: `2`, not `2.0`; 15 significant digits."""
    if math.isfinite(value) and value == int(value) and abs(value) < 1e15:
        return str(int(value))
    short = format(value, ".15g")
    return short if float(short) == value or not math.isfinite(value) else repr(value)


def cross_factors(factors: Sequence[Factor], separator: str = ":") -> Factor:
    """Interaction of grouping factors: one level per combination that occurs in the data.

    Levels are named `a1:b1` and ordered with the last factor varying fastest, as in R.

    Examples
    --------
    >>> import numpy as np
    >>> a = Factor(np.array([0, 1, 1], dtype=np.int32), ("x", "y"), np.array(["x", "y"]))
    >>> b = Factor(np.array([1, 0, 0], dtype=np.int32), ("1", "2"), np.array([1, 2]))
    >>> cross_factors([a, b]).levels
    ('x:2', 'y:1')
    """
    result = factors[0]
    for factor in factors[1:]:
        result = _cross_two(result, factor, separator)
    return result


def _cross_two(outer: Factor, inner: Factor, separator: str) -> Factor:
    missing = (outer.codes < 0) | (inner.codes < 0)
    pairs = outer.codes.astype(np.int64) * inner.n_levels + inner.codes
    pairs[missing] = -1
    if missing.all():
        return Factor(np.full(missing.size, -1, dtype=np.int32), (), np.array([], dtype=object))
    distinct, codes = code_integers(pairs)
    if missing.any():
        distinct, codes = distinct[1:], codes - np.int32(1)
    first, second = np.divmod(distinct, inner.n_levels)
    labels = tuple(
        f"{outer.levels[i]}{separator}{inner.levels[j]}"
        for i, j in zip(first.tolist(), second.tolist(), strict=True)
    )
    return Factor(codes, labels, np.array(labels, dtype=object))


def with_logicals(values: LevelValues) -> LevelValues:
    """Values as logicals where all are, as pandas's are not beside a missing one.

    Examples
    --------
    >>> with_logicals(np.array([False, True], dtype=object)).dtype.name
    'bool'
    """
    if values.dtype.kind != "O" or not len(values):
        return values
    is_logical = all(isinstance(value, bool | np.bool_) for value in values)
    return values.astype(np.bool_) if is_logical else values
