"""Profile-likelihood limits of functions of the covariance parameters."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd

from mlmfast.arrays import FloatArray, IntArray
from mlmfast.covariance.jet import Jet, concatenate
from mlmfast.criterion.parameters.covariance_parameter import CovarianceParameter
from mlmfast.criterion.parameters.functions import CovarianceFunctions
from mlmfast.distributions import two_sided_normal
from mlmfast.errors import ModelError
from mlmfast.inference.intervals.parameter_values import (
    AtEstimate,
    Function,
    ParameterValues,
    named,
)
from mlmfast.inference.intervals.profile.curves import CovarianceCurves
from mlmfast.inference.intervals.profile.independent_residuals import profiled_source
from mlmfast.inference.intervals.profile.sides import crossings, follow, new_sides
from mlmfast.inference.intervals.second_order import Differentiable
from mlmfast.running.cached import cached_property


@dataclass(frozen=True)
class _Extended(CovarianceFunctions):
    """The covariance parameters and functions of them."""

    function: Function
    added: tuple[str, ...]

    @cached_property
    def parameters(self) -> tuple[CovarianceParameter, ...]:
        """Those of the model, then the functions."""
        own = CovarianceFunctions(self.model, self.criterion).parameters
        return (*own, *(CovarianceParameter(name, "natural") for name in self.added))

    def __call__(self, points: FloatArray, which: IntArray | None = None) -> Jet:
        """All of them (or those at ``which``) at each point."""
        own = super().__call__(points)
        rows = [self._functions(own, row) for row in range(len(points))]
        parts = [np.stack(part) for part in zip(*rows, strict=True)]
        every = concatenate([own, Jet(*parts)])
        return every if which is None else every[which]

    def _functions(self, own: Jet, row: int) -> tuple[FloatArray, FloatArray, FloatArray]:
        parameters = self.parameters[: own.value.shape[1]]
        values = {
            parameter.name: Differentiable(
                float(own.value[row, k]), own.first[row, k], own.second[row, k]
            )
            for k, parameter in enumerate(parameters)
        }
        found = named(self.function(ParameterValues(values, parameters)))
        numbers = [found[name] for name in self.added]
        return (
            np.array([number.value for number in numbers]),
            np.stack([number.first for number in numbers]),
            np.stack([number.second for number in numbers]),
        )


@dataclass(frozen=True)
class _DerivedCurves(CovarianceCurves):
    """Profiles of functions of the covariance parameters."""

    extended: _Extended

    @cached_property
    def functions(self) -> CovarianceFunctions:
        """The parameters and the functions."""
        return self.extended


def profile_limits(
    at: AtEstimate, function: Function, found: Mapping[str, Differentiable], level: float
) -> pd.DataFrame:
    """Limits of each function, columns lower and upper.

    Raises
    ------
    ModelError
        Where a function depends on fixed effects.
    """
    rank = len(at.record.beta)
    for name, number in found.items():
        if np.abs(number.first[:rank]).max(initial=0.0) > 0:
            raise ModelError(
                f"{name!r} depends on fixed effects; profile intervals are for functions of "
                "covariance parameters: use method='delta' or 'bootstrap'"
            )
    source = profiled_source(at.source, at.record)
    extended = _Extended(source.model, source.criterion, function, tuple(found))
    first = len(CovarianceFunctions(source.model, source.criterion).parameters)
    positions = tuple(range(first, first + len(found)))
    curves = _DerivedCurves(source, positions, extended)
    sides = [side for which in range(len(found)) for side in new_sides(curves, which)]
    follow(curves, sides, 0.6, 1.8)
    ends = crossings(curves, sides, two_sided_normal(level))
    return pd.DataFrame(
        np.array(ends).reshape(-1, 2), index=list(found), columns=["lower", "upper"]
    )
