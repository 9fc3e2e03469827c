"""The residual covariance of a fit without numbers where no data tell them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from mlmfast.arrays import BoolArray, FloatArray
from mlmfast.covariance.natural_chart import entries_by_natural
from mlmfast.covariance.scaled_covariance import without_scale
from mlmfast.criterion.arms import residual_arms
from mlmfast.criterion.criterion import Criterion
from mlmfast.criterion.parameters.functions import CovarianceFunctions
from mlmfast.design.residual.design import ResidualDesign, seen_pairs
from mlmfast.design.residual.record import ResidualRecord
from mlmfast.fitting.undetermined.moves import (
    FlatMoves,
    row_lengths,
    typical_parameters,
    typical_theta,
)
from mlmfast.fitting.undetermined.record import UndeterminedRecord

if TYPE_CHECKING:
    from mlmfast.fitting.covariance_fit import CovarianceFit
    from mlmfast.reduction.reduced_model import ReducedModel

#: Move of an entry, over the largest of its arm, that is rounding.
_ROUNDING = 1e-6


def with_untold_visits(
    record: ResidualRecord | None,
    found: UndeterminedRecord | None,
    model: ReducedModel,
    covariance: CovarianceFit,
    held: Sequence[str] = (),
) -> ResidualRecord | None:
    """The residual covariance without numbers where no data tell them.

    Parameters that V does not show, and entries, are listed: something has to stand for them. So
    are parameters held at 0.
    """
    if record is None or found is None:
        return record
    unseen = _unseen_entries(model, covariance, held) if record.visits else ()
    untold, zero = (
        tuple(np.flatnonzero(np.isin(record.parameter_names, some)).tolist())
        for some in (found.unseen, found.absorbed)
    )
    return replace(record, unseen=unseen, unseen_parameters=untold, zero_parameters=zero)


def _unseen_entries(
    model: ReducedModel, covariance: CovarianceFit, held: Sequence[str]
) -> tuple[tuple[int, int, int], ...]:
    """Entries (arm, a, b), a > b, of visits that never meet and that move while V stays."""
    criterion, residual = covariance.criterion, model.design.residual
    assert criterion.flat is not None, "something is not determined"
    assert residual is not None, "there is a residual structure"
    k, pairs = len(residual.visits), _never_met(residual)
    if not pairs.any() or k != residual.structure.size:
        return ()
    parameters = typical_parameters(model, criterion, covariance.theta[:1], 0.0)
    functions = CovarianceFunctions(model, criterion)
    moves = FlatMoves.of(parameters, criterion.flat, functions, held)
    moved = parameters.by_free @ moves.unseen_null
    by_name = dict(zip(parameters.names, moved, strict=True))
    out = []
    for arm, (entries, first, names) in enumerate(_arms(criterion, covariance.theta[:1])):
        move = row_lengths(first @ np.array([by_name[name] for name in names]))
        out += [
            (arm, a, b)
            for (a, b), size in zip(entries, move, strict=True)
            if pairs[arm, a, b] and size > _ROUNDING * move.max(initial=0.0)
        ]
    return tuple(out)


def _never_met(residual: ResidualDesign) -> BoolArray:
    """Pairs of visits that no subject of an arm has together, (n_arms, k, k)."""
    k = len(residual.visits)
    out = np.ones((len(residual.arms), k, k), dtype=np.bool_)
    seen = seen_pairs(residual.units, residual.positions, residual.n_units, residual.order)
    for a, b in seen:
        out[a // k, a % k, b % k] = out[b // k, b % k, a % k] = False
    return out


def _arms(
    criterion: Criterion, theta: FloatArray
) -> list[tuple[tuple[tuple[int, int], ...], FloatArray, tuple[str, ...]]]:
    """By arm: entries of R, their derivatives by its natural parameters, the names of these."""
    point, out = typical_theta(criterion, theta, 0.0), []
    for structure, s, prefix in residual_arms(criterion):
        names = structure.parameter_names
        for own, t in without_scale(structure):
            at = point[:, s.start + t.start : s.start + t.stop]
            first = entries_by_natural(own, at)[0]
            out.append((own.entries, first, tuple(prefix + name for name in names[t])))
    return out
