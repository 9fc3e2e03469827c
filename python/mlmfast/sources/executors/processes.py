"""Worker processes of this machine that share no threads and no locks with this one."""

from __future__ import annotations

import multiprocessing
from concurrent.futures import ProcessPoolExecutor

#: What workers begin with: it is imported once, not by each.
_PRELOADED = ["mlmfast"]


def worker_processes(workers: int) -> ProcessPoolExecutor:
    """A pool of processes that were not forked from this one.

    A forked process has the memory of its parent without its threads, which not every package that
    its parent used (DuckDB, say) can do with.

    Parameters
    ----------
    workers
        Processes, at least 1.

    Examples
    --------
    >>> with worker_processes(1) as pool:
    ...     pool.submit(abs, -3).result()
    3
    """
    if "forkserver" not in multiprocessing.get_all_start_methods():
        return ProcessPoolExecutor(workers, mp_context=multiprocessing.get_context("spawn"))
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(_PRELOADED)
    return ProcessPoolExecutor(workers, mp_context=context)
