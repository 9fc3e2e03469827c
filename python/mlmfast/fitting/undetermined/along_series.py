"""A model along series and the same from matrices: coordinates of the one by those of the other."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from mlmfast.arrays import FloatArray
from mlmfast.covariance.spatial.base import Spatial
from mlmfast.criterion.criterion import Criterion
from mlmfast.criterion.parameters.random_effects import entry_map
from mlmfast.reduction.blocks import TermBlock, structure_of

if TYPE_CHECKING:
    from mlmfast.reduction.reduced_model import ReducedModel

#: Rows of the largest subject of a series, or at points of its own, up to which one looks.
_SHORT = 4
#: Rows of a design where that is not dear.
_FEW_OBS = 5000


def between_coordinates(
    model: ReducedModel,
    criterion: Criterion,
    other: ReducedModel,
    by_entry: Criterion,
    point: FloatArray,
) -> FloatArray:
    """Derivatives of the coordinates of a model from matrices by those along its series.

    ``point`` is theta (1, n_theta) of the model from matrices.
    """
    n_effects, n_terms = n_effect_entries(criterion), len(model.order)
    first = np.zeros((sum(e.stop - e.start for e in by_entry.entry_slices), len(criterion.entries)))
    for k in range(n_terms):
        across = np.asarray(np.linalg.solve(other.effects_map(k), model.effects_map(k)))
        own = criterion.terms[k].shared
        first[by_entry.entry_slices[k], criterion.entry_slices[k]] = entry_map(across, own)
    before = by_entry.theta_slices[n_terms].start
    parts = zip(by_entry.terms, by_entry.theta_slices, by_entry.entry_slices, strict=True)
    for term, s, e in parts:
        if term.is_residual:
            at = slice(n_effects + s.start - before, n_effects + s.stop - before)
            first[e, at] = _by_theta(term, point[:, s])
    return first


def _by_theta(term: TermBlock, theta: FloatArray) -> FloatArray:
    """Derivatives of a residual term's coordinates of `Information` by theta."""
    if not term.by_theta:
        return np.asarray(term.shared.jacobian(theta)[0])
    n, out = structure_of(term).n_theta, np.zeros((theta.shape[1],) * 2)
    for at in range(0, theta.shape[1], n):
        own = slice(at, at + n)
        out[own, own] = structure_of(term).natural_jacobian(theta[:, own])[0]
    return out


def has_short_units(model: ReducedModel) -> bool:
    """Whether units have so few rows that a few distances may be all that the data tell of R."""
    residual = model.design.residual
    if residual is None or residual.formula is None or residual.along is None:
        return False
    short = bool(np.bincount(residual.units).max() <= _SHORT)
    return short and model.design.n_observations <= _FEW_OBS


def needs_joined_rows(model: ReducedModel) -> bool:
    """Whether residuals run along times that are no visits, by a structure of steps."""
    residual = model.design.residual
    assert residual is not None, "there are series"
    steps = residual.points is not None and not isinstance(residual.structure, Spatial)
    return steps and has_short_units(model)


def n_effect_entries(criterion: Criterion) -> int:
    """Free entries of the covariances of random effects, the first of the coordinates."""
    return sum(len(t.structure.entries) for t in criterion.terms if not t.is_residual)
