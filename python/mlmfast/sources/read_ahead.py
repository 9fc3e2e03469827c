"""The next parts read while one is worked on."""

from __future__ import annotations

import queue
import threading
from collections.abc import Iterator
from typing import Any, TypeVar

_Item = TypeVar("_Item")
#: Parts that wait; each may be large.
_DEPTH = 1
#: Seconds between two looks for the end, so that Ctrl-C and an early end are answered.
_PATIENCE = 0.1


def read_ahead(items: Iterator[_Item], depth: int = _DEPTH) -> Iterator[_Item]:
    """Items of an iterator that a thread goes through, a few ahead of who takes them.

    Errors come where their item would have come. Where the taker stops early, so does the thread,
    after the item it is at.

    Examples
    --------
    >>> list(read_ahead(iter([1, 2, 3])))
    [1, 2, 3]
    """
    waiting: queue.Queue[tuple[str, Any]] = queue.Queue(depth)
    ended = threading.Event()

    def put(kind: str, value: Any) -> bool:
        while not ended.is_set():
            try:
                waiting.put((kind, value), timeout=_PATIENCE)
            except queue.Full:
                continue
            return True
        return False

    def work() -> None:
        try:
            for item in items:
                if not put("item", item):
                    break
            else:
                put("end", None)
        except BaseException as error:
            put("error", error)
        finally:
            close = getattr(items, "close", None)
            if close is not None:
                close()

    thread = threading.Thread(target=work, daemon=True, name="mlmfast reading ahead")
    thread.start()
    try:
        while True:
            kind, value = waiting.get()
            if kind == "error":
                raise value
            if kind == "end":
                return
            yield value
    finally:
        ended.set()
