"""Covariance parameters that the data do not determine, by name.

The data do not tell some directions of the covariances (see `search`). A parameter that moves along
one is not determined: it has no standard error, and the direction is no parameter to be counted.
Functions that no such direction moves, as the sum of two variances, are.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from mlmfast.arrays import FloatArray
from mlmfast.criterion.criterion import Criterion
from mlmfast.criterion.natural_parameters import covariance_parameters
from mlmfast.criterion.parameters import CovarianceFunctions
from mlmfast.fitting.undetermined.moves import (
    FlatMoves,
    combinations,
    groups_of,
    moves_alone,
    row_lengths,
    same_span,
    typical_parameters,
)
from mlmfast.fitting.undetermined.record import UndeterminedRecord

if TYPE_CHECKING:
    from mlmfast.fitting.covariance_fit import CovarianceFit
    from mlmfast.reduction.reduced_model import ReducedModel

#: Move of a covariance along a flat direction, over the largest, that is rounding.
ROUNDING = 1e-6


def undetermined_parameters(
    model: ReducedModel,
    criterion: Criterion,
    theta: FloatArray,
    values: FloatArray | None = None,
    held: Sequence[str] = (),
) -> UndeterminedRecord | None:
    """What the data do not determine of a fit's parameters; None where they determine all.

    Parameters
    ----------
    theta : shape (1, n_theta), the fit's.
    values : shape (n,)
        Estimates of the parameters, in the order of the formula: which are held at 0.
    held
        Parameters that the fit holds, by the names of `CovarianceFunctions`.
    """
    flat = criterion.flat
    if flat is None:
        return None
    functions = CovarianceFunctions(model, criterion)
    moves = FlatMoves.of(typical_parameters(model, criterion, theta, 0.0), flat, functions, held)
    if not moves.null.shape[1]:
        return None
    values = np.ones(len(moves.parameters.names)) if values is None else values
    names = np.array(moves.parameters.names, dtype=object)
    moved = row_lengths(moves.all) > ROUNDING
    alone, unseen = moves_alone(moves.all), moves_alone(moves.unseen)
    absorbed = alone & ~unseen & (np.abs(values) <= 1e-12 * np.abs(values).max(initial=0.0))
    groups = groups_of(moves.all, moved & ~alone)
    other = FlatMoves.of(typical_parameters(model, criterion, theta, 0.2), flat, functions, held)
    combined = []
    if same_span(moves.all * moves.size[:, None], other.all * other.size[:, None], moves.size):
        combined = [c for group in groups for c in combinations(moves, group)]
    left = [np.array([p]) for p in np.flatnonzero(alone & ~unseen & ~absorbed)]
    return UndeterminedRecord(
        n=moves.null.shape[1],
        names=tuple(names[moved]),
        unseen=tuple(names[unseen]),
        absorbed=tuple(names[absorbed]),
        groups=tuple(tuple(names[group]) for group in [*groups, *left]),
        combined=tuple(combined),
        errors_depend=moves.all.shape[1] - moves.unseen.shape[1] > int(absorbed.sum()),
    )


def undetermined_of(
    model: ReducedModel, covariance: CovarianceFit, held: Sequence[str] = ()
) -> UndeterminedRecord | None:
    """What the data do not determine of the first fit's parameters, some of them held."""
    criterion = covariance.criterion
    if criterion.flat is None:
        return None
    singular = tuple(bool(flag) for flag in covariance.singular[0])
    theta = covariance.theta[:1]
    values = covariance_parameters(model, criterion, theta, singular, 1.0).values
    return undetermined_parameters(model, criterion, theta, values, held)


def n_determined(covariance: CovarianceFit, found: UndeterminedRecord | None) -> int:
    """Parameters of theta without directions that the data do not tell."""
    criterion = covariance.criterion
    held = sum(criterion.terms[position].structure.n_theta for position in covariance.confounded)
    return criterion.n_theta - held - (0 if found is None else found.n)
