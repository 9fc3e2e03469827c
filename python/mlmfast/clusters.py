"""Clusters of rows that are independent of each other under the model."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from mlmfast.arrays import CodeArray
from mlmfast.design import Design, GroupingFactor


def independent_clusters(design: Design, levels: Sequence[int]) -> tuple[CodeArray, int]:
    """The cluster of each row, shape (n,), and the number of clusters.

    The levels of the outermost factor where all others are nested in it; with crossed factors the
    connected parts of the design (rows are connected by a shared level), most often a single one.

    Parameters
    ----------
    design
        The design.
    levels
        Positions of the grouping factors, outermost first.

    Examples
    --------
    >>> def factor(name, codes):
    ...     labels = tuple(map(str, range(max(codes) + 1)))
    ...     return GroupingFactor(name, np.array(codes, dtype=np.int32), labels)
    >>> factors = (factor("a", [0, 0, 1, 2]), factor("b", [0, 1, 1, 2]))
    >>> independent_clusters(Design(np.zeros(4), (), (), factors), (0, 1))[0].tolist()
    [0, 0, 0, 1]
    """
    factors = [design.factors[f] for f in levels]
    outermost = factors[0]
    if all(_is_nested(inner, outermost) for inner in factors[1:]):
        return outermost.codes, outermost.n_levels
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    # Levels are joined where a row has both; each factor is joined to the first through the rows.
    offsets = np.cumsum([0, *(f.n_levels for f in factors)])
    from_level = np.concatenate([outermost.codes] * (len(factors) - 1))
    pairs = zip(factors[1:], offsets[1:], strict=False)
    to_level = np.concatenate([f.codes + offset for f, offset in pairs])
    edges = coo_array(
        (np.ones(len(from_level), dtype=np.int8), (from_level, to_level)),
        shape=(offsets[-1], offsets[-1]),
    )
    n_clusters, of_level = connected_components(edges, directed=False)
    return np.asarray(of_level[outermost.codes], dtype=np.int32), int(n_clusters)


def _is_nested(inner: GroupingFactor, outer: GroupingFactor) -> bool:
    """Whether every level of ``inner`` is met with one level of ``outer`` only."""
    if inner is outer:
        return True
    parent = np.zeros(inner.n_levels, dtype=np.int32)
    parent[inner.codes] = outer.codes
    return bool((parent[inner.codes] == outer.codes).all())
