"""One chunk: its data drawn, its methods applied."""

from __future__ import annotations

import threading
import warnings
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, TypeAlias

import numpy as np

from mlmfast.arrays import IntArray
from mlmfast.studies.performance.samples import NOT_DRAWN
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


#: Data sets, or why one could not be drawn, and their positions in a chunk.
Drawn: TypeAlias = tuple[IntArray, Sequence[DataSet] | str]


def chunk_table(plan: Plan, chunk: Chunk, drawn: Iterable[Drawn] | None = None) -> Any:
    """The rows of a chunk, a `pyarrow.Table`: they depend on the plan alone.

    Parameters
    ----------
    drawn
        The data, where they are drawn already.
    """
    condition = plan.conditions[chunk.condition]
    n, k = len(chunk), len(plan.estimands)
    parts: list[list[tuple[IntArray, Outcomes]]] = [[] for _ in plan.methods]
    with quiet():
        for at, data in drawn or draw_chunk(Source(plan, condition), chunk):
            if isinstance(data, str):
                lost = Outcomes.none(len(at), k, data)
                for own in parts:
                    own.append((at, lost))
                continue
            fits = Fits([m for m in plan.methods.values() if isinstance(m, Method)], data)
            for method, own in zip(plan.methods.values(), parts, strict=True):
                own.append((at, outcomes_of(plan, method, data, condition.values, fits)))
    found = [Outcomes.joined(n, k, own) for own in parts]
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


def draw_chunk(source: Source, chunk: Chunk) -> Iterator[Drawn]:
    """Data sets, as many as memory shall hold at a time, and their positions in the chunk.

    What the generator raises is the error of its replicate in every method.
    """
    if source.n_rows is not None:
        step = _step(source)
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
            yield np.array([position]), text
            continue
        positions.append(position)
        data.append(one)
        size += one.size
        if size > _HELD:
            yield np.array(positions), data
            positions, data, size = [], [], 0
    if data:
        yield np.array(positions), data


def is_drawn_at_once(source: Source, chunk: Chunk) -> bool:
    """Whether a design draws all data of a chunk together, and no function of the user's."""
    return source.n_rows is not None and len(chunk) <= _step(source)


def _step(source: Source) -> int:
    """Replicates of a design that are held at a time."""
    assert source.n_rows is not None, "it is asked of designs"
    return max(1, _HELD // source.n_rows)


def _drawn(source: Source, chunk: Chunk) -> Iterator[DataSet | Exception]:
    for first in range(chunk.first, chunk.last, _DRAWN):
        yield from source.some(first, min(_DRAWN, chunk.last - first))


@contextmanager
def quiet() -> Iterator[None]:
    """No warning a replicate: the results say what went wrong, by replicate.

    The filters belong to the process and not to a thread, so that threads leave them alone.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield
