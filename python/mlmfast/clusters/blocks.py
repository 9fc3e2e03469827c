"""X_i, V_i and residuals of clusters of rows that are independent under the model."""

from __future__ import annotations

import difflib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, cast

import numpy as np
from numpy.typing import NDArray

from mlmfast.arrays import FloatArray, IntArray
from mlmfast.clusters.covariance import marginal_covariances, refuse_large_cluster
from mlmfast.clusters.shared_effects import LargeCluster, is_large
from mlmfast.data.columns.labelled_rows import in_order_of
from mlmfast.data.factor import cross_factors
from mlmfast.data.frame import Frame
from mlmfast.design.design import Design
from mlmfast.design.factors.grouping import GroupingFactor
from mlmfast.design.factors.names import known_group
from mlmfast.design.rows import clusters_by_size, columns_at
from mlmfast.errors import DataError, ModelError
from mlmfast.fitted.random_effects import fixed_part
from mlmfast.fitted.record import FitRecord
from mlmfast.reduction.engines.independence import connected, correlated_codes

if TYPE_CHECKING:
    from mlmfast.fitted.origin.source import FitSource

#: Rows of a cluster per row of its compressed form from which compression pays.
_WORTH_IT = 2


@dataclass(frozen=True)
class ClusterBlocks:
    """Clusters of one size.

    Attributes
    ----------
    clusters : shape (m,), positions of the clusters.
    x : shape (m, n, p), columns of X that are not aliased.
    v : shape (m, n, n), covariance under the model.
    e : shape (m, n), marginal residuals y - X beta.
    rows : shape (m, n), rows of the data; None where the blocks are in compressed coordinates.
    """

    clusters: IntArray
    x: FloatArray
    v: FloatArray
    e: FloatArray
    rows: IntArray | None


def cluster_factor(
    source: FitSource, record: FitRecord, cluster: object, independent: bool = True
) -> GroupingFactor:
    """The clusters: those asked for, checked to be independent under the model.

    Parameters
    ----------
    cluster
        A grouping factor of the model, a column (or columns joined by ``:``) of its data, one
        label for each row used; None for the outermost grouping factor (or subject).
    independent
        Whether clusters that the model correlates are refused.

    Raises
    ------
    ModelError
        Where the model has no grouping factor, or correlates rows of different clusters.
    DataError
        For an unknown column, or an array of the wrong length.
    """
    design = source.design
    if cluster is None:
        if not record.groups:
            raise ModelError(
                "the model has no grouping factor to cluster by; name the clusters: cluster='...'"
            )
        clusters = design.factors[record.levels[0]]
    elif isinstance(cluster, str):
        clusters = _named(source, record, cluster)
    else:
        index = None if source.frame is None else source.frame.frame.index
        values = np.asarray(in_order_of(index, cluster, "cluster"))
        clusters = _labelled(values, design.n_obs)
    if independent:
        _check_independent(design, clusters)
    if clusters.has_all_rows:
        raise ModelError(
            f"all rows share the effects of {clusters.name}, so that they are a single cluster; "
            "at least 2 are needed"
        )
    if clusters.n_levels < 2:
        raise ModelError(f"{clusters.name!r} has a single cluster; at least 2 are needed")
    return clusters


def _labelled(values: NDArray[np.generic], n_obs: int) -> GroupingFactor:
    if values.shape != (n_obs,):
        raise DataError(
            f"cluster has shape {values.shape}; one label for each of the {n_obs} rows used is "
            "needed"
        )
    factor = Frame.from_native({"cluster": values}).factor("cluster")
    if factor.has_missing():
        raise DataError("cluster has missing values; every row used needs a label")
    return GroupingFactor("cluster", factor.codes, factor.levels)


def _named(source: FitSource, record: FitRecord, name: str) -> GroupingFactor:
    group = known_group(name, [group.name for group in record.groups])
    if group is not None:
        return source.design.factors[[g.name for g in record.groups].index(group)]
    frame = None if source.frame is None else source.frame.frame
    columns = () if frame is None else frame.columns
    parts = [part.strip() for part in name.split(":")]
    for part in parts:
        if part not in columns:
            known = [group.name for group in record.groups] + list(columns)
            near = difflib.get_close_matches(part, known, n=1)
            hint = f"; did you mean {near[0]!r}?" if near else ""
            lacking = "" if frame is None else frame.what_is_lacking
            raise DataError(f"there is no column {part!r} to cluster by{hint}{lacking}")
    assert frame is not None
    factor = cross_factors([frame.factor(part) for part in parts])
    if factor.has_missing():
        raise DataError(f"{name!r} has missing values; every row used needs a cluster")
    return GroupingFactor(name, factor.codes, factor.levels)


def connected_clusters(design: Design, clusters: GroupingFactor) -> GroupingFactor:
    """The smallest unions of clusters that are independent under the model."""
    partitions = [clusters.codes]
    partitions += [
        correlated_codes(design.factors[f])[0] for f in {term.factor for term in design.random}
    ]
    if design.residual is not None:
        partitions.append(design.residual.units)
    codes, n_parts = connected(partitions)
    if n_parts == clusters.n_levels:
        return clusters
    return GroupingFactor(clusters.name, codes, tuple(map(str, range(n_parts))))


