"""Plots of a fit: ``fit.plot.caterpillar()``, ``residuals``, ``qq``, ``shrinkage``, ...

Each returns the matplotlib axes it drew on (an array of them where there are several panels) and
takes ``ax``, one axes or as many as there are panels. matplotlib is only imported when something is
drawn.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from mlmfast.diagnostics.influence import influence
from mlmfast.plots.curves import individual_plot, spaghetti_plot
from mlmfast.plots.diagnostics import qq_plot, residual_plot, variogram_plot
from mlmfast.plots.effects import effects_plot
from mlmfast.plots.likelihood import likelihood_plot
from mlmfast.plots.matrices import correlation_plot, matrix_plot
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

    def caterpillar(
        self, group: str | None = None, level: float = 0.95, ax: Any = None
    ) -> NDArray[np.object_]:
        """BLUPs of a grouping factor in order of size, with conditional intervals.

        Parameters
        ----------
        group
            Grouping factor; the only one, or the first, by default.
        level
            Coverage of the bars, +-z times the conditional standard deviation.
        ax
            Where to draw: one axes a random effect.

        Raises
        ------
        ModelError
            Where there are no random effects on ``group``, or the level is not in (0, 1).
        """
        return caterpillar_plot(self._fit, group, level, ax)

    def shrinkage(
        self,
        group: str | None = None,
        x: str | None = None,
        y: str | None = None,
        ax: Axes | None = None,
    ) -> Axes:
        """Each level's own least squares estimates, with arrows to its BLUP estimates.

        Parameters
        ----------
        group
            Grouping factor; the first by default.
        x, y
            Two of its random effects; the first two by default.
        ax
            Where to draw.

        Raises
        ------
        ModelError
            Where a factor has fewer than two random effects, or these are not among the fixed.
        """
        return shrinkage_plot(self._fit, group, x, y, ax)

    def residuals(self, kind: str = "pearson", ax: Axes | None = None) -> Axes:
        """Residuals (a kind of `LMMResult.resid`) against fitted values, with a smooth line.

        The line is made of local straight lines over three quarters of the rows (Cleveland 1979).
        """
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
            Where to draw: one axes, or as many as there are panels.

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
        self,
        which: str | Sequence[str] | None = None,
        level: float = 0.95,
        ax: Any = None,
        scale: str = "zeta",
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
        ax
            Where to draw: one axes a parameter.
        scale
            "zeta", or "deviance": the rise of -2 log-likelihood itself, its square.

        Examples
        --------
        >>> import mlmfast as mlm
        >>> fit = mlm.lmm("Reaction ~ Days + (1 | Subject)", mlm.load_sleepstudy())
        >>> [ax.get_xlabel() for ax in fit.plot.profile("sigma")]
        ['sigma']
        """
        figure = self._fit.profile(which).plot(level=level, ax=ax, scale=scale)
        if ax is not None:
            return np.ravel(np.asarray(ax, dtype=object))
        return np.array([one for one in figure.axes if one.get_visible()], dtype=object)

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

    def spaghetti(
        self, x: str, by: str | None = None, group: str | None = None, ax: Axes | None = None
    ) -> Axes:
        """Responses over x (pale) with each subject's fitted curve, and the population's.

        Parameters
        ----------
        x
            A numeric column, or a factor, whose levels are then in their order.
        by
            A factor: curves in the colours of its levels, a population curve for each.
        group
            Whose courses these are; the subjects of ``residual=`` or the outermost grouping factor
            by default. Of more than 200 as many are drawn.
        ax
            Where to draw.

        Raises
        ------
        DataError, ModelError
            For a column that is not in the data, and a model without grouping factors.

        Examples
        --------
        >>> import mlmfast as mlm
        >>> fit = mlm.lmm("Reaction ~ Days + (Days | Subject)", mlm.load_sleepstudy())
        >>> fit.plot.spaghetti("Days").get_title()
        'Reaction of 18 levels of Subject'
        """
        return spaghetti_plot(self._fit, x, by, group, ax)

    def individuals(
        self, x: str, which: Any = None, group: str | None = None, ax: Any = None
    ) -> NDArray[np.object_]:
        """A panel for each of some subjects: responses over x and the fitted curve.

        Parameters
        ----------
        x
            A numeric column, or a factor.
        which
            Labels of the subjects; twelve, spread evenly, by default.
        group, ax
            As for `spaghetti`; one axes a panel.

        Examples
        --------
        >>> import mlmfast as mlm
        >>> fit = mlm.lmm("Reaction ~ Days + (Days | Subject)", mlm.load_sleepstudy())
        >>> [ax.get_title() for ax in fit.plot.individuals("Days", ["308", "309"])]
        ['308', '309']
        """
        return individual_plot(self._fit, x, group, which, ax)

    def matrix(
        self,
        which: str = "V",
        cluster: object = None,
        term: str | None = None,
        ax: Axes | None = None,
    ) -> Axes:
        """A matrix of the model as a picture: white is 0, dark large, the other colour negative.

        Parameters
        ----------
        which
            "V", "R", "Z" or "X" of a cluster, or "G".
        cluster
            A level of the outermost grouping factor, or a subject; the first with most rows by
            default.
        term
            Of G: the random term or its grouping factor; the first by default.
        ax
            Where to draw.

        Examples
        --------
        >>> import mlmfast as mlm
        >>> fit = mlm.lmm("Reaction ~ Days + (Days | Subject)", mlm.load_sleepstudy())
        >>> fit.plot.matrix("V", "308").get_title()
        "V = ZGZ' + R of 308"
        """
        return matrix_plot(self._fit, which, cluster, term, ax)

    def correlation(
        self, cluster: object = None, kind: str = "marginal", ax: Axes | None = None
    ) -> Axes:
        """Correlations as a picture, from -1 (accent) over 0 (white) to 1 (ink).

        Parameters
        ----------
        cluster
            As for `matrix`.
        kind
            "marginal" (of a cluster's responses, from V), "residual" (from R, over visits where
            ``residual=`` has them) or "fixed" (of the estimated coefficients).
        ax
            Where to draw.

        Examples
        --------
        >>> import mlmfast as mlm
        >>> fit = mlm.lmm("Reaction ~ Days + (Days | Subject)", mlm.load_sleepstudy())
        >>> fit.plot.correlation(kind="fixed").get_title()
        'Correlation of fixed effects'
        """
        return correlation_plot(self._fit, cluster, kind, ax)

    def likelihood(
        self,
        x: str,
        y: str,
        start: Mapping[str, float] | None = None,
        ax: Axes | None = None,
    ) -> Axes:
        """Contours of the likelihood over two covariance parameters, as joint confidence regions.

        Further parameters stand at their estimates; `profile` lets them follow.

        Parameters
        ----------
        x, y
            Covariance parameters by the names of `LMMResult.profile`.
        start
            Values of covariance parameters to fit from again: the steps of the iteration from there
            are drawn. Where the residual variance is profiled out of the likelihood it is the best
            at each of them, the first among them.
        ax
            Where to draw.

        Raises
        ------
        ModelError
            For names that are no covariance parameters, values that no covariance matrix has, and
            fits with held parameters or by the iterative engine.

        Examples
        --------
        >>> import mlmfast as mlm
        >>> fit = mlm.lmm("Reaction ~ Days + (1 | Subject)", mlm.load_sleepstudy())
        >>> fit.plot.likelihood("sd_(Intercept)|Subject", "sigma").get_ylabel()
        'sigma'
        """
        return likelihood_plot(self._fit, x, y, start, ax)

    def influence(
        self, statistic: str = "cooks_distance", by: str = "clusters", ax: Axes | None = None
    ) -> Axes:
        """A deletion diagnostic of each cluster, or observation; see `Influence.plot`.

        Examples
        --------
        >>> import mlmfast as mlm
        >>> fit = mlm.lmm("Reaction ~ Days + (Days | Subject)", mlm.load_sleepstudy())
        >>> fit.plot.influence().get_ylabel()
        "Cook's distance"
        """
        axes: Axes = influence(self._fit).plot(statistic, by, ax)
        return axes
