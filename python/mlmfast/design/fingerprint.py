"""A fingerprint of the data that a model reads: the same from every library of data frames."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy as np

from mlmfast.arrays import CodeArray, FloatArray
from mlmfast.data.columns.elapsed import Elapsed
from mlmfast.design.design import Design

if TYPE_CHECKING:
    from mlmfast.data.frame import Frame
    from mlmfast.design.model_frame import ModelFrame

#: What is hashed, as a manifest says it.
METHOD = "sha256 of the values of the rows used, in their order"
_PER_DAY = {"D": 1, "s": 86_400, "ms": 86_400_000, "us": 86_400_000_000, "ns": 86_400_000_000_000}
#: Integers from here on are not all numbers of 64 bits.
_EXACT = 2.0**53


def fingerprint(design: Design, frame: ModelFrame | None = None) -> dict[str, Any]:
    """Digests of the columns that a model reads, over the rows that it uses in their order.

    Numbers count by value (0.0 and -0.0 are one), categories by the text of their levels, whatever
    the order of the levels, dates by the time: pandas, polars, pyarrow and a dict of arrays have
    one fingerprint. Another value, another row, or the same rows in another order have another.
    Rows that were left out because a value was missing do not count.

    Returns
    -------
    dict
        ``method``, ``rows``, ``columns`` (a digest by name) and ``all``, a digest of these.

    Examples
    --------
    >>> import mlmfast as mlm
    >>> data = mlm.load_sleepstudy()
    >>> found = mlm.LMM("Reaction ~ Days + (1 | Subject)", data).fingerprint
    >>> list(found["columns"]), found["columns"]["Days"][:8]
    (['Reaction', 'Days', 'Subject'], 'e844b30a')
    """
    parts = _of_design(design) if frame is None else _of_frame(design, frame)
    columns = dict(parts)
    whole = hashlib.sha256(str(design.n_obs).encode())
    for name in sorted(columns):
        whole.update(f"\n{name}\n{columns[name]}".encode())
    return {
        "method": METHOD, "rows": design.n_obs, "columns": columns, "all": whole.hexdigest(),
    }  # fmt: skip


def _of_frame(design: Design, frame: ModelFrame) -> Iterator[tuple[str, str]]:
    for name in frame.variables:
        yield name, _column(frame.frame, name)
    if design.weights is not None and frame.weights is None:
        yield "weights=", _numbers(design.weights)
    if design.offset is not None and frame.offset_given:
        yield "offset=", _numbers(design.offset)
    yield from _relationships(design)


def _of_design(design: Design) -> Iterator[tuple[str, str]]:
    yield design.response, _numbers(design.y)
    for name, column in zip(design.x_names, design.x, strict=True):
        yield f"X: {name}", _constant(column)
    for factor in design.factors:
        yield f"groups: {factor.name}", _labels(factor.codes, factor.labels)
    for term in design.random:
        group = design.factors[term.factor].name
        for name, column in zip(term.names, term.columns, strict=True):
            yield f"Z: {name} by {group}", _constant(column)
    if design.weights is not None:
        yield "weights=", _numbers(design.weights)
    if design.offset is not None:
        yield "offset=", _numbers(design.offset)
    yield from _relationships(design)


def _relationships(design: Design) -> Iterator[tuple[str, str]]:
    for factor in design.factors:
        known = factor.relationship
        if known is not None:
            labels = "\n".join((*factor.labels, *known.extra))
            entries = known.given.tocoo()
            places = np.stack(entries.coords).astype("<i8").tobytes()
            yield f"cov[{factor.name}]", _digest(labels.encode(), places, _bytes(entries.data))


def _column(frame: Frame, name: str) -> str:
    if frame.is_numeric(name):
        values = frame.numeric(name)
        if not values.size or np.abs(values).max() < _EXACT:
            return _numbers(values)
        factor = frame.factor(name)
        return _digest(_numbers(values).encode(), _labels(factor.codes, factor.levels).encode())
    if frame.is_date(name):
        return _times(frame.elapsed(name))
    factor = frame.factor(name)
    return _labels(factor.codes, factor.levels)


def _numbers(values: FloatArray) -> str:
    return _digest(b"number", _bytes(values))


def _constant(column: FloatArray | None) -> str:
    return "1" if column is None else _numbers(column)


def _bytes(values: FloatArray) -> bytes:
    """Of 64-bit numbers, little end first, 0.0 for -0.0."""
    return np.ascontiguousarray(np.asarray(values, dtype=np.float64) + 0.0, dtype="<f8").tobytes()


def _labels(codes: CodeArray, labels: tuple[str, ...]) -> str:
    """The text of each row: levels that occur, sorted, and their positions."""
    used = np.unique(codes)
    order = sorted(used.tolist(), key=labels.__getitem__)
    rank = np.full(len(labels), -1, dtype="<i4")
    rank[order] = np.arange(len(order))
    texts = b"".join(_counted(labels[k].encode()) for k in order)
    return _digest(b"text", texts, rank[codes].tobytes())


def _counted(text: bytes) -> bytes:
    return len(text).to_bytes(8, "little") + text


def _times(elapsed: Elapsed) -> str:
    """Days, and nanoseconds of the day, which all units have in common; periods by number."""
    if elapsed.of_periods or elapsed.unit not in _PER_DAY:
        return _digest(b"period", elapsed.unit.encode(), elapsed.ticks.astype("<i8").tobytes())
    per_day = _PER_DAY[elapsed.unit]
    days, rest = np.divmod(elapsed.ticks, per_day)
    rest = rest * (_PER_DAY["ns"] // per_day)
    return _digest(b"time", days.astype("<i8").tobytes(), rest.astype("<i8").tobytes())


def _digest(*parts: bytes) -> str:
    found = hashlib.sha256()
    for part in parts:
        found.update(len(part).to_bytes(8, "little"))
        found.update(part)
    return found.hexdigest()
