"""The form in which a residual covariance reaches the core, chosen when a design is reduced."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

import numpy as np

import mlmfast._core as _core
from mlmfast.arrays import CodeArray, FloatArray
from mlmfast.covariance import CovarianceStructure
from mlmfast.covariance.base import has_few_parameters
from mlmfast.covariance.chains import QuasiSeparable
from mlmfast.covariance.spatial.base import Spatial
from mlmfast.design.design import Design
from mlmfast.design.residual.chain import FEW_VISITS
from mlmfast.design.residual.design import LARGEST_ORDER, ResidualDesign
from mlmfast.errors import ModelError
from mlmfast.reduction.blocks import TermBlock
from mlmfast.reduction.engines.dense import DenseParts
from mlmfast.reduction.engines.options import IterativeSettings
from mlmfast.reduction.reduced_model import Grouped
from mlmfast.reduction.residual.by_arm import arm_prefixes, in_each_arm
from mlmfast.reduction.residual.by_unit import (
    OwnMatrices,
    UnitCovariances,
    distances_within,
    gaps_within_units,
)
from mlmfast.reduction.residual.chain import ChainCovariance
from mlmfast.reduction.residual.directions import Directions, SharedDirections
from mlmfast.reduction.residual.form import ResidualForm
from mlmfast.reduction.residual.scaled_units import ScaledUnits
from mlmfast.reduction.residual.series import SeriesCovariance
from mlmfast.reduction.residual.template import Template
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
        blocks.append(TermBlock(term.iterated, level, next_column[level]))
        next_column[level] += term.structure.size
    if design.residual is not None:
        assert not isinstance(nesting, IterativeSettings), "it has independent residuals"
        blocks += _residual_blocks(design.residual, len(position), nesting)
    return tuple(blocks)


def _residual_blocks(
    residual: ResidualDesign, level: int, nesting: _core.Nesting | _core.Crossing | DenseParts
) -> list[TermBlock]:
    """The blocks of a residual covariance: one, or one an arm where visits share a template."""
    forms = _forms(residual, level, nesting)
    size = residual.structure.size
    return [TermBlock(form, level, arm * size) for arm, form in enumerate(forms)]


def _forms(
    residual: ResidualDesign, level: int, nesting: _core.Nesting | _core.Crossing | DenseParts
) -> Sequence[ResidualForm]:
    dense = isinstance(nesting, DenseParts)
    structure, prefixes = residual.structure, arm_prefixes(residual.arms)
    if residual.series is not None and not dense:
        walked = isinstance(structure, QuasiSeparable)
        kind, series = WalkedSeries if walked else SeriesCovariance, residual.series
        return [in_each_arm(lambda k, own: kind(structure, series, k, prefix=own), prefixes)]
    if residual.series is not None and residual.points is not None:
        largest = int(np.bincount(residual.units).max())
        _check_stack(residual, len(residual.arms) * structure.n_theta, largest)
        gaps, whole = gaps_within_units(residual), partial(UnitCovariances, structure)
        return [_by_unit(whole, gaps, residual.arm_of_units, prefixes)]
    if residual.chain is not None and not dense:
        steps = residual.chain
        chains = in_each_arm(lambda k, p: ChainCovariance(structure, steps, k, prefix=p), prefixes)
        return [chains]
    if residual.scale is not None:
        return [_scaled(residual, nesting.codes(level))]
    if residual.points is not None:
        _check_stack(residual, len(residual.arms) * structure.n_theta, residual.order)
        return [_at_points(residual, nesting.codes(level))]
    return _templates(residual, prefixes, dense)


def _templates(
    residual: ResidualDesign, prefixes: list[str], dense: bool
) -> Sequence[ResidualForm]:
    """A covariance over visits that all units of an arm share."""
    structure = residual.structure
    if residual.chain is not None and structure.size > LARGEST_ORDER:
        raise ModelError(
            f"{residual.text} over {structure.size:,} visits goes with random effects whose levels "
            f"hold whole subjects; those inside or across subjects, and the dense engine, take at "
            f"most {LARGEST_ORDER} visits"
        )
    few = has_few_parameters(structure) or (dense and _has_fewer_parameters(structure))
    if len(prefixes) == 1 and few:
        return [SharedDirections(structure)]
    return [Template(structure, prefix=prefix) for prefix in prefixes]


def _has_fewer_parameters(structure: CovarianceStructure) -> bool:
    """Whether derivatives by parameters cost the dense engine less than by entries.

    It takes traces of products of them, pair by pair, and each is one more matrix over all rows.
    """
    t, k = structure.n_theta, structure.size
    stack = (1 + t + t * (t + 1) // 2) * k * k
    return k > FEW_VISITS and 3 * t < len(structure.entries) and stack < LARGEST_STACK // 4


def _scaled(residual: ResidualDesign, units: CodeArray) -> ResidualForm:
    """The residual covariance with its scale; ``units`` are codes in the core's order."""
    structure = residual.scaled_structure
    if not residual.by_unit:
        few = has_few_parameters(structure)
        return SharedDirections(structure) if few else Template(structure)
    _check_stack(residual, structure.n_theta, residual.order)
    own = None if residual.points is None else _at_points(residual, units)
    return ScaledUnits(structure, residual.unit_exponents()[units], own)


def _at_points(residual: ResidualDesign, units: CodeArray) -> Directions:
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
    whole, arms = partial(UnitCovariances, residual.structure), residual.arm_of_units[units]
    return _by_unit(whole, distances[units], arms, arm_prefixes(residual.arms))


def _by_unit(
    whole: Callable[..., OwnMatrices],
    distances: FloatArray,
    arms: CodeArray,
    prefixes: list[str],
) -> Directions:
    """Matrices of units from their distances, (n_units, ...), and the arm of each, (n_units,)."""
    if len(prefixes) == 1:
        return whole(distances)

    def of_arm(arm: int, prefix: str) -> OwnMatrices:
        places = np.flatnonzero(arms == arm)
        return whole(distances[places], places=places, prefix=prefix)

    return in_each_arm(of_arm, prefixes)


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
