"""Seeds of many replicates at once: numpy's SeedSequence and PCG64DXSM, the same bits, no objects.

`numpy.random.SeedSequence` mixes the words of its entropy and spawn key in order; sequences that
differ in their last word share all the rest. A state of PCG64DXSM follows from four such words.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.random.bit_generator import ISpawnableSeedSequence
from numpy.typing import NDArray

_WORD, _LONG = 0xFFFFFFFF, (1 << 128) - 1
#: Constants of the mixing, in numpy's `bit_generator.pyx`.
_INIT_A, _MULT_A = 0x43B0D7E5, 0x931E8875
_INIT_B, _MULT_B = 0x8B51F9DD, 0x58F38DED
_LEFT, _RIGHT = 0xCA01F9DD, 0x4973F715
#: Multipliers of PCG64: of the steps at seeding, and of DXSM's own.
_SEEDING, _STEP = 0x2360ED051FC65DA44385DF649FCCF645, 0xDA942042E4DD58B5


class SeedWords:
    """The words that seed the streams of one key, by their last number.

    Parameters
    ----------
    entropy, pool_size
        Of the SeedSequence.
    key
        Spawn key, its last number left out.

    Examples
    --------
    >>> words = SeedWords(7, (3,), 4)(np.array([0, 5]))
    >>> alone = np.random.SeedSequence(7, spawn_key=(3, 5)).generate_state(4, np.uint64)
    >>> bool((words[1] == alone).all())
    True
    """

    def __init__(self, entropy: Any, key: Sequence[int], pool_size: int) -> None:
        known = _words(entropy)
        known += [0] * (pool_size - len(known))
        for number in key:
            known += _words(number)
        pool, const = [], _INIT_A
        for word in known[:pool_size]:
            mixed, const = _hashed(word, const, _MULT_A)
            pool.append(mixed)
        for source in range(pool_size):
            for to in range(pool_size):
                if source != to:
                    mixed, const = _hashed(pool[source], const, _MULT_A)
                    pool[to] = _mixed(pool[to], mixed)
        for word in known[pool_size:]:
            for to in range(pool_size):
                mixed, const = _hashed(word, const, _MULT_A)
                pool[to] = _mixed(pool[to], mixed)
        self._pool, self._const = pool, const

    def __call__(self, last: NDArray[Any]) -> NDArray[np.uint64]:
        """Four words for each last number of the key, (n, 4); the numbers are below 2^32."""
        word, const, pool = last.astype(np.uint64), self._const, []
        for own in self._pool:
            mixed, const = _hashed(word, const, _MULT_A)
            pool.append(_mixed(np.uint64(own), mixed))
        const, out = _INIT_B, np.empty((len(last), 8), dtype=np.uint64)
        for k in range(8):
            out[:, k], const = _hashed(pool[k % len(pool)], const, _MULT_B)
        return out[:, ::2] | (out[:, 1::2] << np.uint64(32))


def _words(number: Any) -> list[int]:
    """Words of 32 bits of a number, the lowest first, or of several."""
    if not isinstance(number, int | np.integer):
        return [word for one in number for word in _words(one)]
    number = int(number)
    out: list[int] = []
    while not out or number:
        out.append(number & _WORD)
        number >>= 32
    return out


def _hashed(value: Any, const: int, multiplier: int) -> tuple[Any, int]:
    """A word hashed, of Python or of an array of 64 bits, and the next constant."""
    number = int if isinstance(value, int) else np.uint64
    following = (const * multiplier) & _WORD
    value = ((value ^ number(const)) * number(following)) & number(_WORD)
    return value ^ (value >> number(16)), following


def _mixed(one: Any, other: Any) -> Any:
    number = int if isinstance(other, int) else np.uint64
    left, right = (one * number(_LEFT)) & number(_WORD), (other * number(_RIGHT)) & number(_WORD)
    value = (left + number(_WORD + 1) - right) & number(_WORD)
    return value ^ (value >> number(16))


class KnownSeed(ISpawnableSeedSequence):
    """A seed sequence of which the words for PCG64DXSM are known; the rest is numpy's.

    Parameters
    ----------
    words : shape (4,)
    entropy, spawn_key, pool_size
        Of the sequence that it stands for.
    """

    def __init__(
        self, words: NDArray[np.uint64], make: Callable[[], np.random.SeedSequence]
    ) -> None:
        self._words, self._make = words, make
        self._sequence: np.random.SeedSequence | None = None

    def generate_state(self, n_words: int, dtype: Any = np.uint32) -> Any:
        """As `numpy.random.SeedSequence`."""
        if n_words == 4 and dtype is np.uint64:
            return self._words
        return self._whole().generate_state(n_words, dtype)

    def spawn(self, n_children: int) -> Any:
        """As `numpy.random.SeedSequence`."""
        return self._whole().spawn(n_children)

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_"):
            raise AttributeError(name)
        return getattr(self._whole(), name)

    def __reduce__(self) -> Any:
        return _same, (self._whole(),)

    def _whole(self) -> np.random.SeedSequence:
        if self._sequence is None:
            self._sequence = self._make()
        return self._sequence


def _same(sequence: np.random.SeedSequence) -> np.random.SeedSequence:
    return sequence


def states(words: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """State and increment of PCG64DXSM seeded by each row of words, (n, 4), high words first.

    Examples
    --------
    >>> sequence = np.random.SeedSequence(1)
    >>> [(high, low, _, _)] = states(sequence.generate_state(4, np.uint64)[None]).tolist()
    >>> np.random.PCG64DXSM(sequence).state["state"]["state"] == (high << 64) | low
    True
    """
    high, low, high_inc, low_inc = words.T
    one = np.uint64(1)
    inc = (high_inc << one) | (low_inc >> np.uint64(63)), (low_inc << one) | one
    state = _plus(_times(_plus(inc, (high, low)), _halves(_SEEDING)), inc)
    return np.stack([*state, *inc], axis=1)


def words_of(bits: Any) -> list[int]:
    """State and increment of a PCG64DXSM, as a row of `states`.

    Examples
    --------
    >>> sequence = np.random.SeedSequence(1)
    >>> [row] = states(sequence.generate_state(4, np.uint64)[None]).tolist()
    >>> words_of(np.random.PCG64DXSM(sequence)) == row
    True
    """
    own = bits.state["state"]
    return [word for key in ("state", "inc") for word in divmod(own[key], 1 << 64)]


def advanced(states: NDArray[np.uint64], times: int, plus: int) -> NDArray[np.uint64]:
    """States moved on by what `jump` gives."""
    state, inc = (states[:, 0], states[:, 1]), (states[:, 2], states[:, 3])
    moved = _plus(_times(state, _halves(times)), _times(inc, _halves(plus)))
    return np.stack([*moved, *inc], axis=1)


#: A number of 128 bits, or many: the high and the low half.
_Halves = tuple[NDArray[np.uint64], NDArray[np.uint64]]


def _halves(number: int) -> _Halves:
    high, low = np.array([[number >> 64], [number & (1 << 64) - 1]], dtype=np.uint64)
    return high, low


def _plus(one: _Halves, other: _Halves) -> _Halves:
    low = one[1] + other[1]
    return one[0] + other[0] + (low < one[1]), low


def _times(one: _Halves, other: _Halves) -> _Halves:
    """The lower 128 bits of products."""
    half, word = np.uint64(32), np.uint64(_WORD)
    a, b = (one[1] >> half, one[1] & word), (other[1] >> half, other[1] & word)
    right = a[0] * b[1] + ((a[1] * b[1]) >> half)
    left = a[1] * b[0] + (right & word)
    carried = a[0] * b[0] + (right >> half) + (left >> half)
    return carried + one[0] * other[1] + one[1] * other[0], one[1] * other[1]


def jump(delta: int) -> tuple[int, int]:
    """What advancing by ``delta`` steps multiplies the state and the increment by.

    Examples
    --------
    >>> bits = np.random.PCG64DXSM(3)
    >>> own = bits.state["state"]
    >>> times, plus = jump(10**30)
    >>> later = (own["state"] * times + own["inc"] * plus) % 2**128
    >>> bits.advance(10**30).state["state"]["state"] == later
    True
    """
    times, plus, step, step_plus = 1, 0, _STEP, 1
    while delta:
        if delta & 1:
            times, plus = (times * step) & _LONG, (plus * step + step_plus) & _LONG
        step_plus = ((step + 1) * step_plus) & _LONG
        step = (step * step) & _LONG
        delta >>= 1
    return times, plus
