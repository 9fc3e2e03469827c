"""Plots of the matrices of the model: G, R, V, Z, X of a cluster, and correlations."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from mlmfast.clusters.matrices import G, R, V, X, Z
from mlmfast.display.pictures.heat_map import heat_map
from mlmfast.errors import ModelError
from mlmfast.fitted.residual.covariance import residual_corr
from mlmfast.inference.robust.kinds import cov_params
from mlmfast.plots.curves import subjects_of

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from mlmfast.fitted.fitted import Fitted

_OF_CLUSTER = {"V": V, "R": R, "Z": Z, "X": X}
_TITLES = {"V": "V = ZGZ' + R"}


def matrix_plot(
    fit: Fitted, which: str, cluster: object, term: str | None, ax: Axes | None
) -> Axes:
    """See `Plots.matrix`."""
    if which not in (*_OF_CLUSTER, "G"):
        raise ModelError(f"{which!r} is no matrix of a fit; use V, R, Z, X or G")
    if which == "G":
        if cluster is not None:
            raise ModelError("G is the same for every cluster; leave cluster out, and name a term")
        name = _term(fit, term)
        return heat_map(G(fit, name), f"G of {name}", ax)
    if term is not None:
        raise ModelError(f"term= goes with G, and not with {which}")
    cluster = _first(fit) if cluster is None else cluster
    matrix = _OF_CLUSTER[which](fit, cluster)
    if not matrix.shape[1]:
        part = "random effects" if which == "Z" else "fixed effects"
        raise ModelError(f"the model has no {part}, so {which} has no columns to plot")
    columns = "" if which in "XZ" else "rows of the data"
    return heat_map(
        matrix,
        f"{_TITLES.get(which, which)} of {_label(cluster)}",
        ax,
        xlabel=columns,
        ylabel="rows of the data",
    )


def correlation_plot(fit: Fitted, cluster: object, kind: str, ax: Axes | None) -> Axes:
    """See `Plots.correlation`."""
    if kind not in ("marginal", "residual", "fixed"):
        raise ModelError(f"kind is {kind!r}; use 'marginal', 'residual' or 'fixed'")
    if kind == "fixed":
        return heat_map(_correlations(cov_params(fit)), "Correlation of fixed effects", ax,
                        largest=1.0)  # fmt: skip
    if kind == "residual" and cluster is None:
        found = residual_corr(fit)
        if isinstance(found, pd.DataFrame):
            return heat_map(found, "Residual correlation", ax, largest=1.0)
    cluster = _first(fit) if cluster is None else cluster
    matrix = (V if kind == "marginal" else R)(fit, cluster)
    title = f"{kind.capitalize()} correlation of {_label(cluster)}"
    return heat_map(_correlations(matrix), title, ax, largest=1.0)


def _correlations(matrix: pd.DataFrame) -> pd.DataFrame:
    values = matrix.to_numpy(dtype=np.float64)
    sd = np.sqrt(np.diag(values))
    with np.errstate(invalid="ignore", divide="ignore"):
        out = values / np.outer(sd, sd)
    return pd.DataFrame(out, index=matrix.index, columns=matrix.columns)


def _term(fit: Fitted, term: str | None) -> str:
    if term is not None:
        return term
    groups = list(fit.ranef)
    if not groups:
        raise ModelError("the model has no random effects, so it has no G")
    return str(groups[0])


def _first(fit: Fitted) -> str | None:
    """The first cluster of the largest size; None, all rows, where there are no clusters."""
    design = fit._needs_source("a picture of a matrix").design
    if not fit._record.groups and design.residual is None:
        return None
    _, codes, labels = subjects_of(fit, None)
    return str(labels[int(np.argmax(np.bincount(codes, minlength=len(labels))))])


def _label(cluster: object) -> str:
    return "all rows" if cluster is None else str(cluster)
