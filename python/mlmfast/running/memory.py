"""Memory that is left to the process, asked before large arrays are made."""

from __future__ import annotations

import mlmfast._core as _core

#: Bytes that stay free beside a large array, for small ones; the core keeps as many.
RESERVE = 64e6


def memory_left() -> float:
    """Bytes that the process may still take; infinite where the system does not say.

    The least of what RLIMIT_AS and RLIMIT_DATA (``ulimit -v``, ``-d``), the control groups around
    the process (containers, SLURM) and the machine (MemAvailable) leave.

    Examples
    --------
    >>> memory_left() > 1e6
    True
    """
    return _core.memory_left()


def check_memory(needed: float, what: str, instead: str) -> None:
    """Refuse what would not fit.

    Parameters
    ----------
    needed
        Bytes.
    what
        What needs them.
    instead
        What to do.

    Raises
    ------
    MemoryError

    Examples
    --------
    >>> check_memory(1e3, "a small matrix", "nothing")
    >>> check_memory(8e18, "a matrix of order 1e9", "fit fewer rows")
    Traceback (most recent call last):
        ...
    MemoryError: a matrix of order 1e9 needs 8,000,000,000.00 GB, and ... GB are left ...
    """
    if needed < RESERVE:
        return
    left = memory_left()
    if needed + RESERVE > left:
        raise MemoryError(
            f"{what} needs {needed / 1e9:,.2f} GB, and {max(left - RESERVE, 0.0) / 1e9:,.2f} GB "
            f"are left to this process; {instead}, or raise the limit (ulimit -v, the memory of "
            "the job or container)"
        )
