"""Standard deviations and angles: scaled correlations up to their singular ends."""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from mlmfast.arrays import BoolArray, FloatArray, IntArray
from mlmfast.covariance.base import CovarianceStructure, lower_entries
from mlmfast.covariance.jet import Chart, Jet, concatenate
from mlmfast.covariance.other_parameters import OtherParameters
from mlmfast.eigen import is_singular
from mlmfast.running.cached import cached_property

#: Standard deviations below this are 0.
_ZERO = 1e-9
#: Angles below this are 0.
_NO_ANGLE = 1e-40
#: Curvature of -2 log-likelihood in an angle whose standard error is half a radian.
_SURE = 8.0
#: Values tried of a single angle, and of all angles together at most.
_GRID, _MANY = 33, 243


@dataclass(frozen=True)
class Angular(CovarianceStructure):
    """Variances times correlations whose parameters are functions of angles."""

    #: Does a change of signs of the levels keep the structure, with several standard deviations?
    has_mirror: ClassVar[bool] = False
    #: Do second derivatives of the correlations jump?
    is_rough: ClassVar[bool] = False
    #: Angles beyond these repeat, or change next to nothing.
    widest_angle: ClassVar[float] = 0.5 * np.pi

    @cached_property
    def entries(self) -> tuple[tuple[int, int], ...]:
        return lower_entries(self.size)

    @property
    def n_scales(self) -> int:
        """Number of free variances."""
        return 1

    @cached_property
    def rows(self) -> IntArray:
        """Row of each entry."""
        return np.array([a for a, _ in self.entries], dtype=np.intp)

    @cached_property
    def lags(self) -> IntArray:
        """Row minus column of each entry."""
        return np.array([a - b for a, b in self.entries], dtype=np.intp)

    @abstractmethod
    def correlations(self, r: Jet) -> Jet:
        """The correlation at each of `entries` (1 on the diagonal)."""

    @abstractmethod
    def nearest(self, correlation: FloatArray) -> FloatArray:
        """Moment estimates of r from correlation matrices, inside the parameter space."""

    def bounded(self, u: Jet) -> Jet:
        """Natural parameters r of as many numbers in [-1, 1], whose ends are singular."""
        return u

    def to_bounded(self, r: FloatArray) -> FloatArray:
        """The inverse of `bounded`."""
        return r

    def closed_parameters(self, angles: Jet) -> Jet:
        """Natural parameters r of the angles of `ScaledAngles`."""
        return self.bounded(angles.sin())

    def closed_correlations(self, angles: Jet) -> Jet:
        """The correlation at each of `entries`, from angles."""
        return self.correlations(self.closed_parameters(angles))

    def closed_chart(self, angles: FloatArray, weight: FloatArray) -> Chart:
        """`closed_correlations` with derivatives; see `Chart`."""
        return Chart.of(self.closed_correlations(Jet.variables(angles)), weight)

    def angles(self, r: FloatArray) -> FloatArray:
        """Angles of r; not finite where r is outside the closed parameter space."""
        u = self.to_bounded(r)
        with np.errstate(invalid="ignore"):
            return np.asarray(np.arcsin(np.where(np.abs(u) <= 1.0 + 1e-12, np.clip(u, -1, 1), u)))

    def nearest_end(self, angles: FloatArray) -> FloatArray:
        """The nearest angles at which the correlations are singular."""
        return np.asarray((np.floor(angles / np.pi) + 0.5) * np.pi)

    def mirrored(self, angles: FloatArray, signs: FloatArray) -> FloatArray:
        """Angles after a change of signs of the levels, signs (n_fits, n_scales)."""
        return angles

    def join_natural(self, variances: Jet, r: Jet) -> Jet:
        """Natural parameters in the order of `parameter_names`."""
        return concatenate([variances, r])

    def split_natural(self, values: FloatArray) -> tuple[FloatArray, FloatArray]:
        """Variances and r of natural parameters."""
        return values[:, : self.n_scales], values[:, self.n_scales :]

    def _pool(self, variances: FloatArray) -> FloatArray:
        return np.asarray(variances.mean(axis=1, keepdims=True))


