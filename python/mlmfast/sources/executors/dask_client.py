"""A `dask.distributed.Client`: the scheduler gives the work of a lost worker to another."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from importlib import import_module
from typing import Any

from mlmfast.sources.engines import DaskSplit
from mlmfast.sources.executors.work import InOrder, Work, merged, reduce_split
from mlmfast.sources.source import Split, library_of

#: Splits that are asked for before others have come back, for each thread of the cluster.
_AHEAD = 2


def is_client(executor: object) -> bool:
    """Whether this is Dask's client."""
    return library_of(executor) == "distributed" and hasattr(executor, "submit")


def client_here() -> Any:
    """The client that this process has made, if any."""
    distributed: Any = sys.modules.get("distributed")
    if distributed is None:
        return None
    try:
        return distributed.get_client()
    except ValueError:
        return None


def run_dask(
    client: Any,
    work: Work,
    splits: Iterator[tuple[int, Split]],
    done: Callable[[int, Any], None],
) -> bytes | None:
    """All splits reduced, and merged by the workers; one result comes back.

    A worker gets what it needs with each task, so that nothing is lost with a worker that dies.

    Parameters
    ----------
    done
        Called with the position of a split that is reduced, and with what fetches what came of it.
    """
    distributed: Any = import_module("distributed")
    most = _AHEAD * max(1, sum(client.nthreads().values()))
    finished = distributed.as_completed(loop=client.loop)
    waiting: dict[Any, int] = {}
    tree: InOrder[Any] = InOrder(lambda some: client.submit(_merged, work, *some, pure=False))

    def ask() -> bool:
        following = next(splits, None)
        if following is None:
            return False
        position, split = following
        future = _submitted(client, work, split)
        waiting[future] = position
        finished.add(future)
        return True

    try:
        while len(waiting) < most and ask():
            pass
        while waiting:
            future = next(finished)
            position = waiting.pop(future)
            if future.status == "error":
                future.result()
            done(position, future.result)
            tree.add(position, future)
            del future
            ask()
        total = tree.total()
        return None if total is None else total.result()
    finally:
        for future in waiting:
            future.cancel()


def _merged(work: Work, *partials: bytes | None) -> bytes | None:
    return merged(work.merge_splits, partials)


def _submitted(client: Any, work: Work, split: Split) -> Any:
    if not isinstance(split, DaskSplit):
        return client.submit(reduce_split, work, split, pure=False)
    # As an argument by itself, the partition is computed where it is wanted.
    frame = client.compute(split.delayed)
    place = (split.columns, split.rows, split.position)
    return client.submit(_reduce_partition, work, frame, place, pure=False)


def _reduce_partition(work: Work, frame: Any, place: tuple[Any, int, int]) -> bytes | None:
    return reduce_split(work, DaskSplit("", frame, *place))
