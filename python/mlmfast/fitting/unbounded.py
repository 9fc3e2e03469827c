"""Fits whose random effects may have negative variances, V alone being a covariance matrix.

The parameters are the elements of G as they are, and the criterion is infinite where V is not
positive definite. Newton's method begins at the fit within the covariance matrices, which has
searched for the lowest minimum, and at the moments (MIVQUE0), which know no bound; the lower end
counts.

The restricted likelihood does not see V along the columns of X, and so goes on falling, if it does,
up to where V is singular there: steps would end at a wall beside which the minimum may lie. A path
of minima of the criterion plus mu log|X'V^-1 X|, which is infinite at that wall, leads past it, mu
falling to 0 (interior points: Nocedal and Wright 2006, chapter 19).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

import numpy as np

from mlmfast.arrays import BoolArray, FloatArray, IntArray
from mlmfast.criterion.criterion import Criterion
from mlmfast.criterion.some_fits import SomeFits
from mlmfast.errors import ModelError
from mlmfast.fitting.boundary import replace_rows
from mlmfast.fitting.covariance_fit import CovarianceFit
from mlmfast.fitting.starts.probed import first_start
from mlmfast.newton.criterion import Progress
from mlmfast.newton.iteration import Derivatives, Leaves, NewtonResult, newton_raphson
from mlmfast.newton.options import NewtonOptions
from mlmfast.reduction.blocks import TermBlock
from mlmfast.reduction.reduced_model import ReducedModel

#: Halvings of a start until V is positive definite there.
_HALVINGS = 60
#: Steps that are taken at least from each start.
_STEPS = 100
#: Weights of log|X'V^-1 X| along the path, and the decrement at which it goes on.
_PATH, _LOOSE = (0.3, 0.1, 0.03, 0.01, 3e-3, 1e-3, 1e-4), 1e-4
#: Step over the size of G that is creeping, and how many such steps on V is looked at.
_CREEPING, _AHEAD = 1e-7, 1e2
#: Change of G, over its size, that makes V singular where it is nearly so, and where it is so.
_NEAR, _AT_WALL = 1e-2, 1e-8


def bounded_model(model: ReducedModel) -> ReducedModel:
    """The same reduction with covariance matrices as G."""
    random = tuple(replace(term, bounded=True) for term in model.design.random)
    blocks = list(model.blocks)
    for position, t in enumerate(model.order):
        blocks[position] = replace(blocks[position], structure=random[t].iterated)
    return replace(model, design=replace(model.design, random=random), blocks=tuple(blocks))


def fit_unbounded(
    model: ReducedModel,
    criterion: Criterion,
    options: NewtonOptions,
    start: FloatArray | None,
    fit_within: Callable[[ReducedModel], CovarianceFit],
) -> CovarianceFit:
    """Estimate covariance parameters some of which have no bound.

    Parameters
    ----------
    start
        Where to begin, (n_fits, n_theta); several starts by default.
    fit_within
        Fits a reduction within the covariance matrices.

    Raises
    ------
    ModelError
        Where the data do not determine all covariance parameters.
    """
    if criterion.flat is not None:
        raise ModelError(
            "bounded=False: the data do not determine all covariance parameters of this model, and "
            "without a bound nothing holds them; leave bounded=False out to see which, or simplify "
            "the random effects"
        )
    fits = np.arange(len(model.y_scaling))
    some, options = (
        SomeFits(criterion, fits),
        replace(options, max_iter=max(options.max_iter, _STEPS)),
    )
    newton, elsewhere = None, np.zeros(len(fits), dtype=np.intp)
    starts = _starts(model, criterion, fit_within, elsewhere) if start is None else [start]
    for theta in starts:
        found = newton_raphson(
            some, _inside(criterion, theta), options, _max_step, None, _creeps(criterion, fits)
        )
        if criterion.reml and not found.converged.all():
            inner = _along_path(criterion, fits, _inside(criterion, theta), options)
            replace_rows(found, fits, inner, _is_lower(found, inner))
        if newton is None:
            newton = found
        else:
            replace_rows(newton, fits, found, _is_lower(newton, found))
    assert newton is not None, "there is a start"
    singular = np.zeros((len(fits), len(criterion.terms)), dtype=np.bool_)
    # At the wall itself derivatives are rounding, and may look like those of a minimum.
    newton.converged[:] &= ~_near_wall(criterion, newton.theta, _AT_WALL)
    at_wall = ~newton.converged & _near_wall(criterion, newton.theta, _NEAR)
    return CovarianceFit(
        criterion,
        newton.theta,
        singular,
        newton,
        newton.n_evaluations,
        n_elsewhere=elsewhere,
        at_singular_v=tuple(np.flatnonzero(at_wall).tolist()),
    )


@dataclass(frozen=True)
class _Inward:
    """The restricted criterion plus mu times what it has over the full one, log|X'V^-1 X|."""

    criterion: Criterion
    mu: float

    def __call__(self, theta: FloatArray, fits: IntArray) -> Derivatives:
        own = self.criterion(theta, fits)
        full = replace(self.criterion, reml=False)(theta, fits)
        seen = np.isfinite(own.value) & np.isfinite(full.value)
        with np.errstate(invalid="ignore"):
            parts = [(1.0 + self.mu) * a - self.mu * b for a, b in zip(own, full, strict=True)]
        parts[0] = np.where(seen, parts[0], np.inf)
        return Derivatives(*parts)

    def move(self, theta: FloatArray, step: FloatArray) -> FloatArray:
        return self.criterion.move(theta, step)


