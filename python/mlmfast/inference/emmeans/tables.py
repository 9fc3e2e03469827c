"""Tables of estimated marginal means and of contrasts between them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd

from mlmfast.arrays import FloatArray, IntArray
from mlmfast.confidence_level import check_level
from mlmfast.display.frame_cells import table_of
from mlmfast.display.table_result import TableResult
from mlmfast.display.tables import Table
from mlmfast.errors import ModelError
from mlmfast.inference.anova.anova import ddf_label
from mlmfast.inference.emmeans.contrast_rows import Method, contrast_rows, interaction_rows
from mlmfast.inference.emmeans.joint import JointTests, joint_test
from mlmfast.inference.emmeans.linear_functions import LinearFunctions
from mlmfast.inference.emmeans.reference_grid import unknown_name
from mlmfast.inference.multiplicity.adjustments import TestFamily, adjusted, adjustment_name

_TIDY_NAMES = {"SE": "std_error", "lower": "conf_low", "upper": "conf_high", "t_ratio": "statistic"}


class EstimateTable(TableResult):
    """Estimates of labelled linear functions; base of `EMMeans` and `Contrasts`.

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
    """

    _metadata = [  # noqa: RUF012 (what pandas asks of a subclass)
        "title", "notes", "_functions", "_n_means", "_about", "level", "adjust", "seed",
    ]  # fmt: skip
    _estimate_name = "estimate"
    _is_tested = True

    def __init__(
        self,
        functions: LinearFunctions,
        *,
        level: float = 0.95,
        adjust: str = "none",
        seed: int = 0,
        n_means: int | None = None,
        about: Sequence[str] = (),
    ) -> None:
        check_level(level)
        self._functions = functions
        self._n_means = n_means
        self._about = tuple(about)
        self.level = level
        self.adjust = adjustment_name(adjust)
        self.seed = seed
        frame = self._computed(level, 0.0)
        super().__init__(frame, self._notes(frame))

    @property
    def by(self) -> tuple[str, ...]:
        """Columns that split the rows into families."""
        return self._functions.by

    @property
    def L(self) -> pd.DataFrame:
        """Coefficients of the rows, a column a fixed effect."""
        names = list(self._functions.fit._record.x_names)
        return pd.DataFrame(self._functions.L.copy(), columns=names)

    @property
    def vcov(self) -> pd.DataFrame:
        """Covariance matrix of the estimates; NaN where not estimable."""
        n, rows = len(self.frame), np.flatnonzero(self._functions.is_estimable)
        full = np.full((n, n), np.nan)
        if rows.size:
            full[np.ix_(rows, rows)] = self._functions.covariance(rows)
        return pd.DataFrame(full)

    def summary(
        self, *, adjust: str | None = None, level: float | None = None, seed: int | None = None
    ) -> EstimateTable:
        """Show the same estimates under another adjustment or level."""
        return type(self)(
            self._functions,
            level=self.level if level is None else level,
            adjust=self.adjust if adjust is None else adjust,
            seed=self.seed if seed is None else seed,
            n_means=self._n_means,
            about=self._about,
        )

    def tidy(self) -> pd.DataFrame:
        """Labels, estimate, std_error, df, conf_low, conf_high, statistic, p_value."""
        frame = self.frame if self._is_tested else self._computed(self.level, 0.0, tested=True)
        return frame.rename(columns={self._estimate_name: "estimate", **_TIDY_NAMES})

    def test(
        self, null: float = 0.0, *, adjust: str | None = None, joint: bool = False, by: Any = ...
    ) -> pd.DataFrame | JointTests:
        """Test each row against `null`, or all rows of a family together.

        Parameters
        ----------
        null
            Value tested for.
        adjust
            Adjustment within each family; by default that of the table.
        joint
            One F test a family: all its functions are 0.
        by
            Other columns to split by; by default those of the table.

        Returns
        -------
        DataFrame, or `JointTests`
        """
        functions = self._functions if by is ... else self._regrouped(by)
        if joint:
            if null != 0.0:
                raise ModelError("a joint test is against 0; leave out null")
            return joint_test(functions)
        other = type(self)(
            functions,
            level=self.level,
            adjust=adjust or self.adjust,
            seed=self.seed,
            n_means=self._n_means if by is ... else None,
        )
        frame = other._computed(self.level, float(null), tested=True)
        return frame.drop(columns=["lower", "upper"])

    def contrast(
        self,
        method: Method = "eff",
        *,
        by: Any = ...,
        adjust: str | None = None,
        ref: Any = None,
        interaction: Any = None,
        level: float | None = None,
        seed: int = 0,
    ) -> Contrasts:
        """Contrasts between the rows of each family.

        Parameters
        ----------
        method
            "pairwise", "revpairwise", "trt.vs.ctrl" (control `ref`, by default the first),
            "trt.vs.ctrlk" (the last), "poly", "consec" (neighbours), "mean_chg" (after against
            before), "eff" (against the mean of all), "del.eff" (against the mean of the others),
            "identity"; or your own: a dict of name to coefficients (numbers in the order of the
            rows, or a dict by label), a data frame or a matrix with a row a contrast.
        by
            Columns that split the rows; by default those of the table, None for no split.
        adjust
            "none", "tukey", "dunnett" or "mvt" (exact, by the multivariate t distribution),
            "simulation", "sidak", "bonferroni", "scheffe", "holm", "hochberg", "hommel", "BH"
            ("fdr"), "BY". By default the one that goes with the method: tukey for pairs, dunnett
            against a control, mvt for consec and mean_chg, fdr for effects, none otherwise.
        ref
            Label of the control.
        interaction
            A method, or a list of one for each factor: contrasts of contrasts, such as
            differences in differences.
        level
            Level of the (simultaneous) intervals.
        seed
            Seed of adjust="simulation".

        Examples
        --------
        >>> import mlmfast as mlm
        >>> data = mlm.load_sleepstudy()
        >>> data["week"] = [f"w{1 + day // 4}" for day in data.Days]
        >>> means = mlm.lmm("Reaction ~ week + (1 | Subject)", data).emmeans("week")
        >>> means.contrast("trt.vs.ctrl")["estimate"].round(2).tolist()
        [39.65, 76.36]
        """
        functions = self._functions if by is ... else self._regrouped(by)
        if interaction is not None:
            combined = interaction_rows(functions, interaction)
            n_means, default = None, "none"
        else:
            combined, n_means, default = contrast_rows(functions, method, ref)
        return Contrasts(
            combined,
            level=self.level if level is None else level,
            adjust=default if adjust is None else adjust,
            seed=seed,
            n_means=n_means,
            about=self._about,
        )

    def pairs(self, **arguments: Any) -> Contrasts:
        """All pairwise differences; see `contrast`."""
        return self.contrast("pairwise", **arguments)

    def _regrouped(self, by: Any) -> LinearFunctions:
        names = () if by is None else (by,) if isinstance(by, str) else tuple(by)
        columns = list(self._functions.labels.columns)
        for name in names:
            if name not in columns:
                raise unknown_name(name, columns, "a column of this table")
        if len(names) == len(columns):
            raise ModelError("by names every column, so nothing is left to contrast")
        return replace(self._functions, by=names)

    def _computed(self, level: float, null: float, tested: bool | None = None) -> pd.DataFrame:
        """The table at full precision."""
        functions = self._functions
        n = len(functions.labels)
        names = ("estimate", "SE", "df", "lower", "upper", "t_ratio", "p_value")
        columns = {name: np.full(n, np.nan) for name in names}
        for _, rows in functions.groups():
            rows = rows[functions.is_estimable[rows]]
            if rows.size:
                for name, values in self._family(rows, level, null).items():
                    columns[name][rows] = values
        if not (self._is_tested if tested is None else tested):
            del columns["t_ratio"], columns["p_value"]
        frame = functions.labels.reset_index(drop=True).assign(**columns)
        return frame.rename(columns={"estimate": self._estimate_name})

    def _family(self, rows: IntArray, level: float, null: float) -> dict[str, FloatArray]:
        found = self._functions.tests(rows)
        # A contrast without variance (of a mean with itself) has no test.
        with np.errstate(divide="ignore", invalid="ignore"):
            t = (found.estimate - null) / found.se
            correlation = self._functions.covariance(rows) / np.outer(found.se, found.se)
        family = TestFamily(t, found.df, correlation, self._n_means, self._functions.rank(rows))
        p, width = adjusted(family, self.adjust, level, self.seed)
        half = width * found.se
        return {
            "estimate": found.estimate,
            "SE": found.se,
            "df": found.df,
            "lower": found.estimate - half,
            "upper": found.estimate + half,
            "t_ratio": t,
            "p_value": p,
        }

    def _notes(self, frame: pd.DataFrame) -> list[str]:
        notes = list(self._about)
        missing = ~self._functions.is_estimable
        if missing.any():
            labels = self._functions.labels[missing].astype(str).agg(" ".join, axis=1)
            notes.append(
                f"Not estimable (nonEst): {', '.join(labels)}; weights='cells' or 'flat' average "
                "over the cells that occur"
            )
        ddf = ddf_label(self._functions.fit, self._functions.ddf)
        notes.append(f"{ddf}; confidence level {self.level:g}")
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

        label = f"{what}, {100 * self.level:g}% interval"
        own = self._functions.own_labels
        return interval_plot(self._families(), self._estimate_name, own, label, ax, null)


class Contrasts(EstimateTable):
    """Contrasts of estimated marginal means.

    Attributes
    ----------
    frame : DataFrame
        Labels, estimate, SE, df, lower, upper, t_ratio, p_value; NaN where not estimable.
    """

    def plot(self, ax: Any = None) -> Any:  # type: ignore[override]
        """Contrasts with their intervals and a line at 0; the matplotlib figure."""
        return self._plot("contrast", ax, null=0.0)
