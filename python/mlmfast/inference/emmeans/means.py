"""Estimated marginal means."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pandas as pd

from mlmfast.errors import DataError
from mlmfast.inference.anova.anova import convergence_notes
from mlmfast.inference.emmeans.averages import averaged_rows, occurring
from mlmfast.inference.emmeans.estimates.curved_functions import CurvedFunctions
from mlmfast.inference.emmeans.estimates.linear_functions import LinearFunctions
from mlmfast.inference.emmeans.estimates.transformations import Transformation, of_response
from mlmfast.inference.emmeans.grid.averaged_covariates import (
    covariates_kind,
    factor_grid,
    with_averages,
)
from mlmfast.inference.emmeans.grid.nesting import nesting_note, with_nests
from mlmfast.inference.emmeans.joint import JointTests, joint_test
from mlmfast.inference.emmeans.reference_grid import (
    ReferenceGrid,
    combinations,
    reference_grid,
    unknown_name,
)
from mlmfast.inference.emmeans.specs import Specs, read_specs
from mlmfast.inference.emmeans.tables import Contrasts, EstimateTable

if TYPE_CHECKING:
    from mlmfast.fitted.fitted import Fitted


class EMMeans(EstimateTable):
    """Estimated marginal means.

    Attributes
    ----------
    frame : DataFrame
        Levels, emmean, SE, df, lower, upper; NaN where not estimable.
    contrasts : Contrasts or None
        Those asked for by "pairwise ~ ...".
    """

    _metadata = [*EstimateTable._metadata, "contrasts"]  # noqa: RUF012
    _estimate_name = "emmean"
    _is_tested = False
    contrasts: Contrasts | None = None

    def slices(self) -> JointTests:
        """F test of equal means within each level of `by` (SAS's SLICE)."""
        return joint_test(self.contrast("trt.vs.ctrl", adjust="none")._functions)

    def plot(self, ax: Any = None) -> Any:  # type: ignore[override]
        """Means with their intervals, a panel for each level of `by`; the matplotlib figure."""
        return self._plot("estimated marginal mean", ax)

    def __repr__(self) -> str:
        text = super().__repr__()
        return text if self.contrasts is None else f"{text}\n\n{self.contrasts!r}"


def emmeans(
    fit: Fitted,
    specs: Any,
    by: Any = None,
    at: Mapping[str, Any] | None = None,
    weights: str = "equal",
    *,
    covariates: str = "means",
    nesting: Any = None,
    ddf: Any = None,
    level: float = 0.95,
    adjust: str = "none",
) -> EMMeans:
    """Estimated marginal means (LS-means) over a reference grid of the fixed effects.

    The grid holds every combination of the levels of the factors; covariates stand at their
    mean over the rows used, offsets likewise, and what the formula makes of them (`poly(x, 2)`,
    `log(x)`, `I(x^2)`) is evaluated there. Curves ``s(x)`` are too: their predicted effects
    count with the fixed ones, with the covariance of the errors of prediction, as in `predict`;
    other random effects are 0.

    Parameters
    ----------
    specs
        Whose means: "trt", ["a", "b"], "a:b", "~ trt | visit", or "pairwise ~ trt | visit",
        which adds contrasts.
    by
        Factors that split the table into families.
    at
        Levels of factors to keep, values of covariates to set; a covariate with values may
        stand in specs and by.
    weights
        How the other factors are averaged: "equal", "proportional" (to their frequencies),
        "outer" (product of single frequencies), "cells" (frequencies within each mean), "flat"
        (equal over the cells that occur).
    covariates
        "means": the formula is evaluated at the covariates' means (PROC MIXED's AT MEANS).
        "averaged": every product of covariates, such as ``x:z`` and ``I(x^2)``, stands at its own
        average over the rows, as LS-means of PROC MIXED do without AT. "by level": likewise, over
        the rows of each mean; with weights="cells" PROC MIXED's BYLEVEL.
    nesting
        Factors nested in others, found in the data by default: a factor each of whose levels
        occurs with one level of another is nested in it. Combinations that there are not are left
        out, labels of a nested level name what holds it, and averages go over a factor's levels
        within what holds it first. Else ``{"plot": "site"}``, ``"plot %in% (site*year)"``, or
        False for none.
    ddf
        Method for the degrees of freedom; that of the fit by default.
    level, adjust
        Level of the intervals and their adjustment within each family.

    Returns
    -------
    EMMeans
        Prints as a table; ``.frame``, ``.contrast()``, ``.test()``, ``.slices()``, ``.plot()``.

    Raises
    ------
    DataError, ModelError
        For an unknown name or level, a covariate without values, or a model from arrays.

    Examples
    --------
    >>> import mlmfast as mlm
    >>> data = mlm.load_sleepstudy()
    >>> data["week"] = ["1" if day < 7 else "2" for day in data.Days]
    >>> fit = mlm.lmm("Reaction ~ week + (1 | Subject)", data)
    >>> fit.emmeans("week", ddf="asymptotic")
    week   emmean     SE   df    lower    upper
    1     282.693  9.222  Inf  264.618  300.767
    2     335.410  9.950  Inf  315.910  354.911
    Degrees of freedom: asymptotic; confidence level 0.95
    """
    grid = with_nests(fit, reference_grid(fit, at, curves=True), nesting)
    kind = covariates_kind(covariates, at, grid)
    return means_over(
        *(fit, grid, specs, by, weights), ddf=ddf, level=level, adjust=adjust, covariates=kind
    )


def means_over(
    fit: Fitted,
    grid: ReferenceGrid,
    specs: Any,
    by: Any = None,
    weights: str = "equal",
    *,
    ddf: Any = None,
    level: float = 0.95,
    adjust: str = "none",
    covariates: str = "means",
    kind: type[EMMeans] = EMMeans,
    estimate_name: str | None = None,
) -> EMMeans:
    """Marginal means over a grid that is laid out already; arguments as `emmeans`.

    ``kind`` is the class of the table and ``estimate_name`` its column, where not those of means.
    """
    read = read_specs(specs, by)
    if covariates != "means":
        fit._record.refuse_smooths(
            f"covariates={covariates!r}", "curves are evaluated at values: covariates='means', at="
        )
    if covariates == "means":
        functions = marginal_means(fit, grid, read.factors, read.by, weights, ddf)
    else:
        ones = factor_grid(fit, grid)
        functions = marginal_means(fit, ones, read.factors, read.by, weights, ddf)
        functions = with_averages(functions, grid, covariates)
    if estimate_name is None:
        functions = replace(functions, transformation=_transformation(fit))
    about = [*_about(grid, read, weights, covariates), *convergence_notes(fit)]
    means = kind(functions, level=level, adjust=adjust, about=about, estimate_name=estimate_name)
    if read.contrast is not None:
        means.contrasts = means.contrast(read.contrast)
    return means


def marginal_means(
    fit: Fitted,
    grid: ReferenceGrid,
    factors: Sequence[str],
    by: Sequence[str],
    weights: str,
    ddf: Any,
) -> LinearFunctions:
    """Linear functions that are the marginal means over some variables of the grid.

    Raises
    ------
    DataError
        For a variable that is not in the grid, or a covariate without values of its own.
    """
    for name in (*factors, *by):
        _check_variable(name, grid)
    # A level of a nested factor is one of what holds it.
    by = (*by, *_holders(grid, by, (*factors, *by)))
    kept = (*factors, *_holders(grid, factors, (*factors, *by)), *by)
    L, offset = averaged_rows(fit, grid, kept, weights)
    variables = [grid.variables[grid.position(name)] for name in kept]
    labels = pd.DataFrame(combinations(variables), columns=list(kept))
    if grid.nests and kept:
        there = occurring(grid, kept)
        labels, L, offset = labels[there].reset_index(drop=True), L[there], offset[there]
    if not factors:
        labels.insert(0, "1", "overall")
    nests = {name: own for name, own in grid.nests.items() if name in kept}
    functions = CurvedFunctions if fit._record.smooth_terms else LinearFunctions
    return functions(fit, ddf, labels, L, offset, tuple(by), nests=nests)


def _holders(grid: ReferenceGrid, names: Sequence[str], besides: Sequence[str]) -> list[str]:
    """Factors that hold nested ones among some names, those left out that are there already."""
    holders = {holder for name in names for holder in grid.nests.get(name, ())}
    return [name for name in grid.names if name in holders and name not in besides]


def _transformation(fit: Fitted) -> Transformation | None:
    """That of the formula's response; None where a table stands for something else than a fit."""
    expression = getattr(fit._record, "response", None)
    return of_response(expression) if expression else None


def _check_variable(name: str, grid: ReferenceGrid) -> None:
    factors = [variable.name for variable in grid.variables if not variable.is_averaged]
    if name not in grid.names:
        raise unknown_name(name, factors, "a factor of the fixed part")
    if name not in factors:
        raise DataError(
            f"{name!r} is a covariate, which stands at its mean; give the values wanted, as in "
            f"at={{{name!r}: [0, 1]}}"
        )


def _about(grid: ReferenceGrid, read: Specs, weights: str, covariates: str) -> list[str]:
    named = (*read.factors, *read.by)
    # What holds a nested factor that is named stands beside it in the table.
    shown = {*named, *_holders(grid, named, named)}
    rest = [v for v in grid.variables if v.name not in shown]
    averaged = [v.name for v in rest if v.size > 1]
    fixed = [
        f"{v.name} = {float(v.labels[0]):.5g}" for v in rest if not v.is_factor and v.size == 1
    ]
    about = []
    if nested := nesting_note(grid.nests):
        about.append(nested)
    if averaged:
        kind = "" if weights == "equal" else f", weights {weights}"
        about.append(f"Averaged over the levels of: {', '.join(averaged)}{kind}")
    if fixed and covariates != "means":
        where = "the rows" if covariates == "averaged" else "the rows of each mean"
        about.append(f"Covariates and their products averaged over {where}")
    elif fixed:
        about.append(f"Covariates at: {', '.join(fixed)}")
    return about
