"""Degrees of freedom and adjusted variances of functions of the fixed effects, by differences.

A variance f = s v(E / s), E the covariances of the random effects and s that of the residual, has
along a way (dE, ds) through the covariance parameters the derivatives

    f' = (dE - gamma ds) . v' + ds v      f'' = (dE - gamma ds)' v'' (dE - gamma ds) / s

with gamma = E / s. W, the parameters' covariance, is the sum of r r' over as many ways; those
dE - gamma ds that they span are one fewer (v does not change where all covariances grow alike), and
v is needed along these alone. Satterthwaite: 2 f^2 / sum f'^2. Kenward and Roger: f less the sum of
f'' (Kackar and Harville 1984, JASA 79:853), and of half of f' along the sum of W_ij V_ij where V is
not linear in its parameters.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from mlmfast.arrays import FloatArray
from mlmfast.degrees_of_freedom import DegreesOfFreedom, FittedRows, KenwardRoger, method_of
from mlmfast.degrees_of_freedom.kenward_roger import (
    KenwardRoger2009,
    is_definite,
    not_definite,
)
from mlmfast.errors import ModelError
from mlmfast.fitted.absorbed.functions import FunctionOfCovariances
from mlmfast.inference.absorbed.degrees import refuse_by_term
from mlmfast.information.information import Information, covariance_root
from mlmfast.information.undetermined_effects import flat_moves, in_size_of_first
from mlmfast.reduction.engines.differences import along, has_path

#: Ways shorter than this part of the longest are rounding.
_SHORT = 1e-9
#: Variances of combinations below this part of the largest are rounding.
_DEPENDENT = 1e-10


@dataclass(frozen=True)
class Uncertainty:
    """Variances (or covariance matrices) of functions, in the user's units.

    Attributes
    ----------
    value
        By (X'V^-1 X)^-1.
    adjusted
        What tests use.
    slopes : shape (r, ...), derivatives along ways whose squares add up to the parameters'
        covariance; None for methods that do not use them.
    """

    value: FloatArray
    adjusted: FloatArray
    slopes: FloatArray | None = None


def uncertainty(fitted: FittedRows, ddf: str, function: FunctionOfCovariances) -> Uncertainty:
    """What a method of degrees of freedom says of a function of the covariances.

    Raises
    ------
    ModelError
        Where the method does not apply, or its adjustment undoes the variances (`KenwardRoger`).
    """
    method = method_of(ddf)
    refuse_by_term(method)
    found = _by_method(fitted, method, function)
    if isinstance(method, KenwardRoger) and not _are_variances(found):
        raise not_definite(method.name, lambda m: _are_variances(_by_method(fitted, m, function)))
    return found


def _by_method(
    fitted: FittedRows, method: DegreesOfFreedom, function: FunctionOfCovariances
) -> Uncertainty:
    method.check(fitted.reml)
    g = fitted.criterion.covariances(fitted.theta)
    if method.information is None:
        value = _sigma2(fitted) * function(g)
        return Uncertainty(value, value)
    about = method.about(fitted)
    middle = function(g)
    weights = about.covariance(method.information)
    first = about.parameters.first @ covariance_root(weights)
    changes = first[:-1] - np.outer(about._gamma, first[-1])
    # Entries of every scale weigh alike, so that ways through the smallest keep their digits.
    scale = np.sqrt((changes**2).sum(axis=1, keepdims=True))
    scale[scale == 0.0] = 1.0
    left, sizes, right = np.linalg.svd(changes / scale, full_matrices=False)
    slopes = first[-1].reshape(-1, *[1] * middle.ndim) * middle
    bent = np.zeros_like(middle)
    for way, size, share in zip((scale * left).T, sizes, right, strict=True):
        if size <= _SHORT * sizes[0] or size == 0.0:
            continue
        matrices = _matrices(fitted, g, size * way)
        by, second = along(function, g, matrices, middle if method.adjusts else None)
        slopes = slopes + share.reshape(-1, *[1] * middle.ndim) * by
        bent = bent + (0.0 if second is None else second)
    unit = fitted.model.response_unit
    value = unit * about.scale * middle
    # Kackar and Harville's term, which Kenward and Roger take twice.
    adjusted = value - unit * bent / about.scale
    if isinstance(method, KenwardRoger) and method.bends:
        bend = about.parameters.bent_by(weights, singular=False)
        adjusted = adjusted - 0.5 * unit * _bend(fitted, method, about, function, middle, bend)
    return Uncertainty(value, adjusted, unit * slopes)


def undetermined_moves(fitted: FittedRows, function: FunctionOfCovariances) -> FloatArray | None:
    """How a covariance matrix (m, m) moves with what the data do not determine, (k, m, m).

    As `moves_of_effects` has it for the coefficients that are estimated within levels; None where
    nothing moves it.
    """
    told = fitted.undetermined
    if told is None:
        return None
    held = () if fitted.held is None else fitted.held.names
    found = []
    points = flat_moves(
        fitted.model, fitted.criterion, fitted.theta, told.absorbed, held, fitted.fit
    )
    for about, null, point in points:
        g = fitted.criterion.covariances(point)
        middle, first = function(g), about.parameters.first @ null
        moved = [np.zeros((0, *middle.shape))]
        for way in first.T:
            matrices = _matrices(fitted, g, way[:-1] - about._gamma * way[-1])
            # Out of a singular covariance there may be no path; the other point has them all.
            if has_path(g, matrices):
                moved.append(np.asarray(along(function, g, matrices)[0] + way[-1] * middle)[None])
        found.append((middle, np.concatenate(moved)))
    # In the units of the first, which are the user's after this.
    out = _sigma2(fitted) * in_size_of_first(found, len(found[0][0]) if found else 0)
    return out if len(out) else None


def _are_variances(found: Uncertainty) -> bool:
    if found.adjusted.ndim != 2:
        return bool((found.adjusted > 0.0).all())
    # Functions that depend on each other have a singular covariance, adjusted or not: what is
    # asked is asked of as many combinations as there are without adjustment.
    scale = np.sqrt(np.diag(found.value))
    scale[scale == 0.0] = 1.0
    sizes, ways = np.linalg.eigh(found.value / np.outer(scale, scale))
    independent = ways[:, sizes > _DEPENDENT * sizes[-1:]] / scale[:, None]
    return is_definite(independent.T @ found.adjusted @ independent)


def _bend(
    fitted: FittedRows,
    method: KenwardRoger,
    about: Information,
    function: FunctionOfCovariances,
    middle: FloatArray,
    bend: FloatArray,
) -> FloatArray | float:
    """The derivative along the sum of W_ij V_ij, of which Kenward and Roger take half."""
    if not bend.any():
        return 0.0
    if isinstance(method, KenwardRoger2009):
        raise ModelError(
            f"ddf={method.name!r} beside a fixed factor that is eliminated needs covariances that "
            "are linear in their parameters (us, diag); use 'kenward-roger', or absorb=False"
        )
    g = fitted.criterion.covariances(fitted.theta)
    matrices = _matrices(fitted, g, bend[:-1] - about._gamma * bend[-1])
    return np.asarray(along(function, g, matrices)[0] + bend[-1] * middle)


def _sigma2(fitted: FittedRows) -> float:
    """sigma^2 in the user's units, as the covariance of b has it."""
    model, g = fitted.model, fitted.criterion.covariances(fitted.theta)
    rss = float(fitted.criterion.reduction.solve(g, [0])[2][0, 0])
    held = fitted.held
    if held is not None and held.log_sigma2 is not None:
        return float(np.exp(held.log_sigma2[0])) * model.response_unit
    return rss / model.degrees(fitted.reml) * model.response_unit


def _matrices(fitted: FittedRows, g: list[FloatArray], entries: FloatArray) -> list[FloatArray]:
    """Symmetric matrices by level with these entries of G."""
    out = [np.zeros(matrix.shape[1:]) for matrix in g]
    for (level, a, b), value in zip(fitted.criterion.entries, entries, strict=True):
        out[level][a, b] = out[level][b, a] = value
    return out
