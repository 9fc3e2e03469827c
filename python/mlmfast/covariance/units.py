"""How natural parameters change with the unit of the response."""

from __future__ import annotations

import numpy as np

from mlmfast.arrays import FloatArray
from mlmfast.covariance.base import CovarianceStructure
from mlmfast.covariance.chains import VisitChain
from mlmfast.covariance.scaled_correlation import ScaledCorrelation


def entry_values(structure: CovarianceStructure, theta: FloatArray) -> FloatArray:
    """The entries of a structure, shape (n_fits, n_entries)."""
    rows, columns = np.array(structure.entries, dtype=np.intp).T
    return np.asarray(structure.matrix(theta)[:, rows, columns])


def scale_powers(
    structure: CovarianceStructure, theta: FloatArray, _moved: bool = False
) -> FloatArray:
    """How each natural parameter grows with the covariance's scale, shape (n_fits, n_theta).

    1 for a variance, 1/2 for a loading, 0 for a correlation or a range: read off the derivative
    along the scale.
    """
    known = structure.powers(theta)
    if known is not None:
        return known
    if structure.natural_entries:
        return np.ones_like(theta)
    if isinstance(structure, VisitChain):
        assert isinstance(structure, ScaledCorrelation), "a chain is a mixin of it"
        one = np.arange(structure.n_theta) < structure.n_scales
        return np.asarray(np.broadcast_to(one.astype(np.float64), theta.shape))
    out = np.empty_like(theta)
    natural, jacobian = structure.natural(theta), structure.jacobian(theta)
    if not np.isfinite(jacobian).all():
        # At the end of what numbers hold: the powers are the same everywhere.
        return np.repeat(
            scale_powers(structure, _off(np.zeros_like(theta[:1]))), len(theta), axis=0
        )
    values, slopes = entry_values(structure, theta), structure.natural_jacobian(theta)
    for f in range(len(theta)):
        along, *_ = np.linalg.lstsq(jacobian[f], values[f], rcond=None)
        with np.errstate(invalid="ignore", divide="ignore"):
            power = slopes[f] @ along / natural[f]
        out[f] = np.clip(np.round(2.0 * power) / 2.0, 0.0, 1.0)
    if np.isnan(out).any():
        # A parameter that is 0 does not show how it grows: one close by does.
        near = np.full_like(theta, np.nan) if _moved else scale_powers(structure, _off(theta), True)
        out = np.where(np.isnan(out), np.nan_to_num(near), out)
    return out


def natural_factors(structure: CovarianceStructure, diagonal: FloatArray) -> FloatArray:
    """What the natural parameters are multiplied by where R becomes D R D, shape (n_theta,).

    Parameters
    ----------
    structure : a closed structure.
    diagonal : shape (1,) for D a multiple of the identity, or (K,), its diagonal
        Only where the structure keeps under it.
    """
    theta = _off(np.zeros((1, structure.n_theta)))
    scaled = structure.natural(structure.scaled(theta, diagonal[None]))
    return np.asarray((scaled / structure.natural(theta))[0])


def _off(theta: FloatArray) -> FloatArray:
    """Parameters close by, none of them 0."""
    return np.asarray(theta + 0.1 + 0.01 * np.sqrt(np.arange(theta.shape[1])))


def natural_in_units(
    structure: CovarianceStructure, theta: FloatArray, unit: FloatArray | float
) -> FloatArray:
    """Natural parameters of the covariances times ``unit``, shape (n_fits, n_theta).

    Parameters
    ----------
    structure, theta : theta of shape (n_fits, n_theta)
    unit : a number, or one a fit, shape (n_fits,)
    """
    powers = scale_powers(structure, theta[:1])
    return np.asarray(structure.natural(theta) * np.atleast_1d(unit)[:, None] ** powers)
