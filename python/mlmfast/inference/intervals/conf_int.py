"""Confidence intervals of the parameters, of whatever kind."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from mlmfast.confidence_level import check_level
from mlmfast.distributions import quantile
from mlmfast.errors import ModelError
from mlmfast.words import is_one_of

if TYPE_CHECKING:
    from mlmfast.fitted.fitted import Fitted


def conf_int(
    fit: Fitted,
    level: float = 0.95,
    method: str = "wald",
    *,
    n: int = 1000,
    seed: Any = None,
    kind: str = "parametric",
    interval: str = "percentile",
) -> pd.DataFrame:
    """Confidence intervals, columns ``lower`` and ``upper``.

    Parameters
    ----------
    level
        Between 0 and 1.
    method
        "wald" for the fixed effects, by the quantiles of t under ``ddf``; "profile" or "boot"
        for covariance parameters too, see `profile` and `bootstrap`.
    n, seed, kind
        Samples of the bootstrap, its seed, and what is drawn: see `bootstrap`.
    interval
        "percentile", "basic", "normal" or "bca", of the bootstrap: see `Bootstrap.conf_int`.

    Raises
    ------
    ModelError
        For an unknown method, a level outside (0, 1), and a kind or an interval of a bootstrap with
        another method.
    """
    check_level(level)
    if not is_one_of(method, ("wald", "profile", "boot")):
        raise ModelError(f"conf_int(method={method!r}): use 'wald', 'profile' or 'boot'")
    if method != "boot" and (kind != "parametric" or interval != "percentile"):
        raise ModelError(f"kind= and interval= go with method='boot', and not with {method!r}")
    if method == "profile":
        limits: pd.DataFrame = fit.profile().conf_int(level)
        return limits
    if method == "boot":
        limits = fit.bootstrap(n, seed, kind=kind).conf_int(level, interval)
        return limits
    half = fit.bse * quantile(np.asarray(fit.df, dtype=np.float64), level)
    return pd.DataFrame({"lower": fit.params - half, "upper": fit.params + half})
