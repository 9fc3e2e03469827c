"""The form in which a residual covariance reaches the core, chosen when a design is reduced."""

from __future__ import annotations

from functools import partial

import numpy as np

import mlmfast._core as _core
from mlmfast.arrays import CodeArray
from mlmfast.covariance.base import has_few_parameters
from mlmfast.covariance.chains import QuasiSeparable
from mlmfast.covariance.spatial.base import Spatial
from mlmfast.design.design import Design
from mlmfast.design.residual.design import LARGEST_ORDER, ResidualDesign
from mlmfast.errors import ModelError
from mlmfast.reduction.blocks import TermBlock
from mlmfast.reduction.engines.dense import DenseParts
from mlmfast.reduction.engines.options import IterativeSettings
from mlmfast.reduction.reduced_model import Grouped
from mlmfast.reduction.residual.by_unit import (
    LagCovariances,
    OwnMatrices,
    UnitCovariances,
    by_arm,
    distances_within,
    gaps_within_units,
)
from mlmfast.reduction.residual.chain import ChainCovariance
from mlmfast.reduction.residual.directions import SharedDirections
from mlmfast.reduction.residual.scaled_units import ScaledUnits
from mlmfast.reduction.residual.series import SeriesCovariance
from mlmfast.reduction.residual.walked_series import WalkedSeries

#: Numbers in the matrices of all units with derivatives (4 GB).
LARGEST_STACK = 500_000_000


def blocks_of(
    design: Design,
    order: tuple[int, ...],
    position: dict[int, int],
    nesting: Grouped,
) -> tuple[TermBlock, ...]:
    """Random-effects terms as blocks, outermost level first, then those of the residual.

    Parameters
    ----------
    order
        Positions of the terms in the design, in the order of the blocks.
    position
        Level of each grouping factor.
    nesting
        How the rows are grouped for the engine.
    """
    blocks, next_column = [], dict.fromkeys(position.values(), 0)
    for t in order:
        term = design.random[t]
        level = position[term.factor]
        blocks.append(TermBlock(term.structure.closed(), level, next_column[level]))
        next_column[level] += term.structure.size
    if design.residual is not None:
        assert not isinstance(nesting, IterativeSettings), "it has independent residuals"
        blocks += _residual_blocks(design.residual, len(position), nesting)
    return tuple(blocks)


def _residual_blocks(
    residual: ResidualDesign, level: int, nesting: _core.Nesting | _core.Crossing | DenseParts
) -> list[TermBlock]:
    """The blocks of a residual covariance: one, or one an arm where visits share a template."""
    dense = isinstance(nesting, DenseParts)
    if residual.series is not None and not dense:
        walked = isinstance(residual.structure, QuasiSeparable)
        kind = WalkedSeries if walked else SeriesCovariance
        return [TermBlock(kind(residual.structure, residual.series), level, 0, True)]
    if residual.series is not None and residual.points is not None:
        return [_lag_block(residual, level)]
    if residual.chain is not None and not dense:
        own = ChainCovariance(residual.structure, residual.chain, len(residual.arms))
        return [TermBlock(own, level, 0, True)]
    if residual.scale is not None:
        return [_scaled_block(residual, level, nesting.codes(level))]
    if residual.points is not None:
        _check_stack(residual, len(residual.arms) * residual.structure.n_theta, residual.order)
        units = _point_covariances(residual, nesting.codes(level))
        return [TermBlock(units, level, 0, True)]
    return _template_blocks(residual, level)


def _template_blocks(residual: ResidualDesign, level: int) -> list[TermBlock]:
    """A covariance over visits that all units of an arm share."""
    structure, size, n_arms = residual.structure, residual.structure.size, len(residual.arms)
    if residual.chain is not None and size > LARGEST_ORDER:
        raise ModelError(
            f"{residual.text} over {size:,} visits goes with random effects whose levels hold "
            f"whole subjects; those inside or across subjects, and the dense engine, take at "
            f"most {LARGEST_ORDER} visits"
        )
    if n_arms == 1 and has_few_parameters(structure):
        return [TermBlock(SharedDirections(structure), level, 0, True)]
    return [TermBlock(structure, level, arm * size, True) for arm in range(n_arms)]


def _scaled_block(residual: ResidualDesign, level: int, units: CodeArray) -> TermBlock:
    """The residual covariance with its scale; ``units`` are codes in the core's order."""
    structure = residual.scaled_structure
    if not residual.by_unit:
        few = has_few_parameters(structure)
        return TermBlock(SharedDirections(structure) if few else structure, level, 0, True)
    _check_stack(residual, structure.n_theta, residual.order)
    own = None if residual.points is None else _point_covariances(residual, units)
    scaled = ScaledUnits(structure, residual.unit_exponents()[units], own)
    return TermBlock(scaled, level, 0, True)


def _lag_block(residual: ResidualDesign, level: int) -> TermBlock:
    """The residual covariance of long series, as matrices by unit."""
    largest = int(np.bincount(residual.units).max())
    _check_stack(residual, len(residual.arms) * residual.structure.n_theta, largest)
    whole = partial(LagCovariances, residual.structure)
    units = by_arm(whole, gaps_within_units(residual), residual.arm_of_units, len(residual.arms))
    return TermBlock(units, level, 0, True)


def _point_covariances(residual: ResidualDesign, units: CodeArray) -> OwnMatrices:
    """The residual covariance over scattered points; ``units`` are codes in the core's order."""
    assert isinstance(residual.structure, Spatial), "only these take coordinates"
    assert residual.points is not None, "the caller looked"
    distances = distances_within(
        type(residual.structure),
        residual.points,
        residual.units,
        residual.positions,
        residual.n_units,
        residual.order,
    )
    whole = partial(UnitCovariances, residual.structure)
    return by_arm(whole, distances[units], residual.arm_of_units[units], len(residual.arms))


def _check_stack(residual: ResidualDesign, t: int, order: int) -> None:
    """Refuse matrices of each unit with their derivatives that would not fit into memory."""
    n_values = residual.n_units * order**2 * (1 + t + t * (t + 1) // 2)
    if n_values > LARGEST_STACK:
        raise ModelError(
            f"{residual.text} with {t} parameters over {residual.n_units:,} units of up to "
            f"{order:,} rows would take {8 * n_values / 1e9:.1f} GB (the limit is "
            f"{8 * LARGEST_STACK / 1e9:.1f}); a scale by a factor, or a structure with fewer "
            "parameters, takes less, and along a series ar1, arma11 or car1"
        )
