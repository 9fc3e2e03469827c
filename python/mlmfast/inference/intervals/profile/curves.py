"""Profile deviances: the rise of -2 log-likelihood as one parameter moves and all others follow."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, NamedTuple, Protocol

import numpy as np

from mlmfast.arrays import FloatArray, IntArray
from mlmfast.criterion.constrained import Surface, fit_constrained
from mlmfast.criterion.parameters.functions import CovarianceFunctions
from mlmfast.criterion.scaled import ScaledCriterion
from mlmfast.design.submodels import without_effect
from mlmfast.fitted.estimates import estimates_of
from mlmfast.fitting.fit import fit_covariance
from mlmfast.fitting.parms.fit import deviance_of, fit_with_parms
from mlmfast.fitting.parms.request import Parms
from mlmfast.newton.options import NewtonOptions
from mlmfast.reduction.reduce import reduce_design
from mlmfast.running.cached import cached_property

if TYPE_CHECKING:
    from mlmfast.fitted.origin.source import FitSource

#: A correlation's profile is followed to this close to +-1: there the likelihood has changed by as
#: little, but its derivatives by a covariance's factor die out.
NEAR_ONE = 1e-6
#: Inner fits are finished further than a fit needs: roots are taken of their differences.
_OPTIONS = NewtonOptions(tolerance=1e-11, max_iter=40)


class Ordinates(NamedTuple):
    """One row a point of a profile.

    Attributes
    ----------
    rise : shape (n,), profile deviance over its minimum; infinite where no point was found.
    slope : shape (n,), its derivative by the value held; NaN where it is not known.
    points : shape (n, n_coordinates), where the other covariance parameters have gone.
    """

    rise: FloatArray
    slope: FloatArray
    points: FloatArray


class Curves(Protocol):
    """The profiles of several parameters."""

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the parameters."""

    @property
    def kinds(self) -> tuple[str, ...]:
        """Their kinds; see `CovarianceParameter`, and "fixed"."""

    @property
    def estimates(self) -> FloatArray:
        """Where each profile has its minimum, 0."""

    @property
    def standard_errors(self) -> FloatArray:
        """Wald standard errors, to take first steps by."""

    @property
    def start(self) -> FloatArray:
        """A point of the covariance parameters to begin from, shape (1, n_coordinates)."""

    def __call__(self, which: IntArray, values: FloatArray, start: FloatArray) -> Ordinates:
        """Ordinates of parameters ``which`` at ``values``, from points ``start``."""

    def edge(self, which: int, sign: float) -> tuple[float, float] | None:
        """Where the parameter's range ends on a side, and the rise there; None without an end."""


