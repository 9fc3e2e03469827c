"""What a source of data is: columns by name, and their rows part by part."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Generator, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from mlmfast.data.frame import unknown_column
from mlmfast.errors import DataError
from mlmfast.sources.checked import checked_parts
from mlmfast.sources.part import Part

__all__ = ["Column", "Part", "Source", "Split"]

#: Bytes of the columns read that a part holds at most, as far as they are known before.
PART_BYTES = 32_000_000
_FEWEST_ROWS, _MOST_ROWS = 4_096, 1_000_000


@dataclass(frozen=True)
class Column:
    """Name and type of a column, the type as its library prints it."""

    name: str
    dtype: str


class Split(ABC):
    """Rows that a worker reads by itself: what is sent to it is small, and pickles.

    Attributes
    ----------
    key
        What tells it from other splits and from itself once its rows have changed.
    """

    key: str

    @abstractmethod
    def parts(self) -> Iterator[Part]:
        """Its rows, in order."""


class Source(ABC):
    """A table that is read part by part, so that it need not fit into memory.

    Attributes
    ----------
    title
        What it is, in words.
    repeatable
        Whether it can be read again, with its rows in the same order.
    part_bytes
        About how many bytes a part may hold.
    """

    title: str
    repeatable: bool = True
    #: Whether its rows lie on workers, which then reduce them.
    reads_elsewhere: bool = False
    part_bytes: int = PART_BYTES
    _is_read: bool = False

    @property
    @abstractmethod
    def columns(self) -> tuple[Column, ...]:
        """Names and types of the columns, of the first part where parts differ."""

    @property
    def n_rows(self) -> int | None:
        """Number of rows; None where only reading them would tell."""
        return None

    @property
    def n_bytes(self) -> int | None:
        """Bytes on the disk or in memory; None where nothing says so."""
        return None

    def parts(self, columns: Sequence[str] | None = None) -> Generator[Part, None, None]:
        """Rows in parts of bounded size, of the columns named or of all.

        Close it where it is not read to its end: an engine may serve one reader at a time.

        Raises
        ------
        DataError
            For a column that is not there; a part that lacks one or holds text where others hold
            numbers; a file that cannot be read (each is named); a second reading of what can be
            read once.
        """
        names = self.chosen(columns)
        if self._is_read and not self.repeatable:
            raise DataError(
                f"{self.title} can be read only once, and it has been; open it again, or give "
                "something that can be read twice, such as files"
            )
        self._is_read = True
        return checked_parts(self._parts(names), names)

    def chosen(self, columns: Sequence[str] | None) -> tuple[str, ...]:
        """Names of the columns to read, each once, all of them there."""
        known = tuple(column.name for column in self.columns)
        if columns is None:
            return known
        for name in columns:
            if name not in known:
                raise DataError(unknown_column(name, known))
        return tuple(dict.fromkeys(columns))

    def rows_at_once(self, columns: Sequence[str]) -> int:
        """Rows of a part whose columns are numbers."""
        rows = self.part_bytes // (8 * max(len(columns), 1))
        return max(_FEWEST_ROWS, min(_MOST_ROWS, rows))

    def splits(self, columns: Sequence[str] | None = None) -> Sequence[Split] | None:
        """Pieces that workers can read by themselves; None where rows must be sent to them."""
        self.chosen(columns)
        return None

    @abstractmethod
    def _parts(self, columns: Sequence[str]) -> Iterator[Part]:
        """The rows, not yet checked; parts may be empty."""


def cannot_read(name: str, error: BaseException) -> DataError:
    """The error for something that its library could not read."""
    strerror = getattr(error, "strerror", None)
    reason = " ".join(str(strerror or error).split()) or type(error).__name__
    return DataError(f"cannot read {name}: {reason}")


def library_of(value: Any) -> str:
    """Name of the library that a value's type is from.

    Examples
    --------
    >>> import pandas as pd
    >>> library_of(pd.DataFrame()), library_of(1)
    ('pandas', 'builtins')
    """
    return str(type(value).__module__).partition(".")[0]
