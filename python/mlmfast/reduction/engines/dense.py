"""The general engine: V held dense over each part of the rows that the model correlates.

It serves every model, at the cube of the rows of a part: those that no engine with more structure
does (random effects inside or across the subjects of a residual covariance, related levels), and
any other on request, as a check.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

import mlmfast._core as _core
from mlmfast.arrays import CodeArray
from mlmfast.design.design import Design
from mlmfast.errors import ModelError
from mlmfast.reduction.engines.independence import independent_clusters
from mlmfast.reduction.engines.sizes import LARGEST_WORK, dense_size
from mlmfast.reduction.residual.by_unit import within_unit_positions
from mlmfast.reduction.scaling import ScaledColumn
from mlmfast.running.memory import check_memory


@dataclass(frozen=True, eq=False)
class DenseParts:
    """The rows by independent parts, and how the random effects group them.

    Attributes
    ----------
    levels
        Positions of the grouping factors.
    components : shape (n,)
        Part of each row.
    n_components
        Number of parts.
    """

    design: Design = field(repr=False)
    levels: tuple[int, ...]
    components: CodeArray
    n_components: int

    def codes(self, level: int) -> CodeArray:
        """Code of each unit of a level, in the order in which the core stores units."""
        if level < len(self.levels):
            factor = self.design.factors[self.levels[level]]
            related = factor.relationship
            n = factor.n_levels + (0 if related is None else len(related.extra))
        else:
            assert self.design.residual is not None, "there is one level more"
            n = self.design.residual.n_units
        return np.arange(n, dtype=np.int32)


def dense_parts(design: Design, levels: tuple[int, ...]) -> DenseParts:
    """The independent parts of a design.

    Raises
    ------
    ModelError
        Where a part is too large for an evaluation to end.
    MemoryError
        Where its covariance matrix would not fit.
    """
    components, n_components = independent_clusters(design, levels)
    size = dense_size(design, levels, components)
    joined = f"the model correlates {size.n_rows:,} rows with each other"
    instead = (
        "leave out what joins the rows (a random effect across subjects, relationships between all "
        "levels, the residual structure), or fit fewer rows"
    )
    if size.operations > LARGEST_WORK:
        raise ModelError(
            f"{joined}; with their covariance matrix held whole an evaluation takes "
            f"{size.operations:.1e} operations, of which at most {LARGEST_WORK:.0e} are done; "
            f"{instead}"
        )
    check_memory(size.memory, f"{joined}; their covariance matrix held whole", instead)
    return DenseParts(design, levels, components, n_components)


def reduce_densely(
    parts: DenseParts,
    z: Sequence[Sequence[ScaledColumn]],
    terms: Sequence[Sequence[tuple[int, str]]],
    x: Sequence[ScaledColumn],
    y: Sequence[ScaledColumn],
) -> _core.DenseReduction:
    """Sort the rows by part.

    Parameters
    ----------
    parts
        The parts.
    z, terms
        By level, scaled columns, and the size of each term and how its columns are transformed.
    x, y
        Scaled columns.
    """
    design, n_random = parts.design, len(parts.levels)
    factors = [design.factors[f] for f in parts.levels]
    codes, n_units = [f.codes for f in factors], [f.n_levels for f in factors]
    visits, n_visits = None, 0
    residual = design.residual
    if residual is not None:
        codes.append(residual.units)
        n_units.append(residual.n_units)
        visits, n_visits = residual.core_positions, residual.core_order
        if residual.series is not None and residual.points is not None:
            visits = within_unit_positions(residual)
            n_visits = int(visits.max()) + 1
    return _core.DenseReduction(
        codes,
        n_units,
        parts.components,
        parts.n_components,
        [None if f.relationship is None else f.relationship.core_argument for f in factors],
        z=z[:n_random],
        x=x,
        y=y,
        noise=[column.noise(design.n_obs) for column in x],
        terms=terms[:n_random],
        sqrt_weights=None if design.weights is None else np.sqrt(design.weights),
        visits=visits,
        n_visits=n_visits,
        n_obs=None if design.condensed is None else design.condensed.n_obs,
    )
