"""Pictures of a study: ``result.plot.zip()``, ``lollipop``, ``nested_loop``, ``power``, ..."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from mlmfast.studies.pictures.by_method import by_method_plot
from mlmfast.studies.pictures.funnel import funnel_plot
from mlmfast.studies.pictures.lollipop import lollipop_plot
from mlmfast.studies.pictures.nested_loop import nested_loop_plot
from mlmfast.studies.pictures.power import power_plot
from mlmfast.studies.pictures.zip import zip_plot

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from numpy.typing import NDArray

    from mlmfast.studies.performance.by_condition import Shown


class StudyPlots:
    """The pictures of one study; each returns the matplotlib axes that it drew on.

    ``estimand`` is the first by default, and ``where`` a dict of factors' values that says which
    conditions are shown. ``ax`` is where to draw: one axes, or as many as there are panels.
    """

    def __init__(self, result: Shown) -> None:
        self._result = result

    def zip(
        self,
        estimand: str | None = None,
        where: Mapping[str, Any] | None = None,
        ax: Any = None,
    ) -> NDArray[Any]:
        """Intervals of all replicates, those that miss the truth in colour.

        A panel a method and condition. Intervals are ordered by how far their estimate is from the
        truth in standard errors; the dashed lines are the Monte Carlo 95 % interval of the
        coverage (Morris, White and Crowther 2019, figure 5).
        """
        return zip_plot(self._result, estimand, where, ax)

    def lollipop(
        self,
        measure: str = "bias",
        estimand: str | None = None,
        where: Mapping[str, Any] | None = None,
        ax: Axes | None = None,
    ) -> Axes:
        """One measure by condition and method, with its Monte Carlo 95 % interval."""
        return lollipop_plot(self._result, measure, estimand, where, ax)

    def nested_loop(
        self,
        measure: str = "bias",
        estimand: str | None = None,
        where: Mapping[str, Any] | None = None,
        ax: Axes | None = None,
    ) -> Axes:
        """One measure over all conditions in order, a step line a method, the factors below.

        Rücker and Schwarzer (2014, BMC Medical Research Methodology 14:129).
        """
        return nested_loop_plot(self._result, measure, estimand, where, ax)

    def power(
        self,
        x: str | None = None,
        estimand: str | None = None,
        where: Mapping[str, Any] | None = None,
        ax: Any = None,
    ) -> NDArray[Any]:
        """Share of tests that reject, with Monte Carlo 95 % intervals, along a factor.

        Parameters
        ----------
        x
            The factor; the first whose values are numbers by default. Combinations of the others
            have a panel each.
        """
        return power_plot(self._result, x, estimand, where, ax)

    def funnel(
        self,
        estimand: str | None = None,
        where: Mapping[str, Any] | None = None,
        ax: Any = None,
    ) -> NDArray[Any]:
        """Estimates against their standard errors, a panel a method and condition."""
        return funnel_plot(self._result, estimand, where, ax)

    def by_method(
        self,
        estimand: str | None = None,
        where: Mapping[str, Any] | None = None,
        ax: Any = None,
    ) -> NDArray[Any]:
        """All estimates by method, a panel a condition; the bar is their mean."""
        return by_method_plot(self._result, estimand, where, ax)
