"""Any `concurrent.futures.Executor`: processes, threads, loky, MPI."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from concurrent.futures import FIRST_COMPLETED, BrokenExecutor, Executor, Future, wait
from typing import Any

from mlmfast.errors import ModelError
from mlmfast.sources.executors.work import InOrder, Work, reduce_split
from mlmfast.sources.source import Split

#: Splits that are asked for before others have come back, for each worker.
_AHEAD = 2
#: Seconds between two looks for Ctrl-C.
_PATIENCE = 0.2


def run_futures(
    executor: Executor,
    work: Work,
    splits: Iterator[tuple[int, Split]],
    done: Callable[[int, Any], None],
    ahead: int = _AHEAD,
) -> bytes | None:
    """All splits reduced by workers and merged here; no more are in hand than workers need.

    Parameters
    ----------
    done
        Called with the position of a split that is reduced, and with what fetches what came of it.
    ahead
        Splits in hand for each worker: that which it is at, and those that wait.
    """
    workers = getattr(executor, "_max_workers", None)
    most = ahead * (workers if isinstance(workers, int) else max(8, os.cpu_count() or 1))
    waiting: dict[Future[bytes | None], int] = {}
    tree: InOrder[bytes] = InOrder(work.merge_splits)
    try:
        while True:
            while len(waiting) < most:
                following = next(splits, None)
                if following is None:
                    break
                position, split = following
                waiting[executor.submit(reduce_split, work, split)] = position
            if not waiting:
                return tree.total()
            finished, _ = wait(waiting, timeout=_PATIENCE, return_when=FIRST_COMPLETED)
            for future in finished:
                position, partial = waiting.pop(future), future.result()
                done(position, future.result)
                tree.add(position, partial)
    except BrokenExecutor as error:
        raise ModelError(
            f"a worker process ended while it reduced rows ({error}); was it killed for want of "
            "memory, or forked where threads of another package ran (DuckDB)? Use fewer workers, "
            "or workers of multiprocessing.get_context('forkserver'); with a folder to keep "
            "finished parts in, the same call goes on from there"
        ) from None
    finally:
        for future in waiting:
            future.cancel()
