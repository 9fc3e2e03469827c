"""What a fit says of ranges in a corner of the likelihood."""

from __future__ import annotations

import numpy as np

from mlmfast.arrays import FloatArray
from mlmfast.criterion.criterion import Criterion
from mlmfast.fitting.corners import corners_of, in_corners
from mlmfast.information.of_fit import information_of
from mlmfast.reduction.reduced_model import ReducedModel

#: What is said of each.
CORNER = "in a corner of -2 log-likelihood"


def name_in_corners(model: ReducedModel, criterion: Criterion, theta: FloatArray) -> dict[str, str]:
    """By name, what is to be said of each parameter that stands in a corner.

    Parameters
    ----------
    theta : shape (1, n_theta)
    """
    residual = model.design.residual
    if residual is None or not any(own.holds(theta) for own in corners_of(model, criterion)):
        return {}
    found = information_of(model, criterion, theta, (False,) * len(criterion.terms)).parameters
    blocks = found.blocks[sum(not term.is_residual for term in criterion.terms) :]
    values = {n: v for b in blocks for n, v in zip(b.names, b.values.tolist(), strict=True)}
    out = {}
    for name, own in in_corners(model, criterion, theta, blocks).items():
        ends = own.structure.reach(float(np.exp(theta[0, own.position])))
        out[name] = (
            f"{name} of {residual.text} is {values[name]:.6g}, {CORNER}, "
            f"where the correlation of rows {ends:.6g} apart becomes 0: there is no second "
            "derivative, so it is held, without a standard error"
        )
    return out
