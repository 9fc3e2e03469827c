"""Fitted: what a fit is, under everything that is said of it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
import pandas as pd

from mlmfast.arrays import FloatArray
from mlmfast.degrees_of_freedom import Ddf, TestBasis, basis_of, ddf_text, method_of
from mlmfast.degrees_of_freedom.fitted_rows import FittedRows
from mlmfast.design.design import check_rows_are_here
from mlmfast.design.factors.frame_by_group import FrameByGroup
from mlmfast.distributions import two_sided
from mlmfast.errors import ModelError
from mlmfast.fitted.certificates.certificate import Certificate
from mlmfast.fitted.certificates.monte_carlo import MonteCarloError
from mlmfast.fitted.level_errors import LevelErrors
from mlmfast.fitted.marginal_slopes import MarginalSlopes
from mlmfast.fitted.origin.source import FitSource
from mlmfast.fitted.random_effects import ByLevel, ConditionalEffects, conditional_effects
from mlmfast.fitted.record import FitRecord
from mlmfast.fitted.row_facts import RowFacts
from mlmfast.handed_out import copy_of, handed_out
from mlmfast.information.undetermined_effects import depend, known_entries
from mlmfast.running.cached import cached_property

_Value = TypeVar("_Value")


class Fitted:
    """The estimates of a fit, and what it was made from.

    Every function of a fit takes this first; `mlmfast.result.LMMResult` gathers them as methods.
    """

    if TYPE_CHECKING:
        # Answered by what stands above, where an absorbed factor is in a way of its own.
        def resid(self, kind: str = "raw") -> pd.Series[float]:
            """Residuals, one a row used."""

        def conf_int(
            self,
            level: float | str = 0.95,
            method: str = "wald",
            *,
            n: int = 1000,
            seed: Any = None,
            progress: bool | None = None,
            kind: str = "parametric",
            interval: str = "percentile",
        ) -> pd.DataFrame:
            """Confidence intervals."""

        def emmeans(
            self,
            specs: Any,
            by: Any = None,
            at: Mapping[str, Any] | None = None,
            weights: str = "equal",
            *,
            ddf: Any = None,
            level: float = 0.95,
            adjust: str = "none",
        ) -> Any:
            """Estimated marginal means."""

        def profile(
            self, which: str | Sequence[str] | None = None, *, progress: bool | None = None
        ) -> Any:
            """Profile likelihood."""

        def bootstrap(
            self,
            n: int = 1000,
            seed: Any = None,
            statistic: Any = None,
            *,
            kind: str = ...,
            progress: bool | None = None,
        ) -> Any:
            """Bootstrap."""

        def _compared(self, *fits: Any, **how: Any) -> Any:
            """Likelihood-ratio tests against other fits."""

        def to_json(self, path: Any = None) -> str:
            """The fit as text."""

        @property
        def fittedvalues(self) -> pd.Series[float]:
            """Fitted values, one a row used."""

        @property
        def ranef(self) -> FrameByGroup:
            """Conditional means by grouping factor."""

        @property
        def ranef_cov(self) -> dict[str, ByLevel]:
            """Conditional covariances by grouping factor."""

    def __init__(
        self,
        record: FitRecord | Callable[[], FitRecord],
        source: FitSource | None,
        timings: Mapping[str, float] | None = None,
        effects: list[ConditionalEffects] | None = None,
    ) -> None:
        #: The record, or how to make it: names and estimates wait until something asks for them.
        if isinstance(record, FitRecord):
            self.__dict__["_record"] = record
        else:
            self.__dict__["_to_record"] = record
        self._source = source
        self._timings: dict[str, float] = dict(timings or {})
        #: What a loaded fit knows of rows that it does not hold.
        self._row_facts: RowFacts | None = None
        self._marginal_slopes: MarginalSlopes | None = None
        self._level_errors: LevelErrors | None = None
        self._shares: dict[str, dict[str, tuple[float, float]]] = {}
        self._held: dict[str, float] = {}
        if effects is not None:
            self.__dict__["_effects"] = effects

    @cached_property
    def _record(self) -> FitRecord:
        # Kept as long as the fit: two threads may ask at once.
        make: Callable[[], FitRecord] = self.__dict__["_to_record"]
        return make()

    @property
    def timings(self) -> dict[str, float]:
        """Seconds by phase of the fit."""
        return dict(self._timings)

    @handed_out
    def params(self) -> pd.Series[float]:
        """Fixed effects by R's column names; NaN where aliased."""
        return self._series(self._record.beta)

    @handed_out
    def bse(self) -> pd.Series[float]:
        """Standard errors, those that the tests use.

        The roots of the diagonal of ``cov_params()``, (X'V^-1 X)^-1; with one of the
        ``ddf="kenward-roger..."`` the roots of the diagonal of the adjusted covariance,
        ``cov_params(ddf)``, as PROC MIXED prints them.
        """
        return self._series(self._errors)

    @handed_out
    def tvalues(self) -> pd.Series[float]:
        """Estimates over standard errors."""
        return self._series(self._record.beta / self._errors)

    @handed_out
    def df(self) -> pd.Series[float]:
        """Denominator degrees of freedom under ``ddf``; infinite for asymptotic (z) tests."""
        return self._series(self._degrees)

    @handed_out
    def pvalues(self) -> pd.Series[float]:
        """Two-sided p-values of tvalues by t, normal where the degrees of freedom are infinite."""
        return self._series(self._p_of_coefficients)

    @property
    def rank(self) -> int:
        """Rank of X."""
        return self._record.rank

    @property
    def aliased(self) -> tuple[str, ...]:
        """Columns of X left out because they depend linearly on earlier ones."""
        kept = set(self._record.kept)
        return tuple(name for j, name in enumerate(self._record.x_names) if j not in kept)

    @property
    def llf(self) -> float:
        """Log-likelihood with all constants; REML leaves out log|X'X|, as lme4 and SAS do."""
        return -0.5 * self._record.deviance

    @property
    def deviance(self) -> float:
        """-2 llf: the deviance (ML) or the REML criterion."""
        return self._record.deviance

    @property
    def aic(self) -> float:
        """deviance + 2 k, k all parameters (R's; SAS counts only covariance ones under REML)."""
        return self.deviance + 2.0 * self._record.n_parameters

    @property
    def bic(self) -> float:
        """deviance + k log n with n the observations (R's BIC); see `information_criteria`."""
        return self.deviance + self._record.n_parameters * float(np.log(self.nobs))

    @property
    def nobs(self) -> int:
        """Rows used."""
        return self._record.n_obs

    @property
    def n_dropped(self) -> int:
        """Rows left out because a variable of the model was missing."""
        return self._record.n_dropped

    @property
    def n_groups(self) -> dict[str, int]:
        """Levels of each grouping factor; of the subjects where there are no random effects."""
        return self._record.group_sizes

    @property
    def sigma(self) -> float | None:
        """Residual standard deviation (at weight 1); None where visits differ in variance."""
        return None if self.scale is None else float(np.sqrt(self.scale))

    @property
    def scale(self) -> float | None:
        """Residual variance (at weight 1); None where visits differ in variance."""
        sigma2 = self._record.sigma2
        return None if np.isnan(sigma2) else sigma2

    @property
    def held(self) -> dict[str, float]:
        """Covariance parameters held by ``hold=`` or at a bound of ``bounds=``: their values."""
        if self._source is None:
            return dict(self._held)
        return dict(self._source.held_values)

    @property
    def parms(self) -> pd.DataFrame | None:
        """Starts tried by ``grid=`` with their -2 log-likelihood; None without a grid."""
        parms = self._needs_source("parms", of_sums=True).parms
        return None if parms is None else copy_of(parms.table)

    @property
    def method(self) -> str:
        """The method of estimation: "REML", "ML", "type1" to "type3" or "mivque0"."""
        return self._record.estimator or self._record.method

    @property
    def formula(self) -> str | None:
        """The formula; None where the model was made from arrays."""
        return self._record.formula

    @property
    def converged(self) -> bool:
        """Whether the certificate is that of a minimum."""
        return self._record.converged

    @property
    def singular(self) -> bool:
        """Whether a variance is 0, a correlation +-1, or a parameter not determined by the data."""
        return self._record.singular

    @property
    def certificate(self) -> Certificate:
        """Evidence of the optimum."""
        return self._record.certificate

    @property
    def monte_carlo_error(self) -> MonteCarloError | None:
        """How far probes may have moved likelihood and estimates; None where none were used.

        Only fits by the iterative engine have it (``certificate.engine == "iterative"``).
        """
        return self._record.monte_carlo

    @property
    def ddf(self) -> str:
        """Method of the degrees of freedom, as given by ``ddf=``."""
        return self._record.ddf

    @cached_property
    def _effects(self) -> list[ConditionalEffects]:
        source = self._needs_source("random effects", of_sums=True)
        check_rows_are_here(source.design)
        return conditional_effects(source.model, source.criterion, source.theta, self._record)

    @cached_property
    def _rows(self) -> FittedRows | None:
        """The fit with its rows, as methods of degrees of freedom read it; None if loaded."""
        source, record = self._source, self._record
        if source is None:
            return None
        singular = tuple(record.terms[t].singular for t in source.model.order)
        return FittedRows(
            source.model,
            source.criterion,
            source.theta,
            singular,
            record.beta,
            record.vcov,
            source.frame,
            held=source.held,
            moments=source.moments,
        )

    @cached_property
    def _bases(self) -> dict[str, TestBasis]:
        return {}

    def _basis(self, ddf: Ddf | None = None) -> TestBasis:
        """What tests under a method need; kept once computed."""
        key = self.ddf if ddf is None else ddf_text(ddf)
        if key not in self._bases:
            self._bases[key] = basis_of(self._rows, self._record, key)
        return self._bases[key]

    @property
    def _tested(self) -> TestBasis:
        return self._basis()

    @cached_property
    def _errors(self) -> FloatArray:
        """Standard errors of the coefficients kept."""
        basis = self._tested
        return np.asarray(np.sqrt(known_entries(basis.moves, basis.vcov).diagonal()))

    @cached_property
    def _degrees(self) -> FloatArray:
        """Degrees of freedom of the coefficients kept."""
        basis = self._tested
        degrees = method_of(self.ddf).of_coefficients(basis)
        if basis.moves is not None:
            rows = np.eye(self._record.rank)
            degrees = np.where(depend(basis.moves, rows, basis.phi), np.nan, degrees)
        return degrees

    @property
    def _p_of_coefficients(self) -> FloatArray:
        return two_sided(self._record.beta / self._errors, self._degrees)

    def _coefficient_columns(self) -> tuple[FloatArray, ...]:
        """Estimates, errors, degrees of freedom, t and p of all coefficients, NaN where aliased.

        As arrays: a report asks for all of them, and a Series costs more than what is in it.
        """
        if self._record.absorbed is not None:
            columns = (self.params, self.bse, self.df, self.tvalues, self.pvalues)
            return tuple(np.asarray(column, dtype=np.float64) for column in columns)
        beta, errors, degrees = self._record.beta, self._errors, self._degrees
        t = beta / errors
        kept = (beta, errors, degrees, t, two_sided(t, degrees))
        whole = self._record.rank == len(self._record.x_names)
        return kept if whole else tuple(map(self._spread, kept))

    def _once(self, name: str, make: Callable[[], _Value]) -> _Value:
        """What `make` computes, kept beside the estimates under a name."""
        if name not in self.__dict__:
            self.__dict__[name] = make()
        value: _Value = self.__dict__[name]
        return value

    def _series(self, kept: FloatArray) -> pd.Series[float]:
        return pd.Series(self._spread(kept), index=list(self._record.x_names))

    def _spread(self, kept: FloatArray) -> FloatArray:
        """Values of the columns kept at their places among all columns of X."""
        values = np.full(len(self._record.x_names), np.nan)
        values[list(self._record.kept)] = kept
        return values

    def _square(self, kept: FloatArray) -> pd.DataFrame:
        names, at = list(self._record.x_names), list(self._record.kept)
        values = np.full((len(names), len(names)), np.nan)
        values[np.ix_(at, at)] = kept
        return pd.DataFrame(values, index=names, columns=names)

    def _needs_likelihood(self, what: str) -> None:
        """Refuse what compares likelihoods, where the variances are not estimated by one.

        Raises
        ------
        ModelError
        """
        if self._record.estimator:
            raise ModelError(
                f"{what} goes by the maximum of a likelihood, and this fit is by "
                f"method={self._record.estimator!r}; fit with method='REML' or 'ML'"
            )

    def _needs_source(self, what: str, *, of_sums: bool = False) -> FitSource:
        """What the fit was made from, where it has that.

        Parameters
        ----------
        what
            What asks, for the error.
        of_sums
            Whether rows serve that only have the sums of those that were read.

        Raises
        ------
        ModelError
            For a loaded fit, and for one of a reduction unless its rows serve.
        """
        if self._source is not None and self._source.design.condensed is not None and not of_sums:
            raise ModelError(
                f"a fit of a reduction holds sums over the rows; for {what} the rows themselves "
                "are needed: use predict(newdata) for rows at hand, or fit the rows, "
                "mlm.lmm(formula, data)"
            )
        if self._source is None:
            raise ModelError(
                f"a loaded fit holds no rows of the data, from which {what} would be computed; fit "
                "the model again, or use predict(newdata)"
            )
        return self._source
