"""Series residuals handed to the core: weights of fixed cross-products, with their derivatives.

For neighbours u, v of a series with correlation f, let s = u + v and d = v - u. Then, with one
variance sigma^2 (see the crate's module `series`),

    y'R^-1 y = {(y_1^2 + y_n^2) / 2 + sum of [s^2 (1 - f) / (1 + f) + d^2 (1 + f) / (1 - f)] / 4}
               / sigma^2
    log|R|   = n log sigma^2 + sum of log(1 - f^2)
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from mlmfast.arrays import FloatArray
from mlmfast.covariance import CovarianceStructure
from mlmfast.covariance.jet import Jet
from mlmfast.covariance.markov import MarkovChain
from mlmfast.record import ResidualRecord
from mlmfast.unit_covariances import Directions

if TYPE_CHECKING:
    from mlmfast import _core
    from mlmfast.residual_structure import ResidualDesign
    from mlmfast.series_design import Series

#: (weight of a row, of the row before, share in the sum of squares) of what a step contributes.
_COMBINATIONS = [(1.0, 1.0, 0.25), (1.0, -1.0, 0.25)]
_END_SHARE = 0.5


@dataclass(frozen=True)
class SeriesCovariance(Directions):
    """A Markov chain along each series, with parameters of its own in each arm.

    Attributes
    ----------
    series
        The rows in time order.
    """

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
    def core_argument(self) -> tuple[object, int, int, list[tuple[float, float, float]], bool, float]:
        """How rows combine, for the core's reduction."""
        n_steps = self.series.n_steps.size
        return self.series.step, self.n_arms, n_steps, _COMBINATIONS, True, _END_SHARE

    def stacked(self, theta: FloatArray, derivatives: bool) -> FloatArray:
        """Weights by class and log|R|, (a, kinds, n_classes + 1); see `Directions` for kinds."""
        n, t, n_gaps = self.structure.n_theta, self.n_theta, len(self.series.gaps)
        kinds = 1 + t + t * (t + 1) // 2 if derivatives else 1
        out = np.zeros((len(theta), kinds, self.n_arms * (1 + 2 * n_gaps) + 1))
        for arm in range(self.n_arms):
            own = theta[:, arm * n : (arm + 1) * n]
            end, steps, logdet = self._weights(own, arm)
            first = self.n_arms + 2 * n_gaps * arm
            for at, jet in (
                (slice(arm, arm + 1), end),
                (slice(first, first + 2 * n_gaps), steps),
                (slice(-1, None), logdet),
            ):
                out[:, 0, at] += jet.value
                if derivatives:
                    self._place(out[..., at], jet, arm * n)
        return out

    def _place(self, out: FloatArray, jet: Jet, first: int) -> None:
        """Derivatives by an arm's parameters, which begin at ``first``, into their kinds."""
        t = self.n_theta
        for k in range(jet.first.shape[-1]):
            out[:, 1 + first + k] += jet.first[..., k]
            row = 1 + t + (first + k) * (first + k + 1) // 2 + first
            for j in range(k + 1):
                out[:, row + j] += jet.second[..., k, j]

    def _weights(self, theta: FloatArray, arm: int) -> tuple[Jet, Jet, Jet]:
        """Weight of ends and of steps, and log|R|, by one arm's theta."""
        assert isinstance(self.structure, MarkovChain), "checked where the design was read"
        with np.errstate(all="ignore"):
            steps = self.structure.step_correlations(theta[:, 1:], self.series.gaps)
            f, below, above = steps.f, steps.below, steps.above
            # (1 - f) / (1 + f), its inverse, and log(1 - f^2), with derivatives by f.
            sums = f.through(below / above, -2.0 / above**2, 4.0 / above**3)
            differences = f.through(above / below, 2.0 / below**2, 4.0 / below**3)
            room = below * above
            value = f.value
            logs = f.through(
                np.log(below) + np.log(above),
                -2.0 * value / room,
                -2.0 * (1.0 + value * value) / room**2,
            )
        order = _interleaved(sums, differences)
        log_sd = theta[:, :1]
        precision = np.exp(-2.0 * log_sd)
        end = _scaled(Jet.constant(np.full((len(theta), 1), 0.5), f.first.shape[-1]), precision)
        counted = (logs * self.series.n_steps[arm]).sum()
        return end, _scaled(order * 0.25, precision), _with_log_sd(
            counted, 2.0 * self.series.n_rows[arm], log_sd
        )

    def start(self, core: _core.Reduction, fit: int, share: float) -> FloatArray:
        """Moments of least squares residuals: a share of their variance, neighbours' correlation."""
        assert isinstance(self.structure, MarkovChain), "checked where the design was read"
        squares = core.class_squares(fit)
        pairs = squares[self.n_arms : ].reshape(self.n_arms, -1, 2)
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

    def common_variance(self, theta: FloatArray) -> FloatArray:
        """The variance of all rows, NaN where arms differ; theta of shape (n_fits, n_theta)."""
        variances = np.exp(2.0 * theta[:, :: self.structure.n_theta])
        return np.where(np.ptp(variances, axis=1) == 0.0, variances[:, 0], np.nan)


