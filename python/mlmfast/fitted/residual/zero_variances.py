"""Residual variances that are 0 at the end of an iteration, which gets there up to rounding."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from mlmfast.arrays import BoolArray, FloatArray
from mlmfast.covariance import CovarianceStructure
from mlmfast.design.residual.record import ResidualRecord
from mlmfast.fitting.covariance_fit import CovarianceFit
from mlmfast.reduction.reduced_model import ReducedModel

#: A variance that is 0, over the largest, beside what counts as singular.
_OF_SINGULAR = 1e-3
#: Smallest eigenvalue of residual correlations that counts as singular: of a fit that has
#: converged, of another, and of one that is known to be singular.
SINGULAR, NEARLY_SINGULAR, AT_END = 1e-9, 1e-5, 1e-3


def singular_limit(covariance: CovarianceFit) -> float:
    """The smallest eigenvalue of residual correlations that counts as 0 in a fit."""
    if covariance.singular_residual:
        return AT_END
    return SINGULAR if covariance.newton.converged[0] else NEARLY_SINGULAR


def is_zero(matrix: FloatArray, limit: float) -> BoolArray:
    """Which variances of a covariance are 0.

    Examples
    --------
    >>> is_zero(np.diag([1.0, 1e-13, 0.5]), 1e-9).tolist()
    [False, True, False]
    """
    variances = np.diag(matrix)
    return np.asarray(variances < limit * _OF_SINGULAR * variances.max(initial=0.0))


def with_zero_variances(
    record: ResidualRecord | None, model: ReducedModel, covariance: CovarianceFit
) -> ResidualRecord | None:
    """The record with the variances of a fit that has converged named that are 0."""
    residual = model.design.residual
    if record is None or residual is None or not record.visits:
        return record
    if not covariance.newton.converged[0] or covariance.without_bound:
        return record
    limit = singular_limit(covariance)
    zero = [np.flatnonzero(is_zero(matrix, limit)).tolist() for matrix in record.covariances]
    if not any(zero):
        return record
    visits = tuple((arm, visit) for arm, own in enumerate(zero) for visit in own)
    n = len(residual.structure.parameter_names)
    parameters = set(record.zero_parameters)
    if len(record.parameters) == n * len(zero):
        for arm, own in enumerate(zero):
            parameters |= {arm * n + p for p in _of_levels(residual.structure, own)}
    return replace(record, zero_variances=visits, zero_parameters=tuple(sorted(parameters)))


def _of_levels(structure: CovarianceStructure, levels: list[int]) -> list[int]:
    """Positions of the parameters that are variances and covariances of some levels."""
    if structure.natural_entries:
        pairs = enumerate(structure.entries)
        return [p for p, (a, b) in pairs if a in levels or b in levels]
    names = [f"Var({level + 1})" for level in levels]
    return [p for p, name in enumerate(structure.parameter_names) if name in names]
