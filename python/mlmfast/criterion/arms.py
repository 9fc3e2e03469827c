"""The arms of a criterion's residual covariance."""

from __future__ import annotations

from mlmfast.covariance import CovarianceStructure
from mlmfast.covariance.scaled_covariance import ScaledCovariance
from mlmfast.criterion.criterion import Criterion
from mlmfast.reduction.blocks import structure_of


def residual_arms(criterion: Criterion) -> list[tuple[CovarianceStructure, slice]]:
    """The residual's structure and its stretch of theta, by arm (all arms where there is a scale).

    One block may hold several arms.
    """
    out = []
    for block, s in zip(criterion.terms, criterion.theta_slices, strict=True):
        if block.is_residual:
            structure = structure_of(block)
            n = structure.n_theta
            out += [(structure, slice(at, at + n)) for at in range(s.start, s.stop, n)]
    return out


def scaled_residual(criterion: Criterion) -> tuple[ScaledCovariance, slice]:
    """The residual covariance with its scale and its stretch of theta: the last block."""
    structure = structure_of(criterion.terms[-1])
    assert isinstance(structure, ScaledCovariance), "there is a residual scale"
    return structure, criterion.theta_slices[-1]
