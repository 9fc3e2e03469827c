"""A generator of PCG64DXSM that is put to one state after the other.

numpy's bit generators take a state as a dict of long integers, which costs as much as a hundred
normal numbers. They also say where in memory they keep it. Where that looks as it is expected,
addresses inside the object and the words of a known state in place, states are written there.
"""

from __future__ import annotations

import ctypes
from collections.abc import Iterator
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

#: A state and an increment of four different words, high ones first, that are looked for.
_KNOWN = (0x0102030405060708, 0x1112131415161718, 0x2122232425262728, 0x3132333435363739)
_POINTER, _STATE = ctypes.sizeof(ctypes.c_void_p), 4 * 8
#: Where words of a state stand in memory: as long integers of this machine, or high ones first.
_ORDERS = ([1, 0, 3, 2], [0, 1, 2, 3])


def generators_at(states: NDArray[np.uint64]) -> Iterator[np.random.Generator]:
    """One generator, at each state in turn: high and low words of state and increment, (n, 4).

    Examples
    --------
    >>> states = np.array([[1, 2, 3, 5], [1, 2, 3, 5]], dtype=np.uint64)
    >>> one, other = (generator.random() for generator in generators_at(states))
    >>> one == other
    True
    """
    bits = np.random.PCG64DXSM(0)
    generator = np.random.Generator(bits)
    order = _order()
    if order is None:
        for words in states.tolist():
            _put(bits, words)
            yield generator
        return
    places = _places(bits)
    assert places is not None, "another object of the class has them"
    state, left_over = places
    for own in states[:, order]:
        state[:] = own
        # Half of a number may be kept from what was drawn before.
        left_over[:] = 0
        yield generator


def _put(bits: Any, words: list[int]) -> None:
    state, inc = (words[0] << 64) | words[1], (words[2] << 64) | words[3]
    bits.state = {
        "bit_generator": "PCG64DXSM",
        "state": {"state": state, "inc": inc},
        "has_uint32": 0,
        "uinteger": 0,
    }


@cache
def _order() -> list[int] | None:
    """The order in which memory has the words of a state; None where they are not found there."""
    bits = np.random.PCG64DXSM(0)
    _put(bits, list(_KNOWN))
    places = _places(bits)
    if places is None:
        return None
    state, left_over = places
    bits.state = bits.state | {"has_uint32": 1, "uinteger": 0x41424344}
    if left_over.tolist() != [1, 0x41424344]:
        return None
    found = state.tolist()
    return next((order for order in _ORDERS if [_KNOWN[k] for k in order] == found), None)


def _places(bits: Any) -> tuple[NDArray[np.uint64], NDArray[np.uint32]] | None:
    """Memory of the state, and of the half number behind the pointer to it.

    None is read that is not the object's own.
    """
    first, last = id(bits), id(bits) + bits.__sizeof__()
    about = bits.ctypes.state_address
    if not first <= about <= last - _POINTER - 8:
        return None
    where = ctypes.c_void_p.from_address(about).value
    if where is None or not first <= where <= last - _STATE or where % 8:
        return None
    state = (ctypes.c_uint64 * 4).from_address(where)
    left_over = (ctypes.c_uint32 * 2).from_address(about + _POINTER)
    return np.ctypeslib.as_array(state), np.ctypeslib.as_array(left_over)
