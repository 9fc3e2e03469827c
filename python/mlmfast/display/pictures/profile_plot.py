"""Profile likelihoods: signed roots, and the curves themselves."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from mlmfast.arrays import FloatArray
from mlmfast.display.figure import ACCENT, INK, PALE, panels, plain
from mlmfast.distributions import normal_quantile
from mlmfast.errors import ModelError
from mlmfast.running.scipy_on_use import interpolate
from mlmfast.words import is_one_of

SCALES = ("zeta", "deviance")


def profile_plot(
    table: pd.DataFrame, limits: pd.DataFrame, level: float, axes: Any, scale: str = "zeta"
) -> Any:
    """One panel a parameter: the profile and the limits at ``level``.

    Parameters
    ----------
    table
        The profile's points: ``parameter``, ``value``, ``zeta``, ``criterion``.
    limits
        ``lower`` and ``upper`` by parameter.
    level
        Of the limits marked.
    axes
        One matplotlib axes a parameter; new ones in a new figure by default.
    scale
        "zeta", or "deviance", its square.

    Returns
    -------
    The figure.

    Raises
    ------
    ModelError
        For another number of axes, another scale.
    """
    if not is_one_of(scale, SCALES):
        raise ModelError(f"scale is {scale!r}; use 'zeta' or 'deviance'")
    names = list(limits.index)
    z = -float(normal_quantile((1.0 - level) / 2.0))
    drawn = _panels(len(names), axes)
    for name, panel in zip(names, drawn, strict=False):
        rows = table[table["parameter"] == name].sort_values("value")
        value, zeta = rows["value"].to_numpy(), rows["zeta"].to_numpy()
        draw = _draw_zeta if scale == "zeta" else _draw_deviance
        draw(panel, *_smooth(value, zeta), limits.loc[name].to_numpy(), z)
        criterion = f"{rows['criterion'].iloc[0]}, {100 * level:g} % limits"
        plain(panel, str(name), r"$\zeta$" if scale == "zeta" else "rise of -2 log L", criterion)
        panel.title.set_fontsize(9)
    return drawn[0].figure


def _panels(n: int, axes: Any) -> Any:
    if axes is None:
        return panels(n)
    given = np.ravel(np.asarray(axes, dtype=object))
    if len(given) < n:
        raise ModelError(f"{n} axes are needed, one a parameter; found {len(given)}")
    return given


def _smooth(value: FloatArray, zeta: FloatArray) -> tuple[FloatArray, FloatArray]:
    # At a bound, such as a correlation of 1, points of several zeta coincide.
    value, first = np.unique(value, return_index=True)
    zeta = zeta[first]
    if len(value) < 2:
        return value, zeta
    fine = np.linspace(value[0], value[-1], 200)
    return fine, np.asarray(interpolate.PchipInterpolator(value, zeta)(fine))


def _draw_zeta(
    panel: Any, value: FloatArray, zeta: FloatArray, limits: FloatArray, z: float
) -> None:
    panel.plot(value, zeta, color=INK)
    panel.axhline(0.0, color=PALE, lw=0.9)
    for limit, sign in zip(limits, (-1.0, 1.0), strict=True):
        if np.isfinite(limit):
            panel.plot([limit, limit], [0.0, sign * z], color=ACCENT, linestyle="--", lw=1.2)


def _draw_deviance(
    panel: Any, value: FloatArray, zeta: FloatArray, limits: FloatArray, z: float
) -> None:
    panel.plot(value, zeta**2, color=INK)
    panel.axhline(z**2, color=PALE, lw=0.9)
    for limit in limits[np.isfinite(limits)]:
        panel.plot([limit, limit], [0.0, z**2], color=ACCENT, linestyle="--", lw=1.2)
    panel.set_ylim(bottom=0.0)
