"""Joint F tests of all contrasts of a family."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pandas as pd

from mlmfast.arrays import IntArray
from mlmfast.display.frame_cells import table_of
from mlmfast.display.table_result import TableResult
from mlmfast.display.tables import Table
from mlmfast.inference.anova.anova import without_f
from mlmfast.inference.emmeans.estimates.base import Estimates

_COLUMNS = ("NumDF", "DenDF", "F value", "Pr(>F)")


class JointTests(TableResult):
    """F tests, one a row.

    Attributes
    ----------
    frame : DataFrame
        Labels, NumDF, DenDF, "F value", "Pr(>F)".
    """

    def tidy(self) -> pd.DataFrame:
        """Labels, num_df, den_df, statistic, p_value."""
        names = ("num_df", "den_df", "statistic", "p_value")
        return self.frame.rename(columns=dict(zip(_COLUMNS, names, strict=True)))

    def _tables(self) -> list[Table]:
        labels = [name for name in self.frame.columns if name not in _COLUMNS]
        return [table_of(self.frame, "Joint F tests", labels)]


def joint_test(functions: Estimates) -> JointTests:
    """Test that all functions of a family are 0, for each family.

    Functions that are not estimable are left out, and so is what others imply: NumDF counts the
    rest.
    """
    rows, reasons = [], {}
    for key, k in functions.groups():
        row, reason = tested_row(functions, k)
        rows.append(dict(zip(functions.by, key, strict=True)) | row)
        if reason:
            reasons[" ".join(map(str, key)) or "the test"] = reason
    return JointTests(pd.DataFrame(rows), notes_of(functions, reasons))


def tested_row(functions: Estimates, rows: IntArray) -> tuple[dict[str, float], str]:
    """The columns of a row, and why F is missing where it is."""
    test = functions.joint(rows)
    if test is None:
        return dict(zip(_COLUMNS, (0, np.nan, np.nan, np.nan), strict=True)), ""
    found = (test.df_num, test.df_den, test.statistic, test.pvalue)
    return dict(zip(_COLUMNS, found, strict=True)), test.note


def notes_of(functions: Estimates, reasons: Mapping[str, str]) -> tuple[str, ...]:
    """The degrees of freedom, and why F is missing where it is."""
    return (functions.degrees_note, *without_f(reasons))
