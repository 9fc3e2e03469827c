"""Reduction: rows of a linear mixed model read once, and everything that the likelihood says."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from mlmfast.arrays import FloatArray
from mlmfast.criterion.criterion import Criterion, criterion_of
from mlmfast.criterion.deviance import deviance_of_sums
from mlmfast.criterion.scaled import by_entries
from mlmfast.design.design import Design
from mlmfast.design.from_arrays import design_from_arrays
from mlmfast.errors import DataError, ModelError
from mlmfast.low_level.answers import GLS, Estimate, RandomEffect
from mlmfast.low_level.coordinates import Coordinates, Point
from mlmfast.low_level.merging import Part, merged
from mlmfast.reduction.reduce import reduce_design
from mlmfast.reduction.reduced_model import ReducedModel
from mlmfast.reduction.scaling import centers_and_scales
from mlmfast.running.cached import cached_property
from mlmfast.words import read_method

if TYPE_CHECKING:
    from mlmfast.degrees_of_freedom import Ddf
    from mlmfast.result import LMMResult

_FIRST = np.zeros(1, dtype=np.intp)


class Reduction:
    """Rows of y = X beta + Z b + e, read once; asked for its likelihood as often as wanted.

    theta holds the lower triangle of the covariance matrix G of each grouping factor's effects, row
    by row, factor after factor, and the residual variance last, all in the units of y. Nothing is
    profiled out of it; beta always is.

    Parameters
    ----------
    y, X, groups, Z, names, weights, offset
        As `mlmfast.LMM.from_arrays` takes them.

    Examples
    --------
    >>> import numpy as np
    >>> rng = np.random.default_rng(1)
    >>> groups = np.repeat(np.arange(20), 5)
    >>> X = np.column_stack([np.ones(100), rng.normal(size=100)])
    >>> y = X @ [1.0, 2.0] + rng.normal(size=20)[groups] + rng.normal(size=100)
    >>> rows = Reduction(y, X, groups=groups)
    >>> rows.names
    ('var_(Intercept)|group', 'Residual')
    >>> found = rows.estimate()
    >>> bool(np.abs(rows.gradient(found.theta)).max() < 1e-6)
    True
    >>> bool(np.abs(rows.gls(found.theta).beta - [1.0, 2.0]).max() < 0.5)
    True
    """

    def __init__(
        self,
        y: Any,
        X: Any,
        *,
        groups: Any = None,
        Z: Any = None,
        names: Sequence[str] | None = None,
        weights: Any = None,
        offset: Any = None,
    ) -> None:
        design = design_from_arrays(y, X, groups, Z, names, weights, offset)
        self._part = Part.of(design, y, X, groups, Z)

    @property
    def _design(self) -> Design:
        return self._part.design

    @cached_property
    def _model(self) -> ReducedModel:
        return reduce_design(self._design)

    @cached_property
    def _coordinates(self) -> Coordinates:
        return Coordinates(self._model)

    @property
    def names(self) -> tuple[str, ...]:
        """Names of theta: ``var_x|g``, ``cov_x.y|g``, and ``Residual``."""
        return self._coordinates.names

    @property
    def nobs(self) -> int:
        """Rows."""
        return self._design.n_observations

    def covariances(self, theta: Any) -> dict[str, FloatArray]:
        """Covariance matrix of the effects of each grouping factor, (q, q)."""
        matrices = self._coordinates.matrices(self._theta(theta))
        names = [self._design.factors[term.factor].name for term in self._design.random]
        return dict(zip(names, matrices, strict=True))

    def theta(self, covariances: Mapping[str, Any], sigma2: float) -> FloatArray:
        """The vector of covariance matrices by grouping factor and the residual variance.

        Raises
        ------
        ModelError
            Where a factor has no matrix, or one of another size or that is not symmetric.
        """
        matrices = []
        for term, q in zip(self._design.random, self._coordinates.sizes, strict=True):
            name = self._design.factors[term.factor].name
            if name not in covariances:
                raise ModelError(f"no covariance matrix for the grouping factor {name!r}")
            matrix = np.asarray(covariances[name], dtype=np.float64)
            if matrix.shape != (q, q):
                raise ModelError(
                    f"the covariance matrix of {name!r} has shape {matrix.shape}; ({q}, {q}) is "
                    "needed"
                )
            if not np.allclose(matrix, matrix.T, rtol=1e-8, atol=0.0, equal_nan=True):
                raise ModelError(
                    f"the covariance matrix of {name!r} is not symmetric: entries mirrored in the "
                    f"diagonal differ by up to {np.abs(matrix - matrix.T).max():.3g}; give a "
                    "symmetric matrix, for a triangular root L the product L @ L.T"
                )
            matrices.append(matrix)
        return self._coordinates.vector(matrices, float(sigma2))

    # -- the likelihood ------------------------------------------------------------------------

    def deviance(self, theta: Any, method: str = "REML") -> float:
        """-2 log-likelihood at theta, beta at its best; restricted for "REML".

        All constants are included, as `LMMResult.deviance` has them.

        Raises
        ------
        ModelError
            For covariances that are no covariances, or another method.
        """
        point, criterion = self._at(theta, method)
        scalars = criterion.reduction.solve(point.g, [0])[2]
        scale = np.array([point.log_sigma2])
        found = deviance_of_sums(self._model, criterion.reml, scalars, scale, _FIRST)
        return float(found[0])

    def gradient(self, theta: Any, method: str = "REML") -> FloatArray:
        """Derivatives of `deviance` by theta, (n_theta,); exact."""
        point, _, slope, _, _ = self._derivatives(theta, method)
        return np.asarray(point.first.T @ slope)

    def hessian(self, theta: Any, method: str = "REML", *, expected: bool = False) -> FloatArray:
        """Second derivatives of `deviance` by theta, (n_theta, n_theta), or what is expected.

        Half of it is the observed (or expected) information.
        """
        point, values, slope, bend, mean = self._derivatives(theta, method)
        if expected:
            return np.asarray(point.first.T @ mean @ point.first)
        curved = self._coordinates.bend(values, slope)
        return np.asarray(point.first.T @ bend @ point.first + curved)

    def gls(self, theta: Any) -> GLS:
        """Coefficients, their covariance and the weighted residual sum of squares at theta."""
        point, criterion = self._at(theta, "ML")
        model = self._model
        at_best, c, scalars = criterion.reduction.solve(point.g, [0])
        centers, scale = centers_and_scales(model.y_scaling)
        unit = model.core.y_scale[0] / scale[0]
        k, kept = model.fixed_map, model.kept
        beta = k @ (model.core.ols[0] / scale[0] + unit * at_best[0])
        if centers[0]:
            beta[model.intercept] += centers[0]
        p = len(self._design.x)
        full, covariance = np.full(p, np.nan), np.full((p, p), np.nan)
        full[kept] = beta
        covariance[np.ix_(kept, kept)] = self._theta(theta)[-1] * (k @ c[0] @ k.T)
        return GLS(full, covariance, float(scalars[0, 0] * np.exp(-point.log_sigma2)))

    def blups(self, theta: Any, beta: Any = None) -> dict[str, RandomEffect]:
        """Random effects given y, by grouping factor, at theta and beta (its best by default)."""
        from mlmfast.fitted.random_effects import effects_given

        point, _ = self._at(theta, "ML")
        coefficients = self.gls(theta).beta if beta is None else np.asarray(beta, dtype=np.float64)
        design, residual = self._design, self._design.working_response.copy()
        for column, b in zip(design.x, np.nan_to_num(coefficients), strict=True):
            residual -= b if column is None else b * column
        variance = float(self._theta(theta)[-1])
        found = effects_given(self._model, residual, point.g, variance) if design.random else {}
        out = {}
        for k, effects in sorted(found.items()):
            factor = design.factors[k]
            out[factor.name] = RandomEffect(factor.labels, effects.mean, effects.known_covariance())
        return out

    # -- estimates -----------------------------------------------------------------------------

    def estimate(self, method: str = "REML") -> Estimate:
        """Estimates by "REML" or "ML"; the same as `LMM.fit` gives, as arrays.

        Raises
        ------
        ModelError, DataError
            Where nothing can be estimated.
        """
        from mlmfast.fitted.estimates import estimates_of
        from mlmfast.fitting.fit import fit_covariance
        from mlmfast.newton.options import NewtonOptions

        method = read_method(method)
        found = fit_covariance(self._model, method, NewtonOptions(), None)
        estimates = estimates_of(self._model, found.criterion, found.theta)
        p, kept = len(self._design.x), self._model.kept
        beta, covariance = np.full(p, np.nan), np.full((p, p), np.nan)
        beta[kept] = estimates.beta[0]
        covariance[np.ix_(kept, kept)] = estimates.vcov[0]
        theta = self._coordinates.vector(
            [own[0] for own in estimates.covariances], float(estimates.sigma2[0])
        )
        return Estimate(
            theta,
            beta,
            covariance,
            float(estimates.deviance[0]),
            bool(found.newton.converged[0]),
            bool(found.singular.any()),
        )

    def fit(self, method: str = "REML", ddf: Ddf | None = None) -> LMMResult:
        """The fit as `mlmfast.LMM.fit` gives it, with tests, intervals, diagnostics (by pandas)."""
        from mlmfast.model import LMM

        return LMM.from_design(self._design).fit(method, ddf=ddf)

    # -- rows from several places --------------------------------------------------------------

    def __add__(self, other: Reduction) -> Reduction:
        """The reduction of the rows of both; see `merge`."""
        return Reduction.merge([self, other]) if isinstance(other, Reduction) else NotImplemented

    @classmethod
    def merge(cls, parts: Sequence[Reduction]) -> Reduction:
        """The reduction of the rows of all parts, as if they had been given together.

        A group of one label is one group, whichever parts its rows come from. The rows are read
        again.

        Raises
        ------
        DataError
            Where parts have other columns of X or Z or other factors than the first, or weights or
            an offset where others have none.
        """
        if not parts:
            raise DataError("there is nothing to merge; give one Reduction or more")
        kinds = {type(part) for part in parts}
        if len(kinds) > 1:
            raise DataError(
                "some reductions are of arrays and some of a formula; merge those of a kind"
            )
        kind = kinds.pop()
        if kind is not cls and issubclass(kind, cls):
            return kind.merge(parts)
        whole = cls.__new__(cls)
        whole._part = merged([part._part for part in parts])
        return whole

    # -- parts ---------------------------------------------------------------------------------

    def _theta(self, theta: Any) -> FloatArray:
        values = np.asarray(theta, dtype=np.float64)
        n = len(self.names)
        if values.shape != (n,) or not np.isfinite(values).all() or not values[-1] > 0.0:
            raise ModelError(
                f"theta is {theta!r}; {n} finite numbers are needed, {', '.join(self.names)}, the "
                "last above 0"
            )
        return values

    def _at(self, theta: Any, method: str) -> tuple[Point, Criterion]:
        values = self._theta(theta)
        for name, matrix in self.covariances(values).items():
            eigenvalues = np.linalg.eigvalsh(matrix)
            if eigenvalues[0] < -1e-10 * max(eigenvalues[-1], 0.0):
                raise ModelError(
                    f"theta gives {name!r} a matrix that is no covariance: its smallest eigenvalue "
                    f"is {eigenvalues[0]:.3g}"
                )
        return self._coordinates.point(values), criterion_of(self._model, read_method(method))

    def _derivatives(
        self, theta: Any, method: str
    ) -> tuple[Point, FloatArray, FloatArray, FloatArray, FloatArray]:
        """The point, theta, and derivatives by the core's coordinates."""
        point, criterion = self._at(theta, method)
        scale = np.array([point.log_sigma2])
        _, slope, bend, mean = by_entries(criterion, self._model, point.g, scale, _FIRST)
        return point, self._theta(theta), slope[0], bend[0], mean[0]
