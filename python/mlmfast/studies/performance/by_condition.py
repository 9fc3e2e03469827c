"""Rows by condition, and what a table or picture needs of a study's result."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import numpy as np
import pandas as pd


class Shown(Protocol):
    """What a picture needs of a study's result."""

    @property
    def plan(self) -> dict[str, Any]:
        """Record of the plan."""

    @property
    def factors(self) -> list[str]:
        """Names of the factors of the conditions."""

    @property
    def methods(self) -> list[str]:
        """Names of the methods."""

    @property
    def estimands(self) -> list[str]:
        """Names of the estimands."""

    @property
    def replicates(self) -> pd.DataFrame:
        """Rows by replicate, method and estimand."""

    def performance(
        self, measures: str | Sequence[str] | None = None, *, interval: bool = False
    ) -> pd.DataFrame:
        """Measures by condition, method and estimand."""


def conditions_of(frame: pd.DataFrame, factors: list[str]) -> list[dict[str, Any]]:
    """The conditions of rows, in their order."""
    found = frame[factors].drop_duplicates()
    return [dict(zip(factors, row, strict=True)) for row in found.itertuples(index=False)]


def of_condition(frame: pd.DataFrame, condition: Mapping[str, Any]) -> pd.DataFrame:
    """Rows of one condition."""
    keep = np.ones(len(frame), dtype=np.bool_)
    for name, value in condition.items():
        missing = value is None or value != value
        keep &= (frame[name].isna() if missing else frame[name] == value).to_numpy()
    return frame[keep]


def label(condition: Mapping[str, Any]) -> str:
    """A condition in one line."""
    return ", ".join(f"{name} {value}" for name, value in condition.items())
