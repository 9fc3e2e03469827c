"""Contrasts: linear functions of the fixed effects with their tests, and how they print."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from mlmfast.degrees_of_freedom import Ddf, method_of
from mlmfast.display.numbers import column, degrees_of_freedom, p_value, statistic
from mlmfast.display.printed_frame import PrintedFrame
from mlmfast.display.tables import Table
from mlmfast.display.text import table_text
from mlmfast.errors import ModelError
from mlmfast.handed_out import copied
from mlmfast.inference.contrasts.linear_tests import FTest, RowTests, f_test, linear_tests
from mlmfast.inference.contrasts.rows import ContrastRows, contrast_rows

if TYPE_CHECKING:
    from mlmfast.fitted.fitted import Fitted


class Contrast(PrintedFrame):
    """Tests of linear functions of the fixed effects; see `LMMResult.contrast`.

    Attributes
    ----------
    frame, table : pd.DataFrame
        One row a linear function: estimate, rhs, se, df, statistic, p_value, lower, upper.
    f : FTest or None
        The joint test, where there are several rows.
    ddf, label
        The method of degrees of freedom, and its name in reports.
    """

    _metadata = ["title", "notes", "L", "f", "ddf", "label", "level"]  # noqa: RUF012
    L: pd.DataFrame = copied()

    def __init__(
        self,
        rows: ContrastRows,
        tests: RowTests,
        joint: FTest | None,
        ddf: str,
        label: str,
        level: float,
    ) -> None:
        lower, upper = tests.interval(level)
        columns = {
            "estimate": tests.estimate,
            "rhs": tests.rhs,
            "se": tests.se,
            "df": tests.df,
            "statistic": tests.statistic,
            "p_value": tests.pvalue,
            "lower": lower,
            "upper": upper,
        }
        super().__init__(columns, index=pd.Index(rows.names, name="contrast"))
        self.f = joint
        self.ddf, self.label, self.level = ddf, label, level
        self.L = pd.DataFrame(rows.L, index=list(rows.names), columns=list(rows.columns))

    @property
    def table(self) -> pd.DataFrame:
        """`frame`, by another name."""
        return self.frame

    def __getattr__(self, name: str) -> Any:  # type: ignore[misc]
        """A column as a number, where there is one row."""
        if name.startswith("_") or name not in {*_NUMBERS, "pvalue"}:
            return super().__getattr__(name)
        column = "p_value" if name == "pvalue" else name
        if len(self) == 1:
            return float(self[column].iloc[0])
        if self.f is not None and name in {"statistic", "pvalue"}:
            return getattr(self.f, name)
        return self[column]

    def tidy(self) -> pd.DataFrame:
        """One row a linear function, the joint test last (term ``(joint)``)."""
        frame = self.frame.reset_index()
        if self.f is not None:
            joint = {
                "contrast": "(joint)",
                "statistic": self.f.statistic,
                "df_num": self.f.df_num,
                "df": self.f.df_den,
                "p_value": self.f.pvalue,
                "chi2": self.f.chi2,
                "chi2_p_value": self.f.chi2_pvalue,
            }
            frame = pd.concat([frame, pd.DataFrame([joint])], ignore_index=True)
        return frame

    def __repr__(self) -> str:
        text = table_text(contrast_table(self))
        return text if self.f is None else f"{text}\n{_joint(self)}"

    def _repr_html_(self) -> str:
        from mlmfast.display.html import tables_html

        return tables_html([contrast_table(self)], () if self.f is None else (_joint(self),))


_NUMBERS = ("estimate", "rhs", "se", "df", "statistic", "p_value", "lower", "upper")


def contrast(
    fit: Fitted, L: object, rhs: object = 0.0, ddf: Ddf | None = None, level: float = 0.95
) -> Contrast:
    """Test linear functions of the fixed effects: one row by t, several together by F.

    Parameters
    ----------
    L
        Text (``"Days = 10"``, ``"trtB - trtA"``), a dict from names of coefficients to weights,
        an array of shape (p,) or (m, p) over all columns of X, or a list or a dict (by label)
        of those. Rows that depend on others are left out of the F test.
    rhs
        Values under the hypothesis, added to what texts give.
    ddf
        Method of degrees of freedom; the fit's own by default.
    level
        Level of the intervals.

    Raises
    ------
    ModelError
        For rows that are not estimable or contradict each other, unknown names, wrong lengths.

    Examples
    --------
    >>> import mlmfast as mlm
    >>> fit = mlm.lmm("Reaction ~ Days + (Days | Subject)", mlm.load_sleepstudy())
    >>> test = fit.contrast("Days = 10")
    >>> round(test.statistic, 4), round(test.df, 4), round(test.pvalue, 4)
    (0.3023, 17.0, 0.7661)
    """
    return linear_function_tests(fit, L, rhs, ddf, level, joint=True)


def linear_function_tests(
    fit: Fitted,
    L: object,
    rhs: object = 0.0,
    ddf: Ddf | None = None,
    level: float = 0.95,
    *,
    joint: bool,
) -> Contrast:
    """Tests of linear functions one by one, and with ``joint`` of several together."""
    rows = contrast_rows(fit._record.x_names, L, rhs)
    empty = np.flatnonzero(~rows.L.any(axis=1))
    if empty.size:
        raise ModelError(
            f"row {empty[0] + 1} of the contrast is 0 for every coefficient; there is nothing to "
            "estimate"
        )
    tests = linear_tests(fit, rows.L, rows.rhs, ddf)
    together = f_test(fit, rows.L, ddf, rows.rhs) if joint and len(rows.L) > 1 else None
    basis = fit._basis(ddf)
    return Contrast(rows, tests, together, basis.method, method_of(basis.method).label, level)


def contrast_table(result: Contrast) -> Table:
    """The single functions of a contrast."""
    frame = result.frame
    infinite = bool(np.isinf(frame["df"]).all())
    names = [str(name) for name in frame.index]
    shows_rhs = bool((frame["rhs"] != 0).any())
    header = ["", "Estimate", *(["H0"] if shows_rhs else []), "Std. error"]
    columns = [names, column(frame["estimate"].tolist())]
    if shows_rhs:
        columns.append([f"{value:g}" for value in frame["rhs"]])
    columns.append(column(frame["se"].tolist()))
    if not infinite:
        header.append("df")
        columns.append([degrees_of_freedom(value) for value in frame["df"]])
    header += ["z value" if infinite else "t value", "p value"]
    columns += [
        [statistic(value) for value in frame["statistic"]],
        [p_value(value) for value in frame["p_value"]],
    ]
    note = f"df: {result.label}" if not infinite else "z tests: normal distribution"
    rows = tuple(zip(*columns, strict=True))
    return Table("Linear functions of the fixed effects", tuple(header), rows, 1, note)


def joint_line(test: FTest) -> str:
    """The joint test in a line."""
    chi2 = f"chi2({test.df_num}) = {statistic(test.chi2)}, {_p(test.chi2_pvalue)}"
    if test.note:
        return f"Joint test: {chi2}; F: {test.note}"
    df = degrees_of_freedom(test.df_den)
    return (
        f"Joint test: F({test.df_num}, {df}) = {statistic(test.statistic)}, "
        f"{_p(test.pvalue)}; {chi2}"
    )


def _p(value: float) -> str:
    """``p = 0.0123`` or ``p < 1e-16``."""
    text = p_value(value)
    return f"p < {text[1:]}" if text.startswith("<") else f"p = {text}"


def _joint(result: Contrast) -> str:
    """The joint test, and what rows have no part in it; empty without one."""
    if result.f is None:
        return ""
    rows, rank = len(result), result.f.df_num
    if rank == rows:
        return joint_line(result.f)
    left = "1 row follows" if rows - rank == 1 else f"{rows - rank} rows follow"
    return f"{joint_line(result.f)} ({left} from the others)"
