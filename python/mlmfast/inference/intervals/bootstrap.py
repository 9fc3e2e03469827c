"""Parametric bootstrap: new responses from the fitted model, refitted in batches."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import pandas as pd

from mlmfast.arrays import BoolArray, FloatArray
from mlmfast.batch.fit_batch import FitBatch
from mlmfast.cached import cached_property
from mlmfast.clusters.simulate import seed_sequence, simulate
from mlmfast.confidence_level import check_level
from mlmfast.covariance.scaled_covariance import scale_powers
from mlmfast.criterion.arms import residual_arms
from mlmfast.criterion.covariance_parameter import check_engine
from mlmfast.criterion.criterion import Criterion, criterion_of
from mlmfast.criterion.parameters import CovarianceFunctions
from mlmfast.criterion.scaled import ScaledCriterion
from mlmfast.design.responses import response_columns
from mlmfast.distributions import normal_cdf, normal_quantile
from mlmfast.errors import DataError, ModelError
from mlmfast.fitted.estimates import Estimates, estimates_of
from mlmfast.fitted.parameter_values import covariance_values, own_parameters
from mlmfast.fitted.record import FitRecord
from mlmfast.fitting.covariance_fit import CovarianceFit
from mlmfast.fitting.fit import fit_covariance
from mlmfast.fitting.parms import fit_with_parms
from mlmfast.fitting.parms_request import Parms
from mlmfast.handed_out import hands_out_copies
from mlmfast.information.open_parameters import open_parameters
from mlmfast.newton import NewtonOptions
from mlmfast.reduction.blocks import structure_of
from mlmfast.reduction.reduce import reduce_design
from mlmfast.reduction.reduced_model import ReducedModel
from mlmfast.words import is_one_of

if TYPE_CHECKING:
    from mlmfast.fitted.source import FitSource

#: Numbers in one batch of responses, and responses at most.
_NUMBERS, _MOST = 20_000_000, 2048

Statistic = Callable[[FitBatch], Any]


@hands_out_copies
@dataclass(frozen=True)
class Bootstrap:
    """A parametric bootstrap of a fit.

    Attributes
    ----------
    replicates : one row a sample, one column a parameter
        Fixed effects by name, covariance parameters that the data determine as `LMMResult.profile`
        names them, or what
        ``statistic`` gave; NaN in samples whose refit failed.
    estimates
        The same of the fit itself.
    n_failed
        Samples whose refit did not converge; they are left out of everything below.
    n_singular
        Samples whose refit is singular; they count.

    Examples
    --------
    >>> import mlmfast as mlm
    >>> fit = mlm.lmm("Reaction ~ Days + (1 | Subject)", mlm.load_sleepstudy())
    >>> boot = fit.bootstrap(200, seed=1)
    >>> boot.replicates.shape, boot.n_failed
    ((200, 4), 0)
    >>> bool((boot.conf_int().lower < boot.estimates).all())
    True
    """

    replicates: pd.DataFrame
    estimates: pd.Series[float]
    n_failed: int
    n_singular: int
    #: What the statistics are regressed on for BCa's acceleration, (n, n_scores).
    _scores: FloatArray

    @property
    def bias(self) -> pd.Series[float]:
        """Mean of the replicates minus the estimate."""
        return self.replicates.mean() - self.estimates

    @property
    def bse(self) -> pd.Series[float]:
        """Standard deviation of the replicates."""
        return self.replicates.std()

    def conf_int(self, level: float = 0.95, kind: str = "percentile") -> pd.DataFrame:
        """Confidence intervals, columns ``lower`` and ``upper``.

        Parameters
        ----------
        level
            Between 0 and 1.
        kind
            "percentile", "basic", "normal" (estimate minus bias, plus or minus z standard errors)
            or "bca", bias-corrected and accelerated (Efron 1987, JASA 82:171). Its acceleration is
            a sixth of the skewness of the statistic's linear part in the scores at the estimate,
            the least favourable direction (equation 6.7 there).

        Raises
        ------
        ModelError
            For another kind, or a level outside (0, 1).
        """
        check_level(level)
        tails = np.array([(1.0 - level) / 2.0, (1.0 + level) / 2.0])
        rows = [self._limits(name, tails, kind) for name in self.replicates.columns]
        return pd.DataFrame(rows, index=self.replicates.columns, columns=["lower", "upper"])

    def _limits(self, name: str, tails: FloatArray, kind: str) -> FloatArray:
        values = self.replicates[name].to_numpy()
        good = np.isfinite(values)
        values, estimate = values[good], float(self.estimates[name])
        if values.size < 2:
            return np.full(2, np.nan)
        if not is_one_of(kind, ("percentile", "basic", "normal", "bca")):
            raise ModelError(f"kind is {kind!r}; use 'percentile', 'basic', 'normal' or 'bca'")
        if kind == "percentile":
            return np.asarray(np.quantile(values, tails))
        if kind == "basic":
            return np.asarray(2.0 * estimate - np.quantile(values, tails[::-1]))
        if kind == "normal":
            middle = 2.0 * estimate - values.mean()
            return np.asarray(middle + normal_quantile(tails) * values.std(ddof=1))
        return self._bca(values, estimate, self._scores[good], tails)

    @staticmethod
    def _bca(
        values: FloatArray, estimate: float, scores: FloatArray, tails: FloatArray
    ) -> FloatArray:
        n = len(values)
        below = float(np.mean(values < estimate) + 0.5 * np.mean(values == estimate))
        z0 = normal_quantile(np.clip(below, 0.5 / n, 1.0 - 0.5 / n))
        centred = scores - scores.mean(axis=0)
        weights, *_ = np.linalg.lstsq(centred, values - values.mean(), rcond=None)
        linear = centred @ weights
        spread = float(np.sqrt(np.mean(linear**2)))
        acceleration = float(np.mean((linear / spread) ** 3)) / 6.0 if spread > 0 else 0.0
        z = z0 + normal_quantile(tails)
        return np.asarray(np.quantile(values, normal_cdf(z0 + z / (1.0 - acceleration * z))))

    def __repr__(self) -> str:
        n = len(self.replicates)
        table = pd.DataFrame({"estimate": self.estimates, "bias": self.bias, "se": self.bse})
        table = table.join(self.conf_int())
        head = f"Parametric bootstrap of {n} samples, {self.n_failed} failed"
        return f"{head}, {self.n_singular} singular\n{table.to_string()}"


class _Batch(NamedTuple):
    values: FloatArray
    scores: FloatArray
    failed: BoolArray
    singular: BoolArray


@dataclass(frozen=True)
class _Refits:
    """What is taken from each refit."""

    source: FitSource
    record: FitRecord
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
        functions = CovarianceFunctions(self.source.model, self.source.criterion)
        untold = open_parameters(self.source)
        return [(p.name, p.name not in untold) for p in own_parameters(functions)]

    def refit(self, responses: list[FloatArray]) -> _Batch:
        """Refit each response."""
        model = reduce_design(self.source.design, responses)
        held = {} if self.source.parms is None else self.source.parms.held
        if held:
            batches = [self._refit_held(response, held) for response in responses]
            return _Batch(*(np.concatenate(part) for part in zip(*batches, strict=True)))
        covariance = fit_covariance(model, self.record.method, NewtonOptions())
        estimates = estimates_of(model, covariance.criterion, covariance.theta)
        return self._collect(model, covariance, estimates)

    def _refit_held(self, response: FloatArray, held: dict[str, float]) -> _Batch:
        model = reduce_design(self.source.design, [response])
        method, wishes = self.record.method, Parms(hold=held)
        parms = fit_with_parms(model, method, NewtonOptions(), None, wishes)
        criterion, theta = parms.covariance.criterion, parms.covariance.theta
        estimates = estimates_of(model, criterion, theta, parms.log_sigma2)
        return self._collect(model, parms.covariance, estimates)

    def _collect(
        self, model: ReducedModel, covariance: CovarianceFit, estimates: Estimates
    ) -> _Batch:
        batch = FitBatch.from_fit(model, covariance, estimates, self.record.method)
        if self.statistic is None:
            random = covariance_values(model, covariance.criterion, covariance.theta, estimates)
            kept = np.array([kept for _, kept in self._random], dtype=np.bool_)
            values = np.concatenate([estimates.beta, random[:, kept]], axis=1)
        else:
            found = self.statistic(batch)
            self.found_names[:] = _names(found, len(batch))
            values = _as_matrix(found, len(batch))
        failed = ~(batch.converged & np.isfinite(batch.llf))
        return _Batch(values, self._scores(model), failed, batch.singular)

    def _scores(self, model: ReducedModel) -> FloatArray:
        """At the fit's own parameters: coefficients, and derivatives of -2 log-likelihood."""
        n, source = len(model.y_scaling), self.source
        criterion = criterion_of(model, self.record.method)
        unit = (model.core.y_scale / np.array([s for _, _, s in model.y_scaling])) ** 2
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


