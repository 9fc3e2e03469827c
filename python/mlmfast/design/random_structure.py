"""Covariance structure of a random-effects term, from its formula and its columns."""

from __future__ import annotations

from difflib import get_close_matches
from typing import Any

import numpy as np

from mlmfast.arrays import CodeArray, FloatArray
from mlmfast.covariance import STRUCTURES, CovarianceStructure
from mlmfast.data.frame import Frame
from mlmfast.design.columns.model_matrix import ModelMatrix
from mlmfast.design.columns.model_variables import FactorVariable
from mlmfast.design.residual.visits.of_rows import is_alphabetical, uneven_levels
from mlmfast.design.residual.visits.sequence import (
    VisitSequence,
    level_sequence,
    numbers_read,
    reads_otherwise,
    visit_sequence,
)
from mlmfast.errors import DataError, FormulaError, ModelError, SpacingWarning, warn
from mlmfast.formula.mixed_formula import RandomTerm

#: Smoothness of `sp_matern` where none is given.
_SMOOTHNESS = 1.5
#: Columns that a structured covariance may span.
_LARGEST = 64


def random_structures() -> tuple[str, ...]:
    """Keywords of the structures that random effects can have."""
    return tuple(word for word, kind in STRUCTURES.items() if kind.for_random_effects)


def term_structure(term: RandomTerm, matrix: ModelMatrix, frame: Frame) -> CovarianceStructure:
    """The structure of a term over the columns of its Z, which was made from ``frame``.

    Raises
    ------
    FormulaError
        For a structure that is not known, or a number that it does not take.
    ModelError, DataError
        Where the columns are not the levels that the structure needs.
    """
    kind = STRUCTURES.get(term.structure)
    if kind is None or not kind.for_random_effects:
        raise _unknown(term)
    _check_not_of_visits(term, matrix)
    size = len(matrix.columns)
    if size > _LARGEST and term.group and not (kind.mixes or kind.variances_alone):
        raise ModelError(
            f"{term.text} has {size} columns; at most {_LARGEST} are available for the covariance "
            f"structure {term.structure!r}"
        )
    options: dict[str, Any] = {**_options(term)}
    if kind.sequential:
        levels = _levels(term, matrix)
        if kind.needs == "coordinates":
            options["coordinates"] = _numbers(term, levels)[:, None]
    if kind.ordered and _are_levels(matrix):
        sequence = _sequence(matrix)
        said = is_alphabetical(f"{term.text}: {term.structure}", sequence)
        if kind.counts_steps(term.number):
            if not said:
                _check_spacing(term, sequence, matrix, frame)
            options["places"] = sequence.gaps
    return kind(size, **options)


def _check_not_of_visits(term: RandomTerm, matrix: ModelMatrix) -> None:
    """Refuse mmrm's ``us(visit | subject)`` in a formula: there it is the residual covariance.

    glmmTMB's ``us(0 + visit | subject)`` and lme4's ``(visit | subject)`` are random effects, and
    so is a structure over an intercept and slopes; a factor by itself in a structure is mmrm's.
    """
    written = term.text.startswith(f"{term.structure}(")
    variables = list(matrix.spec.coded.values())
    mean_effects = not STRUCTURES[term.structure].for_residuals
    if (
        mean_effects
        or not written
        or term.expression not in matrix.spec.coded
        or len(variables) != 1
    ):
        return
    if isinstance(variables[0], FactorVariable) and len(matrix.terms) == 2:
        group = ":".join(term.group)
        raise FormulaError(
            f"{term.text} in a formula: mmrm means by it the covariance of the residuals, which "
            f"is an argument here, residual='{term.structure}({term.expression} | {group})', or "
            f"'... | arm / subject)' by arm; for random effects write "
            f"{term.structure}(0 + {term.expression} | {group})"
        )


def check_not_residual(term: RandomTerm, matrix: ModelMatrix, codes: CodeArray) -> None:
    """Refuse a term whose own variance by level and group is that of the residual once more.

    Raises
    ------
    ModelError
        Where no level has two rows in a group, and the structure has the identity in it.
    """
    n, size = len(codes), len(matrix.columns)
    n_cells = (int(codes.max()) + 1) * size
    contains_residual = STRUCTURES[term.structure].contains_residual
    if not contains_residual or n > n_cells or not _are_levels(matrix):
        return
    level = np.argmax(np.stack(matrix.columns), axis=0)
    if len(np.unique(codes.astype(np.int64) * size + level)) == n:
        arm = "" if term.by is None else f"{term.by} / "
        raise ModelError(
            f"{term.text}: every level of {', '.join(matrix.terms)} has at most one row by "
            f"{':'.join(term.group)}, so that the variance of {term.structure!r} cannot be told "
            f"from the residual's; write it as the residual's covariance, "
            f"residual='{term.structure}(visit | {arm}subject)'"
        )


