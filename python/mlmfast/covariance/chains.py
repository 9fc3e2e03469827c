"""Structures whose residuals form a Markov chain along each series, or from visit to visit."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from mlmfast.arrays import FloatArray, IntArray
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


class AlongSeries(ABC):
    """One variance, and correlations by the gap in time: a mixin of structures over levels.

    Structures over distances answer the same by their distances (`Spatial`).
    """

    size: int

    @abstractmethod
    def gap_correlations(self, eta: FloatArray, gaps: FloatArray) -> Jet:
        """Correlations of rows some gaps > 0 apart, with derivatives by eta.

        Parameters
        ----------
        eta : shape (n_fits, n_eta), theta without the log standard deviation.
        gaps : shape (n_gaps,)
        """

    @abstractmethod
    def theta(self, matrix: FloatArray) -> FloatArray:
        """See `CovarianceStructure`."""

    def at_distances(
        self, theta: FloatArray, distances: FloatArray
    ) -> tuple[FloatArray, FloatArray, FloatArray]:
        """Covariance at any gaps, shape (m,), with derivatives by theta; see `Spatial`."""
        away = distances > 0
        c = self.gap_correlations(theta[:, 1:], np.where(away, distances, 1.0))
        first = np.where(away[:, None], c.first, 0.0)
        second = np.where(away[:, None, None], c.second, 0.0)
        scale = np.exp(2.0 * theta[:, :1])
        value = scale * np.where(away, c.value, 1.0)
        slopes = [scale * first[..., i] for i in range(first.shape[-1])]
        pairs = [4.0 * value]
        for i, slope in enumerate(slopes):
            pairs += [2.0 * slope, *(scale * second[..., i, j] for j in range(i + 1))]
        return value, np.stack([2.0 * value, *slopes], axis=-1), np.stack(pairs, axis=-1)

    def start_at(self, distances: FloatArray) -> FloatArray:
        """theta of variance 1 and a correlation that halves from step to step."""
        steps = np.arange(self.size)
        return self.theta(0.5 ** np.abs(steps[:, None] - steps)[None].astype(np.float64))


class MarkovChain(AlongSeries):
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

    def gap_correlations(self, eta: FloatArray, gaps: FloatArray) -> Jet:
        """See `AlongSeries`."""
        return self.step_correlations(eta, gaps).f


@dataclass(frozen=True)
class VisitSteps:
    """Correlation f of steps from visit to visit, by the correlation parameters eta of each.

    Attributes
    ----------
    f, room : shape (n_steps,)
        The correlations, and 1 - f^2 to full precision.
    first, second
        Derivatives by the parameters of one step after the other, as `VisitChain.step_parameters`
        lists them, and by their pairs (0, 0), (1, 0), (1, 1), ...
    """

    f: FloatArray
    room: FloatArray
    first: FloatArray
    second: FloatArray


class VisitChain(ABC):
    """Correlations that multiply from visit to visit, with parameters that belong to visits.

    A mixin of `ScaledCorrelation`: natural parameters are functions of one theta each. A subject
    of n rows costs O(n), whichever visits it misses.

    References: Pourahmadi (1999), Biometrika 86, 677-690; Zimmerman and Nunez-Anton (2009),
    Antedependence Models for Longitudinal Data, section 2.3.
    """

    #: Has each pair of neighbouring visits a correlation of its own?
    differs_by_step: ClassVar[bool] = False

    @abstractmethod
    def step_parameters(self, before: IntArray, at: IntArray) -> tuple[IntArray, IntArray]:
        """Positions in eta that the correlation of each step depends on.

        Parameters
        ----------
        before, at : shape (n_steps,), visits that a step joins, before < at

        Returns
        -------
        Offsets (n_steps + 1,), and the positions of one step after the other.
        """

    @abstractmethod
    def visit_steps(self, eta: FloatArray, before: IntArray, at: IntArray) -> VisitSteps:
        """Correlation of each step, eta of shape (n_eta,)."""

    @abstractmethod
    def eta_of_visit_steps(
        self, before: IntArray, at: IntArray, f: FloatArray, weights: FloatArray
    ) -> FloatArray:
        """Moment estimate of eta from correlations of steps and their weights, (n_steps,)."""

    def visit_correlations(self, eta: FloatArray, n_visits: int) -> FloatArray:
        """Correlations of all visits, shape (n_visits, n_visits)."""
        before = np.arange(n_visits - 1)
        f = self.visit_steps(eta, before, before + 1).f
        out = np.eye(n_visits)
        for k in range(1, n_visits):
            out[k, :k] = out[:k, k] = f[k - 1] * out[k - 1, :k]
        return out


def log_correlations(eta: FloatArray) -> FloatArray:
    """log|tanh eta|, to full precision where that is next to 1; -inf at 0.

    Examples
    --------
    >>> log_correlations(np.array([0.0, 30.0])).tolist()
    [-inf, -1.7513...e-26]
    """
    small = np.exp(-2.0 * np.abs(eta))
    with np.errstate(divide="ignore"):
        return np.asarray(np.log1p(-small) - np.log1p(small))


def within_start(correlation: float) -> float:
    """A correlation that leaves the iteration room, to start from.

    Examples
    --------
    >>> within_start(-1.2)
    -0.95
    """
    return float(np.clip(correlation, -_LARGEST_START, _LARGEST_START))


class QuasiSeparable(AlongSeries):
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

    def gap_correlations(self, eta: FloatArray, gaps: FloatArray) -> Jet:
        """See `AlongSeries`."""
        return self.generators(Jet.variables(eta), gaps)[0]

    def correlations_over(self, eta: FloatArray, gaps: FloatArray) -> FloatArray:
        """Correlation of rows some gaps apart, (n_fits, n_gaps); 1 at gap 0."""
        a, _ = self.generators(Jet.constant(eta), np.where(gaps > 0, gaps, 1.0))
        return np.where(gaps > 0, a.value, 1.0)
