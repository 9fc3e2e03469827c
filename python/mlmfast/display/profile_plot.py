"""Zeta plots of a profile."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from mlmfast.distributions import normal_quantile
from mlmfast.errors import ModelError
from mlmfast.running.scipy_on_use import interpolate


def profile_plot(table: pd.DataFrame, limits: pd.DataFrame, level: float, axes: Any) -> Any:
    """One panel a parameter: zeta, its tangent at the estimate, and the limits at ``level``.

    Parameters
    ----------
    table
        The profile's points: ``parameter``, ``value``, ``zeta``.
    limits
        ``lower`` and ``upper`` by parameter.
    level
        Of the limits marked.
    axes
        One matplotlib axes a parameter; new ones in a new figure by default.

    Returns
    -------
    The figure.

    Raises
    ------
    ModelError
        For another number of axes.
    """
    names = list(limits.index)
    z = -float(normal_quantile((1.0 - level) / 2.0))
    panels = _panels(len(names)) if axes is None else np.ravel(axes)
    if len(panels) < len(names):
        raise ModelError(f"{len(names)} axes are needed, one a parameter; found {len(panels)}")
    for name, panel in zip(names, panels, strict=False):
        rows = table[table["parameter"] == name].sort_values("value")
        value, zeta = rows["value"].to_numpy(), rows["zeta"].to_numpy()
        fine = np.linspace(value[0], value[-1], 200)
        curve = interpolate.PchipInterpolator(value, zeta)(fine) if len(value) > 1 else zeta
        panel.plot(fine if len(value) > 1 else value, curve)
        panel.axhline(0.0, color="0.7", linewidth=0.8)
        for limit, sign in zip(limits.loc[name], (-1.0, 1.0), strict=True):
            if np.isfinite(limit):
                panel.plot([limit, limit], [0.0, sign * z], color="0.5", linestyle="--")
        panel.set_xlabel(name)
        panel.set_ylabel(r"$\zeta$")
    return panels[0].figure


def _panels(n: int) -> Any:
    import matplotlib.pyplot as plt

    columns = min(n, 3)
    rows = -(-n // columns)
    figure, axes = plt.subplots(
        rows, columns, figsize=(3.2 * columns, 2.6 * rows), layout="constrained", squeeze=False
    )
    for panel in np.ravel(axes)[n:]:
        panel.set_visible(False)
    del figure
    return np.ravel(axes)
