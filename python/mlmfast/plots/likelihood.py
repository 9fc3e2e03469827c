"""Contours of the likelihood of covariance parameters, and the steps of the iteration."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from mlmfast.arrays import FloatArray
from mlmfast.criterion.constrained import Surface, points_on, surface_of
from mlmfast.criterion.parameters.covariance_parameter import check_engine
from mlmfast.criterion.parameters.functions import CovarianceFunctions
from mlmfast.display.figure import ACCENT, INK, PALE, axes_or_new, legend_of, plain
from mlmfast.distributions import chi2_quantile
from mlmfast.errors import ModelError
from mlmfast.fitting.fit import fit_covariance
from mlmfast.fitting.parms.names import NamedParameters
from mlmfast.newton.options import NewtonOptions

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from mlmfast.fitted.fitted import Fitted

#: Points of the grid along each parameter, near the estimate and over all, without a residual
#: structure and with one, whose parameters are found point by point; steps drawn at most.
_POINTS, _OF_STRUCTURE, _MOST_STEPS = 35, 16, 30
#: Joint confidence regions whose borders are drawn.
_REGIONS = (0.5, 0.8, 0.95, 0.99)


def likelihood_plot(
    fit: Fitted, x: str, y: str, start: Mapping[str, float] | None, ax: Axes | None
) -> Axes:
    """See `Plots.likelihood`."""
    fit._needs_likelihood("a plot of the likelihood")
    source = fit._needs_source("a plot of the likelihood")
    check_engine(source.model, "a plot of the likelihood")
    if source.held_values:
        raise ModelError("the fit holds covariance parameters; plot the likelihood of a free one")
    functions = CovarianceFunctions(source.model, source.criterion)
    named = NamedParameters(functions)
    pair = (named.find(x), named.find(y))
    if pair[0] == pair[1]:
        raise ModelError(f"{x!r} and {y!r} are one parameter; name two")
    best = functions.point_at(source.theta)
    estimates = functions.values(best)[0]
    path = None if start is None else _path(functions, named, fit._record.method, start)
    grids = [_grid(functions, p, estimates, path) for p in pair]
    rise = _rise(functions, best, pair, grids)
    ax = axes_or_new(ax)
    _contours(ax, grids[0], grids[1], rise)
    if path is not None:
        ax.plot(*path[:, pair].T, "o-", color=ACCENT, lw=1.2, markersize=4, label="Newton's steps")
    ax.plot(*estimates[list(pair)], "+", color=INK, markersize=12, mew=2, label="estimate")
    legend_of(ax)
    names = [functions.parameters[p].name for p in pair]
    others = ", others at their estimates" if _free(functions) > 2 else ""
    return plain(ax, names[0], names[1], f"{fit._record.method} likelihood: joint regions{others}")


def _free(functions: CovarianceFunctions) -> int:
    """Parameters beside covariances, which say again what correlations say."""
    return sum(parameter.kind != "covariance" for parameter in functions.parameters)


def _path(
    functions: CovarianceFunctions,
    named: NamedParameters,
    method: str,
    start: Mapping[str, float],
) -> FloatArray:
    """Values of all parameters at the start and after each step, (n_steps + 1, n_parameters)."""
    model, n_theta = functions.model, functions.criterion.n_theta
    first = functions.point_at(fit_covariance(model, method, NewtonOptions()).theta)
    begin, reached = points_on(functions, surface_of(named.values(start), 1), first)
    if not reached.all():
        raise ModelError(
            f"start={dict(start)}: no covariance matrix of this model has these values"
        )
    theta = np.ascontiguousarray(begin[:, :n_theta])
    points = [functions.point_at(theta)]
    for steps in range(1, _MOST_STEPS + 1):
        options = replace(NewtonOptions(), max_iter=steps)
        found = fit_covariance(model, method, options, theta)
        points.append(functions.point_at(found.theta))
        if found.newton.converged[0]:
            break
    return functions.values(np.concatenate(points))


def _grid(
    functions: CovarianceFunctions, position: int, estimates: FloatArray, path: FloatArray | None
) -> FloatArray:
    """Values of a parameter around its estimate, the path among them, within its range."""
    parameter = functions.parameters[position]
    centre = float(estimates[position])
    seen = np.array([centre]) if path is None else path[:, position]
    if np.isfinite(parameter.upper):
        low, high = max(parameter.lower, centre - 0.6), min(parameter.upper, centre + 0.6)
    elif parameter.lower == 0.0:
        low, high = 0.4 * centre, 2.0 * centre or 1.0
    else:
        reach = 1.5 * abs(centre) or 1.0
        low, high = centre - reach, centre + reach
    n = _POINTS if functions.model.design.residual is None else _OF_STRUCTURE
    near = np.linspace(low, high, n)
    low, high = min(low, float(seen.min())), max(high, float(seen.max()))
    room = 0.04 * (high - low)
    wide = np.linspace(low - room, high + room, n)
    grid = np.union1d(near, wide)
    inside = (grid > parameter.lower + 0.2 * room) & (grid < parameter.upper - 0.2 * room)
    return np.asarray(grid[inside])


def _rise(
    functions: CovarianceFunctions, best: FloatArray, pair: tuple[int, int], grids: list[FloatArray]
) -> FloatArray:
    """-2 log-likelihood over its minimum on the grid, (n_y, n_x); NaN where no covariance is."""
    x, y = (grid.ravel() for grid in np.meshgrid(*grids))
    free = [p for p, one in enumerate(functions.parameters) if one.kind != "covariance"]
    values = np.repeat(functions.values(best), len(x), axis=0)
    values[:, pair[0]], values[:, pair[1]] = x, y
    which = np.tile(np.array(free, dtype=np.intp), (len(x), 1))
    # Trials outside of all covariances of the structure are no points.
    with np.errstate(all="ignore"):
        points, reached = points_on(
            functions, Surface(which, values[:, free]), np.repeat(best, len(x), axis=0)
        )
        deviance = np.where(reached, functions.deviance(points), np.nan)
    return np.asarray((deviance - functions.deviance(best)[0]).reshape(len(grids[1]), -1))


def _contours(ax: Axes, x: FloatArray, y: FloatArray, rise: FloatArray) -> None:
    levels = [float(chi2_quantile(share, 2)) for share in _REGIONS]
    known = np.isfinite(rise)
    # Only where there are covariance matrices.
    ax.set_xlim(*x[known.any(axis=0)][[0, -1]])
    ax.set_ylim(*y[known.any(axis=1)][[0, -1]])
    top = float(rise[known].max())
    further = [level for level in (20.0, 50.0, 100.0, 200.0, 500.0, 1000.0) if level < top]
    ax.contour(x, y, rise, levels=[*levels, *further], colors=PALE, linewidths=0.8)
    lines = ax.contour(x, y, rise, levels=levels, colors=INK, linewidths=1.0)
    names: dict[Any, str] = {
        level: f"{100 * share:g} %" for level, share in zip(levels, _REGIONS, strict=True)
    }
    ax.clabel(lines, fmt=names, fontsize=8)
