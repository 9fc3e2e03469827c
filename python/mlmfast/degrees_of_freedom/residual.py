"""Degrees of freedom of an ordinary regression."""

from __future__ import annotations

from typing import ClassVar

from mlmfast.degrees_of_freedom.base import ByCounts


class Residual(ByCounts):
    """n - rank(X) for every test (SAS's DDFM=RESIDUAL).

    Right for independent rows alone; with clusters it claims more than the data hold.
    """

    name: ClassVar[str] = "residual"
    label: ClassVar[str] = "residual"

    def of_counts(self, n_obs: int, rank: int) -> float:
        return float(n_obs - rank)
