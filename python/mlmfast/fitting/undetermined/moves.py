"""How covariance parameters move along directions that the data do not tell."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from mlmfast.arrays import BoolArray, FloatArray, IntArray
from mlmfast.covariance.scaled_covariance import ScaledCovariance
from mlmfast.criterion.criterion import Criterion
from mlmfast.criterion.flat_covariances import FlatCovariances
from mlmfast.criterion.parameters.functions import CovarianceFunctions
from mlmfast.criterion.parameters.natural import CovarianceParameters, covariance_parameters
from mlmfast.fitting.undetermined.record import Combination
from mlmfast.fitting.undetermined.search import is_linear
from mlmfast.running.cached import cached_property

if TYPE_CHECKING:
    from mlmfast.reduction.reduced_model import ReducedModel

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
        return orthonormal(self.parameters.by_free @ self.null / self.size[:, None])

    @cached_property
    def unseen(self) -> FloatArray:
        """Those that V does not show at all."""
        return orthonormal(self.parameters.by_free @ self.unseen_null / self.size[:, None])

    @cached_property
    def unseen_null(self) -> FloatArray:
        """Free parameters' moves that V does not show, (r, j)."""
        return self._free(self.flat.among(self.parameters.first, unseen=True))


def typical_parameters(
    model: ReducedModel, criterion: Criterion, theta: FloatArray, shift: float, fit: int = 0
) -> CovarianceParameters:
    """Parameters at covariances that are not special in any way."""
    out = typical_theta(criterion, theta, shift)
    free = (False,) * len(criterion.terms)
    return covariance_parameters(model, criterion, out, free, 1.0, fit)


def typical_theta(criterion: Criterion, theta: FloatArray, shift: float) -> FloatArray:
    """theta (1, n_theta) of such covariances."""
    out = theta[:1].copy()
    for term, s in zip(criterion.terms, criterion.theta_slices, strict=True):
        if term.by_theta:
            continue
        own = term.shared
        if isinstance(own, ScaledCovariance):
            out[:, s] += shift * np.cos(np.arange(s.stop - s.start) * (1.0 + shift))
        else:
            level = np.arange(own.size)
            sd = np.sqrt(1.0 + _GROWS * level + shift * level**2 + shift)
            fading = (_FADES + shift) ** np.abs(level[:, None] - level)
            out[:, s] = term.theta((np.outer(sd, sd) * fading)[None])
    return out


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
        return np.asarray(rows[keys[name]])
    pair = keys[name.replace("cor_", "cov_", 1)]
    out = rows[pair].copy()
    for place in parameter.places:
        variance = keys[next(p.name for p in functions.parameters if p.places == (place,))]
        out -= 0.5 * values[pair] / values[variance] * rows[variance]
    return np.asarray(out)


def groups_of(moves: FloatArray, shared: BoolArray) -> list[IntArray]:
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


def bends_by_parameter(criterion: Criterion, theta: FloatArray) -> bool:
    """Whether coordinates are parameters in which the residual covariance is not linear.

    The directions are those of one point then.
    """
    return any(t.by_theta for t in criterion.terms) and not is_linear(criterion, theta[:1])


def combinations(moves: FlatMoves, directions: FloatArray, group: IntArray) -> list[Combination]:
    """Sparse combinations of a group's parameters that ``directions`` (n, k) do not move.

    Directions are in units of the parameters' sizes.
    """
    names = moves.parameters.names
    own = orthonormal(directions[group])
    still = _reduced(np.eye(len(group)) - own @ own.T)
    out = []
    for row in still:
        used = np.flatnonzero(np.abs(row) > _ROUNDING)
        if len(used) < 2:
            # One of a group moves; at a point where it does so by its square only, not to be seen.
            continue
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


def moves_alone(moves: FloatArray) -> BoolArray:
    """Parameters that can move alone, given an orthonormal basis of their moves."""
    return np.asarray(row_lengths(moves) > 1.0 - _ROUNDING)


def row_lengths(rows: FloatArray) -> FloatArray:
    """Length of each row."""
    return np.asarray(np.sqrt((rows**2).sum(axis=1)))


def orthonormal(columns: FloatArray) -> FloatArray:
    """A basis of the span of columns."""
    left, values, _ = np.linalg.svd(columns, full_matrices=False)
    return np.asarray(left[:, values > _ROUNDING * values.max(initial=1e-300)])
