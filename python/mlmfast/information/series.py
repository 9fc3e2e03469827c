"""Information about the covariance parameters where the residuals run along series.

There the core knows R through its inverse alone: derivatives by theta are exact, so the observed
information, and with it Satterthwaite's degrees of freedom, costs one evaluation at any length.
Sums that take dR and d2R apart (the expected information, Kenward-Roger) come from the same design
held as covariance matrices over its visits, where these are few enough.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from mlmfast.arrays import FloatArray
from mlmfast.criterion.criterion import Criterion
from mlmfast.criterion.series_matrices import as_matrices
from mlmfast.fitting.undetermined.held_residual import with_flat_matrices
from mlmfast.information.information import Information
from mlmfast.reduction.reduced_model import ReducedModel
from mlmfast.running.cached import cached_property


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
        model, criterion, theta = as_matrices(self.model, self.criterion, self.theta, self.fit)
        if self.criterion.flat is not None:
            held = self.criterion.flat.free is not None
            criterion = with_flat_matrices(model, criterion, theta, held)
        return self.of_model(model, criterion, theta, self.singular)

    @cached_property
    def expected(self) -> FloatArray:
        """Not from R's inverse alone; see `with_covariances`."""
        raise AssertionError("ask the information with covariances")

    def second_sum(self, weights: FloatArray) -> FloatArray:
        """Not from R's inverse alone; see `with_covariances`."""
        raise AssertionError("ask the information with covariances")
