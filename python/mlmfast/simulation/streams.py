"""Random streams: one for each (seed, condition, replicate), the same wherever it is drawn.

The bit generator is pinned (PCG64DXSM), its state a `numpy.random.SeedSequence` of the seed with
the spawn key (condition, replicate): any replicate can be drawn again alone, whatever the order,
the number of workers or the size of batches.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import cache, partial
from typing import Any, TypeAlias

import numpy as np

from mlmfast.clusters.simulate import seed_sequence
from mlmfast.errors import DataError
from mlmfast.simulation.seeding import KnownSeed, SeedWords, jump, states

#: The generator at the beginning of a part of a replicate's stream, by the part's number.
ByPart: TypeAlias = Callable[[int], np.random.Generator]
_LONG = (1 << 128) - 1
#: From here on a number is more than one word of a seed.
_ONE_WORD = 1 << 32
#: What two parts of one replicate are apart in the period of 2^128: numpy's odd jump, over which
#: states of the generator are not correlated.
_JUMP = 0x9E3779B97F4A7C15F39CC0605CEDC835


def entropy_of(seed: Any) -> np.random.SeedSequence:
    """A seed as a SeedSequence; a Generator is refused, for it could not be drawn from again.

    Raises
    ------
    DataError

    Examples
    --------
    >>> entropy_of(7).entropy
    7
    """
    if isinstance(seed, np.random.Generator | bool):
        raise DataError(
            f"seed is {seed!r}; give a non-negative integer (or a SeedSequence), from which every "
            "replicate can be drawn again"
        )
    return seed_sequence(seed)


class Streams:
    """The random streams of the replicates of one condition.

    Parameters
    ----------
    seed
        int, SeedSequence, or None for fresh entropy.
    condition
        Number of the condition, or several numbers that name it.

    Examples
    --------
    >>> streams = Streams(1, condition=4)
    >>> bool(streams(17).random() == streams(17).random())
    True
    >>> bool(streams(17).random() == streams(18).random())
    False
    """

    def __init__(self, seed: Any, condition: int | Sequence[int] = 0) -> None:
        entropy = entropy_of(seed)
        named = (condition,) if isinstance(condition, int | np.integer) else tuple(condition)
        if any(int(number) < 0 for number in named):
            raise DataError(f"condition is {condition!r}; its numbers may not be negative")
        self._entropy, self._pool = entropy.entropy, entropy.pool_size
        self._key = (*entropy.spawn_key, *map(int, named))
        self._words = SeedWords(self._entropy, self._key, self._pool)

    def __call__(self, replicate: int) -> np.random.Generator:
        """The stream of a replicate."""
        if replicate < 0:
            raise DataError(f"replicate is {replicate!r}; the first is 0")
        make = partial(self._sequence, int(replicate))
        if replicate >= _ONE_WORD:
            return np.random.Generator(np.random.PCG64DXSM(make()))
        [words] = self._words(np.array([replicate]))
        return np.random.Generator(np.random.PCG64DXSM(KnownSeed(words, make)))

    def some(self, first: int, n: int) -> Iterator[np.random.Generator]:
        """The streams of n replicates from number ``first`` on, each a generator of its own."""
        if first < 0 or first + n > _ONE_WORD:
            yield from map(self, range(first, first + n))
            return
        for k, words in enumerate(self._words(np.arange(first, first + n)), first):
            seed = KnownSeed(words, partial(self._sequence, k))
            yield np.random.Generator(np.random.PCG64DXSM(seed))

    def parts(self, first: int, n: int) -> Iterator[ByPart]:
        """As `Parts` of each of n streams from number ``first`` on, one generator for all.

        What is had of one replicate is used before the next is asked for.
        """
        if first < 0 or first + n > _ONE_WORD:
            yield from (Parts(self(first + i)) for i in range(n))
            return
        generator = np.random.Generator(np.random.PCG64DXSM(0))
        for state, inc in states(self._words(np.arange(first, first + n))):
            yield _AtPart(generator, generator.bit_generator, state, inc)

    def _sequence(self, replicate: int) -> np.random.SeedSequence:
        return np.random.SeedSequence(
            self._entropy, spawn_key=(*self._key, replicate), pool_size=self._pool
        )


class _AtPart:
    """A generator put to the beginning of a part of one stream."""

    __slots__ = ("_bits", "_generator", "_inc", "_state")

    def __init__(self, generator: np.random.Generator, bits: Any, state: int, inc: int) -> None:
        self._generator, self._bits, self._state, self._inc = generator, bits, state, inc

    def __call__(self, part: int) -> np.random.Generator:
        state, inc = self._state, self._inc
        if part:
            times, plus = _jump_of(part)
            state = (state * times + inc * plus) & _LONG
        self._bits.state = {
            "bit_generator": "PCG64DXSM",
            "state": {"state": state, "inc": inc},
            "has_uint32": 0,
            "uinteger": 0,
        }
        return self._generator


@cache
def _jump_of(part: int) -> tuple[int, int]:
    return jump((part * _JUMP) % 2**128)


def stream(
    seed: Any, condition: int | Sequence[int] = 0, replicate: int = 0
) -> np.random.Generator:
    """The random stream of one replicate of one condition; see `Streams`.

    Examples
    --------
    >>> bool(stream(1, 4, 17).random() == Streams(1, 4)(17).random())
    True
    """
    return Streams(seed, condition)(replicate)


class Parts:
    """The parts of one replicate: streams of their own within its stream.

    What one part draws leaves the others as they are, so that a design with more clusters, or
    without a random effect, has the same draws elsewhere (common random numbers).

    Parameters
    ----------
    generator
        Of `stream`; of any other, a stream is drawn from it.

    Examples
    --------
    >>> parts = Parts(stream(1))
    >>> first = parts(0).standard_normal(3)
    >>> _ = parts(1).standard_normal(1000)
    >>> bool((parts(0).standard_normal(5)[:3] == first).all())
    True
    """

    def __init__(self, generator: np.random.Generator) -> None:
        if not isinstance(generator, np.random.Generator):
            raise DataError(
                f"rng is {generator!r}; give a numpy.random.Generator, such as "
                "numpy.random.default_rng(1)"
            )
        if not isinstance(generator.bit_generator, np.random.PCG64DXSM):
            words = generator.integers(0, 2**32, size=4).tolist()
            generator = np.random.Generator(np.random.PCG64DXSM(np.random.SeedSequence(words)))
        self._generator, self._bits = generator, generator.bit_generator
        self._state = self._bits.state

    def __call__(self, part: int) -> np.random.Generator:
        """The generator at the beginning of a part."""
        self._bits.state = self._state
        if part:
            self._bits.advance((part * _JUMP) % 2**128)  # type: ignore[attr-defined]
        return self._generator
