"""Chains from visit to visit handed to the core: correlations of steps, with their derivatives.

See the crate's module `chain` for the coefficients that the core makes of these.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar, TypeAlias

import numpy as np

import mlmfast._core as _core
from mlmfast.arrays import FloatArray, IntArray
from mlmfast.covariance import CovarianceStructure
from mlmfast.covariance.chains import VisitChain, VisitSteps
from mlmfast.covariance.scaled_correlation import ScaledCorrelation
from mlmfast.design.residual.chain import ChainSteps
from mlmfast.design.residual.design import ResidualDesign
from mlmfast.design.residual.record import ResidualRecord
from mlmfast.reduction.parameter_block import ParameterBlock, kind_of
from mlmfast.reduction.residual.directions import Directions
from mlmfast.reduction.residual.form_parameters import Elementwise, FormParameters, MomentCore
from mlmfast.reduction.residual.series import CoreSeries, arms_of_series
from mlmfast.running.cached import cached_property

#: Rows' worth of weight that the mean variance has in the start of each.
_LEAN = 2.0
#: Parameters; that of each class of starts, the two of each class of steps one after the other,
#: and the correlation parameters of each class of steps, as offsets and positions.
CoreChain: TypeAlias = tuple[int, IntArray, IntArray, IntArray, IntArray]


@dataclass(frozen=True)
class ChainCovariance(Directions):
    """A chain from visit to visit, with parameters of its own in each arm.

    Attributes
    ----------
    rows
        The steps that lead to the rows.
    n_arms
        Groups with parameters of their own.
    """

    along_rows: ClassVar[bool] = True
    rows: ChainSteps = field(repr=False)
    n_arms: int = 1

    @property
    def size(self) -> int:
        """No matrix over visits is formed."""
        return 0

    @property
    def n_theta(self) -> int:
        """Parameters of all arms."""
        return self.n_arms * self.structure.n_theta

    @property
    def core_argument(self) -> CoreSeries:
        """Rows as they are, in order."""
        stay = [(1.0, 0.0, 1.0), (0.0, 0.0, 0.0)]
        n_starts, n_steps = len(self.rows.starts), len(self.rows.steps)
        return self.rows.step, n_starts, n_steps, stay, False, 1.0, 1, True

    @cached_property
    def core_chain(self) -> CoreChain:
        """Parameters of each class, among those of all arms."""
        chain, scaled = _both(self.structure)
        arm, before, at = self.rows.steps.T
        first = arm * self.structure.n_theta
        offsets, which = chain.step_parameters(before, at)
        which = which + np.repeat(first + scaled.n_scales, np.diff(offsets))
        scales = np.column_stack([first + _scale(scaled, before), first + _scale(scaled, at)])
        begun, visit = self.rows.starts.T
        starts = begun * self.structure.n_theta + _scale(scaled, visit)
        starts, both, offsets, which = (
            np.ascontiguousarray(part, dtype=np.int64)
            for part in (starts, scales.ravel(), offsets, which)
        )
        return self.n_theta, starts, both, offsets, which

    def stacked(self, theta: FloatArray, derivatives: bool) -> FloatArray:
        """theta, and f and 1 - f^2 of each step, with f's derivatives; shape (a, n_values)."""
        return np.stack([self._values(row, derivatives) for row in theta])

    def _values(self, theta: FloatArray, derivatives: bool) -> FloatArray:
        steps = [self._steps(theta, arm) for arm in range(self.n_arms)]
        parts = [theta, *(own.f for own in steps), *(own.room for own in steps)]
        if derivatives:
            parts += [*(own.first for own in steps), *(own.second for own in steps)]
        return np.concatenate(parts)

    def _steps(self, theta: FloatArray, arm: int) -> VisitSteps:
        """Steps of an arm; classes stand by arm."""
        chain, scaled = _both(self.structure)
        n = self.structure.n_theta
        _, before, at = self.rows.steps[self.rows.steps[:, 0] == arm].T
        with np.errstate(all="ignore"):  # a trial that far is turned down
            return chain.visit_steps(theta[arm * n + scaled.n_scales : (arm + 1) * n], before, at)

    def own_start(self, core: MomentCore, fit: int, variance: float) -> FloatArray | None:
        """From moments of the classes of rows."""
        assert isinstance(core, _core.NestedReduction), "chains are its own"
        return self.start(core, fit, variance)

    def start(self, core: _core.NestedReduction, fit: int, share: float) -> FloatArray:
        """A share of the visits' variances, and correlations of steps, by moments.

        Few subjects lean on the others: each visit on the mean variance.
        """
        squares = core.class_squares(fit)
        products = core.lag_products(fit)[:, :2]
        theta = []
        for arm in range(self.n_arms):
            variance = self._variances(squares, arm)
            led = self.rows.steps[:, 0] == arm
            _, before, at = self.rows.steps[led].T
            chain, scaled = _both(self.structure)
            if scaled.n_scales == 1:
                variance[:] = variance.mean()
            weights = products[led, 1]
            f = products[led, 0] / (weights * np.sqrt(variance[before] * variance[at]))
            # What random effects share, they share between all visits.
            f = np.clip(np.where(f > 0, np.maximum((f - 1.0 + share) / share, 0.2 * f), f), -1, 1)
            log_sd = 0.5 * np.log(share * variance[: scaled.n_scales])
            theta += [log_sd, chain.eta_of_visit_steps(before, at, f, weights)]
        return np.concatenate(theta)

    def _variances(self, squares: FloatArray, arm: int) -> FloatArray:
        """Mean squares by visit of an arm."""
        begun, led = self.rows.starts[:, 0] == arm, self.rows.steps[:, 0] == arm
        visits = np.concatenate([self.rows.starts[begun, 1], self.rows.steps[led, 2]])
        n_starts = len(self.rows.starts)
        own = np.concatenate([squares[:n_starts][begun], squares[n_starts::2][led]])
        rows = np.concatenate([self.rows.n_starts[begun], self.rows.n_steps[led]])
        sums, counts = (np.bincount(visits, v, self.structure.size) for v in (own, rows))
        mean = max(float(sums.sum() / counts.sum()), 1e-12)
        return np.asarray((sums + _LEAN * mean) / (counts + _LEAN))

    def common_variance(self, theta: FloatArray, matrices: FloatArray) -> FloatArray:
        """NaN where visits or arms differ; see `Directions.common_variance`."""
        _, scaled = _both(self.structure)
        by_arm = theta.reshape(len(theta), self.n_arms, -1)[:, :, : scaled.n_scales]
        variances = np.exp(2.0 * by_arm).reshape(len(theta), -1)
        same = np.ptp(variances, axis=1) <= 1e-12 * variances[:, 0]
        return np.where(same, variances[:, 0], np.nan)

    def natural_by_theta(self, theta: FloatArray) -> tuple[FloatArray, FloatArray, FloatArray]:
        """Natural parameters of all arms, (n_fits, n_theta), each a function of its own theta.

        Returns
        -------
        Values, and first and second derivatives by the one theta, of the same shape.
        """
        _, scaled = _both(self.structure)
        n = self.structure.n_theta
        parts = [
            scaled.elementwise(theta[:, arm * n : (arm + 1) * n]) for arm in range(self.n_arms)
        ]
        value, first, second = (np.concatenate(p, axis=1) for p in zip(*parts, strict=True))
        return value, first, second

    @property
    def elementwise(self) -> Elementwise | None:
        """`natural_by_theta`."""
        return self.natural_by_theta

    def record(self, residual: ResidualDesign, theta: FloatArray, unit: float) -> ResidualRecord:
        """The estimates, with the covariance over visits of each arm."""
        chain, scaled = _both(self.structure)
        n, m = self.structure.n_theta, scaled.n_scales
        values, names, covariances = [], [], []
        for arm, label in enumerate(residual.arms):
            mine = theta[0, arm * n : (arm + 1) * n].copy()
            mine[:m] += 0.5 * np.log(unit)
            values.append(self.structure.natural(mine[None])[0])
            prefix = f"{label}: " if len(residual.arms) > 1 else ""
            names += [prefix + name for name in self.structure.parameter_names]
            sd = np.broadcast_to(np.exp(mine[:m]), self.structure.size)
            correlation = chain.visit_correlations(mine[m:], self.structure.size)
            covariances.append(correlation * np.outer(sd, sd))
        return residual.record(names, values, covariances)

    def may_be_singular(self) -> list[tuple[CovarianceStructure, slice]]:
        """The matrices over visits, if they are small enough."""
        return arms_of_series(self.structure, self.n_theta)

    def parameters(self, arms: tuple[str, ...], theta: FloatArray, unit: float) -> FormParameters:
        """The core's coordinates are theta; natural parameters are free one by one."""
        stacked = self.stacked(theta, True)
        labels = arms if len(arms) > 1 else ("",)
        names = self.structure.parameter_names
        keys = tuple(f"{arm}: {name}" if arm else name for arm in labels for name in names)
        value, first, second = (part[0] for part in self.natural_by_theta(theta))
        # At a correlation of 1 to rounding theta itself is free, as in `natural_chart`.
        regular = first != 0.0
        slope = np.where(regular, first, 1.0)
        inverse, bend = 1.0 / slope, np.where(regular, -second / slope**3, 0.0)
        kinds = tuple(map(kind_of, names)) * len(labels)
        scale = np.array([1.0 if kind == "other" else unit for kind in kinds])
        by_free = np.diag(scale * np.where(regular, 1.0, first))
        fixed = (False,) * len(keys)
        block = ParameterBlock(keys, kinds, scale * value, np.diag(inverse), bend, by_free, fixed)
        return FormParameters((block,), stacked, stacked)

    def chart_of_coordinates(self, theta: FloatArray) -> FloatArray:
        """The coordinates are theta."""
        return np.eye(self.n_theta)


def _both(structure: object) -> tuple[VisitChain, ScaledCorrelation]:
    """The structure as a chain, and as standard deviations times correlations."""
    assert isinstance(structure, VisitChain), "checked where the design was read"
    assert isinstance(structure, ScaledCorrelation), "a chain is a mixin of it"
    return structure, structure


def _scale(structure: ScaledCorrelation, visits: IntArray) -> IntArray:
    """Position of the log standard deviation of each visit."""
    return visits if structure.n_scales > 1 else np.zeros_like(visits)
