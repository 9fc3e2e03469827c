"""What to use where somebody asks a fit for a name that another program has."""

from __future__ import annotations

from collections.abc import Collection

from mlmfast.words import did_you_mean

#: Names of R, statsmodels, broom.mixed and SAS, and what says the same here.
ELSEWHERE = {
    "AIC": "aic",
    "AICc": "information_criteria()",
    "BIC": "bic",
    "VarCorr": "varcorr",
    "anova_table": "anova()",
    "augment": "fittedvalues, resid() and influence().observations, a row a row of the data",
    "b": "ranef",
    "beta": "params",
    "bse_fe": "bse",
    "bse_re": "covtest(), standard errors of the covariance parameters",
    "coef": "params (fixed effects), or params + ranef[group] (by level)",
    "coef_": "params",
    "coefficients": "params",
    "coefs": "tidy('fixed')",
    "coeftable": "tidy('fixed')",
    "condVar": "ranef_cov",
    "confint": "conf_int(), conf_int('profile') or conf_int('boot')",
    "contest": "contrast([row, ...]), whose .f is the F test",
    "cooks_distance": "influence().observations['cooks_distance']",
    "corr": "varcorr, which prints standard deviations and correlations",
    "cov_re": "varcorr[group] or G(term)",
    "covb": "cov_params()",
    "data": "the data frame that was given; X(), Z() and V() hold the model's matrices",
    "df_resid": "df, denominator degrees of freedom by coefficient",
    "drop1": "anova(type=2), or mlm.compare of two fits",
    "estimates": "params",
    "f_test": "contrast([row, ...]), whose .f is the F test",
    "fe_params": "params",
    "fitted": "fittedvalues",
    "fixef": "params",
    "formula_": "formula",
    "getVarCov": "V(cluster), R(cluster) or residual_cov",
    "get_prediction": "predict(newdata, interval='confidence')",
    "isSingular": "singular",
    "is_singular": "singular",
    "logLik": "llf",
    "loglik": "llf",
    "loglike": "llf",
    "loglikelihood": "llf",
    "lsmeans": "emmeans('factor')",
    "n_obs": "nobs",
    "ngrps": "n_groups",
    "objective": "deviance",
    "p_values": "pvalues",
    "pairs": "emmeans('factor').contrast('pairwise')",
    "plot_residuals": "plot.residuals()",
    "post_hoc": "emmeans('factor').contrast('pairwise')",
    "random_effects": "ranef",
    "random_effects_cov": "ranef_cov",
    "refit": "model = mlm.LMM(formula, data), then model.fit() again, or model.fit_many(Y) for new "
    "responses",
    "resid_pearson": "resid('pearson')",
    "residuals": "resid()",
    "save": "to_json('fit.json'), which mlm.load reads",
    "scores": "certificate",
    "standard_errors": "bse",
    "stderr": "bse",
    "step": "anova(type=2), or mlm.compare of two fits",
    "t_test": "contrast('x = 0'), one row by t",
    "t_values": "tvalues",
    "to_pickle": "to_json('fit.json'), which mlm.load reads, or pickle.dumps(fit)",
    "tstat": "tvalues",
    "update": "mlm.lmm(new_formula, data) with what changes",
    "vcov": "cov_params()",
    "wald_test": "contrast([row, ...]), or anova()",
    "wald_test_terms": "anova()",
}


def missing_attribute(name: str, known: Collection[str]) -> AttributeError:
    """The error for an attribute that a fit does not have: what to use, or the nearest name.

    Examples
    --------
    >>> str(missing_attribute("fixef", ()))
    "a fit has no attribute 'fixef'; use params"
    """
    if name in ELSEWHERE:
        return AttributeError(f"a fit has no attribute {name!r}; use {ELSEWHERE[name]}")
    public = [word for word in known if not word.startswith("_")]
    hint = "" if name.startswith("_") else did_you_mean(name, public, 0.75)
    return AttributeError(f"a fit has no attribute {name!r}{hint}")
