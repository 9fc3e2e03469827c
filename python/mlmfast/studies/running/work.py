"""What a worker does: the content of one chunk's file."""

from __future__ import annotations

import multiprocessing
import os
import pickle
from collections.abc import Callable
from functools import lru_cache
from importlib import import_module
from typing import Any, TypeAlias

from mlmfast.errors import MlmError
from mlmfast.studies.plan.plan import Chunk, Plan, versions
from mlmfast.studies.replicates.chunk import chunk_table
from mlmfast.studies.replicates.outcomes import NUMBERS
from mlmfast.studies.running.arrow import arrow, parquet

#: A chunk's file, or what makes it.
Content: TypeAlias = bytes | Callable[[], bytes]


def content_of(plan: Plan, chunk: Chunk) -> bytes:
    """The Parquet file of a chunk."""
    return file_of(chunk_table(plan, chunk))


def file_of(table: Any) -> bytes:
    """Rows of a chunk as a Parquet file."""
    made_by = {f"mlmfast.study.{name}": text for name, text in versions().items()}
    buffer = arrow().BufferOutputStream()
    # Numbers hardly repeat: a dictionary of them would be made for nothing.
    repeated = [name for name in table.column_names if name not in (*NUMBERS, "key")]
    parquet().write_table(
        table.replace_schema_metadata(made_by),
        buffer,
        compression="zstd",
        use_dictionary=repeated,
        write_statistics=False,
    )
    return bytes(buffer.getvalue())


def packed(plan: Plan) -> bytes:
    """A plan with its functions, for a worker in another process.

    Raises
    ------
    MlmError
        Where a function cannot be sent.
    """
    pickler = _pickler()
    try:
        return bytes(pickler.dumps(plan))
    except Exception as error:
        raise MlmError(
            f"the study cannot be sent to another process ({type(error).__name__}: {error}); "
            "define generate and the methods at the top level of a module, or run: "
            "pip install cloudpickle"
        ) from error


def _pickler() -> Any:
    """What sends functions of a notebook, a script or other functions by value, where it is there.

    joblib has a copy of its own.
    """
    for name in ("cloudpickle", "joblib.externals.cloudpickle"):
        try:
            return import_module(name)
        except ModuleNotFoundError:  # noqa: PERF203 (two tries)
            continue
    return pickle


def content_by_worker(plan: bytes, chunk: tuple[int, int, int]) -> bytes:
    """As `content_of`, in a worker: one of several processes, so on one thread of its own."""
    if multiprocessing.parent_process() is not None:
        os.environ.setdefault("RAYON_NUM_THREADS", "1")
    return content_of(_unpacked(plan), Chunk(*chunk))


@lru_cache(maxsize=2)
def _unpacked(plan: bytes) -> Any:
    return pickle.loads(plan)


def place(chunk: Chunk) -> tuple[int, int, int]:
    """A chunk as plain numbers, for another process."""
    return chunk.condition, chunk.first, chunk.last
