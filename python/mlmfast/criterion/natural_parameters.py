"""Covariance parameters of a whole fit on their natural scale, in the user's units.

They are those of PROC MIXED: the elements of G of each random-effects term (the natural parameters
of a structured one), then the residual variance or the natural parameters of the residual's
structure. This module names them and gives the derivatives of the core's coordinates by them; what
the likelihood makes of these is in `information`.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np

from mlmfast.arrays import FloatArray
from mlmfast.cached import cached_property
from mlmfast.covariance import CovarianceStructure
from mlmfast.covariance.natural_in_units import natural_in_units
from mlmfast.covariance.scaled_covariance import ScaledCovariance
from mlmfast.criterion.criterion import Criterion
from mlmfast.reduction.blocks import TermBlock, structure_of
from mlmfast.reduction.reduced_model import ReducedModel
from mlmfast.reduction.residual.chain import ChainCovariance
from mlmfast.reduction.residual.directions import ArmCovariances, Directions
from mlmfast.reduction.residual.series import SeriesCovariance

#: Smallest singular value of the natural parameters by theta, each scaled to 1, that tells them.
_EDGE = 1e-7
#: Standard deviation over the largest of a singular covariance that is rounding.
_VANISHED = 1e-7
#: Standard deviation that is no number but an underflow: the floor of structures by logarithms.
_UNDERFLOW = 1e-145

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


@dataclass(frozen=True)
class CovarianceParameters:
    """All covariance parameters of one fit, blocks in the order of the core's coordinates.

    Attributes
    ----------
    blocks
        One a term, then one an arm of the residual's structure or the residual variance.
    display
        Positions of ``blocks`` in the order of the formula.
    linear, bent
        What the core is given: covariances of each level; where it is given derivatives of the
        residual's covariances too (`Directions`), second ones are 0 in ``linear`` and exact in
        ``bent``. The same list otherwise.
    """

    blocks: tuple[ParameterBlock, ...]
    display: tuple[int, ...]
    linear: list[FloatArray]
    bent: list[FloatArray]

    @cached_property
    def names(self) -> tuple[str, ...]:
        """Names in the order of the formula."""
        return tuple(name for b in self.display for name in self.blocks[b].names)

    @cached_property
    def kinds(self) -> tuple[Kind, ...]:
        """Kinds in the order of the formula."""
        return tuple(kind for b in self.display for kind in self.blocks[b].kinds)

    @cached_property
    def values(self) -> FloatArray:
        """Values in the order of the formula."""
        return np.concatenate([self.blocks[b].values for b in self.display])

    @cached_property
    def fixed(self) -> tuple[bool, ...]:
        """Which lie on the boundary, in the order of the formula."""
        return tuple(fixed for b in self.display for fixed in self.blocks[b].fixed)

    @cached_property
    def first(self) -> FloatArray:
        """Derivatives of the core's coordinates by the free parameters, (n_coordinates, r)."""
        return _block_diagonal([block.first for block in self.blocks])

    @cached_property
    def is_linear(self) -> bool:
        """Whether V is linear in the parameters, as far as the coordinates tell."""
        return all(block.second is None for block in self.blocks)

    def bend(self, weight: FloatArray) -> FloatArray:
        """Second derivatives of weight'coordinates by the free parameters, (r, r)."""
        ends = np.cumsum([0, *(len(block.first) for block in self.blocks)])
        parts = [
            _bend_of(block, weight[start:end])
            for block, start, end in zip(self.blocks, ends[:-1], ends[1:], strict=True)
        ]
        return _block_diagonal(parts)

    def bent_by(self, weights: FloatArray, singular: bool = True) -> FloatArray:
        """Coordinates' second derivatives summed with weights (r, r), shape (n_coordinates,).

        Without ``singular``, those of singular G along the matrices of their rank are left out.
        """
        out, at = [], 0
        for block in self.blocks:
            r = block.first.shape[1]
            own = weights[at : at + r, at : at + r]
            at += r
            bend = block.second if singular or not block.singular else None
            if bend is not None and bend.ndim == 1:
                out.append(bend * np.diag(own))
                continue
            out.append(
                np.zeros(len(block.first)) if bend is None else np.einsum("eij,ij->e", bend, own)
            )
        return np.concatenate(out) if out else np.zeros(0)

    @cached_property
    def by_free(self) -> FloatArray:
        """Derivatives of the natural parameters, in the formula's order, by the free ones."""
        whole = _block_diagonal([block.by_free for block in self.blocks])
        ends = np.cumsum([0, *(len(block.names) for block in self.blocks)])
        rows = [np.arange(ends[b], ends[b + 1]) for b in self.display]
        return np.asarray(whole[np.concatenate(rows)])


