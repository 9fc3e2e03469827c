"""Which fixed effects' standard errors depend on covariances that the data do not determine.

The restricted likelihood can be constant where V is not. Along such a direction V_d the covariance
C of the fixed effects moves by C X'V^-1 V_d V^-1 X C: functions L beta with L of this L' = 0 have
the covariance that they have, others none.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from mlmfast.arrays import BoolArray, FloatArray
from mlmfast.criterion.criterion import Criterion
from mlmfast.criterion.parameters.functions import CovarianceFunctions
from mlmfast.fitting.undetermined.along_series import n_effect_entries
from mlmfast.fitting.undetermined.moves import FlatMoves, typical_parameters, typical_theta
from mlmfast.information.information import Information
from mlmfast.information.of_fit import information_of

if TYPE_CHECKING:
    from mlmfast.reduction.reduced_model import ReducedModel

#: Move of a covariance of fixed effects, over the standard errors, that is rounding.
_ROUNDING = 1e-6


def moves_of_effects(
    model: ReducedModel,
    criterion: Criterion,
    theta: FloatArray,
    absorbed: Sequence[str],
    held: Sequence[str] = (),
    fit: int = 0,
) -> FloatArray:
    """How the covariance of the coefficients kept moves, (k, rank, rank), by direction.

    Parameters
    ----------
    theta : shape (1, n_theta)
    absorbed
        Parameters at 0 by name, with which the fixed effects have the inference of least squares.
    held
        Parameters that the fit holds, by the names of `CovarianceFunctions`.
    """
    rank = len(model.kept)
    found = []
    for about, null, _ in flat_moves(model, criterion, theta, absorbed, held, fit) if rank else ():
        rows = about.contrasts(np.eye(rank))
        moved = rows @ about.phi @ np.tensordot(null.T, about.by_parameters, axes=1)
        found.append((rows @ about.phi @ rows.T, moved @ about.phi @ rows.T))
    return in_size_of_first(found, rank)


def flat_moves(
    model: ReducedModel,
    criterion: Criterion,
    theta: FloatArray,
    absorbed: Sequence[str],
    held: Sequence[str] = (),
    fit: int = 0,
) -> Iterator[tuple[Information, FloatArray, FloatArray]]:
    """Points, the estimates first, and moves of the free parameters that cost nothing there.

    See `moves_of_effects`. None under ML, whose likelihood sees V whole.
    """
    flat = criterion.flat
    assert flat is not None, "something is not determined"
    if not criterion.reml:
        return
    if flat.free is not None:
        # Residuals held at independence leave the inference of least squares too.
        own = (flat.directions[: n_effect_entries(criterion)] != 0.0).any(axis=0)
        flat = replace(flat, directions=flat.directions[:, own])
    # Where variances are equal a move may cost nothing at first; elsewhere it does.
    for point in (theta[:1], typical_theta(criterion, theta, 0.0)):
        free = (False,) * len(criterion.terms)
        about = information_of(model, replace(criterion, flat=None), point, free, fit)
        functions = CovarianceFunctions(model, criterion)
        moves = FlatMoves.of(about.parameters, flat, functions, held)
        yield about, _not_absorbed(moves, absorbed), point


def in_size_of_first(found: Sequence[tuple[FloatArray, FloatArray]], n: int) -> FloatArray:
    """Moves of covariances at several points, by direction, those that are rounding left out.

    Parameters
    ----------
    found : shapes (n, n), (k, n, n)
        The covariance at each point, and how it moves.
    """
    if not found:
        return np.zeros((0, n, n))
    sizes = [np.sqrt(np.diag(covariance)) for covariance, _ in found]
    out = np.concatenate(
        [moved * np.outer(sizes[0] / own, sizes[0] / own)
         for own, (_, moved) in zip(sizes, found, strict=True)]
    )  # fmt: skip
    shares = np.abs(out) / np.outer(sizes[0], sizes[0])
    out = np.where(shares > _ROUNDING, out, 0.0)
    return np.asarray(out[shares.max(axis=(1, 2), initial=0.0) > _ROUNDING])


def levels_depend(
    model: ReducedModel,
    criterion: Criterion,
    theta: FloatArray,
    absorbed: Sequence[str],
    held: Sequence[str] = (),
    fit: int = 0,
) -> bool:
    """Whether levels of an eliminated factor, and the intercept, have no standard errors.

    They take up whatever V does along a direction that the restricted likelihood does not see.
    """
    flat = criterion.flat
    if model.design.absorbed is None or flat is None or not criterion.reml:
        return False
    functions = CovarianceFunctions(model, criterion)
    typical = typical_parameters(model, criterion, theta, 0.0, fit)
    moves = FlatMoves.of(typical, flat, functions, held)
    return bool(_not_absorbed(moves, absorbed).shape[1] > moves.unseen_null.shape[1])


def _not_absorbed(moves: FlatMoves, absorbed: Sequence[str]) -> FloatArray:
    """Free parameters' moves along flat directions that leave some parameters as they are."""
    null, names = moves.null, moves.parameters.names
    fixed = np.array([name in absorbed for name in names], dtype=np.bool_)
    if not fixed.any() or not null.shape[1]:
        return null
    _, values, rows = np.linalg.svd((moves.parameters.by_free / moves.size[:, None])[fixed] @ null)
    left = int((values > _ROUNDING * values.max(initial=1e-300)).sum())
    return np.asarray(null @ rows[left:].T)


def depend(moves: FloatArray | None, rows: FloatArray, vcov: FloatArray) -> BoolArray:
    """Which functions, rows (m, rank), have no standard error, (m,)."""
    if moves is None or not len(moves):
        return np.zeros(len(rows), dtype=np.bool_)
    size = _spread(rows, vcov)
    moved = np.abs(np.einsum("mi,kij,mj->km", rows, moves, rows))
    return np.asarray((moved > _ROUNDING * size).any(axis=0))


def depend_together(moves: FloatArray | None, rows: FloatArray, vcov: FloatArray) -> bool:
    """Whether functions, rows (m, rank), have no covariance."""
    if moves is None or not len(moves):
        return False
    size = np.sqrt(_spread(rows, vcov))
    return bool((np.abs(rows @ moves @ rows.T) > _ROUNDING * np.outer(size, size)).any())


def known_entries(moves: FloatArray | None, vcov: FloatArray) -> FloatArray:
    """A covariance of coefficients with NaN where it depends on what is not determined."""
    if moves is None or not len(moves):
        return vcov
    size = np.sqrt(np.diag(vcov))
    return np.where((np.abs(moves) > _ROUNDING * np.outer(size, size)).any(axis=0), np.nan, vcov)


def _spread(rows: FloatArray, vcov: FloatArray) -> FloatArray:
    """Variance of each row, at least that of rounding."""
    size = np.abs(rows) * np.sqrt(np.diag(vcov))
    return np.asarray(np.maximum(((rows @ vcov) * rows).sum(axis=1), 1e-9 * (size**2).sum(axis=1)))
