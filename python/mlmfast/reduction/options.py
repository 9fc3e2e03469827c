"""What a user may choose of the iterative engine."""

from __future__ import annotations

from dataclasses import dataclass
from numbers import Integral
from typing import Any, Literal

from mlmfast.errors import ModelError


@dataclass(frozen=True)
class IterativeSettings:
    """Settings of the stochastic traces.

    Parameters
    ----------
    probes
        Random probes of the log-determinant and of the traces of the gradient; the Monte Carlo
        errors fall as 1 / sqrt(probes), time grows with them. "exact" takes every direction once,
        which leaves no Monte Carlo error and costs a solve for each random effect.
    seed
        Seed of the probes: same seed, same digits.

    Examples
    --------
    >>> IterativeSettings(probes=60).seed
    0
    """

    #: With intercept, one covariate and two factors the columns fill two blocks of 16.
    probes: int | Literal["exact"] = 28
    seed: int = 0

    def __post_init__(self) -> None:
        if self.probes != "exact" and not _is_count(self.probes, 2):
            raise ModelError(f"probes is {self.probes!r}; use a whole number from 2, or 'exact'")
        if not _is_count(self.seed, 0) or self.seed >= 2**64:
            raise ModelError(f"the seed of the probes is {self.seed!r}; use a whole number from 0")


def _is_count(value: Any, smallest: int) -> bool:
    return isinstance(value, Integral) and not isinstance(value, bool) and int(value) >= smallest