def _are_levels(matrix: ModelMatrix) -> bool:
    """Whether the columns are the indicators of one factor's levels."""
    variables = list(matrix.spec.coded.values())
    if len(variables) != 1 or not isinstance(variables[0], FactorVariable):
        return False
    return len(matrix.terms) == 1 and len(matrix.columns) == len(variables[0].levels)


def _unknown(term: RandomTerm) -> FormulaError | ModelError:
    words = random_structures()
    available = ", ".join(words)
    if term.structure in STRUCTURES:
        return ModelError(
            f"the covariance structure {term.structure!r} of {term.text} is one for residuals; "
            f"available for random effects: {available}"
        )
    near = get_close_matches(term.structure, words, n=1)
    hint = f"; did you mean {near[0]!r}?" if near else ""
    return FormulaError(
        f"{term.structure!r} in {term.text} is not a covariance structure{hint} (available: "
        f"{available})"
    )


def _options(term: RandomTerm) -> dict[str, float | int]:
    """The number of the term as an argument of its structure."""
    kind = STRUCTURES[term.structure]
    name = kind.random_option
    if term.number is None:
        return {"nu": _SMOOTHNESS} if name == "nu" else {}
    if name is None:
        why = (
            "bands that stop short of the last level are available for residuals only"
            if kind.option == "order"
            else f"only {', '.join(w for w in random_structures() if STRUCTURES[w].random_option)} "
            "take one"
        )
        raise FormulaError(f"{term.text}: {term.structure!r} takes no number here; {why}")
    if name == "nu":
        return {"nu": term.number}
    if term.number != int(term.number) or term.number < 1:
        raise FormulaError(
            f"{term.text}: the number of {term.structure!r} is a whole number from 1 on, not "
            f"{term.number:g}"
        )
    return {"order": int(term.number)}


def _levels(term: RandomTerm, matrix: ModelMatrix) -> tuple[str, ...]:
    """Levels of the factor whose indicators the columns are."""
    if _are_levels(matrix):
        return next(iter(matrix.spec.levels.values()))
    raise ModelError(
        f"{term.text}: the covariance structure {term.structure!r} is over the levels of one "
        f"factor, and the columns are {', '.join(matrix.names)}; write "
        f"{term.structure}(0 + factor | {':'.join(term.group)}), with factor(t) for a number t"
    )


def _numbers(term: RandomTerm, levels: tuple[str, ...]) -> FloatArray:
    points = numbers_read(levels)
    if points is None:
        word = next(level for level in levels if numbers_read((level,)) is None)
        raise DataError(
            f"{term.text}: {term.structure!r} needs levels that are numbers (coordinates), and "
            f"{word!r} is none"
        )
    return points


def _sequence(matrix: ModelMatrix) -> VisitSequence:
    """The levels whose indicators the columns are, in their order."""
    name = next(iter(matrix.spec.levels))
    variable = matrix.spec.coded[name]
    assert isinstance(variable, FactorVariable), "it has levels"
    nothing = np.empty(0, dtype=np.int32)
    return level_sequence(name, nothing, variable.levels, variable.declared)


def _check_spacing(
    term: RandomTerm, sequence: VisitSequence, matrix: ModelMatrix, frame: Frame
) -> None:
    """Say that a factor counts by its levels, where what it was made from says otherwise."""
    assert sequence.places is not None, "levels have places"
    if reads_otherwise(sequence.labels, sequence.places) or _is_uneven(matrix, frame):
        written = f"{term.structure}(0 + factor(t, levels=[...]) | {':'.join(term.group)})"
        what = f"{term.text}: {term.structure}"
        warn(uneven_levels(what, sequence, written), SpacingWarning, "MLM202")


def _is_uneven(matrix: ModelMatrix, frame: Frame) -> bool:
    """Whether a factor was made from dates that are not equally spaced."""
    variables = matrix.spec.variables
    if len(variables) != 1 or not frame.has(variables[0]) or not frame.is_date(variables[0]):
        return False
    return visit_sequence(frame, variables[0]).gaps is not None
