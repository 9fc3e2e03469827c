"""What comes of fitting the covariance parameters."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from mlmfast.arrays import BoolArray, FloatArray, IntArray
from mlmfast.criterion.criterion import Criterion
from mlmfast.newton.iteration import NewtonResult
from mlmfast.reduction.reduced_model import ReducedModel


@dataclass(frozen=True)
class CovarianceFit:
    """Covariance parameters of a batch of fits.

    Attributes
    ----------
    criterion
        What was minimised.
    theta : shape (n_fits, n_theta), final parameters, exact zeros on the boundary.
    singular : shape (n_fits, n_terms), terms (in the criterion's order) with a singular G.
    newton
        The iteration.
    n_evaluations : shape (n_fits,)
        Evaluations of the criterion by start, iteration and rounding to the boundary; see
        ``n_elsewhere`` too.
    """

    criterion: Criterion
    theta: FloatArray
    singular: BoolArray
    newton: NewtonResult
    n_evaluations: IntArray
    #: Blocks of random effects that the residual covariance expresses already, held at 0.
    confounded: tuple[int, ...] = ()
    #: Fits whose residual covariance is singular at the infimum, and those that have no infimum.
    singular_residual: tuple[int, ...] = ()
    without_bound: tuple[int, ...] = ()
    #: Evaluations from other starts, shape (n_fits,); None where there were none.
    n_elsewhere: IntArray | None = None
    #: Fits at a minimum of their own whose -2 log-likelihood falls without bound somewhere else,
    #: with theta (1, n_theta) on the way there.
    unbounded_elsewhere: Mapping[int, FloatArray] = field(default_factory=dict)
    #: Fits that may have other minima, which were not looked for: it would have taken too long.
    unsearched: tuple[int, ...] = ()

    #: Fits without bounds that ended where V is nearly singular, and no minimum is.
    at_singular_v: tuple[int, ...] = ()

    def single(self, model: ReducedModel) -> tuple[ReducedModel, CovarianceFit]:
        """The reduction that a single fit is reported from, and the fit on it.

        That through V where the residual covariance is singular, ``model`` else.
        """
        through = self.criterion.through_v
        if through is None or 0 not in through.places or through.criterion.model is None:
            return model, self
        return through.criterion.model, replace(self, criterion=through.criterion)