def bootstrap(
    source: FitSource,
    record: FitRecord,
    n: int = 1000,
    seed: Any = None,
    statistic: Statistic | None = None,
) -> Bootstrap:
    """Simulate from the fit and refit, batch by batch.

    Parameters
    ----------
    source, record
        The fit.
    n
        Samples.
    seed
        int, SeedSequence, Generator, or None for fresh entropy.
    statistic
        Takes a `FitBatch` and returns one number a fit, an array (n_fits, k), or a dict of names
        to such; by default all fixed effects and covariance parameters.

    Raises
    ------
    DataError
        For a bad n or seed, or a statistic of the wrong shape.
    """
    if isinstance(n, bool) or not isinstance(n, int | np.integer) or n < 2:
        raise DataError(f"n is {n!r}; the number of samples must be an integer >= 2")
    if statistic is not None and not callable(statistic):
        raise DataError(
            f"statistic is {statistic!r}; give a function of a FitBatch, such as "
            "lambda fits: fits.params[:, 1]"
        )
    check_engine(source.model, "a bootstrap")
    design = source.design
    refits = _Refits(source, record, statistic)
    estimates = refits.refit([design.working_response])
    names = list(refits.names)
    numbers = max(design.n_obs, source.criterion.n_theta**2)
    size = max(1, min(_MOST, _NUMBERS // numbers))
    batches, entropy = [], seed_sequence(seed)
    for first in range(0, int(n), size):
        count = min(size, int(n) - first)
        responses = simulate(source, record, count, entropy, first)
        batches.append(refits.refit(response_columns(responses, design)))
    whole = _Batch(*(np.concatenate(part) for part in zip(*batches, strict=True)))
    values = np.where(whole.failed[:, None], np.nan, whole.values)
    return Bootstrap(
        replicates=pd.DataFrame(values, columns=names),
        estimates=pd.Series(estimates.values[0], index=names),
        n_failed=int(whole.failed.sum()),
        n_singular=int((whole.singular & ~whole.failed).sum()),
        _scores=whole.scores,
    )


def _in_units(criterion: Criterion, theta: FloatArray, ratio: FloatArray) -> FloatArray:
    """theta of the covariances times ``ratio``, shape (n_fits,)."""
    out = theta.copy()
    blocks = zip(criterion.terms, criterion.theta_slices, strict=True)
    random = [(structure_of(block), s) for block, s in blocks if not block.is_residual]
    for structure, s in random + residual_arms(criterion):
        natural, powers = structure.natural(theta[:, s]), scale_powers(structure, theta[:1, s])
        out[:, s] = structure.from_natural(natural * ratio[:, None] ** powers)
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
