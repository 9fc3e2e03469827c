"""Degrees of freedom that the user gives."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from mlmfast.degrees_of_freedom.base import DegreesOfFreedom, TestBasis
from mlmfast.degrees_of_freedom.fitted_rows import FittedRows
from mlmfast.errors import ModelError


@dataclass(frozen=True)
class GivenNumber(DegreesOfFreedom):
    """The same number for every test (SAS's DDF= option)."""

    value: float

    label: ClassVar[str] = "given"

    def __post_init__(self) -> None:
        if not self.value > 0:
            raise ModelError(f"ddf is {self.value:g}; degrees of freedom must be positive")

    def basis(self, fitted: FittedRows) -> TestBasis:
        degrees = np.full(len(fitted.beta), self.value)
        return TestBasis(repr(self.value), fitted.vcov, fitted.vcov, by_coefficient=degrees)