def series_record(
    residual: ResidualDesign, own: SeriesCovariance, theta: FloatArray, unit: float
) -> ResidualRecord:
    """The estimates, times ``unit``; covariances by visit where there are few visits."""
    structure, n = own.structure, own.structure.n_theta
    visits = np.empty(0) if own.series.visits is None else own.series.visits
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
    return ResidualRecord(
        text=residual.formula.text,
        structure=residual.formula.structure,
        subject=residual.subject.name,
        n_subjects=residual.subject.n_levels,
        visits=residual.visits,
        arms=residual.arms,
        covariances=np.array(covariances),
        parameter_names=tuple(names),
        parameters=np.concatenate(values),
    )


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
    assert isinstance(structure, MarkovChain), "checked where the design was read"
    gaps = np.abs(times[..., :, None] - times[..., None, :])
    flat = gaps.ravel()
    # Derivatives come along: stretch by stretch, so that they take no memory to speak of.
    for at in range(0, len(flat), 1 << 18):
        part = flat[at : at + (1 << 18)]
        flat[at : at + (1 << 18)] = structure.step_correlations(theta[:, 1:], part).f.value[0]
    return flat.reshape(gaps.shape)


def _interleaved(a: Jet, b: Jet) -> Jet:
    """a_1, b_1, a_2, b_2, ..."""

    def mixed(x: FloatArray, y: FloatArray) -> FloatArray:
        both = np.stack([x, y], axis=2)
        return both.reshape(len(x), -1, *x.shape[2:])

    return Jet(mixed(a.value, b.value), mixed(a.first, b.first), mixed(a.second, b.second))


def _scaled(jet: Jet, precision: FloatArray) -> Jet:
    """Jet / sigma^2 with log sigma as the first parameter."""
    n, m, p = jet.first.shape
    value = precision * jet.value
    first, second = np.empty((n, m, p + 1)), np.empty((n, m, p + 1, p + 1))
    first[..., 0], first[..., 1:] = -2.0 * value, precision[..., None] * jet.first
    second[..., 0, :] = second[..., :, 0] = -2.0 * first
    second[..., 1:, 1:] = precision[..., None, None] * jet.second
    return Jet(value, first, second)


def _with_log_sd(jet: Jet, slope: float, log_sd: FloatArray) -> Jet:
    """Jet + slope log sigma with log sigma as the first parameter."""
    n, m, p = jet.first.shape
    first, second = np.empty((n, m, p + 1)), np.zeros((n, m, p + 1, p + 1))
    first[..., 0], first[..., 1:] = slope, jet.first
    second[..., 1:, 1:] = jet.second
    return Jet(jet.value + slope * log_sd, first, second)
