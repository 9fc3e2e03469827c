"""The reduced model of rows that stay in parts: its coordinates, and the engine that sums."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

import mlmfast._core as _core
from mlmfast.arrays import FloatArray
from mlmfast.design.design import Design
from mlmfast.reduction.blocks import TermBlock
from mlmfast.reduction.parts.coordinates import (
    Coordinates,
    basis_of,
    sums_of_effects,
    units_of,
)
from mlmfast.reduction.parts.core import PartedCore
from mlmfast.reduction.parts.form import ByTheta
from mlmfast.reduction.parts.keeper import Keeper, PartsAt
from mlmfast.reduction.parts.part import Part, without_rows
from mlmfast.reduction.reduce import basis_of_term, reduce_columns, scale_term
from mlmfast.reduction.reduced_model import ReducedModel
from mlmfast.reduction.representable import check_residual, check_sizes
from mlmfast.reduction.residual.directions import Directions
from mlmfast.reduction.residual_blocks import blocks_of
from mlmfast.reduction.scaling import scale_columns


def model_of_parts(keeper: Keeper, parts: Sequence[Any], design: Design) -> ReducedModel:
    """The reduced model of rows that stay in parts.

    Parameters
    ----------
    keeper, parts
        Where the parts are, each a `Part` without coordinates.
    design
        Few rows with the sums of all; its factors have as many levels as there are.
    """
    used = {term.factor for term in design.random}
    levels = tuple(sorted(sorted(used), key=lambda f: design.factors[f].n_levels))
    position = {factor: level for level, factor in enumerate(levels)}
    order = tuple(
        sorted(range(len(design.random)), key=lambda t: position[design.random[t].factor])
    )
    centred = any(column is None for column in design.x)
    x = scale_columns(design.x, centred, design.statistics)
    y = scale_columns([design.y], centred, design.statistics)
    z = tuple(scale_term(term, design.statistics) for term in design.random)
    check_sizes(design, x, y[0])
    alone = replace(design, random=(), factors=(), residual=None)
    fixed = reduce_columns(alone, _core.Nesting(design.n_obs, [], []), (), (), (), (), x, y)
    assert isinstance(fixed, _core.NestedReduction), "nothing crosses"
    own = Coordinates(levels, order, units_of(x), units_of(y)[0], tuple(map(units_of, z)))
    blocks = _blocks(design, order, position)
    bases = _bases(keeper, parts, design, own, blocks)
    core = (fixed.kept, fixed.x_factor, fixed.ols, fixed.y_scale, bases)
    own = replace(own, core=core)
    kept = PartsAt(keeper, [keeper.keep(Part.within_coordinates, one, own) for one in parts])
    profiled = design.residual is None
    parted = PartedCore(kept, fixed, bases, profiled, design.n_observations)
    nesting = _core.Nesting(1, [], [])
    model = ReducedModel(
        without_rows(design), parted, nesting, levels, order, blocks, x, y, z, None, True
    )
    check_residual(model)
    return model


def _blocks(
    design: Design, order: tuple[int, ...], position: dict[int, int]
) -> tuple[TermBlock, ...]:
    """The blocks, of which parts along series are given theta."""
    blocks = blocks_of(design, order, position, _core.Nesting(1, [], []))
    form = blocks[-1].form if blocks else None
    if not isinstance(form, Directions) or not form.along_rows:
        return blocks
    by_theta = ByTheta(form.structure, form, prefix=form.prefix)
    return (*blocks[:-1], replace(blocks[-1], structure=by_theta))


def _sums_of_effects(part: Part, coordinates: Coordinates) -> list[FloatArray]:
    return sums_of_effects(part.design, coordinates)


def _bases(
    keeper: Keeper,
    parts: Sequence[Any],
    design: Design,
    own: Coordinates,
    blocks: tuple[TermBlock, ...],
) -> list[FloatArray]:
    """By level, the basis in which all parts hold the random effects."""
    grams: list[FloatArray] = []
    if design.random:
        each = keeper.fetch([keeper.keep(_sums_of_effects, one, own) for one in parts])
        grams = [np.sum(sums, axis=0) for sums in zip(*each, strict=True)]
    sizes = [0] * len(own.levels)
    for block in blocks[: len(own.order)]:
        sizes[block.level] += block.structure.size
    out = [np.zeros((size, size)) for size in sizes]
    for t, block in zip(own.order, blocks, strict=False):
        term = design.random[t]
        gram = grams[t] / design.factors[term.factor].n_levels
        at = block.stretch
        out[block.level][at, at] = basis_of(gram, basis_of_term(term), term.text, term.names)
    if design.residual is not None:
        along = design.residual.series is not None
        out.append(np.zeros((0, 0)) if along else np.eye(design.residual.core_order))
    return out
