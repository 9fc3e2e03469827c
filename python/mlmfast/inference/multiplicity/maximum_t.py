"""Distribution of max |T_j| for correlated t statistics: exact adjusted p-values and intervals.

Z ~ N(0, C), s^2 ~ chi^2(df) / df, T = Z / s. Correlations of the form C_ij = l_i l_j (comparisons
with a control, and any two contrasts) lead to a double integral (Dunnett 1955, JASA 50, 1096-1121),
others to an average over quasi-random directions of Z with its radius integrated out: uniform
directions (Deak 1980, Computing 25, 1-13), in the tail directions near the statistics' axes, for
which the relative error is bounded however small the probability (Owen, Maximov and Chertkov 2019,
Electronic Journal of Statistics 13, 231-254).
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from mlmfast.arrays import FloatArray
from mlmfast.inference.multiplicity.scale_mixture import scale_nodes
from mlmfast.running.cached import cached_property
from mlmfast.running.scipy_on_use import special

_SEED = 20160229
# Uniform directions, and the shares of equal size that they are summed up by.
_LOG2_DIRECTIONS = 17
_N_SHARES = 4096
# Where Bonferroni's bound is below this, directions near the axes are drawn instead: for each axis
# as many as keep the cosines of all at about 2^19, within bounds.
_TAIL = 0.005
_LOG2_WORK = 19
_LOG2_POINTS = (9, 13)
_N_TABLE = 1500
# Step at which the search for a critical value ends; the integration errs by more.
_STEP = 1e-6
_PRODUCT_TOLERANCE = 1e-9
_Z = np.linspace(-8.5, 8.5, 161)
_DENSITY = np.exp(-0.5 * _Z**2) / np.sqrt(2 * np.pi) * (_Z[1] - _Z[0])


class MaximumT:
    """max |T_j| of statistics with a given correlation.

    Parameters
    ----------
    correlation : shape (m, m)
        Of rank r at most m.

    Examples
    --------
    >>> two = MaximumT(np.array([[1.0, 0.5], [0.5, 1.0]]))
    >>> round(two.upper_tail(2.2, 20.0), 6)
    0.071559
    """

    def __init__(self, correlation: FloatArray) -> None:
        self._m = len(correlation)
        self._loadings = product_form(correlation)
        values, vectors = np.linalg.eigh(correlation)
        kept = values > 1e-10 * values[-1]
        rows = vectors[:, kept] * np.sqrt(values[kept])
        self._rows = rows / np.linalg.norm(rows, axis=1, keepdims=True)
        self._rank = self._rows.shape[1]

    def upper_tail(self, c: float, df: float) -> float:
        """P(max |T| > c); df may be infinite."""
        if not c > 0:
            return 1.0
        single = _two_sided(c, df)
        if self._m == 1:
            return single
        if self._loadings is not None:
            return min(product_tail(c, df, self._loadings), 1.0)
        bonferroni = self._m * single
        if bonferroni > _TAIL:
            value = float(_radial_tail(c / self._largest_cosines, self._rank, df).mean())
        else:
            value = bonferroni * self._mean_share(c, df)
        return float(np.clip(value, single, min(bonferroni, 1.0)))

    def critical_value(self, p: float, df: float) -> float:
        """c with P(max |T| > c) = p."""
        low, high = _quantile(p, df), _quantile(p / self._m, df)
        if self._m == 1 or self.upper_tail(low, df) <= p:
            return low
        if self.upper_tail(high, df) >= p:
            return high
        from scipy import optimize

        excess = lambda c: self.upper_tail(c, df) - p  # noqa: E731
        return float(
            optimize.brentq(excess, low, high, xtol=_STEP if self._loadings is None else 1e-12)
        )

    @cached_property
    def _largest_cosines(self) -> FloatArray:
        """Largest cosine between a uniform direction and an axis, as means of equal shares."""
        normals = special.ndtri(_uniform_points(self._rank, _LOG2_DIRECTIONS))
        largest = np.concatenate(
            [
                np.abs(block @ self._rows.T).max(axis=1) / np.linalg.norm(block, axis=1)
                for block in np.array_split(normals, 32)
            ]
        )
        return np.asarray(np.sort(largest).reshape(_N_SHARES, -1).mean(axis=1))

    def _mean_share(self, c: float, df: float) -> float:
        """Mean of g(max_j x_j) / sum_j g(x_j) over the mixture of the tails |T_i| > c.

        x_j is the cosine between Z and the j-th statistic's axis, g(x) = P(R x > c s) with R^2 ~
        chi^2(r) the squared radius.
        """
        grid = np.linspace(0.0, 1.0, _N_TABLE + 1)[1:]
        table = np.log(np.maximum(_radial_tail(c / grid, self._rank, df), 1e-300))
        uniform, normals = self._quasi_random
        t, s = _conditioned(uniform[0], uniform[1], c, df)
        total = 0.0
        for axis in self._rows:
            z = normals + np.outer(t * s - normals @ axis, axis)
            cosines = np.abs(z @ self._rows.T) / np.linalg.norm(z, axis=1)[:, None]
            log_g = np.interp(cosines, grid, table)
            log_g -= log_g.max(axis=1, keepdims=True)
            total += float(np.mean(1.0 / np.exp(log_g).sum(axis=1)))
        return total / self._m

    @cached_property
    def _quasi_random(self) -> tuple[FloatArray, FloatArray]:
        """Two uniform variables and `rank` normal ones, shapes (2, n) and (n, rank)."""
        log2_points = int(np.clip(_LOG2_WORK - 2 * np.log2(self._m), *_LOG2_POINTS))
        points = _uniform_points(self._rank + 2, log2_points)
        return np.ascontiguousarray(points[:, :2].T), special.ndtri(points[:, 2:])


class SimulatedMaximumT:
    """The same by plain simulation, as the ADJUST=SIMULATE of SAS does.

    Edwards and Berry (1987), Biometrics 43, 913-928.

    Parameters
    ----------
    correlation : shape (m, m)
    seed
        Seed of NumPy's generator.
    n_samples
        Number of draws.
    """

    def __init__(self, correlation: FloatArray, seed: int = 0, n_samples: int = 100_000) -> None:
        generator = np.random.default_rng(seed)
        values, vectors = np.linalg.eigh(correlation)
        root = vectors * np.sqrt(np.maximum(values, 0.0))
        self._largest = np.empty(n_samples)
        for start in range(0, n_samples, 8192):
            block = slice(start, min(start + 8192, n_samples))
            z = generator.standard_normal((block.stop - start, len(values)))
            self._largest[block] = np.abs(z @ root.T).max(axis=1)
        self._uniform = generator.random(n_samples)

    def upper_tail(self, c: float, df: float) -> float:
        """Share of the draws above c, counting the data's own as one."""
        above = np.count_nonzero(self._draws(df) >= c)
        return float((above + 1) / (len(self._largest) + 1))

    def critical_value(self, p: float, df: float) -> float:
        """Quantile of the draws."""
        return float(np.quantile(self._draws(df), 1 - p))

    def _draws(self, df: float) -> FloatArray:
        if np.isinf(df):
            return self._largest
        s = np.sqrt(2 * special.gammaincinv(df / 2, self._uniform) / df)
        return np.asarray(self._largest / s)


