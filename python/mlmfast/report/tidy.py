"""A fit as data frames: a row a parameter, and a row a model."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from mlmfast.covariance.correlations import correlations
from mlmfast.errors import ModelError
from mlmfast.fitted.record import FitRecord, TermRecord
from mlmfast.words import is_one_of

if TYPE_CHECKING:
    from mlmfast.fitted.fitted import Fitted

_COLUMNS = (
    "effect",
    "group",
    "term",
    "estimate",
    "std_error",
    "statistic",
    "df",
    "p_value",
    "conf_low",
    "conf_high",
)


def tidy(fit: Fitted, effects: str = "all") -> pd.DataFrame:
    """One row a parameter, with the columns and names of R's broom.mixed.

    Parameters
    ----------
    fit
        The fit.
    effects
        "fixed": the fixed effects; "random": standard deviations (``sd__x``) and correlations
        (``cor__x.z``) of the random effects and the residual standard deviation
        (``sd__Observation``), or the parameters of the residual covariance by SAS's names
        (``UN(2,1)``, ``AR(1)``; ``arm: AR(1)`` where grouped); "all": both.

    Returns
    -------
    DataFrame
        Columns effect ("fixed" or "ran_pars"), group, term, estimate, std_error, statistic, df,
        p_value, conf_low, conf_high (Wald, 95%). NaN where a quantity is not defined.

    Raises
    ------
    ModelError
        For another word.

    Examples
    --------
    >>> import mlmfast as mlm
    >>> fit = mlm.lmm("Reaction ~ Days + (Days | Subject)", mlm.load_sleepstudy())
    >>> tidy(fit, "fixed")[["term", "estimate", "std_error", "conf_low", "conf_high"]].round(3)
              term  estimate  std_error  conf_low  conf_high
    0  (Intercept)   251.405      6.825   237.007    265.804
    1         Days    10.467      1.546     7.206     13.729
    >>> tidy(fit, "random")[["group", "term", "estimate"]].round(3)
          group                   term  estimate
    0   Subject        sd__(Intercept)    24.740
    1   Subject               sd__Days     5.922
    2   Subject  cor__(Intercept).Days     0.066
    3  Residual        sd__Observation    25.592
    """
    if not is_one_of(effects, ("all", "fixed", "random")):
        raise ModelError(f"effects is {effects!r}; use 'all', 'fixed' or 'random'")
    frames = []
    if effects != "random":
        frames.append(_fixed_rows(fit))
    if effects != "fixed":
        frames.append(_random_rows(fit._record))
    # Types said outright: they must not depend on which rows are asked for.
    numeric = dict.fromkeys(_COLUMNS[3:], "float64")
    types = {**dict.fromkeys(_COLUMNS[:3], "object"), **numeric}
    joined = {
        name: pd.Series([v for frame in frames for v in frame[name]], dtype=types[name])
        for name in _COLUMNS
    }
    return pd.DataFrame(joined)


def glance(fit: Fitted) -> pd.DataFrame:
    """One row of whole-model figures.

    Returns
    -------
    DataFrame
        Columns formula, residual, residual_scale (as written; None without), method, nobs,
        n_dropped, n_groups_NAME for each grouping factor, sigma (NaN where the residual has several
        variances), llf, deviance, aic, bic, rank, n_parameters, converged, singular,
        n_evaluations.

    Examples
    --------
    >>> import mlmfast as mlm
    >>> fit = mlm.lmm("Reaction ~ Days + (Days | Subject)", mlm.load_sleepstudy())
    >>> glance(fit)[["method", "nobs", "n_groups_Subject", "aic", "converged"]].round(2)
      method  nobs  n_groups_Subject      aic  converged
    0   REML   180                18  1755.63       True
    """
    figures: dict[str, object] = {
        "formula": fit.formula,
        "residual": None if fit._record.residual is None else fit._record.residual.text,
        "residual_scale": fit._record.residual_scale and fit._record.residual_scale.text,
        "method": fit.method,
        "nobs": fit.nobs,
        "n_dropped": fit.n_dropped,
    }
    figures |= {f"n_groups_{name}": n for name, n in fit.n_groups.items()}
    figures |= {
        "sigma": np.nan if fit.sigma is None else fit.sigma,
        "llf": fit.llf,
        "deviance": fit.deviance,
        "aic": fit.aic,
        "bic": fit.bic,
        "rank": fit.rank,
        "n_parameters": fit._record.n_parameters,
        "converged": fit.converged,
        "singular": fit.singular,
        "n_evaluations": fit.certificate.n_evaluations,
    }
    return pd.DataFrame([figures])


def _fixed_rows(fit: Fitted) -> dict[str, list[Any]]:
    interval = fit.conf_int()
    n = len(fit.params)
    return {
        "effect": ["fixed"] * n,
        "group": [None] * n,
        "term": list(fit.params.index),
        "estimate": fit.params.tolist(),
        "std_error": fit.bse.tolist(),
        "statistic": fit.tvalues.tolist(),
        "df": fit.df.tolist(),
        "p_value": fit.pvalues.tolist(),
        "conf_low": interval["lower"].tolist(),
        "conf_high": interval["upper"].tolist(),
    }


def _unbounded(term: TermRecord) -> Iterator[tuple[str, float]]:
    """Variances, then covariances: a negative variance has no root."""
    for name, variance in zip(term.names, np.diag(term.covariance).tolist(), strict=True):
        yield f"var__{name}", variance
    if not term.kind.variances_alone:
        for i, name in enumerate(term.names):
            for j in range(i):
                yield f"cov__{term.names[j]}.{name}", float(term.covariance[i, j])


def _random_rows(record: FitRecord) -> dict[str, list[Any]]:
    """List standard deviations, then correlations, of each term; the residual last.

    Where variances may be negative these and covariances.
    """
    rows: list[tuple[str, str, float]] = []
    for term in record.shown_terms:
        group = record.groups[term.group].name
        if not term.bounded:
            rows += [(group, name, value) for name, value in _unbounded(term)]
            continue
        sd = np.sqrt(np.diag(term.covariance))
        rows += [(group, f"sd__{name}", float(s)) for name, s in zip(term.names, sd, strict=True)]
        if not term.kind.variances_alone:
            correlation = correlations(term.told)
            rows += [
                (group, f"cor__{term.names[j]}.{name}", float(correlation[i, j]))
                for i, name in enumerate(term.names)
                for j in range(i)
            ]
    own = record.residual_parameters
    if record.residual is None:
        rows.append(("Residual", "sd__Observation", float(np.sqrt(record.sigma2))))
        own = own[1:]
    rows += [("Residual", name, value) for name, value in own]
    columns: dict[str, list[Any]] = {name: [np.nan] * len(rows) for name in _COLUMNS}
    columns["effect"] = ["ran_pars"] * len(rows)
    columns["group"] = [row[0] for row in rows]
    columns["term"] = [row[1] for row in rows]
    columns["estimate"] = [row[2] for row in rows]
    return columns
