"""`mlmfast.reduce`: the rows of a source, part by part, to the statistics of a model."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from mlmfast.mergeable.coding.plan import Plan
from mlmfast.mergeable.reduction import Reduction
from mlmfast.mergeable.streaming import Asked, content_of


def reduce(
    formula: str,
    source: Any,
    *,
    weights: str | None = None,
    offset: str | None = None,
    contrasts: Mapping[str, Any] | None = None,
    levels: Mapping[str, Sequence[Any]] | None = None,
    plan: Plan | None = None,
    na_action: str = "drop",
    min_cluster_size: int | None = None,
    labels: bool = True,
) -> Reduction:
    """Read rows part by part and keep what the likelihood of a model needs of them.

    For each cluster, a combination of levels of all grouping factors, few weighted rows stay that
    have the sums of squares and products of all its rows: as many as there are columns that vary in
    it, and one. The fit is that of the rows, to rounding.

    Parameters
    ----------
    formula
        As `mlmfast.lmm` takes it.
    source
        A list or an iterator of frames.
    weights, offset
        Columns of the data.
    contrasts
        As `mlmfast.lmm` takes them.
    levels
        Levels of factors fixed beforehand, by column, in their order. The others are found by a
        first pass over the source.
    plan
        How another reduction coded its rows (`Reduction.plan`), in place of a first pass.
    na_action
        "drop" or "raise".
    min_cluster_size
        Leave out clusters of fewer rows, and count what was left out (`Reduction.n_withheld`).
    labels
        False to put numbers that mean nothing elsewhere in place of the labels of clusters. Each
        cluster must then be whole in this source.

    Raises
    ------
    FormulaError, DataError, ModelError
        As the formula, the data or their combination is at fault; errors of a part name it.

    Examples
    --------
    >>> import mlmfast as mlm
    >>> data = mlm.load_sleepstudy()
    >>> reduction = mlm.reduce("Reaction ~ Days + (Days | Subject)", [data[:100], data[100:]])
    >>> reduction.nobs, reduction.n_rows
    (180, 54)
    >>> reduction.fit().params.round(4).to_dict()
    {'(Intercept)': 251.4051, 'Days': 10.4673}
    """
    asked = Asked(
        formula, weights, offset, contrasts, levels, plan, na_action, min_cluster_size, labels
    )
    return Reduction(content_of(asked, source))
