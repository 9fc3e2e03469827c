"""`pool`: estimates of several imputed data sets as one."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from mlmfast.arrays import FloatArray
from mlmfast.confidence_level import check_level
from mlmfast.display.frame_cells import table_of
from mlmfast.display.table_result import TableResult
from mlmfast.display.tables import Table
from mlmfast.distributions import f_tail, normal_quantile, quantile, two_sided
from mlmfast.errors import DataError, ModelError
from mlmfast.guessed_arguments import told
from mlmfast.imputation.pooling.read import Analyses, analyses_of
from mlmfast.imputation.pooling.rubin import Pooled, needed
from mlmfast.inference.contrasts.linear_tests import FTest

RULES = ("rubin", "jackknife", "bootstrap")


class PooledEstimates(TableResult):
    """Pooled estimates, one a row; see `pool`.

    Attributes
    ----------
    frame : DataFrame
        Labels, estimate, SE, df, lower, upper, t_ratio, p_value; by Rubin's rules also fmi, the
        fraction of missing information, and riv, the relative increase of the variance.
    within, between, vcov : DataFrame
        Mean covariance of the analyses, covariance between them, and the total.
    m
        Number of data sets.
    """

    _metadata = ["title", "notes", "_labels", "_pooled", "_level"]  # noqa: RUF012

    def __init__(
        self, frame: pd.DataFrame, notes: Sequence[str], labels: list[str], pooled: Pooled | None,
        level: float,
    ) -> None:  # fmt: skip
        super().__init__(frame, notes)
        self._labels, self._pooled, self._level = labels, pooled, level

    def _tables(self) -> list[Table]:
        return [table_of(self.frame, "", self._labels)]

    @property
    def _of_rubin(self) -> Pooled:
        if self._pooled is None:
            raise ModelError("only estimates pooled by Rubin's rules have that")
        return self._pooled

    @property
    def m(self) -> int:
        """Number of data sets."""
        return self._of_rubin.m

    @property
    def within(self) -> pd.DataFrame:
        """Mean covariance of the analyses."""
        return self._named(self._of_rubin.within)

    @property
    def between(self) -> pd.DataFrame:
        """Covariance of the estimates between data sets."""
        return self._named(self._of_rubin.between)

    @property
    def vcov(self) -> pd.DataFrame:
        """Total covariance W + (1 + 1/m) B."""
        return self._named(self._of_rubin.total)

    @property
    def _names(self) -> list[str]:
        return self.frame[self._labels].astype(str).agg(" ".join, axis=1).tolist()

    def _named(self, matrix: FloatArray) -> pd.DataFrame:
        return pd.DataFrame(matrix, index=self._names, columns=self._names)

    def contrast(self, L: Any) -> PooledEstimates:
        """Linear functions of the estimates, pooled likewise.

        Parameters
        ----------
        L : dict of name to coefficients (a dict by name, or numbers), or a matrix with a row each
        """
        matrix, names = self._rows(L)
        labels = pd.DataFrame({"contrast": names})
        return by_rubin(labels, self._of_rubin.linear(matrix), self._level)

    def test(self, L: Any = None, null: Any = 0.0) -> FTest:
        """One test that all estimates, or the functions L of them, are `null`: D1.

        Li, Raghunathan and Rubin (1991); the denominator by Reiter (2007) where complete data have
        finite degrees of freedom. It takes the fraction of missing information to be about the
        same in all directions.

        Examples
        --------
        >>> pooled = pool([[1.0, 2.0], [1.4, 2.1], [0.9, 1.7]], se=[[0.5, 0.6]] * 3)
        >>> test = pooled.test()
        >>> test.df_num, round(test.statistic, 3)
        (2, 6.008)
        """
        pooled = self._of_rubin if L is None else self._of_rubin.linear(self._rows(L)[0])
        k = len(pooled.estimate)
        if not _is_regular(pooled.within):
            raise ModelError(
                "the functions tested depend on each other, or have no variance; test independent "
                "ones by L="
            )
        values = _null(null, k)
        statistic, df = pooled.joint(values)
        p = float(f_tail(statistic, k, 1e300 if np.isinf(df) else df))
        return FTest(statistic, k, df, p, np.nan, np.nan)

    def needed(self, cv: float = 0.05) -> pd.Series[float]:
        """Imputations for standard errors that come out within `cv` of each other if done again.

        1 + (f / cv)^2 / 2 with the upper 95 % limit f of the fraction of missing information (von
        Hippel 2020), rounded up.
        """
        if not isinstance(cv, int | float | np.number) or not 0 < cv < 1:
            raise DataError(f"cv is {cv!r}; give a coefficient of variation between 0 and 1")
        found = needed(self._of_rubin.missing_information(), self.m, cv)
        return pd.Series(np.ceil(found - 1e-9), index=self._names)

    def _rows(self, L: Any) -> tuple[FloatArray, list[str]]:
        names = self._names
        if isinstance(L, dict):
            rows = []
            for name, row in L.items():
                if isinstance(row, dict):
                    unknown = [key for key in row if key not in names]
                    if unknown:
                        raise DataError(
                            f"contrast {name!r}: {unknown[0]!r} is no estimate ({', '.join(names)})"
                        )
                    row = [row.get(key, 0.0) for key in names]
                rows.append(row)
            labels = list(map(str, L))
        else:
            given = np.asarray(L, dtype=object)
            rows = list(given if given.ndim > 1 else given[None])
            labels = [f"c.{k + 1}" for k in range(len(rows))]
        try:
            matrix = np.asarray(rows, dtype=np.float64)
        except (TypeError, ValueError):
            raise DataError(
                f"L is {L!r}; give a dict of name to coefficients, or numbers, one for each of "
                f"{', '.join(names)}"
            ) from None
        if matrix.ndim != 2 or matrix.shape[1] != len(names) or not np.isfinite(matrix).all():
            raise DataError(f"L has not {len(names)} finite coefficients a row: {', '.join(names)}")
        return matrix, labels


@told()
def pool(
    analyses: Any, se: Any = None, *, df: Any = None, rule: str = "rubin", level: float = 0.95
) -> PooledEstimates:
    """Pool the estimates of several imputed data sets.

    Parameters
    ----------
    analyses
        One for each data set: fits, tables of `emmeans`, `emtrends` and their contrasts, dicts of
        name to estimate, (estimate, se) or (estimate, se, df); or estimates of shape (m,) or
        (m, k) with ``se``. With rule="jackknife" or "bootstrap" the first is that of all subjects.
    se
        Standard errors of plain estimates.
    df
        Degrees of freedom that complete data would give; by default the mean of the analyses' own
        (infinite for plain estimates).
    rule
        "rubin": W + (1 + 1/m) B with Barnard and Rubin's (1999) degrees of freedom; where complete
        data have infinitely many, Rubin's (1987). "jackknife": data sets without one subject each,
        normal intervals with the jackknife's standard error. "bootstrap": of drawn subjects, with
        the standard deviation of the estimates. The last two are for conditional means
        (`LMMResult.impute`), whose analyses are no draws.
    level
        Level of the intervals.

    Raises
    ------
    DataError, ModelError
        For one analysis, analyses of different terms, or what cannot be read.

    Examples
    --------
    >>> pool([1.0, 1.4, 0.9], se=[0.5, 0.5, 0.6], df=40)
    term      estimate      SE    df    lower   upper  t ratio  p value     riv     fmi
    estimate    1.1000  0.6164  15.4  -0.2109  2.4109    1.784   0.0941  0.3256  0.3276
    3 imputations, Rubin's rules; degrees of freedom: Barnard-Rubin; confidence level 0.95
    """
    check_level(level)
    if rule not in RULES:
        raise ModelError(f"rule is {rule!r}; use {', '.join(map(repr, RULES))}")
    found = analyses_of(analyses, se, df)
    if rule != "rubin":
        return _resampled(found, rule, level)
    if not found.covariances.shape[1]:
        raise ModelError(
            "Rubin's rules need the standard error of every estimate; give se=, or "
            "rule='jackknife' for conditional means"
        )
    # A mean of infinite ones is infinite.
    complete = found.df.mean(axis=0)
    return by_rubin(found.labels, Pooled.of(found.estimates, found.covariances, complete), level)


def _is_regular(covariance: FloatArray) -> bool:
    """Whether a covariance has full rank, in whatever units its rows are."""
    sd = np.sqrt(np.diag(covariance))
    if not (sd > 0).all():
        return False
    return int(np.linalg.matrix_rank(covariance / np.outer(sd, sd))) == len(sd)


def _null(null: Any, k: int) -> FloatArray:
    try:
        values = np.broadcast_to(np.asarray(null, dtype=np.float64), (k,))
    except (TypeError, ValueError):
        values = np.full(k, np.nan)
    if not np.isfinite(values).all():
        raise DataError(f"null is {null!r}; give a finite number, or one for each of {k} functions")
    return np.asarray(values)


def by_rubin(labels: pd.DataFrame, pooled: Pooled, level: float) -> PooledEstimates:
    """The table of pooled estimates."""
    se, df = np.sqrt(np.maximum(np.diag(pooled.total), 0.0)), pooled.df()
    frame = _table(labels, pooled.estimate, se, df, quantile(df, level))
    frame["riv"], frame["fmi"] = pooled.relative_increase, pooled.missing_information()
    notes = [
        f"{pooled.m} imputations, Rubin's rules; degrees of freedom: Barnard-Rubin; confidence "
        f"level {level:g}"
    ]
    without = np.isnan(df)
    if without.any():
        frame.loc[without, ["lower", "upper", "t_ratio", "p_value"]] = np.nan
        names = ", ".join(labels[without].astype(str).agg(" ".join, axis=1))
        notes.append(
            f"{names}: the standard error is 0 in every analysis, which leaves no degrees of "
            "freedom, no interval and no test"
        )
    return PooledEstimates(frame, notes, list(labels.columns), pooled, level)


def _table(
    labels: pd.DataFrame, estimate: FloatArray, se: FloatArray, df: FloatArray, width: Any
) -> pd.DataFrame:
    with np.errstate(divide="ignore", invalid="ignore"):
        t = estimate / se
    return labels.assign(
        estimate=estimate,
        SE=se,
        df=df,
        lower=estimate - width * se,
        upper=estimate + width * se,
        t_ratio=t,
        p_value=two_sided(t, df),
    )


def _resampled(found: Analyses, rule: str, level: float) -> PooledEstimates:
    """The first analysis with the standard error that the others give."""
    rest = found.estimates[1:]
    n = len(rest)
    if n < 2:
        raise DataError(
            f"rule={rule!r} takes the analysis of all subjects and then those of two data sets or "
            f"more, and was given {n} after the first"
        )
    squares = ((rest - rest.mean(axis=0)) ** 2).sum(axis=0)
    variance = squares * (n - 1) / n if rule == "jackknife" else squares / (n - 1)
    df = np.full(rest.shape[1], np.inf)
    z = float(normal_quantile(0.5 + level / 2))
    frame = _table(found.labels, found.estimates[0], np.sqrt(variance), df, z)
    notes = (f"{n} data sets, standard errors by the {rule}; normal intervals of level {level:g}",)
    return PooledEstimates(frame, notes, list(found.labels.columns), None, level)
