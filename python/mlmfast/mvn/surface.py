"""The density of two components as a surface over their plane."""

from __future__ import annotations

from typing import Any

import numpy as np

from mlmfast.display.figure import INK, PALE
from mlmfast.errors import DataError, MlmError
from mlmfast.mvn.density import Density

#: Standard deviations to each side, and points along each component.
_REACH, _POINTS = 3.0, 45


def draw_surface(pair: Density, ax: Any) -> Any:
    """Draw the density of a pair over its plane, its contours below."""
    if len(pair) != 2:
        raise DataError(f"dims lists {len(pair)} components; a surface stands over two")
    if pair.rank < 2:
        raise DataError(
            f"{pair.names[0]!r} and {pair.names[1]!r} have a singular covariance: all of their "
            "probability is on a line, and no surface stands over it; plot draws it"
        )
    ax = _axes(ax)
    x, y = (
        mean + sd * np.linspace(-_REACH, _REACH, _POINTS)
        for mean, sd in zip(pair.mean, pair.std(), strict=True)
    )
    grid = np.meshgrid(x, y)
    height = pair.pdf(np.stack(grid, axis=-1).reshape(-1, 2)).reshape(grid[0].shape)
    floor = -0.6 * float(height.max())
    ax.plot_surface(*grid, height, cmap=_colours(), rcount=_POINTS, ccount=_POINTS, lw=0,
                    antialiased=True)  # fmt: skip
    ax.contour(*grid, height, levels=6, zdir="z", offset=floor, colors=INK, linewidths=0.8)
    ax.set_zlim(floor, 1.05 * float(height.max()))
    ax.set(xlabel=pair.names[0], ylabel=pair.names[1])
    ax.set_zlabel("density", labelpad=9)
    # The floor of the contours is no density.
    ax.set_zticks([tick for tick in ax.get_zticks() if 0.0 <= tick <= height.max()])
    ax.tick_params(labelsize=8)
    ax.set_title(f"Density of {pair.names[0]} and {pair.names[1]}", fontsize=11)
    ax.view_init(elev=26.0, azim=-58.0)
    return ax


def _axes(ax: Any) -> Any:
    try:
        from matplotlib import pyplot
    except ImportError as error:
        raise MlmError(
            'a surface needs matplotlib, which is not installed; run: pip install "mlmfast[plot]"'
        ) from error
    if ax is None:
        return pyplot.figure(figsize=(6.4, 5.2)).add_subplot(projection="3d")
    if not hasattr(ax, "plot_surface"):
        raise DataError('ax has two dimensions; a surface needs one with projection="3d"')
    return ax


def _colours() -> Any:
    from matplotlib.colors import LinearSegmentedColormap

    return LinearSegmentedColormap.from_list("mlmfast_height", ["#eef3f8", PALE, INK])