def _check_independent(design: Design, clusters: GroupingFactor) -> None:
    blocks = [(factor.name, *correlated_codes(factor)) for factor in design.factors]
    if design.residual is not None:
        units = design.residual
        blocks.append((units.subject.name, units.units, units.n_units))
    for group, codes, n_levels in blocks:
        seen = np.full(n_levels, -1, dtype=np.int64)
        seen[codes] = clusters.codes
        if (seen[codes] != clusters.codes).any():
            related = any(f.name == group and f.relationship is not None for f in design.factors)
            if related:
                raise ModelError(
                    f"rows of related levels of {group!r} stand in several clusters of "
                    f"{clusters.name!r}, and the model correlates them; cluster by something that "
                    "holds all related levels together"
                )
            raise ModelError(
                f"rows of one level of {group!r} stand in several clusters of "
                f"{clusters.name!r}, and the model correlates them; cluster by {group!r} or by "
                "something coarser"
            )


def cluster_blocks(
    design: Design,
    record: FitRecord,
    clusters: GroupingFactor,
    compressed: bool,
    large: bool = False,
) -> Iterator[ClusterBlocks]:
    """Yield all clusters but large ones, those of one size together.

    Large ones come from `large_clusters`; with ``large`` they are here, as far as their V can be
    formed. With ``compressed``, clusters of many rows of equal variance are rotated onto the span
    of [Z_i X_i], outside which V_i is sigma^2 I and the rows say nothing about the fixed effects.
    """
    residual = design.working_response - fixed_part(design, record)
    columns = [design.x[j] for j in record.kept]
    related = any(factor.relationship is not None for factor in design.factors)
    simple = compressed and design.residual is None and design.weights is None and not related
    for rows in clusters_by_size(clusters.codes, clusters.n_levels):
        if is_large(rows.shape[1]) and not large:
            continue
        positions = cast(IntArray, clusters.codes[rows[:, 0]].astype(np.intp))
        if simple and rows.shape[1] > _WORTH_IT * (_n_effects(design, rows[0]) + len(columns)):
            for position, own in zip(positions, rows, strict=True):
                x, v, e = _compressed(design, record, own, residual)
                yield ClusterBlocks(np.array([position]), x[None], v[None], e[None], None)
            continue
        refuse_large_cluster(rows.shape[1], "this result")
        v = marginal_covariances(design, record, rows)
        yield ClusterBlocks(positions, columns_at(columns, rows), v, residual[rows], rows)


def large_clusters(
    design: Design, record: FitRecord, clusters: GroupingFactor, what: str
) -> Iterator[tuple[int, LargeCluster]]:
    """Yield the clusters whose V is not formed, and their positions."""
    sizes = np.bincount(clusters.codes, minlength=clusters.n_levels)
    for position in [k for k, size in enumerate(sizes.tolist()) if is_large(size)]:
        rows = np.flatnonzero(clusters.codes == position)
        yield position, LargeCluster.of(design, record, rows, what)


def blocks_of_sets(
    design: Design, record: FitRecord, clusters: GroupingFactor, independent: GroupingFactor
) -> Iterator[ClusterBlocks]:
    """Yield independent blocks of rows: many of one size where these are the clusters themselves.

    Where a block holds several clusters, which ones differs from block to block: one at a time.
    """
    for blocks in cluster_blocks(design, record, independent, compressed=False):
        if independent is clusters:
            yield blocks
            continue
        for k in range(len(blocks.clusters)):
            yield part_of(blocks, slice(k, k + 1))


def part_of(blocks: ClusterBlocks, which: slice | IntArray) -> ClusterBlocks:
    """Some of the clusters, which are not compressed."""
    assert blocks.rows is not None
    return ClusterBlocks(
        blocks.clusters[which],
        blocks.x[which],
        blocks.v[which],
        blocks.e[which],
        blocks.rows[which],
    )


def _n_effects(design: Design, rows: IntArray) -> int:
    return sum(
        len(np.unique(design.factors[term.factor].codes[rows])) * len(term.columns)
        for term in design.random
    )


def _compressed(
    design: Design, record: FitRecord, rows: IntArray, residual: FloatArray
) -> tuple[FloatArray, FloatArray, FloatArray]:
    """X, V and residuals of one cluster in an orthonormal basis of [Z X]."""
    x = columns_at([design.x[j] for j in record.kept], rows)
    parts, covariances = [], []
    for term, effects in zip(record.terms, design.random, strict=True):
        codes = design.factors[term.group].codes[rows]
        z = columns_at(effects.columns, rows)
        for level in np.unique(codes):
            parts.append(np.where((codes == level)[:, None], z, 0.0))
            covariances.append(term.covariance)
    basis, _ = np.linalg.qr(np.hstack([*parts, x]))
    v = record.sigma2 * np.eye(basis.shape[1])
    for part, covariance in zip(parts, covariances, strict=True):
        t = basis.T @ part
        v += t @ covariance @ t.T
    return basis.T @ x, (v + v.T) / 2, basis.T @ residual[rows]
