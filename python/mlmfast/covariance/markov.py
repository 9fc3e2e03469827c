"""Stationary structures whose residuals form a Markov chain along each series."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass

import numpy as np

from mlmfast.arrays import FloatArray
from mlmfast.covariance.jet import Jet

#: Largest correlation of neighbours to start from.
_LARGEST_START = 0.95


@dataclass(frozen=True)
class StepCorrelations:
    """Correlation f of two rows of a series, by the gap between them.

    Attributes
    ----------
    f : functions of the unconstrained correlation parameters, values of shape (n_fits, n_gaps).
    below, above : shape (n_fits, n_gaps)
        1 - f and 1 + f, to full precision also where f is next to 1 or -1.
    """

    f: Jet
    below: FloatArray
    above: FloatArray


class MarkovChain(ABC):
    """One variance, and correlations that multiply along a series: corr(i, k) = f_ij f_jk.

    The inverse of such a matrix is tridiagonal, so a series of n rows costs O(n) and needs no
    template over visits: any number of distinct times is possible.

    References: Rue and Held (2005), Gaussian Markov Random Fields, section 1.1.
    """

    @abstractmethod
    def step_correlations(self, eta: FloatArray, gaps: FloatArray) -> StepCorrelations:
        """Correlation across each gap, with exact derivatives by eta.

        Parameters
        ----------
        eta : shape (n_fits, n_eta), theta without the log standard deviation.
        gaps : shape (n_gaps,), >= 0
        """

    def correlations_over(self, eta: FloatArray, gaps: FloatArray) -> FloatArray:
        """Correlation of rows some gaps apart, (n_fits, n_gaps)."""
        return self.step_correlations(eta, gaps).f.value

    @abstractmethod
    def eta_of_steps(
        self, gaps: FloatArray, correlations: FloatArray, weights: FloatArray
    ) -> FloatArray:
        """Moment estimate of eta from correlations of neighbours, each of shape (n_gaps,)."""


def within_start(correlation: float) -> float:
    """A correlation that leaves the iteration room, to start from.

    Examples
    --------
    >>> within_start(-1.2)
    -0.95
    """
    return float(np.clip(correlation, -_LARGEST_START, _LARGEST_START))
