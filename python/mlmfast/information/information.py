"""Observed and expected information of the covariance parameters, and what X'V^-1 X makes of them.

With V the covariance of y, V_i its derivatives by the parameters and P the projection of REML
(V^-1 for ML), the information of the unprofiled likelihood is

    observed  J_ij = 1/2 d2(-2 l) / d i d j
    expected  I_ij = 1/2 tr(P V_i P V_j)

(Searle, Casella and McCulloch 1992, sections 6.6 and 6.7). All derivatives are exact: the core
gives those of log|W|, log|X'W^-1 X|, y'Py and X'W^-1 X by the entries of the covariances,
W = V / sigma^2 where sigma^2 is profiled out; the chain rule does the rest.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from mlmfast.arrays import FloatArray
from mlmfast.criterion.criterion import Criterion
from mlmfast.criterion.parameters.natural import CovarianceParameters, residual_direction
from mlmfast.errors import ModelError
from mlmfast.reduction.reduced_model import ReducedModel
from mlmfast.running.cached import cached_property

#: Scaled information below which the data do not tell a combination of parameters.
_UNIDENTIFIED = 1e-9
#: Information of a parameter that is none: its inverse leaves the range of doubles.
_NONE = 1e-290


@dataclass(frozen=True)
class Derivatives:
    """Derivatives by the core's coordinates (and sigma^2, last, where it is profiled out).

    Attributes
    ----------
    logdet_first, logdet_second : shapes (n,), (n, n)
        Of log|V| (+ log|X'V^-1 X| for REML).
    rss_first, rss_second : shapes (n,), (n, n)
        Of y'Py.
    information_first : shape (n, rank, rank)
        Of X'V^-1 X.
    """

    logdet_first: FloatArray
    logdet_second: FloatArray
    rss_first: FloatArray
    rss_second: FloatArray
    information_first: FloatArray


@dataclass(frozen=True)
class Information:
    """Information about the covariance parameters of one fit.

    Matrices over fixed effects are in the core's orthonormal basis of X and over the unit of the
    response; `contrasts` maps rows of a contrast there.

    Attributes
    ----------
    model, criterion : what was fitted.
    parameters
        The covariance parameters.
    core
        What the core says at the estimates: see `likelihood_derivatives` of the reduction.
    scale
        Residual variance of the scaled response where it is profiled out, else 1.
    fit
        Which response.
    theta : shape (1, n_theta)
    """

    model: ReducedModel
    criterion: Criterion
    parameters: CovarianceParameters
    core: tuple[FloatArray, ...]
    scale: float
    fit: int
    theta: FloatArray

    @property
    def c(self) -> FloatArray:
        """(X'W^-1 X)^-1, (rank, rank)."""
        return self.core[5]

    @property
    def phi(self) -> FloatArray:
        """Phi = (X'V^-1 X)^-1 in the core's coordinates, (rank, rank)."""
        return self.scale * self.c

    def contrasts(self, rows: FloatArray) -> FloatArray:
        """Rows of contrasts of the coefficients kept, in the core's coordinates."""
        unit = self.model.core.y_scale[self.fit] / self.model.y_scaling[self.fit].scale
        return np.asarray(unit * (rows @ self.model.fixed_map))

    @cached_property
    def linear(self) -> Derivatives:
        """Derivatives with covariances taken as linear in the core's coordinates."""
        return self._derivatives(self.core)

    @cached_property
    def bent(self) -> Derivatives:
        """Derivatives with second derivatives of covariances handed over unit by unit."""
        if self.parameters.bent is self.parameters.linear:
            return self.linear
        return self._derivatives(self._core(self.parameters.bent, self.criterion.entries))

    @cached_property
    def by_parameters(self) -> FloatArray:
        """Derivatives of X'V^-1 X by the free covariance parameters, (r, rank, rank)."""
        first = self.parameters.first
        rank = len(self.c)
        core = self.linear.information_first.reshape(len(first), rank * rank)
        return np.asarray(first.T @ core).reshape(first.shape[1], rank, rank)

    @cached_property
    def observed(self) -> FloatArray:
        """Observed information of the free covariance parameters, (r, r)."""
        first = self.parameters.first
        at = self.bent
        inner = at.logdet_second + at.rss_second
        out = first.T @ inner @ first
        if not self.parameters.is_linear:
            out = out + self.parameters.bend(at.logdet_first + at.rss_first)
        return np.asarray(0.25 * (out + out.T))

    @cached_property
    def expected(self) -> FloatArray:
        """Expected information of the free covariance parameters, (r, r)."""
        first = self.parameters.first
        # V is linear in these coordinates: the second derivative of the log-determinants is
        # -tr(P V_i P V_j).
        out = -(first.T @ self.linear.logdet_second @ first)
        return np.asarray(0.25 * (out + out.T))

    def with_covariances(self) -> Information:
        """The information with what derivatives of the covariances themselves tell: this one."""
        return self

    @cached_property
    def _inverses(self) -> dict[str, tuple[FloatArray, int]]:
        return {}

    def covariance(self, information: str) -> FloatArray:
        """Asymptotic covariance of the free parameters, by "observed" or "expected" information."""
        return self._inverse(information)[0]

    def n_unidentified(self, information: str) -> int:
        """Directions of the parameters that the data do not tell, left out of `covariance`."""
        return self._inverse(information)[1]

    def untold_moves(self, information: str) -> FloatArray:
        """Moves of the free parameters along what is left out, in units of their own, (r, k)."""
        return left_out_of(self._matrix(information))

    def _inverse(self, information: str) -> tuple[FloatArray, int]:
        if information not in self._inverses:
            self._inverses[information] = invert_information(self._matrix(information))
        return self._inverses[information]

    def _matrix(self, information: str) -> FloatArray:
        return self.observed if information == "observed" else self.expected

    def second_sum(self, weights: FloatArray) -> FloatArray:
        """sum_ij w_ij (Q_ij + Q_ji), Q_ij = X'V^-1 V_i V^-1 V_j V^-1 X, (rank, rank).

        Parameters
        ----------
        weights : shape (r, r), symmetric, over the free parameters.
        """
        first = self.parameters.first
        inner = first @ weights @ first.T
        if not self.model.profiled:
            return self._core_second(inner)
        s, gamma = self.scale, self._gamma
        by_entries, by_scale, own = inner[:-1, :-1], inner[:-1, -1], inner[-1, -1]
        cross = np.outer(by_scale, gamma)
        effective = by_entries - cross - cross.T + own * np.outer(gamma, gamma)
        out = self._core_second(effective) if len(gamma) else np.zeros_like(self.c)
        core = self._core_first(gamma, by_scale)
        whole = np.linalg.inv(self.c)
        out = out - 4.0 * core[1] + 4.0 * own * core[0] + 2.0 * own * whole
        return np.asarray(out / s**3)

    def bend_sums(
        self, weights: FloatArray, singular: bool = True
    ) -> tuple[FloatArray, FloatArray]:
        """What sum_ij w_ij V_ij, second derivatives of V by the free parameters, gives.

        Parameters
        ----------
        weights : shape (r, r), symmetric.
        singular
            Whether singular G bend along the matrices of their rank.

        Returns
        -------
        sum_ij w_ij R_ij, R_ij = X'V^-1 V_ij V^-1 X, (rank, rank); and
        sum_ij w_ij tr(P V_k P V_ij) for each free parameter k, (r,).
        """
        directions = residual_direction(self.model, self.parameters, weights)
        first = self.parameters.first
        along = self.parameters.bent_by(weights, singular)
        at = self.linear
        if directions is not None:
            # One more coordinate: the sum of second derivatives of R.
            entries = self.criterion.entries
            at = self._derivatives(self._core(directions, [*entries, entries[-1]]))
            first = np.vstack([first, np.zeros((1, first.shape[1]))])
            along = np.append(along, 1.0)
        r_sum = -np.tensordot(along, at.information_first, axes=1)
        traces = -(first.T @ (at.logdet_second @ along))
        return np.asarray(r_sum), np.asarray(traces)

    @cached_property
    def _gamma(self) -> FloatArray:
        """Entries of G over sigma^2."""
        levels, rows, columns = np.array(self.criterion.entries, dtype=np.intp).reshape(-1, 3).T
        linear = self.parameters.linear
        if len(linear) == 1:
            return np.asarray(linear[0][0, rows, columns])
        parts = zip(levels, rows, columns, strict=True)
        return np.array([linear[level][0, a, b] for level, a, b in parts])

    def _core_second(self, weights: FloatArray) -> FloatArray:
        core, entries = self.model.core, self.criterion.entries
        weights = np.ascontiguousarray((weights + weights.T) / 2)
        out = core.information_second_derivatives(
            self.parameters.linear, self.fit, entries, weights
        )
        assert out is not None, "the fit has a positive definite V"
        return np.asarray(out)

    def _core_first(self, *weights: FloatArray) -> list[FloatArray]:
        """Weighted sums of the derivatives of X'W^-1 X by entries of G."""
        by = self.core[4]
        return [np.tensordot(w, by, axes=1) for w in weights]

    def _core(
        self, g: list[FloatArray], entries: list[tuple[int, int, int]]
    ) -> tuple[FloatArray, ...]:
        return core_derivatives(self.model, self.criterion, g, entries, self.fit)

    def _derivatives(self, parts: tuple[FloatArray, ...]) -> Derivatives:
        logdet, logdet2, rss, rss2, information = parts[:5]
        if not self.model.profiled:
            return Derivatives(logdet, logdet2, rss, rss2, information)
        # From gamma = E / s to (E, s): log|V| = log|W(E / s)| + nu log s, y'Py = r(E / s) / s.
        s, gamma, total = self.scale, self._gamma, float(self.core[6])
        nu = self.model.degrees(self.criterion.reml)
        whole = np.linalg.inv(self.c) if len(self.c) else self.c
        along = logdet2 @ gamma
        last = nu - gamma @ logdet
        corner = float(gamma @ along + 2.0 * (gamma @ logdet) - nu)
        rss_along = rss2 @ gamma
        rss_corner = float(gamma @ rss_along + 4.0 * (gamma @ rss) + 2.0 * total)
        information_last = -(whole + np.tensordot(gamma, information, axes=1))
        return Derivatives(
            np.append(logdet, last) / s,
            _bordered(logdet2, -(logdet + along), corner) / s**2,
            np.append(rss, -(total + gamma @ rss)) / s**2,
            _bordered(rss2, -(2.0 * rss + rss_along), rss_corner) / s**3,
            np.concatenate([information, information_last[None]]) / s**2,
        )


def core_derivatives(
    model: ReducedModel,
    criterion: Criterion,
    g: list[FloatArray],
    entries: list[tuple[int, int, int]],
    fit: int,
) -> tuple[FloatArray, ...]:
    """What the core says of one fit, by the coordinates listed."""
    if not model.core.offers("likelihood_derivatives"):
        raise ModelError(
            "the information of the covariance parameters is not formed by the iterative engine; "
            "use ddf='asymptotic', or fit with options={'engine': 'crossed'} if memory allows"
        )
    parts = model.likelihood_derivatives(g, fit, entries, criterion.reml)
    return tuple(part[0] for part in parts)


def invert_information(matrix: FloatArray) -> tuple[FloatArray, int]:
    """Inverse of an information matrix, and how many directions were left out of it.

    Directions with no information, or with negative curvature, are left out: the parameters are
    held there at their estimates. NaN where the matrix is.

    Examples
    --------
    >>> invert_information(np.array([[4.0, 0.0], [0.0, 0.0]]))[0].tolist()
    [[0.25, 0.0], [0.0, 0.0]]
    """
    if len(matrix) == 0:
        return matrix, 0
    if not np.isfinite(matrix).all():
        # At a V that cannot be inverted nothing is known of them.
        return np.full_like(matrix, np.nan), 0
    scale, values, vectors = _scaled_eigen(matrix)
    kept = values > _UNIDENTIFIED
    root = scale[:, None] * vectors[:, kept] / np.sqrt(values[kept])
    return root @ root.T, int((~kept).sum())


def left_out_of(matrix: FloatArray) -> FloatArray:
    """Directions that `invert_information` leaves out, each of length 1 in scaled units, (n, k).

    Examples
    --------
    >>> abs(left_out_of(np.array([[4.0, 4.0], [4.0, 4.0]]))).round(3).ravel().tolist()
    [0.354, 0.354]
    """
    if len(matrix) == 0 or not np.isfinite(matrix).all():
        return np.zeros((len(matrix), 0))
    scale, values, vectors = _scaled_eigen(matrix)
    return np.asarray(scale[:, None] * vectors[:, ~(values > _UNIDENTIFIED)])


def _scaled_eigen(matrix: FloatArray) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Scales to a unit diagonal, and the eigenvalues and vectors of the scaled matrix."""
    diagonal = np.diag(matrix)
    some = diagonal > _NONE
    scale = np.where(some, 1.0 / np.sqrt(np.where(some, diagonal, 1.0)), 0.0)
    # One factor after the other: the squares of tiny scales leave the range of doubles.
    values, vectors = np.linalg.eigh(matrix * scale[:, None] * scale)
    return scale, values, vectors


def covariance_root(covariance: FloatArray) -> FloatArray:
    """R with R R' the covariance of the parameters, which may be singular.

    Examples
    --------
    >>> covariance_root(np.array([[4.0, 0.0], [0.0, 0.0]])).tolist()
    [[0.0, 2.0], [0.0, 0.0]]
    """
    scale = np.sqrt(np.diag(covariance))
    scale = np.where(scale > 0.0, scale, 1.0)
    values, vectors = np.linalg.eigh(covariance / np.outer(scale, scale))
    return np.asarray(scale[:, None] * vectors * np.sqrt(np.maximum(values, 0.0)))


def _bordered(matrix: FloatArray, border: FloatArray, corner: float) -> FloatArray:
    n = len(matrix)
    out = np.empty((n + 1, n + 1))
    out[:n, :n] = matrix
    out[n, :n] = out[:n, n] = border
    out[n, n] = corner
    return out
