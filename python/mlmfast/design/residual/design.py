"""The residual covariance of a design."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from mlmfast.arrays import CodeArray, FloatArray
from mlmfast.covariance import CovarianceStructure
from mlmfast.covariance.scaled_covariance import ScaledCovariance
from mlmfast.covariance.structures.homogeneous_diagonal import HomogeneousDiagonal
from mlmfast.design.factors.grouping import GroupingFactor
from mlmfast.design.residual.chain import ChainSteps
from mlmfast.design.residual.record import ResidualRecord
from mlmfast.design.residual.scale import MOST_DISTINCT, ScaleDesign
from mlmfast.design.residual.series import Series
from mlmfast.formula.residual_formula import ResidualFormula
from mlmfast.running.cached import cached_property

#: Visits, or distinct coordinates, up to which covariances are reported by visit where it is not
#: needed.
LARGEST_ORDER = 64
#: Rows of a subject with points of its own, for what goes through its matrix entry by entry.
LARGEST_UNIT = 500
#: Positions a row above which units share so few that each is given a matrix of its own.
_MOST_SHARED = 0.5


@dataclass(frozen=True)
class Points:
    """Where rows stand, where there are too many distinct points to be visits.

    Attributes
    ----------
    coordinates : shape (n, d)
    arms : shape (n,), int32
        Arm of each row.
    """

    coordinates: FloatArray
    arms: CodeArray


@dataclass(frozen=True)
class ResidualDesign:
    """The residual covariance of a design.

    Attributes
    ----------
    structure
        Covariance of the visits of one subject.
    visits
        Labels of the visits (of the points, for coordinates).
    arms
        Labels of the groups with parameters of their own; one empty label without them.
    subject
        The subjects.
    units : shape (n,), int32
        Block of the residual covariance that a row belongs to.
    n_units
        Number of blocks.
    positions : shape (n,), int32
        arm * len(visits) + visit of each row.
    formula
        The formula; None for rows that are independent, of one variance but for their scale.
    along
        What the structure goes by: points (positions are then those within the unit); the rows of
        the subjects in time order, or the steps from visit to visit, where it costs O(n) along
        these; None for visits that all subjects share.
    scale
        Standard deviations that differ from row to row; None where they do not.
    step
        Value of one step, for a structure by lag over numbers; 0 for visits that are levels or
        times, 1 for points.
    between
        Places of visits that the fit did not see, after those that it saw.
    """

    structure: CovarianceStructure
    visits: tuple[str, ...]
    arms: tuple[str, ...]
    subject: GroupingFactor
    units: CodeArray
    n_units: int
    positions: CodeArray
    formula: ResidualFormula | None
    along: Points | Series | ChainSteps | None = None
    scale: ScaleDesign | None = None
    step: float = 1.0
    between: tuple[int, ...] = ()

    @property
    def series(self) -> Series | None:
        """The rows of the subjects in time order; None where the structure is not along these."""
        return self.along if isinstance(self.along, Series) else None

    @property
    def chain(self) -> ChainSteps | None:
        """The steps from visit to visit; None where the structure does not go by these."""
        return self.along if isinstance(self.along, ChainSteps) else None

    @property
    def points(self) -> FloatArray | None:
        """Coordinates (n, d) of the rows, or times of long series; None where there are visits."""
        if isinstance(self.along, Points):
            return self.along.coordinates
        series = self.series
        return None if series is None or series.visits is not None else series.times[:, None]

    @property
    def arm_of_rows(self) -> CodeArray:
        """Arm of each row, shape (n,)."""
        if isinstance(self.along, Points | Series):
            return self.along.arms
        return self.positions // np.int32(len(self.visits) + len(self.between))

    @cached_property
    def order(self) -> int:
        """Order of the covariance over all arms."""
        if self.points is not None:
            return int(self.positions.max()) + 1
        return (len(self.visits) + len(self.between)) * len(self.arms)

    @property
    def text(self) -> str:
        """The argument as written, for messages."""
        if self.formula is not None:
            return f"residual={self.formula.text!r}"
        assert self.scale is not None
        return f"residual_scale={self.scale.formula.text!r}"

    def record(
        self, names: Sequence[str], values: list[FloatArray], covariances: list[FloatArray]
    ) -> ResidualRecord:
        """The estimates: natural parameters, arm after arm, and the covariance of each arm."""
        assert self.formula is not None, "a residual structure is asked for by a formula"
        return ResidualRecord(
            text=self.formula.text,
            structure=self.formula.structure,
            subject=self.subject.name,
            n_subjects=self.subject.n_levels,
            visits=self.visits,
            arms=self.arms,
            covariances=np.array(covariances),
            parameter_names=tuple(names),
            parameters=np.concatenate(values),
            step=self.step,
        )

    @cached_property
    def _scaled_positions(self) -> tuple[CodeArray, CodeArray] | None:
        """Distinct pairs (position, scale) as one number, and those of the rows; None if many."""
        if self.scale is None or self.points is not None:
            return None
        n_scales = len(self.scale.exponents)
        if n_scales > MOST_DISTINCT:
            return None
        combined = self.positions * np.int32(n_scales) + self.scale.codes
        distinct, codes = np.unique(combined, return_inverse=True)
        if len(distinct) > LARGEST_ORDER or len(distinct) > _MOST_SHARED * len(self.positions):
            return None
        return distinct, codes.astype(np.int32)

    @property
    def arm_of_units(self) -> CodeArray:
        """Arm of each unit."""
        out = np.zeros(self.n_units, dtype=np.int32)
        out[self.units] = self.arm_of_rows
        return out

    @property
    def by_unit(self) -> bool:
        """Whether units have matrices of their own rather than parts of one that all share."""
        if self.points is not None:
            return True
        return self.scale is not None and self._scaled_positions is None

    @property
    def core_positions(self) -> CodeArray:
        """Position of each row in the matrix that the core is given."""
        pairs = self._scaled_positions
        return self.positions if pairs is None else pairs[1]

    @property
    def core_order(self) -> int:
        """Order of that matrix."""
        pairs = self._scaled_positions
        return self.order if pairs is None else len(pairs[0])

    @cached_property
    def scaled_structure(self) -> ScaledCovariance:
        """The covariance with its scale, over the core's positions where there are few."""
        assert self.scale is not None
        pairs = self._scaled_positions
        if pairs is None:
            # Units bring their own; here only parameters and their names matter.
            size = self.structure.size * len(self.arms)
            places = np.arange(size)
            exponents = np.tile(self.scale.log_scale.middle, (size, 1))
            together = self.structure.entries if len(self.arms) == 1 else ((0, 0),)
        else:
            places, rows = np.divmod(pairs[0], len(self.scale.exponents))
            size, exponents = len(places), self.scale.exponents[rows]
            together = seen_pairs(self.units, pairs[1], self.n_units, size)
        return ScaledCovariance(
            size,
            (self.structure,) * len(self.arms),
            places.astype(np.intp),
            exponents,
            self.scale.log_scale,
            together,
            self.arms,
        )

    def unit_exponents(self) -> FloatArray:
        """Centred and scaled scale columns by unit and position, (n_units, order, m)."""
        assert self.scale is not None
        columns = self.scale.log_scale.columns(self.scale.exponents)
        out = np.zeros((self.n_units, self.order, columns.shape[1]))
        out[self.units, self.positions] = columns[self.scale.codes]
        return out


