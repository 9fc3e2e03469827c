"""Deletions of rows with covariance parameters one step away: steps and estimates."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np

from mlmfast.arrays import FloatArray, IntArray
from mlmfast.clusters.blocks import (
    ClusterBlocks,
    blocks_of_sets,
    connected_clusters,
    part_of,
)
from mlmfast.clusters.covariance import cholesky_factors, solve_lower
from mlmfast.clusters.moved_parameters import Moved, MovedCovariances
from mlmfast.design.rows import sets_within
from mlmfast.diagnostics.deletion import WhiteBlocks
from mlmfast.diagnostics.newton_deletion import Deleted, Totals, deleted, newton_steps
from mlmfast.errors import ModelError
from mlmfast.fitted.estimates import estimates_of
from mlmfast.information.information import Information

if TYPE_CHECKING:
    from mlmfast.design.factors.grouping import GroupingFactor
    from mlmfast.fitted.fitted import Fitted

#: Rows of one block of correlated rows whose derivatives are still formed as matrices.
LARGEST_BLOCK = 2_000
_ENTRIES_AT_ONCE = 1 << 22


class StepDeletions:
    """All deletions of one kind: the parameters reached by a step, and the estimates there.

    Attributes
    ----------
    step : shape (n, r), the moves of the free covariance parameters.
    moved
        The parameters reached; None where there are none.
    curvature : shape (n, r, r), of -2 log-likelihood without the rows.
    scoring : shape (n,), whether the step was one of scoring.
    change, m : shapes (n, p), (n, p, p)
        beta - beta_U and its covariance without the rows, in the basis of ``root``.
    press, rld : shape (n,)
    """

    def __init__(self, fit: Fitted, clusters: GroupingFactor, each: bool, information: str) -> None:
        source = fit._needs_source("influence")
        if source.held is not None:
            raise ModelError(
                "this fit holds covariance parameters, and a one-step deletion would move them; "
                "fit without values held"
            )
        related = [f.name for f in source.design.factors if f.relationship is not None]
        if related:
            raise ModelError(
                f"one-step deletions take levels as independent, and those of {related[0]!r} are "
                "related (cov=); influence() itself, with the covariance parameters held, serves"
            )
        assert fit._rows is not None, "the source was asked for"
        about = fit._rows.information.with_covariances()
        if not len(about.observed):
            raise ModelError("all covariance parameters lie on the boundary; none can move")
        self.record, self.design = fit._record, source.design
        self.about: Information = about
        self.moves = MovedCovariances(about)
        self.clusters, self.each, self.information = clusters, each, information
        self.independent = connected_clusters(self.design, clusters)
        largest = int(np.bincount(self.independent.codes).max())
        if largest > LARGEST_BLOCK:
            raise ModelError(
                f"a one-step deletion needs matrices over rows that are correlated, and "
                f"{largest:,} rows are; at most {LARGEST_BLOCK:,} are supported. influence() "
                "itself, with the covariance parameters held, takes any number, or fit a sample "
                "of the rows (data.groupby(...).sample(...)) to look at it"
            )
        self.root = np.linalg.cholesky(self.record.vcov)
        n = self.design.n_obs if each else clusters.n_levels
        p, r = self.record.rank, len(about.observed)
        self.step = np.full((n, r), np.nan)
        self.moved: list[Moved | None] = [None] * n
        self.curvature = np.full((n, r, r), np.nan)
        self.scoring = np.zeros(n, dtype=np.bool_)
        self.change, self.m = np.full((n, p), np.nan), np.full((n, p, p), np.nan)
        self.press = np.full(n, np.nan)
        self.rld = np.full(n, np.nan)
        self._take_steps()
        self._estimate()

    # -- steps -----------------------------------------------------------------------------------

    def _blocks(self) -> Iterator[tuple[ClusterBlocks, WhiteBlocks]]:
        r = self.step.shape[1]
        for blocks in blocks_of_sets(self.design, self.record, self.clusters, self.independent):
            assert blocks.rows is not None, "not compressed"
            m, n = blocks.rows.shape
            at_once = max(1, _ENTRIES_AT_ONCE // (r * n * n))
            for at in range(0, m, at_once):
                part = part_of(blocks, slice(at, at + at_once))
                assert part.rows is not None
                white = WhiteBlocks.of(part.v, self._xe(part), *self.moves.derivatives(part.rows))
                yield part, white

    def _xe(self, blocks: ClusterBlocks) -> FloatArray:
        """[X e] in the basis of X where X'V^-1 X = I."""
        return np.concatenate([blocks.x @ self.root, blocks.e[:, :, None]], axis=2)

    def _take_steps(self) -> None:
        totals: Totals | None = None
        for _, white in self._blocks():
            own = Totals.of(white.whole())
            totals = own if totals is None else totals.plus(own)
        assert totals is not None, "there are rows"
        reml = self.about.criterion.reml
        for blocks, white in self._blocks():
            whole = white.whole()
            for at, places in self._left_out(blocks):
                left = None if places is None else white.without(white.basis(places))
                self._step(at, deleted(totals, whole, left, reml))

    def _left_out(self, blocks: ClusterBlocks) -> Iterator[tuple[IntArray, list[int] | None]]:
        """Deletions, one in each cluster of the blocks: their numbers, and places of their rows.

        None for whole clusters. Where clusters hold several sets, the blocks are single.
        """
        rows = blocks.rows
        assert rows is not None
        if self.each:
            for j in range(rows.shape[1]):
                yield rows[:, j], [j]
        elif self.independent is self.clusters:
            yield blocks.clusters, None
        else:
            for level, places in sets_within(self.clusters.codes[rows[0]]):
                yield np.array([level]), places.tolist()

    def _step(self, at: IntArray, found: Deleted) -> None:
        step, self.curvature[at], self.scoring[at] = newton_steps(found, self.information)
        for number, own in zip(at.tolist(), step, strict=True):
            moved = self.moves.moved(own) if np.isfinite(own).all() else None
            self.moved[number] = moved
            if moved is not None:
                self.step[number] = moved.share * own

    # -- estimates at the parameters reached -------------------------------------------------------

    def _estimate(self) -> None:
        base = self._all_rows(self.about.theta, np.array([self.about.scale]))[2][0]
        for blocks in blocks_of_sets(self.design, self.record, self.clusters, self.independent):
            assert blocks.rows is not None
            for at, places in self._left_out(blocks):
                known = np.flatnonzero([self.moved[number] is not None for number in at])
                n = blocks.rows.shape[1]
                at_once = max(1, _ENTRIES_AT_ONCE // (16 * n * n))
                for start in range(0, len(known), at_once):
                    own = known[start : start + at_once]
                    self._estimate_some(at[own], part_of(blocks, own), places, float(base))

    def _estimate_some(
        self, at: IntArray, blocks: ClusterBlocks, places: list[int] | None, base: float
    ) -> None:
        moved = [found for found in (self.moved[number] for number in at) if found is not None]
        thetas = np.array([found.theta for found in moved])
        sigma2 = np.array([found.sigma2 for found in moved])
        information, full, deviance = self._all_rows(thetas, sigma2)
        assert blocks.rows is not None
        xe = self._xe(blocks)
        crossed = _crossed(self.moves.elsewhere(thetas, sigma2, blocks.rows), xe)
        n = xe.shape[1]
        gone = range(n) if places is None else places
        if places is not None:
            kept = np.setdiff1d(np.arange(n), places)
            rest = blocks.rows[:, kept]
            crossed = crossed - _crossed(self.moves.elsewhere(thetas, sigma2, rest), xe[:, kept])
        k_u = information - crossed[:, :-1, :-1]
        m = np.linalg.inv((k_u + np.swapaxes(k_u, 1, 2)) / 2)
        score = (information @ full[:, :, None])[:, :, 0] - crossed[:, :-1, -1]
        beta = (m @ score[:, :, None])[:, :, 0]
        self.m[at], self.change[at] = m, -beta
        left_out = xe[:, list(gone)]
        residual = left_out[:, :, -1] - (left_out[:, :, :-1] @ beta[:, :, None])[:, :, 0]
        self.press[at] = residual[:, 0] if self.each else (residual**2).sum(axis=1)
        rise = deviance - base
        if not self.about.criterion.reml:
            away = beta - full
            rise = rise + np.einsum("mp,mpq,mq->m", away, information, away)
        self.rld[at] = rise

    def _all_rows(
        self, thetas: FloatArray, sigma2: FloatArray
    ) -> tuple[FloatArray, FloatArray, FloatArray]:
        """X'V^-1 X, beta less the estimate (both in the basis), and -2 log-likelihood, all rows."""
        model = self.about.model
        found = estimates_of(
            model,
            self.about.criterion,
            thetas,
            np.log(sigma2) if model.profiled else None,
            np.full(len(thetas), self.about.fit, dtype=np.intp),
        )
        half = np.linalg.solve(self.root, found.vcov)
        vcov = np.swapaxes(np.linalg.solve(self.root, np.swapaxes(half, 1, 2)), 1, 2)
        away = np.linalg.solve(self.root, (found.beta - self.record.beta).T).T
        information = np.linalg.inv((vcov + np.swapaxes(vcov, 1, 2)) / 2)
        return np.asarray(information), np.asarray(away), found.deviance


def _crossed(v: FloatArray, xe: FloatArray) -> FloatArray:
    """[X e]'V^-1 [X e] of each set of rows."""
    white = solve_lower(cholesky_factors(v), xe)
    return np.asarray(np.swapaxes(white, 1, 2) @ white)
