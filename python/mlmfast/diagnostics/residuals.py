"""Residuals of every kind, one a row used."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from mlmfast.arrays import FloatArray
from mlmfast.clusters.covariance import cholesky_factors, marginal_covariances, solve_lower
from mlmfast.clusters.noise import noise_sd
from mlmfast.clusters.shared_effects import LargeCluster, is_large
from mlmfast.design.rows import clusters_by_size
from mlmfast.diagnostics.sequential_residuals import sequential_residuals
from mlmfast.errors import ModelError
from mlmfast.fitted.random_effects import fixed_part
from mlmfast.fitted.record import FitRecord
from mlmfast.prediction.prediction import fitted_rows, series_of_rows
from mlmfast.reduction.engines.independence import independent_clusters
from mlmfast.words import is_one_of

if TYPE_CHECKING:
    from mlmfast.design.design import Design
    from mlmfast.fitted.fitted import Fitted

KINDS = ("raw", "pearson", "studentised", "marginal", "studentised-marginal", "scaled")
#: Other words for the same.
_ALIASES = {
    "conditional": "raw",
    "studentized": "studentised",
    "studentized-marginal": "studentised-marginal",
}


def resid(fit: Fitted, kind: str = "raw") -> pd.Series[float]:
    """Residuals, one a row used.

    Parameters
    ----------
    kind
        "raw" (or "conditional"): y minus fitted; "pearson": raw over the residual standard
        deviation of its row, sigma / sqrt(w) or, with variances by visit,
        sigma_visit / sqrt(w); "studentised": raw over its own standard deviation, the root of
        the diagonal of R P R; "studentised-marginal": marginal over the root of the diagonal
        of V - X (X'V^-1 X)^-1 X' (both as SAS);
        "marginal": y - X beta; "scaled": L^-1 (y - X beta) with V = L L' within each cluster
        (SAS VCIRY), independent with variance 1 under the model.

    Raises
    ------
    ModelError
        For an unknown kind.

    Examples
    --------
    >>> import mlmfast as mlm
    >>> fit = mlm.lmm("Reaction ~ Days + (Days | Subject)", mlm.load_sleepstudy())
    >>> fit.resid("scaled").head(3).round(3).tolist()
    [-0.052, -0.071, -0.632]
    """
    return series_of_rows(fit._needs_source("residuals"), residual_values(fit, kind))


def residual_values(fit: Fitted, kind: str) -> FloatArray:
    """`resid` as an array, (n,)."""
    source = fit._needs_source("residuals")
    kind = _ALIASES.get(kind, kind) if isinstance(kind, str) else kind
    if not is_one_of(kind, KINDS):
        raise ModelError(f"residuals of kind {kind!r} are not known; use {', '.join(KINDS)}")
    design, record = source.design, fit._record
    if kind.startswith("studentised"):
        from mlmfast.diagnostics.studentised_residuals import studentised_residuals

        marginal = kind.endswith("marginal")
        return studentised_residuals(design, record, marginal)
    if kind in {"marginal", "scaled"}:
        values = design.working_response - fixed_part(design, record)
    else:
        values = design.y - fitted_rows(fit)
    if kind == "pearson":
        values = values / noise_sd(design, record)
    elif kind == "scaled":
        values = scaled_residuals(design, record, values)
    return np.asarray(values)


def scaled_residuals(design: Design, record: FitRecord, marginal: FloatArray) -> FloatArray:
    """L_i^-1 (y_i - X_i beta) with V_i = L_i L_i', cluster by cluster, shape (n,).

    Clusters are those of the outermost grouping factor, or with crossed factors the connected parts
    of the design; L_i takes their rows in data order (long series in time
    order, where that costs O(n)). Large clusters need no V_i: `sequential_residuals`.

    References: SAS/STAT PROC MIXED, option VCIRY; Houseman, Ryan and Coull (2004), JASA 99, 383.
    """
    if not record.groups:
        return marginal / noise_sd(design, record)
    out = np.empty_like(marginal)
    for rows in clusters_by_size(*independent_clusters(design, record.levels)):
        if design.residual is not None and design.residual.series is not None:
            from mlmfast.clusters.series_whitening import runs_along, scaled_series_residuals

            if runs_along(design, rows):
                for cluster in rows:
                    out[cluster] = scaled_series_residuals(design, record, marginal, cluster)
                continue
        if is_large(rows.shape[1]):
            for own in rows:
                cluster = LargeCluster.of(design, record, own, "scaled residuals", True)
                out[cluster.rows] = sequential_residuals(cluster)
            continue
        factors = cholesky_factors(marginal_covariances(design, record, rows))
        out[rows] = solve_lower(factors, marginal[rows][:, :, None])[:, :, 0]
    return out