def _bend_of(block: ParameterBlock, weight: FloatArray) -> FloatArray:
    """Second derivatives of weight'coordinates by the block's free parameters, (r, r)."""
    if block.second is None:
        return np.zeros((block.first.shape[1],) * 2)
    if block.second.ndim == 1:
        return np.diag(weight * block.second)
    return np.asarray(np.einsum("e,eij->ij", weight, block.second))


def covariance_parameters(
    model: ReducedModel,
    criterion: Criterion,
    theta: FloatArray,
    singular: Sequence[bool],
    sigma2: float,
    fit: int = 0,
    covariances: list[FloatArray] | None = None,
) -> CovarianceParameters:
    """Covariance parameters of one fit.

    Parameters
    ----------
    model, criterion
        The reduced design and what was minimised.
    theta : shape (1, n_theta)
    singular
        Whether G is singular, for each random-effects term in the criterion's order.
    sigma2
        Residual variance of the scaled response where it is profiled out, else 1.
    fit
        Which response.
    covariances
        What ``criterion.covariances(theta)`` gives, where it is known.
    """
    unit = float(model.core.y_scale[fit] / model.y_scaling[fit].scale) ** 2
    linear = criterion.covariances(theta) if covariances is None else covariances
    bent = linear
    blocks: list[ParameterBlock] = []
    # Variances that the data do not tell are set to 0 up to rounding.
    flat = criterion.flat is not None
    arms = iter(() if model.design.residual is None else model.design.residual.arms)
    n_arms = 0 if model.design.residual is None else len(model.design.residual.arms)
    for position, (term, s) in enumerate(zip(criterion.terms, criterion.theta_slices, strict=True)):
        if not term.is_residual:
            own = theta[:, s]
            blocks.append(
                _random_term(model, position, term, own, singular[position], sigma2, unit, flat)
            )
            continue
        structure = structure_of(term)
        if isinstance(term.structure, SeriesCovariance):
            linear = bent = [*linear[:-1], term.structure.stacked(theta[:, s], True)]
            blocks += _series_blocks(structure, arms, n_arms, theta[:, s], unit)
            continue
        if isinstance(term.structure, ArmCovariances):
            own_linear, own_bent = _directions(term.structure, theta[:, s])
            linear, bent = [*linear[:-1], own_linear], [*linear[:-1], own_bent]
            blocks.append(_arms_block(structure, tuple(arms), theta[:, s], unit))
            continue
        if isinstance(term.structure, ChainCovariance):
            linear = bent = [*linear[:-1], term.structure.stacked(theta[:, s], True)]
            names = tuple(arms) if n_arms > 1 else ("",)
            blocks.append(_chain_block(term.structure, names, theta[:, s], unit))
            continue
        # With a scale one structure holds all arms, and names them itself.
        several = n_arms > 1 and not isinstance(structure, ScaledCovariance)
        prefix = f"{next(arms)}: " if several else ""
        if isinstance(term.structure, Directions):
            own_linear, own_bent = _directions(term.structure, theta[:, s])
            linear, bent = [*linear[:-1], own_linear], [*linear[:-1], own_bent]
            first, second = np.eye(structure.n_theta), None
        else:
            first, second = entries_by_natural(structure, theta[:, s])
        blocks.append(_residual_block(structure, prefix, theta[:, s], unit, first, second))
    if model.profiled:
        value = np.array([sigma2 * unit])
        one = np.array([[1.0 / unit]])
        blocks.append(
            ParameterBlock(("Residual",), ("variance",), value, one, None, np.eye(1), (False,))
        )
    n_terms = len(model.order)
    display = (*np.argsort(model.order).tolist(), *range(n_terms, len(blocks)))
    return CovarianceParameters(_unique(blocks, model), display, linear, bent)


