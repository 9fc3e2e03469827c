"""Series residuals handed to the core: weights of fixed cross-products, with their derivatives.

For neighbours u, v of a series with correlation f, let s = u + v and d = v - u. Then, with one
variance sigma^2 (see the crate's module `series`),

    y'R^-1 y = {(y_1^2 + y_n^2) / 2 + sum of [s^2 (1 - f) / (1 + f) + d^2 (1 + f) / (1 - f)] / 4}
               / sigma^2
    log|R|   = n log sigma^2 + sum of log(1 - f^2)
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, ClassVar

import numpy as np

import mlmfast._core as _core
from mlmfast.arrays import FloatArray
from mlmfast.covariance import CovarianceStructure
from mlmfast.covariance.chains import MarkovChain, QuasiSeparable
from mlmfast.covariance.jet import Jet
from mlmfast.covariance.natural_chart import natural_chart
from mlmfast.design.residual.design import LARGEST_ORDER
from mlmfast.reduction.parameter_block import residual_block
from mlmfast.reduction.residual.directions import ArmDirections
from mlmfast.reduction.residual.form import ArmEstimates, CoreChain, CoreSeries
from mlmfast.reduction.residual.form_parameters import FormParameters, kinds_among

if TYPE_CHECKING:
    from mlmfast.design.residual.series import Series

#: (weight of a row, of the row before, share in the sum of squares) of what a step contributes.
_COMBINATIONS = [(1.0, 1.0, 0.25), (1.0, -1.0, 0.25)]
_END_SHARE = 0.5


@dataclass(frozen=True)
class SeriesCovariance(ArmDirections):
    """A Markov chain along each series, of all subjects or of those of an arm.

    Attributes
    ----------
    series
        The rows in time order, of all arms.
    arm
        Which arm.
    """

    has_separate_blocks: ClassVar[bool] = True
    series: Series = field(repr=False)
    arm: int = 0

    @property
    def size(self) -> int:
        """No matrix over visits is formed."""
        return 0

    @staticmethod
    def rows_of(parts: Sequence[SeriesCovariance]) -> tuple[CoreSeries, CoreChain | None]:
        """How rows combine, for the core's reduction."""
        series, n_basis = parts[0].series, sum(len(part._orders) for part in parts)
        n_steps = series.n_steps.size
        combined = (series.step, len(parts), n_steps, _COMBINATIONS, True, _END_SHARE)
        return (*combined, n_basis, False), None

    @staticmethod
    def joined(parts: Sequence[SeriesCovariance], stacks: list[FloatArray]) -> FloatArray:
        """Weights and mixing arm by arm, and the sum of log|R|; see `ArmDirections.joined`."""
        n, n_gaps = len(parts), len(parts[0].series.gaps)
        n_own, n_classes = 1 + 2 * n_gaps, n * (1 + 2 * n_gaps)
        kinds = kinds_among([part.n_theta for part in parts])
        own_kinds = (stacks[0].shape[2] - n_own) // 2
        n_kinds = 1 + int(kinds[-1][-1]) if own_kinds > 1 else 1
        n_rows = stacks[0].shape[1]
        out = np.zeros((len(stacks[0]), n * n_rows, n_classes + 2 * n_kinds))
        for arm, (which, stack) in enumerate(zip(kinds, stacks, strict=True)):
            first, at = n + 2 * n_gaps * arm, n_classes + which[:own_kinds]
            own = out[:, arm * n_rows : (arm + 1) * n_rows]
            own[:, :, arm] = stack[:, :, 0]
            own[:, :, first : first + 2 * n_gaps] = stack[:, :, 1:n_own]
            own[:, :, at] = stack[:, :, n_own : n_own + own_kinds]
            own[:, 1:, at + n_kinds] = stack[:, 1:, n_own + own_kinds :]
            out[:, 0, at + n_kinds] += stack[:, 0, n_own + own_kinds :]
        return out

    @property
    def _orders(self) -> list[tuple[int, ...]]:
        return derivative_orders(self.structure.n_theta - 1)

    def stacked(self, theta: FloatArray, derivatives: bool) -> FloatArray:
        """Weights of classes, how kinds mix them, log|R|: (a, n_basis, n_classes + 2 kinds).

        Weights are those at sigma, and their derivatives by the correlation parameters eta;
        derivatives by log sigma are multiples of them. See `Directions` for the kinds.
        """
        out, n_classes, kinds = self._empty(len(theta), derivatives)
        log_sd = theta[:, :1]
        steps, logs = self._steps(theta[:, 1:])
        with np.errstate(over="ignore"):  # a trial that far is turned down
            precision = np.exp(-2.0 * log_sd)
        out[:, 0, 0] = 0.5 * precision[:, 0]
        for basis, order in enumerate(self._orders if derivatives else [()]):
            out[:, basis, 1:n_classes] = precision * derivative_of(steps, order)
        self._mix(out[..., n_classes : n_classes + kinds], derivatives)
        self._determinant(out[:, 0, n_classes + kinds :], logs, log_sd[:, 0], derivatives)
        return out

    def _empty(self, n: int, derivatives: bool) -> tuple[FloatArray, int, int]:
        """Room for `stacked` of n fits, and the numbers of classes and of kinds."""
        t, n_classes = self.n_theta, 1 + 2 * len(self.series.gaps)
        kinds = 1 + t + t * (t + 1) // 2 if derivatives else 1
        return np.zeros((n, len(self._orders), n_classes + 2 * kinds)), n_classes, kinds

    def _mix(self, out: FloatArray, derivatives: bool) -> None:
        """How each kind is mixed from the weights; (a, n_basis, kinds)."""
        out[:, 0, 0] = 1.0
        for basis, order in enumerate(self._orders if derivatives else []):
            # Each derivative by log sigma multiplies by -2.
            for times in range(3 - len(order)):
                which = sorted([1 + k for k in order] + [0] * times, reverse=True)
                if which:
                    out[:, basis, derivative_kind(which, self.n_theta)] = (-2.0) ** times

    def _determinant(
        self, out: FloatArray, logs: Jet, log_sd: FloatArray, derivatives: bool
    ) -> None:
        """Adds log|R| and its derivatives; (a, kinds)."""
        n_rows = self.series.n_rows[self.arm]
        out[:, 0] += logs.value[:, 0] + 2.0 * n_rows * log_sd
        if not derivatives:
            return
        out[:, 1] = 2.0 * n_rows
        for order in self._orders[1:]:
            which = sorted([1 + k for k in order], reverse=True)
            out[:, derivative_kind(which, self.n_theta)] = derivative_of(logs, order)[:, 0]

    def _steps(self, eta: FloatArray) -> tuple[Jet, Jet]:
        """Weights of sums and differences of neighbours, and log|C|, by eta."""
        assert isinstance(self.structure, MarkovChain), "checked where the design was read"
        with np.errstate(all="ignore"):
            steps = self.structure.step_correlations(eta, self.series.gaps)
            f, below, above = steps.f, steps.below, steps.above
            # (1 - f) / (1 + f), its inverse, and log(1 - f^2), with derivatives by f.
            sums = f.through(below / above, -2.0 / above**2, 4.0 / above**3)
            differences = f.through(above / below, 2.0 / below**2, 4.0 / below**3)
            room, value = below * above, f.value
            logs = f.through(
                np.log(below) + np.log(above),
                -2.0 * value / room,
                -2.0 * (1.0 + value * value) / room**2,
            )
        counted = (logs * self.series.n_steps[self.arm]).sum()
        return _interleaved(sums, differences) * 0.25, counted

    def own_start(self, core: _core.Engine, fit: int, variance: float) -> FloatArray | None:
        """From moments of the classes of rows; NaN where no two rows of a subject tell them.

        So it may be of a part of the rows.
        """
        assert isinstance(core, _core.NestedReduction), "series are its own"
        if not self.series.n_steps[self.arm].any():
            return np.full(self.structure.n_theta, np.nan)
        return self.start(core, fit, variance)

    def start(self, core: _core.NestedReduction, fit: int, share: float) -> FloatArray:
        """A share of the residuals' variance, and the correlation of neighbours, by moments."""
        assert isinstance(self.structure, MarkovChain), "checked where the design was read"
        squares, arm, n_arms = core.class_squares(fit), self.arm, len(self.series.n_rows)
        pairs = squares[n_arms:].reshape(n_arms, -1, 2)[arm]
        total, counted = pairs.sum(axis=1), self.series.n_steps[arm]
        variance = share * (0.5 * squares[arm] + 0.25 * total.sum()) / self.series.n_rows[arm]
        with np.errstate(all="ignore"):
            f = (pairs[:, 0] - pairs[:, 1]) / np.maximum(total, 1e-300)
        # What random effects share, they share at every distance.
        f = np.where(f > 0, np.maximum((f - 1.0 + share) / share, 0.2 * f), f)
        met = counted > 0
        weights = total[met] / max(float(total.sum()), 1e-300)
        eta = self.structure.eta_of_steps(self.series.gaps[met], f[met], weights)
        return np.concatenate([[0.5 * np.log(max(variance, 1e-12))], eta])

    def common_variance(self, theta: FloatArray, matrices: FloatArray) -> FloatArray:
        """The variance of all rows; see `ResidualForm.common_variance`."""
        return np.asarray(np.exp(2.0 * theta[:, 0]))

    def estimates(self, theta: FloatArray, unit: float) -> list[ArmEstimates]:
        """Covariances by visit where there are few visits; see `ResidualForm.estimates`."""
        visits = np.empty(0) if self.series.visits is None else self.series.visits
        mine = theta.copy()
        # theta begins with the log standard deviation: the unit belongs there.
        mine[:, 0] += 0.5 * np.log(unit)
        variance = np.exp(2.0 * mine[0, 0])
        covariance = variance * correlations_at(self.structure, mine, visits)
        return [ArmEstimates(self.names, self.structure.natural(mine)[0], covariance)]

    def may_be_singular(self) -> list[tuple[CovarianceStructure, slice]]:
        """The matrices over visits (of a few times, where these are many), if they are small."""
        return small_matrix(self.structure)

    def parameters(self, theta: FloatArray, unit: float, given: FloatArray) -> FormParameters:
        """The core's coordinates are theta, of which the natural parameters are functions."""
        stacked = self.stacked(theta, True)
        inverse, hessian, _ = natural_chart(self.structure, theta)
        bend = -np.einsum("em,mij->eij", inverse, hessian)
        second = inverse.T @ bend @ inverse
        block = residual_block(self.structure, self.prefix, theta, unit, inverse, second)
        return FormParameters((block,), stacked, stacked)


