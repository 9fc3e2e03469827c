"""Covariance parameters that the data do not determine, by name.

The data do not tell some directions of the covariances (see `search`). A parameter that moves along
one is not determined: it has no standard error, and the direction is no parameter to be counted.
Functions that no such direction moves, as the sum of two variances, are.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from mlmfast.arrays import BoolArray, FloatArray
from mlmfast.criterion.criterion import Criterion
from mlmfast.criterion.parameters.functions import CovarianceFunctions
from mlmfast.criterion.parameters.natural import covariance_parameters
from mlmfast.fitting.undetermined.moves import (
    FlatMoves,
    bends_by_parameter,
    combinations,
    groups_of,
    moves_alone,
    orthonormal,
    row_lengths,
    typical_parameters,
)
from mlmfast.fitting.undetermined.record import UndeterminedRecord
from mlmfast.fitting.undetermined.search import flat_elsewhere, is_linear
from mlmfast.information.undetermined_effects import levels_depend, moves_of_effects

if TYPE_CHECKING:
    from mlmfast.fitting.covariance_fit import CovarianceFit
    from mlmfast.reduction.reduced_model import ReducedModel

#: Move of a covariance along a flat direction, over the largest, that is rounding.
ROUNDING = 1e-6
#: A variance over a typical one that is rounding; of loadings, whose squares are, the root of it.
_ZERO = 1e-12
#: Points at which combinations of parameters are looked at.
_SHIFTS = tuple(0.2 + 0.13 * k for k in range(12))


def undetermined_parameters(
    model: ReducedModel,
    criterion: Criterion,
    theta: FloatArray,
    values: FloatArray | None = None,
    held: Sequence[str] = (),
    fit: int = 0,
) -> UndeterminedRecord | None:
    """What the data do not determine of a fit's parameters; None where they determine all.

    Parameters
    ----------
    theta : shape (1, n_theta), the fit's.
    values : shape (n,)
        Estimates of the parameters, in the order of the formula: which are held at 0.
    held
        Parameters that the fit holds, by the names of `CovarianceFunctions`.
    fit
        Which response.
    """
    flat = criterion.flat
    if flat is None:
        return None
    functions = CovarianceFunctions(model, criterion)
    typical = typical_parameters(model, criterion, theta, 0.0, fit)
    moves = FlatMoves.of(typical, flat, functions, held)
    if not moves.null.shape[1]:
        return None
    values = np.ones(len(moves.parameters.names)) if values is None else values
    names = np.array(moves.parameters.names, dtype=object)
    moved = row_lengths(moves.all) > ROUNDING
    alone, unseen = moves_alone(moves.all), moves_alone(moves.unseen)
    absorbed = alone & ~unseen & _is_zero(values, moves)
    if flat.free is not None:
        # A range that is short enough is held as one of 0.
        of_residual = np.array([" | " not in name for name in names], dtype=np.bool_)
        absorbed |= alone & ~unseen & of_residual
    groups = groups_of(moves.all, moved & ~alone)
    anywhere = moves.all
    for shift in _SHIFTS if groups else ():
        # What is still at many points is so at all: sums of variances beside a correlation, too.
        at = typical_parameters(model, criterion, theta, shift, fit)
        other = FlatMoves.of(at, flat, functions, held)
        rank = anywhere.shape[1]
        more = other.all * (other.size / moves.size)[:, None]
        anywhere = orthonormal(np.hstack([anywhere, more]))
        if anywhere.shape[1] == rank and is_linear(criterion, theta[:1]):
            break
    if groups and bends_by_parameter(criterion, theta):
        elsewhere = _moves_elsewhere(model, criterion, theta, functions, held, fit)
        scaled = [part / moves.size[:, None] for part in elsewhere]
        anywhere = orthonormal(np.hstack([anywhere, *scaled]))
    combined = [c for group in groups for c in combinations(moves, anywhere, group)]
    left = [np.array([p]) for p in np.flatnonzero(alone & ~unseen & ~absorbed)]
    return UndeterminedRecord(
        n=moves.null.shape[1],
        names=tuple(names[moved]),
        unseen=tuple(names[unseen]),
        absorbed=tuple(names[absorbed]),
        groups=tuple(tuple(names[group]) for group in [*groups, *left]),
        combined=tuple(combined),
        independent=flat.free is not None,
    )


def _is_zero(values: FloatArray, moves: FlatMoves) -> BoolArray:
    """Which parameters are 0 up to rounding, each beside what it can be: their units differ."""
    squares = np.array([kind in {"variance", "covariance"} for kind in moves.parameters.kinds])
    limit = np.where(squares, _ZERO, np.sqrt(_ZERO))
    return np.asarray(np.abs(values) <= limit * moves.size)


def _moves_elsewhere(
    model: ReducedModel,
    criterion: Criterion,
    theta: FloatArray,
    functions: CovarianceFunctions,
    held: Sequence[str],
    fit: int,
) -> list[FloatArray]:
    """Parameters' moves along flat directions at other points of a covariance that bends."""
    out, free = [], (False,) * len(criterion.terms)
    for point, flat in flat_elsewhere(model, criterion, theta, fit):
        at = covariance_parameters(model, criterion, point, free, 1.0, fit)
        moves = FlatMoves.of(at, flat, functions, held)
        out.append(moves.all * moves.size[:, None])
    return out


def undetermined_of(
    model: ReducedModel, covariance: CovarianceFit, held: Sequence[str] = (), fit: int = 0
) -> UndeterminedRecord | None:
    """What the data do not determine of the parameters of a fit, the first, some of them held."""
    criterion = covariance.criterion
    if criterion.flat is None:
        return None
    singular = tuple(bool(flag) for flag in covariance.singular[fit])
    theta = covariance.theta[[fit]]
    values = covariance_parameters(model, criterion, theta, singular, 1.0, fit).values
    found = undetermined_parameters(model, criterion, theta, values, held, fit)
    if found is None:
        return None
    moves = moves_of_effects(model, criterion, theta, found.absorbed, held, fit)
    moved = np.abs(np.einsum("kii->ki", moves)).max(axis=0, initial=0.0) > 0.0
    names = [model.design.x_names[j] for j in model.kept]
    effects = tuple(name for name, here in zip(names, moved, strict=True) if here)
    depend = bool(len(moves))
    factor = model.design.absorbed
    if factor is not None and levels_depend(model, criterion, theta, found.absorbed, held, fit):
        effects, depend = (f"the levels of {factor.name}", *effects), True
    return replace(found, effects=effects, errors_depend=depend)


def n_determined(covariance: CovarianceFit, found: UndeterminedRecord | None) -> int:
    """Parameters of theta without directions that the data do not tell."""
    criterion = covariance.criterion
    held = sum(criterion.terms[position].structure.n_theta for position in covariance.confounded)
    return criterion.n_theta - held - (0 if found is None else found.n)
