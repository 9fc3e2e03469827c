"""Parameters of the random effects' covariances on their natural scale."""

from __future__ import annotations

import numpy as np

from mlmfast.arrays import BoolArray, FloatArray
from mlmfast.covariance import CovarianceStructure
from mlmfast.covariance.natural_chart import entries_by_natural, natural_chart
from mlmfast.covariance.units import natural_factors
from mlmfast.design.design import Design
from mlmfast.design.factors.grouping import RandomEffects
from mlmfast.reduction.blocks import TermBlock
from mlmfast.reduction.parameter_block import (
    Kind,
    ParameterBlock,
    kind_of,
)
from mlmfast.reduction.reduced_model import ReducedModel

#: Move of a singular G over the largest: along the root of an eigenvalue that is rounding.
STILL = 1e-8
#: The same of a natural parameter over its value, for a step of the size of the parameters.
_STILL_PARAMETER = 1e-7
#: Singular value, over the largest, of entries' derivatives that is rounding.
_EDGE = 1e-12
#: Standard deviation over the largest of a singular covariance that is rounding.
_VANISHED = 1e-7
#: Standard deviation that is no number but an underflow: the floor of structures by logarithms.
_UNDERFLOW = 1e-145


def random_block(
    model: ReducedModel,
    position: int,
    term: TermBlock,
    theta: FloatArray,
    singular: bool,
    sigma2: float,
    unit: float,
    flat: bool,
) -> ParameterBlock:
    """The parameters of a random-effects term at ``theta`` (1, n_theta).

    Parameters
    ----------
    position
        Of the term in the criterion.
    singular
        Whether its covariance is singular.
    sigma2, unit
        Residual variance of the scaled response where it is profiled out, else 1; what 1 of the
        response's variance is in the user's units.
    flat
        Whether there is something that the data do not tell.
    """
    effects = model.design.random[model.order[position]]
    group = model.design.factors[effects.factor].name
    structure = term.shared
    k = model.effects_map(position)
    matrix = sigma2 * unit * (k @ structure.matrix(theta)[0] @ k.T)
    matrix = (matrix + matrix.T) / 2
    matrix = without_rounding(matrix, k) if singular or flat else matrix
    rows, columns = np.array(structure.entries).T
    entries = matrix[rows, columns]
    to_user = unit * entry_map(k, structure)
    second: FloatArray | None = None
    if structure.natural_entries:
        names, kinds = _element_names(structure, effects.names, group)
        values = entries
        # Free in the core's basis: the user's may be far from orthogonal.
        first, by_free = np.eye(len(entries)), to_user
    else:
        # One scale for all columns, or a diagonal that the structure keeps under.
        factor = np.sqrt(sigma2 * unit) * np.diag(k)[None]
        keeps = effects.structure.scales
        user = structure.scaled(theta, factor if keeps else factor[:, :1])
        values = structure.natural(user)[0]
        owner = owner_of(model.design, effects)
        names = tuple(f"{name} | {owner}" for name in structure.parameter_names)
        kinds = tuple(map(kind_of, structure.parameter_names))
        by_natural, bend = entries_by_natural(structure, user)
        by_free = natural_chart(structure, user)[2]
        to_core = np.asarray(np.linalg.inv(to_user))
        first = to_core @ by_natural
        second = None if bend is None else np.einsum("ef,fij->eij", to_core, bend)
    if structure.indefinite:
        # Without a bound at 0 a variance is tested as a covariance is.
        kinds = tuple("covariance" if kind == "variance" else kind for kind in kinds)
    if not singular:
        return ParameterBlock(names, kinds, values, first, second, by_free, (False,) * len(values))
    values = np.where(np.abs(values) < _UNDERFLOW, 0.0, values)
    # On the boundary only moves among matrices of the same rank are free: the chart's coordinates
    # that move G at all.
    n = len(entries)
    jacobian, bends = structure.chart(np.repeat(theta, n, axis=0), np.eye(n))
    sizes = np.abs(jacobian[0]).max(axis=0, initial=0.0)
    moves = sizes > STILL * sizes.max(initial=0.0)
    first = sigma2 * jacobian[0][:, moves]
    second = sigma2 * bends[:, moves][:, :, moves]
    if structure.natural_entries:
        by_free, still = _moves_of_entries(to_user @ first, matrix, structure)
    else:
        units = natural_factors(structure, (factor if keeps else factor[:, :1])[0])
        by_free, still = _moves_of_parameters(structure, theta, jacobian[0][:, moves], units)
    fixed = tuple(still.tolist())
    return ParameterBlock(names, kinds, values, first, second, by_free, fixed, True)