@dataclass(frozen=True)
class ScaledAngles(OtherParameters):
    """D^1/2 C(angles) D^1/2, theta = (standard deviations, angles).

    A correlation parameter in [-1, 1] is the sine of its angle, so that its ends are stationary
    points inside, reached in finitely many Newton steps. A single standard deviation may pass 0 and
    comes out on the other side. Of several, each is held at 0 while the criterion rises with it:
    there its square is the local coordinate (`chart`), whose derivative is 0 and whose curvature is
    the multiplier of the bound.
    """

    structure: Angular

    @property
    def n_scales(self) -> int:
        """Number of standard deviations."""
        return self.structure.n_scales

    def matrix(self, theta: FloatArray) -> FloatArray:
        return self.on_entries(self._entries(Jet.constant(theta)).value)

    def jacobian(self, theta: FloatArray) -> FloatArray:
        return self._with_derivatives(theta).first

    def curvature(self, theta: FloatArray, weight: FloatArray) -> FloatArray:
        return self._chart(theta, weight)[1]

    def entry_hessians(self, theta: FloatArray) -> FloatArray:
        return self._with_derivatives(theta).second

    def chart(self, theta: FloatArray, weight: FloatArray) -> tuple[FloatArray, FloatArray]:
        jacobian, curvature = self._chart(theta, weight)
        if self._is_bounded:
            slope = (weight[:, None, :] @ jacobian)[:, 0]
            for fit, k in np.argwhere(theta[:, : self.n_scales] <= _ZERO):
                if slope[fit, k] > 0:
                    jacobian[fit, :, k] = 0.0
                    curvature[fit, k, :] = curvature[fit, :, k] = 0.0
                    curvature[fit, k, k] = slope[fit, k]
        return jacobian, curvature

    def move(self, theta: FloatArray, step: FloatArray) -> FloatArray:
        n = self.n_scales
        sd, angles = (theta + step)[:, :n], (theta + step)[:, n:]
        if self._is_bounded:
            sd = np.where(theta[:, :n] <= _ZERO, np.abs(sd), np.maximum(sd, 0.0))
            sd = np.where(sd <= _ZERO, 0.0, sd)
        else:
            angles = self.structure.mirrored(angles, np.where(sd < 0, -1.0, 1.0))
            sd = np.abs(sd)
        # Smaller ones are rounding of 0, which some units of the response would come to.
        angles = np.where(np.abs(angles) < _NO_ANGLE, 0.0, angles)
        return np.concatenate([sd, angles], axis=1)

    def scaled(self, theta: FloatArray, factor: FloatArray) -> FloatArray:
        n = self.n_scales
        return np.concatenate([theta[:, :n] * factor, theta[:, n:]], axis=1)

    def at_boundary(self, theta: FloatArray, small: float) -> tuple[FloatArray, BoolArray]:
        n = self.n_scales
        sd, angles = theta[:, :n], theta[:, n:]
        zero = sd * sd <= small
        sd = np.where(zero, 0.0, sd)
        largest = (sd * sd).max(axis=1, keepdims=True)
        ends = self.structure.nearest_end(angles)
        with np.errstate(invalid="ignore"):
            at_end = largest * np.sin(angles - ends) ** 2 <= small
        angles = np.where(at_end & np.isfinite(ends), ends, angles)
        if self.structure.needs != "coordinates":
            # Without any variance every correlation is as good, and rounding would choose.
            angles = np.where(zero.all(axis=1, keepdims=True), self._of_no_correlation, angles)
        out = np.concatenate([sd, angles], axis=1)
        return out, is_singular(self.matrix(out), small)

    def is_vague(self, curvature: FloatArray) -> BoolArray:
        # Angles that the data do not tell to half a radian, or ...
        angles = curvature[:, self.n_scales :]
        # ... correlations that are not smooth in their parameter.
        return np.asarray((angles < _SURE).any(axis=1) | self.structure.is_rough)

    def alternatives(self, theta: FloatArray) -> FloatArray:
        n = self.n_scales
        angles = self._spread(theta[n:])
        tried = np.concatenate([np.repeat(theta[None, :n], len(angles), axis=0), angles], axis=1)
        matrix = self.matrix(theta[None])
        away = np.abs(self.matrix(tried) - matrix).max(axis=(1, 2))
        return np.asarray(tried[away <= 1e-12 * np.abs(matrix).max()])

    def theta(self, matrix: FloatArray) -> FloatArray:
        variances = np.maximum(np.diagonal(matrix, axis1=1, axis2=2), 0.0)
        largest = variances.max(axis=1, keepdims=True)
        sd = np.sqrt(np.maximum(variances, np.maximum(1e-12 * largest, 1e-300)))
        correlation = matrix / (sd[:, :, None] * sd[:, None, :])
        angles = self.structure.angles(self.structure.nearest(correlation))
        return np.concatenate([np.sqrt(self.structure._pool(variances)), angles], axis=1)

    def natural(self, theta: FloatArray) -> FloatArray:
        with np.errstate(all="ignore"):
            return self._natural(Jet.constant(theta)).value

    def natural_jacobian(self, theta: FloatArray) -> FloatArray:
        with np.errstate(all="ignore"):
            return self._natural(Jet.variables(theta)).first

    def natural_hessian(self, theta: FloatArray) -> FloatArray:
        with np.errstate(all="ignore"):
            return self._natural(Jet.variables(theta)).second

    def from_natural(self, values: FloatArray) -> FloatArray:
        values = self.structure._check_natural(values)
        with np.errstate(all="ignore"):
            variances, r = self.structure.split_natural(values)
            # Correlations of a variance of 0 are not determined.
            r = np.where((variances == 0.0).all(axis=1, keepdims=True) & np.isnan(r), 0.0, r)
            theta = np.concatenate([np.sqrt(variances), self.structure.angles(r)], axis=1)
        return self.checked(theta, values)

    @cached_property
    def _of_no_correlation(self) -> FloatArray:
        """The angles (n_angles,) of correlations of 0."""
        zero = np.zeros((1, self.n_theta - self.n_scales))
        return np.asarray(self.structure.angles(zero)[0])

    @property
    def _is_bounded(self) -> bool:
        """Whether standard deviations stop at 0."""
        return self.n_scales > 1 and not self.structure.has_mirror

    @property
    def _levels(self) -> tuple[IntArray, IntArray]:
        """The standard deviations of each entry's row and column."""
        rows = self.structure.rows
        return (rows, rows - self.structure.lags) if self.n_scales > 1 else (0 * rows, 0 * rows)

    def _entries(self, theta: Jet) -> Jet:
        n, (rows, columns) = self.n_scales, self._levels
        sd = theta[:n]
        return sd[rows] * sd[columns] * self.structure.closed_correlations(theta[n:])

    def _with_derivatives(self, theta: FloatArray) -> Jet:
        """`_entries` by theta; the correlations by their own parameters alone, which are fewer."""
        n, (rows, columns) = self.n_scales, self._levels
        c = self.structure.closed_correlations(Jet.variables(theta[:, n:]))
        scales = Jet.variables(theta[:, :n])
        product = scales[rows] * scales[columns]
        first = np.concatenate(
            [product.first * c.value[..., None], product.value[..., None] * c.first], axis=2
        )
        second = np.empty((*c.value.shape, self.n_theta, self.n_theta))
        second[..., :n, :n] = product.second * c.value[..., None, None]
        second[..., n:, n:] = product.value[..., None, None] * c.second
        second[..., :n, n:] = product.first[..., :, None] * c.first[..., None, :]
        second[..., n:, :n] = second[..., :n, n:].mT
        return Jet(product.value * c.value, first, second)

    def _chart(self, theta: FloatArray, weight: FloatArray) -> tuple[FloatArray, FloatArray]:
        """`_with_derivatives`: the first ones, and the second ones of weight'entries."""
        n, (rows, columns) = self.n_scales, self._levels
        sd = theta[:, :n]
        by_row, by_column, product = sd[:, rows], sd[:, columns], sd[:, rows] * sd[:, columns]
        c = self.structure.closed_chart(theta[:, n:], weight * product)
        left, right = np.eye(n)[rows], np.eye(n)[columns]
        scaled = by_column[..., None] * left + by_row[..., None] * right
        jacobian = np.concatenate(
            [scaled * c.value[..., None], product[..., None] * c.first], axis=2
        )
        corner = left.T @ ((weight * c.value)[..., None] * right)
        side = scaled.mT @ (weight[..., None] * c.first)
        curvature = np.empty((len(theta), self.n_theta, self.n_theta))
        curvature[:, :n, :n] = corner + corner.mT
        curvature[:, :n, n:], curvature[:, n:, :n] = side, side.mT
        curvature[:, n:, n:] = c.bend
        return jacobian, curvature

    def _natural(self, theta: Jet) -> Jet:
        sd, angles = theta[: self.n_scales], theta[self.n_scales :]
        return self.structure.join_natural(sd * sd, self.structure.closed_parameters(angles))

    def _spread(self, angles: FloatArray) -> FloatArray:
        """Angles all over their space, shape (n, n_angles)."""
        p, right = len(angles), self.structure.widest_angle
        if p == 0:
            return np.empty((0, 0))
        along = np.linspace(-right, right, _GRID)
        if p == 1:
            return along[:, None]
        corners = [*np.ndindex(*(3,) * p)] if 3**p <= _MANY else None
        if corners is None:
            rng = np.random.default_rng(p)
            whole = right * rng.integers(-1, 2, (_MANY, p))
        else:
            whole = right * (np.array(corners, dtype=np.float64) - 1.0)
        # Singular Toeplitz matrices of rank 2, and one angle at a time turned round.
        waves = np.concatenate([along[:, None], np.full((_GRID, p - 1), -right)], axis=1)
        turned = angles * (1.0 - 2.0 * np.eye(p))
        return np.concatenate([whole, waves, turned, -angles[None]])
