"""Scoring in the entries of the covariances, within those of each structure: starts and steps."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

import mlmfast._core as _core
from mlmfast.arrays import BoolArray, FloatArray, IntArray
from mlmfast.covariance.base import lifted, symmetric_of
from mlmfast.criterion.criterion import Criterion, without_rounding
from mlmfast.eigen import eigen, is_small
from mlmfast.newton.iteration import Derivatives, newton_raphson
from mlmfast.newton.options import NewtonOptions
from mlmfast.running.interruptible import interruptible

#: Scoring held within the covariances, and the eigenvalues, over the largest, from which it starts.
_INNER = NewtonOptions(tolerance=1e-10, max_iter=60)
LIFT = 1e-6
#: The same for a step, which is tried only: its last digits are not worth their time.
_STEP = NewtonOptions(tolerance=1e-2, max_iter=10)


@dataclass(frozen=True)
class Scoring:
    """Scoring steps of a criterion in the entries of G, kept within the covariance matrices."""

    criterion: Criterion

    def start(
        self, fits: IntArray, at_zero: tuple[FloatArray, FloatArray] | None = None
    ) -> FloatArray:
        """Moment estimates: the scoring step from G = 0 (MIVQUE0) within the covariances.

        The entries solve E[q_k] = q_k for the quadratic forms q_k = y'P V_k P y at G = 0 (Rao
        1971; the start of PROC MIXED), relative to the residual variance within units. ``at_zero``
        is `Criterion.at_zero_of` where that is known.
        """
        if not self.criterion.terms:
            return np.zeros((len(fits), 0))
        target, expected = self.moments(fits, at_zero)
        return self.relative_to_within(self._within(target, expected), fits)

    def moments(
        self, fits: IntArray, at_zero: tuple[FloatArray, FloatArray] | None = None
    ) -> tuple[FloatArray, FloatArray]:
        """The scoring step from G = 0 in the entries, and their expected information."""
        criterion = self.criterion
        if at_zero is None:
            first = fits.tolist() == [0]
            at_zero = criterion.at_zero if first else criterion.at_zero_of(fits)
        gradient, expected = at_zero
        return solve_scoring(gradient, expected), expected

    def relative_to_within(self, theta: FloatArray, fits: IntArray) -> FloatArray:
        """theta relative to the residual variance within units."""
        factor = 1.0 / np.sqrt(self._within_variance(fits))[:, None]
        if len(self.criterion.terms) == 1:
            return self.criterion.terms[0].shared.scaled(theta, factor)
        parts = zip(self.criterion.terms, self.criterion.theta_slices, strict=True)
        return np.concatenate([t.shared.scaled(theta[:, s], factor) for t, s in parts], axis=1)

    def target(
        self, theta: FloatArray, at: Derivatives, far: BoolArray
    ) -> tuple[FloatArray, FloatArray]:
        """Step in the entries of G, kept within the covariance matrices; its slope.

        By the expected information where ``far``, by the exact Hessian elsewhere; no step (slope 0)
        where that is not positive definite.
        """
        entries = self.criterion.entry_values(theta)
        scale = 1.0 / np.sqrt(np.maximum(np.einsum("aii->ai", at.natural_expected), 1e-300))
        scaled = at.natural_hessian * scale[:, :, None] * scale[:, None, :]
        usable = far | (eigen(scaled)[0][:, 0] > 1e-3)
        target, slope = theta.copy(), np.zeros(len(theta))
        if not usable.any():
            return target, slope
        curvature = np.where(far[:, None, None], at.natural_expected, at.natural_hessian)
        gradient = at.natural_gradient[usable]
        target[usable] = self._scored(entries[usable], gradient, curvature[usable])
        way = self.criterion.entry_values(target[usable]) - entries[usable]
        slope[usable] = (gradient[:, None, :] @ way[:, :, None])[:, 0, 0]
        return target, slope

    def between(self, theta: FloatArray, target: FloatArray, factor: FloatArray) -> FloatArray:
        """theta of (1 - factor) G(theta) + factor G(target)."""
        out = np.empty_like(theta)
        share = factor[:, None, None]
        for term, s in zip(self.criterion.terms, self.criterion.theta_slices, strict=True):
            mixed = (1.0 - share) * term.matrix(theta[:, s]) + share * term.matrix(target[:, s])
            out[:, s] = term.theta(mixed)
        return out

    def _scored(
        self, entries: FloatArray, gradient: FloatArray, expected: FloatArray
    ) -> FloatArray:
        """theta of the covariances that minimise the quadratic model around ``entries``."""
        return self._within(entries + solve_scoring(gradient, expected), expected, _STEP)

    def _within(
        self, target: FloatArray, expected: FloatArray, options: NewtonOptions = _INNER
    ) -> FloatArray:
        """theta of the covariances nearest to the entries ``target`` by ``expected``."""
        theta, outside = self.nearest(target)
        rows = outside.nonzero()[0]
        if rows.size and (len(self.criterion.entries) > 1):
            model = _QuadraticModel(self.criterion, target[rows], expected[rows])
            theta[rows] = newton_raphson(model, theta[rows], options, _unbounded).theta
        return theta

    def nearest(self, target: FloatArray) -> tuple[FloatArray, BoolArray]:
        """theta of covariances near the entries ``target``, and where these are none."""
        criterion = self.criterion
        theta = np.empty((len(target), criterion.n_theta))
        outside = np.zeros(len(target), dtype=np.bool_)
        stretches = zip(criterion.theta_slices, criterion.entry_slices, strict=True)
        for term, (s, e) in zip(criterion.terms, stretches, strict=True):
            if not term.by_row:
                # Any covariance is a member of such a structure.
                theta[:, s], negative = term.shared.near_entries(target[:, e], LIFT)
                outside |= negative
                continue
            values, vectors = eigen(symmetric_of(target[:, e], term.shared))
            theta[:, s] = term.theta(lifted(values, vectors, LIFT, LIFT))
            outside[:] = True
        return theta, outside

    def _within_variance(self, fits: IntArray) -> FloatArray:
        # Residual variance over that of ordinary least squares; few degrees of freedom tell little.
        # The iterative engine starts from moments.
        rss, degrees = self.criterion.reduction.within
        if isinstance(degrees, int):
            # Responses of one design.
            if degrees < 3:
                return np.full(len(fits), 0.5)
            return np.maximum(rss[fits] / degrees, 1e-300)
        rss, df = rss[fits], degrees[fits]
        few = df < 3
        return np.where(few, 0.5, np.maximum(rss / np.where(few, 1.0, df), 1e-300))


def solve_scoring(gradient: FloatArray, expected: FloatArray) -> FloatArray:
    """-E^-1 g, along the directions that the information tells something of."""
    if is_small(expected.shape[1]):
        return _core.scoring_steps(*(np.ascontiguousarray(part) for part in (gradient, expected)))
    own = np.einsum("aii->ai", expected)
    # An entry without information must not turn the rounding of its gradient into a step.
    scale = np.sqrt(
        np.maximum(own, np.maximum(1e-12 * own.max(axis=1, initial=0.0), 1e-300)[:, None])
    )
    scaled = expected / (scale[:, :, None] * scale[:, None, :])
    values, vectors = interruptible(np.linalg.eigh, scaled)
    inverse = np.where(values > 1e-9, 1.0 / np.maximum(values, 1e-9), 0.0)
    along = (vectors.mT @ (gradient / scale)[:, :, None])[..., 0]
    return np.asarray(-(vectors @ (along * inverse)[:, :, None])[..., 0] / scale)


@dataclass(frozen=True)
class _QuadraticModel:
    """(phi(theta) - target)' E (phi(theta) - target) / 2: scoring held inside the covariances."""

    criterion: Criterion
    target: FloatArray
    expected: FloatArray

    def __call__(self, theta: FloatArray, rows: IntArray) -> Derivatives:
        distance = self.criterion.entry_values(theta) - self.target[rows]
        expected = self.expected[rows]
        gradient = (expected @ distance[:, :, None])[..., 0]
        value = 0.5 * (distance[:, None, :] @ gradient[:, :, None])[:, 0, 0]
        jacobian, curvature = self.criterion.chain(theta, gradient)
        first = (jacobian.mT @ gradient[:, :, None])[..., 0]
        expected_theta = jacobian.mT @ expected @ jacobian
        bend = expected_theta + curvature
        if self.criterion.flat is not None:
            # Parts of a sum along what the data do not tell are larger than their gradient.
            parts = (np.abs(expected) @ np.abs(distance)[:, :, None])[..., 0]
            first, bend = without_rounding(first, bend, jacobian, parts, expected)
        return Derivatives(value, first, bend, expected_theta, gradient, expected, expected)

    def move(self, theta: FloatArray, step: FloatArray) -> FloatArray:
        return self.criterion.move(theta, step)


def _unbounded(theta: FloatArray) -> FloatArray:
    return np.full(len(theta), np.inf)
