"""The density of a multivariate normal vector, its moments and its draws."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import ArrayLike

from mlmfast.arrays import FloatArray
from mlmfast.errors import DataError
from mlmfast.mvn import factor as _factor
from mlmfast.mvn import input as _input

LOG_2PI = float(np.log(2 * np.pi))


@dataclass(frozen=True, init=False, eq=False, repr=False)
class Density:
    """Mean, covariance and density of a normal vector; see `MVN` for what is made of it."""

    mean: FloatArray
    cov: FloatArray
    names: tuple[str, ...]
    _root: _factor.Factor = field(repr=False)

    def __init__(
        self, mean: ArrayLike, cov: ArrayLike, names: str | Iterable[str] | None = None
    ) -> None:
        center = _input.vector("mean", mean)
        matrix = _input.covariance_matrix("cov", cov, center.size)
        object.__setattr__(self, "mean", center)
        object.__setattr__(self, "cov", matrix)
        object.__setattr__(self, "names", _input.component_names(names, center.size))
        object.__setattr__(self, "_root", _factor.factorise("cov", matrix))

    def __len__(self) -> int:
        """Return k, the number of components."""
        return len(self.names)

    @property
    def rank(self) -> int:
        """Rank of cov, the dimension of the support.

        Examples
        --------
        >>> from mlmfast.mvn import MVN
        >>> MVN([0, 0], [[1, 1], [1, 1]]).rank
        1
        """
        return self._root.rank

    def std(self) -> FloatArray:
        """Return the standard deviations, shape (k,).

        Examples
        --------
        >>> from mlmfast.mvn import MVN
        >>> print(MVN([0, 0], [[4, 1], [1, 9]]).std())
        [2. 3.]
        """
        return np.sqrt(np.diag(self.cov))

    def correlation(self) -> FloatArray:
        """Return the correlation matrix, shape (k, k); NaN for components with variance 0.

        Examples
        --------
        >>> from mlmfast.mvn import MVN
        >>> print(MVN([0, 0], [[4, 3], [3, 9]]).correlation())
        [[1.  0.5]
         [0.5 1. ]]
        """
        sd = np.where(self.std() > 0, self.std(), np.nan)
        correlation = self.cov / sd / sd[:, None]
        correlation[np.diag(self.cov) > 0, np.diag(self.cov) > 0] = 1.0
        return correlation

    def mahalanobis(self, x: ArrayLike) -> FloatArray:
        """Distance from the mean, sqrt((x - mean)' cov^-1 (x - mean)).

        For a singular cov the inverse is the pseudo-inverse (any generalised inverse gives the
        same; Rao 1973, section 8a.4), and points off the support are infinitely far. Eigenvalues
        of the correlation matrix up to t = 1e-13 k times the largest count as 0, so a point
        counts as on the support when it is within 8 sqrt(t) (1 + largest deviation) of it, in
        standard deviations (6e-6 for k = 2); constant components must agree to 1e-8.

        Parameters
        ----------
        x : shape (..., k); for k = 1 also a number.

        Returns
        -------
        shape (...); the square is chi-square with `rank` degrees of freedom
        (Johnson and Wichern, result 4.7).

        Raises
        ------
        DataError
            The last axis of x is not k long, or an entry is not a finite real number.

        Examples
        --------
        >>> from mlmfast.mvn import MVN
        >>> print(MVN([0, 0], [[4, 0], [0, 1]]).mahalanobis([[2, 0], [0, 2]]))
        [1. 2.]
        """
        points = _input.points("x", x, len(self))
        deviation = points - self.mean
        z = _factor.whiten(self._root, deviation)
        magnitude = np.abs(points) + np.abs(self.mean)
        near = _factor.on_support(self._root, deviation, magnitude)
        distance: FloatArray = np.where(near, np.linalg.norm(z, axis=-1), np.inf)[()]
        return distance

    def logpdf(self, x: ArrayLike) -> FloatArray:
        """Log density, -(r log 2 pi + log|cov| + d(x)^2) / 2, with d from `mahalanobis`.

        r is the rank. For r = k this is Anderson (2003), section 2.3, by Cholesky. For r < k
        |cov| is the product of the non-zero eigenvalues and the density is with respect to
        Lebesgue measure on the support (Rao 1973, section 8a.4); off the support it is -inf.

        Parameters
        ----------
        x : shape (..., k); for k = 1 also a number.

        Returns
        -------
        shape (...).

        Raises
        ------
        DataError
            As for `mahalanobis`.

        Examples
        --------
        >>> from mlmfast.mvn import MVN
        >>> round(float(MVN([0, 0], [[1, 0], [0, 1]]).logpdf([0, 0])), 4)
        -1.8379
        """
        constant = self.rank * LOG_2PI + self._root.log_det
        return -0.5 * (constant + self.mahalanobis(x) ** 2)

    def pdf(self, x: ArrayLike) -> FloatArray:
        """Density exp(logpdf(x)), shape (...) for x of shape (..., k).

        Examples
        --------
        >>> from mlmfast.mvn import MVN
        >>> round(float(MVN(0, 1).pdf(0)), 4)
        0.3989
        """
        return np.exp(self.logpdf(x))

    def sample(
        self,
        n: int,
        seed: int | np.random.SeedSequence | np.random.Generator | None = None,
    ) -> FloatArray:
        """Draw n vectors mean + B z, with cov = B B' and z standard normal, shape (n, k).

        Raises
        ------
        DataError
            n is not an integer that is at least 0.

        Examples
        --------
        >>> from mlmfast.mvn import MVN
        >>> MVN([0, 0], [[1, 1], [1, 1]]).sample(3, seed=1).shape
        (3, 2)
        """
        if isinstance(n, bool) or not isinstance(n, (int, np.integer)) or n < 0:
            raise DataError(f"n is {n!r}; the number of draws must be an integer >= 0")
        z = np.random.default_rng(seed).standard_normal((int(n), self.rank))
        return self.mean + z @ self._root.half().T

    def entropy(self) -> float:
        """Differential entropy on the support, (r (1 + log 2 pi) + log|cov|) / 2, in nats.

        Examples
        --------
        >>> from mlmfast.mvn import MVN
        >>> round(MVN(0, 1).entropy(), 4)
        1.4189
        """
        return 0.5 * (self.rank * (1 + LOG_2PI) + self._root.log_det)