def _random_term(
    model: ReducedModel,
    position: int,
    term: TermBlock,
    theta: FloatArray,
    singular: bool,
    sigma2: float,
    unit: float,
    flat: bool,
) -> ParameterBlock:
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
        values, by_entry = entries, None
        # Free in the core's basis: the user's may be far from orthogonal.
        first, by_free = np.eye(len(entries)), to_user
    else:
        # One scale for all columns, or a diagonal that the structure keeps under.
        factor = np.sqrt(sigma2 * unit) * np.diag(k)[None]
        keeps = effects.structure.scales
        user = structure.scaled(theta, factor if keeps else factor[:, :1])
        values = structure.natural(user)[0]
        names = tuple(f"{name} | {group}" for name in structure.parameter_names)
        kinds = tuple(map(_kind, structure.parameter_names))
        by_natural, bend = entries_by_natural(structure, user)
        by_free = natural_chart(structure, user)[2]
        by_entry = by_free @ np.asarray(np.linalg.pinv(by_natural))
        to_core = np.asarray(np.linalg.inv(to_user))
        first = to_core @ by_natural
        second = None if bend is None else np.einsum("ef,fij->eij", to_core, bend)
    if not singular:
        return ParameterBlock(names, kinds, values, first, second, by_free, (False,) * len(values))
    values = np.where(np.abs(values) < _UNDERFLOW, 0.0, values)
    # On the boundary only moves among matrices of the same rank are free: the chart's coordinates
    # that move G at all.
    n = len(entries)
    jacobian, bends = structure.chart(np.repeat(theta, n, axis=0), np.eye(n))
    moves = np.abs(jacobian[0]).max(axis=0, initial=0.0) > 0.0
    first = sigma2 * jacobian[0][:, moves]
    second = sigma2 * bends[:, moves][:, :, moves]
    by_free = to_user @ first if by_entry is None else by_entry @ to_user @ first
    scale = np.sqrt(np.abs(np.diag(matrix)))
    size = scale[rows] * scale[columns] if by_entry is None else np.ones(len(values))
    fixed = tuple(bool(s == 0.0) for s in size)
    return ParameterBlock(names, kinds, values, first, second, by_free, fixed, True)


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


def natural_chart(
    structure: CovarianceStructure, theta: FloatArray
) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Derivatives of theta by the free parameters, what bends them, and of the natural by the free.

    The natural parameters are free; on the edge of their space, where theta tells them no longer
    apart, theta is.
    """
    # Correlations beside a variance of 0 are not determined.
    jacobian = np.nan_to_num(structure.natural_jacobian(theta)[0], posinf=0.0, neginf=0.0)
    identity = np.eye(len(jacobian))
    scale = np.maximum(np.abs(jacobian).max(axis=1, initial=0.0), 1e-300)
    if np.linalg.svd(jacobian / scale[:, None], compute_uv=False).min(initial=1.0) < _EDGE:
        return identity, np.zeros((len(jacobian),) * 3), jacobian
    return np.asarray(np.linalg.inv(jacobian)), structure.natural_hessian(theta)[0], identity


def _directions(directions: Directions, theta: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Covariances with derivatives by the free parameters: second ones 0, and exact."""
    t = directions.n_theta
    stacked = directions.stacked(theta, True)
    i, j = np.tril_indices(t)
    inverse, hessian = _arm_charts(directions.structure, theta)
    first = np.tensordot(inverse.T, stacked[0, 1 : 1 + t], axes=1)
    by_theta = np.zeros((t, t, *stacked.shape[2:]))
    by_theta[i, j] = by_theta[j, i] = stacked[0, 1 + t :]
    by_theta -= np.einsum("mij,m...->ij...", hessian, first)
    second = np.einsum("ki,lj,kl...->ij...", inverse, inverse, by_theta)[i, j]
    parts = [stacked[:, :1], first[None], second[None]]
    bent = np.ascontiguousarray(np.concatenate(parts, axis=1))
    linear = bent.copy()
    linear[:, 1 + t :] = 0.0
    return linear, bent


