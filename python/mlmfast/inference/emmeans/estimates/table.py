"""Tables of labelled estimates: how they are computed, and how they print."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeVar

import numpy as np
import pandas as pd

from mlmfast.arrays import FloatArray, IntArray
from mlmfast.confidence_level import check_level
from mlmfast.display.frame_cells import table_of
from mlmfast.display.table_result import TableResult
from mlmfast.display.tables import Table
from mlmfast.errors import ModelError
from mlmfast.inference.emmeans.comparisons.sided import Hypothesis, sided_tests
from mlmfast.inference.emmeans.estimates.base import Estimates
from mlmfast.inference.emmeans.reference_grid import unknown_name
from mlmfast.inference.multiplicity.adjustments import TestFamily, adjusted, adjustment_name

_TIDY_NAMES = {"SE": "std_error", "lower": "conf_low", "upper": "conf_high", "t_ratio": "statistic"}

_Own = TypeVar("_Own", bound="TableOfEstimates")


class TableOfEstimates(TableResult):
    """Estimates of labelled linear functions; what all tables of means share.

    Parameters
    ----------
    functions
        The linear functions.
    level, adjust, seed
        Level of the intervals; adjustment within each family; seed of adjust="simulation".
    n_means
        Number of means of which each family is all pairwise differences; None otherwise.
    about
        Sentences that say what was averaged.
    estimate_name
        The column of the estimates, where not that of the class.
    """

    _metadata = [  # noqa: RUF012 (what pandas asks of a subclass)
        "title", "notes", "_functions", "_n_means", "_about", "level", "adjust", "seed",
        "_estimate_name",
    ]  # fmt: skip
    _estimate_name = "estimate"
    _is_tested = True

    def __init__(
        self,
        functions: Estimates,
        *,
        level: float = 0.95,
        adjust: str = "none",
        seed: int = 0,
        n_means: int | None = None,
        about: Sequence[str] = (),
        estimate_name: str | None = None,
    ) -> None:
        check_level(level)
        if estimate_name is not None:
            object.__setattr__(self, "_estimate_name", estimate_name)
        self._functions = functions
        self._n_means = n_means
        self._about = tuple(about)
        self.level = level
        self.adjust = adjustment_name(adjust)
        self.seed = seed
        frame = self._computed(level, Hypothesis())
        super().__init__(frame, self._notes(frame))

    @property
    def by(self) -> tuple[str, ...]:
        """Columns that split the rows into families."""
        return self._functions.by

    @property
    def L(self) -> pd.DataFrame:
        """Coefficients of the rows, a column a fixed effect."""
        return self._functions.coefficients()

    @property
    def vcov(self) -> pd.DataFrame:
        """Covariance matrix of the estimates; NaN where not estimable."""
        n, rows = len(self.frame), np.flatnonzero(self._functions.is_estimable)
        full = np.full((n, n), np.nan)
        if rows.size:
            full[np.ix_(rows, rows)] = self._functions.covariance(rows)
        return pd.DataFrame(full)

    def _again(self: _Own, **changed: Any) -> _Own:
        """The same table, some of its settings changed."""
        own = {"level": self.level, "adjust": self.adjust, "seed": self.seed}
        more = {"n_means": self._n_means, "about": self._about}
        name = self._estimate_name
        return type(self)(self._functions, **{**own, **more, "estimate_name": name, **changed})

    def tidy(self) -> pd.DataFrame:
        """Labels, estimate, std_error, df, conf_low, conf_high, statistic, p_value."""
        tested = self._computed(self.level, Hypothesis(), tested=True)
        frame = self.frame if self._is_tested else tested
        return frame.rename(columns={self._estimate_name: "estimate", **_TIDY_NAMES})

    def _regrouped(self, by: Any) -> Estimates:
        names = () if by is None else (by,) if isinstance(by, str) else tuple(by)
        columns = list(self._functions.labels.columns)
        for name in names:
            if name not in columns:
                raise unknown_name(name, columns, "a column of this table")
        if len(names) == len(columns):
            raise ModelError("by names every column, so nothing is left to contrast")
        return self._functions.regrouped(names)

    def _all_but(self, simple: Any, by: Any) -> tuple[str, ...]:
        """The columns beside those whose simple effects are asked for."""
        if by is not ...:
            raise ModelError("simple= compares its columns by all others; leave by= out")
        names = (simple,) if isinstance(simple, str) else tuple(simple)
        columns = list(self._functions.labels.columns)
        for name in names:
            if name not in columns:
                raise unknown_name(name, columns, "a column of this table")
        return tuple(column for column in columns if column not in names)

    def _computed(
        self, level: float, asked: Hypothesis, tested: bool | None = None
    ) -> pd.DataFrame:
        """The table at full precision."""
        functions = self._functions
        n = len(functions.labels)
        names = ("estimate", "SE", "df", "lower", "upper", "t_ratio", "p_value")
        columns = {name: np.full(n, np.nan) for name in names}
        for _, rows in functions.groups():
            rows = rows[functions.is_estimable[rows]]
            if rows.size:
                for name, values in self._family(rows, level, asked).items():
                    columns[name][rows] = values
        if not (self._is_tested if tested is None else tested):
            del columns["t_ratio"], columns["p_value"]
        frame = functions.labels.reset_index(drop=True).assign(**columns)
        return frame.rename(columns={"estimate": self._estimate_name})

    def _family(self, rows: IntArray, level: float, asked: Hypothesis) -> dict[str, FloatArray]:
        found = self._functions.tests(rows)
        known = {"estimate": found.estimate, "SE": found.se, "df": found.df}
        difference = found.estimate - asked.null
        with np.errstate(divide="ignore", invalid="ignore"):
            correlation = self._functions.covariance(rows) / np.outer(found.se, found.se)
        if not asked.is_plain:
            of_family = (difference, found.se, found.df, asked, self.adjust, level, correlation)
            more = sided_tests(*of_family)
            limits = {name: more[name] + asked.null for name in ("lower", "upper")}
            return {**known, **more, **limits}
        # A contrast without variance (of a mean with itself) has no test.
        with np.errstate(divide="ignore", invalid="ignore"):
            t = difference / found.se
        family = TestFamily(t, found.df, correlation, self._n_means, self._functions.rank(rows))
        p, width = adjusted(family, self.adjust, level, self.seed)
        half = width * found.se
        limits = {"lower": found.estimate - half, "upper": found.estimate + half}
        return {**known, **limits, "t_ratio": t, "p_value": p}

    def _notes(self, frame: pd.DataFrame) -> list[str]:
        notes = list(self._about)
        missing = ~self._functions.is_estimable
        if missing.any():
            labels = self._functions.labels[missing].astype(str).agg(" ".join, axis=1)
            notes.append(
                f"Not estimable (nonEst): {', '.join(labels)}; weights='cells' or 'flat' average "
                "over the cells that occur"
            )
        notes.append(f"{self._functions.degrees_note}; confidence level {self.level:g}")
        sizes = {len(rows) for _, rows in self._functions.groups()}
        if self.adjust != "none" and max(sizes, default=0) > 1:
            notes.append(self._adjustment_note(sizes))
        return notes

    def _adjustment_note(self, sizes: set[int]) -> str:
        if self.adjust == "tukey" and self._n_means is not None:
            family = f"for a family of {self._n_means} means"
        else:
            family = f"for {', '.join(map(str, sorted(sizes)))} rows"
        if self.adjust in {"holm", "hochberg", "hommel", "BH", "fdr", "BY"}:
            return f"P values adjusted: {self.adjust} {family}; intervals by bonferroni"
        return f"P values and intervals adjusted: {self.adjust} {family}"

    def _families(self) -> list[tuple[str, pd.DataFrame]]:
        """The table of each family without the columns that split them, and its title."""
        return [
            (
                ", ".join(f"{name} = {label}" for name, label in zip(self.by, key, strict=True)),
                self.frame.iloc[rows].drop(columns=list(self.by)),
            )
            for key, rows in self._functions.groups()
        ]

    def _tables(self) -> list[Table]:
        own = self._functions.own_labels
        return [table_of(part, title, own) for title, part in self._families()]

    def _plot(self, what: str, ax: Any, null: float | None = None) -> Any:
        from mlmfast.display.pictures.interval_plot import interval_plot

        label = f"{what}, {100 * self.level:g} % interval"
        own = self._functions.own_labels
        return interval_plot(self._families(), self._estimate_name, own, label, ax, null)


class ResponseTable(TableResult):
    """Estimates taken back to the scale of the response.

    Attributes
    ----------
    frame : DataFrame
        Labels, "response" ("ratio", "odds_ratio"), SE, df, lower, upper, and tests of contrasts.
    """

    _metadata = ["title", "notes", "_functions"]  # noqa: RUF012

    def __init__(self, frame: pd.DataFrame, notes: Sequence[str], functions: Estimates) -> None:
        super().__init__(frame, notes)
        self._functions = functions

    def _tables(self) -> list[Table]:
        own = self._functions.own_labels
        parts = [
            (
                ", ".join(f"{name} = {label}" for name, label in zip(by, key, strict=True)),
                self.frame.iloc[rows].drop(columns=list(by)),
            )
            for by in [self._functions.by]
            for key, rows in self._functions.groups()
        ]
        return [table_of(part, title, own) for title, part in parts]


class TableOfTests(ResponseTable):
    """Tests of estimates, with what was tested below them.

    Attributes
    ----------
    frame : DataFrame
        Labels, estimate, SE, df, t_ratio, p_value; with a side or a margin lower and upper.
    """
