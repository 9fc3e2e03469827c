"""Information about the covariance parameters where the residuals run along series.

There the core knows R through its inverse alone: derivatives by theta are exact, so the observed
information, and with it Satterthwaite's degrees of freedom, costs one evaluation at any length.
Sums that take dR and d2R apart (the expected information, Kenward-Roger) come from the same design
held as covariance matrices over its visits, where these are few enough.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from mlmfast.arrays import FloatArray
from mlmfast.cached import cached_property
from mlmfast.covariance.spatial.base import Spatial
from mlmfast.criterion.criterion import Criterion, criterion_of
from mlmfast.design.residual.design import LARGEST_ORDER, LARGEST_UNIT
from mlmfast.errors import ModelError
from mlmfast.information.information import Information
from mlmfast.reduction.reduce import reduce_design
from mlmfast.reduction.reduced_model import ReducedModel
from mlmfast.reduction.residual.by_unit import within_unit_positions


@dataclass(frozen=True)
class SeriesInformation(Information):
    """Observed information of a fit whose residuals run along series.

    Attributes
    ----------
    singular
        Whether G is singular, for each random-effects term in the criterion's order.
    of_model
        Makes the information of the same design held as covariance matrices.
    """

    singular: tuple[bool, ...]
    of_model: Callable[[ReducedModel, Criterion, FloatArray, tuple[bool, ...]], Information]

    def with_covariances(self) -> Information:
        """The same from covariance matrices of the residuals.

        Raises
        ------
        ModelError
            Where the series are too long for covariance matrices.
        """
        return self._with_covariances

    @cached_property
    def _with_covariances(self) -> Information:
        residual = self.model.design.residual
        assert residual is not None
        largest = int(np.bincount(residual.units).max())
        held = residual.points is None or (
            isinstance(residual.structure, Spatial) and largest <= LARGEST_UNIT
        )
        if residual.chain is not None:
            held = residual.structure.size <= LARGEST_ORDER
        if not held:
            raise ModelError(
                f"Kenward-Roger and the expected information need covariance matrices of the "
                f"residuals, and {residual.text} spans series too long for them; use "
                "ddf='satterthwaite', which has no such limit"
            )
        responses = [self.model.response(self.fit)]
        if residual.points is not None:
            residual = replace(residual, positions=within_unit_positions(residual))
        design = replace(self.model.design, residual=replace(residual, series=None, chain=None))
        model = reduce_design(design, responses)
        criterion = criterion_of(model, "REML" if self.criterion.reml else "ML")
        theta = _same_covariances(self.model, self.criterion, self.theta, model, criterion)
        return self.of_model(model, criterion, theta, self.singular)

    @cached_property
    def expected(self) -> FloatArray:
        """Not from R's inverse alone; see `with_covariances`."""
        raise AssertionError("ask the information with covariances")

    def second_sum(self, weights: FloatArray) -> FloatArray:
        """Not from R's inverse alone; see `with_covariances`."""
        raise AssertionError("ask the information with covariances")


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
