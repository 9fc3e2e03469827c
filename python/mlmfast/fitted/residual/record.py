"""What a fit keeps of its residual covariance."""

from __future__ import annotations

import numpy as np

from mlmfast.arrays import FloatArray
from mlmfast.covariance.units import natural_in_units
from mlmfast.criterion.arms import scaled_residual
from mlmfast.criterion.criterion import Criterion
from mlmfast.design.residual.record import ResidualRecord, ScaleRecord
from mlmfast.reduction.reduced_model import ReducedModel


def residual_record(
    model: ReducedModel, criterion: Criterion, theta: FloatArray
) -> ResidualRecord | None:
    """The residual covariance of the first fit; None where rows are independent."""
    residual = model.design.residual
    if residual is None or residual.formula is None:
        return None
    if residual.scale is not None:
        return _scaled_record(model, criterion, theta)
    unit = (model.core.y_scale[0] / model.y_scaling[0].scale) ** 2
    arms = [
        arm
        for term, s in zip(criterion.terms, criterion.theta_slices, strict=True)
        if term.form is not None
        for arm in term.form.estimates(theta[:1, s], unit)
    ]
    names = [name for arm in arms for name in arm.names]
    return residual.record(names, [arm.values for arm in arms], [arm.covariance for arm in arms])


def _scaled_record(model: ReducedModel, criterion: Criterion, theta: FloatArray) -> ResidualRecord:
    """The residual covariance of the first fit at scale 1."""
    residual = model.design.residual
    assert residual is not None
    assert residual.formula is not None
    structure, own = scaled_residual(criterion)
    unit = model.response_unit
    natural = natural_in_units(structure, theta[:1, own], unit)[0]
    covariances = [unit * matrix[0] for matrix in structure.reference(theta[:1, own])]
    if residual.points is not None:
        covariances = [np.empty((0, 0))] * len(residual.arms)
    names = structure.parameter_names[: structure.n_base]
    return residual.record(names, [natural[: structure.n_base]], covariances)


def scale_record(
    model: ReducedModel, criterion: Criterion, theta: FloatArray
) -> ScaleRecord | None:
    """The residual scale of the first fit."""
    residual = model.design.residual
    if residual is None or residual.scale is None:
        return None
    structure, own = scaled_residual(criterion)
    natural = structure.natural(theta[:1, own])[0, structure.n_base :]
    scale = residual.scale
    return ScaleRecord(scale.formula.text, scale.names, scale.is_ratio, natural, scale.levels)
