"""The logarithm of a residual scale, log s = h(d, gamma), by parameters and with derivatives.

Most scales are log-linear, log s = d'gamma. That of a constant beside a power, s = c + |v|^p, is
not: log s = log(c + exp(p w)), w = log|v|, where v = 0 leaves the constant.

References: Pinheiro and Bates (2000), Mixed-Effects Models in S and S-PLUS, section 5.2.1
(varIdent, varPower, varExp, varConstPower).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from mlmfast.arrays import BoolArray, FloatArray, IntArray
from mlmfast.errors import ModelError
from mlmfast.running.cached import cached_property

#: Kinds of parameters. A constant stands before its power, their columns are an indicator of the
#: rows that they are for and log|v| there (0 elsewhere, minus infinity where v = 0).
RATIO, SLOPE, CONSTANT, POWER, POSITIVE = "ratio", "slope", "constant", "power", "positive power"
#: Where a constant and its power start, the constant half of the scale at the centre.
_POWER_AT_START, _SMALL = 1.0, 0.3


@dataclass(frozen=True, eq=False)
class LogScale:
    """log s of rows relative to that of the centre, by theta = (one entry a column).

    A column has its gamma, centred and scaled. A constant c and its power p over w = log|v| with
    centre w0 have eta = log c - p w0, the logit of the constant's share at the centre, and p times
    the spread (its logarithm where p must be positive, since some v is 0).

    Parameters
    ----------
    names
        Of the parameters on the natural scale: ratio exp(gamma), slope gamma, c, p.
    kinds
        "ratio", "slope", or "constant" followed by "power" or "positive power".
    center, spread : shape (m,)
        Of the columns; share of the rows and 1 for a constant, those of w among them for a power.
    """

    names: tuple[str, ...]
    kinds: tuple[str, ...]
    center: FloatArray
    spread: FloatArray

    @property
    def size(self) -> int:
        """Number m of parameters."""
        return len(self.names)

    @property
    def is_ratio(self) -> tuple[bool, ...]:
        """Whether each is a ratio of standard deviations, 1 where these are equal."""
        return tuple(kind == RATIO for kind in self.kinds)

    @property
    def is_positive(self) -> tuple[bool, ...]:
        """Whether each must be positive."""
        return must_be_positive(self.kinds)

    @property
    def middle(self) -> FloatArray:
        """d at the centre, shape (m,)."""
        return np.where(self._is(CONSTANT), 1.0, self.center)

    @cached_property
    def _linear(self) -> IntArray:
        return np.flatnonzero(self._is(RATIO) | self._is(SLOPE))

    @cached_property
    def _constants(self) -> IntArray:
        return np.flatnonzero(self._is(CONSTANT))

    def _is(self, kind: str) -> BoolArray:
        return np.array([own == kind for own in self.kinds], dtype=np.bool_)

    def columns(self, exponents: FloatArray) -> FloatArray:
        """Columns d centred and scaled, shape (..., m)."""
        center = np.broadcast_to(self.center, exponents.shape).copy()
        at = self._constants
        center[..., at] = 0.0
        center[..., at + 1] *= exponents[..., at]
        return np.asarray((exponents - center) / self.spread)

    def values(self, columns: FloatArray, theta: FloatArray) -> FloatArray:
        """log s, shape (n_fits, rows), of columns (rows, m) by theta (n_fits, m)."""
        own = self._linear
        out = theta[:, own] @ columns[:, own].T
        for at in self._constants:
            part = _Pair.of(self, at, theta)
            mine = columns[:, at]
            u = part.exponent(columns[:, at + 1])
            out = out + mine * (np.logaddexp(part.eta, u) + part.far) - part.offset
        return np.asarray(out)

    def derivatives(
        self, columns: FloatArray, theta: FloatArray
    ) -> tuple[FloatArray, FloatArray | None]:
        """First derivatives (n_fits, rows, m) and second (n_fits, rows, m, m), None where all 0."""
        n, (rows, m) = len(theta), columns.shape
        own = self._linear
        first = np.zeros((n, rows, m))
        first[:, :, own] = columns[:, own]
        if not len(self._constants):
            return first, None
        second = np.zeros((n, rows, m, m))
        for at in self._constants:
            part = _Pair.of(self, at, theta)
            pair, mine = slice(at, at + 2), columns[:, at]
            slope, bend = part.by_parameters(columns[:, at + 1])
            first[:, :, pair] = mine[:, None] * slope - part.offset_first[:, None]
            second[:, :, pair, pair] = mine[:, None, None] * bend - part.offset_second[:, None]
        return first, second

    def reference(self, theta: FloatArray) -> tuple[FloatArray, FloatArray, FloatArray]:
        """log s at the centre over s = 1: value (n_fits,), first and second derivatives."""
        n, m, own = len(theta), self.size, self._linear
        first, second = np.zeros((n, m)), np.zeros((n, m, m))
        first[:, own] = self.center[own] / self.spread[own]
        value = theta[:, own] @ first[0, own] if n else np.zeros(0)
        for at in self._constants:
            part = _Pair.of(self, at, theta)
            pair = slice(at, at + 2)
            value = value + part.offset[:, 0]
            first[:, pair], second[:, pair, pair] = part.offset_first, part.offset_second
        return value, first, second

    def natural(self, theta: FloatArray) -> FloatArray:
        """Ratios, slopes, constants and powers, shape (n_fits, m)."""
        out = theta / self.spread
        ratio = self._is(RATIO)
        out[:, ratio] = np.exp(out[:, ratio])
        for at in self._constants:
            part = _Pair.of(self, at, theta)
            out[:, at], out[:, at + 1] = np.exp(part.eta + part.far)[:, 0], part.power[:, 0]
        return out

    def natural_derivatives(self, theta: FloatArray) -> tuple[FloatArray, FloatArray]:
        """First (n_fits, m, m) and second (n_fits, m, m, m) derivatives of `natural`."""
        n, m = theta.shape
        first, second = np.zeros((n, m, m)), np.zeros((n, m, m, m))
        natural, ratio = self.natural(theta), np.array(self.is_ratio, dtype=np.bool_)
        own = self._linear
        grown = np.where(ratio, natural, 1.0)[:, own]
        first[:, own, own] = grown / self.spread[own]
        second[:, own, own, own] = np.where(ratio, natural, 0.0)[:, own] / self.spread[own] ** 2
        for at in self._constants:
            part, pair = _Pair.of(self, at, theta), slice(at, at + 2)
            slope = np.stack([np.ones(n), part.slope[:, 0] * part.center], axis=1)
            constant = natural[:, at, None]
            first[:, at, pair] = constant * slope
            second[:, at, pair, pair] = constant[:, :, None] * slope[:, :, None] * slope[:, None]
            second[:, at, at + 1, at + 1] += natural[:, at] * part.bend[:, 0] * part.center
            first[:, at + 1, at + 1] = part.slope[:, 0]
            second[:, at + 1, at + 1, at + 1] = part.bend[:, 0]
        return first, second

    def from_natural(self, values: FloatArray) -> FloatArray:
        """Theta of parameters on the natural scale.

        Raises
        ------
        ModelError
            Where a ratio, a constant or a power over a column with zeros is not positive.
        """
        positive = np.array(self.is_positive, dtype=np.bool_)
        if not np.isfinite(values).all() or (values[:, positive] <= 0).any():
            wrong = ~np.isfinite(values) | (positive & (values <= 0))
            name = self.names[int(np.flatnonzero(wrong.any(axis=0))[0])]
            what = "positive" if positive[self.names.index(name)] else "finite"
            raise ModelError(f"{name} of the residual scale must be a {what} number")
        out = values * self.spread
        ratio = np.array(self.is_ratio, dtype=np.bool_)
        out[:, ratio] = np.log(values[:, ratio]) * self.spread[ratio]
        for at in self._constants:
            if self.kinds[at + 1] == POSITIVE:
                out[:, at + 1] = np.log(out[:, at + 1])
            out[:, at] = np.log(values[:, at]) - values[:, at + 1] * self.center[at + 1]
        return np.asarray(out)

    def start(self) -> FloatArray:
        """A scale that is hardly any, shape (m,): powers away from 0, where no constant is told."""
        out = np.zeros(self.size)
        for at in self._constants:
            out[at + 1] = 0.0 if self.kinds[at + 1] == POSITIVE else _POWER_AT_START
        return out

    def downwards(self) -> FloatArray | None:
        """The start with powers that fall; None where none can."""
        out = self.start()
        free = self._is(POWER)
        out[free] = -_POWER_AT_START
        return out if free.any() else None

    def near(self, effects: FloatArray, columns: FloatArray, log_sd: FloatArray) -> FloatArray:
        """Theta by least squares of log standard deviations on d, beside other ``effects``."""
        used = columns.copy()
        at = self._constants
        used[:, at] = 0.0
        lowest = np.min(used, where=np.isfinite(used), initial=0.0)
        # Half of the scale at the centre is the constant's.
        used[:, at + 1] = 0.5 * np.maximum(used[:, at + 1], lowest - 1.0)
        whole = np.concatenate([effects, used], axis=1)
        solution, *_ = np.linalg.lstsq(whole, log_sd, rcond=1e-8)
        out = np.asarray(np.clip(solution[effects.shape[1] :], -1.5, 1.5))
        for k in at + 1:
            if self.kinds[k] == POSITIVE:
                out[k] = np.log(max(out[k], _SMALL))
            else:
                out[k] = np.copysign(max(abs(out[k]), _SMALL), out[k])
        return out


@dataclass(frozen=True)
class _Pair:
    """A constant and its power at theta; arrays of shape (n_fits, 1).

    Attributes
    ----------
    eta
        Logit of the constant's share at the centre.
    power, slope, bend
        p, and its derivatives by its entry of theta.
    share, center, spread
        Of the rows, of w.
    """

    eta: FloatArray
    power: FloatArray
    slope: FloatArray
    bend: FloatArray
    share: float
    center: float
    spread: float

    @classmethod
    def of(cls, scale: LogScale, at: int, theta: FloatArray) -> _Pair:
        share, center, spread = scale.center[at], scale.center[at + 1], scale.spread[at + 1]
        eta, t = theta[:, at, None], theta[:, at + 1, None]
        if scale.kinds[at + 1] == POSITIVE:
            power = np.exp(t) / spread
            return cls(eta, power, power, power, share, center, spread)
        return cls(
            eta, t / spread, np.full_like(t, 1.0 / spread), np.zeros_like(t), share, center, spread
        )

    @property
    def far(self) -> FloatArray:
        """p w0."""
        return self.power * self.center

    @property
    def offset(self) -> FloatArray:
        """share log(c + exp(p w0))."""
        return self.share * (self.far + np.logaddexp(0.0, self.eta))

    @property
    def offset_first(self) -> FloatArray:
        """Derivatives of `offset`, (n_fits, 2)."""
        at_center = 1.0 / (1.0 + np.exp(-self.eta))
        return self.share * np.concatenate([at_center, self.slope * self.center], axis=1)

    @property
    def offset_second(self) -> FloatArray:
        """(n_fits, 2, 2)."""
        at_center = 1.0 / (1.0 + np.exp(-self.eta[:, 0]))
        out = np.zeros((len(self.eta), 2, 2))
        out[:, 0, 0] = self.share * at_center * (1.0 - at_center)
        out[:, 1, 1] = self.share * self.bend[:, 0] * self.center
        return out

    def exponent(self, column: FloatArray) -> FloatArray:
        """u = p (w - w0), (n_fits, rows); minus infinity where v = 0."""
        finite = np.isfinite(column)
        u = self.power * (np.where(finite, column, 0.0) * self.spread)
        return np.where(finite, u, -np.inf)

    def by_parameters(self, column: FloatArray) -> tuple[FloatArray, FloatArray]:
        """Derivatives of log(e^eta + e^u) + p w0: (n_fits, rows, 2), (n_fits, rows, 2, 2)."""
        u = self.exponent(column)
        q = 1.0 / (1.0 + np.exp(np.clip(u - self.eta, -700.0, 700.0)))
        w = np.where(np.isfinite(column), column, 0.0) * self.spread
        rest = np.where(np.isfinite(column), 1.0 - q, 0.0)
        mixed = q * rest
        first = np.stack([q, (rest * w + self.center) * self.slope], axis=2)
        second = np.empty((*q.shape, 2, 2))
        second[..., 0, 0] = mixed
        second[..., 0, 1] = second[..., 1, 0] = -mixed * w * self.slope
        second[..., 1, 1] = mixed * (w * self.slope) ** 2 + (rest * w + self.center) * self.bend
        return first, second


def must_be_positive(kinds: Sequence[str]) -> tuple[bool, ...]:
    """Whether parameters of these kinds must be positive.

    Examples
    --------
    >>> must_be_positive(["ratio", "slope", "constant", "power"])
    (True, False, True, False)
    """
    return tuple(kind in {RATIO, CONSTANT, POSITIVE} for kind in kinds)


def log_scales(kinds: Sequence[str], exponents: FloatArray, natural: FloatArray) -> FloatArray:
    """log s of columns d (rows, m) by parameters on the natural scale (m,).

    Examples
    --------
    >>> columns = np.array([[1.0, np.log(3.0)], [1.0, -np.inf]])
    >>> np.exp(log_scales(["constant", "power"], columns, np.array([0.5, 2.0])))
    array([9.5, 0.5])
    """
    out = np.zeros(len(exponents))
    for k, kind in enumerate(kinds):
        if kind == RATIO:
            out += exponents[:, k] * np.log(natural[k])
        elif kind == SLOPE:
            out += exponents[:, k] * natural[k]
        elif kind == CONSTANT:
            mine = exponents[:, k] > 0
            w = exponents[mine, k + 1]
            with np.errstate(divide="ignore", invalid="ignore"):
                powered = np.where(np.isneginf(w) & (natural[k + 1] == 0), 0.0, natural[k + 1] * w)
                out[mine] += np.logaddexp(np.log(natural[k]), powered)
    return out
