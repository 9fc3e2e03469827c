"""The multivariate normal distribution, with its algebra in matrix form.

Linear functions, marginals and conditionals of a normal vector are normal again; this module
returns each as another `MVN`. The covariance matrix may be singular everywhere: ranks are judged
on the correlation scale, and a singular distribution lives on its support, mean + range(cov).

References
----------
Anderson (2003), An Introduction to Multivariate Statistical Analysis, 3rd ed., chapter 2.
Rao (1973), Linear Statistical Inference and Its Applications, 2nd ed., section 8a.
Johnson and Wichern (2007), Applied Multivariate Statistical Analysis, 6th ed., chapter 4.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from numpy.typing import ArrayLike

from mlmfast.arrays import FloatArray, IntArray
from mlmfast.errors import DataError
from mlmfast.mvn import factor as _factor
from mlmfast.mvn import input as _input
from mlmfast.mvn import plot as _plot
from mlmfast.mvn.density import Density
from mlmfast.mvn.input import Component, Subset

if TYPE_CHECKING:
    from matplotlib.axes import Axes


@dataclass(frozen=True, init=False, eq=False, repr=False)
class MVN(Density):
    """The normal distribution N(mean, cov) of a vector x with k named components.

    Parameters
    ----------
    mean : shape (k,); a number when k = 1.
    cov : shape (k, k), symmetric and positive semi-definite; a number (the variance) when k = 1.
    names : k different strings; x0, x1, ... by default. Wherever a component or a subset of
        components is asked for, positions and names will both do.

    Attributes
    ----------
    mean, cov : read-only copies of the input, as float64.
    names : tuple of k strings.

    Raises
    ------
    DataError
        Shapes that disagree; NaN, infinite, complex or masked entries; a cov that is not
        symmetric (beyond 1e-8 sd_i sd_j) or not positive semi-definite (correlation matrix with
        an eigenvalue below -1e-8 of the largest); names that are repeated or too few.

    Notes
    -----
    A + x, A @ x and A @ x + b are understood, with x an MVN: see `linear`.

    Examples
    --------
    >>> MVN([50, 52], [[100, 48], [48, 64]], names=["math", "reading"])
    MVN with 2 components
             mean  SD  correlation
    math       50  10
    reading    52   8         0.60
    """

    # Lets `matrix @ mvn` and `vector + mvn` reach __rmatmul__ and __radd__.
    __array_ufunc__: ClassVar[None] = None

    def __repr__(self) -> str:
        """Return means and standard deviations, with the correlations of up to 8 components."""
        return _plot.describe(self)

    def linear(
        self, A: ArrayLike, b: ArrayLike = 0.0, names: str | Iterable[str] | None = None
    ) -> MVN:
        """Distribution of y = A x + b, which is N(A mean + b, A cov A').

        Anderson (2003), theorem 2.4.5; no rank of A or cov is assumed. `A @ x + b` is the same.

        Parameters
        ----------
        A : shape (m, k), or (k,) for a single linear combination.
        b : shape (m,), or one number for all.
        names : m names for y; y0, y1, ... by default.

        Raises
        ------
        DataError
            A has not k columns, b not m entries, or an entry is not a finite real number.

        Examples
        --------
        >>> difference = MVN([50, 52], [[100, 48], [48, 64]]).linear([-1, 1], names="gain")
        >>> print(difference.mean, difference.cov)
        [2.] [[68.]]
        """
        coefficients = _input.matrix("A", A, len(self))
        mean = coefficients @ self.mean + _input.offset("b", b, len(coefficients))
        cov = _factor.transformed_covariance(coefficients, self.cov, self._root)
        return MVN(mean, cov, _input.component_names(names, len(coefficients), prefix="y"))

    def __rmatmul__(self, A: ArrayLike) -> MVN:
        """Return the distribution of A x."""
        return self.linear(A)

    def __add__(self, b: ArrayLike) -> MVN:
        """Return the distribution of x + b for a fixed vector or number b; names are kept."""
        # Two MVNs do not say how they depend on each other, so their sum is not defined here.
        if isinstance(b, MVN):
            return NotImplemented
        return MVN(self.mean + _input.offset("b", b, len(self)), self.cov, self.names)

    __radd__ = __add__

    def marginal(self, subset: Subset) -> MVN:
        """Distribution of the listed components, in the order listed (Anderson, theorem 2.4.3).

        Raises
        ------
        DataError
            The subset is empty, repeats a component, or lists one that does not exist.

        Examples
        --------
        >>> MVN([1, 2, 3], [[4, 0, 1], [0, 9, 0], [1, 0, 1]]).marginal(["x2", "x0"]).mean
        array([3., 1.])
        """
        keep = _input.positions(self.names, subset, "subset")
        return MVN(self.mean[keep], self.cov[np.ix_(keep, keep)], [self.names[i] for i in keep])

    def covariance_block(self, a: Subset, b: Subset) -> FloatArray:
        """Covariances of the components in `a` (rows) with those in `b` (columns).

        Raises
        ------
        DataError
            As for `marginal`.

        Examples
        --------
        >>> print(MVN([0, 0, 0], [[4, 0, 1], [0, 9, 0], [1, 0, 1]]).covariance_block(0, [1, 2]))
        [[0. 1.]]
        """
        rows = _input.positions(self.names, a, "a")
        return self.cov[np.ix_(rows, _input.positions(self.names, b, "b"))]

    def independent(self, a: Subset, b: Subset, tolerance: float = 1e-10) -> bool:
        """Whether x[a] and x[b] are independent: all their covariances are zero.

        Anderson (2003), theorem 2.4.2; the equivalence holds because x is jointly normal. Zero
        means |cov_ij| <= tolerance sd_i sd_j, that is |correlation| <= tolerance. A component
        is independent of itself only when it is constant.

        Raises
        ------
        DataError
            As for `marginal`.

        Examples
        --------
        >>> x = MVN([0, 0, 0], [[4, 0, 1], [0, 9, 0], [1, 0, 1]])
        >>> x.independent(1, [0, 2]), x.independent(0, [1, 2])
        (True, False)
        """
        sd = self.std()
        rows = _input.positions(self.names, a, "a")
        columns = _input.positions(self.names, b, "b")
        limit = tolerance * np.outer(sd[rows], sd[columns])
        return bool((np.abs(self.cov[np.ix_(rows, columns)]) <= limit).all())

    def regression_coefficients(self, given: Subset) -> FloatArray:
        """Coefficients S12 S22^-1 of the regression of the rest (1) on the given part (2).

        Anderson (2003), section 2.5.1. When S22 is singular the coefficients are not unique;
        these are a solution of B S22 = S12, by pseudo-inverse on the correlation scale.

        Returns
        -------
        shape (k - m, m) for m given components: rows are the other components in their order,
        columns the given ones in the order listed.

        Raises
        ------
        DataError
            As for `conditional`.

        Examples
        --------
        >>> print(MVN([50, 52], [[100, 48], [48, 64]]).regression_coefficients(1))
        [[0.75]]
        """
        fixed, rest = self._split(given)
        return _factor.regress(self.cov, rest, fixed).coefficients

    def conditional(
        self, given: Subset | Mapping[Component, float], values: ArrayLike | None = None
    ) -> MVN:
        """Distribution of the rest of x when some components are known.

        With x1 the rest and x2 the given part, x1 | x2 is normal with mean
        mean1 + S12 S22^-1 (x2 - mean2) and covariance S11 - S12 S22^-1 S21 (Anderson 2003,
        theorem 2.5.1; for singular S22 Rao 1973, section 8a.2). The covariance is computed as a
        product L L' from a Cholesky or eigenvalue factor of cov, never as that difference.

        Parameters
        ----------
        given : the m known components, or a mapping from component to value.
        values : shape (m,), their values in the order listed; not with a mapping.

        Raises
        ------
        DataError
            `given` is empty, is all of x, repeats a component or lists one that does not exist;
            the number of values differs; or S22 is singular and the values are impossible, that
            is off the support of x2 (see `mahalanobis` for the tolerance).

        Examples
        --------
        >>> scores = MVN([50, 52], [[100, 48], [48, 64]], names=["math", "reading"])
        >>> scores.conditional({"reading": 60})
        MVN with 1 component
              mean  SD
        math    56   8
        """
        if isinstance(given, Mapping):
            if values is not None:
                raise DataError("values are given twice: pass a mapping or values, not both")
            values = list(given.values())
            given = list(given)
        if values is None:
            raise DataError("values are missing; pass conditional(given, values) or a mapping")
        fixed, rest = self._split(given)
        known = _input.vector("values", values, len(fixed))
        self._require_possible(fixed, known)
        regression = _factor.regress(self.cov, rest, fixed)
        mean = self.mean[rest] + regression.coefficients @ (known - self.mean[fixed])
        return MVN(mean, regression.residual_cov, [self.names[i] for i in rest])

    def _split(self, given: Subset) -> tuple[IntArray, IntArray]:
        fixed = _input.positions(self.names, given, "given")
        rest = np.setdiff1d(np.arange(len(self)), fixed)
        if rest.size == 0:
            raise DataError(f"given lists all {len(self)} components; leave out at least one")
        return fixed, rest

    def _require_possible(self, fixed: IntArray, known: FloatArray) -> None:
        if self.rank < len(self) and np.isinf(self.marginal(fixed).mahalanobis(known)):
            raise DataError(
                "the values are impossible: the covariance matrix of the given components is "
                "singular, and no x with these values has positive density"
            )

    def kl_divergence(self, other: MVN) -> float:
        """Kullback-Leibler divergence from this distribution P to `other`, Q, in nats.

        (tr(Q^-1 P) + d' Q^-1 d - r + log|Q| - log|P|) / 2, with P and Q the covariance matrices,
        r their rank and d the difference of the means (Kullback 1959, Information Theory and
        Statistics, chapter 9); infinite when the supports differ.

        Raises
        ------
        DataError
            The two have different numbers of components.

        Examples
        --------
        >>> MVN(1, 1).kl_divergence(MVN(0, 1))
        0.5
        """
        if len(other) != len(self):
            raise DataError(f"other has {len(other)} components; it must have {len(self)}")
        directions = np.vstack([self._root.half().T, self.mean - other.mean])
        magnitude = np.abs(directions)
        magnitude[-1] = np.abs(self.mean) + np.abs(other.mean)
        if self.rank != other.rank or not np.all(
            _factor.on_support(other._root, directions, magnitude)
        ):
            return float(np.inf)
        spread = float((_factor.whiten(other._root, directions) ** 2).sum())
        return 0.5 * (spread - self.rank + other._root.log_det - self._root.log_det)

    def ellipse(
        self, level: float, dims: Sequence[Component] = (0, 1), n_points: int = 201
    ) -> FloatArray:
        """Contour of constant density around probability `level`, for two components.

        The points with (x - mean)' cov^-1 (x - mean) = c, c the `level` quantile of chi-square
        with 2 degrees of freedom (Johnson and Wichern, result 4.7). For two components of rank
        1 it is the central segment of that probability, c with 1 degree of freedom.

        Parameters
        ----------
        level : probability inside, between 0 and 1.
        dims : the two components.
        n_points : number of points along the closed curve; the first is repeated as the last.

        Returns
        -------
        shape (n_points, 2).

        Raises
        ------
        DataError
            level is not a probability, dims is not two components, or both are constant.

        Examples
        --------
        >>> curve = MVN([0, 0], [[1, 0], [0, 1]]).ellipse(0.95)
        >>> print(curve.shape, round(float(curve.max()), 3))
        (201, 2) 2.448
        """
        return _plot.ellipse(self.marginal(dims), level, n_points)

    def surface(self, dims: Subset = (0, 1), ax: Any = None) -> Any:
        """Draw the density of two components as a surface over their plane, contours below.

        Parameters
        ----------
        dims : two components.
        ax : matplotlib Axes with ``projection="3d"``; new ones by default.

        Returns
        -------
        The Axes.

        Raises
        ------
        DataError
            dims are not two components, their covariance is singular, or ax has two dimensions.

        Examples
        --------
        >>> MVN([0, 0], [[1, 0.6], [0.6, 1]], names=["x", "y"]).surface().get_title()
        'Density of x and y'
        """
        from mlmfast.mvn.surface import draw_surface

        return draw_surface(self.marginal(dims), ax)

    def plot(
        self,
        dims: Subset = (0, 1),
        levels: float | Sequence[float] = (0.5, 0.9, 0.99),
        ax: Axes | None = None,
        points: ArrayLike | None = None,
    ) -> Axes:
        """Draw the density of two components as ellipses, or of one component as a curve.

        Each ellipse (or central interval) holds the probability the legend tells; the dashed
        lines are the principal axes, the eigenvectors of the covariance matrix (Johnson and
        Wichern, equation 4-7). Axes have equal scales unless the standard deviations differ by
        more than a factor of 4.

        Parameters
        ----------
        dims : two components, or one; for k = 1 the default means that one.
        levels : probabilities.
        ax : matplotlib Axes to draw into; a new figure by default.
        points : shape (n, k), vectors to show as dots, for example `x.sample(200)`.

        Returns
        -------
        The Axes.

        Raises
        ------
        MlmError
            matplotlib is not installed.
        DataError
            A level is not a probability, dims are not one or two components that vary, or
            points are not of shape (n, k).

        Examples
        --------
        >>> ax = MVN([0, 0], [[1, 0.6], [0.6, 1]], names=["g0", "g1"]).plot()
        >>> ax.get_xlabel(), ax.get_ylabel()
        ('g0', 'g1')
        """
        shown = _input.positions(self.names, 0 if len(self) == 1 else dims, "dims")
        dots = None if points is None else _input.matrix("points", points, len(self))[:, shown]
        return _plot.draw(self.marginal(shown), levels, ax, dots)
