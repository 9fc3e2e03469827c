"""Correlations held at values: which minimum is the lowest, and whether there is one.

With a correlation held, the criterion may have a minimum where both its effects vary, and others
towards variances of 0, with which the correlation is undefined: there the likelihood comes as near
to that of the model without the effect as one likes, and does not reach it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

import numpy as np

from mlmfast.arrays import FloatArray
from mlmfast.criterion.constrained import fit_constrained, surface_of
from mlmfast.criterion.parameters.correlation_starts import effects_correlated, with_small_effects
from mlmfast.criterion.parameters.functions import CovarianceFunctions
from mlmfast.design.submodels import without_effect
from mlmfast.errors import ModelError
from mlmfast.newton.options import NewtonOptions
from mlmfast.reduction.reduce import reduce_design
from mlmfast.reduction.reduced_model import ReducedModel

#: A model without an effect is the better one where its -2 log-likelihood is lower by this.
_LOWER = 1e-5
#: Iterations from each of several starts.
_FEW = 20


@dataclass(frozen=True)
class HeldCorrelations:
    """Starts and checks of fits that hold correlations, beside bounds of other parameters.

    Parameters
    ----------
    functions, options
        The model's covariance parameters, and settings of the iteration.
    bounds
        (lower, upper) by position of the parameter.
    deviance_of
        Fits a model by a method with parameters held by name: -2 log-likelihood.
    """

    functions: CovarianceFunctions
    options: NewtonOptions
    bounds: Mapping[int, tuple[float, float]]
    deviance_of: Callable[[ReducedModel, str, Mapping[str, float], NewtonOptions], float]

    def best_start(
        self,
        begin: FloatArray,
        active: Mapping[int, float],
    ) -> FloatArray:
        """Where the lowest minimum was found of those reached from several starts.

        Raises
        ------
        ModelError
            For a correlation that is best met by a variance of 0, where it is undefined.
        """
        which = np.array(list(active), dtype=np.intp)
        starts = with_small_effects(self.functions, which, begin)
        if len(starts) == 1:
            return begin
        # Towards a variance of 0 the iteration creeps: stop, and see what is there.
        options = replace(self.options, max_iter=min(_FEW, self.options.max_iter))
        result = fit_constrained(self.functions, surface_of(active, len(starts)), starts, options)
        best = int(np.argmin(result.newton.value))
        if not np.isfinite(result.newton.value[best]):
            return begin
        self.check_defined(result.points[best : best + 1], active)
        return result.points[best : best + 1]

    def check_defined(
        self,
        points: FloatArray,
        active: Mapping[int, float],
    ) -> None:
        """Refuse a correlation where the model without one of its effects is the better one."""
        parameters = self.functions.parameters
        if any(parameters[p].kind == "covariance" for p in active):
            return  # neither of its effects can be 0
        bounded = [p for p, (lower, _) in self.bounds.items() if lower > 0.0]
        pinned = [parameters[p].places for p in (*active, *bounded) if parameters[p].kind == "sd"]
        found = float(self.functions.deviance(points)[0])
        for place in dict.fromkeys(effects_correlated(self.functions, list(active))):
            if (place,) in pinned:
                continue
            if self._without(place, active) < found - _LOWER:
                raise self._undefined(place, active)

    def _without(self, place: tuple[int, int], active: Mapping[int, float]) -> float:
        """Deviance of the model without a random effect, the rest held where it was."""
        parameters = self.functions.parameters
        held = {
            parameters[p].name: v for p, v in active.items() if place not in parameters[p].places
        }
        smaller = reduce_design(without_effect(self.functions.model.design, *place))
        method = "REML" if self.functions.criterion.reml else "ML"
        return self.deviance_of(smaller, method, held, self.options)

    def _undefined(self, place: tuple[int, int], active: Mapping[int, float]) -> ModelError:
        parameters = self.functions.parameters
        sd = next(p.name for p in parameters if p.places == (place,))
        held = ", ".join(
            f"{parameters[p].name} = {v:g}"
            for p, v in active.items()
            if place in parameters[p].places
        )
        return ModelError(
            f"with {held} the likelihood is largest where {sd!r} is 0 and that correlation "
            "undefined; leave that effect out of its term, or hold its standard deviation too"
        )
