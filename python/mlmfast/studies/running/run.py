"""Running a study: the chunks that are not finished yet, by an executor, into the folder."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import BrokenExecutor, Executor
from contextlib import closing
from typing import Any

from mlmfast.errors import DataError, MlmError
from mlmfast.studies.plan.plan import Chunk, Plan
from mlmfast.studies.running.enough import has_enough
from mlmfast.studies.running.executors.dask_client import run_dask
from mlmfast.studies.running.executors.futures import run_futures
from mlmfast.studies.running.executors.here import run_here
from mlmfast.studies.running.executors.joblib_parallel import run_joblib
from mlmfast.studies.running.folder import Folder
from mlmfast.studies.running.progress import Progress
from mlmfast.studies.running.rehearsal import rehearse
from mlmfast.studies.running.shard import Shard
from mlmfast.studies.running.work import Content
from mlmfast.studies.running.writer import Writer

Engine = Callable[[Plan, Sequence[Chunk]], Iterator[tuple[Chunk, Content]]]


def run_study(
    plan: Plan, folder: Folder, executor: Any, progress: bool, shard: Shard, extend: bool
) -> None:
    """Finish what is not finished.

    Raises
    ------
    DataError
        For a folder of another plan, and for what concerns all replicates.
    MlmError
        Where a worker died; what was finished stays.
    OSError
        Where a chunk cannot be written.
    """
    engine = _engine(executor)
    folder.claim(plan, extend)
    rehearsed = False
    with Progress(plan, progress) as shown:
        for chunks in _rounds(plan, folder, shard, shown):
            if not rehearsed:
                rehearse(plan)
                rehearsed = True
            _finish(plan, folder, engine, chunks, shown)
    if all_finished(plan, folder):
        folder.tidy()


def _rounds(plan: Plan, folder: Folder, shard: Shard, shown: Progress) -> Iterator[list[Chunk]]:
    """Chunks to be run now; where errors may end a condition, one of each that has not ended."""
    if not plan.stop_at:
        every = [chunk for k in range(len(plan.conditions)) for chunk in plan.chunks(k)]
        own = shard.part(every)
        shown.expect(own)
        left = [chunk for chunk in own if not folder.has(plan, chunk)]
        shown.found(set(own) - set(left))
        if left:
            yield left
        return
    going = shard.part(list(range(len(plan.conditions))))
    shown.expect([chunk for k in going for chunk in plan.chunks(k)])
    while going:
        ahead = {k: _next(plan, folder, k) for k in going}
        for k in going:
            if ahead[k] is None:
                shown.ended(k)
        going = [k for k in going if ahead[k] is not None]
        chunks = [chunk for chunk in ahead.values() if chunk is not None]
        if chunks:
            yield chunks


def _next(plan: Plan, folder: Folder, condition: int) -> Chunk | None:
    """The first chunk of a condition that is not finished; None where there are replicates enough.

    It goes by the finished chunks before it alone, in their order: whatever runs them, a condition
    ends at the same one.
    """
    finished: list[Chunk] = []
    for chunk in plan.chunks(condition):
        if not folder.has(plan, chunk):
            return chunk
        finished.append(chunk)
        if has_enough(plan, folder, condition, finished):
            return None
    return None


def all_finished(plan: Plan, folder: Folder) -> bool:
    """Whether nothing is left to run."""
    every = range(len(plan.conditions))
    if plan.stop_at:
        return all(_next(plan, folder, k) is None for k in every)
    return all(folder.has(plan, chunk) for k in every for chunk in plan.chunks(k))


def _finish(
    plan: Plan, folder: Folder, engine: Engine, chunks: list[Chunk], shown: Progress
) -> None:
    where = f"what was finished is in {folder.path}, and the same call goes on from there"
    writer = Writer(plan, folder, shown)
    try:
        with writer, closing(engine(plan, chunks)) as running:  # type: ignore[type-var]
            for chunk, content in running:
                writer.put(chunk, content)
    except OSError as error:
        if error.errno is None:
            raise
        ended = f"{writer.done} of {len(chunks)} chunks were finished now; {where}"
        raise OSError(error.errno, f"{error.strerror} ({ended})", str(folder.path)) from error
    except Exception as error:
        if not _is_death(error):
            raise
        raise MlmError(
            f"a worker died ({type(error).__name__}: {error}); {writer.done} of {len(chunks)} "
            f"chunks were finished now; {where} (with a new executor where this one is broken)"
        ) from error


def _is_death(error: Exception) -> bool:
    names = {kind.__name__ for kind in type(error).__mro__}
    return isinstance(error, BrokenExecutor) or bool(
        names & {"KilledWorker", "TerminatedWorkerError"}
    )


def _engine(executor: Any) -> Engine:
    """The engine of an executor, known by where its class comes from: none is imported for it."""
    if executor is None:
        return run_here
    modules = {kind.__module__.partition(".")[0] for kind in type(executor).__mro__}
    if isinstance(executor, Executor):
        return lambda plan, chunks: run_futures(executor, plan, chunks)
    if "joblib" in modules and callable(executor):
        return lambda plan, chunks: run_joblib(executor, plan, chunks)
    if "distributed" in modules and hasattr(executor, "scatter"):
        return lambda plan, chunks: run_dask(executor, plan, chunks)
    raise DataError(
        f"executor is {executor!r}; give None, a concurrent.futures.Executor (processes, threads, "
        "loky), a joblib.Parallel, or a dask.distributed.Client"
    )
