"""Confidence intervals of the parameters, of whatever kind."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from mlmfast.confidence_level import check_level
from mlmfast.distributions import quantile
from mlmfast.errors import ModelError
from mlmfast.words import meant

if TYPE_CHECKING:
    from mlmfast.fitted.fitted import Fitted


_METHODS = ("wald", "profile", "boot")
_OTHERS = {"bootstrap": "boot"}


def conf_int(
    fit: Fitted,
    level: float | str = 0.95,
    method: str = "wald",
    *,
    n: int = 1000,
    seed: Any = None,
    progress: bool | None = None,
    kind: str = "parametric",
    interval: str = "percentile",
) -> pd.DataFrame:
    """Confidence intervals, columns ``lower`` and ``upper``.

    Parameters
    ----------
    level
        Between 0 and 1; or the method, ``conf_int("profile")``, at level 0.95.
    method
        "wald" for the fixed effects, by the quantiles of t under ``ddf``; "profile" or "boot"
        ("bootstrap") for covariance parameters too, see `profile` and `bootstrap`.
    n, seed, kind
        Samples of the bootstrap, its seed, and what is drawn: see `bootstrap`.
    interval
        "percentile", "basic", "normal" or "bca", of the bootstrap: see `Bootstrap.conf_int`.
    progress
        As of `profile` and `bootstrap`.

    Raises
    ------
    ModelError
        For an unknown method, a level outside (0, 1), and a kind or an interval of a bootstrap with
        another method.

    Examples
    --------
    >>> import mlmfast as mlm
    >>> fit = mlm.lmm("Reaction ~ Days + (Days | Subject)", mlm.load_sleepstudy())
    >>> fit.conf_int().loc["Days"].round(2).to_dict()
    {'lower': 7.21, 'upper': 13.73}
    """
    if isinstance(level, str) and meant(level, _METHODS, _OTHERS) is not None:
        if method != "wald":
            raise ModelError(f"level is {level!r}; give a number between 0 and 1")
        method, level = level, 0.95
    check_level(level)
    chosen = meant(method, _METHODS, _OTHERS)
    if chosen is None:
        raise ModelError(f"conf_int(method={method!r}): use 'wald', 'profile' or 'boot'")
    if chosen != "boot" and (kind != "parametric" or interval != "percentile"):
        raise ModelError(f"kind= and interval= go with method='boot', and not with {method!r}")
    if chosen == "profile":
        limits: pd.DataFrame = fit.profile(progress=progress).conf_int(level)
        return limits
    if chosen == "boot":
        boot = fit.bootstrap(n, seed, kind=kind, progress=progress)
        limits = boot.conf_int(level, interval)
        return limits
    half = fit.bse * quantile(np.asarray(fit.df, dtype=np.float64), float(level))
    return pd.DataFrame({"lower": fit.params - half, "upper": fit.params + half})
