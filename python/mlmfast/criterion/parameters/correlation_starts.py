"""Points at which correlations of random effects have given values.

From a singular matrix, or across a long way, Gauss-Newton steps towards a correlation lead to
variances of 0 or without end; the matrix with the correlation put in is there at once.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from mlmfast.arrays import FloatArray, IntArray
from mlmfast.criterion.parameters.functions import CovarianceFunctions

#: Variances of effects, in units where they weigh as much as the residual, that count as 0.
_NOTHING = 1e-4
#: Shares of the free correlations tried, and the smallest eigenvalue that a start may have.
_SHARES, _DEFINITE = np.linspace(1.0, 0.0, 21), 1e-9


def with_correlations(
    functions: CovarianceFunctions, which: IntArray, values: FloatArray, points: FloatArray
) -> FloatArray:
    """Points with the correlations among ``which`` at ``values``, standard deviations kept.

    Parameters
    ----------
    functions
        The model's covariance parameters.
    which, values : shape (n_rows, k)
        Parameters by position, and their values; other kinds than correlations are passed over.
    points : shape (n_rows, n_coordinates)

    Returns
    -------
    Array of the shape of ``points``. Rows in which no covariance matrix has the correlations are as
    they were.
    """
    out = points.copy()
    for row, (positions, wanted) in enumerate(zip(which, values, strict=True)):
        for t, pairs in _by_term(functions, positions, wanted).items():
            block = functions.model.order.index(t)
            s = functions.criterion.theta_slices[block]
            found = _theta(functions, block, out[row : row + 1, s], pairs)
            if found is not None:
                out[row, s] = found
    return out


def _by_term(
    functions: CovarianceFunctions, positions: IntArray, values: FloatArray
) -> dict[int, dict[tuple[int, int], float]]:
    """Correlations by term and pair of effects."""
    out: dict[int, dict[tuple[int, int], float]] = {}
    for position, value in zip(positions.tolist(), values.tolist(), strict=True):
        parameter = functions.parameters[position]
        if parameter.kind == "correlation" and abs(value) < 1.0:
            (t, i), (_, j) = parameter.places
            out.setdefault(t, {})[i, j] = value
    return out


def _theta(
    functions: CovarianceFunctions,
    block: int,
    theta: FloatArray,
    pairs: dict[tuple[int, int], float],
) -> FloatArray | None:
    structure = functions.criterion.terms[block].shared
    k = functions.model.effects_map(block)
    matrix = k @ structure.matrix(theta)[0] @ k.T
    sd = np.sqrt(np.maximum(np.diag(matrix), _NOTHING * np.diag(k @ k.T)))
    free = matrix / np.outer(sd, sd)
    held = np.eye(len(sd))
    for (i, j), value in pairs.items():
        held[i, j] = held[j, i] = value
        free[i, j] = free[j, i] = 0.0
    np.fill_diagonal(free, 0.0)
    for share in _SHARES:
        correlation = held + share * free
        if np.linalg.eigvalsh(correlation)[0] > _DEFINITE:
            inverse = np.linalg.inv(k) * sd
            return np.asarray(structure.theta((inverse @ correlation @ inverse.T)[None])[0])
    return None


def with_small_effects(
    functions: CovarianceFunctions, which: IntArray, point: FloatArray
) -> FloatArray:
    """The point, and ones where an effect of a held correlation has almost no variance.

    A correlation that the data speak against is best met where one of its effects is small, and
    which one makes for minima of their own.

    Parameters
    ----------
    functions, which : the parameters, and the positions of those held, shape (k,)
    point : shape (1, n_coordinates)

    Returns
    -------
    Array of shape (n_points, n_coordinates), ``point`` first.
    """
    out = [point]
    for t, j in dict.fromkeys(effects_correlated(functions, which.tolist())):
        block = functions.model.order.index(t)
        s = functions.criterion.theta_slices[block]
        structure, k = functions.criterion.terms[block].shared, functions.model.effects_map(block)
        shrink = np.eye(structure.size)
        shrink[j, j] = 0.1
        across = np.linalg.solve(k, shrink @ k)
        moved = point.copy()
        moved[:, s] = structure.theta(across @ structure.matrix(point[:, s]) @ across.T)
        out.append(moved)
    return np.concatenate(out)


def effects_correlated(
    functions: CovarianceFunctions, which: Sequence[int]
) -> list[tuple[int, int]]:
    """Term and effect of all correlations among the parameters ``which``."""
    chosen = (functions.parameters[p] for p in which)
    return [place for p in chosen if p.kind == "correlation" for place in p.places]
