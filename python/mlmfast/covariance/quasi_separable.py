"""Structures whose covariance along a series follows from a recursion with one carried term."""

from __future__ import annotations

from abc import ABC, abstractmethod

import numpy as np

from mlmfast.arrays import FloatArray
from mlmfast.covariance.jet import Jet


class QuasiSeparable(ABC):
    """One variance, and corr(i, j) = a_i (product of b over the steps from j to the row before i).

    a_i and b_i belong to the gap before row i. The factor L D L' of such a matrix, and L^-1 y,
    cost O(n) by recursion along the series, whatever the number of distinct times.

    References: Foreman-Mackey et al. (2017), Astronomical Journal 154, 220, section 5.
    """

    @abstractmethod
    def generators(self, eta: Jet, gaps: FloatArray) -> tuple[Jet, Jet]:
        """a and b of steps over gaps > 0, from the unconstrained correlation parameters."""

    @abstractmethod
    def eta_of_lags(self, first: float, second: float) -> FloatArray:
        """Moment estimate of eta from the correlations one and two steps apart."""

    def correlations_over(self, eta: FloatArray, gaps: FloatArray) -> FloatArray:
        """Correlation of rows some gaps apart, (n_fits, n_gaps); 1 at gap 0."""
        a, _ = self.generators(Jet.constant(eta), np.where(gaps > 0, gaps, 1.0))
        return np.where(gaps > 0, a.value, 1.0)
