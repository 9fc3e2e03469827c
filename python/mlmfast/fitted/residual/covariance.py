"""Covariance of the residuals over visits, and its parameters."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pandas as pd

from mlmfast.covariance.correlations import correlations
from mlmfast.errors import ModelError

if TYPE_CHECKING:
    from mlmfast.fitted.fitted import Fitted


def residual_cov(fit: Fitted) -> pd.DataFrame | dict[str, pd.DataFrame] | None:
    """Residual covariance over visits at weight 1; None for independent residuals.

    A dict of frames by arm where arms have parameters of their own. NaN is a covariance that no
    data tell, of visits that never meet in one subject.

    Raises
    ------
    ModelError
        Where a structure spans too many points or times for one matrix; see
        `residual_cov_at` and `R`.

    Examples
    --------
    >>> import mlmfast as mlm
    >>> data = mlm.load_sleepstudy()
    >>> fit = mlm.lmm("Reaction ~ Days", data, residual="ar1(Days | Subject)")
    >>> fit.residual_cov.iloc[:2, :2].round(1)
            0       1
    0  2451.7  1961.3
    1  1961.3  2451.7
    """
    residual = fit._record.residual
    if residual is None:
        return None
    if not residual.visits:
        raise ModelError(
            f"residual={residual.text!r} spans too many points or times for one matrix; "
            "residual_cov_at(points) gives the covariance at those you name, R(cluster) that "
            "of a subject's rows, residual_parameters what they follow from"
        )
    frames = {
        arm: pd.DataFrame(covariance, index=residual.visits, columns=residual.visits)
        for arm, covariance in zip(residual.arms, residual.told, strict=True)
    }
    return frames if len(frames) > 1 else frames[residual.arms[0]]


def residual_corr(fit: Fitted) -> pd.DataFrame | dict[str, pd.DataFrame] | None:
    """Correlations of `residual_cov`; undetermined (NaN) where it is, or a variance is 0.

    Examples
    --------
    >>> import mlmfast as mlm
    >>> data = mlm.load_sleepstudy()
    >>> fit = mlm.lmm("Reaction ~ Days", data, residual="ar1(Days | Subject)")
    >>> fit.residual_corr.iloc[0, :3].round(3).tolist()
    [1.0, 0.8, 0.64]
    """
    covariances = residual_cov(fit)
    if covariances is None:
        return None
    frames = covariances if isinstance(covariances, dict) else {"": covariances}
    out = {
        arm: pd.DataFrame(correlations(c.to_numpy()), index=c.index, columns=c.columns)
        for arm, c in frames.items()
    }
    return out if isinstance(covariances, dict) else out[""]


def residual_parameters(fit: Fitted) -> pd.Series[float]:
    """Parameters of the residual covariance on their natural scale, as SAS names them.

    ``arm: name`` where arms have parameters of their own; the residual variance alone for
    independent residuals. Ratios of standard deviations and exponents of `residual_scale` last.
    """
    return pd.Series(dict(fit._record.residual_parameters))
