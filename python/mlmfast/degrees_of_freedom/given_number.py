"""Degrees of freedom that the user gives."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from mlmfast.degrees_of_freedom.base import ByCounts
from mlmfast.errors import ModelError


@dataclass(frozen=True)
class GivenNumber(ByCounts):
    """The same number for every test (SAS's DDF= option)."""

    value: float

    label: ClassVar[str] = "given"

    def __post_init__(self) -> None:
        if not self.value > 0:
            raise ModelError(f"ddf is {self.value:g}; degrees of freedom must be positive")

    @property
    def key(self) -> str:
        return repr(self.value)

    def of_counts(self, n_obs: int, rank: int) -> float:
        return self.value
