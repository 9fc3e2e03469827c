"""Fits whose first minimum need not be the lowest, so that other starts are worth while."""

from __future__ import annotations

import numpy as np

from mlmfast.arrays import BoolArray, IntArray
from mlmfast.covariance.spatial.base import Spatial
from mlmfast.criterion.criterion import Criterion
from mlmfast.fitting.boundary import Settled
from mlmfast.fitting.minima.counted import falls_by_counting
from mlmfast.fitting.starts.kinds import is_linear
from mlmfast.fitting.starts.stretches import residual_stretches
from mlmfast.reduction.blocks import structure_of
from mlmfast.reduction.engines.independence import is_within
from mlmfast.reduction.reduced_model import ReducedModel

#: Rows that are few, and that are many.
FEW_ROWS, MANY_ROWS = 300, 2_000
#: Rows a parameter below which to search: residual covariances alone, and beside random effects.
_ALONE, _BESIDE_EFFECTS = 15, 40
#: Smallest eigenvalue of a Hessian that is not flat.
_FLAT = 1e-4
#: Operations that a search may take, some minutes, and evaluations that it takes as a rule.
_MOST_OPERATIONS, _EVALUATIONS = 1e12, 300


def fits_to_search(
    model: ReducedModel, criterion: Criterion, found: Settled, within: BoolArray
) -> IntArray:
    """Fits to search from other starts, of those ``within`` (n_fits,) their limit of steps.

    Not those that fall without bound where they are, which counting proves: no minimum elsewhere
    is below that.
    """
    rows = np.flatnonzero(within & _may_have_others(model, criterion, found))
    proven = [
        not found.newton.converged[row] and falls_by_counting(model, criterion, found, int(row))
        for row in rows
    ]
    return rows[~np.array(proven, dtype=np.bool_)]


def is_too_dear(model: ReducedModel, criterion: Criterion) -> bool:
    """Whether a search would take more operations than are worth it, by an estimate.

    Second derivatives by pairs of entries, unit by unit, and their way to those by theta. The
    estimate knows the design alone: the same on every machine, alone and in a batch.
    """
    n_units, pairs = 0, 0
    for term in criterion.terms:
        n_entries = 0 if term.by_theta else len(term.structure.entries)
        pairs += n_entries**2
    if model.design.residual is not None:
        n_units = model.design.residual.n_units
    n_units = max([n_units, *(factor.n_levels for factor in model.design.factors)])
    return _EVALUATIONS * pairs * (n_units + 2.0 * criterion.n_theta) > _MOST_OPERATIONS


def _may_have_others(model: ReducedModel, criterion: Criterion, found: Settled) -> BoolArray:
    """Fits whose first minimum need not be the lowest, shape (n_fits,).

    Covariances that are not linear in their parameters, and residual ones beside random effects,
    where rows are few for the parameters; or where the first minimum is a doubtful one.
    """
    n = len(found.theta)
    if all(not term.is_residual and is_linear(term.shared) for term in criterion.terms):
        return np.zeros(n, dtype=np.bool_)
    effects = any(not term.is_residual for term in criterion.terms)
    alone = len(criterion.terms) == 1 and is_linear(structure_of(criterion.terms[0]))
    few = _BESIDE_EFFECTS if effects else _ALONE
    stretches = residual_stretches(criterion)
    spatial = any(isinstance(s.structure, Spatial) for s in stretches)
    rough = any(isinstance(s.structure, Spatial) and s.structure.is_rough for s in stretches)
    if rough and model.design.n_observations < MANY_ROWS:
        # A range may pass from one gap between points to the next, by any number of minima.
        return np.ones(n, dtype=np.bool_)
    if spatial and model.design.n_observations < FEW_ROWS:
        # Where rows are few correlations within a unit and across a whole series may both do.
        return np.ones(n, dtype=np.bool_)
    # An unstructured or diagonal covariance alone has one minimum.
    if not alone and model.design.n_observations < few * criterion.n_theta:
        return np.ones(n, dtype=np.bool_)
    if effects and _share_subjects(model):
        return np.ones(n, dtype=np.bool_)
    doubtful = ~found.newton.converged
    if spatial or model.design.n_observations < MANY_ROWS:
        # A range below all distances is as good as any other such one, and need not be the best.
        doubtful |= found.newton.min_eigenvalue < _FLAT
    parts = zip(criterion.terms, criterion.theta_slices, found.singular.T, strict=True)
    for term, s, singular in parts:
        if not term.is_residual and term.has_vague_parameters:
            doubtful |= singular | term.shared.is_vague(found.newton.curvature[:, s])
    return np.asarray(doubtful)


def _share_subjects(model: ReducedModel) -> bool:
    """Whether random effects vary inside the subjects of a residual covariance.

    Part of the variance within a subject may pass for either, whatever the number of rows.
    """
    residual = model.design.residual
    if residual is None or residual.formula is None:
        return False
    factors = [model.design.factors[term.factor] for term in model.design.random]
    return any(
        factor.n_levels > residual.n_units
        and is_within(factor.codes, factor.n_levels, residual.units)
        for factor in factors
    )
