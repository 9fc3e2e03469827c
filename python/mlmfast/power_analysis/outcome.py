"""What tests of many replicates give, and which of the fits count."""

from __future__ import annotations

from typing import NamedTuple, Protocol

import numpy as np

from mlmfast.arrays import BoolArray, FloatArray
from mlmfast.batch.fit_batch import FitBatch
from mlmfast.errors import ModelError
from mlmfast.simulation.streams import Streams


class Outcome(NamedTuple):
    """Tests of n replicates; NaN where there is none.

    Attributes
    ----------
    pvalue, estimate : shape (n,); estimates NaN where several coefficients are tested.
    se, df : shape (n,), of tests of one coefficient.
    """

    pvalue: FloatArray
    estimate: FloatArray
    se: FloatArray
    df: FloatArray


class Hypothesis(Protocol):
    """A hypothesis about one design."""

    def outcome(self, streams: Streams, first: int, n: int) -> Outcome:
        """Tests of n replicates from number ``first`` on."""

    @property
    def label(self) -> str:
        """What is tested, in a few words."""


def joined(parts: list[Outcome]) -> Outcome:
    """Outcomes of several batches."""
    return Outcome(*(np.concatenate(arrays) for arrays in zip(*parts, strict=True)))


def without_estimates(pvalue: FloatArray) -> Outcome:
    """P-values alone, as of tests of several coefficients."""
    nothing = np.full(len(pvalue), np.nan)
    return Outcome(pvalue, nothing, nothing, nothing)


def good_fits(batch: FitBatch) -> BoolArray:
    """Where a fit has an optimum."""
    return np.asarray(batch.converged & np.isfinite(batch.llf))


def both_good(small: FitBatch, large: FitBatch) -> BoolArray:
    """Where the fits of two models are good."""
    for batch in (small, large):
        check_any(good_fits(batch), batch)
    return good_fits(small) & good_fits(large)


def check_any(good: BoolArray, batch: FitBatch) -> None:
    """Say why no fit of a batch succeeded."""
    if not good.any():
        raise ModelError(
            f"none of {len(good)} replicates of {int(batch.nobs.max(initial=0))} rows could be "
            f"fitted; the first: {batch.status[0]}"
        )
