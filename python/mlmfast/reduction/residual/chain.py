"""Chains from visit to visit handed to the core: correlations of steps, with their derivatives.

See the crate's module `chain` for the coefficients that the core makes of these.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

import mlmfast._core as _core
from mlmfast.arrays import BoolArray, FloatArray, IntArray
from mlmfast.covariance import CovarianceStructure
from mlmfast.covariance.chains import VisitChain
from mlmfast.covariance.scaled_correlation import ScaledCorrelation
from mlmfast.design.residual.chain import ChainSteps
from mlmfast.reduction.parameter_block import ParameterBlock, kind_of
from mlmfast.reduction.residual.directions import ArmDirections
from mlmfast.reduction.residual.form import ArmEstimates, CoreChain, CoreSeries
from mlmfast.reduction.residual.form_parameters import Elementwise, FormParameters
from mlmfast.reduction.residual.series import small_matrix
from mlmfast.reduction.residual.walked_series import STAY
from mlmfast.running.cached import cached_property

#: Rows' worth of weight that the mean variance has in the start of each.
_LEAN = 2.0


@dataclass(frozen=True)
class ChainCovariance(ArmDirections):
    """A chain from visit to visit, of all subjects or of those of an arm.

    Attributes
    ----------
    rows
        The steps that lead to the rows, of all arms.
    arm
        Which arm.
    """

    rows: ChainSteps = field(repr=False)
    arm: int = 0

    @property
    def size(self) -> int:
        """No matrix over visits is formed."""
        return 0

    @staticmethod
    def rows_of(parts: Sequence[ChainCovariance]) -> tuple[CoreSeries, CoreChain | None]:
        """Rows as they are, in order, and the parameters of each class of starts and of steps."""
        rows = parts[0].rows
        series = (rows.step, len(rows.starts), len(rows.steps), STAY, False, 1.0, 1, True)
        ends = np.cumsum([0, *(part.n_theta for part in parts)])
        steps = np.cumsum([0, *(len(part._step_parameters[1]) for part in parts)])

        def all_arms(kind: int, before: IntArray) -> IntArray:
            own = [at + part._classes[kind] for part, at in zip(parts, before, strict=False)]
            return np.ascontiguousarray(np.concatenate(own), dtype=np.int64)

        offsets = np.append(all_arms(2, steps), steps[-1])
        return series, (
            int(ends[-1]),
            all_arms(0, ends),
            all_arms(1, ends),
            offsets,
            all_arms(3, ends),
        )

    @staticmethod
    def joined(parts: Sequence[ChainCovariance], stacks: list[FloatArray]) -> FloatArray:
        """Kind of value by kind, of all arms; see `ArmDirections.joined`."""
        kinds = [
            np.split(stack, np.cumsum(part._lengths), axis=1)
            for part, stack in zip(parts, stacks, strict=True)
        ]
        return np.concatenate([own for kind in zip(*kinds, strict=True) for own in kind], axis=1)

    @cached_property
    def _led(self) -> BoolArray:
        """Which classes of steps are of the arm."""
        return np.asarray(self.rows.steps[:, 0] == self.arm)

    @cached_property
    def _step_parameters(self) -> tuple[IntArray, IntArray]:
        """Correlation parameters of each class of steps, as offsets and positions."""
        _, before, at = self.rows.steps[self._led].T
        return _both(self.structure)[0].step_parameters(before, at)

    @cached_property
    def _classes(self) -> tuple[IntArray, IntArray, IntArray, IntArray]:
        """theta that starts and both ends of steps go by; where those of steps begin, and which."""
        _, scaled = _both(self.structure)
        _, before, at = self.rows.steps[self._led].T
        starts = self.rows.starts[self.rows.starts[:, 0] == self.arm, 1]
        scales = np.column_stack([_scale(scaled, before), _scale(scaled, at)])
        offsets, which = self._step_parameters
        return _scale(scaled, starts), scales.ravel(), offsets[:-1], scaled.n_scales + which

    @property
    def _lengths(self) -> tuple[int, ...]:
        """How many values of each kind but the last `stacked` has."""
        n_steps = int(self._led.sum())
        return self.n_theta, n_steps, n_steps, len(self._step_parameters[1])

    def stacked(self, theta: FloatArray, derivatives: bool) -> FloatArray:
        """theta, and f and 1 - f^2 of each step, with f's derivatives; shape (a, n_values)."""
        return np.stack([self._values(row, derivatives) for row in theta])

    def _values(self, theta: FloatArray, derivatives: bool) -> FloatArray:
        chain, scaled = _both(self.structure)
        _, before, at = self.rows.steps[self._led].T
        with np.errstate(all="ignore"):  # a trial that far is turned down
            steps = chain.visit_steps(theta[scaled.n_scales :], before, at)
        further = [steps.first, steps.second] if derivatives else []
        return np.concatenate([theta, steps.f, steps.room, *further])

    def own_start(self, core: _core.Engine, fit: int, variance: float) -> FloatArray | None:
        """From moments of the classes of rows."""
        assert isinstance(core, _core.NestedReduction), "chains are its own"
        return self.start(core, fit, variance)

    def start(self, core: _core.NestedReduction, fit: int, share: float) -> FloatArray:
        """A share of the visits' variances, and correlations of steps, by moments.

        Few subjects lean on the others: each visit on the mean variance.
        """
        variance = self._variances(core.class_squares(fit))
        products, weights = core.lag_products(fit)[self._led, :2].T
        _, before, at = self.rows.steps[self._led].T
        chain, scaled = _both(self.structure)
        if scaled.n_scales == 1:
            variance[:] = variance.mean()
        f = products / (weights * np.sqrt(variance[before] * variance[at]))
        # What random effects share, they share between all visits.
        f = np.clip(np.where(f > 0, np.maximum((f - 1.0 + share) / share, 0.2 * f), f), -1, 1)
        log_sd = 0.5 * np.log(share * variance[: scaled.n_scales])
        return np.concatenate([log_sd, chain.eta_of_visit_steps(before, at, f, weights)])

    def _variances(self, squares: FloatArray) -> FloatArray:
        """Mean squares by visit."""
        begun, led = self.rows.starts[:, 0] == self.arm, self._led
        visits = np.concatenate([self.rows.starts[begun, 1], self.rows.steps[led, 2]])
        n_starts = len(self.rows.starts)
        own = np.concatenate([squares[:n_starts][begun], squares[n_starts::2][led]])
        rows = np.concatenate([self.rows.n_starts[begun], self.rows.n_steps[led]])
        sums, counts = (np.bincount(visits, v, self.structure.size) for v in (own, rows))
        mean = max(float(sums.sum() / counts.sum()), 1e-12)
        return np.asarray((sums + _LEAN * mean) / (counts + _LEAN))

    def common_variance(self, theta: FloatArray, matrices: FloatArray) -> FloatArray:
        """NaN where visits differ; see `ResidualForm.common_variance`."""
        variances = np.exp(2.0 * theta[:, : _both(self.structure)[1].n_scales])
        same = np.ptp(variances, axis=1) <= 1e-12 * variances[:, 0]
        return np.where(same, variances[:, 0], np.nan)

    @property
    def elementwise(self) -> Elementwise | None:
        """Natural parameters, each a function of its own theta."""
        return _both(self.structure)[1].elementwise

    def estimates(self, theta: FloatArray, unit: float) -> list[ArmEstimates]:
        """With the covariance over visits; see `ResidualForm.estimates`."""
        chain, scaled = _both(self.structure)
        m, mine = scaled.n_scales, theta[0].copy()
        mine[:m] += 0.5 * np.log(unit)
        natural = self.structure.natural(mine[None])[0]
        sd = np.broadcast_to(np.exp(mine[:m]), self.structure.size)
        correlation = chain.visit_correlations(mine[m:], self.structure.size)
        return [ArmEstimates(self.names, natural, correlation * np.outer(sd, sd))]

    def may_be_singular(self) -> list[tuple[CovarianceStructure, slice]]:
        """The matrix over visits, if it is small enough."""
        return small_matrix(self.structure)

    def parameters(self, theta: FloatArray, unit: float, given: FloatArray) -> FormParameters:
        """The core's coordinates are theta; natural parameters are free one by one."""
        stacked = self.stacked(theta, True)
        value, first, second = (part[0] for part in _both(self.structure)[1].elementwise(theta))
        # At a correlation of 1 to rounding theta itself is free, as in `natural_chart`.
        regular = first != 0.0
        slope = np.where(regular, first, 1.0)
        inverse, bend = 1.0 / slope, np.where(regular, -second / slope**3, 0.0)
        kinds = tuple(map(kind_of, self.structure.parameter_names))
        scale = np.array([1.0 if kind == "other" else unit for kind in kinds])
        by_free = np.diag(scale * np.where(regular, 1.0, first))
        fixed = (False,) * len(kinds)
        values = scale * value
        block = ParameterBlock(self.names, kinds, values, np.diag(inverse), bend, by_free, fixed)
        return FormParameters((block,), stacked, stacked)


def _both(structure: object) -> tuple[VisitChain, ScaledCorrelation]:
    """The structure as a chain, and as standard deviations times correlations."""
    assert isinstance(structure, VisitChain), "checked where the design was read"
    assert isinstance(structure, ScaledCorrelation), "a chain is a mixin of it"
    return structure, structure


def _scale(structure: ScaledCorrelation, visits: IntArray) -> IntArray:
    """Position of the log standard deviation of each visit."""
    return visits if structure.n_scales > 1 else np.zeros_like(visits)
