"""The crossed engine with one level of fixed effects, as the criterion and its users see a core.

The factor is the last level of the engine and is hidden here: covariances and entries are those of
the random effects. For REML everything follows from the engine: with F the factor's indicators it
says log|W| + log|F'W^-1 F| and [X y]'P_F [X y], P_F = W^-1 - W^-1 F (F'W^-1 F)^-1 F'W^-1, where
without F it says log|W| and [X y]'W^-1 [X y]. ML takes log|W| alone, from the design without fixed
effects.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np

import mlmfast._core as _core
from mlmfast.arrays import FloatArray
from mlmfast.reduction.engines.large_crossed import derivatives_by_differences
from mlmfast.reduction.engines.sizes import LARGEST_EXACT
from mlmfast.running.cached import cached_property

_Entries = Sequence[tuple[int, int, int]]
_Evaluation = tuple[FloatArray, FloatArray, FloatArray, FloatArray]


@dataclass(frozen=True)
class AbsorbedCore:
    """A reduced design with an absorbed factor.

    Attributes
    ----------
    core
        The engine, the factor its last level.
    make_random
        Makes the reduction of the random effects without any fixed ones.
    n_obs, n_levels
        Rows, and levels of the factor.
    has_random
        Whether there are random effects.
    reml
        Whether what `solve` says is for REML.
    """

    core: _core.CrossedReduction
    make_random: Callable[[], _core.CrossedReduction]
    n_obs: int
    n_levels: int
    has_random: bool
    reml: bool = True

    @staticmethod
    def offers(name: str) -> bool:
        """Whether a method that not all engines have answers here; see `Engine.offers`."""
        return name in ("within", "likelihood_derivatives", "information_second_derivatives")

    def for_method(self, reml: bool) -> AbsorbedCore:
        """The same for REML or ML."""
        return self if reml == self.reml else replace(self, reml=reml)

    @cached_property
    def random(self) -> _core.CrossedReduction:
        """The random effects without fixed ones, which ML takes log|W| from."""
        return self.make_random()

    # -- what the design says ------------------------------------------------------------------

    @property
    def kept(self) -> list[int]:
        """Columns of X that the factor and those before leave something of."""
        return self.core.kept

    @property
    def x_factor(self) -> FloatArray:
        """Upper triangular R with X = Q R within levels."""
        return self.core.x_factor

    @property
    def ols(self) -> FloatArray:
        """Q'y."""
        return self.core.ols

    @property
    def y_scale(self) -> FloatArray:
        """Root mean square of the least squares residual."""
        return self.core.y_scale

    @property
    def within(self) -> tuple[FloatArray, FloatArray | int]:
        """Residual sum of squares outside the leading factor, and its degrees of freedom."""
        return self.core.within

    @property
    def bases(self) -> list[FloatArray]:
        """Bases of the random effects, by level."""
        return self.core.bases[:-1]

    @property
    def size(self) -> tuple[int, int]:
        """Units eliminated first, and order of the matrix factored after them."""
        return self.core.size

    @property
    def level_scale(self) -> float:
        """What the engine divides the factor's indicators by."""
        return float(self.core.bases[-1][0, 0])

    @property
    def is_exact(self) -> bool:
        """Whether second derivatives are exact ones; else they are differences."""
        return self.core.size[1] <= LARGEST_EXACT

    # -- what the covariances say --------------------------------------------------------------

    def whole(self, g: Sequence[FloatArray], n: int) -> list[FloatArray]:
        """Covariances with the factor's place, which is 1 to the engine."""
        return [*g, np.ones((n, 1, 1))]

    def solve(
        self, g: Sequence[FloatArray], fits: Sequence[int]
    ) -> tuple[FloatArray, FloatArray, FloatArray]:
        """Generalised least squares; see `CrossedReduction.solve`."""
        beta, c, scalars = self.core.solve(self.whole(g, len(fits)), fits)
        if not self.reml:
            scalars = scalars.copy()
            scalars[:, 1] = self._logdet(g, len(fits))
        return beta, c, scalars

    def _logdet(self, g: Sequence[FloatArray], n: int) -> FloatArray:
        """log|W|, shape (n,)."""
        if not self.has_random:
            return np.zeros(n)
        return self.random.solve(g, [0] * n)[2][:, 1]

    def evaluate(
        self,
        g: Sequence[FloatArray],
        fits: Sequence[int],
        entries: _Entries,
        reml: bool,
        derivatives: bool,
    ) -> _Evaluation:
        """The criterion; see `CrossedReduction.evaluate`."""
        if reml:
            return self.core.evaluate(self.whole(g, len(fits)), fits, entries, True, derivatives)
        n, e = len(fits), len(entries)
        rss = self.core.solve(self.whole(g, n), fits)[2][:, 0]
        value = self._logdet(g, n) + self.n_obs * (1.0 + np.log(2.0 * np.pi * rss / self.n_obs))
        if not derivatives:
            nothing = np.full((n, e, e), np.nan)
            return value, np.full((n, e), np.nan), nothing, nothing
        exact = self.random.curvature == "exact" or not any(x.any() for x in g)
        traces, second, by, by_second = self._parts(g, fits, entries, exact)
        return value, *_assembled(self.n_obs, rss, (traces, second), (by, by_second), exact)

    def _parts(
        self, g: Sequence[FloatArray], fits: Sequence[int], entries: _Entries, exact: bool
    ) -> tuple[FloatArray, FloatArray, FloatArray, FloatArray]:
        """Derivatives of log|W| and of y'Py for ML."""
        random = self.random.likelihood_derivatives(g, [0] * len(fits), entries, False, exact)
        whole = self.whole(g, len(fits))
        own = self.core.likelihood_derivatives(whole, fits, entries, False, False)
        return random[0], random[1], own[2], own[3]

    def likelihood_derivatives(
        self, g: Sequence[FloatArray], fits: Sequence[int], entries: _Entries, reml: bool
    ) -> list[FloatArray]:
        """Exact derivatives; see `CrossedReduction.likelihood_derivatives`.

        Where the matrices of the second ones would be too large these are differences of the first.
        """
        whole = self.whole(g, len(fits))
        if reml:
            return self._exact(self.core, whole, fits, entries, True)
        out = self.core.likelihood_derivatives(whole, fits, entries, False, False)
        if self.has_random:
            random = self._exact(self.random, list(g), [0] * len(fits), entries, False)
            out[0], out[1] = random[0], random[1]
        return out

    def _exact(
        self,
        core: _core.CrossedReduction,
        g: list[FloatArray],
        fits: Sequence[int],
        entries: _Entries,
        reml: bool,
    ) -> list[FloatArray]:
        if core.size[1] <= LARGEST_EXACT:
            return core.likelihood_derivatives(g, fits, entries, reml, True)
        return derivatives_by_differences(core, g, fits, entries, reml, self.n_obs)

    def information_derivatives(
        self, g: Sequence[FloatArray], fit: int, entries: _Entries
    ) -> FloatArray | None:
        """Derivatives of X'P_F X by entries."""
        return self.core.information_derivatives(self.whole(g, 1), fit, entries)

    def information_second_derivatives(
        self,
        g: Sequence[FloatArray],
        fit: int,
        entries: _Entries,
        weights: FloatArray | None = None,
    ) -> FloatArray | None:
        """Second derivatives of X'P_F X by entries."""
        return self.core.information_second_derivatives(self.whole(g, 1), fit, entries, weights)


def _assembled(
    n: int,
    rss: FloatArray,
    logdet: tuple[FloatArray, FloatArray],
    squares: tuple[FloatArray, FloatArray],
    exact: bool,
) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Gradient, Hessian and expected Hessian of log|W| + n log rss by the entries of G.

    Without exact second derivatives both Hessians are the average information.
    """
    (traces, second), (by, by_second) = logdet, squares
    rss = rss[:, None, None]
    outer = n * by[:, :, None] * by[:, None, :] / rss**2
    gradient = traces + n * by / rss[:, 0]
    if not exact:
        average = 0.5 * n * by_second / rss - outer
        return gradient, average, average
    observed = second + n * by_second / rss - outer
    return gradient, observed, -second - traces[:, :, None] * traces[:, None, :] / n
