"""Each random effect left out in turn."""

from __future__ import annotations

import numpy as np
import pandas as pd

from mlmfast.criterion.parameters.covariance_parameter import check_engine
from mlmfast.design.submodels import without_effect, without_term
from mlmfast.display.printed_frame import printed
from mlmfast.distributions import chi2_tail
from mlmfast.fitted.fitted import Fitted
from mlmfast.inference.comparison.free_fits import check_free, optimum
from mlmfast.inference.comparison.null_tails import mixture_tail


def ranova(fit: Fitted) -> pd.DataFrame:
    """Likelihood-ratio tests of leaving out each random effect, as lmerTest's ``ranova``.

    Effects of a term with slopes are left out one at a time (its intercept stays), others whole, as
    are terms of other covariance structures than `us` and `diag`.
    ``Pr(>Chisq)`` takes the chi-square distribution, which is conservative, for a variance of 0
    lies on the boundary; ``Pr(mixture)`` takes the mixture that `test_variance` describes. Of
    variances without a bound (``bounded=False``) both columns are the chi-square's. ``Df`` counts
    parameters that the data determine; an effect that takes none with it (Df 0) has no test.

    Raises
    ------
    ModelError
        For fits that hold covariance parameters, which a model without an effect would estimate.

    Examples
    --------
    >>> import mlmfast as mlm
    >>> fit = mlm.lmm("Reaction ~ Days + (Days | Subject)", mlm.load_sleepstudy())
    >>> table = fit.ranova()
    >>> table[["LRT", "Df"]].iloc[1].round(2).to_dict()
    {'LRT': 42.84, 'Df': 2.0}
    """
    fit._needs_likelihood("ranova()")
    source, record = fit._needs_source("ranova", of_sums=True), fit._record
    check_engine(source.model, "ranova")
    check_free(source)
    rows: dict[str, list[float]] = {
        "<none>": [record.n_parameters, -0.5 * record.deviance, *[np.nan] * 4]
    }
    for t, term in enumerate(source.design.random):
        group = source.design.factors[term.factor].name
        size = len(term.names)
        every = list(range(size))
        parts = [[j] for j in every if term.columns[j] is not None or size == 1]
        if not term.structure.named_by_effects:
            parts = [every]  # the structure is one of all effects
        for effects in parts:
            whole = len(effects) == size
            design = (
                without_term(source.design, t)
                if whole
                else without_effect(source.design, t, effects[0])
            )
            deviance, count = optimum(design, record.method)
            # What the data do not determine is no parameter that a test could lose.
            df = max(record.n_theta - count, 0)
            statistic = max(deviance - record.deviance, 0.0)
            p = float(chi2_tail(statistic, df)) if df else np.nan
            row = [record.n_parameters - df, -0.5 * deviance, statistic, df]
            what = term.text or group
            if len(effects) == 1:
                what = f"{term.names[effects[0]]} in {what}"
            mixture = mixture_tail(statistic, df) if df and term.bounded else p
            rows[what] = [*row, p, mixture]
    table = pd.DataFrame.from_dict(
        rows,
        orient="index",
        columns=["npar", "logLik", "LRT", "Df", "Pr(>Chisq)", "Pr(mixture)"],
    )
    table.insert(2, "AIC", -2.0 * table["logLik"] + 2.0 * table["npar"])
    return printed(table, f"Likelihood-ratio tests of random effects ({record.method})")
