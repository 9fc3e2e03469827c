"""Random-effects terms with a covariance for each level of a column: a term a level."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from mlmfast.data.frame import Frame
from mlmfast.design.columns.model_matrix import ModelMatrix, of_one_level
from mlmfast.design.columns.one_level import OneLevel
from mlmfast.errors import DataError
from mlmfast.formula.mixed_formula import MixedFormula, RandomTerm

#: Levels from which terms of their own would be more than anybody means.
_MOST = 100


def with_levels(parsed: MixedFormula, frame: Frame) -> MixedFormula:
    """The formula with a term for each level of ``by=`` that rows have.

    Raises
    ------
    DataError
        Where there are too many levels.
    """
    if all(term.by is None for term in parsed.random):
        return parsed
    terms = [own for term in parsed.random for own in _terms(term, frame)]
    return replace(parsed, random=tuple(terms))


def _terms(term: RandomTerm, frame: Frame) -> list[RandomTerm]:
    if term.by is None:
        return [term]
    levels = _levels(term.by, frame)
    if len(levels) > _MOST:
        raise DataError(
            f"{term.text}: {term.by!r} has {len(levels):,} levels, each of which would have "
            f"covariance parameters of its own; at most {_MOST} are taken"
        )
    return [replace(term, level=level, text=f"{term.text} at {level}") for level in levels]


def _levels(name: str, frame: Frame) -> tuple[str, ...]:
    """Levels of a column that rows have, in their order."""
    factor = frame.factor(name)
    counts = np.bincount(factor.codes, minlength=factor.n_levels)
    return tuple(level for level, n in zip(factor.levels, counts, strict=True) if n)


def at_level(term: RandomTerm, matrix: ModelMatrix, frame: Frame) -> ModelMatrix:
    """The columns of a term, 0 outside the rows of its level."""
    if term.by is None or term.level is None:
        return matrix
    return of_one_level(matrix, OneLevel(term.by, term.level, _levels(term.by, frame)), frame)
