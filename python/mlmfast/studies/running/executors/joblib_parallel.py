"""A `joblib.Parallel`, with whatever backend it has (loky by default)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from importlib import import_module
from typing import Any

from mlmfast.studies.plan.plan import Chunk, Plan
from mlmfast.studies.running.work import content_by_worker, packed, place

#: Chunks asked for at a time, for each worker: what comes back together is held together.
_AHEAD = 4


def run_joblib(parallel: Any, plan: Plan, chunks: Sequence[Chunk]) -> Iterator[tuple[Chunk, bytes]]:
    """Contents of chunks, some for each worker at a time."""
    joblib: Any = import_module("joblib")
    sent = packed(plan)
    at_a_time = _AHEAD * int(joblib.effective_n_jobs(parallel.n_jobs))
    for first in range(0, len(chunks), at_a_time):
        some = chunks[first : first + at_a_time]
        calls = [joblib.delayed(_named)(sent, place(chunk)) for chunk in some]
        # Unordered results come as they are ready: each says which it is.
        yield from parallel(calls)


def _named(plan: bytes, chunk: tuple[int, int, int]) -> tuple[Chunk, bytes]:
    return Chunk(*chunk), content_by_worker(plan, chunk)
