"""An engine whose sums come from parts of the rows: theta goes out, a few matrices come back.

With V block diagonal by part, log|V| and [X y]'V^-1 [X y] are sums over parts, and so are their
derivatives by entries of G, the weights of second ones held fixed. What follows from the sums is
what each engine makes of its own; see the crate's module `criterion`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol, TypeAlias

import numpy as np

import mlmfast._core as _core
from mlmfast.arrays import FloatArray

#: G of each level at one point, (1, ...); of a series theta, in place of what the core is given.
Point: TypeAlias = Sequence[FloatArray]
Entries: TypeAlias = Sequence[tuple[int, int, int]]
#: Sums of a part; None where V is not positive definite.
Sums: TypeAlias = list[FloatArray] | None

_OFFERED = ("within", "visit_moments", "likelihood_derivatives", "information_second_derivatives")


class Workers(Protocol):
    """Where the parts are."""

    def each(self, method: str, *arguments: Any) -> list[Any]:
        """What every part answers, in their order."""


@dataclass(frozen=True)
class PartedCore:
    """A design in parts, as the criterion and its users see an engine; see `mlmfast._core.Engine`.

    Attributes
    ----------
    workers
        Where the parts are.
    fixed
        The fixed effects of all rows, reduced without random ones: coordinates of X and y.
    bases
        By level, the basis of the random effects.
    profiled
        Whether sigma^2 is profiled out.
    n_obs
        Rows.
    """

    workers: Workers
    fixed: _core.NestedReduction
    bases: list[FloatArray]
    profiled: bool
    n_obs: int

    name = "nested"
    size = (0, 0)

    @staticmethod
    def offers(name: str) -> bool:
        """Whether a method that not all engines have answers here."""
        return name in _OFFERED

    @property
    def kept(self) -> list[int]:
        """Columns of X that are not aliased."""
        return self.fixed.kept

    @property
    def x_factor(self) -> FloatArray:
        """Upper triangular R with X = Q R."""
        return self.fixed.x_factor

    @property
    def ols(self) -> FloatArray:
        """Q'y."""
        return self.fixed.ols

    @property
    def y_scale(self) -> FloatArray:
        """Root mean square of the least squares residual."""
        return self.fixed.y_scale

    @property
    def within(self) -> tuple[FloatArray, int]:
        """Sum of squares outside X and random effects, part by part, and degrees of freedom."""
        rss, degrees = _added(self.workers.each("within"))
        return rss, int(degrees[0])

    def visit_moments(self, fit: int) -> tuple[FloatArray, FloatArray]:
        """Sums of products over pairs of visits, and their numbers."""
        sums, counts = _added(self.workers.each("visit_moments"))
        return sums, counts

    def own_start(self, variance: float) -> FloatArray | None:
        """Where an iteration along series begins, as the first part that tells it would have it.

        Each parameter by itself, since a part may have rows of one arm only; NaN where none tells.
        """
        out: FloatArray | None = None
        for found in self.workers.each("own_start", variance):
            if found is not None:
                out = found[0] if out is None else np.where(np.isnan(out), found[0], out)
        return out

    # -- sums ------------------------------------------------------------------------------------

    def _solutions(self, g: Sequence[FloatArray], n: int) -> list[_Solution | None]:
        points = [_point(g, k) for k in range(n)]
        sums = _point_by_point(self.workers.each("values", points), n)
        return [None if own is None else _solution(own, len(self.kept)) for own in sums]

    def _derivatives(
        self, g: Sequence[FloatArray], n: int, entries: Entries, reml: bool
    ) -> list[_Likelihood | None]:
        found = self._solutions(g, n)
        usable = [k for k, own in enumerate(found) if own is not None]
        solved = [own for own in found if own is not None]
        points = [_point(g, k) for k in usable]
        roots = [(own.e, own.c if reml else None) for own in solved]
        sums: list[Sums] = []
        if points:
            answers = self.workers.each("derivatives", points, list(entries), roots)
            sums = _point_by_point(answers, len(points))
        out: list[_Likelihood | None] = [None] * n
        for k, own, parts in zip(usable, solved, sums, strict=True):
            out[k] = None if parts is None else _likelihood(own, parts, reml)
        return out

    def _degrees(self, reml: bool) -> float:
        return float(self.n_obs - (len(self.kept) if reml else 0))

    def _value(self, own: _Solution, reml: bool) -> float:
        nu, tau = self._degrees(reml), 2.0 * np.pi
        rest = nu * (1.0 + np.log(tau * own.rss / nu)) if self.profiled else (
            nu * np.log(tau) + own.rss
        )  # fmt: skip
        return float(own.logdet + rest + (own.logdet_xx if reml else 0.0))

    # -- answers ---------------------------------------------------------------------------------

    def solve(
        self, g: Sequence[FloatArray], fits: Sequence[int]
    ) -> tuple[FloatArray, FloatArray, FloatArray]:
        """Generalised least squares."""
        rank, n = len(self.kept), len(fits)
        beta, c = np.full((n, rank), np.nan), np.full((n, rank, rank), np.nan)
        scalars = np.full((n, 3), np.nan)
        for k, own in enumerate(self._solutions(g, n)):
            if own is not None:
                beta[k], c[k] = own.beta, own.c
                scalars[k] = own.rss, own.logdet, own.logdet_xx
        return beta, c, scalars

    def evaluate(
        self,
        g: Sequence[FloatArray],
        fits: Sequence[int],
        entries: Entries,
        reml: bool,
        derivatives: bool,
        exact: bool = False,
    ) -> tuple[FloatArray, FloatArray, FloatArray, FloatArray]:
        """-2 log-likelihood with gradient, Hessian and expected Hessian by entries."""
        n, m = len(fits), len(entries)
        value, gradient = np.full(n, np.inf), np.zeros((n, m))
        hessian, expected = np.zeros((n, m, m)), np.zeros((n, m, m))
        if not derivatives:
            for k, own in enumerate(self._solutions(g, n)):
                value[k] = np.inf if own is None else self._value(own, reml)
            return value, gradient, hessian, expected
        for k, found in enumerate(self._derivatives(g, n, entries, reml)):
            if found is not None:
                value[k] = self._value(found.solution, reml)
                gradient[k], hessian[k], expected[k] = self._assembled(found, reml)
        return value, gradient, hessian, expected

    def _assembled(
        self, found: _Likelihood, reml: bool
    ) -> tuple[FloatArray, FloatArray, FloatArray]:
        nu, rss, by, trace = (
            self._degrees(reml), found.solution.rss, found.rss_by, found.logdet_by,
        )  # fmt: skip
        weight = nu / rss if self.profiled else 1.0
        hessian = found.logdet_second + weight * found.rss_second
        expected = -found.logdet_second
        if self.profiled:
            hessian = hessian - nu * np.outer(by, by) / rss**2
            expected = expected - np.outer(trace, trace) / nu
        return trace + weight * by, hessian, expected

    def gradient(
        self, g: Sequence[FloatArray], fits: Sequence[int], entries: Entries, reml: bool
    ) -> tuple[FloatArray, FloatArray]:
        """-2 log-likelihood and its gradient."""
        return self.evaluate(g, fits, entries, reml, True)[:2]

    def likelihood_derivatives(
        self,
        g: Sequence[FloatArray],
        fits: Sequence[int],
        entries: Entries,
        reml: bool,
        exact: bool = True,
    ) -> list[FloatArray]:
        """Derivatives of the log-determinants and of y'Py; NaN where V is not positive definite."""
        m, rank = len(entries), len(self.kept)
        shapes: list[tuple[int, ...]] = [(m,), (m, m), (m,), (m, m), (m, rank, rank)]
        shapes += [(rank, rank), ()]
        out = [np.full((len(fits), *shape), np.nan) for shape in shapes]
        for k, found in enumerate(self._derivatives(g, len(fits), entries, reml)):
            if found is not None:
                parts = (
                    found.logdet_by, found.logdet_second, found.rss_by, found.rss_second,
                    found.information_by, found.solution.c, found.solution.rss,
                )  # fmt: skip
                for own, part in zip(out, parts, strict=True):
                    own[k] = part
        return out

    def information_derivatives(
        self, g: Sequence[FloatArray], fit: int, entries: Entries
    ) -> FloatArray | None:
        """Derivatives of X'V^-1 X by entries."""
        found = self._derivatives(g, 1, entries, False)[0]
        return None if found is None else found.information_by

    def information_second_derivatives(
        self,
        g: Sequence[FloatArray],
        fit: int,
        entries: Entries,
        weights: FloatArray | None = None,
    ) -> FloatArray | None:
        """Second derivatives of X'V^-1 X by entries, or their weighted sum."""
        answers = self.workers.each("second", _point(g, 0), list(entries), weights)
        return None if any(own is None for own in answers) else _added(answers)[0]

    def information_second_sums(
        self,
        g: Sequence[FloatArray],
        fits: Sequence[int],
        entries: Entries,
        weights: FloatArray,
    ) -> FloatArray:
        """Of each fit the weighted sum of second derivatives of X'V^-1 X."""
        rank = len(self.kept)
        out = np.full((len(fits), rank, rank), np.nan)
        for k in range(len(fits)):
            own = self.information_second_derivatives(_point(g, k), 0, entries, weights[k])
            if own is not None:
                out[k] = own
        return out


