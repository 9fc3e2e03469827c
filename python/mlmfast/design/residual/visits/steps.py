"""Whole steps of equal length at which numbers or times stand, their greatest common step."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from mlmfast.arrays import BoolArray, FloatArray, IntArray

#: Steps between two neighbours from which on a common step is none: any two numbers have one that
#: is fine enough.
FINEST = 1000
#: Largest whole number that a float holds exactly.
_LARGEST_WHOLE = 2.0**53
#: Part of a step by which a gap may miss a whole number of steps: times are rounded, as 0.333 and
#: 0.667 of a day are.
_ROUNDED = 1e-5
#: Part of a step by which a value may miss its place.
_MISPLACED = 1e-4


@dataclass(frozen=True)
class EqualSteps:
    """Distinct values in ascending order as multiples of their greatest common step.

    Attributes
    ----------
    places : shape (n,)
        Steps from the first value to each; values that differ by rounding have one place.
    first, step
        The first value, and that of one step. Both are exact for whole numbers.
    """

    places: IntArray
    first: float
    step: float

    def places_of(self, values: FloatArray | IntArray) -> tuple[IntArray, BoolArray]:
        """Places of other values, and which of them stand at whole steps."""
        along = (values - self.first) / self.step
        places = np.rint(along)
        return places.astype(np.intp), np.asarray(np.abs(along - places) <= _MISPLACED)


def equal_steps(values: FloatArray | IntArray) -> EqualSteps | None:
    """Find the greatest common step of distinct ascending values.

    Returns
    -------
    None where there is none, or where neighbours are all 1,000 steps apart and more: numbers that
    share no step, such as irrational ones, share one that is as fine as their digits.

    Examples
    --------
    >>> equal_steps(np.array([0.0, 4.0, 8.0, 12.0, 24.0]))
    EqualSteps(places=array([0, 1, 2, 3, 6]), first=0.0, step=4.0)
    >>> equal_steps(np.array([0.1, 0.2, 0.1 + 0.2, 0.5])).places
    array([0, 1, 2, 4])
    >>> equal_steps(np.sqrt([2.0, 3.0, 5.0, 7.0])) is None
    True
    """
    if len(values) < 2:
        first = float(values[0]) if len(values) else 0.0
        return EqualSteps(np.zeros(len(values), dtype=np.intp), first, 1.0)
    if values.dtype.kind in "iu" or _are_whole(values):
        return _whole_steps(values)
    return _real_steps(values.astype(np.float64))


def _are_whole(values: FloatArray | IntArray) -> bool:
    return bool((values == np.rint(values)).all() and np.abs(values).max() < _LARGEST_WHOLE)


def _whole_steps(values: FloatArray | IntArray) -> EqualSteps | None:
    # Unsigned and narrow types would wrap around in the subtraction.
    whole = (values - values[0]).astype(np.int64)
    gaps = np.diff(whole)
    step = int(np.gcd.reduce(gaps))
    if gaps.min() > FINEST * step:
        return None
    return EqualSteps((whole // step).astype(np.intp), values[0].item(), float(step))


def _real_steps(values: FloatArray) -> EqualSteps | None:
    """The common step is the smallest gap or a whole fraction of it."""
    largest = float(np.abs(values).max())
    # What came as float32 has no more digits than that.
    single = bool((values.astype(np.float32) == values).all())
    rounding = 8.0 * float(np.finfo(np.float32 if single else np.float64).eps) * largest
    apart = np.concatenate([[True], np.diff(values) > rounding])
    distinct, which = values[apart], np.cumsum(apart) - 1
    if len(distinct) < 2:
        return EqualSteps(which, float(values[0]), 1.0)
    gaps = np.diff(distinct)
    smallest = float(gaps.min())
    ratios = np.unique(gaps / smallest)
    for fraction in range(1, FINEST + 1):
        counts = ratios * fraction
        allowed = _ROUNDED + rounding * fraction / smallest
        if allowed >= 0.1 or not (np.abs(counts - np.rint(counts)) <= allowed).all():
            continue
        places = np.concatenate([[0], np.cumsum(np.rint(gaps / smallest * fraction))])
        step = float((distinct[-1] - distinct[0]) / places[-1])
        along = (distinct - distinct[0]) / step
        if (np.abs(along - places) <= max(_MISPLACED, 2.0 * allowed)).all():
            return EqualSteps(places.astype(np.intp)[which], float(distinct[0]), step)
    return None