def _uniform_points(size: int, log2_points: int) -> FloatArray:
    """Quasi-random points of the unit cube, shape (2**log2_points, size)."""
    from scipy.stats import qmc

    # A fixed seed: the same tables on every run.
    sobol = qmc.Sobol(size, scramble=True, seed=_SEED)
    return np.clip(sobol.random_base2(log2_points), 1e-12, 1 - 1e-12)


def product_form(correlation: FloatArray) -> FloatArray | None:
    """Loadings l, all below 1 in size, with C_ij = l_i l_j off the diagonal, if there are any."""
    m = len(correlation)
    if m == 1:
        return np.zeros(1)
    size, sign = np.abs(correlation), np.where(correlation[0] < 0, -1.0, 1.0)
    if m == 2:
        loadings = np.sqrt(size[0, 1]) * sign
    else:
        i, j = np.unravel_index(np.argmax(size - 2 * np.eye(m)), size.shape)
        k = next(k for k in range(m) if k not in (i, j))
        if size[j, k] == 0:
            return None
        first = np.sqrt(size[i, j] * size[i, k] / size[j, k])
        if first == 0:
            return None
        loadings = correlation[i] / first
        loadings[i] = first
    product = np.outer(loadings, loadings)
    np.fill_diagonal(product, 1.0)
    fits = np.abs(product - correlation).max() < _PRODUCT_TOLERANCE
    return loadings if fits and np.abs(loadings).max() < 1 - 1e-6 else None


def product_tail(c: float, df: float, loadings: FloatArray, sides: int = 2) -> float:
    """P(max |T| > c), or P(max T > c) for one side, of statistics with correlations l_i l_j."""
    nodes, weights = scale_nodes(df)
    outside = np.zeros((len(nodes), len(_Z)))
    for loading in loadings:
        rest = np.sqrt(1 - loading**2)
        bound, centre = (c * nodes)[:, None] / rest, loading * _Z / rest
        tails = special.ndtr(centre - bound)
        if sides == 2:
            tails = tails + special.ndtr(-centre - bound)
        outside += np.log1p(-np.minimum(tails, 1 - 1e-16))
    return float(weights @ (-np.expm1(outside) @ _DENSITY))


def _two_sided(c: float, df: float) -> float:
    return float(2 * (special.ndtr(-c) if np.isinf(df) else special.stdtr(df, -c)))


def _quantile(p: float, df: float) -> float:
    return float(-special.ndtri(p / 2) if np.isinf(df) else -special.stdtrit(df, p / 2))


def _radial_tail(ratio: FloatArray, rank: int, df: float) -> FloatArray:
    """P(R > ratio s)."""
    if np.isinf(df):
        return np.asarray(special.chdtrc(rank, ratio**2))
    return np.asarray(special.fdtrc(rank, df, ratio**2 / rank))


def _conditioned(
    u: FloatArray, v: FloatArray, c: float, df: float
) -> tuple[FloatArray, FloatArray]:
    """Draws of t and s given |t| > c."""
    if np.isinf(df):
        return np.asarray(-special.ndtri(u * special.ndtr(-c)), dtype=np.float64), np.ones_like(u)
    beyond = special.stdtr(df, -c)
    t = np.exp(_tabulated(lambda x: np.log(-special.stdtrit(df, x * beyond)), u))
    # Given t, s^2 (df + t^2) is chi-squared with a degree of freedom more.
    log_chi2 = _tabulated(lambda x: np.log(2 * special.gammaincinv((df + 1) / 2, x)), v)
    return t, np.exp(0.5 * log_chi2) / np.sqrt(df + t**2)


_LOGIT = np.linspace(-27.7, 27.7, 1025)


def _tabulated(function: Callable[[FloatArray], FloatArray], u: FloatArray) -> FloatArray:
    """Interpolate a smooth function of log(u / (1 - u)): inverting a tail costs far more."""
    return np.asarray(np.interp(special.logit(u), _LOGIT, function(special.expit(_LOGIT))))
