"""Work on all parts of a source, by whatever runs it."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Executor
from dataclasses import replace
from functools import partial
from typing import Any, TypeAlias

from mlmfast.errors import ModelError
from mlmfast.running.progress_bar import ProgressBar
from mlmfast.sources.checked import Found, checked_parts
from mlmfast.sources.engines import DaskSource
from mlmfast.sources.executors.dask_client import client_here, is_client, run_dask
from mlmfast.sources.executors.futures import run_futures
from mlmfast.sources.executors.kept_partials import KeptPartials
from mlmfast.sources.executors.work import InOrder, SentPart, Work, reduce_split, splits_of
from mlmfast.sources.part import Part
from mlmfast.sources.progress import told_of
from mlmfast.sources.source import Source, Split

#: Work, splits with their positions, and what to call when one is done, to what came of them all.
Runner: TypeAlias = Callable[
    [Work, Iterator[tuple[int, Split]], Callable[[int, Any], None]], bytes | None
]


def run(
    work: Work,
    source: Source,
    columns: Sequence[str],
    executor: Any = None,
    *,
    folder: str | os.PathLike[str] | None = None,
    progress: bool | None = None,
) -> bytes | None:
    """Reduce all parts of a source and merge what comes of them.

    The same splits are merged in the same order whoever works on them, so that the result has the
    same bits with any executor and any number of workers.

    Parameters
    ----------
    work
        What to do.
    source, columns
        What to read.
    executor
        A `dask.distributed.Client` or any `concurrent.futures.Executor`. None: this process, or,
        for a Dask DataFrame, the client that is there.
    folder
        Where what came of each split is kept: the same call goes on where one was stopped. For
        sources whose splits can be told apart: files and Dask's partitions.
    progress
        As `ProgressBar` takes it.

    Returns
    -------
    bytes or None
        None where there are no rows.

    Raises
    ------
    ModelError
        For something that runs no work, and for a folder where nothing can be kept.
    DataError
        As `Source.parts` does.
    """
    if executor is None and isinstance(source, DaskSource):
        executor = client_here()
    runner = _runner_of(executor)
    own = source.splits(columns)
    work = replace(work, columns=source.chosen(columns), kinds=kinds_of_first(source, columns, own))
    kept = None if folder is None else KeptPartials(folder, work, own, source.title)
    total = None if own is None else len(own)
    with ProgressBar(f"reducing {source.title}, parts", total, progress) as bar:

        def done(position: int, fetch: Callable[[], bytes | None]) -> None:
            if kept is not None:
                kept.keep(position, fetch() or b"")
            bar.advance()

        splits: Iterator[tuple[int, Split]]
        splits = enumerate(splits_of(source, columns) if own is None else own)
        if kept is not None:
            splits = ((k, kept.known(k, split)) for k, split in splits)
        return runner(work, splits, done)


def run_parts(
    work: Work,
    source: Source,
    parts: Iterator[Part],
    threads: Executor,
    progress: bool | None = None,
) -> Any:
    """As `run`, by threads of this process; what comes of parts may be of any type."""
    with told_of("reducing", source, progress) as seen:
        sent: Iterator[Split] = (SentPart("", part) for part in seen(parts))
        checked = replace(work, columns=None)
        # The next part is read meanwhile: those that waited would only fill the memory.
        return run_futures(threads, checked, enumerate(sent), lambda *_: None, ahead=1)


def kinds_of_first(
    source: Source, columns: Sequence[str], splits: Sequence[Split] | None
) -> dict[str, Found]:
    """Kinds of the columns in the first part, where workers read by themselves."""
    found: dict[str, Found] = {}
    if splits:
        parts = checked_parts(splits[0].parts(), source.chosen(columns), found)
        next(parts, None)
        parts.close()
    return found


def _runner_of(executor: Any) -> Runner:
    if executor is None:
        return _run_here
    if is_client(executor):
        return partial(run_dask, executor)
    if isinstance(executor, Executor):
        return partial(run_futures, executor)
    raise ModelError(
        f"executor is {executor!r}; give a dask.distributed.Client or a "
        "concurrent.futures.Executor, or None for this process"
    )


def _run_here(
    work: Work, splits: Iterator[tuple[int, Split]], done: Callable[[int, Any], None]
) -> bytes | None:
    tree: InOrder[bytes] = InOrder(work.merge_splits)
    for position, split in splits:
        found = reduce_split(work, split)
        done(position, lambda found=found: found)
        tree.add(position, found)
    return tree.total()
