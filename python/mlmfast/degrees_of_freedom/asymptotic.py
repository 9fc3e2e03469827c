"""No small-sample degrees of freedom."""

from __future__ import annotations

from typing import ClassVar

import numpy as np

from mlmfast.degrees_of_freedom.base import DegreesOfFreedom, TestBasis
from mlmfast.degrees_of_freedom.fitted_rows import FittedRows


class Asymptotic(DegreesOfFreedom):
    """z and chi-squared tests: infinite degrees of freedom (SAS's DDFM=NONE)."""

    name: ClassVar[str] = "asymptotic"
    label: ClassVar[str] = "asymptotic"

    def basis(self, fitted: FittedRows) -> TestBasis:
        degrees = np.full(len(fitted.beta), np.inf)
        return TestBasis(self.name, fitted.vcov, fitted.vcov, by_coefficient=degrees)
