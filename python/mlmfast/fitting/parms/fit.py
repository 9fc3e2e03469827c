"""Starting values, values held, bounds and grids of starts for covariance parameters by name.

What PROC MIXED's PARMS statement offers with HOLD=, LOWERB=, UPPERB= and lists of values.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from mlmfast.arrays import BoolArray, FloatArray
from mlmfast.criterion.constrained import (
    ConstrainedResult,
    Surface,
    fit_constrained,
    points_on,
    surface_of,
)
from mlmfast.criterion.criterion import criterion_of
from mlmfast.criterion.deviance import deviance_at
from mlmfast.criterion.parameters.functions import CovarianceFunctions
from mlmfast.errors import ModelError
from mlmfast.fitting.boundary import FREE, rounded_to_boundary
from mlmfast.fitting.covariance_fit import CovarianceFit
from mlmfast.fitting.fit import fit_covariance
from mlmfast.fitting.minima.near_singular import check_start
from mlmfast.fitting.parms.held_correlations import HeldCorrelations
from mlmfast.fitting.parms.names import NamedParameters
from mlmfast.fitting.parms.request import Parms, grid_points
from mlmfast.fitting.starts.probed import first_start
from mlmfast.fitting.undetermined.search import with_flat_effects
from mlmfast.newton.options import NewtonOptions
from mlmfast.reduction.blocks import structure_of
from mlmfast.reduction.reduced_model import ReducedModel
from mlmfast.running.first_use import OnUse

if TYPE_CHECKING:
    import pandas as pd
else:
    pd = OnUse("pandas")

_ROUNDS = 50


@dataclass(frozen=True)
class ParmsFit:
    """A fit under the wishes of `Parms`.

    Attributes
    ----------
    covariance
        The covariance parameters' fit.
    log_sigma2 : shape (1,), in the criterion's units; None where the best was taken.
    held
        Names and values of the parameters held, bounds that are active among them.
    table
        The grid: a column a parameter, and ``-2 logLik``; None without a grid.
    """

    covariance: CovarianceFit
    log_sigma2: FloatArray | None
    held: dict[str, float]
    table: pd.DataFrame | None


def fit_with_parms(
    model: ReducedModel,
    method: str,
    options: NewtonOptions,
    theta: FloatArray | None,
    parms: Parms,
) -> ParmsFit:
    """Fit from named starting values, with values held and within bounds.

    Parameters
    ----------
    model, method, options
        As `mlmfast.fitting.fit.fit_covariance`.
    theta : shape (1, n_theta), point to begin from; moment estimates by default
    parms
        The wishes.

    Raises
    ------
    ModelError
        For a name that is no covariance parameter, values that are not numbers or lie outside a
        parameter's range or outside the covariance matrices, and contradictory wishes.
    """
    functions = CovarianceFunctions(model, with_flat_effects(model, criterion_of(model, method)))
    named = NamedParameters(functions)
    problem = _Problem(functions, named, options)
    hold = named.values(parms.hold)
    bounds = named.bounds(parms.bounds)
    named.check_contradictions(hold, bounds)
    if theta is None:
        theta = first_start(model, functions.criterion, np.zeros(1, dtype=np.intp))
    begin = functions.point_at(theta)
    start = {**named.values(parms.start), **hold}
    begin = problem.at_values(begin, start) if start else begin
    table = None
    if parms.grid is not None:
        begin, table = problem.best_of_grid(begin, parms.grid, hold)
    if start:
        check_start(functions.criterion, begin[:, : functions.criterion.n_theta])
    if not hold and not bounds:
        covariance = fit_covariance(model, method, options, begin[:, : functions.criterion.n_theta])
        return ParmsFit(covariance, None, {}, table)
    result, active = problem.within_bounds(begin, hold, bounds)
    return problem.finished(result, active, table)


@dataclass(frozen=True)
class _Problem:
    functions: CovarianceFunctions
    named: NamedParameters
    options: NewtonOptions

    def at_values(self, points: FloatArray, values: Mapping[int, float]) -> FloatArray:
        """The nearest point with these values.

        Raises
        ------
        ModelError
            Where there is none.
        """
        surface = surface_of(values, len(points))
        found, reached = points_on(self.functions, surface, points)
        if not reached.all():
            # Correlations are undefined at a singular start, and nothing leads away from it.
            found, reached = points_on(self.functions, surface, self._inside(points))
        if not reached.all():
            raise self._unreachable(values)
        return found

    def _inside(self, points: FloatArray) -> FloatArray:
        """The points with identity matrices as covariances of the random effects."""
        criterion, out = self.functions.criterion, points.copy()
        for block, s in zip(criterion.terms, criterion.theta_slices, strict=True):
            if not block.is_residual:
                structure = structure_of(block)
                out[:, s] = structure.theta(np.eye(structure.size)[None])
        return out

    def _listed(self, values: Mapping[int, float]) -> str:
        return ", ".join(f"{self.functions.parameters[p].name} = {v:g}" for p, v in values.items())

    def _singular(self, values: Mapping[int, float]) -> ModelError:
        return ModelError(
            f"the covariance matrix with {self._listed(values)} is singular to rounding, so that "
            "it has no likelihood; hold other values"
        )

    def _unreachable(self, values: Mapping[int, float]) -> ModelError:
        return ModelError(
            f"no covariance matrix of this model has {self._listed(values)}; variances lie above "
            "0 and correlations between -1 and 1, within what the structure allows"
        )

    def best_of_grid(self, begin: FloatArray, grid: Any, hold: Mapping[int, float]) -> Any:
        """The grid's point with the lowest criterion, and the table of all."""
        wishes = grid_points(grid)
        names = list(wishes[0])
        rows = [self.named.values(wish) | dict(hold) for wish in wishes]
        start = np.repeat(begin, len(rows), axis=0)
        points, reached = points_on(
            self.functions,
            Surface(
                np.array([list(row) for row in rows]), np.array([list(r.values()) for r in rows])
            ),
            start,
        )
        free_scale = self.functions.scale_position not in rows[0]
        deviance = self.functions.deviance(points, free_scale)
        deviance = np.where(reached, deviance, np.inf)
        table = pd.DataFrame([dict(wish) for wish in wishes], columns=names)
        table["-2 logLik"] = deviance
        if not np.isfinite(deviance).any():
            raise ModelError("no point of the grid gives a covariance matrix of this model")
        best = int(np.argmin(deviance))
        return self.functions.point_at(
            points[best : best + 1, : self.functions.criterion.n_theta],
            None if free_scale else points[best : best + 1, -1],
        ), table

    def within_bounds(
        self,
        begin: FloatArray,
        hold: Mapping[int, float],
        bounds: Mapping[int, tuple[float, float]],
    ) -> tuple[ConstrainedResult, dict[int, float]]:
        """The minimum within bounds, and the parameters held there, by active sets.

        A bound that is passed is held, and released where the criterion falls towards the inside.
        """
        active = dict(hold)
        correlations = HeldCorrelations(self.functions, self.options, bounds, deviance_of)
        begin = correlations.best_start(begin, active)
        for _ in range(_ROUNDS):
            surface = surface_of(active, 1)
            result = fit_constrained(self.functions, surface, begin, self.options)
            if not np.isfinite(result.newton.value[0]):
                self.at_values(begin, active)
                raise self._singular(active)
            begin = result.points
            changed = self._release(active, hold, bounds, result) or self._activate(
                active, bounds, result
            )
            if not changed:
                correlations.check_defined(result.points, active)
                return result, active
        newton = replace(result.newton, converged=np.zeros(1, dtype=np.bool_))
        return result._replace(newton=newton), active

    def _activate(
        self,
        active: dict[int, float],
        bounds: Mapping[int, tuple[float, float]],
        result: ConstrainedResult,
    ) -> bool:
        values = self.functions.values(result.points)[0]
        passed = {}
        for position, (lower, upper) in bounds.items():
            if position in active:
                continue
            # sqrt of rounding: what is at its bound counts as inside.
            room = 1e-12 * max(abs(lower) if np.isfinite(lower) else 0.0, abs(values[position]))
            if values[position] < lower - room:
                passed[position] = lower
            elif values[position] > upper + room:
                passed[position] = upper
        active.update(passed)
        return bool(passed)

    def _release(
        self,
        active: dict[int, float],
        hold: Mapping[int, float],
        bounds: Mapping[int, tuple[float, float]],
        result: ConstrainedResult,
    ) -> bool:
        """Release the bound whose multiplier has the wrong sign, if there is one."""
        worst, size = None, 1e-7
        for multiplier, position in zip(result.multipliers[0], list(active), strict=True):
            if position in hold:
                continue
            lower, upper = bounds[position]
            inward = 0.0 if lower == upper else 1.0 if active[position] == lower else -1.0
            fall = -multiplier * inward * max(abs(active[position]), 1e-3)
            if fall > size:
                worst, size = position, fall
        if worst is not None:
            del active[worst]
        return worst is not None

    def _rounded(
        self, points: FloatArray, active: Mapping[int, float]
    ) -> tuple[FloatArray, BoolArray]:
        """Small variances set to 0 where that costs nothing and moves nothing that is held."""
        n = self.functions.criterion.n_theta
        theta, singular = rounded_to_boundary(
            self.functions.criterion, np.ascontiguousarray(points[:, :n])
        )
        if not singular.any():
            return points, singular
        rounded = np.concatenate([theta, points[:, n:]], axis=1)
        held = list(active)
        before, after = (self.functions.values(p)[0, held] for p in (points, rounded))
        wanted = np.array(list(active.values()))
        # A variance held at 0 may have been reached up to rounding.
        off = np.maximum(1e-13 * np.abs(wanted), np.abs(before - wanted))
        same = bool((np.abs(after - wanted) <= off).all())
        rise = self.functions.deviance(rounded) - self.functions.deviance(points)
        if same and bool((rise <= FREE).all()):
            return rounded, singular
        return points, np.zeros_like(singular)

    def finished(
        self, result: ConstrainedResult, active: Mapping[int, float], table: pd.DataFrame | None
    ) -> ParmsFit:
        criterion, newton = self.functions.criterion, result.newton
        points, singular = self._rounded(result.points, active)
        theta = np.ascontiguousarray(points[:, : criterion.n_theta])
        covariance = CovarianceFit(criterion, theta, singular, newton, newton.n_evaluations)
        log_sigma2 = points[:, -1] if self.functions.has_scale else None
        held = {self.functions.parameters[p].name: value for p, value in active.items()}
        return ParmsFit(covariance, log_sigma2, held, table)


def deviance_of(
    model: ReducedModel, method: str, held: Mapping[str, float], options: NewtonOptions
) -> float:
    """-2 log-likelihood of the first response at its optimum, parameters in ``held`` held."""
    if held:
        parms = fit_with_parms(model, method, options, None, Parms(hold=held))
        covariance, scale = parms.covariance, parms.log_sigma2
    else:
        covariance, scale = fit_covariance(model, method, options), None
    deviance = deviance_at(model, covariance.criterion, covariance.theta, scale)
    return float(deviance[0])
