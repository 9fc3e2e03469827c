"""Derivatives of the rows of X by a covariate, over the reference grid."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from mlmfast.arrays import FloatArray
from mlmfast.data.frame import Frame
from mlmfast.design.columns.expressions import evaluate_numeric
from mlmfast.errors import DataError, FormulaError, MlmError, ModelError
from mlmfast.formula.functions import variables_of
from mlmfast.inference.emmeans.reference_grid import (
    GridVariable,
    ReferenceGrid,
    evaluated_grid,
    reference_grid,
    unknown_name,
)

if TYPE_CHECKING:
    from mlmfast.fitted.fitted import Fitted

#: Halvings of the step, and the widest step as a share of the covariate's spread.
_HALVINGS = 10
_WIDEST = 0.02
#: Step by which models with curves are differentiated, as a share of that spread.
_SHORT = 1e-4


@dataclass(frozen=True, eq=False)
class _Differences:
    """Central differences of the grid by one covariate."""

    fit: Fitted
    grid: ReferenceGrid
    name: str

    def __call__(self, step: float) -> FloatArray:
        """(f(x + h) - f(x - h)) / 2h of the rows of X and, last, of the offset."""
        above, below = self._at(step), self._at(-step)
        return np.asarray((above - below) / (2.0 * step))

    def _at(self, shift: float) -> FloatArray:
        variables = tuple(
            _shifted(own, shift) if own.name == self.name else own for own in self.grid.variables
        )
        L, offset = evaluated_grid(self.fit, variables)
        return np.concatenate([L, offset[..., None]], axis=-1)


def _shifted(variable: GridVariable, shift: float) -> GridVariable:
    values = tuple(value + shift for value in variable.values)
    return GridVariable(variable.name, False, variable.labels, values)


def slope_grid(fit: Fitted, variable: str, at: Mapping[str, Any] | None = None) -> ReferenceGrid:
    """The reference grid with derivatives by a covariate in place of the rows of X.

    Central differences with a step halved time and again, extrapolated to a step of 0 (Ridders
    1982, Advances in Engineering Software 4, 75): exact for polynomials up to rounding, 9 digits
    or more for smooth functions.

    Parameters
    ----------
    fit
        The fit.
    variable
        A covariate, or a function of one as a formula writes it (``log(dose)``), by which the
        slope is then taken.
    at
        As of `reference_grid`.

    Raises
    ------
    DataError, ModelError
        For what is no covariate, or a point where the model has no slope.
    """
    name = _covariate(variable, fit)
    grid = reference_grid(fit, at, curves=True)
    own = next((v for v in grid.variables if v.name == name), None)
    if own is None:
        raise unknown_name(name, grid.names, "a variable of the fixed part")
    if own.is_factor:
        raise DataError(
            f'{name!r} is a factor, which has no slope; contrast("poly") of its means has trends'
        )
    spread = _spread(fit, own)
    differences = _Differences(fit, grid, name)
    # Curves have pieces, over whose ends nothing is extrapolated.
    curved = bool(fit._record.smooth_terms)
    derivative = differences(_SHORT * spread) if curved else _extrapolated(differences, spread)
    if variable != name:
        derivative = derivative / _inner_slope(variable, grid, name, spread)
    return ReferenceGrid(grid.variables, derivative[..., :-1], derivative[..., -1])


def _covariate(variable: str, fit: Fitted) -> str:
    if not isinstance(variable, str):
        raise DataError(f"var is {variable!r}; name the covariate whose slopes you want")
    plain = variable.strip().strip("`")
    if fit._record.fixed_spec is not None and plain in fit._record.fixed_spec.variables:
        return plain
    names = variables_of(variable)
    if len(names) != 1:
        raise FormulaError(
            f"var {variable!r} has {len(names)} variables; slopes are by one covariate or a "
            "function of one"
        )
    return names[0]


def _spread(fit: Fitted, variable: GridVariable) -> float:
    """A length that the covariate changes by in the data; of its values for a loaded fit."""
    values = np.asarray(variable.values, dtype=np.float64)
    if fit._source is not None and fit._source.frame is not None:
        values = fit._source.frame.frame.numeric(variable.name)
    found = float(np.ptp(values))
    return found if found > 0 else max(float(np.abs(values).max()), 1.0)


def _inner_slope(text: str, grid: ReferenceGrid, name: str, spread: float) -> FloatArray:
    """The derivative of a function of the covariate, laid along the covariate's axis."""
    values = np.array(grid.variables[grid.position(name)].values, dtype=np.float64)

    def difference(step: float) -> FloatArray:
        parts = [
            evaluate_numeric(text, Frame.from_native({name: values + h}), "var")
            for h in (step, -step)
        ]
        return np.asarray((parts[0] - parts[1]) / (2 * step))

    slopes = _extrapolated(difference, spread)
    if (slopes == 0).any():
        raise ModelError(f"var {text!r} is flat at a value of {name!r}, so there is no slope by it")
    shape = [1] * (len(grid.names) + 1)
    shape[grid.position(name)] = len(values)
    return slopes.reshape(shape)


def _extrapolated(difference: Any, spread: float) -> FloatArray:
    """The limit of central differences, entry by entry that of the smallest error estimate."""
    table: list[list[FloatArray]] = []
    best: FloatArray | None = None
    error: FloatArray = np.zeros(0)
    step = _WIDEST * spread
    for _ in range(_HALVINGS + 1):
        first = _defined(difference, step)
        step /= 2.0
        if first is None:
            # Outside of the domain of a logarithm, say: nearer points may be inside.
            table, best = [], None
            continue
        row = [first]
        for k, previous in enumerate(table[-1] if table else []):
            row.append(row[k] + (row[k] - previous) / (4.0 ** (k + 1) - 1.0))
        if best is None:
            best, error = first, np.full(first.shape, np.inf)
        for k in range(1, len(row)):
            own = np.maximum(np.abs(row[k] - row[k - 1]), np.abs(row[k] - table[-1][k - 1]))
            better = own < error
            best, error = np.where(better, row[k], best), np.where(better, own, error)
        table.append(row)
    if best is None:
        raise ModelError(
            "the fixed part has no slope there: its expressions are not defined on both sides of "
            "a value of the grid; set others by at="
        )
    return best


def _defined(difference: Any, step: float) -> FloatArray | None:
    try:
        with np.errstate(all="ignore"):
            values = difference(step)
    except MlmError:
        return None
    return values if np.isfinite(values).all() else None
