"""Values of the parameters of a fit by name, at its estimates and as functions of them see them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from typing import TYPE_CHECKING, Any

import numpy as np

from mlmfast.arrays import FloatArray
from mlmfast.covariance.jet import Jet
from mlmfast.criterion.parameters.covariance_parameter import CovarianceParameter
from mlmfast.criterion.parameters.functions import CovarianceFunctions
from mlmfast.criterion.parameters.spellings import asked_for
from mlmfast.criterion.scaled import ScaledCriterion
from mlmfast.errors import ModelError
from mlmfast.fitted.record import FitRecord
from mlmfast.inference.contrasts.coefficient_names import check_distinct
from mlmfast.inference.intervals.second_order import Differentiable
from mlmfast.running.cached import cached_property

if TYPE_CHECKING:
    from mlmfast.fitted.origin.source import FitSource


class ParameterValues(Mapping[str, Any]):
    """Parameters by name, as a function of them sees them.

    Fixed effects by name; covariance parameters by any of their names: ``sd_x|g``, ``var_x|g``,
    ``cor_x.y|g``, ``cov_x.y|g``, ``sigma``, ``Residual``, or the residual structure's.
    """

    def __init__(
        self, values: Mapping[str, Any], parameters: tuple[CovarianceParameter, ...]
    ) -> None:
        self._values, self._parameters = values, parameters

    def __getitem__(self, name: str) -> Any:
        if name in self._values:
            return self._values[name]
        found = asked_for(name, self._parameters)
        if found is not None:
            value = self._of(self._parameters[found.position])
            return value if found.power == 1.0 else value**found.power
        near = get_close_matches(str(name), self._values, n=1)
        hint = f"; did you mean {near[0]!r}?" if near else ""
        raise ModelError(
            f"{name!r} is no parameter of this model{hint} (parameters: {', '.join(self._values)})"
        )

    def _of(self, parameter: CovarianceParameter) -> Any:
        if parameter.kind == "covariance" and parameter.name not in self._values:
            return self._product(parameter.name)
        return self._values[parameter.name]

    def _product(self, name: str) -> Any:
        """A covariance, from its correlation and standard deviations."""
        own = next(p for p in self._parameters if p.name == name.replace("cov_", "cor_", 1))
        first, second = (
            next(p.name for p in self._parameters if p.places == (place,)) for place in own.places
        )
        sd = self._values[first] * self._values[second]
        return np.where(sd > 0, np.nan_to_num(self._values[own.name]) * sd, 0.0)

    def __iter__(self) -> Iterator[str]:
        return iter(self._values)

    def __len__(self) -> int:
        return len(self._values)


Function = Callable[[ParameterValues], Any]


@dataclass(frozen=True)
class AtEstimate:
    """Parameters at a fit's estimates, with derivatives and their covariance.

    The parameters are the fixed effects, then the coordinates of a point of `CovarianceFunctions`.
    """

    source: FitSource
    record: FitRecord

    @cached_property
    def functions(self) -> CovarianceFunctions:
        """Covariance parameters as functions."""
        return CovarianceFunctions(self.source.model, self.source.criterion)

    @cached_property
    def point(self) -> FloatArray:
        """The estimate, shape (1, n_coordinates)."""
        if self.record.estimator:
            raise ModelError(
                "functions of the covariance parameters go by the information of a likelihood, and "
                f"this fit is by method={self.record.estimator!r}; fit with method='REML' or 'ML'"
            )
        parms = self.source.parms
        scale = None if parms is None else parms.log_sigma2
        return self.functions.point_at(self.source.theta, scale)

    @property
    def covariance(self) -> FloatArray:
        """Covariance of fixed effects and coordinates, block diagonal; 0 along what is held.

        That of the coordinates is the inverse of the observed information, half the Hessian of -2
        log-likelihood.
        """
        return self._covariance_and_open[0]

    def is_open(self, gradient: FloatArray) -> bool:
        """Whether a function moves along a direction that the data do not tell."""
        if self.source.criterion.flat is None:
            return False
        # Derivatives by fixed effects have other units.
        own = gradient[len(self.record.beta) :]
        moves = self._covariance_and_open[1] @ own
        return bool(np.abs(moves).max(initial=0.0) > 1e-6 * np.abs(own).max(initial=0.0))

    @cached_property
    def _covariance_and_open(self) -> tuple[FloatArray, FloatArray]:
        """The covariance, and the directions of the coordinates that it leaves out, in rows."""
        p, t = len(self.record.beta), self.functions.n_coordinates
        out = np.zeros((p + t, p + t))
        out[:p, :p] = self.record.vcov
        at = ScaledCriterion(self.functions)(self.point, np.zeros(1, dtype=np.intp))
        hessian, basis = at.hessian[0], np.eye(t)
        held = self.source.held_values
        if held:
            names = [parameter.name for parameter in self.functions.parameters]
            jet = self.functions(self.point)
            positions = [names.index(name) for name in held]
            j = jet.first[0, positions]
            q, _ = np.linalg.qr(j.T, mode="complete")
            multipliers = np.linalg.lstsq(j.T, at.gradient[0], rcond=None)[0]
            hessian = hessian - np.tensordot(multipliers, jet.second[0, positions], axes=1)
            basis = q[:, len(positions) :]
        inner = basis.T @ hessian @ basis / 2.0
        values, vectors = np.linalg.eigh(inner)
        good = values > 1e-10 * np.abs(values).max(initial=1e-300)
        root = basis @ vectors[:, good] / np.sqrt(values[good])
        out[p:, p:] = root @ root.T
        return out, (basis @ vectors[:, ~good]).T

    def fixed(self) -> list[Differentiable]:
        """The fixed effects that are not aliased."""
        size = len(self.covariance)
        zero = np.zeros((size, size))
        return [
            Differentiable(float(b), np.eye(size)[k], zero) for k, b in enumerate(self.record.beta)
        ]

    def lift(self, jet: Jet) -> list[Differentiable]:
        """Functions of the coordinates at the estimate, as functions of all parameters."""
        p, size = len(self.record.beta), len(self.covariance)
        out = []
        for value, first, second in zip(jet.value[0], jet.first[0], jet.second[0], strict=True):
            gradient, hessian = np.zeros(size), np.zeros((size, size))
            gradient[p:], hessian[p:, p:] = first, second
            out.append(Differentiable(float(value), gradient, hessian))
        return out

    def values(self) -> ParameterValues:
        """All parameters by name."""
        parameters = self.functions.parameters
        names = [self.record.x_names[j] for j in self.record.kept]
        check_distinct(names)
        every = dict(zip(names, self.fixed(), strict=True))
        random = self.lift(self.functions(self.point))
        every |= {p.name: value for p, value in zip(parameters, random, strict=True)}
        return ParameterValues(every, parameters)


def named(values: Any) -> dict[str, Any]:
    """What a function returned, by name."""
    out = dict(values) if isinstance(values, Mapping) else {"value": values}
    for name, value in out.items():
        if not isinstance(value, Differentiable | np.ndarray):
            raise ModelError(
                f"the function returned {value!r} for {name!r}; a number that depends on the "
                "parameters is needed"
            )
    return out
