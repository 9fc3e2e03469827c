"""Long calls into LAPACK, during which Ctrl-C is answered."""

from __future__ import annotations

import contextvars
import threading
from collections.abc import Callable
from typing import Any, TypeVar

from mlmfast.arrays import FloatArray

_Result = TypeVar("_Result")
#: Numbers from which a factorisation may take a noticeable part of a second.
_LARGE = 400_000
#: Seconds between two looks for a signal, where waiting for a thread does not hear it.
_PATIENCE = 0.05


def interruptible(
    call: Callable[..., _Result], matrix: FloatArray, *others: Any, **options: Any
) -> _Result:
    """``call(matrix, *others, **options)``; where that takes long, Ctrl-C does not wait for it.

    LAPACK cannot be stopped. A large matrix is handed to a thread of its own, which after Ctrl-C
    ends in the background; signals reach the main thread only, so other threads call directly.

    Examples
    --------
    >>> import numpy as np
    >>> interruptible(np.linalg.eigvalsh, np.diag([2.0, 1.0]))
    array([1., 2.])
    """
    if matrix.size < _LARGE or threading.current_thread() is not threading.main_thread():
        return call(matrix, *others, **options)
    results: list[_Result] = []
    errors: list[BaseException] = []

    def work() -> None:
        try:
            results.append(call(matrix, *others, **options))
        except BaseException as error:
            errors.append(error)

    # The context holds numpy's error state.
    thread = threading.Thread(target=contextvars.copy_context().run, args=(work,), daemon=True)
    try:
        thread.start()
    except RuntimeError:  # no thread can be had
        return call(matrix, *others, **options)
    while thread.is_alive():
        thread.join(_PATIENCE)
    if errors:
        raise errors[0]
    return results[0]
