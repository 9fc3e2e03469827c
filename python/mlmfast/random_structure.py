"""Covariance structure of a random-effects term, from its formula and its columns."""

from __future__ import annotations

import inspect
from difflib import get_close_matches

import numpy as np

from mlmfast.arrays import CodeArray, FloatArray
from mlmfast.covariance import STRUCTURES, CovarianceStructure
from mlmfast.errors import DataError, FormulaError, ModelError
from mlmfast.formula import RandomTerm
from mlmfast.model_matrix import ModelMatrix
from mlmfast.model_variables import FactorVariable

#: Structures of random-effects terms.
TERM_STRUCTURES = (
    *("us", "diag", "homdiag", "cs", "csh", "hf", "un", "fa"),
    *("ar1", "ar1h", "toep", "toeph", "ad", "adh", "arma11"),
    *("sp_exp", "car1", "sp_gau", "sp_pow", "sp_sph", "sp_matern"),
)
#: Structures over steps of equal length.
_EVENLY_SPACED = ("ar1", "ar1h", "toep", "toeph", "arma11")
#: Structures that contain a multiple of the identity, as the residual is one.
_CONTAIN_RESIDUAL = ("homdiag", "cs", "hf", "un", "fa", "toep", "arma11")
#: What a number after the group stands for.
_NUMBERS = {"un": "order", "fa": "order", "sp_matern": "nu"}
#: Smoothness of `sp_matern` where none is given.
_SMOOTHNESS = 1.5
#: Columns that a structured covariance may span.
_LARGEST = 64


def term_structure(term: RandomTerm, matrix: ModelMatrix) -> CovarianceStructure:
    """The structure of a term over the columns of its Z.

    Raises
    ------
    FormulaError
        For a structure that is not known, or a number that it does not take.
    ModelError, DataError
        Where the columns are not the levels that the structure needs.
    """
    if term.structure not in TERM_STRUCTURES:
        raise _unknown(term)
    kind, size = STRUCTURES[term.structure], len(matrix.columns)
    if size > _LARGEST and not kind.mixes and term.structure != "diag":
        raise ModelError(
            f"{term.text} has {size} columns; at most {_LARGEST} are available for the covariance "
            f"structure {term.structure!r}"
        )
    options = _options(term)
    if not kind.sequential:
        return kind(size, **options)
    levels = _levels(term, matrix)
    if kind.needs == "coordinates":
        points = _numbers(term, levels)
        return kind(size, coordinates=points[:, None], **options)  # type: ignore[call-arg]
    if term.structure in _EVENLY_SPACED:
        _check_spacing(term, levels)
    return kind(size, **options)


def check_not_residual(term: RandomTerm, matrix: ModelMatrix, codes: CodeArray) -> None:
    """Refuse a term whose own variance by level and group is that of the residual once more.

    Raises
    ------
    ModelError
        Where no level has two rows in a group, and the structure has the identity in it.
    """
    n, size = len(codes), len(matrix.columns)
    n_cells = (int(codes.max()) + 1) * size
    if term.structure not in _CONTAIN_RESIDUAL or n > n_cells or not _are_levels(matrix):
        return
    level = np.argmax(np.stack(matrix.columns), axis=0)
    if len(np.unique(codes.astype(np.int64) * size + level)) == n:
        raise ModelError(
            f"{term.text}: every level of {', '.join(matrix.terms)} has at most one row by "
            f"{':'.join(term.group)}, so that the variance of {term.structure!r} cannot be told "
            f"from the residual's; write it as the residual's covariance, "
            f"residual='{term.structure}(visit | subject)'"
        )


def _are_levels(matrix: ModelMatrix) -> bool:
    """Whether the columns are the indicators of one factor's levels."""
    variables = list(matrix.spec.coded.values())
    if len(variables) != 1 or not isinstance(variables[0], FactorVariable):
        return False
    return len(matrix.terms) == 1 and len(matrix.columns) == len(variables[0].levels)


def _unknown(term: RandomTerm) -> FormulaError | ModelError:
    available = ", ".join(TERM_STRUCTURES)
    if term.structure in STRUCTURES:
        return ModelError(
            f"the covariance structure {term.structure!r} of {term.text} is one for residuals; "
            f"available for random effects: {available}"
        )
    near = get_close_matches(term.structure, TERM_STRUCTURES, n=1)
    hint = f"; did you mean {near[0]!r}?" if near else ""
    return FormulaError(
        f"{term.structure!r} in {term.text} is not a covariance structure{hint} (available: "
        f"{available})"
    )


def _options(term: RandomTerm) -> dict[str, float | int]:
    """The number of the term as an argument of its structure."""
    name = _NUMBERS.get(term.structure)
    if term.number is None:
        return {"nu": _SMOOTHNESS} if name == "nu" else {}
    if name is None:
        why = (
            "bands that stop short of the last level are available for residuals only"
            if "order" in inspect.signature(STRUCTURES[term.structure]).parameters
            else f"only {', '.join(_NUMBERS)} take one"
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
    try:
        points = np.array([float(level) for level in levels])
    except ValueError:
        points = np.array([np.nan])
    if not np.isfinite(points).all():
        word = next((level for level in levels if not _is_number(level)), levels[0])
        raise DataError(
            f"{term.text}: {term.structure!r} needs levels that are numbers (coordinates), and "
            f"{word!r} is none"
        )
    return points


def _is_number(label: str) -> bool:
    try:
        return bool(np.isfinite(float(label)))
    except ValueError:
        return False


def _check_spacing(term: RandomTerm, levels: tuple[str, ...]) -> None:
    """Refuse numbers that are not steps of equal length; other labels stand in their order."""
    if not all(_is_number(level) for level in levels):
        return
    gaps = np.diff([float(level) for level in levels])
    if np.ptp(gaps) > 1e-8 * np.abs(gaps).max():
        raise ModelError(
            f"{term.text}: {term.structure!r} is over steps of equal length, and the levels "
            f"{', '.join(levels[:6])}{' ...' if len(levels) > 6 else ''} are not equally spaced; "
            "use sp_exp, which takes distances (the same as ar1 where they are equal), or ad or "
            "adh, which need none"
        )
