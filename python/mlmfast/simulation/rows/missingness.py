"""Responses that go missing: completely at random, by dropout, by dropout after what was seen."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from mlmfast.arrays import BoolArray, FloatArray, IntArray
from mlmfast.errors import DataError, ModelError
from mlmfast.simulation.streams import MISSING, ByPart
from mlmfast.simulation.truth.parameters import number
from mlmfast.words import did_you_mean

_KINDS = ("mcar", "dropout", "mar")
_EXAMPLE = "{'dropout': 0.3, 'subject': 'Subject', 'time': 'Days'}"


@dataclass(frozen=True)
class Missingness:
    """Which responses go missing.

    Attributes
    ----------
    kind
        "mcar": each row by itself; "dropout": a subject is gone from some time on, whatever its
        responses; "mar": the odds of going at a time grow with the last response seen.
    share
        Of the rows; or of the subjects that are gone by the last time.
    by_time
        Shares gone at each time, where they are given; else the chance to go is the same at each.
    slope
        Of the log odds, by standard deviations of the last response above its mean ("mar").
    subject, time
        Variables.
    """

    kind: str
    share: float
    by_time: tuple[float, ...] = ()
    slope: float = 0.0
    subject: str = ""
    time: str = ""

    @classmethod
    def of(cls, given: Any) -> Missingness | None:
        """Read ``missing=``, which `mlmfast.design` documents.

        Raises
        ------
        ModelError

        Examples
        --------
        >>> Missingness.of({"mcar": 0.1}).share
        0.1
        """
        if given is None or isinstance(given, Missingness):
            return given
        if not isinstance(given, Mapping):
            raise ModelError(f"missing is {given!r}; give a dict such as {_EXAMPLE}")
        kinds = [key for key in given if key in _KINDS]
        known = (*_KINDS, "subject", "time", "slope")
        for key in given:
            if key not in known:
                hint = did_you_mean(key, known)
                raise ModelError(f"missing has {key!r}, which it does not take{hint} (it takes "
                                 f"{', '.join(known)})")  # fmt: skip
        if len(kinds) != 1:
            raise ModelError(f"missing takes one of {', '.join(_KINDS)}; found {dict(given)!r}")
        kind = kinds[0]
        shares = _shares(kind, given[kind])
        lacking = [key for key in ("subject", "time") if kind != "mcar" and key not in given]
        if lacking:
            raise ModelError(f"missing={dict(given)!r} lacks {lacking[0]!r}; give {_EXAMPLE}")
        if kind != "mar" and "slope" in given:
            raise ModelError("missing: 'slope' goes with 'mar'")
        if kind == "mcar" and len(shares) > 1:
            raise ModelError("missing: 'mcar' is one share of the rows")
        slope = number(given.get("slope", 1.0 if kind == "mar" else 0.0), "slope")
        several = shares if len(shares) > 1 else ()
        where = str(given.get("subject", "")), str(given.get("time", ""))
        return cls(kind, shares[-1], several, slope, *where)

    def rows(self, table: pd.DataFrame) -> DropoutRows | None:
        """Subjects and times of a table's rows; None where neither matters.

        Raises
        ------
        DataError
            For a variable that is not there, and several rows of a subject at a time.
        """
        if self.kind == "mcar":
            return None
        for name in (self.subject, self.time):
            if name not in table:
                hint = did_you_mean(name, [str(c) for c in table])
                raise DataError(f"missing: {name!r} is no variable of the design{hint}")
        subjects = pd.factorize(table[self.subject])[0]
        times, levels = pd.factorize(table[self.time], sort=True)
        if self.by_time and len(self.by_time) != len(levels):
            raise ModelError(
                f"missing has {len(self.by_time)} shares, and {self.time!r} {len(levels)} times"
            )
        place = np.full((int(subjects.max()) + 1, len(levels)), -1, dtype=np.int64)
        place[subjects, times] = np.arange(len(table))
        if self.kind == "mar" and (place >= 0).sum() < len(table):
            raise DataError(
                f"missing 'mar' goes by the last response, and {self.subject!r} has several rows "
                f"at one {self.time!r}"
            )
        return DropoutRows(subjects, times, place)

    def hazards(self, n_times: int) -> FloatArray:
        """Chance to go at each time, for those still there, shape (n_times,)."""
        if self.by_time:
            gone = np.array(self.by_time)
            before = np.concatenate([[0.0], gone[:-1]])
            with np.errstate(invalid="ignore", divide="ignore"):
                return np.where(before < 1.0, (gone - before) / (1.0 - before), 1.0)
        out = np.full(n_times, 1.0 - (1.0 - self.share) ** (1.0 / max(n_times - 1, 1)))
        out[0] = 0.0
        return out


@dataclass(frozen=True)
class DropoutRows:
    """Subject and time of each row, (n_obs,), and the row of each subject at each time, or -1."""

    subjects: IntArray
    times: IntArray
    place: IntArray


def missing_rows(
    missing: Missingness, rows: DropoutRows | None, scores: FloatArray, replicates: ByPart
) -> BoolArray:
    """Which responses of each replicate go missing, shape (n, n_obs).

    Parameters
    ----------
    scores : shape (n, n_obs), responses less their means over their standard deviations.
    """
    n, n_obs = scores.shape
    if rows is None:
        return np.asarray(replicates.numbers(MISSING, [("uniform", n_obs)]) < missing.share)
    n_subjects, n_times = rows.place.shape
    hazards = missing.hazards(n_times)
    uniform = replicates.numbers(MISSING, [("uniform", n_subjects * n_times)])
    uniform = uniform.reshape(n, n_subjects, n_times)
    gone_at = np.full((n, n_subjects), n_times)
    last = np.zeros((n, n_subjects))
    for t in range(n_times):
        chance = np.full((n, n_subjects), hazards[t])
        if missing.slope and t and 0.0 < hazards[t] < 1.0:
            odds = hazards[t] / (1.0 - hazards[t]) * np.exp(missing.slope * last)
            chance = odds / (1.0 + odds)
        goes = (gone_at == n_times) & (uniform[:, :, t] < chance)
        gone_at[goes] = t
        there = rows.place[:, t] >= 0
        last[:, there] = scores[:, rows.place[there, t]]
    return np.asarray(rows.times >= gone_at[:, rows.subjects])


def _shares(kind: str, given: Any) -> tuple[float, ...]:
    listed = given if isinstance(given, list | tuple | np.ndarray) else [given]
    shares = tuple(number(value, kind) for value in listed)
    if not shares or any(not 0.0 <= s < 1.0 for s in shares) or list(shares) != sorted(shares):
        raise ModelError(
            f"missing: {kind!r} is {given!r}; give a share from 0 to below 1, or for dropout one "
            "by time, those gone so far"
        )
    return shares
