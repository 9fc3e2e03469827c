"""Few weighted subjects for those of one arm who were seen at the same visits."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

import mlmfast._core as _core
from mlmfast.arrays import BoolArray, FloatArray


class PatternKey(NamedTuple):
    """An arm, and the positions of the visits seen, in order."""

    arm: int
    visits: tuple[int, ...]


class Pattern(NamedTuple):
    """Subjects that stand for those of a pattern.

    Attributes
    ----------
    n_subjects
        Subjects of the pattern.
    values : shape (k, n_visits, n_columns)
    weights : shape (k,), what each counts
    """

    n_subjects: int
    values: FloatArray
    weights: FloatArray


class Entry(NamedTuple):
    """Values of a column, one a subject.

    Attributes
    ----------
    column
        Memory, offset and stride of the values; the center and the scale.
    j
        Position of the column.
    v
        The visit that they are of, among those of the pattern; None for all.
    """

    column: tuple[tuple[FloatArray, int, int], float, float]
    j: int
    v: int | None


def merge_patterns(patterns: Sequence[Pattern]) -> Pattern:
    """One for the subjects of several."""
    if len(patterns) == 1:
        return patterns[0]
    values = np.concatenate([own.values for own in patterns])
    weights = np.concatenate([own.weights for own in patterns])
    count = sum(own.n_subjects for own in patterns)
    n, q, m = values.shape
    constant: BoolArray = (values == values[:, :1]).all(axis=(0, 1))
    flat = np.ascontiguousarray(values).reshape(-1)
    entries = [
        Entry(((flat, v * m + j, q * m), 0.0, 1.0), j, None if constant[j] else v)
        for j in range(m)
        for v in range(1 if constant[j] else q)
    ]
    return condense_pattern(n, count, entries, weights, values[0])


def condense_pattern(
    n: int,
    count: int,
    entries: Sequence[Entry],
    weights: FloatArray | None,
    shared: FloatArray,
) -> Pattern:
    """Few subjects for n.

    Parameters
    ----------
    n, count
        Subjects at hand, and those that they stand for.
    entries
        What differs between subjects.
    weights : shape (n,) or None
    shared : shape (n_visits, n_columns), what all have where there is no entry
    """
    codes = np.zeros(n, dtype=np.int32)
    columns = [entry.column for entry in entries]
    _, found, own_weights = _core.compress_rows(codes, 1, columns, weights)
    values = np.repeat(shared[None], len(own_weights), axis=0)
    for at, (_, j, v) in enumerate(entries):
        # What is constant within each subject stays so to the last bit.
        if v is None:
            values[:, :, j] = found[:, at : at + 1]
        else:
            values[:, v, j] = found[:, at]
    return Pattern(count, values, own_weights)
