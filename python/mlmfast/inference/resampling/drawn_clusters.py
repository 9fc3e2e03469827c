"""Designs of clusters drawn with replacement: each that is drawn is a cluster of its own."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np

from mlmfast.arrays import CodeArray, FloatArray, IntArray
from mlmfast.clusters.simulate import stream
from mlmfast.data.statistics import KnownStatistics
from mlmfast.design.design import Design
from mlmfast.design.factors.grouping import GroupingFactor
from mlmfast.design.residual.chain import chain_steps
from mlmfast.design.residual.design import Points, ResidualDesign
from mlmfast.design.residual.series import series_of
from mlmfast.errors import ModelError


@dataclass(frozen=True)
class DrawnClusters:
    """A design, and the clusters of its rows that are drawn: the cases bootstrap.

    Attributes
    ----------
    rows
        For each cluster its rows.
    """

    design: Design
    rows: tuple[IntArray, ...]

    @classmethod
    def of(cls, design: Design, clusters: GroupingFactor) -> DrawnClusters:
        """The clusters of a design.

        Raises
        ------
        ModelError
            For an eliminated factor, whose levels would be drawn with the clusters.
        """
        if design.absorbed is not None:
            raise ModelError(
                "kind='cluster' draws rows anew, and with them the levels of an eliminated factor; "
                "fit with absorb=False"
            )
        for factor in design.factors:
            if factor.relationship is not None:
                raise ModelError(
                    f"kind='cluster' draws a cluster several times, and levels of {factor.name!r} "
                    "are related; use kind='parametric'"
                )
        order = np.argsort(clusters.codes, kind="stable")
        sizes = np.bincount(clusters.codes, minlength=clusters.n_levels)
        return cls(design, tuple(np.split(order, np.cumsum(sizes)[:-1])))

    def __len__(self) -> int:
        return len(self.rows)

    @cached_property
    def are_alike(self) -> bool:
        """Whether all clusters have as many rows, with levels of factors within them alike."""
        if len({len(rows) for rows in self.rows}) > 1:
            return False
        rows = np.stack(self.rows)
        within = [_levels_within(factor.codes[rows]) for factor in self.design.factors]
        return all((codes == codes[0]).all() for codes in within)

    def samples(self, n: int, entropy: np.random.SeedSequence) -> Iterator[IntArray]:
        """Numbers of as many clusters, drawn with replacement, each by a stream of its own."""
        for i in range(n):
            generator = np.random.default_rng(stream(entropy, i))
            yield generator.integers(len(self), size=len(self))

    def all_but_one(self) -> Iterator[IntArray]:
        """Numbers of all clusters but each in turn: the jackknife."""
        every = np.arange(len(self))
        for k in range(len(self)):
            yield every[every != k]

    def rows_of(self, chosen: IntArray) -> IntArray:
        """Rows of some clusters, in order."""
        return np.concatenate([self.rows[k] for k in chosen.tolist()])

    def place_of(self, chosen: IntArray) -> IntArray:
        """The number of the draw that each of `rows_of` comes from."""
        return np.repeat(np.arange(len(chosen)), [len(self.rows[k]) for k in chosen.tolist()])

    def of_clusters(self, chosen: IntArray) -> Design:
        """The design of some clusters, in order; one chosen twice is two clusters."""
        rows = self.rows_of(chosen)
        place = self.place_of(chosen)
        design = self.design
        random = tuple(
            replace(term, columns=_columns(term.columns, rows)) for term in design.random
        )
        return replace(
            design,
            y=design.y[rows],
            x=_columns(design.x, rows),
            factors=tuple(_factor(factor, rows, place) for factor in design.factors),
            random=random,
            weights=_at(design.weights, rows),
            offset=_at(design.offset, rows),
            residual=None if design.residual is None else _residual(design.residual, rows, place),
            statistics=KnownStatistics(),
        )


def _levels_within(codes: CodeArray) -> IntArray:
    """Ranks of codes among those of their row, where one code stands for one rank, (k, n)."""
    return np.stack([np.unique(own, return_inverse=True)[1] for own in codes])


def _at(values: FloatArray | None, rows: IntArray) -> FloatArray | None:
    return None if values is None else values[rows]


def _columns(
    columns: tuple[FloatArray | None, ...], rows: IntArray
) -> tuple[FloatArray | None, ...]:
    return tuple(_at(column, rows) for column in columns)


def _codes(codes: CodeArray, rows: IntArray, place: IntArray) -> tuple[CodeArray, IntArray]:
    """Codes of the levels within the clusters drawn, and the old code of each."""
    pairs = place * (int(codes.max(initial=0)) + 1) + codes[rows]
    _, first, new = np.unique(pairs, return_index=True, return_inverse=True)
    return new.astype(np.int32), codes[rows][first].astype(np.intp)


def _factor(factor: GroupingFactor, rows: IntArray, place: IntArray) -> GroupingFactor:
    codes, old = _codes(factor.codes, rows, place)
    labels = tuple(f"{k + 1}:{factor.labels[code]}" for k, code in enumerate(old.tolist()))
    return replace(factor, codes=codes, labels=labels)


def _residual(residual: ResidualDesign, rows: IntArray, place: IntArray) -> ResidualDesign:
    units, old = _codes(residual.units, rows, place)
    arms = residual.arm_of_rows[rows]
    along = residual.along
    if residual.series is not None:
        own = series_of(residual.series.times[rows], units, arms, len(residual.arms))
        along = replace(own, visits=residual.series.visits)
    elif residual.chain is not None:
        along = chain_steps(residual.chain.visits[rows], units, arms)
    elif isinstance(along, Points):
        along = Points(along.coordinates[rows], along.arms[rows])
    scale = residual.scale
    return replace(
        residual,
        subject=_factor(residual.subject, rows, place),
        units=units,
        n_units=len(old),
        positions=residual.positions[rows],
        along=along,
        scale=None if scale is None else replace(scale, codes=scale.codes[rows]),
    )
