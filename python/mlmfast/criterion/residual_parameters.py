"""Parameters of the residual's covariance, by the form in which it reaches the core."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from mlmfast.arrays import FloatArray
from mlmfast.covariance import CovarianceStructure
from mlmfast.covariance.natural_chart import arm_charts, natural_chart
from mlmfast.criterion.criterion import Criterion
from mlmfast.reduction.blocks import structure_of
from mlmfast.reduction.parameter_block import (
    ParameterBlock,
    block_diagonal,
    kind_of,
    residual_block,
)
from mlmfast.reduction.residual.chain import ChainCovariance
from mlmfast.reduction.residual.directions import Directions
from mlmfast.reduction.residual.series import SeriesCovariance


def by_free_parameters(directions: Directions, theta: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Covariances with derivatives by the free parameters: second ones 0, and exact."""
    t = directions.n_theta
    stacked = directions.stacked(theta, True)
    i, j = np.tril_indices(t)
    inverse, hessian = arm_charts(directions.structure, theta)
    first = np.tensordot(inverse.T, stacked[0, 1 : 1 + t], axes=1)
    by_theta = np.zeros((t, t, *stacked.shape[2:]))
    by_theta[i, j] = by_theta[j, i] = stacked[0, 1 + t :]
    by_theta -= np.einsum("mij,m...->ij...", hessian, first)
    second = np.einsum("ki,lj,kl...->ij...", inverse, inverse, by_theta)[i, j]
    parts = [stacked[:, :1], first[None], second[None]]
    bent = np.ascontiguousarray(np.concatenate(parts, axis=1))
    linear = bent.copy()
    linear[:, 1 + t :] = 0.0
    return linear, bent


def coordinate_charts(criterion: Criterion, theta: FloatArray) -> FloatArray:
    """Derivatives of the criterion's coordinates by those of `Information`, (n, n).

    They differ where matrices are handed over with their derivatives: theta there, and the natural
    parameters here.
    """
    parts = []
    for term, s in zip(criterion.terms, criterion.theta_slices, strict=True):
        own = term.structure
        if isinstance(own, Directions) and not isinstance(own, SeriesCovariance | ChainCovariance):
            parts.append(arm_charts(structure_of(term), theta[:, s])[0])
        else:
            parts.append(np.eye(len(own.entries)))
    return block_diagonal(parts)


def arms_block(
    structure: CovarianceStructure, arms: tuple[str, ...], theta: FloatArray, unit: float
) -> ParameterBlock:
    """One block for all arms, whose units have matrices of their own."""
    n = structure.n_theta
    parts = [
        residual_block(structure, f"{arm}: ", own, unit, np.eye(n), None)
        for own, arm in zip(np.split(theta, len(arms), axis=1), arms, strict=True)
    ]
    return ParameterBlock(
        tuple(name for part in parts for name in part.names),
        tuple(kind for part in parts for kind in part.kinds),
        np.concatenate([part.values for part in parts]),
        np.eye(theta.shape[1]),
        None,
        block_diagonal([part.by_free for part in parts]),
        (False,) * theta.shape[1],
    )


def series_blocks(
    structure: CovarianceStructure,
    arms: Iterator[str],
    n_arms: int,
    theta: FloatArray,
    unit: float,
) -> list[ParameterBlock]:
    """One block an arm; the core's coordinates are theta, natural parameters are free."""
    out = []
    for own, arm in zip(np.split(theta, n_arms, axis=1), arms, strict=True):
        inverse, hessian, _ = natural_chart(structure, own)
        bend = -np.einsum("em,mij->eij", inverse, hessian)
        second = inverse.T @ bend @ inverse
        prefix = f"{arm}: " if n_arms > 1 else ""
        out.append(residual_block(structure, prefix, own, unit, inverse, second))
    return out


def chain_block(
    chain: ChainCovariance, arms: tuple[str, ...], theta: FloatArray, unit: float
) -> ParameterBlock:
    """All arms; the core's coordinates are theta, natural parameters are free one by one."""
    names = chain.structure.parameter_names
    keys = tuple(f"{arm}: {name}" if arm else name for arm in arms for name in names)
    value, first, second = (part[0] for part in chain.natural_by_theta(theta))
    # At a correlation of 1 to rounding theta itself is free, as in `natural_chart`.
    regular = first != 0.0
    slope = np.where(regular, first, 1.0)
    inverse, bend = 1.0 / slope, np.where(regular, -second / slope**3, 0.0)
    kinds = tuple(map(kind_of, names)) * len(arms)
    scale = np.array([1.0 if kind == "other" else unit for kind in kinds])
    by_free = np.diag(scale * np.where(regular, 1.0, first))
    fixed = (False,) * len(keys)
    return ParameterBlock(keys, kinds, scale * value, np.diag(inverse), bend, by_free, fixed)
