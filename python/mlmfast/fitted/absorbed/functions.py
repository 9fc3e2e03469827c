"""Linear functions of the fixed effects beside an absorbed factor: estimates and covariances.

b and a (a number a level) are jointly normal: a = (what y says) + D b, D minus the means by level
and what generalised least squares of X on the levels gives, with an error of covariance V beside
that of b, Phi. A function r'b + w'a has the variance

    (r + D'w)' Phi (r + D'w) + w'V w

over sigma^2, for which the engine solves: V's diagonal comes from the inverse on the factor's
pattern, columns of V from one solution each.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

import numpy as np

from mlmfast.arrays import FloatArray, IntArray
from mlmfast.reduction.absorbed.coefficients import CoefficientMap
from mlmfast.reduction.absorbed.core import AbsorbedCore
from mlmfast.reduction.engines.cores import absorbed_core

if TYPE_CHECKING:
    from mlmfast.criterion.criterion import Criterion
    from mlmfast.reduction.reduced_model import ReducedModel


class FunctionOfCovariances(Protocol):
    """Variances, or a covariance matrix, over sigma^2 at covariances relative to it."""

    def __call__(self, g: list[FloatArray], /) -> FloatArray:
        """The value at covariances, each (1, q, q)."""


@dataclass(frozen=True)
class LevelMoments:
    """What covariances say of the levels; over sigma^2.

    Attributes
    ----------
    phi : shape (k, k), covariance of b.
    slopes : shape (n_levels, k), D.
    variances : shape (n_levels,), the diagonal of V; empty where left out.
    columns : shape (n_levels, m), columns of V.
    """

    phi: FloatArray
    slopes: FloatArray
    variances: FloatArray
    columns: FloatArray


def core_of(model: ReducedModel) -> AbsorbedCore:
    """The core of a model with an absorbed factor."""
    return absorbed_core(model.core)


def level_moments(
    model: ReducedModel, g: list[FloatArray], units: IntArray, variances: bool = True
) -> LevelMoments:
    """The moments at covariances ``g``, with the columns of V of ``units``.

    Without ``variances`` the diagonal of V, which takes an inverse, is left out.
    """
    core = core_of(model)
    found = core.core.fixed_moments(core.whole(g, 1), 0, units.tolist(), variances)
    assert found is not None, "a covariance G = L L' always gives a positive definite W"
    effects, diagonal, columns, c = found
    k, scale = model.fixed_map, core.level_scale
    slopes = np.linalg.solve(k.T, effects[:, :-1].T / scale).T
    return LevelMoments(
        k @ c @ k.T,
        -(model.coefficient_map.means + slopes),
        diagonal / scale**2,
        columns / scale**2,
    )


def level_estimates(
    model: ReducedModel, criterion: Criterion, theta: FloatArray, b: FloatArray
) -> FloatArray:
    """a, shape (n_levels,), at the estimates."""
    core, design = core_of(model), model.design
    assert design.absorbed is not None, "it has a core of its own"
    g = core.whole(criterion.covariances(theta), 1)
    found = core.core.fixed_moments(g, 0, [], False)
    assert found is not None, "a covariance G = L L' always gives a positive definite W"
    own = core.core.solve(g, [0])[0][0]
    unit = float(core.y_scale[0]) / model.y_scaling[0].scale / core.level_scale
    around = unit * (found[0][:, -1] - found[0][:, :-1] @ own)
    means = design.absorbed.split(design.working_response, design.weights)[0]
    return np.asarray(means - model.coefficient_map.means @ b + around)


@dataclass(frozen=True)
class AllCoefficients:
    """Variances of all coefficients that are not aliased, in the formula's order, (p,)."""

    model: ReducedModel

    def __call__(self, g: list[FloatArray]) -> FloatArray:
        """See `FunctionOfCovariances`."""
        by = self.model.coefficient_map
        at = level_moments(self.model, g, by.pivots)
        corner = at.columns[by.pivots]
        outer = by.inverse @ at.slopes[by.pivots]
        inner = np.eye(len(by.inner)) - by.shares @ outer
        between = by.inverse @ corner @ by.inverse.T
        own = at.slopes - by.weights @ at.slopes[by.pivots]
        apart = at.variances - 2.0 * (by.weights * at.columns).sum(axis=1)
        apart = apart + ((by.weights @ corner) * by.weights).sum(axis=1)
        values = [
            _quadratic(inner, at.phi) + _quadratic(by.shares, between),
            _quadratic(outer, at.phi) + np.diag(between),
            (_quadratic(own, at.phi) + apart)[by.levels],
        ]
        order = np.argsort(np.concatenate([by.inner, by.outer, by.columns]))
        return np.asarray(np.concatenate(values)[order])


def _quadratic(rows: FloatArray, matrix: FloatArray) -> FloatArray:
    return np.asarray(((rows @ matrix) * rows).sum(axis=1))


@dataclass(frozen=True)
class SomeFunctions:
    """Covariance matrix of m functions r'b + w'a, (m, m).

    Attributes
    ----------
    rows : shape (m, k), r.
    units : shape (u,), levels that the functions weigh.
    weights : shape (m, u), w.
    """

    model: ReducedModel
    rows: FloatArray
    units: IntArray
    weights: FloatArray

    def __call__(self, g: list[FloatArray]) -> FloatArray:
        """See `FunctionOfCovariances`."""
        at = level_moments(self.model, g, self.units, variances=False)
        rows = self.rows + self.weights @ at.slopes[self.units]
        out = rows @ at.phi @ rows.T + self.weights @ at.columns[self.units] @ self.weights.T
        return np.asarray((out + out.T) / 2)


def functions_of_coefficients(model: ReducedModel, L: FloatArray) -> SomeFunctions:
    """The functions L beta of all coefficients, L of shape (m, p); aliased ones have no weight."""
    by: CoefficientMap = model.coefficient_map
    own = L[:, by.columns]
    inner = L[:, by.inner]
    # d_l = a_l - h_l beta, b's coefficients less their shares, beta = h_S^-1 a_S.
    outer = L[:, by.outer] - inner @ by.shares
    used = np.flatnonzero(own.any(axis=0))
    units = np.union1d(by.pivots, by.levels[used]).astype(np.intp)
    weights = np.zeros((len(L), len(units)))
    weights[:, np.searchsorted(units, by.levels[used])] += own[:, used]
    at_pivots = outer @ by.inverse - own[:, used] @ by.weights[by.levels[used]]
    weights[:, np.searchsorted(units, by.pivots)] += at_pivots
    return SomeFunctions(model, inner, units, weights)