def coordinate_charts(criterion: Criterion, theta: FloatArray) -> FloatArray:
    """Derivatives of the criterion's coordinates by those of `Information`, (n, n).

    They differ where matrices are handed over with their derivatives: theta there, and the natural
    parameters here.
    """
    parts = []
    for term, s in zip(criterion.terms, criterion.theta_slices, strict=True):
        own = term.structure
        if isinstance(own, Directions) and not isinstance(own, SeriesCovariance | ChainCovariance):
            parts.append(_arm_charts(structure_of(term), theta[:, s])[0])
        else:
            parts.append(np.eye(len(own.entries)))
    return _block_diagonal(parts)


def _arm_charts(structure: CovarianceStructure, theta: FloatArray) -> tuple[FloatArray, FloatArray]:
    """`natural_chart` of one structure, or of several arms of it one after the other."""
    n, t = structure.n_theta, theta.shape[1]
    inverse, hessian = np.zeros((t, t)), np.zeros((t, t, t))
    for at in range(0, t, n):
        own = slice(at, at + n)
        inverse[own, own], hessian[own, own, own], _ = natural_chart(structure, theta[:, own])
    return inverse, hessian


def _arms_block(
    structure: CovarianceStructure, arms: tuple[str, ...], theta: FloatArray, unit: float
) -> ParameterBlock:
    """One block for all arms, whose units have matrices of their own."""
    n = structure.n_theta
    parts = [
        _residual_block(structure, f"{arm}: ", own, unit, np.eye(n), None)
        for own, arm in zip(np.split(theta, len(arms), axis=1), arms, strict=True)
    ]
    return ParameterBlock(
        tuple(name for part in parts for name in part.names),
        tuple(kind for part in parts for kind in part.kinds),
        np.concatenate([part.values for part in parts]),
        np.eye(theta.shape[1]),
        None,
        _block_diagonal([part.by_free for part in parts]),
        (False,) * theta.shape[1],
    )


def _series_blocks(
    structure: CovarianceStructure,
    arms: Iterator[str],
    n_arms: int,
    theta: FloatArray,
    unit: float,
) -> list[ParameterBlock]:
    """One block an arm; the core's coordinates are theta, natural parameters are free."""
    out = []
    for own, arm in zip(np.split(theta, n_arms, axis=1), arms, strict=True):
        inverse, hessian, _ = natural_chart(structure, own)
        bend = -np.einsum("em,mij->eij", inverse, hessian)
        second = inverse.T @ bend @ inverse
        prefix = f"{arm}: " if n_arms > 1 else ""
        out.append(_residual_block(structure, prefix, own, unit, inverse, second))
    return out


def _chain_block(
    chain: ChainCovariance, arms: tuple[str, ...], theta: FloatArray, unit: float
) -> ParameterBlock:
    """All arms; the core's coordinates are theta, natural parameters are free one by one."""
    names = chain.structure.parameter_names
    keys = tuple(f"{arm}: {name}" if arm else name for arm in arms for name in names)
    value, first, second = (part[0] for part in chain.natural_by_theta(theta))
    # At a correlation of 1 to rounding theta itself is free, as in `natural_chart`.
    regular = first != 0.0
    slope = np.where(regular, first, 1.0)
    inverse, bend = 1.0 / slope, np.where(regular, -second / slope**3, 0.0)
    kinds = tuple(map(_kind, names)) * len(arms)
    scale = np.array([1.0 if kind == "other" else unit for kind in kinds])
    by_free = np.diag(scale * np.where(regular, 1.0, first))
    fixed = (False,) * len(keys)
    return ParameterBlock(keys, kinds, scale * value, np.diag(inverse), bend, by_free, fixed)


