"""Estimated marginal means of slopes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from mlmfast.inference.emmeans.grid.nesting import with_nests
from mlmfast.inference.emmeans.means import EMMeans, means_over
from mlmfast.inference.emmeans.trends.slopes import slope_grid

if TYPE_CHECKING:
    from mlmfast.fitted.fitted import Fitted


class EMTrends(EMMeans):
    """Slopes of a covariate over the reference grid, averaged as marginal means are.

    Attributes
    ----------
    frame : DataFrame
        Levels, "x.trend", SE, df, lower, upper; NaN where not estimable.
    contrasts : Contrasts or None
        Those asked for by "pairwise ~ ...".
    """

    def plot(self, ax: Any = None) -> Any:  # type: ignore[override]
        """Slopes with their intervals, a panel for each level of `by`; the matplotlib figure."""
        return self._plot(f"slope, {self._estimate_name}", ax, null=0.0)


def emtrends(
    fit: Fitted,
    specs: Any,
    var: str,
    by: Any = None,
    at: Mapping[str, Any] | None = None,
    weights: str = "equal",
    *,
    nesting: Any = None,
    ddf: Any = None,
    level: float = 0.95,
    adjust: str = "none",
) -> EMTrends:
    """Slopes of a covariate by the levels of factors, and contrasts of them.

    The slope at a point of the reference grid is the derivative of the fixed part by the
    covariate, through all that the formula makes of it (`poly(x, 2)`, `log(x)`, `x:f`). It is
    taken at the covariate's mean, or at the values of ``at``. The derivative is a central
    difference extrapolated to a step of 0, exact for polynomials; R's ``emtrends`` takes one
    forward difference of a thousandth of the range.

    Parameters
    ----------
    specs, by, at, weights, nesting, ddf, level, adjust
        As in `emmeans`; "1" for the slope averaged over all factors.
    var
        The covariate, or a function of it to take slopes by: ``"log(dose)"``.

    Returns
    -------
    EMTrends
        As `EMMeans`: ``.contrast()``, ``.test()``, ``.frame``; the column is named "x.trend".

    Raises
    ------
    DataError, ModelError
        For a factor or an unknown name, or where the model is not defined beside a value.

    Examples
    --------
    >>> import mlmfast as mlm
    >>> data = mlm.load_sleepstudy()
    >>> data["early"] = ["a" if s < 340 else "b" for s in data.Subject.astype(int)]
    >>> fit = mlm.lmm("Reaction ~ Days * early + (Days | Subject)", data)
    >>> slopes = fit.emtrends("early", "Days")
    >>> slopes["Days.trend"].round(3).tolist()
    [8.552, 12.861]
    >>> slopes.contrast("pairwise")[["contrast", "estimate", "SE", "df"]].round(3)
      contrast  estimate    SE    df
    0    a - b    -4.309  3.02  16.0
    """
    grid = with_nests(fit, slope_grid(fit, var, at), nesting)
    made = means_over(
        *(fit, grid, specs, by, weights),
        ddf=ddf,
        level=level,
        adjust=adjust,
        kind=EMTrends,
        estimate_name=f"{var}.trend",
    )
    assert isinstance(made, EMTrends), "asked for"
    return made
