"""Candidates of a chain over covariance parameters: what is drawn, and how densely.

Parameters inside their space are drawn from a t distribution with four degrees of freedom about
the estimates, variances by their logarithms. A variance estimated at 0, or nearer to it than its
standard error, is drawn as c (exp(|t|) - 1), which has a density at 0 and a tail as heavy as
theirs; c is where the likelihood has fallen to exp(-1). What a fit holds stays as it is.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from mlmfast.arrays import BoolArray, FloatArray, IntArray, block_diagonal
from mlmfast.clusters.moved_parameters import Moved, MovedCovariances
from mlmfast.covariance import CovarianceStructure
from mlmfast.criterion.parameters.functions import CovarianceFunctions
from mlmfast.criterion.parameters.natural import CovarianceParameters, covariance_parameters
from mlmfast.errors import ModelError
from mlmfast.information.information import Information, core_derivatives, invert_information
from mlmfast.reduction.blocks import structure_of

if TYPE_CHECKING:
    from mlmfast.fitted.fitted import Fitted
    from mlmfast.fitted.origin.source import FitSource

#: Degrees of freedom of the candidates, and how much wider they are than the estimates' errors.
_DF, _WIDER = 4.0, 1.3
#: Candidates of which it is made sure that the parameters wanted are those reached.
_CHECKED = 20
#: Variances over the residual's at which the likelihood is looked at.
_GRID = np.geomspace(1e-12, 1e12, 145)
OTHER_PARAMETERS = (
    "the parameters that this covariance moves in are not those that are reported; use bootstrap()"
)


@dataclass(frozen=True, eq=False)
class Place:
    """A point inside the parameter space from which candidates are reached.

    Attributes
    ----------
    about
        Information there, of all parameters.
    values : shape (r,), the estimates by natural parameters in the order of the blocks
    held, edge : shape (r,), which parameters are held, and which are variances near 0
    reach : shape (r,), c of those near 0
    """

    about: Information
    values: FloatArray
    held: BoolArray
    edge: BoolArray
    reach: FloatArray

    @property
    def free(self) -> BoolArray:
        """Which parameters are drawn."""
        return ~self.held

    def by_natural(self, information: FloatArray, parameters: CovarianceParameters) -> FloatArray:
        """Information by the natural parameters that are drawn."""
        inverse = np.linalg.inv(block_diagonal([block.by_free for block in parameters.blocks]))
        whole = inverse.T @ information @ inverse
        return np.asarray(whole[self.free][:, self.free])


def place_of(fit: Fitted) -> Place:
    """Where the candidates of a fit start from.

    Raises
    ------
    ModelError
        Where parameters are undetermined, held otherwise than as they are reported, or on a
        boundary other than a variance of 0.
    """
    source = fit._needs_source("draws from a posterior", of_sums=True)
    assert fit._rows is not None, "it has a source"
    found = fit._rows.information.with_covariances()
    held = _held(source, found.parameters)
    edge = _edge(found, held)
    values = np.concatenate([block.values for block in found.parameters.blocks])
    if not held.any() and not edge.any():
        if any(found.parameters.fixed):
            raise ModelError(OTHER_PARAMETERS)
        return Place(found, values, held, edge, np.zeros(len(values)))
    theta, reach = _moved_inside(found, edge)
    return Place(information_at(found, theta, found.scale), values, held, edge, reach)


def _held(source: FitSource, parameters: CovarianceParameters) -> BoolArray:
    """Which natural parameters, in the order of the blocks, are held."""
    names = [name for block in parameters.blocks for name in block.names]
    out = np.zeros(len(names), dtype=np.bool_)
    if not source.held_values:
        return out
    spelled = {
        p.name: {p.name, *(alias for alias, _ in p.aliases)}
        for p in CovarianceFunctions(source.model, source.criterion).parameters
    }
    for name in source.held_values:
        places = [k for k, own in enumerate(names) if own in spelled[name]]
        if not places:
            raise ModelError(
                f"{name!r} is held, which is no variance, covariance or other parameter as "
                "reported, and given it they have no density of their own; use bootstrap()"
            )
        out[places] = True
    return out


def _edge(about: Information, held: BoolArray) -> BoolArray:
    """Which parameters are variances at 0 or less than their error from it, by block."""
    out = np.zeros(len(held), dtype=np.bool_)
    error, at = _errors(about, held), 0
    for b, block in enumerate(about.parameters.blocks):
        own = slice(at, at + len(block.names))
        at += len(block.names)
        alone = b < len(about.model.order) and diagonal_of(about, b, 0) is not None
        if alone and set(block.kinds) <= {"variance"}:
            out[own] = block.values <= error[own]
        elif any(block.fixed) or block.singular:
            raise ModelError(
                f"{', '.join(block.names)}: the estimates are on a boundary that is more than a "
                "variance of 0, about which there are no candidates; use bootstrap(), or a simpler "
                "covariance structure (without correlations, such as (x || g))"
            )
    return out & ~held


def diagonal_of(about: Information, b: int, k: int) -> IntArray | None:
    """Diagonal entries of G that the k-th variance of a term is; None where G is not diagonal."""
    structure, n = structure_of(about.criterion.terms[b]), len(about.parameters.blocks[b].names)
    if any(row != column for row, column in structure.entries):
        return None
    if n == structure.size:
        return np.array([k])
    return np.arange(structure.size) if n == 1 else None


def _errors(about: Information, held: BoolArray) -> FloatArray:
    """Standard errors of the natural parameters; 0 of those at 0 and of what is held."""
    if held.all():
        return np.zeros(len(held))
    by_free = block_diagonal([block.by_free for block in about.parameters.blocks])
    variance = np.diag(by_free @ about.covariance("observed") @ by_free.T)
    return np.asarray(np.sqrt(np.maximum(variance, 0.0)))


def _moved_inside(about: Information, edge: BoolArray) -> tuple[FloatArray, FloatArray]:
    """theta with variances near 0 where the likelihood is exp(-1) of the highest; the variances."""
    criterion, theta = about.criterion, about.theta
    inside, reach, at = theta.copy(), np.zeros(len(edge)), 0
    for b, block in enumerate(about.parameters.blocks):
        for k in range(len(block.names)):
            if edge[at + k]:
                s, structure = criterion.theta_slices[b], structure_of(criterion.terms[b])
                places = diagonal_of(about, b, k)
                assert places is not None, "its term has variances alone"
                own = _fallen(about, s, structure, places)
                now = structure.matrix(inside[:, s])
                now[0, places, places] = own
                inside[:, s] = structure.theta(now)
                to_user = about.scale * np.diag(about.model.effects_map(b))[places[0]] ** 2
                reach[at + k] = own * to_user * _unit(about)
        at += len(block.names)
    return inside, reach


def _fallen(about: Information, s: slice, structure: CovarianceStructure, k: IntArray) -> float:
    """The variance above its estimate at which -2 log-likelihood is 2 higher."""
    base = structure.matrix(about.theta[:, s])[0]
    size = 1.0 if about.model.profiled else residual_size(about)
    grid = size * _GRID
    matrices = np.repeat(base[None], len(grid), axis=0)
    matrices[:, k, k] = grid[:, None]
    thetas = np.repeat(about.theta, len(grid) + 1, axis=0)
    thetas[1:, s] = structure.theta(matrices)
    fits = np.full(len(thetas), about.fit)
    value = about.criterion.value(thetas, fits)
    far = np.flatnonzero((value[1:] - value[0] >= 2.0) & (grid > base[k[0], k[0]]))
    if not far.size:
        raise ModelError(
            "the data tell too little of a variance near 0, so there is no posterior of it; leave "
            "the term out"
        )
    return float(grid[far[0]])


def residual_size(about: Information) -> float:
    """The largest entry of R in the core's coordinates."""
    matrices = about.criterion.covariances(about.theta)[-1]
    return float(np.abs(matrices).max())


