"""The parameters of one term, or of the residual's structure, on their natural scale."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np

from mlmfast.arrays import FloatArray
from mlmfast.covariance import CovarianceStructure
from mlmfast.covariance.natural_chart import natural_chart
from mlmfast.covariance.units import natural_in_units

Kind = Literal["variance", "covariance", "other"]


@dataclass(frozen=True)
class ParameterBlock:
    """Parameters of one term, of the residual's structure in one arm, or the residual variance.

    Attributes
    ----------
    names
        Keys, such as ``Var(Days) | Subject``.
    kinds
        What each is: only variances are tested one-sided.
    values : shape (k,), natural parameters in the user's units.
    first : shape (n_coordinates, r)
        Derivatives of the core's coordinates by the r parameters that are free. The core's
        coordinates are entries of the covariance over the response's unit, or for matrices handed
        over with their derivatives (`Directions`) the natural parameters themselves.
    second : shape (n_coordinates, r, r), (r,) or None
        Second derivatives; None where they are 0. One number a parameter where each coordinate is
        a function of the parameter at the same place only.
    by_free : shape (k, r)
        Derivatives of the natural parameters by the free ones. Elements of G are free in the core's
        orthonormal basis, where none is nearly a function of the others, and of a singular G only
        moves among matrices of its rank.
    fixed : shape (k,), parameters on the boundary, which have no standard error.
    singular
        Whether G is singular, so that the free parameters move among matrices of its rank.
    moves : shape (r0, r) or None
        Combinations of the r0 free parameters that a structure has here of which the free ones are;
        None where they are these.
    """

    names: tuple[str, ...]
    kinds: tuple[Kind, ...]
    values: FloatArray
    first: FloatArray
    second: FloatArray | None
    by_free: FloatArray
    fixed: tuple[bool, ...]
    singular: bool = False
    moves: FloatArray | None = None

    def whole(self, step: FloatArray) -> FloatArray:
        """A step (r,) of the free parameters as one of all that the structure has here, (r0,)."""
        return step if self.moves is None else np.asarray(self.moves @ step)

    def bend(self, weight: FloatArray) -> FloatArray:
        """Second derivatives of weight'coordinates by the free parameters, (r, r)."""
        if self.second is None:
            return np.zeros((self.first.shape[1],) * 2)
        if self.second.ndim == 1:
            return np.diag(weight * self.second)
        return np.asarray(np.einsum("e,eij->ij", weight, self.second))


def residual_block(
    structure: CovarianceStructure,
    prefix: str,
    theta: FloatArray,
    unit: float,
    first: FloatArray,
    second: FloatArray | None,
) -> ParameterBlock:
    """The block of the residual's structure; free are the parameters of the scaled response."""
    names = structure.parameter_names
    r = len(names)
    values = natural_in_units(structure, theta, unit)[0]
    scaled = structure.natural(theta)[0]
    kinds = tuple(map(kind_of, names))
    of_zero = np.array([1.0 if kind == "other" else unit for kind in kinds])
    scale = np.where(scaled != 0.0, values / np.where(scaled != 0.0, scaled, 1.0), of_zero)
    if structure.natural_entries:
        scale, by_free = np.full(r, unit), np.eye(r)
    else:
        by_free = natural_chart(structure, theta)[2]
    keys = tuple(prefix + name for name in names)
    return ParameterBlock(
        keys, kinds, values, first, second, scale[:, None] * by_free, (False,) * r
    )


def kind_of(name: str) -> Kind:
    """Kind of a parameter by PROC MIXED's name.

    Examples
    --------
    >>> [kind_of(name) for name in ("Var(1)", "UN(2,2)", "UN(2,1)", "CS", "AR(1)")]
    ['variance', 'variance', 'covariance', 'covariance', 'other']
    """
    if name.startswith("Var") or name == "Residual":
        return "variance"
    if name.startswith("UN("):
        row, column = name[3:-1].split(",")
        return "variance" if row == column else "covariance"
    return "covariance" if name == "CS" or name.startswith("TOEP(") else "other"


def is_variance(name: str) -> bool:
    """Whether a parameter is a variance by PROC MIXED's name.

    Examples
    --------
    >>> is_variance("UN(2,2)"), is_variance("UN(2,1)")
    (True, False)
    """
    return kind_of(name) == "variance"
