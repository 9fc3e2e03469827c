"""A design reduced to a core."""

from __future__ import annotations

import copyreg
from collections.abc import Sequence
from dataclasses import replace
from typing import Any, Literal, TypeAlias

import numpy as np

import mlmfast._core as _core
from mlmfast.arrays import FloatArray
from mlmfast.data.statistics import KnownStatistics, StackedColumns
from mlmfast.design.design import Design, check_rows_are_here
from mlmfast.design.factors.grouping import RandomEffects
from mlmfast.errors import ModelError
from mlmfast.reduction.absorbed.reduce import reduce_within, relate_absorbed, within_levels
from mlmfast.reduction.blocks import TermBlock
from mlmfast.reduction.engines.choice import relate_factors
from mlmfast.reduction.engines.cores import Core
from mlmfast.reduction.engines.dense import DenseParts, reduce_densely
from mlmfast.reduction.engines.iterative import reduce_iteratively
from mlmfast.reduction.engines.options import (
    CrossedSettings,
    Engine,
    IterativeSettings,
    StartSettings,
)
from mlmfast.reduction.parameter_steps import in_parameters
from mlmfast.reduction.reduced_model import Grouped, ReducedModel
from mlmfast.reduction.representable import check_residual, check_sizes
from mlmfast.reduction.residual_blocks import blocks_of
from mlmfast.reduction.scaling import (
    ScaledColumn,
    ScaledResponses,
    from_shifted,
    scale_columns,
)

Basis: TypeAlias = Literal["orthonormal", "scaled", "common", "isotropic"]


#: What the core takes: columns of X that are kept, R, Q'y, scale of y, bases by level.
CoreCoordinates: TypeAlias = tuple[list[int], FloatArray, FloatArray, FloatArray, list[FloatArray]]


def reduce_design(
    design: Design,
    responses: Sequence[FloatArray] | FloatArray | StackedColumns | None = None,
    engine: Engine = None,
) -> ReducedModel:
    """Reduce a design; ``responses`` (offset already subtracted) replace its own y.

    They are columns, or the rows of a matrix, which cost no object a response, with what is known
    of them or without.

    ``engine`` is "dense" to have V held whole, holds the settings of the crossed engine to have
    nested factors treated as crossed ones, and those of the iterative engine to have that one; by
    default the model decides.

    Raises
    ------
    ModelError
        Where the engine does not serve the model or the model is too large for it, or the columns
        of a random-effects term are collinear.
    DataError
        Where a response is fitted exactly by the fixed effects.
    """
    check_rows_are_here(design)
    own = responses is None
    columns: Sequence[FloatArray] | FloatArray | StackedColumns = (
        [design.working_response] if responses is None else responses
    )
    used = {term.factor for term in design.random}
    levels = tuple(sorted(sorted(used), key=lambda f: design.factors[f].n_levels))
    relate = relate_factors if design.absorbed is None else relate_absorbed
    nesting = relate(design, levels, engine)
    position = {factor: level for level, factor in enumerate(levels)}
    order = tuple(
        sorted(range(len(design.random)), key=lambda t: position[design.random[t].factor])
    )
    centred = any(column is None for column in design.x)
    if design.absorbed is None:
        x_scaling = scale_columns(design.x, centred, design.statistics)
        known = design.statistics if own else None
        y_scaling: Sequence[ScaledColumn] = (
            ScaledResponses.of(columns, centred)
            if isinstance(columns, np.ndarray | StackedColumns)
            else scale_columns(columns, centred, known)
        )
    else:
        x_scaling = scale_columns(within_levels(design, design.x), False)
        each = list(columns.values if isinstance(columns, StackedColumns) else columns)
        y_scaling = scale_columns(within_levels(design, each), False)
    z_scaling = tuple(scale_term(term, design.statistics) for term in design.random)
    check_sizes(design, x_scaling, y_scaling[0] if own else None)
    blocks = blocks_of(design, order, position, nesting)
    parts = (design, nesting, levels, order, blocks, z_scaling)
    core: Core = (
        reduce_columns(*parts, x_scaling, y_scaling)
        if design.absorbed is None
        else reduce_within(reduce_columns, parts, x_scaling, y_scaling, _schur(engine))
    )
    model = ReducedModel(
        design,
        core,
        nesting,
        levels,
        order,
        blocks,
        x_scaling,
        y_scaling,
        z_scaling,
        engine,
        own,
    )
    if own:
        check_residual(model)
    return model


