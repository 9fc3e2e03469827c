"""Estimates of all coefficients beside an absorbed factor."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mlmfast.arrays import FloatArray
from mlmfast.fitted.absorbed.functions import level_estimates
from mlmfast.fitted.absorbed.record import AbsorbedRecord

if TYPE_CHECKING:
    from mlmfast.criterion.criterion import Criterion
    from mlmfast.fitted.estimates import Estimates
    from mlmfast.reduction.reduced_model import ReducedModel


def absorbed_record(
    model: ReducedModel, criterion: Criterion, theta: FloatArray, estimates: Estimates
) -> AbsorbedRecord | None:
    """What the first fit says of an absorbed factor; None without one."""
    factor = model.design.absorbed
    if factor is None:
        return None
    by, b = model.coefficient_map, estimates.beta[0]
    a = level_estimates(model, criterion, theta, b)
    beta = by.coefficients(b, a, len(factor.x_names))
    kept = by.kept
    return AbsorbedRecord(
        factor.name, factor.labels, factor.x_names, tuple(kept.tolist()), beta[kept], a
    )
