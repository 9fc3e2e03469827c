"""Values that a reader of another program's files has read wrongly."""

from __future__ import annotations

import math
from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

from mlmfast.arrays import FloatArray
from mlmfast.data.factor import are_texts
from mlmfast.data.frame import Frame
from mlmfast.errors import SuspectValueWarning, warn

#: Nothing that is measured is as near to 0 as this beside integers; 16^-65 is 5.4e-79.
_TINY = 1e-60
_LOOKED_AT = 3
#: Values that are looked at together: these stay in the cache.
_AT_ONCE = 1 << 15


def warn_of_suspect_values(frame: Frame, names: Iterable[str]) -> None:
    """Warn of integers beside a value that all but is 0, and of numbers beside text in a factor.

    `pandas.read_sas` reads the zeros of a SAS transport file (XPT) as 16^-65, about 5.4e-79: no
    harm in a sum, but not 0 to a comparison or a logarithm, and as a level not "0". Its readers of
    SPSS and Stata files make a factor of a numeric column of which one value has a label.
    """
    listed = tuple(names)
    _warn_of_tiny(frame, listed)
    _warn_of_labelled(frame, listed)


def _warn_of_tiny(frame: Frame, names: tuple[str, ...]) -> None:
    # A column of integers holds none.
    found = [
        name
        for name in names
        if frame.is_numeric(name) and not frame.is_whole(name) and has_tiny(frame.numeric(name))
    ]
    if found:
        listing = ", ".join(map(repr, found))
        warn(
            f"integers and values between 0 and {_TINY:g} in {listing}: a zero read wrongly, as "
            "pandas.read_sas reads those of XPT files (16^-65 = 5.4e-79)? Set them to 0, for "
            "example by data.mask(data.abs() < 1e-60, 0), or read the file by pyreadstat",
            SuspectValueWarning,
            "MLM102",
        )


def _warn_of_labelled(frame: Frame, names: tuple[str, ...]) -> None:
    found = [
        name
        for name in names
        if frame.is_categorical(name) and has_numbers_and_text(frame.factor(name).values)
    ]
    if found:
        listing = ", ".join(map(repr, found))
        warn(
            f"numbers and text are levels of {listing}: a numeric column of which some values have "
            "labels, as pandas.read_spss and read_stata read it? Then read the numbers, by "
            "convert_categoricals=False, and make the labelled ones missing",
            SuspectValueWarning,
            "MLM104",
        )


def has_numbers_and_text(levels: NDArray[np.generic]) -> bool:
    """Whether levels are of both kinds.

    Examples
    --------
    >>> both = np.array([30.0, 41.0, "refused"], dtype=object)
    >>> has_numbers_and_text(both), has_numbers_and_text(both[:2]), has_numbers_and_text(both[2:])
    (True, False, False)
    """
    if levels.dtype != object or are_texts(levels):
        return False
    text = [isinstance(level, str) for level in levels.tolist()]
    return any(text) and not all(text)


def has_tiny(values: FloatArray) -> bool:
    """Whether values are integers but for some below 1e-60; NaN are not looked at.

    Examples
    --------
    >>> has_tiny(np.array([2.0, 16.0**-65, 1.0])), has_tiny(np.array([2.5, 16.0**-65]))
    (True, False)
    """
    # A measured column shows in its first values, without a pass over all.
    if not all(map(_is_whole, values[:_LOOKED_AT].tolist())):
        return False
    n_tiny = sum(
        int(np.count_nonzero(np.abs(some) < _TINY)) - (some.size - int(np.count_nonzero(some)))
        for some in (values[k : k + _AT_ONCE] for k in range(0, values.size, _AT_ONCE))
    )
    if not 0 < n_tiny < values.size:
        return False
    others = values[~(np.abs(values) < _TINY) & np.isfinite(values)]
    # A column in a unit of its own, 0, 1e-200, 2e-200, is no such case.
    return bool(others.any() and (np.rint(others) == others).all())


def _is_whole(value: float) -> bool:
    """Whether a number is an integer, all but 0, or missing."""
    return value.is_integer() or abs(value) < _TINY or not math.isfinite(value)
