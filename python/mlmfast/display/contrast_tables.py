"""Contrasts and tests of covariance parameters as tables."""

from __future__ import annotations

from html import escape
from typing import TYPE_CHECKING

import numpy as np

from mlmfast.display.numbers import column, degrees_of_freedom, p_value, printable, statistic
from mlmfast.display.tables import Table
from mlmfast.display.text import table_text

if TYPE_CHECKING:
    from mlmfast.inference.contrasts.contrast import Contrast, FTest
    from mlmfast.inference.intervals.covtest import CovarianceTests


def contrast_table(result: Contrast) -> Table:
    """The single functions of a contrast."""
    frame = result.table
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
    rows, rank = len(result.table), result.f.df_num
    if rank == rows:
        return joint_line(result.f)
    left = "1 row follows" if rows - rank == 1 else f"{rows - rank} rows follow"
    return f"{joint_line(result.f)} ({left} from the others)"


def contrast_text(result: Contrast) -> str:
    """A contrast as text."""
    text = table_text(contrast_table(result))
    return text if result.f is None else f"{text}\n{_joint(result)}"


def contrast_html(result: Contrast) -> str:
    """A contrast as HTML."""
    from mlmfast.display.html import table_html

    html = table_html(contrast_table(result))
    return html if result.f is None else f"{html}<p>{escape(_joint(result))}</p>"


def covariance_tests_table(result: CovarianceTests) -> Table:
    """Estimates, standard errors, Z and p of the covariance parameters."""
    frame = result.table
    rows = zip(
        [printable(str(name)) for name in frame.index],
        column(frame["estimate"].tolist()),
        column(frame["se"].tolist()),
        [statistic(value) for value in frame["z"]],
        [p_value(value) for value in frame["p_value"]],
        strict=True,
    )
    header = ("", "Estimate", "Std. error", "z value", "p value")
    note = "\n".join(["p: one-sided for variances, two-sided for other parameters", *result.notes])
    return Table("Covariance parameters", header, tuple(rows), 1, note)


def covariance_tests_text(result: CovarianceTests) -> str:
    """Tests of the covariance parameters as text."""
    return table_text(covariance_tests_table(result))


def covariance_tests_html(result: CovarianceTests) -> str:
    """Tests of the covariance parameters as HTML."""
    from mlmfast.display.html import table_html

    return table_html(covariance_tests_table(result))
