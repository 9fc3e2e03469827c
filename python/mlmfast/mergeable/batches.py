"""Reductions by engines that hand out Arrow batches: batches in, reductions as bytes out."""

from __future__ import annotations

import json
import secrets
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from typing import Any

from mlmfast.mergeable.coding.plan import Plan
from mlmfast.mergeable.content import Content, merge_contents, nothing, reduce_part
from mlmfast.mergeable.storage import to_bytes
from mlmfast.running.optional import optional_package
from mlmfast.sources.part import Part

#: Column of what comes out.
COLUMN = "reduction"
#: Batches that are merged together.
_TOGETHER = 8


def batch_reducer(plan: Plan, na_action: str = "drop") -> Callable[[Iterable[Any]], Iterator[Any]]:
    """A function of an iterator of Arrow batches that gives one batch with one reduction in it.

    It pickles, and needs nothing of where it runs but mlmfast and pyarrow.
    """
    return partial(_reduce_batches, json.dumps(plan.to_json()), na_action)


def _reduce_batches(plan_text: str, na_action: str, batches: Iterable[Any]) -> Iterator[Any]:
    pa = optional_package("pyarrow", "parquet", "a reduction of Arrow batches")
    plan = Plan.from_json(json.loads(plan_text))
    # Partitions of one engine have no names: these tell them apart.
    token = secrets.token_hex(4)
    waiting: list[Content] = []
    for k, batch in enumerate(batches):
        part = Part(pa.Table.from_batches([batch]), f"batch {k} of {token}", 0)
        waiting.append(reduce_part(plan, part, na_action))
        if len(waiting) == _TOGETHER:
            waiting = [merge_contents(waiting)]
    found = to_bytes(merge_contents([nothing(plan), *waiting]))
    yield pa.RecordBatch.from_arrays([pa.array([found], pa.binary())], names=[COLUMN])
