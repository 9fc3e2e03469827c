"""A design whose residuals run along series, held as covariance matrices over its visits."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from mlmfast.arrays import FloatArray
from mlmfast.covariance.spatial.base import Spatial
from mlmfast.criterion.criterion import Criterion, criterion_of
from mlmfast.design.design import Design
from mlmfast.design.residual.design import LARGEST_UNIT, Points
from mlmfast.design.residual.template_size import template_bytes
from mlmfast.errors import ModelError
from mlmfast.reduction.reduce import reduce_design
from mlmfast.reduction.reduced_model import ReducedModel
from mlmfast.reduction.residual.by_unit import within_unit_positions
from mlmfast.running.memory import RESERVE, memory_left


def as_matrices(
    model: ReducedModel, criterion: Criterion, theta: FloatArray, fit: int
) -> tuple[ReducedModel, Criterion, FloatArray]:
    """The same model of one response from matrices, its criterion and ``theta`` (1, n_theta) there.

    Raises
    ------
    ModelError
        Where the series are too long for covariance matrices, or elsewhere.
    """
    residual = model.design.residual
    assert residual is not None
    check_series_are_here(model.design)
    largest = int(np.bincount(residual.units).max())
    held = residual.points is None or (
        isinstance(residual.structure, Spatial) and largest <= LARGEST_UNIT
    )
    if residual.chain is not None:
        needed = template_bytes(residual.structure, len(residual.arms))
        held = needed <= max(memory_left() - RESERVE, RESERVE)
    if not held:
        raise ModelError(
            f"Kenward-Roger and the expected information need covariance matrices of the "
            f"residuals, and {residual.text} spans series too long for them; use "
            "ddf='satterthwaite', which has no such limit"
        )
    responses = [model.response(fit)]
    points = residual.points
    if points is None:
        by_matrix = replace(residual, along=None)
    else:
        along, positions = Points(points, residual.arm_of_rows), within_unit_positions(residual)
        by_matrix = replace(residual, along=along, positions=positions)
    design = replace(model.design, residual=by_matrix)
    new = reduce_design(design, responses)
    found = criterion_of(new, "REML" if criterion.reml else "ML")
    return new, found, _same_covariances(model, criterion, theta, new, found)


def check_series_are_here(design: Design) -> None:
    """Refuse matrices over series of rows that stay in parts.

    Raises
    ------
    ModelError
    """
    if design.is_in_parts:
        assert design.residual is not None, "there are series"
        raise ModelError(
            "Kenward-Roger, the expected information, and standard errors where parameters are "
            f"held (hold=, or at bounds=), need covariance matrices of the rows of "
            f"{design.residual.text}, which stay in parts; use ddf='satterthwaite' and leave "
            "these out, or fit the rows in memory, mlm.lmm(formula, data, residual=...)"
        )


def as_dense(
    model: ReducedModel, criterion: Criterion, theta: FloatArray, fit: int
) -> tuple[ReducedModel, Criterion, FloatArray]:
    """The same from matrices of the rows that the model joins, for any series of few rows."""
    new = reduce_design(model.design, [model.response(fit)], "dense")
    found = criterion_of(new, "REML" if criterion.reml else "ML")
    return new, found, _same_covariances(model, criterion, theta, new, found)


def _same_covariances(
    old: ReducedModel,
    old_criterion: Criterion,
    theta: FloatArray,
    new: ReducedModel,
    criterion: Criterion,
) -> FloatArray:
    """Theta of another reduction of the same rows, shape (1, n_theta)."""
    out = np.empty((1, criterion.n_theta))
    n_random = len(old.order)
    for k in range(n_random):
        structure = criterion.terms[k].shared
        own = theta[:, old_criterion.theta_slices[k]]
        across = np.linalg.solve(new.effects_map(k), old.effects_map(k))
        same = np.allclose(across, np.eye(len(across)), rtol=0.0, atol=1e-12)
        matrix = across @ structure.matrix(own) @ across.T
        out[:, criterion.theta_slices[k]] = own if same else structure.theta(matrix)
    # The scale of the response and the parameters of R are the same; arms stand in one order.
    start = old_criterion.theta_slices[n_random].start
    out[:, criterion.theta_slices[n_random].start :] = theta[:, start:]
    return out
