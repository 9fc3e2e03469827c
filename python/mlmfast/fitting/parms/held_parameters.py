"""Covariance parameters that a fit holds."""

from __future__ import annotations

from dataclasses import dataclass

from mlmfast.arrays import FloatArray


@dataclass(frozen=True)
class HeldParameters:
    """Names of the parameters held, and log sigma^2 where it is not the best one, shape (1,)."""

    names: tuple[str, ...]
    log_sigma2: FloatArray | None