def entries_by_natural(
    structure: CovarianceStructure, theta: FloatArray
) -> tuple[FloatArray, FloatArray | None]:
    """First and second derivatives of the entries by the free parameters; None where 0."""
    if structure.natural_entries:
        return np.eye(len(structure.entries)), None
    inverse, hessian, _ = natural_chart(structure, theta)
    first = structure.jacobian(theta)[0] @ inverse
    by_theta = structure.entry_hessians(theta)[0] - np.einsum("em,mij->eij", first, hessian)
    return first, inverse.T @ by_theta @ inverse


def _residual_block(
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
    values = natural_in_units(structure, theta, unit)
    scaled = structure.natural(theta)[0]
    kinds = tuple(map(_kind, names))
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


def _kind(name: str) -> Kind:
    """Kind of a parameter by PROC MIXED's name.

    Examples
    --------
    >>> [_kind(name) for name in ("Var(1)", "UN(2,2)", "UN(2,1)", "CS", "AR(1)")]
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
    return _kind(name) == "variance"


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


def _unique(blocks: list[ParameterBlock], model: ReducedModel) -> tuple[ParameterBlock, ...]:
    """Two terms with an effect in common on one factor: tell them apart by the term."""
    names = [name for block in blocks for name in block.names]
    if len(set(names)) == len(names):
        return tuple(blocks)
    out = []
    for position, block in enumerate(blocks):
        if position < len(model.order) and any(names.count(name) > 1 for name in block.names):
            text = model.design.random[model.order[position]].text
            keys = tuple(f"{name.partition(' | ')[0]} | {text}" for name in block.names)
            block = replace(block, names=keys)
        out.append(block)
    return tuple(out)


def entry_map(k: FloatArray, structure: CovarianceStructure) -> FloatArray:
    """Matrix of the map from the entries of G to those of K G K', (n_entries, n_entries)."""
    rows, columns = np.array(structure.entries).T
    straight = k[rows][:, rows] * k[columns][:, columns]
    crossed = k[rows][:, columns] * k[columns][:, rows]
    return np.asarray(np.where(rows == columns, straight, straight + crossed))


def _block_diagonal(parts: Sequence[FloatArray]) -> FloatArray:
    if len(parts) == 1:
        return parts[0]
    out = np.zeros(np.sum([part.shape for part in parts], axis=0) if parts else (0, 0))
    row = column = 0
    for part in parts:
        out[row : row + part.shape[0], column : column + part.shape[1]] = part
        row, column = row + part.shape[0], column + part.shape[1]
    return out


def residual_direction(
    model: ReducedModel, parameters: CovarianceParameters, weights: FloatArray
) -> list[FloatArray] | None:
    """Covariances whose last direction is the second derivative of R summed with weights.

    For `Directions` alone, where the coordinates do not tell how R bends; None otherwise. Second
    derivatives by pairs are 0.
    """
    block = model.blocks[-1] if model.blocks else None
    if block is None or not isinstance(block.structure, Directions):
        return None
    t = block.structure.n_theta
    stacked = parameters.bent[-1]
    first = parameters.blocks[-1].first
    r = first.shape[1]
    own = first @ weights[-r:, -r:] @ first.T if r else np.zeros((t, t))
    i, j = np.tril_indices(t)
    pair = np.where(i == j, own[i, j], 2.0 * own[i, j])
    bend = np.tensordot(pair, stacked[0, 1 + t :], axes=1)
    pairs = (t + 1) * (t + 2) // 2
    out = np.zeros((1, 1 + (t + 1) + pairs, *stacked.shape[2:]))
    out[0, : 1 + t] = stacked[0, : 1 + t]
    out[0, 1 + t] = bend
    return [*parameters.linear[:-1], out]
