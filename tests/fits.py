"""Each reference model is fitted once and asked many questions."""

import warnings
from functools import cache

import numpy as np

import mlmfast as mlm
from mlmfast.errors import AliasedWarning, SingularFitWarning

from .cases import data_of, reference


def lmm(formula, data, **arguments):
    """`mlm.lmm` without the warnings that singular and rank-deficient models must give."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", AliasedWarning)
        warnings.simplefilter("ignore", SingularFitWarning)
        return mlm.lmm(formula, data, **arguments)


def arguments_of(case_id):
    """Keyword arguments of the reference model beyond formula and data."""
    case = reference(case_id)
    given = {key: case.get(key) for key in ("weights", "contrasts", "residual", "residual_scale")}
    return {"method": case["method"]} | {key: value for key, value in given.items() if value}


@cache
def fit_case(case_id, formula_key="formula"):
    """The fit of a reference model, or of its null model with `formula_key="formula_null"`."""
    return lmm(reference(case_id)[formula_key], data_of(case_id), **arguments_of(case_id))


def estimated(fit):
    """The coefficients that are not aliased."""
    return fit.params.dropna()


def covariance_of_coefficients(fit):
    """`fit.cov_params()` over the coefficients that are not aliased, as an array."""
    names = list(estimated(fit).index)
    return fit.cov_params().loc[names, names].to_numpy()


def conditional_covariance(fit, group, level):
    """The conditional covariance of one level's random effects, as an array."""
    blocks = fit.ranef_cov[group]
    if isinstance(blocks, np.ndarray):
        return blocks[list(fit.ranef[group].index).index(level)]
    return np.asarray(blocks[level], dtype=float)


def estimates(fit):
    """Every estimate of a fit as one vector, for comparisons bit for bit."""
    parts = [
        [fit.llf, fit.deviance, fit.aic, fit.bic, fit.sigma, fit.scale],
        fit.params,
        fit.bse,
        np.ravel(fit.cov_params()),
        *[np.ravel(matrix) for matrix in fit.varcorr.values()],
        *[np.ravel(effects) for effects in fit.ranef.values()],
    ]
    return np.concatenate([np.asarray(part, dtype=float) for part in parts])


def numbers(fit):
    """Estimates and fitted values as one vector."""
    return np.concatenate([estimates(fit), np.asarray(fit.fittedvalues)])
