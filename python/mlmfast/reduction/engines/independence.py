"""Clusters of rows that are independent of each other under the model."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from mlmfast.arrays import CodeArray
from mlmfast.design.design import Design
from mlmfast.design.factors.grouping import GroupingFactor
from mlmfast.errors import ModelError


def independent_clusters(design: Design, levels: Sequence[int]) -> tuple[CodeArray, int]:
    """The cluster of each row, shape (n,), and the number of clusters.

    The levels of the outermost factor where all others, and the subjects of a residual covariance,
    are nested in it; otherwise the connected parts of the design (rows are connected by a shared
    level, by related levels or by a shared subject), most often a single one.

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
    if levels and clusters_are_levels(design, levels):
        outermost = design.factors[levels[0]]
        return outermost.codes, outermost.n_levels
    codes = [correlated_codes(design.factors[f])[0] for f in levels]
    if design.residual is not None:
        codes.append(design.residual.units)
    if not codes:
        return np.arange(design.n_obs, dtype=np.int32), design.n_obs
    return connected(codes)


def clusters_are_levels(design: Design, levels: Sequence[int]) -> bool:
    """Whether rows of different levels of the outermost factor are independent."""
    outermost = design.factors[levels[0]]
    if any(design.factors[f].relationship is not None for f in levels):
        return False
    residual = design.residual
    if residual is not None and not is_within(residual.units, residual.n_units, outermost.codes):
        return False
    return are_nested(design, levels)


def correlated_codes(factor: GroupingFactor) -> tuple[CodeArray, int]:
    """Levels of a factor, or where they are related the connected parts of them, by row."""
    if factor.relationship is None:
        return factor.codes, factor.n_levels
    families = factor.relationship.families
    return families[factor.codes].astype(np.int32), int(families.max()) + 1


def connected(partitions: Sequence[CodeArray]) -> tuple[CodeArray, int]:
    """The connected part of each row, shape (n,), and their number.

    Rows are connected that share a level of one of the partitions, by codes of shape (n,) each.

    Examples
    --------
    >>> connected([np.array([0, 0, 1, 2]), np.array([0, 1, 1, 2])])[0].tolist()
    [0, 0, 0, 1]
    """
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    # Levels are joined where a row has both; each partition is joined to the first by the rows.
    sizes = [int(codes.max()) + 1 for codes in partitions]
    offsets = np.cumsum([0, *sizes])
    first, others = partitions[0], partitions[1:]
    from_level = np.concatenate([first, *([first] * len(others))])
    pairs = zip(others, offsets[1:], strict=False)
    to_level = np.concatenate([first, *(codes + offset for codes, offset in pairs)])
    edges = coo_array(
        (np.ones(len(from_level), dtype=np.int8), (from_level, to_level)),
        shape=(offsets[-1], offsets[-1]),
    )
    n_parts, of_level = connected_components(edges, directed=False)
    return np.asarray(of_level[first], dtype=np.int32), int(n_parts)


def nestings(design: Design, levels: Sequence[int]) -> list[tuple[str, str]]:
    """Names (inner, outer) of grouping factors that are nested, each inner one in its innermost.

    Parameters
    ----------
    design
        The design.
    levels
        Positions of the grouping factors, those with fewest levels first.
    """
    factors = [design.factors[f] for f in levels]
    out = []
    for k, inner in enumerate(factors):
        outer = next((f for f in reversed(factors[:k]) if _is_nested(inner, f)), None)
        if outer is not None:
            out.append((inner.name, outer.name))
    return out


def check_distinct(design: Design) -> None:
    """Refuse two terms with the same effect by the same levels.

    Raises
    ------
    ModelError
        Where two grouping factors have the same levels (under other names or labels) and the same
        effect: their variances cannot be told apart.
    """
    for t, term in enumerate(design.random):
        for other in design.random[:t]:
            shared = [name for name in term.names if name in other.names]
            a, b = design.factors[other.factor], design.factors[term.factor]
            if not shared or a.n_levels != b.n_levels or not _is_nested(b, a):
                continue
            if a is not b and (a.relationship is None) != (b.relationship is None):
                # Related effects beside independent ones: their variances differ in what they tie.
                continue
            same = (
                f"grouping factors {a.name!r} and {b.name!r} are the same factor (each level of "
                "one is one level of the other)"
                if a is not b
                else f"grouping factor {a.name!r} stands in two terms"
            )
            raise ModelError(
                f"{same}, and both {other.text} and {term.text} have the effect {shared[0]!r}: "
                "their variances cannot be told apart; leave one of them out"
            )


def are_nested(design: Design, levels: Sequence[int]) -> bool:
    """Whether every factor is nested in the outermost one."""
    factors = [design.factors[f] for f in levels]
    return all(_is_nested(inner, factors[0]) for inner in factors[1:])


def _is_nested(inner: GroupingFactor, outer: GroupingFactor) -> bool:
    """Whether every level of ``inner`` is met with one level of ``outer`` only."""
    return inner is outer or is_within(inner.codes, inner.n_levels, outer.codes)


def is_within(codes: CodeArray, n_levels: int, outer: CodeArray) -> bool:
    """Whether every code is met with one code of ``outer`` only."""
    parent = np.zeros(n_levels, dtype=np.int32)
    parent[codes] = outer
    return bool((parent[codes] == outer).all())
