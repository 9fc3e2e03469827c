"""Residual covariance of series: the rows of each subject in time order, and the steps between.

Residuals that form a Markov chain along a series (`covariance.markov`) need no template over
visits: the gap between neighbours is all that counts, however many distinct times there are.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from mlmfast.arrays import CodeArray, FloatArray, IntArray
from mlmfast.covariance import CovarianceStructure
from mlmfast.covariance.chains import MarkovChain, QuasiSeparable
from mlmfast.covariance.scaled_correlation import Heterogeneous


@dataclass(frozen=True)
class Series:
    """Rows as series, one a subject, in time order.

    Attributes
    ----------
    times : shape (n,)
        Time of each row; for structures by lag, a whole number.
    positions : shape (n,), int32
        Rank of each row's time among all distinct ones.
    step : shape (n,), int32
        Class of the step from the row before, arm * n_gaps + gap; -1 - arm where a series begins.
    gaps : shape (n_gaps,)
        Distinct gaps between neighbours.
    n_steps : shape (n_arms, n_gaps)
        Steps over each gap in each arm.
    n_rows : shape (n_arms,)
        Rows of each arm.
    arms : shape (n,), int32
        Arm of each row.
    visits : shape (n_visits,) or None
        Time of each visit, where there are few enough to report covariances by visit.
    """

    times: FloatArray
    positions: CodeArray
    step: CodeArray
    gaps: FloatArray
    n_steps: FloatArray
    n_rows: FloatArray
    arms: CodeArray
    visits: FloatArray | None = None


def is_series(kind: type[CovarianceStructure], coordinates: tuple[str, ...]) -> bool:
    """Whether a structure over these coordinates costs O(n) along a series.

    Examples
    --------
    >>> from mlmfast.covariance import STRUCTURES
    >>> is_series(STRUCTURES["ar1"], ("t",)), is_series(STRUCTURES["sp_exp"], ("x", "y"))
    (True, False)
    """
    return (
        issubclass(kind, (MarkovChain, QuasiSeparable))
        and not issubclass(kind, Heterogeneous)
        and len(coordinates) == 1
    )


def series_of(times: FloatArray, units: CodeArray, arms: CodeArray, n_arms: int) -> Series:
    """Sort rows into series; ``units`` hold each time at most once.

    Examples
    --------
    >>> codes = np.zeros(3, dtype=np.int32)
    >>> series = series_of(np.array([5.0, 1.0, 2.0]), codes, codes, 1)
    >>> series.gaps.tolist(), series.step.tolist()
    ([1.0, 3.0], [1, -1, 0])
    """
    order = np.lexsort((times, units))
    sorted_times, sorted_units = times[order], units[order]
    follows = sorted_units[1:] == sorted_units[:-1]
    gaps, codes = _distinct(
        (sorted_times[1:] - sorted_times[:-1])[follows], float(np.abs(times).max(initial=0.0))
    )
    arm = arms[order]
    sorted_step = (-1 - arm).astype(np.int32)
    sorted_step[1:][follows] = arm[1:][follows] * np.int32(len(gaps)) + codes.astype(np.int32)
    step = np.empty_like(sorted_step)
    step[order] = sorted_step
    n_steps = np.bincount(step[step >= 0], minlength=n_arms * len(gaps))
    positions = np.unique(times, return_inverse=True)[1].astype(np.int32)
    return Series(
        times,
        positions,
        step,
        gaps,
        n_steps.reshape(n_arms, len(gaps)).astype(np.float64),
        np.bincount(arms, minlength=n_arms).astype(np.float64),
        arms,
    )


def _distinct(gaps: FloatArray, largest: float) -> tuple[FloatArray, IntArray]:
    """Distinct gaps and the code of each; gaps that differ by the rounding of times are one."""
    values, codes = np.unique(gaps, return_inverse=True)
    if len(values) < 2:
        return values, codes
    rounding = 4.0 * np.finfo(np.float64).eps * largest
    apart = np.concatenate([[True], np.diff(values) > rounding])
    group = np.cumsum(apart) - 1
    first = np.flatnonzero(apart)
    last = np.append(first[1:], len(values)) - 1
    if (values[last] - values[first]).max() > 4.0 * rounding:
        return values, codes
    return values[(first + last) // 2], group[codes]
