"""Rows of a part, reduced where they are: what is asked of them, and what they answer."""

from __future__ import annotations

import pickle
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

import mlmfast._core as _core
from mlmfast.arrays import FloatArray, in_line
from mlmfast.design.design import Design
from mlmfast.errors import ModelError
from mlmfast.reduction.blocks import TermBlock
from mlmfast.reduction.parts.coordinates import Coordinates, in_units
from mlmfast.reduction.parts.core import Entries, Point, Sums
from mlmfast.reduction.reduce import reduce_columns
from mlmfast.reduction.residual.directions import Directions
from mlmfast.reduction.residual_blocks import blocks_of
from mlmfast.running.cached import cached_property


@dataclass(frozen=True)
class Part:
    """A part of the rows, in which every cluster is whole.

    It pickles as its rows, from which the same bits are reduced again.

    Attributes
    ----------
    design
        The rows.
    coordinates
        Those of all parts; None before these are known.
    """

    design: Design
    coordinates: Coordinates | None = None

    def __reduce__(self) -> tuple[Any, ...]:
        return in_one_piece(Part, self.design, self.coordinates)

    def within_coordinates(self, coordinates: Coordinates) -> Part:
        """The part in the coordinates of all."""
        return Part(self.design, coordinates)

    @cached_property
    def core(self) -> _core.NestedReduction:
        """The rows reduced."""
        design, own = self.design, self.coordinates
        assert own is not None, "the parts have been looked at"
        assert own.core is not None, "the parts have been looked at"
        kept, factor, ols, scale, bases = own.core
        arrays = in_line(factor), in_line(ols), in_line(scale)
        nesting = nesting_of(design, own.levels)
        y = in_units([design.y], [own.y])
        z = tuple(
            in_units(term.columns, units) for term, units in zip(design.random, own.z, strict=True)
        )
        core = reduce_columns(
            design, nesting, own.levels, own.order, self._blocks, z, in_units(design.x, own.x), y,
            coordinates=(kept, *arrays, list(map(in_line, bases))),
        )  # fmt: skip
        assert isinstance(core, _core.NestedReduction), "its factors are nested"
        return core

    @cached_property
    def _blocks(self) -> tuple[TermBlock, ...]:
        own = self.coordinates
        assert own is not None, "the parts have been looked at"
        position = {factor: level for level, factor in enumerate(own.levels)}
        return blocks_of(self.design, own.order, position, nesting_of(self.design, own.levels))

    def _given(self, point: Point, derivatives: bool) -> list[FloatArray]:
        """What the core is given at a point."""
        form = self._blocks[-1].form if self._blocks else None
        if not isinstance(form, Directions):
            return [in_line(own) for own in point]
        last = point[-1]
        if form.along_rows:
            last = form.stacked(last, derivatives)
        elif not derivatives:
            # Matrices with derivatives by parameters, of which the first is the covariance.
            last = last[:, :1]
        return [in_line(own) for own in (*point[:-1], last)]

    def values(self, points: Sequence[Point]) -> list[Sums]:
        """[X y]'V^-1 [X y] (w, w), lower triangle, and log|V| at each point."""
        return [self.core.part_values(self._given(point, False), 0) for point in points]

    def derivatives(
        self,
        points: Sequence[Point],
        entries: Entries,
        roots: Sequence[tuple[FloatArray, FloatArray | None]],
    ) -> list[Sums]:
        """See `mlmfast._core.Engine.part_derivatives`; ``roots`` are e and C of each point."""
        return [
            self.core.part_derivatives(
                self._given(point, True),
                0,
                entries,
                in_line(e),
                None if c is None else in_line(c),
            )
            for point, (e, c) in zip(points, roots, strict=True)
        ]

    def second(self, point: Point, entries: Entries, weights: FloatArray | None) -> Sums:
        """Second derivatives of X'V^-1 X; see `mlmfast._core.Engine`."""
        given = self._given(point, True)
        weights = None if weights is None else in_line(weights)
        found = self.core.information_second_derivatives(given, 0, entries, weights)
        return None if found is None else [found]

    def within(self) -> Sums:
        """Sum of squares outside X and random effects, and its degrees of freedom."""
        rss, degrees = self.core.within
        return [rss, np.array([float(degrees)])]

    def visit_moments(self) -> Sums:
        """Sums of products of residuals over pairs of visits, and their numbers."""
        return list(self.core.visit_moments(0))

    def own_start(self, variance: float) -> Sums:
        """Where an iteration along series begins, as these rows alone would have it."""
        form = self._blocks[-1].form
        assert form is not None, "there is a residual structure"
        found = form.own_start(self.core, 0, variance)
        return None if found is None else [found]


def in_one_piece(make: Any, *arguments: Any) -> tuple[Any, ...]:
    """How something is pickled so that its arrays come back at addresses that the core reads.

    What sends arrays beside a pickle, as Dask does, may put them anywhere.
    """
    return _made, (make, pickle.dumps(arguments, protocol=4))


def _made(make: Any, arguments: bytes) -> Any:
    return make(*pickle.loads(arguments))


def nesting_of(design: Design, levels: tuple[int, ...]) -> _core.Nesting:
    """The rows sorted by grouping factors, the outermost first, then by units of the residual.

    Raises
    ------
    ModelError
        For factors that cross.
    """
    factors = [design.factors[f] for f in levels]
    codes, sizes = [f.codes for f in factors], [f.n_levels for f in factors]
    names = [factor.name for factor in factors]
    residual = design.residual
    if residual is not None:
        codes.append(residual.units)
        sizes.append(residual.n_units)
        names.append(residual.subject.name)
    within = None
    if residual is not None and residual.series is not None:
        within = residual.series.positions
    try:
        return _core.Nesting(design.n_obs, codes, sizes, within)
    except _core.NotNested as error:
        inner = error.args[0]
        raise ModelError(
            f"the rows are kept in parts, each with whole clusters, and a level of "
            f"{names[inner]!r} is met with several levels of {names[inner - 1]!r}: crossed factors "
            "cannot be divided; fit the rows in memory, mlm.lmm(formula, data)"
        ) from None


def without_rows(design: Design) -> Design:
    """A design of which the rows are elsewhere, so that reading them is refused."""
    assert design.condensed is not None, "its rows stand for all"
    return replace(design, condensed=replace(design.condensed, by_parts=True))
