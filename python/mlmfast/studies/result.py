"""StudyResult: what a study found, read from its folder."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from mlmfast.errors import DataError
from mlmfast.studies.performance.needed import needed_by_group
from mlmfast.studies.performance.printed import summary
from mlmfast.studies.performance.samples import COLUMNS, columns_of, samples
from mlmfast.studies.performance.table import Labelled, performance_frame, read_measures
from mlmfast.studies.performance.wide import great_table, wide_table
from mlmfast.studies.plan.conditions import Condition
from mlmfast.studies.plan.identity import cell
from mlmfast.studies.running.folder import Folder

if TYPE_CHECKING:
    from mlmfast.studies.pictures import StudyPlots


def load_study(path: str | os.PathLike[str]) -> StudyResult:
    """The results of a study, finished or not; the functions of the plan are not needed.

    Parameters
    ----------
    path
        The folder that `Study.run` was given.

    Raises
    ------
    DataError
        Where there is no study.
    """
    return StudyResult(path)


class StudyResult:
    """Results of a study, as far as they are finished.

    Attributes
    ----------
    path
        The folder.
    plan
        The record of the plan: seed, conditions, methods, estimands, true values.
    versions
        Versions of the programs that began the study.
    fingerprint
        Digits that stand for the plan.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self._folder = Folder(path)
        found = self._folder.record()
        self.path = self._folder.path
        self.plan: dict[str, Any] = found["plan"]
        self.versions: dict[str, str] = found.get("versions", {})
        self.fingerprint: str = found.get("fingerprint", "")
        self._conditions = [Condition.of(values) for values in self.plan["conditions"]]

    @property
    def methods(self) -> list[str]:
        """Names of the methods."""
        return list(self.plan["methods"])

    @property
    def estimands(self) -> list[str]:
        """Names of the estimands."""
        return list(self.plan["estimands"])

    @property
    def factors(self) -> list[str]:
        """Names of the factors of the conditions."""
        return list(self._conditions[0].values)

    @property
    def n_finished(self) -> list[int]:
        """Finished replicates of each condition."""
        return [sum(last - first for _, first, last in self._files(c)) for c in self._conditions]

    def __repr__(self) -> str:
        done, planned = sum(self.n_finished), self.plan["n_replicates"] * len(self._conditions)
        return (
            f"<StudyResult: {len(self._conditions)} conditions, {done:,} of {planned:,} "
            f"replicates, methods {', '.join(self.methods)}>"
        )

    @property
    def replicates(self) -> pd.DataFrame:
        """One row a replicate, method and estimand, in the order of the plan.

        Columns: those of the conditions, ``replicate``, ``method``, ``estimand``, ``estimate``,
        ``std_error``, ``df``, ``p_value``, ``lower``, ``upper``, ``converged``, ``singular``,
        ``error`` (missing where nothing went wrong) and ``key``, which `Study.data` draws the
        replicate from again.
        """
        files = [file for condition in self._conditions for file, _, _ in self._files(condition)]
        table = self._folder.read(files)
        if table is None:
            raise DataError(f"no chunk of the study in {self.path} is finished yet")
        frame: pd.DataFrame = table.to_pandas()
        return frame

    def performance(
        self,
        measures: str | Sequence[str] | None = None,
        *,
        reference: str | None = None,
        alpha: float = 0.05,
        unconverged: bool = False,
        interval: bool = False,
    ) -> pd.DataFrame:
        """Measures of performance with their Monte Carlo standard errors.

        Parameters
        ----------
        measures
            Some of ``"n"`` (replicates that count), ``"convergence"``, ``"singular"``, ``"mean"``,
            ``"median"``, ``"bias"``, ``"relative_bias"``, ``"empirical_se"``, ``"mse"``,
            ``"rmse"``, ``"relative_precision"`` (per cent, over the reference), ``"correlation"``
            (of estimates, with the reference), ``"mean_variance"``, ``"median_variance"``,
            ``"model_se"``, ``"relative_error"`` (of it, per cent), ``"coverage"``,
            ``"bias_eliminated_coverage"`` and ``"power"`` (the type I error where the truth is 0);
            or rsimsum's names of them. All by default.
        reference
            The method that others are compared with; the first by default.
        alpha
            Level of the tests.
        unconverged
            Whether the estimates of fits that did not converge count.
        interval
            Whether the Monte Carlo 95 % interval of each value is wanted too: the exact binomial
            one of a share, such as coverage and power, else 1.96 standard errors to both sides.

        Returns
        -------
        DataFrame
            Columns of the conditions, ``method``, ``estimand``, ``measure``, ``value``, ``mcse``;
            ``lower`` and ``upper`` with ``interval``.
        """
        names = read_measures(measures)
        found = self._samples(reference, alpha, unconverged)
        return performance_frame(found, names, interval)

    def table(
        self,
        measures: str | Sequence[str] | None = None,
        estimand: str | None = None,
        *,
        mcse: bool = True,
    ) -> pd.DataFrame:
        """Performance with a row a condition and estimand, and a column a measure and method.

        Parameters
        ----------
        measures
            As of `performance`; by default bias, standard errors, coverage and power.
        estimand
            One of them; all by default.
        mcse
            Cells as text with the Monte Carlo standard error, ``"0.948 (0.007)"``, to the digits
            that it leaves; else numbers.
        """
        return wide_table(self, measures, estimand, mcse)

    def to_gt(
        self,
        measures: str | Sequence[str] | None = None,
        estimand: str | None = None,
        title: str | None = None,
    ) -> Any:
        """The table of `table` as a `great_tables.GT`, for HTML, LaTeX or a notebook.

        Raises
        ------
        MlmError
            Where great-tables is not installed (``pip install 'mlmfast[tables]'``).
        """
        return great_table(self, measures, estimand, title)

    def n_for(self, mcse: float, measure: str = "coverage", **options: Any) -> pd.DataFrame:
        """Replicates that would make a Monte Carlo standard error as small as ``mcse``.

        Parameters
        ----------
        mcse
            What is wanted.
        measure
            As of `performance`.
        options
            Those of `performance`.

        Returns
        -------
        DataFrame
            By condition, method and estimand ``mcse_now``, ``n_now`` and ``n``.
        """
        if isinstance(mcse, bool) or not isinstance(mcse, int | float) or not mcse > 0:
            raise DataError(f"mcse is {mcse!r}; a positive number is needed")
        now, counts = (self.performance([name], **options) for name in (measure, "n"))
        return needed_by_group(now, counts, mcse)

    def failures(self) -> pd.DataFrame:
        """Errors by condition, method and text: how many, and the key of the first."""
        rows = self.replicates
        rows = rows[rows["error"].notna()]
        by = [*self.factors, "method", "error"]
        grouped = rows.drop_duplicates([*self.factors, "method", "replicate", "error"])
        counted = grouped.groupby(by, sort=False, dropna=False)["key"].agg(["size", "first"])
        return counted.rename(columns={"size": "n", "first": "key"}).reset_index()

    def summary(self) -> str:
        """Convergence, bias, standard errors, coverage and power as tables of text."""
        return summary(self)

    @property
    def plot(self) -> StudyPlots:
        """Pictures: ``result.plot.zip()``, ``lollipop``, ``nested_loop``, ``power``, ..."""
        from mlmfast.studies.pictures import StudyPlots

        return StudyPlots(self)

    def report(self, path: str | os.PathLike[str]) -> None:
        """Write one HTML file with plan, failures, tables of performance, and pictures."""
        from mlmfast.data.whole_files import write_whole
        from mlmfast.studies.report import report_page

        write_whole(path, report_page(self))

    def _files(self, condition: Condition) -> list[tuple[Any, int, int]]:
        """Finished chunks of a condition in order: file, first and last replicate."""
        size, n = self.plan["chunk"], self.plan["n_replicates"]
        out = []
        for file in sorted((self.path / "chunks").glob(f"{condition.name}-*.parquet")):
            first, last = (int(number) for number in file.stem.split("-")[1:])
            # The last chunk of a smaller plan may still be there.
            if first % size == 0 and last == min(first + size, n):
                out.append((file, first, last))
        return out

    def _columns(self, condition: Condition) -> dict[str, Any] | None:
        table = self._folder.read([file for file, _, _ in self._files(condition)], COLUMNS)
        return None if table is None else columns_of(table)

    def _samples(
        self, reference: str | None, alpha: float, unconverged: bool
    ) -> Iterator[Labelled]:
        base = self.methods[0] if reference is None else reference
        if base not in self.methods:
            raise DataError(f"reference is {base!r}; the methods are {', '.join(self.methods)}")
        if not isinstance(alpha, int | float) or not 0 < alpha < 1:
            raise DataError(f"alpha is {alpha!r}; it must lie between 0 and 1, such as 0.05")
        for condition, truths in zip(self._conditions, self.plan["truths"], strict=True):
            columns = self._columns(condition)
            if columns is None:
                continue
            values = {name: cell(value) for name, value in condition.values.items()}
            known = {k: np.nan if value is None else value for k, value in truths.items()}
            for method, estimand, sample in samples(
                columns, self.methods, known, alpha, base, unconverged
            ):
                yield values, method, estimand, sample
