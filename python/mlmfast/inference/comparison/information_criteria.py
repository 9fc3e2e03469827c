"""AIC, AICc and BIC."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from mlmfast.errors import ModelError
from mlmfast.inference.intervals.parameter_table import parameter_table
from mlmfast.words import is_one_of

if TYPE_CHECKING:
    from mlmfast.fitted.fitted import Fitted


def information_criteria(
    fit: Fitted, n: str = "observations", count: str = "all", *, convention: str | None = None
) -> pd.Series[float]:
    """AIC, AICc and BIC under either convention.

    Parameters
    ----------
    n
        Sample size in BIC and AICc: "observations" (R) or "clusters" (units of the outermost
        grouping factor; SAS's choice for BIC).
    count
        Parameters counted: "all" (R) or "covariance" (SAS under REML).
    convention
        "sas" for all three as PROC MIXED prints them, in place of ``n`` and ``count``: under
        REML covariance parameters alone are counted, under ML all; those on the boundary are
        not; AICc takes the rows (less the rank of X under REML), BIC the clusters (the levels
        of the first random effect where factors cross).

    Raises
    ------
    ModelError
        For another word, or clusters where there is no grouping factor.

    Examples
    --------
    >>> import mlmfast as mlm
    >>> fit = mlm.lmm("Reaction ~ Days + (Days | Subject)", mlm.load_sleepstudy())
    >>> fit.information_criteria(n="clusters", count="covariance").round(2).to_dict()
    {'AIC': 1751.63, 'AICc': 1754.71, 'BIC': 1755.19}
    """
    record = fit._record
    if convention is not None:
        if not is_one_of(convention, ("sas",)):
            raise ModelError(f"convention is {convention!r}; use 'sas' or leave it out")
        return _of_sas(fit)
    if not (is_one_of(n, ("observations", "clusters")) and is_one_of(count, ("all", "covariance"))):
        raise ModelError("n is 'observations' or 'clusters', count is 'all' or 'covariance'")
    if n == "clusters" and not record.groups:
        raise ModelError("the model has no grouping factor, so no clusters to count")
    if n == "clusters" and record.is_crossed:
        raise ModelError("grouping factors are crossed, so there are no clusters to count")
    size = fit.nobs if n == "observations" else record.groups[record.levels[0]].n_levels
    k = record.n_parameters if count == "all" else record.n_covariance_parameters
    aic = fit.deviance + 2.0 * k
    room = size - k - 1
    corrected = aic + 2.0 * k * (k + 1) / room if room > 0 else np.inf
    bic = fit.deviance + k * np.log(size)
    return pd.Series({"AIC": aic, "AICc": corrected, "BIC": float(bic)})


def _of_sas(fit: Fitted) -> pd.Series[float]:
    """SAS/STAT User's Guide, PROC MIXED, IC option: d parameters, n*, and s subjects."""
    record = fit._record
    reml = record.method == "REML"
    d = record.n_covariance_parameters - int(parameter_table(fit).fixed.sum())
    d += 0 if reml else record.n_fixed
    size = fit.nobs - (record.n_fixed if reml else 0)
    subjects = fit.nobs
    if record.groups:
        first = record.terms[0].group if record.is_crossed else record.levels[0]
        subjects = len(record.groups[first].labels)
    room = size - d - 1
    values = {
        "AIC": fit.deviance + 2.0 * d,
        "AICc": fit.deviance + (2.0 * d * size / room if room > 0 else np.inf),
        "BIC": fit.deviance + d * float(np.log(subjects)),
    }
    return pd.Series(values)
