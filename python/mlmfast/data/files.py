"""Tables from files: text with any separator, and Parquet, chosen by the ending of the name."""

from __future__ import annotations

import contextlib
import gzip
import importlib.util
import io
import os
import sys
import warnings
import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from mlmfast.data.separators import TextForm, text_form
from mlmfast.errors import DataError

_SEPARATORS = {".csv": ",", ".tsv": "\t", ".tab": "\t", ".txt": ",", ".dat": ","}
#: Bytes of which a separator is told.
_BEGINNING = 65_536
_UNREADABLE = (
    OSError,
    EOFError,
    UnicodeDecodeError,
    zlib.error,
    pd.errors.ParserError,
    pd.errors.ParserWarning,
    pd.errors.EmptyDataError,
)


def read_table(
    path: str,
    factors: Sequence[str] = (),
    separator: str | None = None,
    decimal: str | None = None,
    na_values: Sequence[str] = (),
) -> pd.DataFrame:
    r"""Read a table from a file, or text from standard input where the path is "-".

    Parameters
    ----------
    path
        Name ending in .csv, .tsv, .tab, .txt or .dat (also with .gz) or .parquet.
    factors
        Columns to be read as factors; levels that are numbers are ordered as numbers.
    separator, decimal
        Of a text: one character, "tab" or "space"; "." or ",". Told by the first lines where left
        out.
    na_values
        Fields of a text that are missing values too, such as "." as SAS writes them.

    Returns
    -------
    DataFrame
        Of a CSV file, only empty fields and NA are missing: "None" or "null" is text.

    Raises
    ------
    DataError
        For a file that cannot be read, and for a factor that is not among its columns.

    Examples
    --------
    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = f"{folder}/small.csv"
    ...     _ = Path(path).write_text("y,g\n1.5,10\n2.5,9\n")
    ...     list(read_table(path, factors=["g"])["g"].cat.categories)
    ['9', '10']
    """
    with _told_of(path):
        frame = _read(path, factors, separator, decimal, na_values)
    for name in factors:
        if name not in frame.columns:
            known = ", ".join(map(str, frame.columns))
            raise DataError(f"there is no column {name!r} to read as a factor; columns: {known}")
        frame[name] = _as_factor(frame[name])
    return frame


@contextlib.contextmanager
def _told_of(path: str) -> Iterator[None]:
    """Errors of what cannot be read, with the file's name."""
    try:
        yield
    except _UNREADABLE as e:
        reason = e.strerror if isinstance(e, OSError) and e.strerror else str(e)
        raise DataError(f"cannot read {path}: {reason.strip() or type(e).__name__}") from None


def _read(
    path: str,
    factors: Sequence[str],
    separator: str | None,
    decimal: str | None,
    na_values: Sequence[str],
) -> pd.DataFrame:
    if path == "-":
        given = sys.stdin.buffer.read()
        beginning = given[:_BEGINNING].decode("utf-8-sig", errors="ignore")
        return _read_text(given, text_form(beginning, ",", separator, decimal), factors, na_values)
    suffixes = [suffix.lower() for suffix in Path(path).suffixes]
    if suffixes[-1:] == [".parquet"]:
        return _read_parquet(path)
    kind = (
        suffixes[-2] if suffixes[-1:] == [".gz"] and len(suffixes) > 1 else "".join(suffixes[-1:])
    )
    if kind not in _SEPARATORS:
        raise DataError(
            f"cannot tell what kind of file {path} is; its name must end in .csv, .tsv, .tab, "
            ".txt, .dat (also with .gz) or .parquet"
        )
    form = text_form(
        _beginning(path, suffixes[-1:] == [".gz"]), _SEPARATORS[kind], separator, decimal
    )
    return _read_text(path, form, factors, na_values)


def _beginning(path: str, is_packed: bool) -> str:
    """The first whole lines of a text file."""
    with gzip.open(path, "rb") if is_packed else Path(path).open("rb") as file:
        found = file.read(_BEGINNING + 1)
    if len(found) > _BEGINNING:
        found = found[: found.rfind(b"\n") + 1] or found
    return found.decode("utf-8-sig", errors="ignore")


def _read_text(
    source: str | bytes, form: TextForm, factors: Sequence[str], na_values: Sequence[str]
) -> pd.DataFrame:
    """Read text from a path, or text that is already at hand."""

    def stream() -> str | io.BytesIO:
        return source if isinstance(source, str) else io.BytesIO(source)

    _check_header(stream(), form)
    with _strictly():
        table: pd.DataFrame = pd.read_csv(stream(), **_options(form, factors, na_values))
        rounded = _perhaps_rounded(table)
        if rounded:
            options = _options(form, na_values=na_values)
            exact = pd.read_csv(stream(), **options, **_EXACT, usecols=rounded)
            for name in _whole_numbers(exact):
                table[name] = exact[name]
    return table


#: How pandas reads whole numbers beside missing values without making them floats.
_EXACT: dict[str, Any] = {"dtype_backend": "numpy_nullable"}


def _perhaps_rounded(table: pd.DataFrame) -> list[str]:
    """Columns that may hold whole numbers, such as of persons, that floats do not hold.

    Beside a missing value pandas reads whole numbers as floats, and two become one.
    """
    floats = table.select_dtypes("float64")
    return [
        str(name) for name in floats if floats[name].hasnans and floats[name].abs().max() >= 2**53
    ]


