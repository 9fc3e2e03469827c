"""The arms of a criterion's residual covariance."""

from __future__ import annotations

from mlmfast.covariance.scaled_covariance import ScaledCovariance
from mlmfast.criterion.criterion import Criterion
from mlmfast.reduction.blocks import structure_of
from mlmfast.reduction.residual.form import Arm


def residual_arms(criterion: Criterion) -> list[Arm]:
    """The residual's structure and its stretch of theta, by arm (all arms where there is a scale).

    One block may hold several arms.
    """
    return [
        arm._replace(theta=slice(s.start + arm.theta.start, s.start + arm.theta.stop))
        for block, s in zip(criterion.terms, criterion.theta_slices, strict=True)
        if block.form is not None
        for arm in block.form.arms
    ]


def scaled_residual(criterion: Criterion) -> tuple[ScaledCovariance, slice]:
    """The residual covariance with its scale and its stretch of theta: the last block."""
    structure = structure_of(criterion.terms[-1])
    assert isinstance(structure, ScaledCovariance), "there is a residual scale"
    return structure, criterion.theta_slices[-1]
