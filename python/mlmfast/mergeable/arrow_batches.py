"""Arrow batches in, statistics out: for engines that call a function on their partitions."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Iterator
from typing import Any

from mlmfast.mergeable.coding.plan import Plan
from mlmfast.mergeable.content import merge_contents, nothing, reduce_part
from mlmfast.mergeable.reduction import Reduction
from mlmfast.mergeable.storage import of_bytes, to_bytes
from mlmfast.running.optional import optional_package
from mlmfast.sources.part import Part

#: Name of the one column of what comes out.
COLUMN = "reduction"


class BatchReducer:
    """A function from record batches to one batch with one row of bytes; it pickles.

    Parameters
    ----------
    plan
        How rows are coded: `Reduction.plan` of a sample with all levels, or of ``levels=``.
    na_action
        As `mlmfast.reduce` takes it.

    Examples
    --------
    >>> import pyarrow as pa, mlmfast as mlm
    >>> data = mlm.load_sleepstudy()
    >>> plan = mlm.reduce("Reaction ~ Days + (Days | Subject)", data[:20]).plan
    >>> batches = pa.Table.from_pandas(data).to_batches(max_chunksize=50)
    >>> [out] = BatchReducer(plan)(iter(batches))
    >>> out.schema.names, merge_bytes(out.column(0).to_pylist()).nobs
    (['reduction'], 180)
    """

    def __init__(self, plan: Plan, na_action: str = "drop") -> None:
        self._sent = json.dumps(plan.to_json())
        self._na_action = na_action

    def __call__(self, batches: Iterator[Any]) -> Iterator[Any]:
        """The statistics of all batches, as a batch of one row."""
        pa = optional_package("pyarrow", "parquet", "reducing Arrow batches")
        plan, name = Plan.from_json(json.loads(self._sent)), _partition()
        whole, first = nothing(plan), 0
        for batch in batches:
            part = Part(pa.Table.from_batches([batch]), name, first)
            whole = merge_contents([whole, reduce_part(plan, part, self._na_action)])
            first += batch.num_rows
        yield pa.record_batch([pa.array([to_bytes(whole)], pa.binary())], names=[COLUMN])


def merge_bytes(partials: Iterable[bytes]) -> Reduction:
    """The reduction of all partitions, from what `BatchReducer` gave of each."""
    return Reduction(merge_contents([of_bytes(bytes(partial)) for partial in partials]))


def _partition() -> str:
    """What Spark calls the partition at work."""
    pyspark = sys.modules.get("pyspark")
    context = None if pyspark is None else pyspark.TaskContext.get()
    return "a partition" if context is None else f"partition {context.partitionId()}"