def _whole_numbers(exact: pd.DataFrame) -> list[str]:
    return [
        str(name) for name, dtype in exact.dtypes.items() if pd.api.types.is_integer_dtype(dtype)
    ]


@contextlib.contextmanager
def _strictly() -> Iterator[None]:
    """A row longer than the header would lose its last field, or shift the columns."""
    with warnings.catch_warnings():
        warnings.simplefilter("error", pd.errors.ParserWarning)
        yield


def _options(
    form: TextForm, factors: Sequence[str] = (), na_values: Sequence[str] = ()
) -> dict[str, Any]:
    """How pandas reads a text."""
    return {
        "sep": form.separator,
        "decimal": form.decimal,
        "index_col": False,
        "dtype": dict.fromkeys(factors, str),
        "keep_default_na": False,
        "na_values": ["", "NA", *na_values],
        "encoding": "utf-8-sig",
        # In pieces, a column could come out with numbers and text mixed.
        "low_memory": False,
    }


def _check_header(stream: str | io.BytesIO, form: TextForm) -> None:
    header = pd.read_csv(
        stream, sep=form.separator, header=None, nrows=1, dtype=str, encoding="utf-8-sig"
    )
    # pandas would rename the second one and say nothing.
    names = header.iloc[0].dropna()
    twice = names[names.duplicated()]
    if len(twice):
        raise DataError(f"column name {twice.iloc[0]!r} stands twice in the header; rename one")


def _read_parquet(path: str) -> pd.DataFrame:
    if importlib.util.find_spec("pyarrow") is None:
        raise DataError(
            f"{path} is a Parquet file, and reading those needs pyarrow: "
            "pip install 'mlmfast[parquet]'"
        )
    try:
        return pd.read_parquet(path, engine="pyarrow")
    except OSError:
        raise
    except Exception as e:  # pyarrow's errors share no base that says "not a Parquet file"
        raise DataError(f"cannot read {path}: {e}") from None


def _as_factor(column: pd.Series[Any]) -> pd.Series[Any]:
    """Levels as text, in the order of the numbers where all of them are numbers."""
    if isinstance(column.dtype, pd.CategoricalDtype):
        return column
    text = column.map(str, na_action="ignore").astype(object)
    levels = sorted(text.dropna().unique())
    # Where some level is no number, the order of the text stands.
    with contextlib.suppress(ValueError):
        levels = sorted(levels, key=float)
    return pd.Series(pd.Categorical(text, categories=levels), index=column.index)


#: Bytes of a text file that is read at once: its columns are then of one type throughout.
_WHOLE = 64_000_000
#: Rows of which the types of columns are told before the file is read.
_LOOKED_AT = 1_000


def text_columns(path: str, na_values: Sequence[str] = ()) -> list[tuple[str, str]]:
    """Names and types of the columns of a text file, by its first rows."""
    with _told_of(path):
        form = _form_of(path)
        _check_header(path, form)
        head = pd.read_csv(path, **_options(form, na_values=na_values), nrows=_LOOKED_AT)
    return [(str(name), str(dtype)) for name, dtype in head.dtypes.items()]


def read_text_in_pieces(
    path: str, columns: Sequence[str], rows: int, na_values: Sequence[str] = ()
) -> Iterator[pd.DataFrame]:
    """Rows of a text file, some at a time; those of a small one all together.

    Fields are read as `read_table` reads them. In pieces, a column's type is that of the piece.

    Raises
    ------
    DataError
        Where whole numbers beside missing values would be rounded.
    """
    chosen = list(columns)
    if os.path.getsize(path) <= (_WHOLE // 8 if path.endswith(".gz") else _WHOLE):
        yield read_table(path, na_values=na_values)[chosen]
        return
    first, seen = 0, set[str]()
    options = _options(_form_of(path), na_values=na_values)
    with _told_of(path), pd.read_csv(path, **options, chunksize=rows) as pieces:
        while True:
            with _strictly():
                piece = next(pieces, None)
            if piece is None:
                return
            piece = piece[chosen]
            new = [name for name in _perhaps_rounded(piece) if name not in seen]
            if new:
                _check_not_rounded(path, new, first, len(piece), options)
                seen |= set(new)
            first += len(piece)
            yield piece


def _check_not_rounded(
    path: str, names: Sequence[str], first: int, n: int, options: dict[str, Any]
) -> None:
    exact = pd.read_csv(
        path,
        **options,
        **_EXACT,
        usecols=list(names),
        skiprows=range(1, first + 1),
        nrows=n,
    )
    for name in _whole_numbers(exact):
        raise DataError(
            f"{path}: column {name!r} holds whole numbers of 16 digits or more beside missing "
            "values, which would be rounded where a text is read in pieces; write the table as "
            "Parquet, or the column with a letter"
        )


def _form_of(path: str) -> TextForm:
    suffixes = [suffix.lower() for suffix in Path(path).suffixes]
    is_packed = suffixes[-1] == ".gz"
    kind = suffixes[-2] if is_packed else suffixes[-1]
    return text_form(_beginning(path, is_packed), _SEPARATORS[kind], None, None)
