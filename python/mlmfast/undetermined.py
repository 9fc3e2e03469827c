"""Covariance parameters that the data do not determine, by name.

The data do not tell some directions of the covariances (`mlmfast.flat_search`). A parameter that
moves along one is not determined: it has no standard error, and the direction is no parameter to be
counted. Functions that no such direction moves, as the sum of two variances, are.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

from mlmfast.arrays import BoolArray, FloatArray, IntArray
from mlmfast.covariance_parameters import (
    CovarianceParameters,
    covariance_parameters,
    entry_map,
    without_rounding,
)
from mlmfast.covariance_functions import CovarianceFunctions
from mlmfast.criterion import Criterion
from mlmfast.flat_covariances import FlatCovariances
from mlmfast.undetermined_record import Combination, UndeterminedRecord

if TYPE_CHECKING:
    from mlmfast.fit import CovarianceFit
    from mlmfast.record import GroupRecord, TermRecord
    from mlmfast.reduced_model import ReducedModel

#: Move of a parameter along a flat direction, over its own size, that is rounding.
_ROUNDING = 1e-6
#: Typical covariances, at which parameters are looked at: variances by level, correlation by lag.
_GROWS, _FADES = 0.37, 0.35


@dataclass(frozen=True)
class FlatMoves:
    """How the parameters move along flat directions, at one point.

    Attributes
    ----------
    parameters, flat
    size : shape (n,)
        What a parameter moves at most.
    held : shape (n_held, r)
        Derivatives of what is held by the free parameters.
    """

    parameters: CovarianceParameters
    flat: FlatCovariances
    size: FloatArray
    held: FloatArray

    @classmethod
    def of(
        cls,
        parameters: CovarianceParameters,
        flat: FlatCovariances,
        functions: CovarianceFunctions,
        held: Sequence[str],
    ) -> FlatMoves:
        """The moves of parameters, some of them held by the names of ``functions``."""
        _, length = flat.scaled(parameters.first)
        size = np.sqrt(((parameters.by_free / length) ** 2).sum(axis=1))
        slopes = [_slope(parameters, functions, name) for name in held]
        rows = np.array(slopes).reshape(-1, parameters.by_free.shape[1])
        return cls(parameters, flat, np.where(size > 0, size, 1.0), rows)

    @cached_property
    def null(self) -> FloatArray:
        """Free parameters' moves, (r, k)."""
        return self._free(self.flat.among(self.parameters.first))

    def _free(self, null: FloatArray) -> FloatArray:
        """Those of ``null`` that leave what is held as it is."""
        if not len(self.held) or not null.shape[1]:
            return null
        moves = self.held @ null
        size = np.abs(self.held) @ np.abs(null) + 1e-300
        _, values, rows = np.linalg.svd(moves / size.max(axis=1, keepdims=True))
        return np.asarray(null @ rows[int((values > _ROUNDING).sum()) :].T)

    @cached_property
    def all(self) -> FloatArray:
        """Parameters' moves in units of ``size``, orthonormal, (n, k)."""
        return _orthonormal(self.parameters.by_free @ self.null / self.size[:, None])

    @cached_property
    def unseen(self) -> FloatArray:
        """Those that V does not show at all."""
        null = self._free(self.flat.among(self.parameters.first, unseen=True))
        return _orthonormal(self.parameters.by_free @ null / self.size[:, None])


