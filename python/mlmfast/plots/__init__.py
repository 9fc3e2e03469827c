"""Plots of a fit: ``fit.plot.caterpillar()``, ``residuals``, ``qq``, ``shrinkage``, ...

Each returns the matplotlib axes it drew on (an array of them where there are several panels) and
takes ``ax`` where there is one panel. matplotlib is only imported when something is drawn.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from mlmfast.plots.diagnostics import qq_plot, residual_plot, variogram_plot
from mlmfast.plots.effects import effects_plot
from mlmfast.plots.random_effects import caterpillar_plot, shrinkage_plot

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from numpy.typing import NDArray

    from mlmfast.fitted.fitted import Fitted


def plot(fit: Fitted) -> Plots:
    """Plots of the fit: ``fit.plot.caterpillar()``, ``residuals``, ``qq``, ..."""
    return Plots(fit)


class Plots:
    """The plots of one fit.

    Examples
    --------
    >>> import mlmfast as mlm
    >>> fit = mlm.lmm("Reaction ~ Days + (Days | Subject)", mlm.load_sleepstudy())
    >>> axes = fit.plot.caterpillar()
    >>> [ax.get_title() for ax in axes]
    ['(Intercept) | Subject', 'Days | Subject']
    """

    def __init__(self, fit: Fitted) -> None:
        self._fit = fit

    def caterpillar(self, group: str | None = None, level: float = 0.95) -> NDArray[np.object_]:
        """BLUPs of a grouping factor in order of size, with conditional intervals.

        Parameters
        ----------
        group
            Grouping factor; the only one, or the first, by default.
        level
            Coverage of the bars, +-z times the conditional standard deviation.

        Raises
        ------
        ModelError
            Where there are no random effects on ``group``, or the level is not in (0, 1).
        """
        return caterpillar_plot(self._fit, group, level)

    def shrinkage(
        self, group: str | None = None, x: str | None = None, y: str | None = None
    ) -> Axes:
        """Each level's own least squares estimates, with arrows to its BLUP estimates.

        Parameters
        ----------
        group
            Grouping factor; the first by default.
        x, y
            Two of its random effects; the first two by default.

        Raises
        ------
        ModelError
            Where a factor has fewer than two random effects, or these are not among the fixed.
        """
        return shrinkage_plot(self._fit, group, x, y)

    def residuals(self, kind: str = "pearson", ax: Axes | None = None) -> Axes:
        """Residuals (a kind of `LMMResult.resid`) against fitted values, with a smooth line."""
        return residual_plot(self._fit, kind, ax)

    def qq(self, kind: str = "scaled", ax: Axes | None = None) -> Axes:
        """Residuals against normal quantiles, with a pointwise 95 % band of normal samples.

        Cholesky-scaled residuals are independent and standard normal under the model, whatever the
        correlations; other kinds are standardised first.
        """
        return qq_plot(self._fit, kind, ax)

    def effects(
        self,
        variables: str | Sequence[str] | None = None,
        at: Mapping[str, Any] | None = None,
        level: float = 0.95,
        ax: Axes | None = None,
    ) -> NDArray[np.object_]:
        """Estimated marginal means of the fixed effects, with intervals.

        Parameters
        ----------
        variables
            One variable of the fixed part, or two as ``"time:arm"`` or a list: the covariate along
            the axis, the other by colour. By default a panel for each term that no other contains.
        at
            Values of covariates and levels of factors, as `LMMResult.emmeans` takes them; other
            covariates stand at their mean, other factors are averaged with equal weights.
        level
            Of the pointwise intervals.
        ax
            Where to draw, for one panel.

        Raises
        ------
        DataError, ModelError
            For a name that is not in the fixed part, more than two, or a model from arrays.

        Examples
        --------
        >>> import mlmfast as mlm
        >>> fit = mlm.lmm("Reaction ~ Days + (Days | Subject)", mlm.load_sleepstudy())
        >>> [ax.get_xlabel() for ax in fit.plot.effects()]
        ['Days']
        """
        return effects_plot(self._fit, variables, at, level, ax)

    def profile(
        self, which: str | Sequence[str] | None = None, level: float = 0.95
    ) -> NDArray[np.object_]:
        """Signed roots of the profile likelihood; straight lines where Wald intervals are right.

        Computes `LMMResult.profile`, which takes many fits; to plot one you have, call its own
        ``plot``.

        Parameters
        ----------
        which
            Names of parameters, "fixed", "covariance", or None for all, as `LMMResult.profile`.
        level
            Of the limits marked.

        Examples
        --------
        >>> import mlmfast as mlm
        >>> fit = mlm.lmm("Reaction ~ Days + (1 | Subject)", mlm.load_sleepstudy())
        >>> [ax.get_xlabel() for ax in fit.plot.profile("sigma")]
        ['sigma']
        """
        figure = self._fit.profile(which).plot(level=level)
        return np.array([ax for ax in figure.axes if ax.get_visible()], dtype=object)

    def variogram(
        self, time: str, kind: str = "pearson", n_bins: int = 15, ax: Axes | None = None
    ) -> Axes:
        """Half the mean squared difference of a subject's residuals by their distance in time.

        Parameters
        ----------
        time
            Numeric column.
        kind
            "pearson" shows the correlation that a residual structure has to explain, "scaled"
            what it leaves: level at 1 where the structure is right (Pinheiro and Bates 2000,
            section 5.3).
        n_bins
            Distances are averaged in bins of equal counts, unless there are as few.
        """
        return variogram_plot(self._fit, time, kind, n_bins, ax)
