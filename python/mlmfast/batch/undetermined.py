"""What the data of a design do not determine, for every response of a batch."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from mlmfast.arrays import FloatArray
from mlmfast.fitted.untold import unseen_entries
from mlmfast.information.undetermined import undetermined_of
from mlmfast.information.undetermined_effects import known_entries, moves_of_effects

if TYPE_CHECKING:
    from mlmfast.fitting.covariance_fit import CovarianceFit
    from mlmfast.reduction.reduced_model import ReducedModel


@dataclass(frozen=True)
class UntoldOfBatch:
    """What is not determined of a batch.

    Attributes
    ----------
    n, messages : shape (n_fits,), parameters that are none and what is said of them.
    moves
        How covariances of fixed effects move, by fit.
    unseen
        Entries of each term's G that no data tell; the same for every response.
    """

    n: NDArray[np.intp]
    messages: NDArray[np.object_]
    moves: dict[int, FloatArray]
    unseen: list[tuple[tuple[int, int], ...]] = field(default_factory=list)

    def known(self, vcov: FloatArray) -> FloatArray:
        """Covariances of fixed effects (n_fits, rank, rank), NaN where they are not determined."""
        if not self.moves:
            return vcov
        out = vcov.copy()
        for fit, moves in self.moves.items():
            out[fit] = known_entries(moves, vcov[fit])
        return out


def untold_of_batch(model: ReducedModel, covariance: CovarianceFit) -> UntoldOfBatch:
    """What is not determined of each fit of a design."""
    n = len(covariance.theta)
    out = UntoldOfBatch(np.zeros(n, dtype=np.intp), np.full(n, "", dtype=object), {})
    criterion = covariance.criterion
    if criterion.flat is None:
        return out
    for fit in np.flatnonzero(np.asarray(criterion.reduction.y_scale) > 0.0).tolist():
        found = undetermined_of(model, covariance, fit=fit)
        if found is None:
            continue
        if not out.unseen:
            out.unseen.extend(unseen_entries(model, covariance))
        out.n[fit], out.messages[fit] = found.n, "; ".join(found.messages)
        if found.errors_depend:
            theta = covariance.theta[[fit]]
            out.moves[fit] = moves_of_effects(model, criterion, theta, found.absorbed, fit=fit)
    return out