@dataclass(frozen=True)
class CovarianceCurves:
    """Profiles of covariance parameters by a fit's own criterion.

    Parameters
    ----------
    source
        The fit.
    positions
        Which parameters, among those of `CovarianceFunctions`.
    """

    source: FitSource
    positions: tuple[int, ...]

    @cached_property
    def functions(self) -> CovarianceFunctions:
        """The parameters as functions."""
        return CovarianceFunctions(self.source.model, self.source.criterion)

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the parameters."""
        return tuple(self.functions.parameters[p].name for p in self.positions)

    @property
    def kinds(self) -> tuple[str, ...]:
        """Kinds of the parameters."""
        return tuple(self.functions.parameters[p].kind for p in self.positions)

    @cached_property
    def _held(self) -> tuple[IntArray, FloatArray]:
        """Positions and values of the parameters that the fit holds."""
        held = self.source.held_values
        names = [p.name for p in self.functions.parameters]
        positions = np.array([names.index(name) for name in held], dtype=np.intp)
        return positions, np.array(list(held.values()), dtype=np.float64)

    @cached_property
    def _optimum(self) -> FloatArray:
        parms = self.source.parms
        scale = None if parms is None else parms.log_sigma2
        return self.functions.point_at(self.source.theta, scale)

    @cached_property
    def start(self) -> FloatArray:
        """The optimum, singular covariances lifted: there parameters have no derivatives."""
        point = self._optimum.copy()
        criterion = self.functions.criterion
        for term, s in zip(criterion.terms, criterion.theta_slices, strict=True):
            if term.is_residual or term.structure.size == 1:
                continue
            matrix = term.shared.matrix(point[:, s])
            if np.linalg.eigvalsh(matrix)[0, 0] < 1e-4:
                lifted = matrix + 0.01 * np.eye(term.structure.size)
                point[:, s] = term.shared.theta(lifted)
        return point

    @cached_property
    def estimates(self) -> FloatArray:
        """Where each profile is 0."""
        jet = self.functions(self._optimum)
        return np.asarray(np.nan_to_num(jet.value[0, list(self.positions)], nan=0.0))

    @cached_property
    def standard_errors(self) -> FloatArray:
        """Wald standard errors."""
        at = ScaledCriterion(self.functions)(self.start, np.zeros(1, dtype=np.intp))
        slopes = self.functions(self.start).first[0, list(self.positions)]
        values, vectors = np.linalg.eigh(at.hessian[0])
        values = np.maximum(np.abs(values), 1e-6 * np.abs(values).max(initial=1e-300))
        along = slopes @ vectors
        # The information is half the Hessian of -2 log-likelihood.
        return np.asarray(np.sqrt(2.0 * (along**2 / values).sum(axis=1)))

    @cached_property
    def _minimum(self) -> float:
        return float(self.functions.deviance(self._optimum)[0])

    def __call__(self, which: IntArray, values: FloatArray, start: FloatArray) -> Ordinates:
        """See `Curves`."""
        held, kept = self._held
        n = len(which)
        positions = np.array(self.positions, dtype=np.intp)[which][:, None]
        surface = Surface(
            np.concatenate([positions, np.tile(held, (n, 1))], axis=1),
            np.concatenate([values[:, None], np.tile(kept, (n, 1))], axis=1),
        )
        result = fit_constrained(self.functions, surface, start, _OPTIONS)
        newton, model = result.newton, self.source.model
        method = "REML" if self.source.criterion.reml else "ML"
        # Half the decrement is what the last step still gains.
        value = newton.value - 0.5 * np.where(newton.converged, newton.decrement, 0.0)
        rise = value + float(model.logdet_constant(method)[0]) - self._minimum
        rise = np.where(np.isfinite(newton.decrement), rise, np.inf)
        # What was found may be a minimum of its own, above where a variance of 0 leads.
        plateau = np.array([self._plateau(k) for k in which.tolist()])
        slope = np.where(rise > plateau, np.nan, result.multipliers[:, 0])
        return Ordinates(np.minimum(rise, plateau), slope, result.points)

    def edge(self, which: int, sign: float) -> tuple[float, float] | None:
        """A variance of 0, and a correlation of +-1.

        A correlation's profile nowhere rises above that of the model without one of its effects:
        with a variance near 0 the correlation may be anything.
        """
        parameter = self.functions.parameters[self.positions[which]]
        if parameter.kind == "sd" and parameter.places and sign < 0:
            return 0.0, self._without(*parameter.places[0])
        if parameter.kind != "correlation":
            return None
        almost = np.array([sign * (1.0 - NEAR_ONE)])
        return sign, float(self(np.array([which]), almost, self.start).rise[0])

    def _plateau(self, which: int) -> float:
        """What a correlation's profile nowhere rises above; infinite for other parameters."""
        parameter = self.functions.parameters[self.positions[which]]
        if parameter.kind != "correlation":
            return np.inf
        return min(self._without(*place) for place in parameter.places)

    def _without(self, t: int, effect: int) -> float:
        """Rise of the model without a random effect."""
        if (t, effect) not in self._rises:
            design = without_effect(self.source.design, t, effect)
            method = "REML" if self.source.criterion.reml else "ML"
            held = self._held_without(t, effect)
            rise = deviance_of(reduce_design(design), method, held, _OPTIONS) - self._minimum
            self._rises[t, effect] = rise
        return self._rises[t, effect]

    @cached_property
    def _rises(self) -> dict[tuple[int, int], float]:
        return {}

    def _held_without(self, t: int, j: int) -> dict[str, float]:
        """What is held of the parameters that a model without the effect still has."""
        held = self.source.held_values
        gone = {
            parameter.name
            for parameter in self.functions.parameters
            if (t, j) in parameter.places or parameter.kind == "covariance"
        }
        return {name: value for name, value in held.items() if name not in gone}


