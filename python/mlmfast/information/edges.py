"""Parameters of a residual structure at the end of their range, such as a specific variance of 0.

Ranges in a corner of the likelihood (`mlmfast.fitting.corners`) are treated as these.

There the likelihood still rises towards the outside. The parameter stands still, as a variance of 0
of random effects does: it has no standard error and takes no part in degrees of freedom. Inside,
the information by the unconstrained theta and by the natural parameters gives one variance of a
parameter; at the end of its range it hardly moves with theta, which tells the two apart.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from mlmfast.arrays import BoolArray, FloatArray
from mlmfast.covariance import CovarianceStructure
from mlmfast.criterion.parameters.natural import CovarianceParameters
from mlmfast.fitting.corners import in_corners
from mlmfast.reduction.blocks import structure_of
from mlmfast.reduction.parameter_block import ParameterBlock

if TYPE_CHECKING:
    from mlmfast.information.information import Information

#: Squared slope over information, in units of -2 log-likelihood, that no interior optimum has.
_SLOPE = 1e-5
#: Share of the variance by the natural parameters that is left by theta at the end of the range.
_STILL = 1e-3
#: Movement of a natural parameter with theta, over its own size or the variance's, looked into.
_SLOW = 1e-2


def may_stand_still(structure: CovarianceStructure, theta: FloatArray) -> bool:
    """Whether some natural parameter hardly moves with theta, cheaply."""
    if theta.shape[1] != structure.n_theta:
        return False
    size = np.abs(structure.natural(theta)[0])
    moves = np.abs(np.nan_to_num(structure.natural_jacobian(theta)[0])).max(axis=1)
    variances = [k for k, name in enumerate(structure.parameter_names) if is_variance(name)]
    size[variances] = size[variances].max(initial=0.0)
    return bool((moves < _SLOW * size).any())


def is_variance(name: str) -> bool:
    """Whether a parameter of this name is a variance."""
    return name.rpartition(": ")[2].startswith(("Var", "UN("))


def still_parameters(about: Information) -> CovarianceParameters | None:
    """The parameters with those at the end of their range or in a corner fixed; None without."""
    parameters = about.parameters
    n_random = sum(not term.is_residual for term in about.criterion.terms)
    if n_random == len(about.criterion.terms):
        return None
    blocks = list(parameters.blocks)
    at_ends = _at_ends(about)
    corners = in_corners(about.model, about.criterion, about.theta, blocks[n_random:])
    for b in range(n_random, len(blocks)):
        still = np.array([name in corners for name in blocks[b].names], dtype=np.bool_)
        still |= at_ends.get(b, np.bool_(False))
        if still.any():
            blocks[b] = _fixed(blocks[b], still)
    if all(new is old for new, old in zip(blocks, parameters.blocks, strict=True)):
        return None
    return replace(parameters, blocks=tuple(blocks))


def _at_ends(about: Information) -> dict[int, BoolArray]:
    """Which parameters are at the end of their range, by residual block."""
    parameters = about.parameters
    if len(parameters.blocks) != len(about.criterion.terms):
        return {}
    slopes = 0.5 * (parameters.first.T @ (about.bent.logdet_first + about.bent.rss_first))
    information = about.observed
    ends = np.cumsum([0, *(block.first.shape[1] for block in parameters.blocks)])
    out = {}
    for b, term in enumerate(about.criterion.terms):
        if not term.is_residual:
            continue
        own = slice(ends[b], ends[b + 1])
        structure = structure_of(term)
        theta = about.theta[:, about.criterion.theta_slices[b]]
        if may_stand_still(structure, theta):
            precision = _unshared(about, own)
        else:
            precision = np.abs(np.diag(information[own, own]))
        out[b] = _still(structure, theta, slopes[own], information[own, own], precision)
    return out


def _unshared(about: Information, own: slice) -> FloatArray:
    """What is told of parameters where all others are estimated too, (r,).

    Of a specific variance beside the loading of its level that may be little.
    """
    size = np.abs(np.diag(about.observed)[own])
    variance = np.diag(about.covariance("observed"))[own]
    return np.asarray(np.minimum(size, 1.0 / np.maximum(variance, 1e-300)))


def _still(
    structure: CovarianceStructure,
    theta: FloatArray,
    slope: FloatArray,
    information: FloatArray,
    precision: FloatArray,
) -> BoolArray:
    """Which natural parameters of a structure are at the end of their range, (r,)."""
    none = np.zeros(len(slope), dtype=np.bool_)
    size = np.abs(np.diag(information))
    steep = slope**2 > _SLOPE * precision
    if len(slope) != structure.n_theta or not steep.any():
        return none
    jacobian = structure.natural_jacobian(theta)[0]
    bend = np.tensordot(slope, structure.natural_hessian(theta)[0], axes=1)
    by_theta = jacobian.T @ information @ jacobian + bend
    if not (np.isfinite(by_theta).all() and np.isfinite(jacobian).all()):
        return none
    unit = np.sqrt(np.maximum(np.abs(np.diag(by_theta)), 1e-300))
    inverse = np.linalg.pinv(by_theta / np.outer(unit, unit), rcond=1e-12, hermitian=True)
    moves = jacobian / unit
    left = np.abs(np.einsum("kt,tu,ku->k", moves, inverse, moves))
    return np.asarray(steep & (left * size < _STILL))


def _fixed(block: ParameterBlock, still: BoolArray) -> ParameterBlock:
    """The block without moves of the parameters marked."""
    free = ~still
    second = None if block.second is None else block.second[:, free][:, :, free]
    return replace(
        block,
        first=block.first[:, free],
        second=second,
        by_free=block.by_free[:, free],
        fixed=tuple(bool(a or b) for a, b in zip(block.fixed, still, strict=True)),
        moves=np.eye(len(free))[:, free],
    )
