"""No small-sample degrees of freedom."""

from __future__ import annotations

from typing import ClassVar

from mlmfast.degrees_of_freedom.base import ByCounts


class Asymptotic(ByCounts):
    """z and chi-squared tests: infinite degrees of freedom (SAS's DDFM=NONE)."""

    name: ClassVar[str] = "asymptotic"
    label: ClassVar[str] = "asymptotic"

    @property
    def of_all(self) -> float | None:
        return float("inf")

    def of_counts(self, n_obs: int, rank: int) -> float:
        return float("inf")