def undetermined_parameters(
    model: ReducedModel,
    criterion: Criterion,
    theta: FloatArray,
    values: FloatArray | None = None,
    held: Sequence[str] = (),
) -> UndeterminedRecord | None:
    """What the data do not determine of a fit's parameters; None where they determine all.

    Parameters
    ----------
    theta : shape (1, n_theta), the fit's.
    values : shape (n,)
        Estimates of the parameters, in the order of the formula: which are held at 0.
    held
        Parameters that the fit holds, by the names of `CovarianceFunctions`.
    """
    flat = criterion.flat
    if flat is None:
        return None
    functions = CovarianceFunctions(model, criterion)
    moves = FlatMoves.of(_typical(model, criterion, theta, 0.0), flat, functions, held)
    if not moves.null.shape[1]:
        return None
    values = np.ones(len(moves.parameters.names)) if values is None else values
    names = np.array(moves.parameters.names, dtype=object)
    moved = _length(moves.all) > _ROUNDING
    alone, unseen = _axes(moves.all), _axes(moves.unseen)
    absorbed = alone & ~unseen & (np.abs(values) <= 1e-12 * np.abs(values).max(initial=0.0))
    groups = _groups(moves.all, moved & ~alone)
    other = FlatMoves.of(_typical(model, criterion, theta, 0.2), flat, functions, held)
    combined = []
    if _same_span(moves.all * moves.size[:, None], other.all * other.size[:, None], moves.size):
        combined = [c for group in groups for c in _combinations(moves, group)]
    left = [np.array([p]) for p in np.flatnonzero(alone & ~unseen & ~absorbed)]
    return UndeterminedRecord(
        n=moves.null.shape[1],
        names=tuple(names[moved]),
        unseen=tuple(names[unseen]),
        absorbed=tuple(names[absorbed]),
        groups=tuple(tuple(names[group]) for group in [*groups, *left]),
        combined=tuple(combined),
        errors_depend=moves.all.shape[1] - moves.unseen.shape[1] > int(absorbed.sum()),
    )


def undetermined_of(
    model: ReducedModel, covariance: CovarianceFit, held: Sequence[str] = ()
) -> UndeterminedRecord | None:
    """What the data do not determine of the first fit's parameters, some of them held."""
    criterion = covariance.criterion
    if criterion.flat is None:
        return None
    singular = tuple(bool(flag) for flag in covariance.singular[0])
    theta = covariance.theta[:1]
    values = covariance_parameters(model, criterion, theta, singular, 1.0).values
    return undetermined_parameters(model, criterion, theta, values, held)


def with_untold(
    terms: tuple[TermRecord, ...],
    groups: tuple[GroupRecord, ...],
    found: UndeterminedRecord | None,
    model: ReducedModel,
    covariance: CovarianceFit,
) -> tuple[TermRecord, ...]:
    """The terms without numbers where no data tell them, and without rounding where G is 0."""
    maps = {t: model.effects_map(position) for position, t in enumerate(model.order)}
    terms = tuple(
        replace(term, covariance=without_rounding(term.covariance, maps[t]))
        if term.singular or covariance.criterion.flat is not None
        else term
        for t, term in enumerate(terms)
    )
    if found is None:
        return terms
    pairs = unseen_entries(model, covariance.criterion, covariance.theta[:1])
    out = []
    for term, unseen in zip(terms, pairs, strict=True):
        names = [f"{name} | {groups[term.group].name}" for name in term.parameter_names]
        untold = np.array([name in found.unseen for name in names], dtype=np.bool_)
        parameters = np.where(untold, np.nan, term.parameters)
        out.append(replace(term, parameters=parameters, unseen=unseen))
    return tuple(out)


def unseen_entries(
    model: ReducedModel, criterion: Criterion, theta: FloatArray
) -> list[tuple[tuple[int, int], ...]]:
    """Entries (a, b), a > b, of each term's G in the formula's order that no data tell.

    Those that parameters move while V stays.
    """
    out: list[tuple[tuple[int, int], ...]] = [()] * len(model.order)
    if criterion.flat is None:
        return out
    parameters = _typical(model, criterion, theta, 0.0)
    null = criterion.flat.among(parameters.first, unseen=True)
    moved = parameters.first @ null
    for position, e in enumerate(criterion.entry_slices[: len(model.order)]):
        structure = criterion.terms[position].shared
        k = model.effects_map(position)
        to_user = entry_map(k, structure)
        own = _orthonormal(to_user @ criterion.flat.unseen[e])
        alone = _axes(own)
        moves = _length(to_user @ moved[e])
        out[model.order[position]] = tuple(
            pair
            for pair, here, move in zip(structure.entries, alone, moves, strict=True)
            if here and pair[0] != pair[1] and move > _ROUNDING * moves.max(initial=0.0)
        )
    return out


