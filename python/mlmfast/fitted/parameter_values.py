"""Covariance parameters of a batch of fits in the user's units, without derivatives."""

from __future__ import annotations

import numpy as np

from mlmfast.arrays import FloatArray
from mlmfast.covariance.units import natural_in_units
from mlmfast.criterion.arms import residual_arms
from mlmfast.criterion.criterion import Criterion
from mlmfast.criterion.parameters.covariance_parameter import CovarianceParameter
from mlmfast.criterion.parameters.functions import CovarianceFunctions
from mlmfast.fitted.estimates import Estimates
from mlmfast.reduction.reduced_model import ReducedModel
from mlmfast.reduction.scaling import centers_and_scales


def own_parameters(functions: CovarianceFunctions) -> list[CovarianceParameter]:
    """The parameters without those that are functions of others (covariances)."""
    return [p for p in functions.parameters if p.kind != "covariance"]


def covariance_values(
    model: ReducedModel, criterion: Criterion, theta: FloatArray, estimates: Estimates
) -> FloatArray:
    """Values of `own_parameters` for each fit, shape (n_fits, n_parameters).

    A correlation is NaN where a variance is 0.
    """
    parts = []
    for t, term in enumerate(model.design.random):
        matrix = estimates.covariances[t]
        structure = term.structure if term.bounded else term.iterated
        if not (term.bounded and structure.natural_entries):
            parts.append(structure.natural(structure.theta(matrix)))
            continue
        variance = np.maximum(np.diagonal(matrix, axis1=1, axis2=2), 0.0)
        parts.append(np.sqrt(variance))
        if term.structure.mixes:
            parts.append(_correlations(matrix, parts[-1]))
    if model.profiled:
        parts.append(np.sqrt(estimates.sigma2)[:, None])
    else:
        _, scale = centers_and_scales(model.y_scaling)
        unit = (model.core.y_scale / scale) ** 2
        for structure, s, _ in residual_arms(criterion):
            parts.append(natural_in_units(structure, theta[:, s], unit))
    return np.concatenate(parts, axis=1) if parts else np.empty((len(theta), 0))


def _correlations(matrix: FloatArray, sd: FloatArray) -> FloatArray:
    """Below the diagonal by rows."""
    rows, columns = np.tril_indices(matrix.shape[1], -1)
    with np.errstate(invalid="ignore", divide="ignore"):
        values = matrix[:, rows, columns] / (sd[:, rows] * sd[:, columns])
    return np.clip(values, -1.0, 1.0)
