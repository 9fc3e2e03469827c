"""Large clusters: which random effects are taken out of V so that what remains is small blocks.

Given some of the random effects (the *shared* ones), the rows of a cluster fall into blocks that
are independent of each other: single rows or subjects where all effects are taken, the levels of
the factor with most of them where the others are. With V_b the covariance of a block's rows given
the shared effects g, and Z their columns,

    V = L (I + L^-1 Z G Z'L^-T) L',    L = diag(chol V_b),

so V itself is never formed. L takes the rows of each block in the cluster's order, and is thus
lower triangular in that order, however the blocks lie in each other.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from mlmfast.arrays import CodeArray, IntArray, SparseArray
from mlmfast.clusters.covariance import (
    LARGEST_CLUSTER,
    cholesky_factors,
    marginal_covariances,
    solve_lower,
)
from mlmfast.clusters.noise import noise_sd
from mlmfast.clusters.residual_covariance import residual_covariances
from mlmfast.design.design import Design
from mlmfast.design.rows import clusters_by_size
from mlmfast.errors import ModelError
from mlmfast.fitted.record import FitRecord
from mlmfast.reduction.engines.independence import connected, correlated_codes
from mlmfast.running.memory import memory_left
from mlmfast.running.scipy_on_use import sparse

if TYPE_CHECKING:
    from mlmfast.clusters.series_whitening import SeriesRoot

#: Rows of a block up to which its covariance is formed beside shared effects.
_LARGEST_BLOCK = 2_000
#: What an operation on sparse blocks costs beside one on whole matrices.
_SPARSE = 10.0
#: Share of the memory left that the matrices may take.
_SHARE = 0.5


@dataclass(frozen=True)
class Split:
    """How a cluster is taken apart.

    Attributes
    ----------
    shared : positions of the random-effects terms that are taken out.
    blocks : shape (n,), block of each row of the cluster.
    n_blocks : their number.
    n_effects : shared effects of the levels that the cluster's rows have.
    work : operations, about.
    memory : bytes, about.
    walked
        Whether residuals follow series that are too long for matrices.
    """

    shared: tuple[int, ...]
    blocks: CodeArray
    n_blocks: int
    n_effects: int
    work: float
    memory: float
    walked: bool

    @property
    def largest(self) -> int:
        """Rows of the largest block."""
        return int(np.bincount(self.blocks, minlength=1).max())


def split_rows(design: Design, rows: IntArray, what: str, sequential: bool = False) -> Split:
    """The cheapest way to take the rows of one cluster apart.

    The factors with fewest effects are shared first: none of them, one, ... all.

    Parameters
    ----------
    design, rows : the data, and the rows of the cluster.
    what : what is computed, for messages.
    sequential : whether all rows are conditioned on those before, n q^2 for q shared effects.

    Raises
    ------
    ModelError
        Where each would need more memory than there is.
    """
    ways = list(_ways(design, rows, sequential))
    available = _SHARE * memory_left()
    possible = [way for way in ways if way.memory <= available and _is_small(design, way)]
    if not possible:
        least = min(ways, key=_memory_of)
        raise ModelError(
            f"{what} of {len(rows):,} correlated rows needs matrices of {least.n_effects:,} "
            f"random effects and of blocks of up to {least.largest:,} rows, "
            f"{least.memory / 1e9:.1f} GB (there is {available / 1e9:.1f} GB for them); fit a "
            "sample of the data to look at it: all rows of some levels of the largest grouping "
            "factors"
        )
    return min(possible, key=_work_of)


def _memory_of(way: Split) -> float:
    return way.memory


def _work_of(way: Split) -> float:
    return way.work


def _is_small(design: Design, way: Split) -> bool:
    """Whether the covariances of the blocks are of a size that is formed."""
    if way.walked:
        return True
    inside = len(way.shared) < len(design.random)
    return way.largest <= (_LARGEST_BLOCK if way.shared and inside else LARGEST_CLUSTER)


def _ways(design: Design, rows: IntArray, sequential: bool) -> Iterator[Split]:
    effects: dict[int, int] = {}
    for term in design.random:
        n_levels = len(np.unique(design.factors[term.factor].codes[rows]))
        effects[term.factor] = effects.get(term.factor, 0) + n_levels * len(term.columns)
    order = sorted(effects, key=lambda f: (effects[f], f))
    n = float(len(rows))
    for k in range(len(order) + 1):
        shared = tuple(t for t, term in enumerate(design.random) if term.factor in order[:k])
        q = float(sum(effects[f] for f in order[:k]))
        blocks, n_blocks = _blocks(design, rows, order[k:])
        sizes = np.bincount(blocks, minlength=n_blocks).astype(np.float64)
        series = design.residual is not None and design.residual.series is not None
        walked = k == len(order) and series and sizes.max() > LARGEST_CLUSTER
        if walked:
            sizes = np.ones(len(rows))
        by_row = float(sum(len(design.random[t].columns) for t in shared))
        entries = float((sizes**2).sum())
        spread = float((sizes * np.minimum(q, sizes * by_row)).sum())
        blocks_work = float((sizes[sizes > 1] ** 3).sum())
        if sequential:
            work = blocks_work + 4.0 * n * q**2
        else:
            work = _SPARSE * blocks_work + 4.0 * n * q * by_row + q**3
        memory = 40.0 * (entries + spread + q**2)
        yield Split(shared, blocks, n_blocks, int(q), work, memory, walked)


def _blocks(design: Design, rows: IntArray, factors: list[int]) -> tuple[CodeArray, int]:
    """Rows that are correlated given the effects of the other factors."""
    codes = [correlated_codes(design.factors[f])[0][rows] for f in factors]
    if design.residual is not None:
        codes.append(design.residual.units[rows])
    if not codes:
        return np.arange(len(rows), dtype=np.int32), len(rows)
    packed = [np.unique(own, return_inverse=True)[1].astype(np.int32) for own in codes]
    return connected(packed)


def inner_root(design: Design, record: FitRecord, rows: IntArray, split: Split) -> SparseArray:
    """L^-1 of the rows given the shared effects, shape (n, n)."""
    n = len(rows)
    if len(split.shared) == len(design.random):
        if design.residual is None:
            return sparse.csr_array(sparse.diags_array(1.0 / noise_sd(design, record)[rows]))
        if split.walked:
            along = along_series(design, record, rows)
            return sparse.csr_array(
                along.inverse_root() @ sparse.diags_array(1.0 / noise_sd(design, record)[rows])
            )
    part, terms = _without(design, record, split.shared)
    at, to, values = [], [], []
    for places in clusters_by_size(split.blocks, split.n_blocks):
        m, size = places.shape
        factors = cholesky_factors(marginal_covariances(part, terms, rows[places]))
        inverse = solve_lower(factors, np.broadcast_to(np.eye(size), (m, size, size)))
        i, j = np.tril_indices(size)
        at.append(places[:, i].ravel())
        to.append(places[:, j].ravel())
        values.append(inverse[:, i, j].ravel())
    where = (np.concatenate(at), np.concatenate(to))
    return sparse.csr_array((np.concatenate(values), where), shape=(n, n))


def along_series(design: Design, record: FitRecord, rows: IntArray) -> SeriesRoot:
    """Root of the correlations along the series of rows, which stand by subject and time."""
    from mlmfast.clusters.series_whitening import SeriesRoot

    assert design.residual is not None, "only called for series"
    assert record.residual is not None, "only called for series"
    own = np.zeros(design.n_obs, dtype=np.bool_)
    own[rows] = True
    return SeriesRoot.of(design.residual, record.residual).part(own)


def in_order(design: Design, record: FitRecord, rows: IntArray, split: Split) -> IntArray:
    """The rows by subject and time where a series is too long for a matrix, else as they are."""
    return along_series(design, record, rows).order if split.walked else rows


def residual_matrix(design: Design, record: FitRecord, rows: IntArray, split: Split) -> SparseArray:
    """R of the rows, shape (n, n), block by block."""
    n = len(rows)
    if design.residual is None:
        return sparse.csr_array(sparse.diags_array(noise_sd(design, record)[rows] ** 2))
    at, to, values = [], [], []
    for places in clusters_by_size(split.blocks, split.n_blocks):
        r = residual_covariances(design, record, rows[places])
        m, i, j = np.nonzero(r)
        at.append(places[m, i])
        to.append(places[m, j])
        values.append(r[m, i, j])
    where = (np.concatenate(at), np.concatenate(to))
    return sparse.csr_array((np.concatenate(values), where), shape=(n, n))


def _without(
    design: Design, record: FitRecord, shared: tuple[int, ...]
) -> tuple[Design, FitRecord]:
    """The design and the estimates with the terms that are not shared alone."""
    inner = [t for t in range(len(design.random)) if t not in shared]
    return (
        replace(design, random=tuple(design.random[t] for t in inner)),
        replace(record, terms=tuple(record.terms[t] for t in inner)),
    )
