"""A batch of fits as data frames: a row a parameter of each fit, and a row a fit."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

import numpy as np
import pandas as pd

from mlmfast.arrays import FloatArray
from mlmfast.batch.fits import BatchFits
from mlmfast.covariance.correlations import roots
from mlmfast.distributions import quantile
from mlmfast.errors import ModelError
from mlmfast.words import is_one_of

_NUMBERS = ("std_error", "statistic", "df", "p_value", "conf_low", "conf_high")


def tidy_batch(batch: BatchFits, effects: str = "all") -> pd.DataFrame:
    """One row a parameter of each fit, all parameters of a fit together.

    Parameters
    ----------
    batch
        The fits.
    effects
        As in `report.tidy.tidy`; of a residual covariance by visits there are no rows here,
        ``batch[i].tidy()`` has them.

    Returns
    -------
    DataFrame
        The columns of ``by`` (``by_group`` for ``group``, which is among the others, and the like),
        or ``fit`` with the names of the fits; then those of `report.tidy.tidy`. NaN where a fit has
        no such parameter, or there is no fit.

    Examples
    --------
    >>> import mlmfast as mlm
    >>> model = mlm.LMM("Reaction ~ Days + (1 | Subject)", mlm.load_sleepstudy())
    >>> batch = model.fit_many(model.fit().simulate(2, seed=1))
    >>> tidy_batch(batch)[["fit", "effect", "group", "term"]]
      fit    effect     group             term
    0   0     fixed      None      (Intercept)
    1   0     fixed      None             Days
    2   0  ran_pars   Subject  sd__(Intercept)
    3   0  ran_pars  Residual  sd__Observation
    4   1     fixed      None      (Intercept)
    5   1     fixed      None             Days
    6   1  ran_pars   Subject  sd__(Intercept)
    7   1  ran_pars  Residual  sd__Observation
    """
    if not is_one_of(effects, ("all", "fixed", "random")):
        raise ModelError(f"effects is {effects!r}; use 'all', 'fixed' or 'random'")
    terms: list[tuple[str, str | None, str]] = []
    estimates: list[FloatArray] = []
    if effects != "random":
        terms += [("fixed", None, name) for name in batch.names]
        estimates.append(batch.params)
    if effects != "fixed":
        names, values = _random_parameters(batch)
        terms += [("ran_pars", group, name) for group, name in names]
        estimates.append(values)
    n, k = len(batch), len(terms)
    out: dict[str, Any] = {}
    for position, column in enumerate(("effect", "group", "term")):
        own = np.array([term[position] for term in terms], dtype=object)
        out[column] = pd.Series(np.tile(own, n), dtype="object")
    out["estimate"] = np.concatenate(estimates, axis=1).ravel()
    tests = np.full((len(_NUMBERS), n, k), np.nan)
    if effects != "random":
        tests[:, :, : len(batch.names)] = _tests(batch)
    out |= {name: tests[i].ravel() for i, name in enumerate(_NUMBERS)}
    labels = {name: np.repeat(values, k) for name, values in _labels(batch, out).items()}
    return pd.DataFrame(labels | out)


def glance_batch(batch: BatchFits) -> pd.DataFrame:
    """One row a fit.

    Returns
    -------
    DataFrame
        The columns of ``by`` (``by_status`` for ``status``, and the like), or ``fit`` with the
        names of the fits; method, nobs, n_groups_NAME for each grouping factor, sigma, llf,
        deviance, aic, bic, rank, n_parameters, converged, singular, n_evaluations, and status,
        which says why there is no fit where there is none.

    Examples
    --------
    >>> import mlmfast as mlm
    >>> model = mlm.LMM("Reaction ~ Days + (1 | Subject)", mlm.load_sleepstudy())
    >>> batch = model.fit_many(model.fit().simulate(2, seed=1))
    >>> glance_batch(batch)[["fit", "nobs", "n_groups_Subject", "rank", "status"]]
      fit  nobs  n_groups_Subject  rank     status
    0   0   180                18     2  converged
    1   1   180                18     2  converged
    """
    out: dict[str, Any] = {"method": batch.method, "nobs": batch.nobs}
    out |= {f"n_groups_{name}": counts for name, counts in batch.n_groups.items()}
    rank = np.isfinite(batch.params).sum(axis=1)
    for name in ("sigma", "llf", "deviance", "aic", "bic"):
        out[name] = getattr(batch, name)
    out |= {"rank": rank, "n_parameters": batch.n_parameters}
    for name in ("converged", "singular", "n_evaluations", "status"):
        out[name] = getattr(batch, name)
    return pd.DataFrame(_labels(batch, out) | out)


def _labels(batch: BatchFits, columns: Collection[str]) -> dict[str, Any]:
    """What tells the fits apart; ``by_NAME`` where the frame has a column NAME of its own."""
    found = batch.by or {"fit": np.array(batch.responses, dtype=object)}
    return {f"by_{name}" if name in columns else name: own for name, own in found.items()}


def _tests(batch: BatchFits) -> FloatArray:
    df = np.asarray(batch.df)
    half = np.where(np.isnan(df), np.nan, quantile(np.nan_to_num(df, nan=1.0), 0.95)) * batch.bse
    low, high = batch.params - half, batch.params + half
    return np.stack([batch.bse, batch.tvalues, df, batch.pvalues, low, high])


def _random_parameters(batch: BatchFits) -> tuple[list[tuple[str, str]], FloatArray]:
    """Standard deviations, then correlations, by group; the residual's standard deviation last."""
    names: list[tuple[str, str]] = []
    values: list[FloatArray] = []
    for group, effects in batch.effects.items():
        matrices = batch.varcorr[group]
        sd = roots(np.diagonal(matrices, axis1=1, axis2=2))
        names += [(group, f"sd__{effect}") for effect in effects]
        values.append(sd)
        pairs = [(i, j) for i in range(len(effects)) for j in range(i) if matrices[:, i, j].any()]
        for i, j in pairs:
            names.append((group, f"cor__{effects[j]}.{effects[i]}"))
            with np.errstate(divide="ignore", invalid="ignore"):
                correlation = matrices[:, i, j] / (sd[:, i] * sd[:, j])
            values.append(np.clip(correlation, -1.0, 1.0)[:, None])
    names.append(("Residual", "sd__Observation"))
    values.append(batch.sigma[:, None])
    return names, np.concatenate(values, axis=1)
