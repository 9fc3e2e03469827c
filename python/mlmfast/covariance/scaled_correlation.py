"""Standard deviations times a correlation matrix: R = D^1/2 C D^1/2."""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass
from typing import ClassVar, Literal

import numpy as np

from mlmfast.arrays import FloatArray
from mlmfast.covariance.base import CovarianceStructure, symmetric
from mlmfast.covariance.jet import Chart, Jet, NaturalByJet, concatenate
from mlmfast.covariance.scaled_angles import Angular, ScaledAngles
from mlmfast.running.cached import cached_property

#: Room left between a starting correlation and the edge of its interval.
MARGIN = 1e-6


@dataclass(frozen=True)
class ScaledCorrelation(NaturalByJet, Angular):
    """One variance times a correlation matrix; theta = (log standard deviation, eta).

    A subclass gives the correlation matrix: natural parameters r of unconstrained eta
    (`correlation_parameters`), correlations of r (`correlations`), the inverse of the first, and
    moment estimates of r. Variances and all derivatives come from here.
    """

    @property
    @abstractmethod
    def correlation_names(self) -> tuple[str, ...]:
        """Names of the correlation parameters r."""

    @abstractmethod
    def correlation_parameters(self, eta: Jet) -> Jet:
        """Natural parameters r of the correlations, from unconstrained ones."""

    @abstractmethod
    def unconstrained(self, r: FloatArray) -> FloatArray:
        """Eta of r; not finite where r is outside the parameter space."""

    def correlation_chart(self, eta: FloatArray, weight: FloatArray) -> Chart:
        """The correlation at each of `entries`, from eta; see `Chart`."""
        return Chart.of(self.correlations(self.correlation_parameters(Jet.variables(eta))), weight)

    first_theta: ClassVar[Literal["logarithm", "root"] | None] = "logarithm"

    def closed(self) -> CovarianceStructure:
        return ScaledAngles(self.size, self)

    @property
    def n_theta(self) -> int:
        return self.n_scales + len(self.correlation_names)

    @cached_property
    def exponents(self) -> FloatArray:
        """S with D^1/2 C D^1/2 = C exp(S log sd), shape (n_entries, n_scales)."""
        return np.full((len(self.entries), 1), 2.0)

    def matrix(self, theta: FloatArray) -> FloatArray:
        scale, correlation = self._parts(Jet.constant(theta))
        return symmetric(scale * correlation.value, self.size, self.rows, self.rows - self.lags)

    def jacobian(self, theta: FloatArray) -> FloatArray:
        return self.chart(theta, np.zeros((len(theta), len(self.entries))))[0]

    def curvature(self, theta: FloatArray, weight: FloatArray) -> FloatArray:
        return self.chart(theta, weight)[1]

    def chart(self, theta: FloatArray, weight: FloatArray) -> tuple[FloatArray, FloatArray]:
        scale = np.exp(theta[:, : self.n_scales] @ self.exponents.T)
        weighted = weight * scale
        c = self.correlation_chart(theta[:, self.n_scales :], weighted)
        by_scale = (scale * c.value)[:, :, None] * self.exponents
        left = self.exponents.T * weighted[:, None, :]
        corner = (left * c.value[:, None, :]) @ self.exponents
        side = left @ c.first
        above = np.concatenate([corner, side], axis=2)
        curvature = np.concatenate([above, np.concatenate([side.mT, c.bend], axis=2)], axis=1)
        return np.concatenate([by_scale, scale[:, :, None] * c.first], axis=2), curvature

    def entry_derivatives(self, theta: FloatArray) -> tuple[FloatArray, FloatArray, FloatArray]:
        scale, c = self._parts(self._variables(theta))
        value = scale * c.value
        side = scale[:, :, None] * c.first
        by_scale = value[:, :, None] * self.exponents
        m, t = self.n_scales, self.n_theta
        pairs = []
        for i in range(t):
            for j in range(i + 1):
                if i < m:
                    pairs.append(by_scale[:, :, i] * self.exponents[:, j])
                elif j < m:
                    pairs.append(side[:, :, i - m] * self.exponents[:, j])
                else:
                    pairs.append(scale * c.second[:, :, i - m, j - m])
        return value, np.concatenate([by_scale, side], axis=2), np.stack(pairs, axis=2)

    def entry_hessians(self, theta: FloatArray) -> FloatArray:
        pairs = self.entry_derivatives(theta)[2]
        i, j = np.tril_indices(self.n_theta)
        out = np.empty((*pairs.shape[:2], self.n_theta, self.n_theta))
        out[:, :, i, j] = out[:, :, j, i] = pairs
        return out

    def entry_jet(self, theta: FloatArray) -> Jet:
        value, first, _ = self.entry_derivatives(theta)
        return Jet(value, first, self.entry_hessians(theta))

    def theta(self, matrix: FloatArray) -> FloatArray:
        variances = np.diagonal(matrix, axis1=1, axis2=2)
        largest = variances.max(axis=1, keepdims=True)
        variances = np.maximum(variances, np.maximum(1e-12 * largest, 1e-300))
        sd = np.sqrt(variances)
        correlation = matrix / (sd[:, :, None] * sd[:, None, :])
        eta = self.unconstrained(self.nearest(correlation))
        return np.concatenate([0.5 * np.log(self._pool(variances)), eta], axis=1)

    @property
    def parameter_names(self) -> tuple[str, ...]:
        return ("Variance", *self.correlation_names)

    def from_natural(self, values: FloatArray) -> FloatArray:
        values = self._check_natural(values)
        with np.errstate(all="ignore"):
            variances, r = self.split_natural(values)
            theta = np.concatenate([0.5 * np.log(variances), self.unconstrained(r)], axis=1)
        inside = np.isfinite(theta).all(axis=1)
        if not inside.all():
            raise self._outside(values[~inside][0])
        return theta

    def elementwise(self, theta: FloatArray) -> tuple[FloatArray, FloatArray, FloatArray]:
        """Natural parameters that are functions of one theta each, (n_fits, n_theta).

        Only where `correlation_parameters` works one by one. With first and second derivatives by
        the one theta, of the same shape.
        """
        one = np.ones((*theta.shape, 1))
        natural = self._natural(Jet(theta, one, np.zeros((*theta.shape, 1, 1))))
        return natural.value, natural.first[..., 0], natural.second[..., 0, 0]

    def _variables(self, theta: FloatArray) -> Jet:
        """theta with derivatives by eta only; those by log sd are known."""
        eta = Jet.variables(theta[:, self.n_scales :])
        return concatenate([Jet.constant(theta[:, : self.n_scales], eta.first.shape[-1]), eta])

    def _parts(self, theta: Jet) -> tuple[FloatArray, Jet]:
        """Product of standard deviations and correlation of each entry."""
        scale = np.exp(theta.value[:, : self.n_scales] @ self.exponents.T)
        r = self.correlation_parameters(theta[self.n_scales :])
        return scale, self.correlations(r)

    def _natural(self, theta: Jet) -> Jet:
        variances = (theta[: self.n_scales] * 2.0).exp()
        return self.join_natural(variances, self.correlation_parameters(theta[self.n_scales :]))


