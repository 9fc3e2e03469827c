"""Plots of the random effects."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from mlmfast.arrays import FloatArray
from mlmfast.confidence_level import check_level
from mlmfast.covariance.correlations import roots
from mlmfast.design.factors.names import known_group
from mlmfast.design.rows import columns_at
from mlmfast.display.figure import ACCENT, INK, PALE, axes_or_new, legend_of, panels, plain
from mlmfast.distributions import two_sided_normal
from mlmfast.errors import ModelError

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from numpy.typing import NDArray

    from mlmfast.fitted.fitted import Fitted

_MOST_LABELS = 60
_MOST_ARROWS = 300


def caterpillar_plot(fit: Fitted, group: str | None, level: float, ax: Any) -> NDArray[np.object_]:
    """See `Plots.caterpillar`."""
    check_level(level)
    group = _group(fit, group)
    means, covariances = fit.ranef[group], fit.ranef_cov[group]
    variances = np.array([np.diag(covariances[label]) for label in means.index])
    z = two_sided_normal(level)
    n, height = means.shape[1], min(2.0 + 0.16 * len(means), 10.0)
    axes = panels(n, ax, columns=n, width=3.6, height=height, what="give one a random effect")
    for j, (name, ax) in enumerate(zip(means.columns, axes, strict=True)):
        order = np.argsort(means[name].to_numpy())
        centre, half = means[name].to_numpy()[order], z * roots(variances[order, j])
        where = np.arange(len(order))
        ax.hlines(where, centre - half, centre + half, color=PALE, lw=1.6)
        ax.plot(centre, where, "o", color=INK, markersize=3.5)
        ax.axvline(0.0, color=ACCENT, lw=0.9)
        if len(order) <= _MOST_LABELS:
            ax.set_yticks(where, [str(means.index[i]) for i in order], fontsize=7)
        else:
            ax.set_yticks([])
        levels = f"{len(order)} levels of {group}, in order" if len(order) > _MOST_LABELS else group
        plain(ax, f"BLUP and {100 * level:g} % interval", levels, f"{name} | {group}")
    return axes


def shrinkage_plot(
    fit: Fitted, group: str | None, x: str | None, y: str | None, ax: Axes | None
) -> Axes:
    """See `Plots.shrinkage`."""
    group = _group(fit, group)
    means = fit.ranef[group]
    names = _two_effects(fit, group, list(means.columns), x, y)
    own = _own_estimates(fit, group, list(means.columns))
    pick = [list(means.columns).index(name) for name in names]
    fixed = fit.params[names].to_numpy()
    blups = means[names].to_numpy() + fixed
    ax = axes_or_new(ax)
    usable = np.flatnonzero(np.isfinite(own).all(axis=1))[:_MOST_ARROWS]
    start, end = own[usable][:, pick], blups[usable]
    ax.quiver(*start.T, *(end - start).T, angles="xy", scale_units="xy", scale=1.0, color=PALE)
    ax.plot(*start.T, "o", color="white", markeredgecolor=INK, markersize=4, label="level alone")
    ax.plot(*end.T, "o", color=INK, markersize=4, label="BLUP")
    ax.plot(*fixed, "+", color=ACCENT, markersize=12, mew=2, label="fixed effects")
    legend_of(ax)
    return plain(ax, names[0], names[1], f"Shrinkage by {group}")


def _group(fit: Fitted, group: str | None) -> str:
    curves = {group.name for group in fit._record.groups if group.has_curves}
    having = [name for name, frame in fit.ranef.items() if frame.shape[1] and name not in curves]
    if not having:
        raise ModelError("the model has no random effects to plot")
    if group is None:
        return str(having[0])
    known = known_group(group, having)
    if known is None:
        raise ModelError(
            f"there are no random effects on {group!r}; grouping factors: {', '.join(having)}"
        )
    return known


def _two_effects(
    fit: Fitted, group: str, columns: list[str], x: str | None, y: str | None
) -> list[str]:
    wanted = [x, y] if x is not None and y is not None else columns[:2]
    if len(wanted) < 2:
        raise ModelError(f"a shrinkage plot needs two random effects on {group!r}; it has one")
    names = [str(name) for name in wanted]
    for name in names:
        if name not in columns or name not in fit.params.index:
            raise ModelError(
                f"{name!r} is not both a random effect on {group!r} and a fixed effect; random "
                f"effects: {', '.join(columns)}"
            )
    return names


def _own_estimates(fit: Fitted, group: str, names: list[str]) -> FloatArray:
    """Least squares on each level's rows of its own random-effects columns, (n_levels, q).

    Fixed effects without a random one are taken as estimated. NaN where the rows do not tell.
    """
    source = fit._needs_source("a shrinkage plot")
    design = source.design
    position = [factor.name for factor in design.factors].index(group)
    terms = [term for term in design.random if term.factor == position]
    columns = [column for term in terms for column in term.columns]
    z = columns_at(columns, np.arange(design.n_obs))
    shared = fit.params.reindex(names).fillna(0.0).to_numpy()
    marginal = fit.resid("marginal").to_numpy() + z @ shared
    codes = design.factors[position].codes
    out = np.full((design.factors[position].n_levels, len(names)), np.nan)
    order = np.argsort(codes, kind="stable")
    for level, rows in enumerate(np.split(order, np.cumsum(np.bincount(codes))[:-1])):
        solution, _, rank, _ = np.linalg.lstsq(z[rows], marginal[rows], rcond=None)
        if rank == len(names):
            out[level] = solution
    return out
