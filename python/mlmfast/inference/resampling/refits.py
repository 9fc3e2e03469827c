"""What a bootstrap takes from the refit of each of many responses."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from mlmfast.arrays import BoolArray, FloatArray
from mlmfast.batch.fit_batch import FitBatch
from mlmfast.covariance.units import natural_in_units
from mlmfast.criterion.arms import residual_arms
from mlmfast.criterion.criterion import Criterion, criterion_of
from mlmfast.criterion.parameters.functions import CovarianceFunctions
from mlmfast.criterion.scaled import ScaledCriterion
from mlmfast.design.design import Design
from mlmfast.errors import DataError, MlmError
from mlmfast.fitted.estimates import Estimates, estimates_of
from mlmfast.fitted.fitted import Fitted
from mlmfast.fitted.parameter_values import covariance_values, own_parameters
from mlmfast.fitted.record import FitRecord
from mlmfast.fitting.covariance_fit import CovarianceFit
from mlmfast.fitting.fit import fit_covariance
from mlmfast.fitting.parms.fit import fit_with_parms
from mlmfast.fitting.parms.request import Parms
from mlmfast.information.open_parameters import open_parameters
from mlmfast.newton.options import NewtonOptions
from mlmfast.reduction.blocks import structure_of
from mlmfast.reduction.reduce import reduce_design
from mlmfast.reduction.reduced_model import ReducedModel
from mlmfast.reduction.scaling import centers_and_scales
from mlmfast.running.cached import cached_property

if TYPE_CHECKING:
    from mlmfast.fitted.origin.source import FitSource


Statistic = Callable[[FitBatch], Any]


class RefitValues(NamedTuple):
    """Values and scores of each refit, (n, k) and (n, n_scores), and how it ended, (n,)."""

    values: FloatArray
    scores: FloatArray
    failed: BoolArray
    singular: BoolArray


@dataclass(frozen=True)
class Refits:
    """What is taken from each refit."""

    source: FitSource
    record: FitRecord
    #: What makes the result of a single fit.
    make: Callable[..., Fitted]
    statistic: Statistic | None
    #: Names of what the statistic gave last.
    found_names: list[str] = field(default_factory=list)

    @property
    def names(self) -> list[str]:
        """Names of the parameters, or of the statistic's values."""
        if self.statistic is not None:
            return self.found_names
        fixed = [self.record.x_names[j] for j in self.record.kept]
        return [*fixed, *(name for name, kept in self._random if kept)]

    @cached_property
    def _random(self) -> list[tuple[str, bool]]:
        """Covariance parameters, and whether the data determine each."""
        source = self.source
        functions = CovarianceFunctions(source.model, source.criterion)
        untold = open_parameters(
            source.model, source.criterion, source.theta, tuple(source.held_values)
        )
        return [(p.name, p.name not in untold) for p in own_parameters(functions)]

    @cached_property
    def asked(self) -> Parms | None:
        """What the covariance parameters of each refit are held at or kept within."""
        held = self.source.held_values
        return self.source.asked or (Parms(hold=held) if held else None)

    def refit(self, responses: Sequence[FloatArray] | FloatArray) -> RefitValues:
        """Refit each response."""
        model = reduce_design(self.source.design, responses)
        if self.asked is not None:
            batches = [self._refit_within(response) for response in responses]
            return RefitValues(*(np.concatenate(part) for part in zip(*batches, strict=True)))
        covariance = fit_covariance(model, self.record.method, NewtonOptions())
        estimates = estimates_of(model, covariance.criterion, covariance.theta)
        return self._collect(model, covariance, estimates)

    def refit_design(self, design: Design) -> RefitValues:
        """Fit a design of its own, without scores; failed where it makes another model, or none."""
        try:
            model = reduce_design(design)
            if model.kept.tolist() != list(self.record.kept):
                return self._lost()
            covariance, log_sigma2 = self._covariance(model)
            estimates = estimates_of(model, covariance.criterion, covariance.theta, log_sigma2)
            return self._collect(model, covariance, estimates, scored=False)
        except MlmError:
            return self._lost()

    def _covariance(self, model: ReducedModel) -> tuple[CovarianceFit, Any]:
        settings = NewtonOptions()
        if self.asked is None:
            return fit_covariance(model, self.record.method, settings), None
        parms = fit_with_parms(model, self.record.method, settings, None, self.asked)
        return parms.covariance, parms.log_sigma2

    def _lost(self) -> RefitValues:
        """Of one refit that there is not."""
        yes, no = np.ones(1, dtype=np.bool_), np.zeros(1, dtype=np.bool_)
        return RefitValues(np.full((1, len(self.names)), np.nan), np.empty((1, 0)), yes, no)

    def _refit_within(self, response: FloatArray) -> RefitValues:
        model = reduce_design(self.source.design, [response])
        covariance, log_sigma2 = self._covariance(model)
        estimates = estimates_of(model, covariance.criterion, covariance.theta, log_sigma2)
        return self._collect(model, covariance, estimates)

    def _collect(
        self,
        model: ReducedModel,
        covariance: CovarianceFit,
        estimates: Estimates,
        scored: bool = True,
    ) -> RefitValues:
        batch = FitBatch.from_fit(model, covariance, estimates, self.record.method)
        scores = self._scores(model) if scored else np.empty((len(batch), 0))
        where = (model, covariance.criterion, covariance.theta, estimates)
        return self.taken(batch, lambda: covariance_values(*where), scores)

    def taken(
        self, batch: FitBatch, covariances: Callable[[], FloatArray], scores: FloatArray
    ) -> RefitValues:
        """What is taken from a batch of refits, given its `covariance_values`."""
        if self.statistic is None:
            kept = np.array([kept for _, kept in self._random], dtype=np.bool_)
            beta = batch.params[:, list(batch.kept)]
            values = np.concatenate([beta, covariances()[:, kept]], axis=1)
        else:
            found = self.statistic(replace(batch, _make=self.make))
            self.found_names[:] = _names(found, len(batch))
            values = _as_matrix(found, len(batch))
        failed = ~(batch.converged & np.isfinite(batch.llf))
        return RefitValues(values, scores, failed, batch.singular)

    def _scores(self, model: ReducedModel) -> FloatArray:
        """At the fit's own parameters: coefficients, and derivatives of -2 log-likelihood."""
        n, source = len(model.y_scaling), self.source
        criterion = criterion_of(model, self.record.method)
        unit = (model.core.y_scale / centers_and_scales(model.y_scaling)[1]) ** 2
        theta = np.repeat(source.theta, n, axis=0)
        points = theta
        if model.profiled:
            log_sigma2 = np.log(self.record.sigma2 / unit)
            points = np.concatenate([theta, log_sigma2[:, None]], axis=1)
        else:
            points = theta = _in_units(criterion, theta, source.model.response_unit / unit)
        functions = CovarianceFunctions(model, criterion)
        gradient = ScaledCriterion(functions)(points, np.arange(n)).gradient
        beta = estimates_of(model, criterion, theta).beta
        return np.concatenate([beta, gradient], axis=1)