@dataclass(frozen=True)
class _Solution:
    """Generalised least squares at one point."""

    beta: FloatArray
    c: FloatArray
    rss: float
    logdet: float
    logdet_xx: float

    @property
    def e(self) -> FloatArray:
        """(-beta, 1): the residual is [X y] e."""
        return np.append(-self.beta, 1.0)


@dataclass(frozen=True)
class _Likelihood:
    """Derivatives by entries of log|V| (with log|X'V^-1 X| for REML), y'Py and X'V^-1 X."""

    solution: _Solution
    logdet_by: FloatArray
    logdet_second: FloatArray
    rss_by: FloatArray
    rss_second: FloatArray
    information_by: FloatArray


def _point(g: Sequence[FloatArray], k: int) -> Point:
    return [np.ascontiguousarray(own[k : k + 1]) for own in g]


def _added(answers: Sequence[Sequence[FloatArray]]) -> list[FloatArray]:
    """Sums over parts, in their order."""
    out = [np.array(own) for own in answers[0]]
    for answer in answers[1:]:
        for total, own in zip(out, answer, strict=True):
            total += own
    return out


def _point_by_point(answers: Sequence[Sequence[Sums]], n: int) -> list[Sums]:
    """Sums over parts at each point; None where a part has none."""
    out: list[Sums] = []
    for k in range(n):
        own = [answer[k] for answer in answers]
        present = [one for one in own if one is not None]
        out.append(_added(present) if len(present) == len(own) else None)
    return out


