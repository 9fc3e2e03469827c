"""What a long reading says: rows and bytes done, and the time left."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from mlmfast.data.frame import columns_of
from mlmfast.running.progress_bar import ProgressBar
from mlmfast.sources.part import Part
from mlmfast.sources.source import Source


@contextmanager
def told_of(
    action: str, source: Source, shown: bool | None = None
) -> Iterator[Callable[[Iterator[Part]], Iterator[Part]]]:
    """A bar over the parts of a source while a ``with`` block runs.

    Examples
    --------
    >>> from mlmfast.sources.open_source import open_source
    >>> source = open_source([{"x": [1.0]}, {"x": [2.0]}])
    >>> with told_of("reading", source) as seen:
    ...     len(list(seen(source.parts())))
    2
    """
    label = f"{action} {source.title}"
    with ProgressBar(label, source.n_rows, shown, size=source.n_bytes) as bar:

        def seen(parts: Iterator[Part]) -> Iterator[Part]:
            for part in parts:
                yield part
                bar.advance(columns_of(part.frame).n_rows)

        yield seen
