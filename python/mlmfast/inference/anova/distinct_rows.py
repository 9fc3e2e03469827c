"""Rows of the data that differ in some variable of the fixed part, and how often each occurs."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd

from mlmfast.arrays import FloatArray, IntArray
from mlmfast.data.factor import code_integers
from mlmfast.data.frame import Frame

_MOST_CODES = 2**62


def distinct_rows(
    frame: Frame, variables: Sequence[str], weights: FloatArray | None = None
) -> tuple[Frame, FloatArray]:
    """Keep the first of the rows that agree in all variables.

    Parameters
    ----------
    frame
        The rows used.
    variables
        Columns to compare.
    weights : shape (n,)
        What each row counts; 1 by default.

    Returns
    -------
    frame
        The distinct rows in the order of the data.
    counts : shape (n_distinct,)
        How many rows each stands for, or the sum of their weights.

    Examples
    --------
    >>> frame, counts = distinct_rows(Frame.from_native({"f": list("abaa")}), ["f"])
    >>> frame.n_rows, counts.tolist()
    (2, [3.0, 1.0])
    """
    n = frame.n_rows
    codes = np.zeros(n, dtype=np.int64)
    n_codes = 1
    for name in variables:
        own, n_own = _codes(frame, name)
        if n_codes * n_own > _MOST_CODES:
            codes, n_codes = _renumbered(codes)
        codes = codes * n_own + own
        n_codes *= n_own
        if n_codes > 4 * n:
            codes, n_codes = _renumbered(codes)
    codes, n_codes = _renumbered(codes)
    if 2 * n_codes > n:
        return frame, np.ones(n) if weights is None else weights
    first = np.full(n_codes, n, dtype=np.intp)
    np.minimum.at(first, codes, np.arange(n))
    kept = np.zeros(n, dtype=bool)
    kept[first] = True
    counts = np.bincount(codes, weights, minlength=n_codes).astype(np.float64)
    return frame.take(kept), counts[np.argsort(first)]


def _codes(frame: Frame, name: str) -> tuple[IntArray, int]:
    if frame.is_numeric(name):
        codes, levels = pd.factorize(frame.numeric(name))
        return codes.astype(np.int64), len(levels)
    factor = frame.factor(name)
    return factor.codes.astype(np.int64), factor.n_levels


def _renumbered(codes: IntArray) -> tuple[IntArray, int]:
    distinct, positions = code_integers(codes)
    return positions.astype(np.int64), len(distinct)
