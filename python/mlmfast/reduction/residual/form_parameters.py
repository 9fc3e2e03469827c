"""What the forms of a residual covariance share in their answers about it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np

import mlmfast._core as _core
from mlmfast.arrays import FloatArray
from mlmfast.covariance import CovarianceStructure
from mlmfast.covariance.natural_chart import arm_charts
from mlmfast.covariance.scaled_covariance import ScaledCovariance
from mlmfast.covariance.units import natural_in_units
from mlmfast.design.residual.design import ResidualDesign
from mlmfast.design.residual.record import ResidualRecord
from mlmfast.reduction.parameter_block import ParameterBlock

#: The cores that know moments of residuals.
MomentCore: TypeAlias = _core.NestedReduction | _core.DenseReduction
#: Values, and first and second derivatives by the one theta, of theta (n_fits, n_theta).
Elementwise: TypeAlias = Callable[[FloatArray], tuple[FloatArray, FloatArray, FloatArray]]


@dataclass(frozen=True)
class FormParameters:
    """Covariance parameters of a residual, and what the core is given for derivatives by them.

    Attributes
    ----------
    blocks
        The parameters; the core's coordinates are those of the form.
    linear, bent
        Matrices with derivatives by the coordinates: second ones 0, and exact. The same where
        coordinates are theta.
    """

    blocks: tuple[ParameterBlock, ...]
    linear: FloatArray
    bent: FloatArray


def with_free_parameters(
    structure: CovarianceStructure, theta: FloatArray, stacked: FloatArray
) -> tuple[FloatArray, FloatArray]:
    """Covariances with derivatives by the free parameters: second ones 0, and exact.

    ``stacked`` are the covariances with derivatives by theta (1, n_theta).
    """
    t = theta.shape[1]
    i, j = np.tril_indices(t)
    inverse, hessian = arm_charts(structure, theta)
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


def common_diagonal(matrices: FloatArray) -> FloatArray:
    """The variance on the diagonals (n_fits, K, K), NaN where it differs; shape (n_fits,)."""
    return common_value(np.diagonal(matrices, axis1=1, axis2=2))


def common_value(variances: FloatArray) -> FloatArray:
    """What all variances (n_fits, K) are, NaN where they differ; shape (n_fits,)."""
    first = variances[:, 0]
    same = np.abs(variances - first[:, None]).max(axis=1) <= 1e-12 * first
    return np.where(same, first, np.nan)


def record_of_arms(
    residual: ResidualDesign,
    arms: Sequence[tuple[CovarianceStructure, FloatArray]],
    unit: float,
    with_matrices: bool = True,
) -> ResidualRecord:
    """The estimates of covariances over visits, by arm: structure and theta (1, n_theta)."""
    names: list[str] = []
    values, covariances = [], []
    prefixes = [f"{arm}: " for arm in residual.arms] if len(residual.arms) > 1 else [""]
    for prefix, (structure, theta) in zip(prefixes, arms, strict=True):
        matrix = unit * structure.matrix(theta)[0] if with_matrices else np.empty((0, 0))
        covariances.append(matrix)
        values.append(natural_in_units(structure, theta, unit))
        names += [prefix + name for name in structure.parameter_names]
    return residual.record(names, values, covariances)


def covariances_over_visits(
    structure: CovarianceStructure, n_theta: int
) -> list[tuple[CovarianceStructure, slice]]:
    """Covariances, by arm, of more than one visit each, and their stretches of theta.

    Parameters
    ----------
    n_theta
        Parameters of all arms, which stand one after the other.
    """
    if isinstance(structure, ScaledCovariance):
        parts = list(zip(structure.arms, structure.slices, strict=True))
    else:
        n = structure.n_theta
        parts = [(structure, slice(at, at + n)) for at in range(0, n_theta, n)]
    return [(own, s) for own, s in parts if own.size > 1 and own.everywhere]