def _in_units(criterion: Criterion, theta: FloatArray, ratio: FloatArray) -> FloatArray:
    """theta of the covariances times ``ratio``, shape (n_fits,)."""
    out = theta.copy()
    blocks = zip(criterion.terms, criterion.theta_slices, strict=True)
    random = [(structure_of(block), s) for block, s in blocks if not block.is_residual]
    residual = [(arm.structure, arm.theta) for arm in residual_arms(criterion)]
    for structure, s in random + residual:
        out[:, s] = structure.from_natural(natural_in_units(structure, theta[:, s], ratio))
    return out


def _as_matrix(values: Any, n: int) -> FloatArray:
    """What a statistic returned, as (n_fits, k)."""
    parts = list(values.values()) if isinstance(values, dict) else [values]
    try:
        columns = [np.asarray(part, dtype=np.float64).reshape(n, -1) for part in parts]
    except (TypeError, ValueError):
        raise DataError(
            f"statistic must return numbers for each of the {n} fits it is given: an array of "
            f"shape ({n},) or ({n}, k), or a dict of those"
        ) from None
    return np.concatenate(columns, axis=1)


def _names(values: Any, n: int) -> list[str]:
    if not isinstance(values, dict):
        k = _as_matrix(values, n).shape[1]
        return ["statistic"] if k == 1 else [f"statistic {j + 1}" for j in range(k)]
    out: list[str] = []
    for name, part in values.items():
        k = _as_matrix(part, n).shape[1]
        out += [str(name)] if k == 1 else [f"{name} {j + 1}" for j in range(k)]
    return out
