"""Where parts stay between one question and the next: this process, or a Dask cluster's workers."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Protocol

from mlmfast.errors import ModelError
from mlmfast.mergeable.held.rows import PartRows, Reading, Summary
from mlmfast.reduction.parts.keeper import Keeper
from mlmfast.sources.checked import Found, checked_parts
from mlmfast.sources.engines import DaskSource, DaskSplit
from mlmfast.sources.executors.dask_client import client_here, is_client
from mlmfast.sources.executors.run import kinds_of_first
from mlmfast.sources.executors.work import SentPart, splits_of
from mlmfast.sources.source import Source, Split


class Place(Keeper, Protocol):
    """Where parts stay, and how pieces of a source come there."""

    def splits(self, source: Source, columns: Sequence[str]) -> Iterator[Any]:
        """Pieces of a source as `read_split` takes them."""


class Here:
    """Parts in the memory of this process."""

    def keep(self, function: Callable[..., Any], *arguments: Any) -> Any:
        """What a function gives."""
        return function(*arguments)

    def fetch(self, kept: Sequence[Any]) -> list[Any]:
        """What is kept."""
        return list(kept)

    def splits(self, source: Source, columns: Sequence[str]) -> Iterator[Split]:
        """Part after part."""
        for part in source.parts(columns):
            yield SentPart("", part)


class OnDask:
    """Workers of a cluster.

    The scheduler knows how each part came about: what a lost worker held is read and reduced once
    more by another.
    """

    def __init__(self, client: Any) -> None:
        self._client = client

    def keep(self, function: Callable[..., Any], *arguments: Any) -> Any:
        """A future."""
        return self._client.submit(function, *arguments, pure=False)

    def fetch(self, kept: Sequence[Any]) -> list[Any]:
        """What the futures give."""
        return list(self._client.gather(list(kept)))

    def splits(self, source: Source, columns: Sequence[str]) -> Iterator[Any]:
        """Files, or partitions that are computed where they are wanted."""
        for split in splits_of(source, columns):
            if isinstance(split, DaskSplit):
                place = (split.columns, split.rows, split.position)
                yield self.keep(_partition, self._client.compute(split.delayed), place)
            else:
                yield split


def _partition(frame: Any, place: tuple[Any, int, int]) -> DaskSplit:
    return DaskSplit("", frame, *place)


def place_of(executor: Any, source: Source) -> Place:
    """Where an executor lets parts stay.

    Raises
    ------
    ModelError
        For executors of which no worker keeps anything.
    """
    if executor is None and isinstance(source, DaskSource):
        executor = client_here()
    if executor is None or isinstance(executor, ThreadPoolExecutor):
        return Here()
    if is_client(executor):
        return OnDask(executor)
    raise ModelError(
        f"this model asks the rows anew at every step, so that workers must keep them, and those "
        f"of {type(executor).__name__} keep nothing: give a dask.distributed.Client, or leave "
        "executor= out and fit in this process"
    )


def read_split(
    reading: Reading, columns: tuple[str, ...], kinds: Mapping[str, Found], split: Split
) -> tuple[PartRows | None, Summary]:
    """The rows of a split, and what is known of them."""
    return reading.read(list(checked_parts(split.parts(), columns, dict(kinds))))


def read_all(place: Place, reading: Reading, source: Source) -> tuple[list[Any], list[Summary]]:
    """Rows of a source, kept in parts, and what is known of each."""
    names = reading.plan.variables
    columns = tuple(source.chosen(names))
    kinds = kinds_of_first(source, columns, None if isinstance(place, Here) else
                           source.splits(columns))  # fmt: skip
    both = [
        place.keep(read_split, reading, columns, kinds, split)
        for split in place.splits(source, columns)
    ]
    rows = [place.keep(_first, own) for own in both]
    summaries: list[Summary] = place.fetch([place.keep(_second, own) for own in both])
    present = [k for k, own in enumerate(summaries) if own.nbytes]
    dropped = [own for own in summaries if not own.nbytes]
    return [rows[k] for k in present], [summaries[k] for k in present] + dropped


def _first(both: tuple[Any, Any]) -> Any:
    return both[0]


def _second(both: tuple[Any, Any]) -> Any:
    return both[1]
