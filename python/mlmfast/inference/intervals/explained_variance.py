"""Intraclass correlations, R2, and the variances they are made of."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from mlmfast.arrays import CodeArray, FloatArray
from mlmfast.batch.fit_batch import FitBatch
from mlmfast.covariance import CovarianceStructure
from mlmfast.covariance.jet import Jet
from mlmfast.covariance.scaled_correlation import ScaledCorrelation
from mlmfast.criterion.arms import residual_arms
from mlmfast.design.design import check_rows_are_here
from mlmfast.errors import ModelError
from mlmfast.inference.intervals.derived import (
    delta_table,
)
from mlmfast.inference.intervals.parameter_values import AtEstimate
from mlmfast.inference.intervals.second_order import Differentiable
from mlmfast.running.cached import cached_property

if TYPE_CHECKING:
    from mlmfast.fitted.origin.source import FitSource
    from mlmfast.fitted.record import FitRecord


@dataclass(frozen=True)
class _Weights:
    """How the variance of a response's rows is made of the parameters.

    fixed, and its parts within and between clusters: beta'S beta; random: sum of weights over the
    entries of each term's G (E z z', and its parts); residual: mean of 1 / weight.
    """

    source: FitSource

    @cached_property
    def fixed(self) -> FloatArray:
        """Covariance matrix of the columns of X over the rows, (rank, rank)."""
        x = self.source.design.fixed_matrix[:, self.source.model.kept]
        return _covariance(x, self._shares)

    @cached_property
    def fixed_between(self) -> FloatArray:
        """The part of it that lies between clusters."""
        x = self.source.design.fixed_matrix[:, self.source.model.kept]
        return _between(x, self._codes, self._shares)

    @cached_property
    def _shares(self) -> FloatArray | None:
        """Observations that each row stands for; None for one each."""
        design = self.source.design
        if design.condensed is None:
            return None
        if design.condensed.weighted:
            raise ModelError(
                "shares of variance take means over the rows, and a reduction of rows with weights "
                "holds weighted sums; fit the rows: mlm.lmm(formula, data, weights=...)"
            )
        return design.weights

    @cached_property
    def _codes(self) -> CodeArray:
        design = self.source.design
        factors = {term.factor for term in design.random}
        if len(factors) != 1:
            raise ModelError(
                "the decomposition of Rights and Sterba is for two levels, one grouping factor; "
                f"this model has {len(factors)}"
            )
        return design.factors[factors.pop()].codes

    def columns(self, t: int) -> FloatArray:
        """Columns of Z of a term as covariates, (n, q); times the root of A_ii where related."""
        term, n = self.source.design.random[t], self.source.design.n_obs
        parts = [np.ones(n) if column is None else column for column in term.columns]
        factor = self.source.design.factors[term.factor]
        if factor.relationship is None:
            return np.stack(parts, axis=1)
        own = np.sqrt(factor.relationship.diagonal[factor.codes])
        return np.stack(parts, axis=1) * own[:, None]

    def moment(self, t: int, part: str) -> FloatArray:
        """Mean of z z' over the rows, or of its part "within", "between" or "mean", (q, q)."""
        z, shares = self.columns(t), self._shares
        if shares is not None:
            codes = None if part in {"all", "mean"} else self._codes
            return _weighted_moment(z, shares, part, codes)
        mean = np.outer(z.mean(axis=0), z.mean(axis=0))
        if part == "all":
            return np.asarray(z.T @ z / len(z))
        if part == "mean":
            return mean
        # With divisor n, so that the parts add up to the mean square.
        between = _between(z, self._codes) * (len(z) - 1) / len(z)
        return between if part == "between" else np.asarray(z.T @ z / len(z) - mean - between)


def _weighted_moment(
    z: FloatArray, shares: FloatArray, part: str, codes: CodeArray | None
) -> FloatArray:
    """`_Weights.moment` over rows that each stand for several."""
    n = shares.sum()
    center = shares @ z / n
    mean, whole = np.outer(center, center), (z * shares[:, None]).T @ z / n
    if codes is None:
        return np.asarray(whole if part == "all" else mean)
    between = _between(z, codes, shares) * (n - 1.0) / n
    return between if part == "between" else np.asarray(whole - mean - between)


def _covariance(x: FloatArray, shares: FloatArray | None) -> FloatArray:
    """Covariance matrix of columns over rows, or over those that each row stands for."""
    if shares is None:
        return np.atleast_2d(np.cov(x, rowvar=False))
    n = shares.sum()
    deviations = x - shares @ x / n
    return np.asarray((deviations * shares[:, None]).T @ deviations / (n - 1.0))


def _between(x: FloatArray, codes: CodeArray, shares: FloatArray | None = None) -> FloatArray:
    """Covariance over rows of the columns' cluster means."""
    if x.shape[1] == 0:
        return np.zeros((0, 0))
    if shares is not None:
        sums: FloatArray = np.bincount(codes, weights=shares).astype(np.float64)
        by_column = [np.bincount(codes, weights=shares * column) / sums for column in x.T]
        return _covariance(np.stack(by_column, axis=1), sums)
    counts = np.bincount(codes)
    means = np.stack([np.bincount(codes, weights=c) / counts for c in x.T], axis=1)
    return np.atleast_2d(np.cov(means[codes], rowvar=False))


def _mean_variance(structure: CovarianceStructure, theta: FloatArray, shares: FloatArray) -> Jet:
    """sum of shares times variances of the visits; theta of shape (1, n_theta)."""
    assert isinstance(structure, ScaledCorrelation), "chains are"
    t, m = structure.n_theta, structure.n_scales
    parts = np.zeros(t)
    parts[:m] = np.exp(2.0 * theta[0, :m]) * (shares if m > 1 else shares.sum())
    return Jet(np.array([[parts.sum()]]), 2.0 * parts[None, None], 4.0 * np.diag(parts)[None, None])


class _Estimated:
    """Variances at the estimate, with derivatives."""

    def __init__(self, at: AtEstimate) -> None:
        self.at, self.weights = at, _Weights(at.source)
        self.beta: Sequence[Any] = at.fixed()

    def entries(self, t: int) -> tuple[Sequence[Any], tuple[tuple[int, int], ...]]:
        """Entries of a term's G, and where they stand."""
        functions = self.at.functions
        jet = functions.effects_covariance(t, self.at.point)
        return self.at.lift(jet), functions.entry_places(t)

    def residual(self) -> Any:
        """Mean residual variance over the rows."""
        design, functions = self.at.source.design, self.at.functions
        plain = design.weights is None or not design.is_weighted
        mean = 1.0 if plain else float(np.mean(1.0 / np.asarray(design.weights)))
        if design.residual is None:
            (sigma,) = self.at.lift(functions(self.at.point)[-1:])
            return sigma**2 * mean
        inverse = np.ones(design.n_obs) if design.weights is None else 1.0 / design.weights
        return sum(self._residual_parts(inverse), start=0.0)

    def _residual_parts(self, inverse: FloatArray) -> list[Any]:
        source, functions = self.at.source, self.at.functions
        residual = source.design.residual
        assert residual is not None, "asked for with a residual structure only"
        out = []
        n = source.design.n_obs
        for arm, (structure, s, _) in enumerate(residual_arms(source.criterion)):
            theta = self.at.point[:, s]
            if residual.points is not None:
                own = residual.arm_of_rows == arm
                sums = np.array([inverse[own].sum()])
            else:
                sums = np.bincount(residual.positions, inverse, residual.order)
                sums = sums[arm * structure.size : (arm + 1) * structure.size]
            if residual.chain is not None:
                jet = _mean_variance(structure, theta, sums / n)
                absolute = functions.absolute(functions.embed(jet, s), self.at.point)
                out += self.at.lift(absolute)
                continue
            jet = functions.absolute(functions.embed(structure.entry_jet(theta), s), self.at.point)
            diagonal = [k for k, (a, b) in enumerate(structure.entries) if a == b]
            numbers = self.at.lift(jet[np.array(diagonal)])
            out += [number * float(share / n) for number, share in zip(numbers, sums, strict=False)]
        return out


class _Batch:
    """The same of a batch of fits, as arrays over the fits."""

    def __init__(self, source: FitSource, batch: FitBatch) -> None:
        self.source, self.weights, self.batch = source, _Weights(source), batch
        self.beta: Sequence[Any] = [batch.params[:, j] for j in source.model.kept]

    def entries(self, t: int) -> tuple[Sequence[Any], tuple[tuple[int, int], ...]]:
        design = self.source.design
        term = design.random[t]
        before = [u for u in range(t) if design.random[u].factor == term.factor]
        at = sum(len(design.random[u].names) for u in before)
        matrix = self.batch.varcorr[design.factors[term.factor].name]
        places = tuple((i, j) for i in range(len(term.names)) for j in range(i + 1))
        return [matrix[:, at + i, at + j] for i, j in places], places

    def residual(self) -> Any:
        weights = self.source.design.weights
        if np.isnan(self.batch.sigma).all():
            raise ModelError(
                "the residual variance differs between visits; use method='delta' for intervals"
            )
        return self.batch.sigma**2 * (1.0 if weights is None else float(np.mean(1.0 / weights)))


def _quadratic(beta: Sequence[Any], matrix: FloatArray) -> Any:
    """sum_ij b_i b_j m_ij, m symmetric."""
    if len(beta) and isinstance(beta[0], Differentiable):
        return _quadratic_with_derivatives(beta, matrix)
    total: Any = 0.0
    for i, b in enumerate(beta):
        for j, c in enumerate(beta):
            if matrix[i, j] != 0.0:
                total = total + b * c * float(matrix[i, j])
    return total


