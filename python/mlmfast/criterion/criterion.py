"""The ML / REML criterion as a function of theta, from the core's derivatives by entries of G."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from itertools import accumulate, pairwise
from typing import Any

import numpy as np

import mlmfast._core as _core
from mlmfast.arrays import FloatArray, IntArray
from mlmfast.covariance import CovarianceStructure
from mlmfast.criterion.flat_covariances import FlatCovariances
from mlmfast.eigen import is_small
from mlmfast.newton.iteration import Derivatives
from mlmfast.reduction.blocks import TermBlock
from mlmfast.reduction.engines.cores import Core, for_method
from mlmfast.reduction.reduced_model import ReducedModel
from mlmfast.running.cached import cached_property

#: Parameters of a residual handed over by theta above which the identity is not multiplied.
_MANY = 64
#: What is left of a sum, over its parts, that is rounding.
_ROUNDING = 1e-13


@dataclass(frozen=True)
class ThroughV:
    """Fits that are evaluated through V = Z G Z' + R, which is regular where R is singular.

    Attributes
    ----------
    criterion
        The criterion of these fits, of a core that holds V whole; theta is the same.
    places
        Position of a fit of the batch among those of the criterion.
    """

    criterion: Criterion
    places: dict[int, int]


@dataclass(frozen=True)
class Criterion:
    """-2 log-likelihood (ML or REML) of responses of one reduction, profiled over beta, sigma^2.

    theta of all terms stand one after the other, terms ordered by level.
    """

    reduction: Core
    terms: tuple[TermBlock, ...]
    level_sizes: tuple[int, ...]
    reml: bool
    #: The reduced design that this is the criterion of; a pickle makes it anew from there.
    model: ReducedModel | None = field(default=None, repr=False, compare=False)
    #: What the data do not tell of the covariances, where that has been found.
    flat: FlatCovariances | None = None
    #: Fits that ended at a singular residual covariance, whose estimates come through V.
    through_v: ThroughV | None = None

    def __reduce__(self) -> tuple[Any, ...]:
        method = "REML" if self.reml else "ML"
        return criterion_of, (self.model, method, self.flat, self.through_v)

    @cached_property
    def theta_slices(self) -> tuple[slice, ...]:
        """Stretch of theta of each term."""
        ends = accumulate((t.structure.n_theta for t in self.terms), initial=0)
        return tuple(slice(a, b) for a, b in pairwise(ends))

    @cached_property
    def n_theta(self) -> int:
        """Number of covariance parameters."""
        return sum(t.structure.n_theta for t in self.terms)

    @cached_property
    def entries(self) -> list[tuple[int, int, int]]:
        """(level, row, column) of every free entry of G."""
        return [
            (t.level, t.first + a, t.first + b) for t in self.terms for a, b in t.structure.entries
        ]

    @cached_property
    def entry_slices(self) -> tuple[slice, ...]:
        """Stretch of the entries of each term."""
        ends = accumulate((len(t.structure.entries) for t in self.terms), initial=0)
        return tuple(slice(a, b) for a, b in pairwise(ends))

    def covariances(self, theta: FloatArray, derivatives: bool = False) -> list[FloatArray]:
        """G of each level, relative to sigma^2, shape (a, q, q).

        Where units have residual covariances of their own, (a, matrices, n_units, q, q) with the
        matrices' derivatives if asked for.
        """
        if len(self.terms) == len(self.level_sizes) == 1 and not self.terms[0].is_residual:
            return [np.ascontiguousarray(self.terms[0].matrix(theta))]
        out = [np.zeros((len(theta), q, q)) for q in self.level_sizes]
        for term, s in zip(self.terms, self.theta_slices, strict=True):
            term.put(out, theta[:, s], derivatives)
        return out

    def solve(self, theta: FloatArray, fits: IntArray) -> tuple[FloatArray, FloatArray, FloatArray]:
        """Generalised least squares of the listed fits at theta; see `Engine.solve`."""
        found = self.reduction.solve(self.covariances(theta), fits.tolist())
        for row, place, own in self._through_v(fits):
            for every, one in zip(found, own.solve(theta[[row]], place), strict=True):
                every[row] = one[0]
        return found

    def _through_v(self, fits: IntArray) -> Iterator[tuple[int, IntArray, Criterion]]:
        """Rows whose fits are evaluated through V: position, place there and the criterion."""
        if self.through_v is not None:
            for row, fit in enumerate(fits.tolist()):
                place = self.through_v.places.get(fit)
                if place is not None:
                    yield row, np.array([place]), self.through_v.criterion

    def value(self, theta: FloatArray, fits: IntArray) -> FloatArray:
        """The criterion alone, shape (a,)."""
        g = self.covariances(theta)
        found = self.reduction.evaluate(g, fits.tolist(), [], self.reml, False)[0]
        for row, place, own in self._through_v(fits):
            found[row] = own.value(theta[[row]], place)[0]
        return found

    def __call__(self, theta: FloatArray, fits: IntArray) -> Derivatives:
        """The criterion with its derivatives by local coordinates around theta (exact)."""
        g = self.covariances(theta, derivatives=True)
        value, gradient, hessian, expected = self.reduction.evaluate(
            g, fits.tolist(), self.entries, self.reml, True
        )
        return self.led(theta, value, gradient, hessian, expected)

    def led(
        self,
        theta: FloatArray,
        value: FloatArray,
        gradient: FloatArray,
        hessian: FloatArray,
        expected: FloatArray,
    ) -> Derivatives:
        """Derivatives by local coordinates around theta from those by entries."""
        if self.flat is not None:
            gradient, hessian, expected = self.flat.cleaned(gradient, hessian, expected)
        last = self.terms[-1] if self.terms else None
        if last is not None and last.by_theta and last.structure.n_theta > _MANY:
            led = self._random_chained(theta, gradient, hessian, expected)
            return Derivatives(value, *led, gradient, hessian, expected)
        if self.flat is None and any(not t.by_theta and t.shared.pulls for t in self.terms):
            led = self._pulled(theta, gradient, hessian, expected)
            return Derivatives(value, *led, gradient, hessian, expected)
        jacobian, curvature = self.chain(theta, gradient)
        if self.flat is None and is_small(theta.shape[1]):
            by, bend = np.ascontiguousarray(jacobian), np.ascontiguousarray(curvature)
            led_to = _core.led_derivatives(by, bend, gradient, hessian, expected)
            return Derivatives(value, *led_to, gradient, hessian, expected)
        transposed = jacobian.mT
        slope = (transposed @ gradient[:, :, None])[..., 0]
        bend = transposed @ hessian @ jacobian + curvature
        if self.flat is not None:
            slope, bend = without_rounding(slope, bend, jacobian, gradient, hessian)
        return Derivatives(
            value,
            slope,
            bend,
            transposed @ expected @ jacobian,
            gradient,
            hessian,
            expected,
        )

    def _random_chained(
        self, theta: FloatArray, gradient: FloatArray, hessian: FloatArray, expected: FloatArray
    ) -> tuple[FloatArray, FloatArray, FloatArray]:
        """Derivatives by local coordinates where the last term's are by theta already."""
        random = replace(self, terms=self.terms[:-1])
        if not random.terms:
            return gradient, hessian, expected
        e, t = len(random.entries), random.n_theta
        jacobian, curvature = random.chain(theta[:, :t], gradient[:, :e])

        def led(matrix: FloatArray) -> FloatArray:
            side = jacobian.mT @ matrix[:, :e]
            top = np.concatenate([side[:, :, :e] @ jacobian, side[:, :, e:]], axis=2)
            rest = np.concatenate([side[:, :, e:].mT, matrix[:, e:, e:]], axis=2)
            return np.concatenate([top, rest], axis=1)

        first = (jacobian.mT @ gradient[:, :e, None])[..., 0]
        by_theta = led(hessian)
        by_theta[:, :t, :t] += curvature
        return np.concatenate([first, gradient[:, e:]], axis=1), by_theta, led(expected)

    def _pulled(
        self, theta: FloatArray, gradient: FloatArray, hessian: FloatArray, expected: FloatArray
    ) -> tuple[FloatArray, FloatArray, FloatArray]:
        """Derivatives by local coordinates where the Jacobian is not formed."""
        parts = list(zip(self.terms, self.theta_slices, self.entry_slices, strict=True))

        def pull(rows: FloatArray) -> FloatArray:
            pulled = [term.pull(theta[:, s], rows[:, :, e]) for term, s, e in parts]
            return pulled[0] if len(pulled) == 1 else np.concatenate(pulled, axis=2)

        def led(matrix: FloatArray) -> FloatArray:
            # J'AJ of a symmetric A: rows times J, transposed, times J once more.
            out = pull(np.ascontiguousarray(pull(matrix).mT))
            return np.asarray(0.5 * (out + out.mT))

        by_theta = led(hessian)
        for term, s, e in parts:
            by_theta[:, s, s] += term.bend(theta[:, s], gradient[:, e])
        return pull(gradient[:, None])[:, 0], by_theta, led(expected)

    def chain(self, theta: FloatArray, gradient: FloatArray) -> tuple[FloatArray, FloatArray]:
        """Jacobian of the entries by local coordinates, second derivatives of gradient'entries."""
        if len(self.terms) == 1:
            jacobian, curvature = self.terms[0].chart(theta, gradient)
            # A product's last digits depend on the layout, which may depend on the number of rows.
            return np.ascontiguousarray(jacobian), np.ascontiguousarray(curvature)
        n = len(theta)
        jacobian = np.zeros((n, len(self.entries), self.n_theta))
        curvature = np.zeros((n, self.n_theta, self.n_theta))
        for term, s, e in zip(self.terms, self.theta_slices, self.entry_slices, strict=True):
            jacobian[:, e, s], curvature[:, s, s] = term.chart(theta[:, s], gradient[:, e])
        return jacobian, curvature

    def move(self, theta: FloatArray, step: FloatArray) -> FloatArray:
        """The point at local coordinates ``step`` around ``theta``."""
        if len(self.terms) == 1:
            return np.ascontiguousarray(self.terms[0].structure.move(theta, step))
        parts = zip(self.terms, self.theta_slices, strict=True)
        return np.concatenate([t.structure.move(theta[:, s], step[:, s]) for t, s in parts], axis=1)

    @cached_property
    def at_zero(self) -> tuple[FloatArray, FloatArray]:
        """Gradient (1, n) and expected Hessian (1, n, n) by the entries at G = 0, first fit."""
        first = np.zeros(1, dtype=np.intp)
        model = self.model
        if model is None or self.reduction is not model.core or self.terms is not model.blocks:
            return self.at_zero_of(first)
        if self.reml not in model.at_zero:
            model.at_zero[self.reml] = self._evaluated_at_zero(first)
        return self._cleaned(*model.at_zero[self.reml])

    def at_zero_of(self, fits: IntArray) -> tuple[FloatArray, FloatArray]:
        """Gradient (a, n) and expected Hessian (a, n, n) by the entries at G = 0."""
        return self._cleaned(*self._evaluated_at_zero(fits))

    def _evaluated_at_zero(self, fits: IntArray) -> tuple[FloatArray, FloatArray, FloatArray]:
        zero = [np.zeros((len(fits), q, q)) for q in self.level_sizes]
        return self.reduction.evaluate(zero, fits.tolist(), self.entries, self.reml, True)[1:]

    def _cleaned(
        self, gradient: FloatArray, hessian: FloatArray, expected: FloatArray
    ) -> tuple[FloatArray, FloatArray]:
        if self.flat is not None:
            gradient, _, expected = self.flat.cleaned(gradient, hessian, expected)
        return gradient, expected

    def entry_values(self, theta: FloatArray) -> FloatArray:
        """The free entries of G, shape (a, n_entries)."""
        return np.concatenate(
            [
                _entries(term.matrix(theta[:, s]), term.shared)
                for term, s in zip(self.terms, self.theta_slices, strict=True)
            ],
            axis=1,
        )


