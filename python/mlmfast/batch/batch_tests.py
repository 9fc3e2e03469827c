"""BatchTests: tests of linear functions in many fits."""

from __future__ import annotations

from dataclasses import dataclass

import pandas as pd

from mlmfast.arrays import FloatArray
from mlmfast.batch.printed import ROWS, counted, first_of
from mlmfast.display.printed_frame import printed
from mlmfast.handed_out import hands_out_copies


@hands_out_copies
@dataclass(frozen=True, repr=False)
class BatchTests:
    """Tests of m linear functions in n fits; NaN where a fit failed.

    Attributes
    ----------
    estimate, se, df, statistic, pvalue : shape (n_fits, m)
        As in `RowTests`.
    f, df_num, df_den, f_pvalue : shape (n_fits,)
        The joint test of all rows.
    """

    estimate: FloatArray
    se: FloatArray
    df: FloatArray
    statistic: FloatArray
    pvalue: FloatArray
    f: FloatArray
    df_num: FloatArray
    df_den: FloatArray
    f_pvalue: FloatArray

    def __repr__(self) -> str:
        n, m = self.estimate.shape
        shown = slice(0, ROWS)
        columns = (
            {
                "Estimate": self.estimate[shown, 0],
                "Std. error": self.se[shown, 0],
                "df": self.df[shown, 0],
                "statistic": self.statistic[shown, 0],
                "p_value": self.pvalue[shown, 0],
            }
            if m == 1
            else {
                "NumDF": self.df_num[shown],
                "DenDF": self.df_den[shown],
                "F value": self.f[shown],
                "Pr(>F)": self.f_pvalue[shown],
            }
        )
        title = f"Tests of {counted(m, 'linear function')} in {counted(n, 'fit')}"
        return repr(printed(pd.DataFrame(columns), first_of(title, n)))
