"""Random streams: one for each (seed, condition, replicate), the same wherever it is drawn.

The bit generator is pinned (PCG64DXSM), its state a `numpy.random.SeedSequence` of the seed with
the spawn key (condition, replicate): any replicate can be drawn again alone, whatever the order,
the number of workers or the size of batches.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache, partial
from typing import Any, Literal, Protocol, TypeAlias

import numpy as np
from numpy.typing import NDArray

from mlmfast._core import draw_streams
from mlmfast.arrays import FloatArray
from mlmfast.clusters.simulate import seed_sequence
from mlmfast.errors import DataError
from mlmfast.simulation.movable_generator import generators_at
from mlmfast.simulation.seeding import KnownSeed, SeedWords, advanced, jump, states, words_of

#: What numbers are drawn from.
Kind: TypeAlias = Literal["normal", "uniform"]

#: Parts of a replicate's stream: what is drawn for the residuals, covariates, missing values, and
#: from which number on the random-effects terms.
NOISE, COVARIATES, MISSING, FIRST_TERM = 0, 1, 2, 3
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

    def parts(self, first: int, n: int) -> ByPart:
        """The streams of n replicates from number ``first`` on, by part, one generator for all."""
        if first < 0 or first + n > _ONE_WORD:
            alone = [words_of(self(first + i).bit_generator) for i in range(n)]
            return _Together(np.array(alone, dtype=np.uint64).reshape(n, 4))
        return _Together(states(self._words(np.arange(first, first + n))))

    def _sequence(self, replicate: int) -> np.random.SeedSequence:
        return np.random.SeedSequence(
            self._entropy, spawn_key=(*self._key, replicate), pool_size=self._pool
        )


class ByPart(Protocol):
    """Streams of some replicates."""

    def at(self, part: int, /) -> Iterator[np.random.Generator]:
        """A generator at the beginning of a part of each stream in turn.

        It is one for all: what is had of a stream is drawn before the next is asked for.
        """

    def numbers(self, part: int, kinds: Sequence[tuple[Kind, int]], /) -> FloatArray:
        """Numbers from the beginning of a part of each stream, (n, n_numbers).

        As many "normal" or "uniform" ones as ``kinds`` says, one after the other: what a generator
        at the same place would give.
        """


@dataclass(frozen=True)
class _Together:
    """Streams known by their states, (n, 4)."""

    states: NDArray[np.uint64]

    def at(self, part: int) -> Iterator[np.random.Generator]:
        """See `ByPart`."""
        return generators_at(self._at(part))

    def numbers(self, part: int, kinds: Sequence[tuple[Kind, int]]) -> FloatArray:
        """See `ByPart`."""
        return draw_streams(self._at(part), kinds)

    def _at(self, part: int) -> NDArray[np.uint64]:
        return advanced(self.states, *_jump_of(part)) if part else self.states


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

    def at(self, part: int) -> Iterator[np.random.Generator]:
        """As `ByPart`: this stream alone."""
        yield self(part)

    def numbers(self, part: int, kinds: Sequence[tuple[Kind, int]]) -> FloatArray:
        """As `ByPart`: this stream alone."""
        words = words_of(self(part).bit_generator)
        return draw_streams(np.array([words], dtype=np.uint64), kinds)
