"""Series residuals handed to the core: weights of fixed cross-products, with their derivatives.

For neighbours u, v of a series with correlation f, let s = u + v and d = v - u. Then, with one
variance sigma^2 (see the crate's module `series`),

    y'R^-1 y = {(y_1^2 + y_n^2) / 2 + sum of [s^2 (1 - f) / (1 + f) + d^2 (1 + f) / (1 - f)] / 4}
               / sigma^2
    log|R|   = n log sigma^2 + sum of log(1 - f^2)
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, ClassVar, TypeAlias

import numpy as np

import mlmfast._core as _core
from mlmfast.arrays import CodeArray, FloatArray
from mlmfast.covariance import CovarianceStructure
from mlmfast.covariance.chains import MarkovChain, QuasiSeparable
from mlmfast.covariance.jet import Jet
from mlmfast.covariance.natural_chart import natural_chart
from mlmfast.design.residual.design import LARGEST_ORDER, ResidualDesign
from mlmfast.design.residual.record import ResidualRecord
from mlmfast.reduction.parameter_block import residual_block
from mlmfast.reduction.residual.directions import Directions
from mlmfast.reduction.residual.form_parameters import FormParameters, MomentCore

if TYPE_CHECKING:
    from mlmfast.design.residual.series import Series

#: (weight of a row, of the row before, share in the sum of squares) of what a step contributes.
_COMBINATIONS = [(1.0, 1.0, 0.25), (1.0, -1.0, 0.25)]
_END_SHARE = 0.5
CoreSeries: TypeAlias = tuple[
    CodeArray, int, int, list[tuple[float, float, float]], bool, float, int, bool
]


@dataclass(frozen=True)
class SeriesCovariance(Directions):
    """A Markov chain along each series, with parameters of its own in each arm.

    Attributes
    ----------
    series
        The rows in time order.
    """

    along_rows: ClassVar[bool] = True
    series: Series = field(repr=False)

    @property
    def size(self) -> int:
        """No matrix over visits is formed."""
        return 0

    @property
    def n_arms(self) -> int:
        """Groups with parameters of their own."""
        return len(self.series.n_rows)

    @property
    def n_theta(self) -> int:
        """Parameters of all arms."""
        return self.n_arms * self.structure.n_theta

    @property
    def core_argument(self) -> CoreSeries:
        """How rows combine, for the core's reduction."""
        n_steps = self.series.n_steps.size
        n_basis = self.n_arms * len(derivative_orders(self.structure.n_theta - 1))
        return (
            self.series.step,
            self.n_arms,
            n_steps,
            _COMBINATIONS,
            True,
            _END_SHARE,
            n_basis,
            False,
        )

    def stacked(self, theta: FloatArray, derivatives: bool) -> FloatArray:
        """Weights of classes, how kinds mix them, log|R|: (a, n_basis, n_classes + 2 kinds).

        An arm's weights are those at sigma, and their derivatives by the correlation parameters
        eta; derivatives by log sigma are multiples of them. See `Directions` for the kinds.
        """
        n, t = self.structure.n_theta, self.n_theta
        n_gaps = len(self.series.gaps)
        n_classes = self.n_arms * (1 + 2 * n_gaps)
        kinds = 1 + t + t * (t + 1) // 2 if derivatives else 1
        orders = derivative_orders(n - 1)
        out = np.zeros((len(theta), self.n_arms * len(orders), n_classes + 2 * kinds))
        for arm in range(self.n_arms):
            log_sd, eta = theta[:, arm * n, None], theta[:, arm * n + 1 : (arm + 1) * n]
            steps, logs = self._steps(eta, arm)
            with np.errstate(over="ignore"):  # a trial that far is turned down
                precision = np.exp(-2.0 * log_sd)
            first = self.n_arms + 2 * n_gaps * arm
            own = out[:, arm * len(orders) : (arm + 1) * len(orders)]
            own[:, 0, arm] = 0.5 * precision[:, 0]
            for basis, order in enumerate(orders if derivatives else orders[:1]):
                own[:, basis, first : first + 2 * n_gaps] = precision * derivative_of(steps, order)
            self._mix(own[..., n_classes : n_classes + kinds], arm, derivatives)
            logdet = out[:, 0, n_classes + kinds :]
            self._determinant(logdet, logs, log_sd[:, 0], arm, derivatives)
        return out

    def _mix(self, out: FloatArray, arm: int, derivatives: bool) -> None:
        """How each kind is mixed from an arm's weights; (a, n_basis of the arm, kinds)."""
        out[:, 0, 0] = 1.0
        if not derivatives:
            return
        n, t = self.structure.n_theta, self.n_theta
        for basis, order in enumerate(derivative_orders(n - 1)):
            # Each derivative by log sigma multiplies by -2.
            for times in range(3 - len(order)):
                which = sorted([arm * n + 1 + k for k in order] + [arm * n] * times, reverse=True)
                if which:
                    out[:, basis, derivative_kind(which, t)] = (-2.0) ** times

    def _determinant(
        self, out: FloatArray, logs: Jet, log_sd: FloatArray, arm: int, derivatives: bool
    ) -> None:
        """Adds log|R| of an arm and its derivatives; (a, kinds)."""
        n, t = self.structure.n_theta, self.n_theta
        out[:, 0] += logs.value[:, 0] + 2.0 * self.series.n_rows[arm] * log_sd
        if not derivatives:
            return
        out[:, 1 + arm * n] = 2.0 * self.series.n_rows[arm]
        for order in derivative_orders(n - 1)[1:]:
            which = sorted([arm * n + 1 + k for k in order], reverse=True)
            out[:, derivative_kind(which, t)] = derivative_of(logs, order)[:, 0]

    def _steps(self, eta: FloatArray, arm: int) -> tuple[Jet, Jet]:
        """Weights of sums and differences of neighbours, and log|C|, by an arm's eta."""
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
        counted = (logs * self.series.n_steps[arm]).sum()
        return _interleaved(sums, differences) * 0.25, counted

    def own_start(self, core: MomentCore, fit: int, variance: float) -> FloatArray | None:
        """From moments of the classes of rows."""
        assert isinstance(core, _core.NestedReduction), "series are its own"
        return self.start(core, fit, variance)

    def start(self, core: _core.NestedReduction, fit: int, share: float) -> FloatArray:
        """A share of the residuals' variance, and the correlation of neighbours, by moments."""
        assert isinstance(self.structure, MarkovChain), "checked where the design was read"
        squares = core.class_squares(fit)
        pairs = squares[self.n_arms :].reshape(self.n_arms, -1, 2)
        theta = []
        for arm in range(self.n_arms):
            total = pairs[arm].sum(axis=1)
            variance = share * (0.5 * squares[arm] + 0.25 * total.sum()) / self.series.n_rows[arm]
            met = self.series.n_steps[arm] > 0
            with np.errstate(all="ignore"):
                f = (pairs[arm, :, 0] - pairs[arm, :, 1]) / np.maximum(total, 1e-300)
            # What random effects share, they share at every distance.
            f = np.where(f > 0, np.maximum((f - 1.0 + share) / share, 0.2 * f), f)
            eta = self.structure.eta_of_steps(
                self.series.gaps[met], f[met], total[met] / max(float(total.sum()), 1e-300)
            )
            theta.append(np.concatenate([[0.5 * np.log(max(variance, 1e-12))], eta]))
        return np.concatenate(theta)

    def common_variance(self, theta: FloatArray, matrices: FloatArray) -> FloatArray:
        """The variance of all rows, NaN where arms differ; see `Directions.common_variance`."""
        variances = np.exp(2.0 * theta[:, :: self.structure.n_theta])
        return np.where(np.ptp(variances, axis=1) == 0.0, variances[:, 0], np.nan)

    def record(self, residual: ResidualDesign, theta: FloatArray, unit: float) -> ResidualRecord:
        """The estimates; covariances by visit where there are few visits."""
        structure, n = self.structure, self.structure.n_theta
        visits = np.empty(0) if self.series.visits is None else self.series.visits
        values, names, covariances = [], [], []
        for arm, label in enumerate(residual.arms):
            mine = theta[:, arm * n : (arm + 1) * n].copy()
            # theta begins with the log standard deviation: the unit belongs there.
            mine[:, 0] += 0.5 * np.log(unit)
            values.append(structure.natural(mine)[0])
            prefix = f"{label}: " if len(residual.arms) > 1 else ""
            names += [prefix + name for name in structure.parameter_names]
            variance = np.exp(2.0 * mine[0, 0])
            covariances.append(variance * correlations_at(structure, mine, visits))
        return residual.record(names, values, covariances)

    def may_be_singular(self) -> list[tuple[CovarianceStructure, slice]]:
        """The matrices over visits (of a few times, where these are many), if they are small."""
        return arms_of_series(self.structure, self.n_theta)

    def parameters(self, arms: tuple[str, ...], theta: FloatArray, unit: float) -> FormParameters:
        """The core's coordinates are theta; natural parameters are free, a block an arm."""
        stacked, blocks = self.stacked(theta, True), []
        for own, arm in zip(np.split(theta, len(arms), axis=1), arms, strict=True):
            inverse, hessian, _ = natural_chart(self.structure, own)
            bend = -np.einsum("em,mij->eij", inverse, hessian)
            second = inverse.T @ bend @ inverse
            prefix = f"{arm}: " if len(arms) > 1 else ""
            blocks.append(residual_block(self.structure, prefix, own, unit, inverse, second))
        return FormParameters(tuple(blocks), stacked, stacked)

    def chart_of_coordinates(self, theta: FloatArray) -> FloatArray:
        """The coordinates are theta."""
        return np.eye(self.n_theta)


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


def arms_of_series(
    structure: CovarianceStructure, n_theta: int
) -> list[tuple[CovarianceStructure, slice]]:
    """The structure and stretches of the theta of all arms, where its matrix is small enough."""
    n = structure.n_theta
    if structure.size > LARGEST_ORDER:
        return []
    return [(structure, slice(at, at + n)) for at in range(0, n_theta, n)]


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