def _symmetric(lower: FloatArray) -> FloatArray:
    """Matrices (..., k, k) from their lower triangles."""
    below = np.tril(lower)
    return np.asarray(below + np.tril(lower, -1).swapaxes(-1, -2))


def _solution(sums: list[FloatArray], rank: int) -> _Solution | None:
    """From [X y]'V^-1 [X y] and log|V|; None where these are not positive definite."""
    gram = _symmetric(sums[0])
    if not np.isfinite(gram).all():
        return None
    try:
        lower = np.linalg.cholesky(gram[:rank, :rank])
    except np.linalg.LinAlgError:
        return None
    inverse = np.linalg.solve(lower, np.eye(rank))
    half = inverse @ gram[rank, :rank]
    rss = float(gram[rank, rank] - half @ half)
    if not rss > 0.0:
        return None
    logdet_xx = 2.0 * float(np.log(np.diag(lower)).sum())
    return _Solution(inverse.T @ half, inverse.T @ inverse, rss, float(sums[1][0]), logdet_xx)


def _likelihood(solution: _Solution, sums: list[FloatArray], reml: bool) -> _Likelihood:
    gram_by, logdet_by, hessian, hessian_rss = sums
    gram_by, c, e = _symmetric(gram_by), solution.c, solution.e
    rank = len(c)
    by = gram_by @ e
    v, d = by[:, :rank], gram_by[:, :rank, :rank]
    second = _symmetric(hessian)
    if reml:
        c_d = c @ d
        logdet_by = logdet_by + np.trace(c_d, axis1=1, axis2=2)
        second = second - np.einsum("kij,lji->kl", c_d, c_d)
    rss_second = _symmetric(hessian_rss) - 2.0 * v @ c @ v.T
    return _Likelihood(solution, logdet_by, second, by @ e, rss_second, d)
