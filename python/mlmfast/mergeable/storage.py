"""Reductions as Arrow: a table with a row a cell, and what it means in the schema's metadata.

Reading runs no code: arrays and JSON are read, and everything is checked.
"""

from __future__ import annotations

import json
import os
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mlmfast.errors import DataError, MlmError
from mlmfast.mergeable.coding.plan import Plan
from mlmfast.mergeable.condensed.rows import CondensedRows
from mlmfast.mergeable.condensed.unit_arrays import unit_arrays, units_of_arrays
from mlmfast.mergeable.condensed.units import CondensedUnits
from mlmfast.mergeable.content import Content
from mlmfast.mergeable.row_facts import Facts
from mlmfast.running.optional import optional_package

#: Of the format; a file of another number is refused.
VERSION = 1
_META = b"mlmfast_reduction"
_KEY = "key:"


def _arrow() -> Any:
    return optional_package("pyarrow", "parquet", "a saved reduction")


def to_table(content: Content) -> Any:
    """The reduction as a pyarrow table."""
    pa = _arrow()
    rows = content.rows
    columns: dict[str, Any] = {}
    if rows is not None:
        for name, values in rows.keys.items():
            columns[_KEY + name] = pa.array(values.tolist() if values.dtype == object else values)
        columns["count"] = pa.array(rows.counts)
        ends = np.concatenate([[0], np.cumsum(rows.sizes)])
        m = rows.values.shape[1]
        flat = pa.array(rows.values.reshape(-1))
        columns["weight"] = pa.LargeListArray.from_arrays(pa.array(ends), pa.array(rows.weights))
        columns["value"] = pa.LargeListArray.from_arrays(pa.array(ends * m), flat)
    if content.units is not None:
        arrays = unit_arrays(content.units)
        columns = {name: _one_list(values) for name, values in arrays.items()}
    meta = {
        "version": VERSION,
        "digest": content.plan.digest,
        "plan": content.plan.to_json(),
        "origin": None if rows is None else rows.origin.tolist(),
        "units": None if content.units is None else content.units.origin.tolist(),
        "n_obs": content.n_obs,
        "n_dropped": content.n_dropped,
        "n_withheld": content.n_withheld,
        "log_weights": content.log_weights,
        "unweighted": _without_keys(content.unweighted),
        "facts": content.facts.to_json(),
        "parts": dict(content.parts),
        "orders": {name: list(own) for name, own in content.orders.items()},
    }
    table = pa.table(columns)
    return table.replace_schema_metadata({_META: json.dumps(meta).encode()})


def _without_keys(rows: CondensedRows | None) -> dict[str, Any] | None:
    """Rows of one cell as JSON-able data, which holds every digit of a double."""
    if rows is None:
        return None
    return {
        "count": int(rows.counts.sum()),
        "weights": rows.weights.tolist(),
        "values": rows.values.tolist(),
    }


def _of_one_cell(found: Any, origin: NDArray[np.float64]) -> CondensedRows | None:
    if found is None:
        return None
    weights = np.array(found["weights"], dtype=np.float64)
    values = np.array(found["values"], dtype=np.float64).reshape(len(weights), len(origin))
    if not np.isfinite(values).all() or not (weights > 0.0).all() or not np.isfinite(weights).all():
        raise ValueError("a value is not finite")
    sizes, counts = np.array([len(weights)]), np.array([int(found["count"])])
    return CondensedRows({}, sizes, counts, values, weights, origin)


def to_bytes(content: Content) -> bytes:
    """The reduction as an Arrow IPC file in memory."""
    pa = _arrow()
    table, sink = to_table(content), pa.BufferOutputStream()
    with pa.ipc.new_file(sink, table.schema) as writer:
        writer.write_table(table)
    return bytes(sink.getvalue().to_pybytes())


def write(content: Content, path: str | os.PathLike[str]) -> None:
    """Write an Arrow IPC file; under another name first, so that no half of it is ever read."""
    pa = _arrow()
    table, target = to_table(content), Path(path)
    if target.exists() and not target.is_file():
        raise DataError(f"{target} is no file that a reduction could be written to; give another")
    half = target.with_name(target.name + ".part")
    try:
        with pa.OSFile(str(half), "wb") as sink, pa.ipc.new_file(sink, table.schema) as writer:
            writer.write_table(table)
        half.replace(target)
    except OSError as error:
        half.unlink(missing_ok=True)
        raise MlmError(f"the reduction could not be written to {target} ({error})") from error


def read(path: str | os.PathLike[str]) -> Content:
    """Read a reduction from a file.

    Raises
    ------
    DataError
        Where the file is none, or of another version, or damaged.
    """
    pa = _arrow()
    try:
        with pa.memory_map(str(path)) as source:
            table = pa.ipc.open_file(source).read_all()
    except FileNotFoundError:
        raise DataError(f"there is no file {os.fspath(path)!r}") from None
    except (OSError, pa.ArrowInvalid) as error:
        raise DataError(f"{os.fspath(path)} is not a saved reduction ({error})") from None
    return of_table(table, os.fspath(path))


def of_bytes(data: bytes | memoryview, name: str = "the bytes") -> Content:
    """Read a reduction from what `to_bytes` gave."""
    pa = _arrow()
    try:
        table = pa.ipc.open_file(pa.BufferReader(data)).read_all()
    except (OSError, pa.ArrowInvalid) as error:
        raise DataError(f"{name} are not a saved reduction ({error})") from None
    return of_table(table, name)


