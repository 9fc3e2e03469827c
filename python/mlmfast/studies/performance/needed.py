"""How many replicates a Monte Carlo standard error takes."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd

from mlmfast.errors import DataError
from mlmfast.studies.performance.table import read_measures

_SHARES = ("coverage", "bias_eliminated_coverage", "power", "convergence", "singular")
_MEANS = ("bias", "mean")


def n_for(
    mcse: float, measure: str = "coverage", expected: float | None = None, sd: float | None = None
) -> int:
    """Replicates for which a measure's Monte Carlo standard error is as small as wanted.

    Shares: p (1 - p) / mcse^2. Bias: sd^2 / mcse^2. Empirical standard error:
    1 + sd^2 / (2 mcse^2), for estimates of standard deviation ``sd``.

    Parameters
    ----------
    mcse
        What is wanted.
    measure
        "coverage", "power", "convergence", ..., "bias" or "empirical_se".
    expected
        The share, 0.95 for coverages and otherwise 0.5, where the error is largest.
    sd
        Standard deviation of the estimates, for "bias" and "empirical_se".

    Examples
    --------
    >>> n_for(mcse=0.005), n_for(mcse=0.01, measure="power")
    (1900, 2500)
    >>> n_for(mcse=0.01, measure="bias", sd=0.2)
    400
    """
    [name] = read_measures([measure])
    if isinstance(mcse, bool) or not isinstance(mcse, int | float) or not mcse > 0:
        raise DataError(f"mcse is {mcse!r}; a positive number is needed")
    if expected is not None and name not in _SHARES:
        raise DataError(f"expected= is the value of a share; {name!r} is none")
    if sd is not None and name not in (*_MEANS, "empirical_se"):
        raise DataError(f"sd= goes with 'bias' and 'empirical_se', and not with {name!r}")
    if name in _SHARES:
        share = expected if expected is not None else 0.95 if "coverage" in name else 0.5
        if not 0 < share < 1:
            raise DataError(f"expected is {share!r}; the share must lie between 0 and 1")
        return _up(share * (1.0 - share) / mcse**2)
    if name not in (*_MEANS, "empirical_se"):
        raise DataError(
            f"n_for does not know beforehand how {name!r} varies; run some replicates and ask "
            "result.n_for"
        )
    if sd is None or not sd > 0:
        raise DataError(f"sd is {sd!r}; {name!r} needs the standard deviation of the estimates")
    ratio = (sd / mcse) ** 2
    return _up(ratio) if name in _MEANS else 1 + _up(0.5 * ratio)


def _up(n: float) -> int:
    """The next whole number, not moved by rounding errors of what is one."""
    return max(1, math.ceil(n * (1.0 - 1e-12)))


def needed_by_group(performance: pd.DataFrame, counts: pd.DataFrame, mcse: float) -> pd.DataFrame:
    """Replicates for one measure by condition, method and estimand, from those that there are.

    Monte Carlo standard errors fall as one over the root of the number of replicates.
    """
    out = performance.drop(columns=["value"]).rename(columns={"mcse": "mcse_now"})
    out["n_now"] = counts["value"].to_numpy().astype(int)
    ratio = (out["mcse_now"] / mcse) ** 2 * out["n_now"]
    out["n"] = np.ceil(ratio * (1.0 - 1e-12))
    return out
