"""What the forms of a residual covariance share in their answers about it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np

from mlmfast.arrays import FloatArray, IntArray
from mlmfast.covariance import CovarianceStructure
from mlmfast.covariance.natural_chart import natural_chart
from mlmfast.reduction.parameter_block import ParameterBlock

#: Values, and first and second derivatives by the one theta, of theta (n_fits, n_theta).
Elementwise: TypeAlias = Callable[[FloatArray], tuple[FloatArray, FloatArray, FloatArray]]


@dataclass(frozen=True)
class FormParameters:
    """Covariance parameters of a residual, and what the core is given for derivatives by them.

    Attributes
    ----------
    blocks
        The parameters, in one block or by arm; the core's coordinates are those of the form.
    linear, bent
        What the core is given: matrices with derivatives by the coordinates, second ones 0, and
        exact. The same where coordinates are theta, or entries of a template.
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
    inverse, hessian, _ = natural_chart(structure, theta)
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


def kinds_among(n_theta: Sequence[int]) -> list[IntArray]:
    """Where the covariance and its derivatives by some parameters stand among those by all.

    Parameters
    ----------
    n_theta
        How many parameters there are of each kind, one kind after the other.

    Examples
    --------
    >>> [places.tolist() for places in kinds_among([1, 2])]
    [[0, 1, 4], [0, 2, 3, 6, 8, 9]]
    """
    total, first, out = sum(n_theta), 0, []
    for n in n_theta:
        i, j = np.tril_indices(n)
        pairs = 1 + total + (first + i) * (first + i + 1) // 2 + first + j
        out.append(np.concatenate([[0], 1 + first + np.arange(n), pairs]))
        first += n
    return out
