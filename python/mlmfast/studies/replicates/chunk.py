"""One chunk: its data drawn, its methods applied."""

from __future__ import annotations

import threading
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np

from mlmfast.arrays import IntArray
from mlmfast.studies.performance.samples import NOT_DRAWN
from mlmfast.studies.plan.conditions import Condition
from mlmfast.studies.plan.method import Method
from mlmfast.studies.plan.plan import Chunk, Plan
from mlmfast.studies.replicates.data_set import DataSet
from mlmfast.studies.replicates.draw import Source
from mlmfast.studies.replicates.fits_of_methods import Fits
from mlmfast.studies.replicates.of_fits import of_method
from mlmfast.studies.replicates.of_functions import of_function
from mlmfast.studies.replicates.outcomes import Outcomes
from mlmfast.studies.replicates.rows import table_of

#: Numbers in the data sets that are held at a time.
_HELD = 20_000_000
#: Data sets drawn at a time.
_DRAWN = 50


def chunk_table(plan: Plan, chunk: Chunk) -> Any:
    """The rows of a chunk, a `pyarrow.Table`: they depend on the plan alone."""
    condition = plan.conditions[chunk.condition]
    found = [Outcomes.none(len(chunk), len(plan.estimands)) for _ in plan.methods]
    with _quiet():
        for positions, data in _held(plan, condition, chunk, found):
            fits = Fits([m for m in plan.methods.values() if isinstance(m, Method)], data)
            for method, whole in zip(plan.methods.values(), found, strict=True):
                whole.put(positions, outcomes_of(plan, method, data, condition.values, fits))
    return table_of(plan, chunk, found)


def outcomes_of(
    plan: Plan,
    method: Any,
    data: Sequence[DataSet],
    condition: Mapping[str, Any],
    fits: Fits | None = None,
) -> Outcomes:
    """Outcomes of one method in data sets of a condition."""
    names = list(plan.estimands)
    if isinstance(method, Method):
        return of_method(method, data, names, fits)
    return of_function(method, data, condition, names)


def _held(
    plan: Plan, condition: Condition, chunk: Chunk, found: list[Outcomes]
) -> Iterator[tuple[IntArray, Sequence[DataSet]]]:
    """Data sets, as many as memory shall hold at a time, and their positions in the chunk.

    What the generator raises is the error of its replicate in every method.
    """
    source = Source(plan, condition)
    if source.n_rows is not None:
        step = max(1, _HELD // source.n_rows)
        for first in range(chunk.first, chunk.last, step):
            n = min(step, chunk.last - first)
            shared = source.shared(first, n)
            assert shared is not None, "its rows are those of one design"
            yield np.arange(first - chunk.first, first - chunk.first + n), shared
        return
    positions: list[int] = []
    data: list[DataSet] = []
    size = 0
    for position, one in enumerate(_drawn(source, chunk)):
        if isinstance(one, Exception):
            text = " ".join(f"{NOT_DRAWN}{type(one).__name__}: {one}".split())
            for outcomes in found:
                outcomes.error[position] = text
            continue
        positions.append(position)
        data.append(one)
        size += one.size
        if size > _HELD:
            yield np.array(positions), data
            positions, data, size = [], [], 0
    if data:
        yield np.array(positions), data


def _drawn(source: Source, chunk: Chunk) -> Iterator[DataSet | Exception]:
    for first in range(chunk.first, chunk.last, _DRAWN):
        yield from source.some(first, min(_DRAWN, chunk.last - first))


@contextmanager
def _quiet() -> Iterator[None]:
    """No warning a replicate: the results say what went wrong, by replicate.

    The filters belong to the process and not to a thread, so that threads leave them alone.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield
