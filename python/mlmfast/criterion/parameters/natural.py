"""Covariance parameters of a whole fit on their natural scale, in the user's units.

They are those of PROC MIXED: the elements of G of each random-effects term (the natural parameters
of a structured one), then the residual variance or the natural parameters of the residual's
structure. This module names them and gives the derivatives of the core's coordinates by them; what
the likelihood makes of these is in `information`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from mlmfast.arrays import FloatArray, block_diagonal
from mlmfast.criterion.criterion import Criterion
from mlmfast.criterion.parameters.random_effects import random_block
from mlmfast.reduction.parameter_block import (
    Kind,
    ParameterBlock,
)
from mlmfast.reduction.reduced_model import ReducedModel
from mlmfast.running.cached import cached_property


@dataclass(frozen=True)
class CovarianceParameters:
    """All covariance parameters of one fit, blocks in the order of the core's coordinates.

    Attributes
    ----------
    blocks
        One a term of the criterion, or an arm of series, or the residual variance last.
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
        return block_diagonal([block.first for block in self.blocks])

    @cached_property
    def is_linear(self) -> bool:
        """Whether V is linear in the parameters, as far as the coordinates tell."""
        return all(block.second is None for block in self.blocks)

    def bend(self, weight: FloatArray) -> FloatArray:
        """Second derivatives of weight'coordinates by the free parameters, (r, r)."""
        ends = np.cumsum([0, *(len(block.first) for block in self.blocks)])
        parts = [
            block.bend(weight[start:end])
            for block, start, end in zip(self.blocks, ends[:-1], ends[1:], strict=True)
        ]
        return block_diagonal(parts)

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
        whole = block_diagonal([block.by_free for block in self.blocks])
        ends = np.cumsum([0, *(len(block.names) for block in self.blocks)])
        rows = [np.arange(ends[b], ends[b + 1]) for b in self.display]
        return np.asarray(whole[np.concatenate(rows)])


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
    for position, (term, s) in enumerate(zip(criterion.terms, criterion.theta_slices, strict=True)):
        own = theta[:, s]
        if term.form is None:
            blocks.append(
                random_block(model, position, term, own, singular[position], sigma2, unit, flat)
            )
            continue
        found = term.form.parameters(own, unit, linear[-1])
        linear = [*linear[:-1], found.linear]
        # One evaluation serves where they are the same.
        bent = linear if found.bent is found.linear else [*linear[:-1], found.bent]
        blocks += found.blocks
    if model.profiled:
        value = np.array([sigma2 * unit])
        one = np.array([[1.0 / unit]])
        blocks.append(
            ParameterBlock(("Residual",), ("variance",), value, one, None, np.eye(1), (False,))
        )
    n_terms = len(model.order)
    display = (*np.argsort(model.order).tolist(), *range(n_terms, len(blocks)))
    return CovarianceParameters(_unique(blocks, model), display, linear, bent)


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


def residual_direction(
    model: ReducedModel, parameters: CovarianceParameters, weights: FloatArray
) -> list[FloatArray] | None:
    """Covariances whose last direction is the second derivative of R summed with weights.

    For `Directions` alone, where the coordinates do not tell how R bends; None otherwise. Second
    derivatives by pairs are 0.
    """
    if not (model.blocks and model.blocks[-1].by_theta):
        return None
    t = model.blocks[-1].structure.n_theta
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