def _moves_of_entries(
    by_free: FloatArray, matrix: FloatArray, structure: CovarianceStructure
) -> tuple[FloatArray, BoolArray]:
    """Moves of the entries of a singular G, ``matrix``, and which of them stand still."""
    rows, columns = np.array(structure.entries).T
    scale = np.sqrt(np.abs(np.diag(matrix)))
    still = scale[rows] * scale[columns] == 0.0
    # No move within the rank changes a variance of 0 in the first order; rounding does.
    return np.where(((rows == columns) & still)[:, None], 0.0, by_free), still


def _moves_of_parameters(
    structure: CovarianceStructure, theta: FloatArray, jacobian: FloatArray, units: FloatArray
) -> tuple[FloatArray, BoolArray]:
    """Moves of the natural parameters of a singular G, and which of them stand still.

    A correlation at the end of its range does, as a variance of 0 does: in the first order no move
    within the rank changes it, and what rounding leaves of one is no standard error.

    Parameters
    ----------
    theta : shape (1, n_theta)
    jacobian : shape (n_entries, r)
        Derivatives of the entries of the structure's matrix at ``theta`` by what is free.
    units : shape (k,)
        The natural parameters in the user's units over those at ``theta``: where units differ
        widely, rounding of the one would be large beside the other.
    """
    by_entry = np.linalg.pinv(entries_by_natural(structure, theta)[0], rcond=_EDGE)
    moves = natural_chart(structure, theta)[2] @ by_entry @ jacobian
    longest = max(1.0, float(np.abs(theta).max(initial=0.0)))
    size = np.abs(structure.natural(theta)[0])
    still = longest * np.abs(moves).max(axis=1, initial=0.0) <= _STILL_PARAMETER * size
    return units[:, None] * np.where(still[:, None], 0.0, moves), still


def owner_of(design: Design, term: RandomEffects) -> str:
    """What natural parameters of a term are named after: its factor, or the term itself.

    The latter where another term of the factor has parameters of the same names.
    """
    factor = design.factors[term.factor]
    own = set(term.structure.parameter_names)
    alike = any(
        other is not term
        and other.factor == term.factor
        and not other.structure.natural_entries
        and own & set(other.structure.parameter_names)
        for other in design.random
    )
    return term.text if alike or factor.has_curves else factor.name


def without_rounding(covariance: FloatArray, effects_map: FloatArray) -> FloatArray:
    """A singular covariance with variances that are rounding, and their covariances, at 0.

    Effects are compared in units of their columns, whose sizes the map from the core's basis knows.

    Examples
    --------
    >>> without_rounding(np.array([[4.0, 1e-16], [1e-16, 1e-32]]), np.eye(2)).tolist()
    [[4.0, 0.0], [0.0, 0.0]]
    """
    size = np.sqrt((np.linalg.inv(effects_map) ** 2).sum(axis=0))
    sd = size * np.sqrt(np.maximum(np.diag(covariance), 0.0))
    kept = sd > max(_VANISHED * sd.max(initial=0.0), _UNDERFLOW)
    return np.asarray(np.where(np.outer(kept, kept), covariance, 0.0))


def _element_names(
    structure: CovarianceStructure, effects: tuple[str, ...], group: str
) -> tuple[tuple[str, ...], tuple[Kind, ...]]:
    names = tuple(
        f"Var({effects[a]}) | {group}" if a == b else f"Cov({effects[b]}, {effects[a]}) | {group}"
        for a, b in structure.entries
    )
    kinds: tuple[Kind, ...] = tuple(
        "variance" if a == b else "covariance" for a, b in structure.entries
    )
    return names, kinds


def entry_map(k: FloatArray, structure: CovarianceStructure) -> FloatArray:
    """Matrix of the map from the entries of G to those of K G K', (n_entries, n_entries)."""
    rows, columns = np.array(structure.entries).T
    straight = k[rows][:, rows] * k[columns][:, columns]
    crossed = k[rows][:, columns] * k[columns][:, rows]
    return np.asarray(np.where(rows == columns, straight, straight + crossed))