def reduce_columns(
    design: Design,
    nesting: Grouped,
    levels: tuple[int, ...],
    order: tuple[int, ...],
    blocks: tuple[TermBlock, ...],
    z_scaling: tuple[tuple[ScaledColumn, ...], ...],
    x_scaling: tuple[ScaledColumn, ...],
    y_scaling: Sequence[ScaledColumn],
    share: bool = True,
    absorbed: bool = False,
    coordinates: CoreCoordinates | None = None,
) -> Core:
    """Columns, centred and scaled, reduced by the engine that the nesting is for.

    Parameters
    ----------
    share
        Whether units with the same rows of Z stand for each other.
    absorbed
        Whether the last level is an absorbed factor's.
    coordinates
        Those of other rows too, in place of those that these rows suggest; nested factors only.
    """
    check_rows_are_here(design)
    residual = design.residual
    form = blocks[-1].form if blocks else None
    rows = None if form is None else form.core_rows
    series, chain = (None, None) if rows is None else rows
    z, terms = _by_level(design, levels, order, blocks, z_scaling, absorbed)
    if series is not None and not x_scaling:
        # The core counts the rows of series by their columns: a column of zeros, left out at once.
        x_scaling = (ScaledColumn((np.zeros(design.n_obs), 0, 1), 0.0, 1.0),)
    sqrt_weights = None if design.weights is None else np.sqrt(design.weights)
    total = float(design.n_obs) if design.weights is None else float(design.weights.sum())
    noise = [column.noise(total) for column in x_scaling]
    n_obs, counts = None, None
    if design.condensed is not None:
        n_obs, counts = design.condensed.n_obs, design.condensed.counts
        x_scaling = tuple(_shifted(design, x_scaling))
        y_scaling = _shifted(design, y_scaling)
    try:
        if isinstance(nesting, DenseParts):
            return reduce_densely(nesting, z, terms, x_scaling, y_scaling)
        if isinstance(nesting, IterativeSettings):
            return reduce_iteratively(design, levels, z, terms, x_scaling, y_scaling, nesting)
        if isinstance(nesting, _core.Crossing):
            return _core.CrossedReduction(
                nesting,
                z=z,
                x=x_scaling,
                y=y_scaling,
                noise=noise,
                terms=terms,
                sqrt_weights=sqrt_weights,
                n_obs=n_obs,
            )
        many = y_scaling if isinstance(y_scaling, ScaledResponses) else None
        return _core.NestedReduction(
            nesting,
            z=z,
            x=x_scaling,
            y=y_scaling if many is None else (),
            noise=noise,
            terms=terms,
            sqrt_weights=sqrt_weights,
            visits=None if residual is None or series is not None else residual.core_positions,
            n_visits=0 if residual is None or series is not None else residual.core_order,
            series=series,
            chain=chain,
            share=share and (residual is None or not residual.by_unit),
            responses=None if many is None else (many.values.T, many.center, many.scale),
            n_obs=n_obs,
            counts=counts,
            coordinates=coordinates,
        )
    except _core.CollinearRandomEffects as error:
        raise _collinear(design, order, blocks, *error.args) from None


def _by_level(
    design: Design,
    levels: tuple[int, ...],
    order: tuple[int, ...],
    blocks: tuple[TermBlock, ...],
    z_scaling: tuple[tuple[ScaledColumn, ...], ...],
    absorbed: bool,
) -> tuple[list[list[ScaledColumn]], list[list[tuple[int, Basis]]]]:
    """Columns of Z by level, and the size and basis of each term of a level."""
    n_levels = len(levels) + (design.residual is not None)
    z: list[list[ScaledColumn]] = [[] for _ in range(n_levels)]
    terms: list[list[tuple[int, Basis]]] = [[] for _ in range(n_levels)]
    for t, block in zip(order, blocks, strict=False):
        z[block.level].extend(_shifted(design, z_scaling[t]))
        terms[block.level].append((block.structure.size, basis_of_term(design.random[t])))
    if absorbed:
        # The indicators of an absorbed factor are the last level.
        z.append([ScaledColumn(None, 0.0, 1.0)])
        terms.append([(1, "scaled")])
    return z, terms