def _entries(matrix: FloatArray, structure: CovarianceStructure) -> FloatArray:
    return np.stack([matrix[:, a, b] for a, b in structure.entries], axis=1)


def criterion_of(
    model: ReducedModel,
    method: str,
    flat: FlatCovariances | None = None,
    through_v: ThroughV | None = None,
) -> Criterion:
    """The criterion of ``method`` ("REML" or "ML") of a reduced design."""
    reml = method == "REML"
    core = for_method(model.core, reml)
    return Criterion(core, model.blocks, model.level_sizes, reml, model, flat, through_v)


def without_rounding(
    slope: FloatArray,
    bend: FloatArray,
    jacobian: FloatArray,
    gradient: FloatArray,
    hessian: FloatArray,
) -> tuple[FloatArray, FloatArray]:
    """Derivatives by local coordinates, 0 where entries cancel along what the data do not tell.

    What rounding leaves there would lead an iteration astray, the further the larger the entries.
    """
    size = np.abs(jacobian)
    largest = (size.mT @ np.abs(gradient)[:, :, None])[..., 0]
    both = size.mT @ np.abs(hessian) @ size
    return (
        np.where(np.abs(slope) <= _ROUNDING * largest, 0.0, slope),
        np.where(np.abs(bend) <= _ROUNDING * both, 0.0, bend),
    )