def _along_path(
    criterion: Criterion, fits: IntArray, theta: FloatArray, options: NewtonOptions
) -> NewtonResult:
    """Newton's method from the end of a path that keeps away from a singular V."""
    evaluations = np.zeros(len(fits), dtype=np.intp)
    for mu in _PATH:
        few = replace(options, tolerance=_LOOSE, max_iter=_STEPS)
        found = newton_raphson(_Inward(criterion, mu), theta, few, _max_step)
        evaluations += 2 * found.n_evaluations
        theta = np.where(np.isfinite(found.value)[:, None], found.theta, theta)
        theta = _inside(criterion, theta)
    some = SomeFits(criterion, fits)
    last = newton_raphson(some, theta, options, _max_step, None, _creeps(criterion, fits))
    last.n_evaluations[:] += evaluations
    return last


def _creeps(criterion: Criterion, fits: IntArray) -> Leaves:
    """Rows that creep towards where V is singular, by steps too short to be Newton's."""

    def leave(before: FloatArray, after: FloatArray, _: Progress) -> BoolArray:
        way = after - before
        length = np.sqrt((way * way).sum(axis=1))
        short = length <= _CREEPING * (1.0 + np.sqrt((after * after).sum(axis=1)))
        out = np.zeros(len(after), dtype=np.bool_)
        for row in np.flatnonzero(short):
            ahead = (after[row] + _AHEAD * way[row])[None]
            # The wall is the same for every response.
            out[row] = not np.isfinite(criterion.value(ahead, fits[:1]))[0]
        return out

    return leave


def _near_wall(criterion: Criterion, theta: FloatArray, near: float) -> BoolArray:
    """Whether V is singular after a change of a term's part of this size, over what it is."""
    moved, at_wall = theta.copy(), np.zeros(len(theta), dtype=np.bool_)
    for term, s in zip(criterion.terms, criterion.theta_slices, strict=True):
        if _is_open(term):
            identity = term.shared.theta(np.eye(term.structure.size)[None])
            size = np.abs(theta[:, s]).max(axis=1, initial=0.0, keepdims=True)
            moved[:, s] = theta[:, s] - near * size * identity
            # Where V is singular does not depend on the response.
            value = criterion.value(moved, np.zeros(len(theta), dtype=np.intp))
            at_wall |= ~np.isfinite(value)
            moved[:, s] = theta[:, s]
    return at_wall


def _starts(
    model: ReducedModel,
    criterion: Criterion,
    fit_within: Callable[[ReducedModel], CovarianceFit],
    elsewhere: IntArray,
) -> Iterator[FloatArray]:
    bounded = fit_within(bounded_model(model))
    elsewhere += bounded.n_evaluations
    if bounded.n_elsewhere is not None:
        elsewhere += bounded.n_elsewhere
    theta = bounded.theta.copy()
    parts = zip(criterion.terms, bounded.criterion.terms, criterion.theta_slices, strict=True)
    for own, closed, s in parts:
        if _is_open(own):
            theta[:, s] = own.shared.theta(closed.shared.matrix(bounded.theta[:, s]))
    yield theta
    yield first_start(model, criterion, np.arange(len(model.y_scaling)))


def _is_open(term: TermBlock) -> bool:
    return not term.is_residual and term.shared.indefinite


def _inside(criterion: Criterion, theta: FloatArray) -> FloatArray:
    """theta with the random effects' parts made smaller until V is positive definite."""
    out = np.where(np.isfinite(theta), theta, 0.0)
    for _ in range(_HALVINGS):
        rows = np.flatnonzero(~np.isfinite(criterion.value(out, np.arange(len(out)))))
        if rows.size == 0:
            break
        for term, s in zip(criterion.terms, criterion.theta_slices, strict=True):
            if not term.is_residual:
                own = out[rows, s]
                out[rows, s] = 0.5 * own if _is_open(term) else own
    return out


def _is_lower(first: NewtonResult, second: NewtonResult) -> BoolArray:
    """Row by row, whether the second iteration ended at a lower minimum, or at one at all."""
    before = np.where(np.isfinite(first.value), first.value, np.inf)
    lower = second.value < before - 1e-9 * (1.0 + np.abs(np.where(before < np.inf, before, 0.0)))
    return np.asarray(second.converged & (~first.converged | lower))


def _max_step(theta: FloatArray) -> FloatArray:
    # Elements of G, of which 1 is as much as the residual weighs in a unit's mean.
    return np.asarray(1.0 + 2.0 * np.sqrt((theta * theta).sum(axis=1)))