def _shifted(design: Design, columns: Sequence[ScaledColumn]) -> Sequence[ScaledColumn]:
    """Columns as the core reads them: with all the digits that are kept of the design's own."""
    condensed = design.condensed
    if condensed is None or isinstance(columns, ScaledResponses):
        return columns
    return tuple(
        column
        if column.values is None
        else from_shifted(column, condensed.shifted(column.values[0]))
        for column in columns
    )


def _schur(engine: Engine) -> str:
    """Form of the crossed engine's factor that is asked for."""
    return engine.schur if isinstance(engine, CrossedSettings) else "cheaper"


def scale_term(term: RandomEffects, known: KnownStatistics) -> tuple[ScaledColumn, ...]:
    """Columns of a term, centred where another takes that up, and scaled as its structure lets."""
    centred = term.structure.mixes and any(column is None for column in term.columns)
    scaled = scale_columns(term.columns, centred, known)
    if term.structure.scales:
        return scaled
    # The structure holds in one unit only.
    scale = min(column.scale for column in scaled)
    return tuple(column._replace(scale=scale) for column in scaled)


def basis_of_term(term: RandomEffects) -> Basis:
    """How the columns of a term may be changed so that its covariance structure stays."""
    if term.structure.mixes:
        return "orthonormal"
    if term.structure.independent and not term.structure.scales:
        return "isotropic"
    return "scaled" if term.structure.scales else "common"


def _collinear(
    design: Design, order: tuple[int, ...], blocks: tuple[TermBlock, ...], level: int, column: int
) -> ModelError:
    for t, block in zip(order, blocks, strict=False):
        if block.level == level and block.stretch.start <= column < block.stretch.stop:
            term = design.random[t]
            name = term.names[column - block.first]
            return ModelError(
                f"in the random-effects term {term.text} the column {name!r} is a linear "
                "combination of the columns before it (a slope needs a covariate that varies); "
                "leave it out of the term"
            )
    raise AssertionError("the core named a column that no term has")


def reduce_residual(model: ReducedModel, residual: FloatArray) -> tuple[_core.Engine, float]:
    """A residual, without fixed effects, reduced unit by unit, and the unit of its results."""
    core, units = reduce_residuals(model, [residual])
    return core, units[0]


def reduce_residuals(
    model: ReducedModel, residuals: Sequence[FloatArray]
) -> tuple[_core.Engine, list[float]]:
    """Residuals, without fixed effects, reduced unit by unit, and the units of their results."""
    columns = scale_columns(residuals, centred=False)
    core = reduce_columns(
        model.design,
        model.nesting,
        model.levels,
        model.order,
        model.blocks,
        model.z_scaling,
        (),
        columns,
        share=False,
    )
    assert isinstance(core, _core.Engine), "an absorbed factor has its own"
    assert not isinstance(core, _core.IterativeReduction), "it has its own"
    scales = zip(core.y_scale, columns, strict=True)
    return core, [float(scale) / column.scale for scale, column in scales]


def reduce_for_start(model: ReducedModel) -> ReducedModel:
    """The rows of a model once more, for the iterative engine, where only a start is wanted."""
    settings = StartSettings()
    core = reduce_columns(
        model.design,
        settings,
        model.levels,
        model.order,
        model.blocks,
        model.z_scaling,
        model.x_scaling,
        model.y_scaling,
    )
    return replace(model, core=core, nesting=settings, engine=settings)


def _as_rows(model: ReducedModel) -> tuple[Any, ...]:
    """How a model is pickled: as the rows, from which the same bits are reduced again."""
    responses: Sequence[FloatArray] | FloatArray | None = None
    if isinstance(model.y_scaling, ScaledResponses):
        responses = model.y_scaling.values
    elif not model.has_own_response:
        responses = [model.response(k) for k in range(len(model.y_scaling))]
    return _again, (model.design, responses, model.engine, in_parameters(model) is model)


def _again(design: Design, responses: Any, engine: Any, by_parameters: bool) -> ReducedModel:
    """The rows reduced again, with the steps that the model had."""
    model = reduce_design(design, responses, engine)
    return in_parameters(model) if by_parameters else model


copyreg.pickle(ReducedModel, _as_rows)