def shrink_factor(correlation: FloatArray, floor: float = MARGIN) -> FloatArray:
    """Largest factor <= 1 on the correlations that lifts the smallest eigenvalue to ``floor``."""
    smallest = np.linalg.eigvalsh(correlation)[:, :1]
    room = 1.0 - floor
    return np.asarray(np.minimum(1.0, room / np.maximum(1.0 - smallest, room)))


@dataclass(frozen=True)
class Heterogeneous(ScaledCorrelation):
    """R = D^1/2 C D^1/2 with D diagonal and free; theta = (log standard deviations, eta).

    Stands before the correlation structure among the bases of a class. The natural parameters are
    the variances and the correlation parameters.
    """

    scales: ClassVar[bool] = True

    @property
    def n_scales(self) -> int:
        return self.size

    @cached_property
    def exponents(self) -> FloatArray:
        one = np.eye(self.size)
        return np.asarray(one[self.rows] + one[self.rows - self.lags])

    def closed(self) -> CovarianceStructure:
        return ScaledAngles(self.size, self)

    @property
    def parameter_names(self) -> tuple[str, ...]:
        return (*(f"Var({k + 1})" for k in range(self.size)), *self.correlation_names)

    def join_natural(self, variances: Jet, r: Jet) -> Jet:
        return concatenate([variances, r])

    def split_natural(self, values: FloatArray) -> tuple[FloatArray, FloatArray]:
        return values[:, : self.size], values[:, self.size :]

    def first_of_unit(self, rest: FloatArray) -> FloatArray:
        return np.ones((len(rest), 1))

    def _pool(self, variances: FloatArray) -> FloatArray:
        return variances
