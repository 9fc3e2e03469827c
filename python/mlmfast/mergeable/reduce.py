"""`mlmfast.reduce`: the rows of a source, part by part, to the statistics of a model."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import Any

from mlmfast.guessed_arguments import told
from mlmfast.mergeable.coding.plan import Plan
from mlmfast.mergeable.reduction import Reduction
from mlmfast.mergeable.running import How
from mlmfast.mergeable.streaming import Asked, content_of
from mlmfast.sources.open_source import open_source


@told(fitted_later=True)
def reduce(
    formula: str,
    source: Any,
    *,
    residual: str | None = None,
    weights: str | None = None,
    offset: str | None = None,
    contrasts: Mapping[str, Any] | None = None,
    levels: Mapping[str, Sequence[Any]] | None = None,
    plan: Plan | None = None,
    na_action: str = "drop",
    min_cluster_size: int | None = None,
    labels: bool = True,
    memory: str | float | None = None,
    executor: Any = None,
    resume: str | os.PathLike[str] | None = None,
    progress: bool | None = None,
    na_values: Sequence[str] | None = None,
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
        A path, a pattern such as ``"data/*.parquet"``, a folder, or a list of paths (Parquet,
        Feather, CSV); a DuckDB relation or ``(connection, "table")``; a polars LazyFrame; a pyarrow
        Dataset, reader or anything with ``__arrow_c_stream__``; a Dask DataFrame; a frame, or a
        list or an iterator of frames.
    residual
        Covariance of the residuals within subjects, ``"us(visit | subject)"`` or another structure
        over visits, without random effects. The rows of a subject must stand together: in one part,
        or at the end of one and the beginning of the next.
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
    memory
        A limit such as ``"4GB"``: parts are made small enough, and the call is refused where what
        is kept of the rows outgrows it.
    executor
        A `dask.distributed.Client` or any `concurrent.futures.Executor` whose workers reduce parts;
        threads of this process by default, or, for a Dask DataFrame, its workers.
    resume
        A folder where what comes of each file is kept: the same call goes on where one was stopped.
    progress
        A bar on a terminal or in a notebook: None after two seconds, True at once, False never.
    na_values
        Fields of text files that are missing values, beside empty ones and NA, such as ``["."]``.

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
        formula, weights, offset, contrasts, levels, plan, na_action, min_cluster_size, labels,
        residual,
    )  # fmt: skip
    opened = source if na_values is None else open_source(source, na_values=na_values)
    return Reduction(content_of(asked, opened, How(memory, executor, resume, progress)))