def of_table(table: Any, name: str) -> Content:
    """The reduction that a table holds."""
    found = (table.schema.metadata or {}).get(_META)
    if found is None:
        raise DataError(
            f"{name} holds an Arrow table, but no reduction: write one by "
            "mlm.reduce(...).save(path)"
        )
    try:
        meta = json.loads(found)
        version = meta["version"]
    except (KeyError, TypeError, ValueError) as error:
        raise DataError(f"{name}: the reduction is damaged ({error!r})") from None
    if version != VERSION:
        raise DataError(
            f"{name} holds a reduction of version {version}; this mlmfast reads version {VERSION}: "
            "reduce the rows again, or use the mlmfast that wrote it"
        )
    try:
        content = _content(table, meta)
        damaged = content.plan.digest != meta["digest"]
    except MlmError:
        raise
    except (ArithmeticError, AttributeError, LookupError, TypeError, ValueError) as error:
        raise DataError(f"{name}: the reduction is damaged ({error!r})") from error
    if damaged:
        raise DataError(
            f"{name}: the reduction is damaged (the plan is not the one it was made by)"
        )
    return content


def _content(table: Any, meta: dict[str, Any]) -> Content:
    plan = _plan(json.dumps(meta["plan"]))
    counts = [meta[name] for name in ("n_obs", "n_dropped", "n_withheld")]
    if not all(type(n) is int and n >= 0 for n in counts):
        raise ValueError("a number of rows is not one")
    log_weights = float(meta["log_weights"])
    if not np.isfinite(log_weights):
        raise ValueError("the weights are not finite")
    parts = {str(mark): str(own) for mark, own in meta["parts"].items()}
    rows = None if meta["origin"] is None else _rows(table, meta, plan)
    units = None if meta["units"] is None else _units(table, meta, plan)
    orders = {str(k): tuple(map(str, own)) for k, own in meta.get("orders", {}).items()}
    n_obs, n_dropped, n_withheld = counts
    unweighted = None if rows is None else _of_one_cell(meta.get("unweighted"), rows.origin)
    held = 0 if rows is None else int(rows.counts.sum())
    if units is not None:
        held = units.n_rows
    if held != n_obs or (rows is not None and units is not None):
        raise ValueError("the number of rows is not that of the cells")
    facts = Facts.from_json(meta["facts"])
    return Content(
        plan,
        rows,
        n_obs,
        n_dropped,
        n_withheld,
        log_weights,
        facts,
        parts,
        units,
        unweighted,
        orders,
    )


@lru_cache(4)
def _plan(text: str) -> Plan:
    """A plan, made once for all parts that were coded by it."""
    return Plan.from_json(json.loads(text))


def _rows(table: Any, meta: dict[str, Any], plan: Plan) -> CondensedRows:
    origin = np.array(meta["origin"], dtype=np.float64)
    m = plan.places.n
    keys = {name: _key(table, _KEY + name) for name in plan.grouping}
    counts = _numbers(table["count"].combine_chunks(), np.int64)
    sizes, weights = _lists(table["weight"])
    lengths, flat = _lists(table["value"])
    if origin.shape != (m,) or not (lengths == sizes * m).all() or (counts < sizes).any():
        raise ValueError("the values do not fit the plan")
    if not np.isfinite(flat).all() or not (weights > 0.0).all() or not np.isfinite(origin).all():
        raise ValueError("a value is not finite")
    return CondensedRows(keys, sizes, counts, flat.reshape(-1, m), weights, origin)


def _units(table: Any, meta: dict[str, Any], plan: Plan) -> CondensedUnits:
    if plan.within is None or table.num_rows != 1:
        raise ValueError("the plan has no subjects")
    arrays = {name: _only_list(table[name]) for name in table.column_names}
    origin = np.array(meta["units"], dtype=np.float64)
    if origin.shape != (plan.places.n,) or not np.isfinite(origin).all():
        raise ValueError("the values do not fit the plan")
    return units_of_arrays(arrays, plan.within.subject, origin)


def _one_list(values: NDArray[Any]) -> Any:
    pa = _arrow()
    flat = pa.array(values.tolist(), pa.string()) if values.dtype == object else pa.array(values)
    return pa.LargeListArray.from_arrays(pa.array([0, len(values)]), flat)


def _only_list(column: Any) -> NDArray[Any]:
    values = column.chunk(0).values
    if values.null_count:
        raise ValueError("a value is missing")
    found = values.to_numpy(zero_copy_only=False)
    return found.astype(object) if found.dtype.kind not in "iufbM" else np.array(found)


def _key(table: Any, name: str) -> NDArray[Any]:
    column = table[name]
    if column.null_count:
        raise ValueError(f"{name} has missing values")
    values = column.to_numpy()
    return values.astype(object) if values.dtype.kind not in "iufbM" else np.array(values)


def _lists(column: Any) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Lengths and values of a column of lists."""
    pa = _arrow()
    if len(column) == 0:
        return np.zeros(0, dtype=np.int64), np.zeros(0)
    lists = pa.concat_arrays(column.chunks) if column.num_chunks > 1 else column.chunk(0)
    if lists.null_count:
        raise ValueError("a list is missing")
    ends = _numbers(lists.offsets, np.int64)
    flat = _numbers(lists.values, np.float64)
    return np.diff(ends), flat[ends[0] : ends[-1]]


def _numbers(array: Any, kind: Any) -> NDArray[Any]:
    if array.null_count:
        raise ValueError("a number is missing")
    return np.array(array.to_numpy(zero_copy_only=False), dtype=kind)