def seen_pairs(
    units: CodeArray, positions: CodeArray, n_units: int, size: int
) -> tuple[tuple[int, int], ...]:
    """Pairs (p, q), p >= q, of positions that rows of one unit have together.

    Examples
    --------
    >>> seen_pairs(*np.int32([[0, 0, 1], [0, 2, 1]]), 2, 3)
    ((0, 0), (1, 1), (2, 0), (2, 2))
    """
    seen = np.zeros((size, n_units), dtype=np.bool_)
    seen[positions, units] = True
    # Eight units a byte.
    bits = np.packbits(seen, axis=1)
    met = [(bits[: p + 1] & bits[p]).any(axis=1) for p in range(size)]
    return tuple((p, q) for p, own in enumerate(met) for q in np.flatnonzero(own).tolist())


def independent_rows(scale: ScaleDesign) -> ResidualDesign:
    """Independent residuals of one variance but for their scale: every row is a unit."""
    n = len(scale.codes)
    units = np.arange(n, dtype=np.int32)
    return ResidualDesign(
        HomogeneousDiagonal(1),
        ("",),
        ("",),
        GroupingFactor("row", units, ()),
        units,
        n,
        np.zeros(n, dtype=np.int32),
        None,
        scale=scale,
    )


def with_scale(residual: ResidualDesign, scale: ScaleDesign) -> ResidualDesign:
    """A residual covariance with standard deviations that differ from row to row."""
    return replace(residual, scale=scale)
