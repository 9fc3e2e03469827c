"""Whether rows stay with the workers: no sums can be kept of them, or too many would be."""

from __future__ import annotations

from dataclasses import replace

from mlmfast.data.frame import columns_of
from mlmfast.errors import MlmError
from mlmfast.mergeable.residual import needs_rows
from mlmfast.mergeable.running import COPIES, How
from mlmfast.mergeable.streaming import Asked, content_of
from mlmfast.sources.executors.dask_client import is_client
from mlmfast.sources.part import Part
from mlmfast.sources.source import Source


def stays_in_parts(asked: Asked, source: Source, how: How) -> bool:
    """Whether a model is fitted by sums over parts at every step, not by statistics merged once.

    So where its statistics cannot be merged; and, where workers of a cluster can keep the rows,
    where statistics, as many a row as the first part has, would take more than memory= allows.
    """
    if needs_rows(asked.formula, asked.residual, asked.weights):
        return True
    budget = how.budget
    if budget is None or not is_client(how.executor) or not source.repeatable:
        return False
    if asked.residual is not None or not asked.parsed.random or asked.parsed.smooths:
        return False
    parts = source.parts(asked.variables)
    first = next(parts, None)
    parts.close()
    return first is not None and _kept_of(asked, first) * _n_rows(source, first) > budget


def _kept_of(asked: Asked, part: Part) -> float:
    """Bytes for each row, as a fit holds them, of the statistics of one part."""
    try:
        content = content_of(replace(asked, na_action="drop"), [part.frame])
    except MlmError:
        # One part alone may be no data for the model.
        return 0.0
    return COPIES * content.nbytes / max(content.n_obs, 1)


def _n_rows(source: Source, first: Part) -> float:
    if source.n_rows is not None:
        return float(source.n_rows)
    splits = source.splits()
    return float(columns_of(first.frame).n_rows * (1 if splits is None else len(splits)))
