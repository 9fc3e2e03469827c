"""Structures whose matrices are combinations of fixed ones, without the bound of a covariance.

Variances of random effects below 0 (NOBOUND of PROC MIXED): G need not be a covariance matrix, as
long as V = Z G Z' + R is one. Where V is none the criterion is infinite.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from mlmfast.arrays import BoolArray, FloatArray
from mlmfast.covariance.base import CovarianceStructure
from mlmfast.covariance.natural_coordinates import NaturalCoordinates
from mlmfast.covariance.other_parameters import OtherParameters


@dataclass(frozen=True)
class Opened(OtherParameters, NaturalCoordinates):
    """G = sum_j theta_j A_j for any theta, the natural parameters of ``structure``.

    Reference: SAS/STAT User's Guide, The MIXED Procedure, option NOBOUND.

    Parameters
    ----------
    structure
        The structure, whose entries are linear in its natural parameters.
    forms : shape (n_entries, n_theta), the entries of A_j.

    Examples
    --------
    >>> from mlmfast.covariance.structures.compound_symmetry import CompoundSymmetry
    >>> CompoundSymmetry(2).opened().matrix(np.array([[-3.0, 1.0]]))[0].tolist()
    [[-2.0, 1.0], [1.0, -2.0]]
    """

    forms: FloatArray

    everywhere: ClassVar[bool] = False
    indefinite: ClassVar[bool] = True

    def matrix(self, theta: FloatArray) -> FloatArray:
        # A product a fit: one over a batch may sum in another order.
        return self.on_entries((self.forms @ theta[:, :, None])[..., 0])

    def jacobian(self, theta: FloatArray) -> FloatArray:
        return np.repeat(self.forms[None], len(theta), axis=0)

    def curvature(self, theta: FloatArray, weight: FloatArray) -> FloatArray:
        return np.zeros((len(theta), self.n_theta, self.n_theta))

    def theta(self, matrix: FloatArray) -> FloatArray:
        rows, columns = np.array(self.entries, dtype=np.intp).T
        # Orthogonal projection onto the span of the A_j, off-diagonal entries standing twice.
        twice = np.where(rows == columns, 1.0, 2.0)
        weighted = self.forms.T * twice
        inverse = np.linalg.solve(weighted @ self.forms, weighted)
        return np.asarray((inverse @ matrix[:, rows, columns][:, :, None])[..., 0])

    def scaled(self, theta: FloatArray, factor: FloatArray) -> FloatArray:
        if factor.shape[1] == 1:
            return np.asarray(theta * factor**2)
        rows, columns = np.array(self.entries, dtype=np.intp).T
        return np.asarray(theta * factor[:, rows] * factor[:, columns])

    def at_boundary(self, theta: FloatArray, small: float) -> tuple[FloatArray, BoolArray]:
        return theta.copy(), np.zeros(len(theta), dtype=np.bool_)

    def powers(self, theta: FloatArray) -> FloatArray:
        return np.ones_like(theta)


@dataclass(frozen=True)
class OpenedEntries(Opened):
    """`Opened` where the natural parameters are the entries themselves, one each.

    Examples
    --------
    >>> from mlmfast.covariance.structures.diagonal import Diagonal
    >>> Diagonal(2).opened().matrix(np.array([[-1.0, 2.0]]))[0].tolist()
    [[-1.0, 0.0], [0.0, 2.0]]
    """

    natural_entries: ClassVar[bool] = True


def opened_entries(structure: CovarianceStructure) -> OpenedEntries:
    """The structure with its entries as parameters."""
    return OpenedEntries(structure.size, structure, np.eye(len(structure.entries)))
