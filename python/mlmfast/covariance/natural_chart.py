"""Derivatives of theta and of covariances by the parameters that are free: the natural ones."""

from __future__ import annotations

import numpy as np

from mlmfast.arrays import FloatArray
from mlmfast.covariance import CovarianceStructure

#: Smallest singular value of the natural parameters by theta, each scaled to 1, that tells them.
_EDGE = 1e-7


def natural_chart(
    structure: CovarianceStructure, theta: FloatArray
) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Derivatives of theta by the free parameters, what bends them, and of the natural by the free.

    The natural parameters are free; on the edge of their space, where theta tells them no longer
    apart, theta is.
    """
    # Correlations beside a variance of 0 are not determined.
    jacobian = np.nan_to_num(structure.natural_jacobian(theta)[0], posinf=0.0, neginf=0.0)
    identity = np.eye(len(jacobian))
    scale = np.maximum(np.abs(jacobian).max(axis=1, initial=0.0), 1e-300)
    if np.linalg.svd(jacobian / scale[:, None], compute_uv=False).min(initial=1.0) < _EDGE:
        return identity, np.zeros((len(jacobian),) * 3), jacobian
    return np.asarray(np.linalg.inv(jacobian)), structure.natural_hessian(theta)[0], identity


def entries_by_natural(
    structure: CovarianceStructure, theta: FloatArray
) -> tuple[FloatArray, FloatArray | None]:
    """First and second derivatives of the entries by the free parameters; None where 0."""
    if structure.natural_entries:
        return np.eye(len(structure.entries)), None
    inverse, hessian, _ = natural_chart(structure, theta)
    first = structure.jacobian(theta)[0] @ inverse
    by_theta = structure.entry_hessians(theta)[0] - np.einsum("em,mij->eij", first, hessian)
    return first, inverse.T @ by_theta @ inverse