def _quadratic_with_derivatives(
    beta: Sequence[Differentiable], matrix: FloatArray
) -> Differentiable:
    """The same as a few products of matrices: number by number its cost is p^4."""
    values, first = np.array([b.value for b in beta]), np.array([b.first for b in beta])
    slope = 2.0 * (matrix @ values)
    second = 2.0 * (first.T @ matrix @ first)
    for weight, b in zip(slope.tolist(), beta, strict=True):
        if b.second.any():
            second += weight * b.second
    return Differentiable(float(values @ matrix @ values), first.T @ slope, second)


def _trace(model: _Estimated | _Batch, t: int, part: str) -> Any:
    """tr(G E z z') of a term."""
    moment, total = model.weights.moment(t, part), 0.0
    entries, places = model.entries(t)
    for entry, (i, j) in zip(entries, places, strict=True):
        weight = float(moment[i, j]) * (1.0 if i == j else 2.0)
        total = total + entry * weight if weight != 0.0 else total
    return total


def _icc(model: _Estimated | _Batch) -> dict[str, Any]:
    source = model.weights.source
    terms = range(len(source.design.random))
    random = [_trace(model, t, "all") for t in terms]
    whole, residual = _sum(random), model.residual()
    fixed = _quadratic(model.beta, model.weights.fixed)
    out = {
        "adjusted": whole / (whole + residual),
        "conditional": whole / (whole + residual + fixed),
    }
    groups = [source.design.factors[source.design.random[t].factor].name for t in terms]
    if len(set(groups)) > 1:
        for group in dict.fromkeys(groups):
            own = _sum([r for r, g in zip(random, groups, strict=True) if g == group])
            out[f"adjusted, {group}"] = own / (whole + residual)
    return out


def _nakagawa(model: _Estimated | _Batch) -> dict[str, Any]:
    random = _sum([_trace(model, t, "all") for t in range(len(model.weights.source.design.random))])
    fixed = _quadratic(model.beta, model.weights.fixed)
    total = fixed + random + model.residual()
    return {"marginal": fixed / total, "conditional": (fixed + random) / total}


def _rights_sterba(model: _Estimated | _Batch) -> dict[str, Any]:
    terms = range(len(model.weights.source.design.random))
    between = _quadratic(model.beta, model.weights.fixed_between)
    within = _quadratic(model.beta, model.weights.fixed - model.weights.fixed_between)
    v1, v2, m = (
        _sum([_trace(model, t, part) for t in terms]) for part in ("within", "between", "mean")
    )
    inside = within + v1 + model.residual()
    outside = between + v2 + m
    total = inside + outside
    shares = {
        "total: f1": (within, total),
        "total: f2": (between, total),
        "total: v1": (v1, total),
        "total: v2": (v2, total),
        "total: m": (m, total),
        "total: f": (within + between, total),
        "total: fv": (within + between + v1 + v2, total),
        "total: fvm": (within + between + v1 + v2 + m, total),
        "within: f1": (within, inside),
        "within: v1": (v1, inside),
        "within: f1v1": (within + v1, inside),
        "between: f2": (between, outside),
        "between: v2": (v2, outside),
        "between: m": (m, outside),
    }
    # What no column gives is no row, and neither is a share of a variance of 0.
    return {
        name: part / whole
        for name, (part, whole) in shares.items()
        if not isinstance(part, float) and not _is_nothing(whole)
    }


def _is_nothing(whole: Any) -> bool:
    value = whole.value if isinstance(whole, Differentiable) else whole
    return isinstance(value, float) and value == 0.0


def _sum(parts: Sequence[Any]) -> Any:
    total: Any = 0.0
    for part in parts:
        total = total + part
    return total


FIGURES = {"icc": _icc, "nakagawa": _nakagawa, "rights-sterba": _rights_sterba}


def explained_figures(
    source: FitSource, record: FitRecord
) -> dict[str, dict[str, tuple[float, float]]]:
    """Every share of variance that serves the model with its standard error, by figure.

    None where that would cost far more than the fit, and of fits by moments.
    """
    out: dict[str, dict[str, tuple[float, float]]] = {}
    without = not source.design.random or source.design.is_in_parts
    if without or source.model.is_vast or record.estimator:
        return out
    model = _Estimated(AtEstimate(source, record))
    for figure, compute in FIGURES.items():
        with suppress(ModelError):
            table = delta_table(model.at, compute(model), 0.95, "logit")
            pairs = zip(table["estimate"].tolist(), table["se"].tolist(), strict=True)
            out[figure] = dict(zip(table.index, pairs, strict=True))
    return out


def figure_of_fit(figure: str, at: AtEstimate) -> dict[str, Any]:
    """Shares of variance at the estimate, with derivatives."""
    check_rows_are_here(at.source.design)
    return FIGURES[figure](_Estimated(at))


def figure_of_batch(figure: str, source: FitSource, batch: FitBatch) -> dict[str, Any]:
    """The same of refits to other responses, shape (n_fits,) each."""
    return FIGURES[figure](_Batch(source, batch))
