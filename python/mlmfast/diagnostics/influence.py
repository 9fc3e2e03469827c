"""Influence of clusters and observations on the fixed effects, by exact deletion formulas.

The covariance parameters are held at their estimates, so nothing is refitted; `Influence.one_step`
lets them move by one Newton step. With
M = (X'V^-1X)^-1, P = V^-1 - V^-1 X M X'V^-1 and D the unit columns of the rows U that are left out,

    beta - beta_U = M X'V^-1 D (D'PD)^-1 D'P y,     M_U = M + M X'V^-1 D (D'PD)^-1 D'V^-1 X M.

For a whole cluster M_U = (M^-1 - C_i)^-1 and beta - beta_U = M_U s_i with C_i = X_i'V_i^-1 X_i and
s_i = X_i'V_i^-1 (y_i - X_i beta).

References: Cook (1977), Technometrics 19, 15; Christensen, Pearson and Johnson (1992),
Technometrics 34, 38; Belsley, Kuh and Welsch (1980), Regression Diagnostics; SAS/STAT PROC MIXED,
option INFLUENCE.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from mlmfast.arrays import FloatArray, IntArray
from mlmfast.clusters.blocks import cluster_factor, connected_clusters
from mlmfast.design.rows import columns_at, sets_within
from mlmfast.diagnostics.deletion_pieces import pieces_of_sets
from mlmfast.diagnostics.one_step import OneStep, one_step
from mlmfast.display.html import in_text
from mlmfast.display.printed_frame import PrintedFrame
from mlmfast.errors import ModelError
from mlmfast.handed_out import copied
from mlmfast.running.progress_bar import ProgressBar
from mlmfast.words import is_one_of

if TYPE_CHECKING:
    from mlmfast.design.factors.grouping import GroupingFactor
    from mlmfast.fitted.fitted import Fitted

_SHOWN = 5
#: Statistics as pictures name them.
_NAMES = {
    "cooks_distance": "Cook's distance", "mdffits": "MDFFITS", "covtrace": "COVTRACE",
    "covratio": "COVRATIO", "press": "PRESS", "studentised": "studentised deleted residual",
    "leverage_fixed": "leverage of the fixed part", "n_rows": "rows",
}  # fmt: skip


class Influence(PrintedFrame):
    """Deletion diagnostics of the clusters and of the observations; as a frame, `clusters`.

    A row is missing (NaN) where the fixed effects cannot be estimated without what is left out.

    Attributes
    ----------
    clusters
        One row a cluster: ``n_rows``, ``cooks_distance`` (beta - beta_U)'M^-1(beta - beta_U) / p,
        ``mdffits`` (the same with M_U), ``covtrace`` |tr(M^-1 M_U) - p|, ``covratio``
        |M_U| / |M|, ``leverage`` (trace of the cluster's block of X M X'V^-1), ``press`` (sum of
        squares of its residuals y - X beta_U).
    observations
        One row an observation: the same, with ``leverage`` the derivative of its fitted value
        X beta + Z g by its response, ``leverage_fixed`` that of X beta, ``press`` the residual
        y - X beta_U itself, and ``studentised`` the deleted residual over its standard deviation,
        (Py)_j / sqrt(P_jj).
    cluster_changes, observation_changes
        beta - beta_U, one column a fixed effect (DFBETA).
    cluster_dfbetas, observation_dfbetas
        The same over the standard errors after deletion (DFBETAS).

    Examples
    --------
    >>> import mlmfast as mlm
    >>> fit = mlm.lmm("Reaction ~ Days + (Days | Subject)", mlm.load_sleepstudy())
    >>> influence = fit.influence()
    >>> influence.clusters["cooks_distance"].idxmax()
    '309'
    >>> influence.cluster_dfbetas.loc["337"].round(3).to_dict()
    {'(Intercept)': 0.324, 'Days': 0.317}
    """

    _metadata = [  # noqa: RUF012 (what pandas asks of a subclass)
        "title", "notes", "observations", "cluster_changes", "observation_changes",
        "cluster_dfbetas", "observation_dfbetas", "_fit", "_grouping",
    ]  # fmt: skip

    observations: pd.DataFrame = copied()
    cluster_changes: pd.DataFrame = copied()
    observation_changes: pd.DataFrame = copied()
    cluster_dfbetas: pd.DataFrame = copied()
    observation_dfbetas: pd.DataFrame = copied()

    def __init__(
        self, clusters: pd.DataFrame, fit: Fitted, grouping: GroupingFactor, **tables: pd.DataFrame
    ) -> None:
        super().__init__(clusters)
        self._fit, self._grouping = fit, grouping
        for name, table in tables.items():
            setattr(self, name, table)

    @property
    def clusters(self) -> pd.DataFrame:
        """One row a cluster."""
        return self.frame

    def one_step(self, by: str = "clusters", *, information: str = "expected") -> OneStep:
        """Deletions that the covariance parameters follow, by one step each.

        What PROC MIXED's INFLUENCE(ITER=1) is after: the derivatives of the criterion without the
        rows are exact, taken at the estimates of all rows, by PROC MIXED's covariance parameters;
        the fixed effects are those of the remaining rows at the parameters one step away.

        Parameters
        ----------
        by
            "clusters" or "observations".
        information
            "expected" (Fisher's scoring) or "observed" (Newton's step). Scoring from a complete
            design lands on the estimates without the cluster exactly; Newton's step is better by
            nothing but its name where a cluster matters: for the most influential subject of the
            sleep study it gives 257 for a residual variance of 475, since a variance that falls by
            a fraction d falls by d / (1 - 2 d) in one Newton step.

        Returns
        -------
        OneStep
            Tables of statistics, deletion estimates and DFBETAS.

        Raises
        ------
        ModelError
            For a fit that holds covariance parameters, by the iterative engine, or whose rows are
            correlated in sets too large for matrices; for another word.

        Examples
        --------
        >>> import mlmfast as mlm
        >>> fit = mlm.lmm("Reaction ~ Days + (Days | Subject)", mlm.load_sleepstudy())
        >>> steps = fit.influence().one_step()
        >>> steps.statistics["rld"].nlargest(2).round(3).to_dict()
        {'332': 8.306, '308': 2.113}
        >>> steps.parameters.loc["332"].round(2).tolist()
        [715.61, -1.06, 39.88, 475.33]
        """
        self._fit._needs_likelihood("one_step()")
        labels = self.clusters.index if is_one_of(by, ("clusters",)) else self.observations.index
        return one_step(self._fit, self._grouping, by, information, labels)

    def plot(  # type: ignore[override]
        self, statistic: str = "cooks_distance", by: str = "clusters", ax: Any = None
    ) -> Any:
        """One statistic of each deletion, the three largest named; returns the matplotlib axes.

        Parameters
        ----------
        statistic
            A column of `clusters` or `observations`, or a fixed effect: its DFBETAS.
        by
            "clusters" or "observations".
        ax
            Where to draw.

        Raises
        ------
        ModelError
            For another name.
        """
        from mlmfast.display.pictures.influence_plot import influence_plot

        clusters = is_one_of(by, ("clusters",))
        if not clusters and not is_one_of(by, ("observations",)):
            raise ModelError(f"by is {by!r}; use 'clusters' or 'observations'")
        frame = self.clusters if clusters else self.observations
        changes = self.cluster_dfbetas if clusters else self.observation_dfbetas
        if statistic not in frame and statistic not in changes:
            known = ", ".join(map(repr, [*frame.columns, *changes.columns]))
            raise ModelError(f"{statistic!r} is no statistic of deletions; use one of {known}")
        what = self._grouping.name if clusters else "observation"
        if statistic not in frame:
            return influence_plot(changes[statistic], f"DFBETAS of {statistic}", what, ax)
        base = 1.0 if statistic == "covratio" else 0.0
        label = _NAMES.get(statistic, statistic)
        return influence_plot(frame[statistic], label, what, ax, base=base)

    def __repr__(self) -> str:
        parts = []
        for what, frame in (("clusters", self.clusters), ("observations", self.observations)):
            top = frame.nlargest(_SHOWN, "cooks_distance")
            table = top.to_string(float_format=lambda value: f"{value:.4g}")
            parts.append(f"Most influential {what} of {len(frame):,}\n{table}")
        lost = int(self.clusters["cooks_distance"].isna().sum())
        if lost:
            parts.append(
                f"{lost} cluster(s) cannot be left out: fixed effects would not be estimable"
            )
        return "\n\n".join(parts)

    def _repr_html_(self) -> str:
        return in_text(repr(self))


def influence(fit: Fitted, cluster: object = None, *, progress: bool | None = None) -> Influence:
    """Cook's D, DFBETAS, MDFFITS, COVRATIO, PRESS, leverage by cluster and by observation.

    Exact for the fixed effects with the covariance parameters held at their estimates;
    ``influence().one_step()`` lets the covariance parameters follow by one step.

    Parameters
    ----------
    cluster
        Rows left out together, as in `robust`, or levels of a crossed or inner factor; by
        default the outermost grouping factor.
    progress
        A bar on a terminal or in a notebook: None after two seconds, True at once, False never.

    Raises
    ------
    ModelError, DataError
        For clusters that are not known, or correlated rows that share more effects than memory
        holds.
    """
    source = fit._needs_source("influence")
    design, record = source.design, fit._record
    clusters = cluster_factor(source, record, cluster, independent=False)
    independent = connected_clusters(design, clusters)
    p = record.rank
    if p == 0:
        raise ModelError("influence is on fixed effects, and the model has no fixed effects")
    by_row, by_cluster = _Deletions.empty(design.n_obs, p), _Deletions.empty(clusters.n_levels, p)
    fixed, overall = np.empty(design.n_obs), np.empty(design.n_obs)
    studentised, residual = np.empty(design.n_obs), np.empty(design.n_obs)
    with ProgressBar("influence", design.n_obs, progress) as bar:
        for pieces in pieces_of_sets(design, record, clusters, independent):
            rows = pieces.rows
            if independent is clusters:
                by_cluster.put(pieces.clusters, *pieces.without_cluster())
            else:
                for level, places in sets_within(clusters.codes[rows]):
                    by_cluster.put(np.array([level]), *pieces.without_rows(places))
            by_row.put(rows, *pieces.without_each())
            fixed[rows], overall[rows] = pieces.leverage_fixed, pieces.leverage
            studentised[rows], residual[rows] = pieces.studentised, pieces.e
            bar.advance(rows.size)
    names = [record.x_names[j] for j in record.kept]
    labels = pd.Index(clusters.labels, name=clusters.name)
    index = None if source.frame is None else source.frame.frame.index
    x = columns_at([design.x[j] for j in record.kept], np.arange(design.n_obs))
    of_cluster = by_cluster.statistics(record.vcov)
    of_cluster.insert(0, "n_rows", np.bincount(clusters.codes, minlength=clusters.n_levels))
    of_cluster["leverage"] = np.bincount(clusters.codes, fixed, clusters.n_levels)
    without = residual + (x * by_cluster.change[clusters.codes]).sum(axis=1)
    of_cluster["press"] = np.bincount(clusters.codes, without**2, clusters.n_levels)
    of_row = by_row.statistics(record.vcov)
    of_row["leverage"], of_row["leverage_fixed"] = overall, fixed
    of_row["press"] = residual + (x * by_row.change).sum(axis=1)
    of_row["studentised"] = np.where(np.isnan(of_row["cooks_distance"]), np.nan, studentised)
    rows_index = pd.RangeIndex(design.n_obs) if index is None else index
    return Influence(
        of_cluster.set_axis(labels),
        fit,
        clusters,
        observations=of_row.set_axis(rows_index),
        cluster_changes=pd.DataFrame(by_cluster.change, index=labels, columns=names),
        observation_changes=pd.DataFrame(by_row.change, index=rows_index, columns=names),
        cluster_dfbetas=pd.DataFrame(by_cluster.dfbetas(), index=labels, columns=names),
        observation_dfbetas=pd.DataFrame(by_row.dfbetas(), index=rows_index, columns=names),
    )


@dataclass(frozen=True)
class _Deletions:
    """beta - beta_U (k, p) and M_U (k, p, p) of many deletions."""

    change: FloatArray
    covariance: FloatArray

    @classmethod
    def empty(cls, n: int, p: int) -> _Deletions:
        return cls(np.empty((n, p)), np.empty((n, p, p)))

    def put(self, at: IntArray, change: FloatArray, covariance: FloatArray) -> None:
        self.change[at], self.covariance[at] = change, covariance

    def dfbetas(self) -> FloatArray:
        variance = np.einsum("kpp->kp", self.covariance)
        return np.asarray(self.change / np.sqrt(variance))

    def statistics(self, bread: FloatArray) -> pd.DataFrame:
        p = len(bread)
        usable = np.isfinite(self.change).all(axis=1)
        out = np.full((len(self.change), 4), np.nan)
        change, covariance = self.change[usable], self.covariance[usable]
        information = np.linalg.inv(bread)
        out[usable, 0] = np.einsum("kp,pq,kq->k", change, information, change) / p
        solved = np.linalg.solve(covariance, change[:, :, None])[:, :, 0]
        out[usable, 1] = (change * solved).sum(axis=1) / p
        ratio = information @ covariance
        out[usable, 2] = np.abs(np.trace(ratio, axis1=1, axis2=2) - p)
        out[usable, 3] = np.linalg.det(ratio)
        columns = ["cooks_distance", "mdffits", "covtrace", "covratio"]
        return pd.DataFrame(out, columns=columns)
