"""How far to go along Newton steps that repeat themselves, or that are too long again and again."""

from __future__ import annotations

import numpy as np

from mlmfast.arrays import BoolArray, FloatArray, IntArray

#: Cosine between two Newton steps that go the same way, and the least ratio of their lengths.
_SAME_WAY, _NO_SHORTER = 0.98, 0.4
#: Steps in succession the same way as the one before it, from which on steps are lengthened.
_RUN = 2
#: Steps in succession that were too long, after which the next is tried at a share of its length:
#: so much larger than the share before.
_CUT, _GROW = 2, 3.0
#: By how much more a step may be lengthened than the one before.
_LENGTHEN = 4.0
#: How fast a limit on that is lifted, a step.
_RECOVER = 1.5


class Tails:
    """Rows whose Newton steps repeat themselves, as they do on the way to a limit at infinity.

    Along a tail a exp(-r t) or a t^-k the criterion falls by a constant factor a step. Steps of
    several Newton steps shorten the way as long as the criterion falls by more than one could.
    """

    def __init__(self, theta: FloatArray, tolerance: float) -> None:
        self.way = np.zeros(theta.shape)
        self.times = np.ones(len(theta))
        #: The most steps to take at once, after more were too many.
        self.most = np.full(len(theta), np.inf)
        #: How many steps in succession have gone the same way.
        self.run = np.zeros(len(theta), dtype=np.intp)
        #: How many in succession were too long, and the share to try of the next one.
        self.cut = np.zeros(len(theta), dtype=np.intp)
        self.share = np.ones(len(theta))
        self.least = 0.1 * tolerance

    def lengths(self, active: IntArray, way: FloatArray, decrement: FloatArray) -> FloatArray:
        """How many of the Newton steps ``way`` (a, t) to take at once, shape (a,)."""
        last, times = self.way[active], self.times[active]
        size, last_size = np.sqrt((way * way).sum(axis=1)), np.sqrt((last * last).sum(axis=1))
        with np.errstate(invalid="ignore", divide="ignore", over="ignore"):
            ratio = size / last_size
            cosine = (way * last).sum(axis=1) / (size * last_size)
            # On an exponential tail so many steps bring the decrement to its end.
            most = np.log(decrement / self.least)
            same = (cosine > _SAME_WAY) & (ratio > _NO_SHORTER) & (ratio < 2.0 * (1.0 + times))
            left = np.where(ratio < 1.0, 1.0 / (1.0 - np.minimum(ratio, 1.0)), np.inf)
        self.run[active] = run = np.where(same, self.run[active] + 1, 0)
        longer = np.minimum(_LENGTHEN * times, np.minimum(left, most))
        longer = np.minimum(longer, self.most[active])
        pays = (run >= _RUN) & (decrement < 1.0) & (longer > 1.2)
        return np.asarray(np.where(pays, longer, 1.0))

    def repeated(self, active: IntArray, way: FloatArray, step: FloatArray) -> BoolArray:
        """Coordinates (a, t) whose part of a step is to be lengthened with it.

        What runs away along an exponential tail does so by steps of one length; what comes to its
        end meanwhile is not to go further than that. Where the coordinates of ``step`` are not
        those of ``way``, but turn on the way, or are fewer, all are.
        """
        if way.shape != step.shape:
            return np.ones(step.shape, dtype=np.bool_)
        with np.errstate(invalid="ignore", divide="ignore", over="ignore"):
            ratio = way / self.way[active]
            straight = np.abs(way - step) <= 1e-12 * (1.0 + np.abs(step))
        repeats = (ratio > _NO_SHORTER) & (ratio < 2.0 * (1.0 + self.times[active])[:, None])
        return np.asarray(repeats | ~straight.all(axis=1, keepdims=True))

    def is_plain(self, active: IntArray) -> BoolArray:
        """Whether no step is to be lengthened or shortened yet."""
        return np.asarray((self.times[active] == 1.0) & (self.cut[active] == 0))

    def follow(self, active: IntArray, way: FloatArray, run: IntArray, n_steps: IntArray) -> None:
        """Remember whole steps that were taken elsewhere: the last, and how many went its way."""
        self.way[active], self.run[active] = way, run
        self.most[active] *= _RECOVER**n_steps

    def keep(self, active: IntArray, way: FloatArray, times: FloatArray, whole: BoolArray) -> None:
        """Remember the steps that were taken; those that were not ``whole`` begin anew."""
        self.way[active], self.times[active] = np.where(whole[:, None], way, 0.0), times
        self.run[active[~whole]] = 0
        self.most[active] *= _RECOVER

    def begin_anew(self, active: IntArray) -> None:
        """Forget the steps of rows that have moved in another way."""
        self.way[active], self.times[active], self.run[active] = 0.0, 1.0, 0

    def first_share(self, active: IntArray) -> FloatArray:
        """The share of a step to try first, where steps have been too long again and again."""
        return np.where(self.cut[active] >= _CUT, self.share[active], 1.0)

    def found(self, active: IntArray, first: BoolArray, share: FloatArray) -> None:
        """Remember the share of a step that was accepted, or how many times its length."""
        self.cut[active] = np.where(first & (share >= 1.0), 0, self.cut[active] + 1)
        self.share[active] = np.minimum(1.0, _GROW * share)

    def failed(self, active: IntArray, times: FloatArray) -> None:
        """So many steps at once were too many for these rows."""
        self.most[active] = 0.5 * times / _LENGTHEN
