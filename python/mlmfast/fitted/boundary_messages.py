"""What a fit says of the boundary that it ended on."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mlmfast.arrays import FloatArray
from mlmfast.information.edges import is_variance, may_stand_still
from mlmfast.information.of_fit import information_of
from mlmfast.reduction.blocks import structure_of

if TYPE_CHECKING:
    from mlmfast.criterion.criterion import Criterion
    from mlmfast.reduction.reduced_model import ReducedModel


def name_edges(model: ReducedModel, criterion: Criterion, theta: FloatArray) -> list[str]:
    """Say which parameters of the residual's structure are at the end of their range.

    Parameters
    ----------
    theta : shape (1, n_theta)
    """
    residual = model.design.residual
    if residual is None or not any(
        may_stand_still(structure_of(term), theta[:, s])
        for term, s in zip(criterion.terms, criterion.theta_slices, strict=True)
        if term.is_residual
    ):
        return []
    found = information_of(model, criterion, theta, (False,) * len(criterion.terms)).parameters
    return [
        f"{name} of {residual.text} is {0 if is_variance(name) else round(value, 6):g}, an end of "
        "its range"
        for block, term in zip(found.blocks, criterion.terms, strict=False)
        if term.is_residual
        for name, value, fixed in zip(block.names, block.values, block.fixed, strict=True)
        if fixed
    ]