def correlations_at(
    structure: CovarianceStructure, theta: FloatArray, times: FloatArray
) -> FloatArray:
    """Correlations of rows at times (..., n) of one series, shape (..., n, n).

    Examples
    --------
    >>> from mlmfast.covariance import STRUCTURES
    >>> ar1 = STRUCTURES["ar1"](2)
    >>> theta = ar1.from_natural(np.array([[1.0, 0.5]]))
    >>> correlations_at(ar1, theta, np.array([0.0, 2.0])).round(12).tolist()
    [[1.0, 0.25], [0.25, 1.0]]
    """
    assert isinstance(structure, MarkovChain | QuasiSeparable), "checked where the design was read"
    gaps = np.abs(times[..., :, None] - times[..., None, :])
    flat = gaps.ravel()
    # Stretch by stretch: what is computed on the way takes no memory to speak of.
    for at in range(0, len(flat), 1 << 18):
        part = flat[at : at + (1 << 18)]
        flat[at : at + (1 << 18)] = structure.correlations_over(theta[:, 1:], part)[0]
    return flat.reshape(gaps.shape)


def small_matrix(structure: CovarianceStructure) -> list[tuple[CovarianceStructure, slice]]:
    """The structure and its stretch of theta, where its matrix is small enough."""
    return [(structure, slice(0, structure.n_theta))] if structure.size <= LARGEST_ORDER else []