@dataclass(frozen=True)
class FixedCurves:
    """Profiles of fixed effects by maximum likelihood.

    With beta_j = b the model is that of y - x_j b without column j, so several b are a batch.
    """

    source: FitSource
    columns: tuple[int, ...]

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the parameters."""
        return tuple(self.source.design.x_names[j] for j in self.columns)

    @property
    def kinds(self) -> tuple[str, ...]:
        """Kinds of the parameters."""
        return ("fixed",) * len(self.columns)

    @cached_property
    def _held(self) -> dict[str, float]:
        return self.source.held_values

    @cached_property
    def _fit(self) -> tuple[FloatArray, FloatArray, FloatArray, float]:
        """Estimates and standard errors of the columns, theta, and the deviance, all of ML."""
        model = self.source.model
        if self._held:
            parms = fit_with_parms(model, "ML", _OPTIONS, None, Parms(hold=self._held))
            covariance, scale = parms.covariance, parms.log_sigma2
        else:
            covariance, scale = fit_covariance(model, "ML", _OPTIONS, self.source.theta), None
        estimates = estimates_of(model, covariance.criterion, covariance.theta, scale)
        at = np.searchsorted(model.kept, self.columns)
        errors = np.sqrt(np.diag(estimates.vcov[0]))[at]
        deviance = float(estimates.deviance[0])
        return estimates.beta[0][at], errors, covariance.theta, deviance

    @property
    def estimates(self) -> FloatArray:
        """Where each profile is 0."""
        return self._fit[0]

    @property
    def standard_errors(self) -> FloatArray:
        """Wald standard errors."""
        return self._fit[1]

    @property
    def start(self) -> FloatArray:
        """No covariance parameters are carried along."""
        return np.zeros((1, 0))

    def __call__(self, which: IntArray, values: FloatArray, start: FloatArray) -> Ordinates:
        """See `Curves`."""
        rise = np.empty(len(which))
        for position in np.unique(which):
            rows = np.flatnonzero(which == position)
            rise[rows] = self._deviances(self.columns[position], values[rows]) - self._fit[3]
        return Ordinates(rise, np.full(len(which), np.nan), start)

    def _deviances(self, column: int, values: FloatArray) -> FloatArray:
        design = self.source.design
        others = [int(j) for j in self.source.model.kept if j != column]
        reduced = replace(
            design,
            x=tuple(design.x[j] for j in others),
            x_names=tuple(design.x_names[j] for j in others),
        )
        x = design.x[column]
        y = design.working_response
        responses = [y - (b if x is None else b * x) for b in values.tolist()]
        if self._held:
            models = [reduce_design(reduced, [response]) for response in responses]
            return np.array([deviance_of(model, "ML", self._held, _OPTIONS) for model in models])
        model = reduce_design(reduced, responses)
        start = np.repeat(self._fit[2], len(responses), axis=0) if model.profiled else None
        covariance = fit_covariance(model, "ML", _OPTIONS, start)
        return estimates_of(model, covariance.criterion, covariance.theta).deviance

    def edge(self, which: int, sign: float) -> tuple[float, float] | None:
        """A fixed effect has no edge."""
        return None
