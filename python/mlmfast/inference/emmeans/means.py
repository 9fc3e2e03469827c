"""Estimated marginal means: `LMMResult.emmeans`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import pandas as pd

from mlmfast.errors import DataError
from mlmfast.inference.emmeans.averages import averaged_rows
from mlmfast.inference.emmeans.joint import JointTests, joint_test
from mlmfast.inference.emmeans.linear_functions import LinearFunctions
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

    _estimate_name = "emmean"
    _is_tested = False
    contrasts: Contrasts | None = None

    def slices(self) -> JointTests:
        """F test of equal means within each level of `by` (SAS's SLICE)."""
        return joint_test(self.contrast("trt.vs.ctrl", adjust="none")._functions)

    def plot(self, ax: Any = None) -> Any:
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
    ddf: Any = None,
    level: float = 0.95,
    adjust: str = "none",
) -> EMMeans:
    """Estimate marginal means over a reference grid; see `LMMResult.emmeans`."""
    read = read_specs(specs, by)
    grid = reference_grid(fit, at)
    functions = marginal_means(fit, grid, read.factors, read.by, weights, ddf)
    about = _about(grid, read, weights)
    means = EMMeans(functions, level=level, adjust=adjust, about=about)
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
    kept = (*factors, *by)
    for name in kept:
        _check_variable(name, grid)
    L, offset = averaged_rows(fit, grid, kept, weights)
    variables = [grid.variables[grid.position(name)] for name in kept]
    labels = pd.DataFrame(combinations(variables), columns=list(kept))
    if not factors:
        labels.insert(0, "1", "overall")
    return LinearFunctions(fit, ddf, labels, L, offset, tuple(by))


def _check_variable(name: str, grid: ReferenceGrid) -> None:
    factors = [variable.name for variable in grid.variables if not variable.is_averaged]
    if name not in grid.names:
        raise unknown_name(name, factors, "a factor of the fixed part")
    if name not in factors:
        raise DataError(
            f"{name!r} is a covariate, which stands at its mean; give the values wanted, as in "
            f"at={{{name!r}: [0, 1]}}"
        )


def _about(grid: ReferenceGrid, read: Specs, weights: str) -> list[str]:
    rest = [v for v in grid.variables if v.name not in (*read.factors, *read.by)]
    averaged = [v.name for v in rest if v.size > 1]
    fixed = [
        f"{v.name} = {float(v.labels[0]):.5g}" for v in rest if not v.is_factor and v.size == 1
    ]
    about = []
    if averaged:
        kind = "" if weights == "equal" else f", weights {weights}"
        about.append(f"Averaged over the levels of: {', '.join(averaged)}{kind}")
    if fixed:
        about.append(f"Covariates at: {', '.join(fixed)}")
    return about
