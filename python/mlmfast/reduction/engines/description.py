"""What evaluated the criterion, in the words of the certificate.

These words are all that a saved fit keeps of its engine: they are written and read here alone.
"""

from __future__ import annotations

from collections.abc import Callable

import mlmfast._core as _core
from mlmfast.reduction.absorbed.core import AbsorbedCore
from mlmfast.reduction.engines.cores import Core


def description(
    core: Core, is_nested: Callable[[], bool], has_effects: bool, along_visits: bool
) -> str:
    """The engine in words.

    Parameters
    ----------
    is_nested
        Tells whether one factor's levels hold those of all others, which takes a pass over rows.
    has_effects
        Whether anything is left but least squares.
    along_visits
        Whether the residual covariance is a chain of visits.
    """
    if isinstance(core, AbsorbedCore):
        text = f"{core.n_levels:,} fixed levels eliminated, {core.core.schur} Schur"
        return text if is_nested() else f"{text}, crossed"
    if core.name == "dense":
        return "dense V" if is_nested() else "dense V, crossed"
    if not has_effects:
        return "least squares"
    if isinstance(core, _core.CrossedReduction):
        exact = core.curvature == "exact"
        return f"crossed, {core.schur} Schur" + ("" if exact else ", average information")
    if core.name == "iterative":
        return "iterative"
    return "nested elimination, chain of visits" if along_visits else "nested elimination"


def is_crossed(described: str) -> bool:
    """Whether grouping factors were treated as crossed.

    Examples
    --------
    >>> [is_crossed(words) for words in ("crossed, dense Schur", "dense V, crossed", "dense V")]
    [True, True, False]
    """
    return described.startswith(("crossed", "iterative")) or described.endswith(", crossed")


def is_dense(described: str) -> bool:
    """Whether V was held whole.

    Examples
    --------
    >>> is_dense("dense V, crossed"), is_dense("crossed, dense Schur")
    (True, False)
    """
    return described.startswith("dense")
