"""Natural parameters of structured random effects in the user's units."""

from __future__ import annotations

import numpy as np

from mlmfast.arrays import FloatArray
from mlmfast.fitted.estimates import Estimates
from mlmfast.fitting.covariance_fit import CovarianceFit
from mlmfast.reduction.reduced_model import ReducedModel


def term_parameters(
    model: ReducedModel, covariance: CovarianceFit, estimates: Estimates
) -> list[tuple[tuple[str, ...], FloatArray]]:
    """Names and estimates of the natural parameters of each term of the first fit.

    Terms in the order of the design; none for `us` and `diag`, whose parameters are the elements
    of G.
    """
    nothing: tuple[tuple[str, ...], FloatArray] = ((), np.empty(0))
    out = [nothing] * len(model.order)
    criterion = covariance.criterion
    unit = estimates.sigma2[0] if model.profiled else model.response_unit
    for position, term in enumerate(model.order):
        block, own = criterion.terms[position], criterion.theta_slices[position]
        structure = block.shared
        if model.design.random[term].structure.named_by_effects:
            continue
        # One scale for all columns, or a diagonal that the structure keeps under.
        factor = np.diag(model.effects_map(position))[None] * np.sqrt(unit)
        if not model.design.random[term].structure.scales:
            factor = factor[:, :1]
        theta = structure.scaled(covariance.theta[:1, own], factor)
        natural = structure.natural(theta)[0]
        undetermined = (structure.matrix(theta) == 0.0).all()
        if undetermined:
            natural = np.where(natural == 0.0, 0.0, np.nan)
        out[term] = (structure.parameter_names, natural)
    return out
