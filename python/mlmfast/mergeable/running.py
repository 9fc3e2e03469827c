"""Parts of a source reduced by threads here, or by an executor's workers."""

from __future__ import annotations

import json
import os
import pickle
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import mlmfast._core as _core
from mlmfast.data.frame import Frame
from mlmfast.errors import DataError
from mlmfast.formula.mixed_formula import MixedFormula
from mlmfast.mergeable.coding.part_rows import CompleteRows, complete_rows, told_of
from mlmfast.mergeable.coding.plan import Plan
from mlmfast.mergeable.coding.survey import Survey, survey_part
from mlmfast.mergeable.content import Content, nothing, reduce_part
from mlmfast.mergeable.gathered import (
    Gathered,
    gathered,
    held,
    merge_packed,
    pack,
    unpack,
    whole,
)
from mlmfast.running.memory_budget import memory_budget
from mlmfast.sources.executors.run import run, run_parts
from mlmfast.sources.executors.work import Work
from mlmfast.sources.open_source import open_source
from mlmfast.sources.part import Part
from mlmfast.sources.source import PART_BYTES, Source

#: Threads that reduce parts here: reading and Rust take the rest of the processors.
_MOST_THREADS = 4
#: Parts in memory at a time, each as read, as numbers and coded; see `How.part_bytes`.
_HELD = 40
_SMALLEST_PART = 1_000_000
#: Statistics in memory at a time: the fit copies what was merged, and the last merge holds both.
COPIES = 3


@dataclass(frozen=True)
class How:
    """What a user says of the run; `mlmfast.reduce` documents the fields."""

    memory: str | float | None = None
    executor: Any = None
    resume: str | os.PathLike[str] | None = None
    progress: bool | None = None

    @property
    def budget(self) -> int | None:
        """Bytes; None for no limit."""
        return memory_budget(self.memory)

    def opened(self, source: Any) -> Source:
        """The source, its parts as large as the budget allows."""
        budget = self.budget
        if budget is None:
            return open_source(source)
        size = max(_SMALLEST_PART, min(PART_BYTES, budget // _HELD))
        return open_source(source, part_bytes=size)


@dataclass(frozen=True)
class Task:
    """What is done to each part.

    Attributes
    ----------
    plan
        How rows are coded.
    na_action
        "drop" or "raise".
    assumed
        Columns of which the plan knows the levels of the first part only.
    """

    plan: Plan
    na_action: str
    assumed: tuple[str, ...] = ()


def reduced(task: Task, source: Source, parts: Iterator[Part], how: How) -> Content:
    """Statistics of all rows.

    Parameters
    ----------
    parts
        Those of the source, where they are reduced here.

    Raises
    ------
    OtherLevels
        As `reduce_part` does.
    MemoryError
        Where what is kept outgrows the budget.
    """
    names, budget = task.plan.variables, _Budget(how.budget, source)
    if how.executor is None and how.resume is None and not source.reads_elsewhere:
        work = Work(task, _reduce, budget.merge)
        with ThreadPoolExecutor(_threads()) as threads:
            found: Gathered | None = run_parts(work, source, parts, threads, how.progress)
        return nothing(task.plan) if found is None else whole(found)
    sent = (json.dumps(task.plan.to_json()), task.na_action, task.assumed)
    version = f"{_core.__version__} packed {task.plan.digest} {sent}"
    work = Work(sent, _reduce_sent, gathered, version, pack, merge_packed)
    packed = run(work, source, names, how.executor, folder=how.resume, progress=how.progress)
    return nothing(task.plan) if packed is None else whole(unpack(packed))


def _threads() -> int:
    return max(1, min(_MOST_THREADS, len(os.sched_getaffinity(0))
                      if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1))  # fmt: skip


def _reduce(task: Task, part: Part) -> Gathered:
    return (reduce_part(task.plan, part, task.na_action, task.assumed),)


def _reduce_sent(sent: tuple[str, str, tuple[str, ...]], part: Part) -> Gathered:
    return (reduce_part(_plan(sent[0]), part, *sent[1:]),)


@lru_cache(4)
def _plan(text: str) -> Plan:
    """A plan that was sent, made once by each worker."""
    return Plan.from_json(json.loads(text))


class _Budget:
    """Refuses to go on where the statistics alone outgrow the memory allowed."""

    def __init__(self, n_bytes: int | None, source: Source) -> None:
        self._n_bytes, self._source = n_bytes, source

    def merge(self, some: Sequence[Gathered]) -> Gathered:
        """`gathered`, what comes of it held against the budget."""
        found = gathered(some)
        if self._outgrown(found):
            found = (whole(found),)
        if self._n_bytes is not None and self._outgrown(found):
            n, rows = found[0].n_obs, self._source.n_rows
            of_all = "" if rows is None else f" of {rows:,}"
            raise MemoryError(
                f"the statistics of {n:,}{of_all} rows of {self._source.title} take "
                f"{held(found) / 1e6:,.0f} MB and a fit three times that, more than memory= "
                f"allows ({self._n_bytes / 1e6:,.0f} MB): there are many clusters of few rows. "
                "Raise memory=, or give mlm.lmm a dask.distributed.Client as executor=, whose "
                "workers keep a part each"
            )
        return found

    def _outgrown(self, found: Gathered) -> bool:
        # The fit copies what was merged, and the last merge holds both.
        return self._n_bytes is not None and COPIES * held(found) > self._n_bytes


# -- the first pass ------------------------------------------------------------------------------


def surveyed(
    formula: tuple[MixedFormula, Sequence[str]],
    names: Sequence[str],
    na_action: str,
    source: Source,
    how: How,
) -> list[Survey]:
    """What each part says that columns depend on, of a formula and of other factors."""
    plan = (formula, tuple(names), na_action)
    if how.executor is None and not source.reads_elsewhere:
        parts = source.parts(names)
        with ThreadPoolExecutor(_threads()) as threads:
            work = Work(plan, _survey, _all_of)
            found: list[Survey] | None = run_parts(work, source, parts, threads, how.progress)
        return found or []
    work = Work(plan, _survey_to_bytes, _all_of_bytes)
    packed = run(work, source, names, how.executor, progress=how.progress)
    own: list[Survey] = [] if packed is None else pickle.loads(packed)
    return own


def _survey(
    plan: tuple[tuple[MixedFormula, Sequence[str]], tuple[str, ...], str], part: Part
) -> list[Survey]:
    (formula, factors), names, na_action = plan
    rows = complete_rows(part, names, [], na_action)
    if rows.frame is None:
        return []
    with told_of(part.name):
        return [survey_part(formula, rows.frame, part.name, factors)]


def _all_of(surveys: Sequence[list[Survey]]) -> list[Survey]:
    return [survey for own in surveys for survey in own]


def _survey_to_bytes(plan: Any, part: Part) -> bytes:
    return pickle.dumps(_survey(plan, part))


def _all_of_bytes(surveys: Sequence[bytes]) -> bytes:
    return pickle.dumps(_all_of([pickle.loads(own) for own in surveys]))


def frame_of_rows(rows: CompleteRows) -> Frame:
    """The frame of rows of which some are left."""
    if rows.frame is None:
        raise DataError(f"{rows.name} has no complete row")
    return rows.frame