def _typical(
    model: ReducedModel, criterion: Criterion, theta: FloatArray, shift: float
) -> CovarianceParameters:
    """Parameters at covariances of the random effects that are not special in any way."""
    out = theta[:1].copy()
    for term, s in zip(criterion.terms, criterion.theta_slices, strict=True):
        if not term.is_residual:
            level = np.arange(term.structure.size)
            sd = np.sqrt(1.0 + _GROWS * level + shift * level**2 + shift)
            fading = (_FADES + shift) ** np.abs(level[:, None] - level)
            out[:, s] = term.theta((np.outer(sd, sd) * fading)[None])
    return covariance_parameters(model, criterion, out, (False,) * len(criterion.terms), 1.0)


def _slope(
    parameters: CovarianceParameters, functions: CovarianceFunctions, name: str
) -> FloatArray:
    """Derivative of a parameter by the free ones, up to a factor; a correlation's by its parts."""
    rows = dict(zip(parameters.names, parameters.by_free, strict=True))
    values = dict(zip(parameters.names, parameters.values, strict=True))
    keys = {p.name: next((n for n in (p.name, *dict(p.aliases)) if n in rows), "")
            for p in functions.parameters}  # fmt: skip
    parameter = next(p for p in functions.parameters if p.name == name)
    if parameter.kind != "correlation":
        return rows[keys[name]]
    pair = keys[name.replace("cor_", "cov_", 1)]
    out = rows[pair].copy()
    for place in parameter.places:
        variance = keys[next(p.name for p in functions.parameters if p.places == (place,))]
        out -= 0.5 * values[pair] / values[variance] * rows[variance]
    return out


def _groups(moves: FloatArray, shared: BoolArray) -> list[IntArray]:
    """Parameters that move together, by positions."""
    joined = np.abs(moves @ moves.T) > _ROUNDING
    out, left = [], set(np.flatnonzero(shared).tolist())
    while left:
        group, new = set(), {min(left)}
        while new:
            group |= new
            new = {q for p in new for q in np.flatnonzero(joined[p]).tolist() if q in left} - group
        left -= group
        out.append(np.array(sorted(group)))
    return out


def _combinations(moves: FloatMoves, group: IntArray) -> list[Combination]:
    """Sparse combinations of a group's parameters that do not move."""
    names = moves.parameters.names
    own = _orthonormal(moves.all[group])
    still = _reduced(np.eye(len(group)) - own @ own.T)
    out = []
    for row in still:
        used = np.flatnonzero(np.abs(row) > _ROUNDING)
        weights = (row / moves.size[group])[used]
        weights = weights / weights[-1]
        near = np.round(2.0 * weights) / 2.0
        weights = np.where(np.abs(weights - near) < 1e-6, near, weights)
        out.append(Combination(tuple(names[p] for p in group[used]), tuple(weights.tolist())))
    return out


def _reduced(matrix: FloatArray) -> FloatArray:
    """Row echelon form, pivots from the last column on; rows without any left out."""
    a = matrix.copy()
    rows: list[FloatArray] = []
    for column in range(a.shape[1] - 1, -1, -1):
        at = int(np.argmax(np.abs(a[:, column])))
        if abs(a[at, column]) < _ROUNDING:
            continue
        pivot = a[at] / a[at, column]
        a = np.delete(a, at, axis=0)
        a -= np.outer(a[:, column], pivot)
        rows = [row - row[column] * pivot for row in rows]
        rows.append(pivot)
        if not len(a):
            break
    return np.array(rows[::-1]).reshape(-1, matrix.shape[1])


def _axes(moves: FloatArray) -> BoolArray:
    """Parameters that can move alone, given an orthonormal basis of their moves."""
    return np.asarray(_length(moves) > 1.0 - _ROUNDING)


def _length(rows: FloatArray) -> FloatArray:
    return np.sqrt((rows**2).sum(axis=1))


def _orthonormal(columns: FloatArray) -> FloatArray:
    """A basis of the span of columns."""
    left, values, _ = np.linalg.svd(columns, full_matrices=False)
    return np.asarray(left[:, values > _ROUNDING * values.max(initial=1e-300)])


def _same_span(first: FloatArray, second: FloatArray, size: FloatArray) -> bool:
    a, b = (_orthonormal(part / size[:, None]) for part in (first, second))
    return a.shape == b.shape and bool(np.abs(a - b @ (b.T @ a)).max(initial=0.0) < _ROUNDING)