def _unit(about: Information) -> float:
    model = about.model
    return float(model.core.y_scale[about.fit] / model.y_scaling[about.fit].scale) ** 2


def information_at(about: Information, theta: FloatArray, scale: float) -> Information:
    """The information of another point, at which every parameter is free."""
    model, criterion, fit = about.model, about.criterion, about.fit
    parameters = _parameters_at(about, theta, scale)
    g = criterion.covariances(theta) if model.profiled else parameters.linear
    core = core_derivatives(model, criterion, g, criterion.entries, fit)
    return Information(model, criterion, parameters, core, scale, fit, theta)


def _parameters_at(about: Information, theta: FloatArray, scale: float) -> CovarianceParameters:
    free = (False,) * len(about.criterion.terms)
    return covariance_parameters(about.model, about.criterion, theta, free, scale, about.fit)


class Candidates:
    """Parameters drawn about the estimates, in the order of the blocks."""

    def __init__(self, place: Place) -> None:
        about, parameters = place.about, place.about.parameters
        self.place, self.about, self.moves = place, about, MovedCovariances(about)
        blocks = parameters.blocks
        self.start = np.concatenate([block.values for block in blocks])
        self.positive: BoolArray = np.array(
            [kind == "variance" for block in blocks for kind in block.kinds]
        )
        ends = np.cumsum([0, *(len(block.values) for block in blocks)])
        #: Positions of the parameters in the order of the reports.
        self.order = np.concatenate([np.arange(ends[b], ends[b + 1]) for b in parameters.display])
        #: Natural parameters by the free ones.
        self.by_free = block_diagonal([block.by_free for block in blocks])
        #: Parameters drawn by the t distribution.
        self.inner = place.free & ~place.edge
        unit = np.where(self.positive, place.values, 1.0)[self.inner]
        self.root = _WIDER * np.linalg.cholesky(self._covariance() / np.outer(unit, unit))

    def _covariance(self) -> FloatArray:
        """Of the parameters drawn by the t distribution."""
        place, about = self.place, self.about
        if not place.held.any() and not place.edge.any():
            return np.asarray(self.by_free @ about.covariance("observed") @ self.by_free.T)
        information = about.expected if place.edge.any() else about.observed
        whole, left_out = invert_information(place.by_natural(information, about.parameters))
        if left_out:
            raise ModelError(
                "the data tell some covariance parameters too little beside what is held or at 0; "
                "use bootstrap(), or a simpler covariance structure"
            )
        own = self.inner[place.free]
        return whole[own][:, own]

    def drawn(self, n: int, generator: np.random.Generator) -> tuple[FloatArray, FloatArray]:
        """Values (n, r), and the logarithm of their density up to a constant, (n,)."""
        place, r = self.place, int(self.inner.sum())
        normal = generator.standard_normal((n, r))
        t = normal / np.sqrt(generator.chisquare(_DF, n) / _DF)[:, None]
        inner = t @ self.root.T
        values = np.repeat(place.values[None], n, axis=0)
        positive = self.positive[self.inner]
        start = place.values[self.inner]
        with np.errstate(over="ignore"):
            by_factor = start * np.exp(np.where(positive, inner, 0.0))
        values[:, self.inner] = np.where(positive, by_factor, start + inner)
        density = -0.5 * (_DF + r) * np.log1p((t**2).sum(axis=1) / _DF)
        density = density - inner[:, positive].sum(axis=1)
        for k in np.flatnonzero(place.edge).tolist():
            away = np.abs(generator.standard_t(_DF, n))
            with np.errstate(over="ignore"):
                values[:, k] = place.reach[k] * np.expm1(away)
            density = density - 0.5 * (_DF + 1.0) * np.log1p(away**2 / _DF) - away
        return values, density

    def at(self, values: FloatArray) -> tuple[dict[int, Moved], list[int]]:
        """The parameters of the core, for those candidates that give a covariance matrix."""
        out: dict[int, Moved] = {}
        for k, own in enumerate(values):
            step = np.linalg.solve(self.by_free, own - self.start)
            found = self.moves.moved(step) if np.isfinite(step).all() else None
            if found is not None and found.share == 1.0 and not found.bounded:
                out[k] = found
        if len(out) < 0.02 * len(values):
            raise ModelError(
                "hardly any candidate about the estimates gives a covariance matrix: the data tell "
                "the parameters too little for this chain; use bootstrap()"
            )
        for k in list(out)[:_CHECKED]:
            scale = out[k].sigma2 if self.about.model.profiled else 1.0
            parameters = _parameters_at(self.about, out[k].theta[None], scale)
            reached = np.concatenate([block.values for block in parameters.blocks])
            if not np.allclose(reached, values[k], rtol=1e-6):
                # Steps bend on their way.
                raise ModelError(OTHER_PARAMETERS)
        return out, list(out)
