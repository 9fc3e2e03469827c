"""Points at which natural parameters of covariance structures have given values.

Far from a point Gauss-Newton steps towards such values may end at the edge of the parameter space,
as from an autocorrelation near 1; the parameters with the values put in are there at once.
"""

from __future__ import annotations

import numpy as np

from mlmfast.arrays import FloatArray, IntArray
from mlmfast.covariance import CovarianceStructure
from mlmfast.criterion.parameters.functions import CovarianceFunctions
from mlmfast.errors import ModelError

#: Shares of the other parameters' way from those of uncorrelated levels that are tried.
_SHARES = np.linspace(1.0, 0.0, 11)


def with_natural_parameters(
    functions: CovarianceFunctions, which: IntArray, values: FloatArray, points: FloatArray
) -> FloatArray:
    """Points with the natural parameters among ``which`` at ``values``.

    Parameters
    ----------
    functions
        The model's covariance parameters.
    which, values : shape (n_rows, k)
        Parameters by position, and their values; other kinds than natural ones are passed over.
    points : shape (n_rows, n_coordinates)

    Returns
    -------
    Array of the shape of ``points``. The other parameters of a structure stay where that gives a
    covariance matrix, else they move towards those of uncorrelated levels, or of levels every other
    one of which has its sign turned. Where none of these has the values, the row is as it was.
    """
    out = points.copy()
    for block in functions.natural_blocks:
        inside = (which >= block.first) & (which < block.first + block.structure.n_theta)
        for row in np.flatnonzero(inside.any(axis=1)):
            own = inside[row]
            theta = out[row : row + 1, block.theta]
            wanted = (
                values[row, own]
                / functions.natural_units(block, out[row : row + 1])[which[row, own] - block.first]
            )
            found = _theta(block.structure, theta, which[row, own] - block.first, wanted)
            if found is not None:
                out[row, block.theta] = found
    return out


def _theta(
    structure: CovarianceStructure, theta: FloatArray, places: IntArray, wanted: FloatArray
) -> FloatArray | None:
    """Parameters of a member with natural parameters ``wanted`` at ``places``, near ``theta``."""
    now, matrix = structure.natural(theta), structure.matrix(theta)
    if not (np.isfinite(now).all() and np.isfinite(matrix).all()):
        return None
    k = structure.size
    alone = structure.natural(structure.theta(matrix * np.eye(k)))
    # A negative correlation of neighbours goes with alternating signs of the others.
    sign = (-1.0) ** np.arange(k)
    turned = structure.natural(structure.theta(matrix * np.outer(sign, sign)))
    tried = [share * base + (1.0 - share) * alone for base in (now, turned) for share in _SHARES]
    for natural in tried:
        natural[0, places] = wanted
        try:
            with np.errstate(all="ignore"):
                found = structure.from_natural(natural)
                # Where the iteration would stay: loadings have the sign of their diagonal there.
                stays = structure.move(found, np.zeros_like(found))
                reached = structure.natural(stays)[0, places]
        except ModelError:
            continue
        if np.isfinite(found).all() and np.allclose(reached, wanted, rtol=1e-6, atol=1e-12):
            return np.asarray(found[0])
    return None
