"""Degrees of freedom of an ordinary regression."""

from __future__ import annotations

from typing import ClassVar

import numpy as np

from mlmfast.degrees_of_freedom.base import DegreesOfFreedom, TestBasis
from mlmfast.degrees_of_freedom.fitted_rows import FittedRows


class Residual(DegreesOfFreedom):
    """n - rank(X) for every test (SAS's DDFM=RESIDUAL).

    Right for independent rows alone; with clusters it claims more than the data hold.
    """

    name: ClassVar[str] = "residual"
    label: ClassVar[str] = "residual"

    def basis(self, fitted: FittedRows) -> TestBasis:
        rank = len(fitted.beta)
        design = fitted.design
        degrees = np.full(rank, float(design.n_obs - rank - design.n_absorbed))
        return TestBasis(self.name, fitted.vcov, fitted.vcov, by_coefficient=degrees)
