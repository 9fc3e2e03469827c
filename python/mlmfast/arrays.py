"""Array types used in signatures; shapes stand in the docstrings."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from scipy import sparse

FloatArray: TypeAlias = NDArray[np.float64]
IntArray: TypeAlias = NDArray[np.intp]
CodeArray: TypeAlias = NDArray[np.int32]
BoolArray: TypeAlias = NDArray[np.bool_]
_DOUBLE = np.dtype(np.float64)
SparseArray: TypeAlias = "sparse.csr_array[np.float64, tuple[int, int]]"


def unmasked(values: object) -> object:
    """A masked array as floating point, NaN where masked; anything else as it is.

    NumPy's own conversions drop the mask, and take what lies under it for values.

    Examples
    --------
    >>> unmasked(np.ma.array([1, 2], mask=[False, True]))
    array([ 1., nan])
    """
    if not isinstance(values, np.ma.MaskedArray):
        return values
    return np.ma.filled(np.ma.asarray(values, dtype=np.float64), np.nan)


def in_line(values: NDArray[Any]) -> FloatArray:
    """Numbers as the core reads them, one after the other at addresses of whole doubles.

    What came by a network or lies in a mapped file may stand anywhere.

    Examples
    --------
    >>> memory = np.frombuffer(bytes(17), dtype=np.float64, offset=1)
    >>> memory.flags.aligned, in_line(memory).flags.aligned
    (False, True)
    """
    flags = values.flags
    if values.dtype is _DOUBLE and flags.c_contiguous and flags.aligned:
        # What `numpy.require` would find, in one look.
        return np.asarray(values)
    return np.require(values, np.float64, ["C_CONTIGUOUS", "ALIGNED"])


def block_diagonal(parts: Sequence[FloatArray]) -> FloatArray:
    """Matrices, or arrays of more axes, along the diagonal of one.

    Examples
    --------
    >>> block_diagonal([np.array([[1.0]]), np.array([[2.0, 3.0]])]).tolist()
    [[1.0, 0.0, 0.0], [0.0, 2.0, 3.0]]
    >>> np.argwhere(block_diagonal([np.ones((1, 1, 1))] * 2)).tolist()
    [[0, 0, 0], [1, 1, 1]]
    """
    if len(parts) == 1:
        return parts[0]
    out = np.zeros(np.sum([part.shape for part in parts], axis=0) if parts else (0, 0))
    first = np.zeros(out.ndim, dtype=np.intp)
    for part in parts:
        out[tuple(map(slice, first, first + part.shape))] = part
        first = first + part.shape
    return out
