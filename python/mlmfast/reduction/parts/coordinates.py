"""Coordinates that all parts of the rows share, so that their sums add up."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np

from mlmfast.arrays import FloatArray
from mlmfast.data.statistics import in_memory
from mlmfast.design.design import Design
from mlmfast.errors import ModelError
from mlmfast.reduction.reduce import Basis, CoreCoordinates
from mlmfast.reduction.scaling import ScaledColumn

#: Center and scale of a column.
Unit: TypeAlias = tuple[float, float]

#: Relative pivot under which random-effect columns count as linearly dependent; the core's.
_COLLINEAR = 1e-12


@dataclass(frozen=True)
class Coordinates:
    """How every part centres, scales and rotates its columns; small, and pickles.

    Attributes
    ----------
    levels, order
        Positions of the grouping factors, outermost first, and of the terms in that order.
    x, y
        Centers and scales of the columns of X, and of the response.
    z : by term of the design
    core
        What the core is given; None as long as the parts are asked for sums of Z'Z.
    """

    levels: tuple[int, ...]
    order: tuple[int, ...]
    x: tuple[Unit, ...]
    y: Unit
    z: tuple[tuple[Unit, ...], ...]
    core: CoreCoordinates | None = None


def units_of(columns: Sequence[ScaledColumn]) -> tuple[Unit, ...]:
    """Centers and scales."""
    return tuple((center, scale) for _, center, scale in columns)


def in_units(
    columns: Sequence[FloatArray | None], units: Sequence[Unit]
) -> tuple[ScaledColumn, ...]:
    """Columns of a part, with the centers and scales of all rows."""
    pairs = zip(columns, units, strict=True)
    return tuple(
        ScaledColumn(None if column is None else in_memory(column), *unit) for column, unit in pairs
    )


def sums_of_effects(design: Design, coordinates: Coordinates) -> list[FloatArray]:
    """Z'Z of each term over the rows of a part, weighted."""
    weights = np.ones(design.n_obs) if design.weights is None else design.weights
    out = []
    for term, units in zip(design.random, coordinates.z, strict=True):
        pairs = zip(term.columns, units, strict=True)
        z = np.stack(
            [np.ones(design.n_obs) if c is None else (c - u[0]) * u[1] for c, u in pairs], axis=1
        )
        out.append(z.T @ (weights[:, None] * z))
    return out


def basis_of(gram: FloatArray, kind: Basis, text: str, names: Sequence[str]) -> FloatArray:
    """Upper triangular B with B'B the mean of Z'Z over units, as far as the kind of basis goes.

    Raises
    ------
    ModelError
        Where the columns of the term are linearly dependent.

    Examples
    --------
    >>> basis_of(np.array([[4.0, 2.0], [2.0, 2.0]]), "orthonormal", "(x | g)", ["1", "x"])
    array([[2., 1.],
           [0., 1.]])
    """
    root = np.sqrt(np.diag(gram))
    if kind == "isotropic" and root.any():
        return np.asarray(np.eye(len(root)) * np.sqrt((root**2).mean()))
    if not root.all():
        raise _collinear(text, names[int(np.argmin(root))])
    lower = _cholesky(gram / np.outer(root, root), text, names)
    if kind == "orthonormal":
        return np.asarray((root[:, None] * lower).T)
    if kind == "scaled":
        return np.diag(root)
    return np.asarray(np.eye(len(root)) * np.sqrt((root**2).mean()))


def _cholesky(matrix: FloatArray, text: str, names: Sequence[str]) -> FloatArray:
    lower = np.zeros_like(matrix)
    for i in range(len(matrix)):
        for j in range(i):
            lower[i, j] = (matrix[i, j] - lower[i, :j] @ lower[j, :j]) / lower[j, j]
        pivot = 1.0 - lower[i, :i] @ lower[i, :i]
        if pivot < _COLLINEAR:
            raise _collinear(text, names[i])
        lower[i, i] = np.sqrt(pivot)
    return lower


def _collinear(text: str, name: str) -> ModelError:
    return ModelError(
        f"in the random-effects term {text} the column {name!r} is a linear combination of the "
        "columns before it (a slope needs a covariate that varies); leave it out of the term"
    )
