"""A power curve: a data frame with a picture."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd

from mlmfast.display.figure import ACCENT, INK, PALE, axes_or_new, plain
from mlmfast.display.frame_cells import table_of
from mlmfast.display.printed_frame import PrintedFrame
from mlmfast.display.tables import Table


class ByNumber(PrintedFrame):
    """A table by number of levels or rows, the column value."""

    def _table(self) -> Table:
        frame = pd.DataFrame(self)
        return table_of(
            frame.assign(value=frame["value"].map("{:g}".format)), self.title, ["value"]
        )


class PowerCurve(ByNumber):
    """Power by number of levels or rows: columns value, power, lower, upper, n, n_failed, ...

    ``power`` is the share of the ``n`` replicates that reject; a replicate without a test
    (``n_failed``) rejects nothing. ``lower`` and ``upper`` are the exact binomial interval,
    ``mean_estimate`` the mean of the estimates tested (NaN where several are).
    """

    _metadata = ["title", "notes", "seed", "what"]  # noqa: RUF012 (what pandas asks of a subclass)

    #: From which all can be drawn again.
    seed: Any = None
    #: What ``value`` counts.
    what: str = "value"

    def __deepcopy__(self, memo: dict[int, object] | None = None) -> PowerCurve:
        """A curve; its title, notes and seed are kept."""
        found = super().__deepcopy__(memo)
        assert isinstance(found, PowerCurve), "a frame of the same kind"
        return found

    @property
    def _constructor(self) -> Callable[..., pd.DataFrame]:
        return pd.DataFrame

    def plot(self, ax: Any = None, target: float | None = 0.8) -> Any:  # type: ignore[override]
        """Draw the curve with its intervals.

        Parameters
        ----------
        ax
            Axes to draw in; new ones by default.
        target
            Power at which a line is drawn; None for none.

        Returns
        -------
        matplotlib Axes
        """
        axes = axes_or_new(ax)
        value = self["value"].to_numpy(dtype=np.float64)
        power = self["power"].to_numpy(dtype=np.float64)
        below = power - self["lower"].to_numpy(dtype=np.float64)
        above = self["upper"].to_numpy(dtype=np.float64) - power
        if target is not None:
            axes.axhline(target, color=ACCENT, linewidth=1.0, linestyle="--")
        axes.errorbar(value, power, [below, above], color=INK, ecolor=PALE, marker="o", capsize=3)
        axes.set_ylim(0.0, 1.02)
        return plain(axes, self.what, "power", self.title)