def _interleaved(a: Jet, b: Jet) -> Jet:
    """a_1, b_1, a_2, b_2, ..."""

    def mixed(x: FloatArray, y: FloatArray) -> FloatArray:
        both = np.stack([x, y], axis=2)
        return both.reshape(len(x), -1, *x.shape[2:])

    return Jet(mixed(a.value, b.value), mixed(a.first, b.first), mixed(a.second, b.second))


def derivative_orders(p: int) -> list[tuple[int, ...]]:
    """The function itself, its first and its second derivatives by p parameters.

    Examples
    --------
    >>> derivative_orders(1)
    [(), (0,), (0, 0)]
    """
    first = [(k,) for k in range(p)]
    return [(), *first, *((k, j) for k in range(p) for j in range(k + 1))]


def derivative_of(jet: Jet, order: tuple[int, ...]) -> FloatArray:
    """One of `derivative_orders` of the functions, (n_fits, n)."""
    if len(order) < 2:
        return jet.first[..., order[0]] if order else jet.value
    return jet.second[..., order[0], order[1]]


def derivative_kind(which: list[int], t: int) -> int:
    """Position of a derivative by one or two of t parameters, larger first, among the kinds."""
    return 1 + which[0] if len(which) == 1 else 1 + t + which[0] * (which[0] + 1) // 2 + which[1]
