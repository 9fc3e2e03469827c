"""What a fit keeps of an absorbed factor."""

from __future__ import annotations

from dataclasses import dataclass

from mlmfast.arrays import FloatArray


@dataclass(frozen=True)
class AbsorbedRecord:
    """Estimates of a factor of the fixed part that has no columns in X.

    Attributes
    ----------
    name
        The variable.
    labels
        Its levels.
    x_names
        Names of all coefficients in the formula's order.
    kept
        Positions of those that are not aliased, ascending.
    beta : shape (len(kept),)
        Their estimates.
    levels : shape (n_levels,)
        The level's part of the mean, X b + F a: a.
    """

    name: str
    labels: tuple[str, ...]
    x_names: tuple[str, ...]
    kept: tuple[int, ...]
    beta: FloatArray
    levels: FloatArray
