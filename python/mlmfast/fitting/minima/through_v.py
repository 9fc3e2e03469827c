"""Fits evaluated through V = Z G Z' + R itself, which is regular where R is singular.

The nested engine inverts R: near a singular one its sums lose digits in proportion to R's condition
number, though random effects that fill what R lacks leave V, and the likelihood, perfectly
regular. The dense engine factors V and never inverts R. Its theta is the same, and so is the basis
of the random effects.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from mlmfast.criterion.criterion import Criterion, ThroughV, criterion_of
from mlmfast.reduction.engines.cores import is_through_v
from mlmfast.reduction.engines.independence import independent_clusters
from mlmfast.reduction.engines.sizes import dense_size
from mlmfast.reduction.reduce import reduce_design
from mlmfast.reduction.reduced_model import ReducedModel

#: Operations of an evaluation through V up to which fits are brought to their end by it, and up to
#: which an end is reported by it.
FEW_OPERATIONS, MANY_OPERATIONS = 1e7, 1e10


def through_v(
    model: ReducedModel, criterion: Criterion, fits: Sequence[int], most: float
) -> ThroughV | None:
    """The criterion of some fits through V; None where V is no more regular than R, or large.

    ``most`` are the operations that an evaluation may take.
    """
    if not model.order or model.profiled or not fits or model.design.is_in_parts:
        return None
    if is_through_v(model.core):
        return ThroughV(criterion, {fit: fit for fit in fits})
    components, _ = independent_clusters(model.design, model.levels)
    if dense_size(model.design, model.levels, components).operations > most:
        return None
    own = model.has_own_response
    responses = None if own else [np.ascontiguousarray(model.response(fit)) for fit in fits]
    dense = reduce_design(model.design, responses, "dense")
    found = criterion_of(dense, "REML" if criterion.reml else "ML", criterion.flat)
    if found.n_theta != criterion.n_theta or found.entries != criterion.entries:
        return None
    return ThroughV(found, {fit: place for place, fit in enumerate(fits)})
