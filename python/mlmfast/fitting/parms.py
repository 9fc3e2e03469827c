"""Starting values, values held, bounds and grids of starts for covariance parameters by name.

What PROC MIXED's PARMS statement offers with HOLD=, LOWERB=, UPPERB= and lists of values.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from difflib import get_close_matches
from typing import Any

import numpy as np
import pandas as pd

from mlmfast.arrays import BoolArray, FloatArray
from mlmfast.criterion.constrained import (
    ConstrainedResult,
    Surface,
    fit_constrained,
    points_on,
    surface_of,
)
from mlmfast.criterion.covariance_parameter import CovarianceParameter
from mlmfast.criterion.criterion import criterion_of
from mlmfast.criterion.parameters import CovarianceFunctions
from mlmfast.errors import ModelError
from mlmfast.fitting.boundary import FREE, rounded_to_boundary
from mlmfast.fitting.covariance_fit import CovarianceFit
from mlmfast.fitting.fit import fit_covariance
from mlmfast.fitting.held_correlations import HeldCorrelations
from mlmfast.fitting.moment_starts import first_start
from mlmfast.fitting.near_singular import check_start
from mlmfast.fitting.parms_request import Parms, finite_number, grid_points
from mlmfast.fitting.undetermined.search import with_flat_effects
from mlmfast.newton import NewtonOptions
from mlmfast.reduction.reduced_model import ReducedModel

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
    problem = _Problem(functions, options)
    hold = {problem.find(name): problem.value(name, value) for name, value in parms.hold.items()}
    bounds = problem.bounds(parms.bounds)
    problem.check_contradictions(hold, bounds)
    if theta is None:
        theta = first_start(model, functions.criterion, np.zeros(1, dtype=np.intp))
    begin = functions.point_at(theta)
    start = {problem.find(name): problem.value(name, v) for name, v in parms.start.items()}
    start = {**start, **hold}
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
    options: NewtonOptions

    def find(self, name: str) -> int:
        """Position of a parameter by its name or one of its other names."""
        for position, parameter in enumerate(self.functions.parameters):
            if name == parameter.name or name in dict(parameter.aliases):
                return position
        names = [p.name for p in self.functions.parameters]
        others = [alias for p in self.functions.parameters for alias, _ in p.aliases]
        near = get_close_matches(str(name), names + others, n=1)
        hint = f"; did you mean {near[0]!r}?" if near else ""
        raise ModelError(
            f"{name!r} is no covariance parameter of this model{hint} "
            f"(parameters: {', '.join(names + others)})"
        )

    def value(self, name: str, value: Any) -> float:
        """A value under the parameter's own name: the root of a variance."""
        number = finite_number(name, value)
        parameter = self.functions.parameters[self.find(name)]
        power = dict(parameter.aliases).get(name, 1.0)
        if power != 1.0 and number < 0:
            raise ModelError(f"{name!r} is a variance; {number:g} is negative")
        number = float(number ** (1.0 / power)) if power != 1.0 else number
        if not parameter.lower <= number <= parameter.upper:
            raise ModelError(
                f"{number:g} lies outside the range of {name!r}, {parameter.lower:g} to "
                f"{parameter.upper:g}"
            )
        if number == 0.0 and self._is_correlated(parameter):
            raise ModelError(
                f"{name!r} cannot be 0: the correlations of that effect would be undefined; leave "
                "the effect out of its term instead"
            )
        return number

    def _is_correlated(self, parameter: CovarianceParameter) -> bool:
        if parameter.kind != "sd" or not parameter.places:
            return False
        structure = self.functions.model.design.random[parameter.places[0][0]].structure
        return structure.mixes and structure.size > 1

    def bounds(
        self, wishes: Mapping[str, tuple[float | None, float | None]]
    ) -> dict[int, tuple[float, float]]:
        """Bounds by position, infinite where there is none."""
        out = {}
        for name, pair in wishes.items():
            if not isinstance(pair, tuple | list) or len(pair) != 2:
                raise ModelError(
                    f"bounds of {name!r} are {pair!r}; give (lower, upper), None for no bound"
                )
            parameter = self.functions.parameters[self.find(name)]
            low, high = pair
            if all(bound is None or bound in (-np.inf, np.inf) for bound in pair):
                raise self._no_bound(name, parameter)
            # 0 for a standard deviation is no bound of its own.
            is_edge = low is None or (low == 0 and parameter.lower == 0)
            lower = parameter.lower if is_edge else self._bound(name, low)
            upper = parameter.upper if high is None else self._bound(name, high)
            if not lower <= upper:
                raise ModelError(f"bounds of {name!r}: {low!r} is not below {high!r}")
            out[self.find(name)] = (lower, upper)
        return out

    def _no_bound(self, name: str, parameter: CovarianceParameter) -> ModelError:
        """Complaint about bounds that bound nothing, meant perhaps to let a variance go below 0."""
        text = f"bounds of {name!r} are open on both sides and bound nothing; leave them out"
        if parameter.kind == "sd":
            text += (
                ". The variance of a random effect is never below 0 here (NOBOUND of PROC MIXED "
                "lets it): for a negative covariance within groups use residual='cs(visit | group)'"
            )
        return ModelError(text)

    def _bound(self, name: str, value: Any) -> float:
        if isinstance(value, float | int) and np.isinf(value):
            return float(value)
        return self.value(name, value)

    def check_contradictions(
        self, hold: Mapping[int, float], bounds: Mapping[int, tuple[float, float]]
    ) -> None:
        for position in sorted(set(hold) & set(bounds)):
            lower, upper = bounds[position]
            if not lower <= hold[position] <= upper:
                name = self.functions.parameters[position].name
                raise ModelError(f"{name!r} is held at {hold[position]:g}, outside its bounds")

    def at_values(self, points: FloatArray, values: Mapping[int, float]) -> FloatArray:
        """The nearest point with these values.

        Raises
        ------
        ModelError
            Where there is none.
        """
        points, reached = points_on(self.functions, surface_of(values, len(points)), points)
        if not reached.all():
            raise self._unreachable(values)
        return points

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
        rows = [
            {self.find(n): self.value(n, v) for n, v in wish.items()} | dict(hold)
            for wish in wishes
        ]
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
        correlations = HeldCorrelations(self.functions, self.options, bounds)
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
        same = bool(np.allclose(before, after, rtol=1e-13, atol=0.0))
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
