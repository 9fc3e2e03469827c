"""The random-effects terms of a fit without numbers where no data tell them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from mlmfast.arrays import FloatArray
from mlmfast.criterion.parameters.functions import CovarianceFunctions
from mlmfast.criterion.parameters.random_effects import entry_map, without_rounding
from mlmfast.fitting.undetermined.moves import (
    FlatMoves,
    moves_alone,
    orthonormal,
    row_lengths,
    typical_parameters,
)
from mlmfast.fitting.undetermined.record import UndeterminedRecord
from mlmfast.information.undetermined import ROUNDING

if TYPE_CHECKING:
    from mlmfast.fitted.record import GroupRecord, TermRecord
    from mlmfast.fitting.covariance_fit import CovarianceFit
    from mlmfast.reduction.reduced_model import ReducedModel


#: Correlation that is rounding.
_ROUNDING = 1e-12


def with_untold(
    terms: tuple[TermRecord, ...],
    groups: tuple[GroupRecord, ...],
    found: UndeterminedRecord | None,
    model: ReducedModel,
    covariance: CovarianceFit,
    held: Sequence[str] = (),
) -> tuple[TermRecord, ...]:
    """The terms without numbers where no data tell them, and without rounding where G is 0."""
    maps = {t: model.effects_map(position) for position, t in enumerate(model.order)}
    terms = tuple(
        replace(term, covariance=without_rounding(term.covariance, maps[t]))
        if term.singular or covariance.criterion.flat is not None
        else term
        for t, term in enumerate(terms)
    )
    if found is None:
        return terms
    pairs = unseen_entries(model, covariance, held)
    out = []
    for term, unseen in zip(terms, pairs, strict=True):
        # Of two terms with a name in common each is called by its text.
        where = (groups[term.group].name, term.text)
        every = [{f"{name} | {w}" for w in where} for name in term.parameter_names]
        untold, zero = (
            np.array([not own.isdisjoint(some) for own in every], dtype=np.bool_)
            for some in (found.unseen, found.absorbed)
        )
        parameters = np.where(untold, np.nan, np.where(zero, 0.0, term.parameters))
        matrix = _without_small(term.covariance) if zero.any() else term.covariance
        out.append(replace(term, covariance=matrix, parameters=parameters, unseen=unseen))
    return tuple(out)


def _without_small(covariance: FloatArray) -> FloatArray:
    """A covariance with correlations that are rounding at 0."""
    sd = np.sqrt(np.maximum(np.diag(covariance), 0.0))
    return np.where(np.abs(covariance) <= _ROUNDING * np.outer(sd, sd), 0.0, covariance)


def unseen_entries(
    model: ReducedModel, covariance: CovarianceFit, held: Sequence[str] = ()
) -> list[tuple[tuple[int, int], ...]]:
    """Entries (a, b), a > b, of each term's G in the formula's order that no data tell.

    Those that parameters move while V stays.
    """
    criterion, theta = covariance.criterion, covariance.theta[:1]
    assert criterion.flat is not None, "something is not determined"
    functions = CovarianceFunctions(model, criterion)
    parameters = typical_parameters(model, criterion, theta, 0.0)
    moves = FlatMoves.of(parameters, criterion.flat, functions, held)
    moved = parameters.first @ moves.unseen_null
    out: list[tuple[tuple[int, int], ...]] = [()] * len(model.order)
    for position, e in enumerate(criterion.entry_slices[: len(model.order)]):
        structure = criterion.terms[position].shared
        to_user = entry_map(model.effects_map(position), structure)
        alone = moves_alone(orthonormal(to_user @ criterion.flat.unseen[e]))
        move = row_lengths(to_user @ moved[e])
        out[model.order[position]] = tuple(
            pair
            for pair, here, size in zip(structure.entries, alone, move, strict=True)
            if here and pair[0] != pair[1] and size > ROUNDING * move.max(initial=0.0)
        )
    return out
