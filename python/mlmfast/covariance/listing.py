"""A table of the covariance structures."""

from __future__ import annotations

import pandas as pd

from mlmfast.covariance.base import STRUCTURES


def structures() -> pd.DataFrame:
    """Covariance structures: formula, parameters, when to use each, names in other programs.

    K is the number of levels (or points), i and j two of them, d_ij their distance.

    Examples
    --------
    >>> structures().loc["ar1", ["formula", "SAS", "nlme"]].tolist()
    ['sigma^2 rho^|i - j|', 'AR(1)', 'corAR1']
    """
    rows = {
        word: {
            "name": structure.label,
            "formula": structure.formula,
            "parameters": structure.parameters,
            "use": structure.use,
            "needs": structure.needs,
            "SAS": structure.sas or "",
            "mmrm": structure.mmrm or "",
            "nlme": structure.nlme or "",
            "glmmTMB": structure.glmmtmb or "",
        }
        for word, structure in STRUCTURES.items()
    }
    return pd.DataFrame.from_dict(rows, orient="index").rename_axis("structure").sort_index()
