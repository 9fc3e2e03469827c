"""LMMResult: what a fit says, in pandas containers named as statsmodels names them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from scipy import stats

from mlmfast.arrays import FloatArray
from mlmfast.certificate import Certificate
from mlmfast.criterion import Criterion
from mlmfast.design import Design
from mlmfast.errors import ModelError
from mlmfast.grouping_names import ByGroup
from mlmfast.model_frame import ModelFrame
from mlmfast.random_effects import ConditionalEffects, conditional_effects
from mlmfast.record import FitRecord
from mlmfast.reduced_model import ReducedModel
from mlmfast.variance_components import VarCorr

if TYPE_CHECKING:
    from mlmfast.mvn import MVN
    from mlmfast.report.summary import Summary


@dataclass(frozen=True)
class FitSource:
    """What a fit was made from; a loaded fit has none.

    Attributes
    ----------
    model
        The reduced design.
    criterion, theta : theta of shape (1, n_theta)
    frame
        How the design was read; None where the model was made from arrays.
    """

    model: ReducedModel
    criterion: Criterion
    theta: FloatArray
    frame: ModelFrame | None

    @property
    def design(self) -> Design:
        """The design."""
        return self.model.design


class LMMResult:
    """A fitted linear mixed model.

    Estimates are plain attributes; what takes work is computed when first asked for.

    Examples
    --------
    >>> import mlmfast as mlm
    >>> fit = mlm.lmm("Reaction ~ Days + (Days | Subject)", mlm.load_sleepstudy())
    >>> fit.params.round(3)
    (Intercept)    251.405
    Days            10.467
    dtype: float64
    >>> round(fit.llf, 4)
    -871.8141
    """

    def __init__(
        self,
        record: FitRecord,
        source: FitSource | None,
        timings: Mapping[str, float] | None = None,
        effects: list[ConditionalEffects] | None = None,
    ) -> None:
        self._record = record
        self._source = source
        #: Seconds by phase of the fit.
        self.timings: dict[str, float] = dict(timings or {})
        if effects is not None:
            self.__dict__["_effects"] = effects

    # -- fixed effects -------------------------------------------------------------------------

    @cached_property
    def params(self) -> pd.Series[float]:
        """Fixed effects by R's column names; NaN where aliased."""
        return self._series(self._record.beta)

    @cached_property
    def bse(self) -> pd.Series[float]:
        """Standard errors, the roots of the diagonal of ``cov_params()``."""
        return self._series(np.sqrt(np.diag(self._record.vcov)))

    @cached_property
    def tvalues(self) -> pd.Series[float]:
        """Estimates over standard errors."""
        return self.params / self.bse

    @cached_property
    def df(self) -> pd.Series[float]:
        """Denominator degrees of freedom; infinite for asymptotic (z) tests."""
        return self._series(np.full(self._record.rank, np.inf))

    @cached_property
    def pvalues(self) -> pd.Series[float]:
        """Two-sided p-values of tvalues, normal where the degrees of freedom are infinite."""
        return self._series(2.0 * stats.norm.sf(np.abs(self.tvalues.dropna().to_numpy())))

    def cov_params(self, kind: str | None = None) -> pd.DataFrame:
        """Covariance of the fixed effects, (X'V^-1 X)^-1, as SAS and lme4 report it.

        Parameters
        ----------
        kind
            None or "model".

        Raises
        ------
        ModelError
            For a kind that is not available.
        """
        if kind not in {None, "model"}:
            raise ModelError(f"cov_params(kind={kind!r}) is not available yet; use 'model'")
        names = [self._record.x_names[j] for j in self._record.kept]
        frame = pd.DataFrame(self._record.vcov, index=names, columns=names)
        return frame.reindex(index=self.params.index, columns=self.params.index)

    def conf_int(self, level: float = 0.95, method: str = "wald") -> pd.DataFrame:
        """Confidence intervals of the fixed effects, columns ``lower`` and ``upper``.

        Raises
        ------
        ModelError
            For a method that is not available or a level outside (0, 1).
        """
        if method != "wald":
            raise ModelError(f"conf_int(method={method!r}) is not available yet; use 'wald'")
        if not 0 < level < 1:
            raise ModelError(f"level is {level}; it must lie between 0 and 1, such as 0.95")
        half = float(stats.norm.ppf(0.5 + level / 2)) * self.bse
        return pd.DataFrame({"lower": self.params - half, "upper": self.params + half})

    @property
    def rank(self) -> int:
        """Rank of X."""
        return self._record.rank

    @property
    def aliased(self) -> tuple[str, ...]:
        """Columns of X left out because they depend linearly on earlier ones."""
        kept = set(self._record.kept)
        return tuple(name for j, name in enumerate(self._record.x_names) if j not in kept)

    # -- likelihood ----------------------------------------------------------------------------

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

    def information_criteria(self, n: str = "observations", count: str = "all") -> pd.Series[float]:
        """AIC, AICc and BIC under either convention.

        Parameters
        ----------
        n
            Sample size in BIC and AICc: "observations" (R) or "clusters" (units of the outermost
            grouping factor; SAS's choice for BIC).
        count
            Parameters counted: "all" (R) or "covariance" (SAS under REML).

        Raises
        ------
        ModelError
            For another word, or clusters where there is no grouping factor.

        Examples
        --------
        >>> import mlmfast as mlm
        >>> fit = mlm.lmm("Reaction ~ Days + (Days | Subject)", mlm.load_sleepstudy())
        >>> fit.information_criteria(n="clusters", count="covariance").round(2).to_dict()
        {'AIC': 1751.63, 'AICc': 1754.71, 'BIC': 1755.19}
        """
        record = self._record
        if n not in {"observations", "clusters"} or count not in {"all", "covariance"}:
            raise ModelError("n is 'observations' or 'clusters', count is 'all' or 'covariance'")
        if n == "clusters" and not record.groups:
            raise ModelError("the model has no grouping factor, so no clusters to count")
        size = self.nobs if n == "observations" else len(record.groups[record.levels[0]].labels)
        k = record.n_parameters if count == "all" else record.n_covariance_parameters
        aic = self.deviance + 2.0 * k
        room = size - k - 1
        corrected = aic + 2.0 * k * (k + 1) / room if room > 0 else np.inf
        bic = self.deviance + k * np.log(size)
        return pd.Series({"AIC": aic, "AICc": corrected, "BIC": float(bic)})

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
        return {group.name: len(group.labels) for group in self._record.groups}

    # -- variances and random effects ----------------------------------------------------------

    @property
    def sigma(self) -> float | None:
        """Residual standard deviation (at weight 1); None where visits differ in variance."""
        return None if self.scale is None else float(np.sqrt(self.scale))

    @property
    def scale(self) -> float | None:
        """Residual variance (at weight 1); None where visits differ in variance."""
        sigma2 = self._record.sigma2
        return None if np.isnan(sigma2) else sigma2

    @cached_property
    def residual_cov(self) -> pd.DataFrame | dict[str, pd.DataFrame] | None:
        """Residual covariance over visits at weight 1; None for independent residuals.

        A dict of frames by arm where arms have parameters of their own.

        Raises
        ------
        ModelError
            Where a spatial structure spans too many points for one matrix; see `R`.

        Examples
        --------
        >>> import mlmfast as mlm
        >>> data = mlm.load_sleepstudy()
        >>> fit = mlm.lmm("Reaction ~ Days", data, residual="ar1(Days | Subject)")
        >>> fit.residual_cov.iloc[:2, :2].round(1)
                0       1
        0  2451.7  1961.3
        1  1961.3  2451.7
        """
        residual = self._record.residual
        if residual is None:
            return None
        if not residual.visits:
            raise ModelError(
                f"{residual.text!r} spans too many points for one matrix; see R(cluster) and "
                "residual_parameters"
            )
        frames = {
            arm: pd.DataFrame(covariance, index=residual.visits, columns=residual.visits)
            for arm, covariance in zip(residual.arms, residual.covariances, strict=True)
        }
        return frames if len(frames) > 1 else frames[residual.arms[0]]

    @cached_property
    def residual_parameters(self) -> pd.Series[float]:
        """Parameters of the residual covariance on their natural scale, as SAS names them.

        ``arm: name`` where arms have parameters of their own; the residual variance alone for
        independent residuals. Ratios of standard deviations and exponents of `residual_scale` last.
        """
        return pd.Series(dict(self._record.residual_parameters))

    @cached_property
    def varcorr(self) -> VarCorr:
        """Covariances of the random effects by grouping factor; prints the residual's too."""
        return VarCorr(self._record)

    @cached_property
    def ranef(self) -> dict[str, pd.DataFrame]:
        """BLUPs by grouping factor: the conditional means E(g | y), one row a level."""
        return ByGroup(
            {
                group.name: pd.DataFrame(
                    effects.mean, index=pd.Index(group.labels, name=group.name), columns=names
                )
                for group, names, effects in self._by_group()
            }
        )

    @cached_property
    def ranef_cov(self) -> dict[str, dict[str, pd.DataFrame]]:
        """Conditional covariances Var(g | y) by grouping factor and level (lme4's postVar)."""
        return ByGroup(
            {
                group.name: {
                    label: pd.DataFrame(covariance, index=names, columns=names)
                    for label, covariance in zip(group.labels, effects.covariance, strict=True)
                }
                for group, names, effects in self._by_group()
            }
        )

    @cached_property
    def _effects(self) -> list[ConditionalEffects]:
        source = self._needs_source("random effects")
        return conditional_effects(source.model, source.criterion, source.theta, self._record)

    def _by_group(self) -> list[tuple[Any, list[str], ConditionalEffects]]:
        record = self._record
        return [
            (
                group,
                [name for term in record.terms_on(position) for name in term.names],
                self._effects[position],
            )
            for position, group in enumerate(record.groups)
            if record.terms_on(position)
        ]

    # -- state of the fit ----------------------------------------------------------------------

    @property
    def method(self) -> str:
        """The criterion, "REML" or "ML"."""
        return self._record.method

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
        """Whether a variance is 0 or a correlation +-1."""
        return self._record.singular

    @property
    def certificate(self) -> Certificate:
        """Evidence of the optimum."""
        return self._record.certificate

    # -- what rows say -------------------------------------------------------------------------

    @cached_property
    def fittedvalues(self) -> pd.Series[float]:
        """X beta + Z g + offset at the BLUPs, in the order of the rows used."""
        from mlmfast.prediction import fitted_values

        return fitted_values(self._needs_source("fitted values"), self._record, self._effects)

    def resid(self, kind: str = "raw") -> pd.Series[float]:
        """Residuals, one a row used.

        Parameters
        ----------
        kind
            "raw": y minus fitted; "pearson": raw over the residual standard deviation of its row,
            sigma / sqrt(w) or, with variances by visit, sigma_visit / sqrt(w);
            "marginal": y - X beta; "scaled": L^-1 (y - X beta) with V = L L' within each cluster
            (SAS VCIRY), independent with variance 1 under the model.
        """
        from mlmfast.residuals import residuals

        return residuals(self, self._needs_source("residuals"), kind)

    def predict(
        self,
        newdata: object = None,
        *,
        ranef: bool = True,
        new_levels: str = "error",
        interval: str | None = None,
        level: float = 0.95,
        offset: object = None,
    ) -> Any:
        """Predictions for the rows used or for new data, in the container of the user's frame.

        Parameters
        ----------
        newdata
            Data with the columns of the formula, the response not needed; None for the rows used.
            A row with a missing value is predicted as NaN.
        ranef
            Add the random effects (conditional) or not (marginal).
        new_levels
            Levels not in the data: "error", or "population" for a random effect of 0.
        interval
            "confidence" for x'beta + z'g (x'beta if marginal), "prediction" for a new response
            (of a new cluster if marginal): a data frame with columns fit, lower and upper, by
            normal quantiles, the covariance parameters taken as known. Conditional intervals
            need the rows of the fit, so a loaded fit has none.
        level
            Level of the interval.
        offset
            Offset of the new rows where the fit had one as an argument: a column name or an array.

        Examples
        --------
        >>> import mlmfast as mlm
        >>> fit = mlm.lmm("Reaction ~ Days + (Days | Subject)", mlm.load_sleepstudy())
        >>> new = pd.DataFrame({"Days": [10], "Subject": ["308"]})
        >>> fit.predict(new, interval="confidence").round(1)
             fit  lower  upper
        0  450.3  419.3  481.4
        """
        from mlmfast.prediction import predict

        return predict(
            self,
            newdata,
            ranef=ranef,
            new_levels=new_levels,
            interval=interval,
            level=level,
            offset=offset,
        )

    def simulate(self, n: int = 1, seed: Any = None) -> FloatArray:
        """Draw new responses from the model, shape (nobs, n); random effects drawn anew.

        ``seed``: int, SeedSequence or Generator; a column is the same whatever ``n`` is.
        """
        from mlmfast.simulate import simulate

        return simulate(self._needs_source("a simulation"), self._record, n, seed)

    def G(self, term: str) -> pd.DataFrame:
        """Covariance matrix of a random-effects term, named as written or by grouping factor."""
        from mlmfast.cluster_matrices import term_covariance

        return term_covariance(self._record, term)

    def R(self, cluster: object = None) -> pd.DataFrame:
        """Residual covariance of a cluster's rows, weights included.

        Rows of different subjects are uncorrelated. None means all rows, as in V, Z and X.
        """
        from mlmfast.cluster_matrices import residual_covariance

        return residual_covariance(self._needs_source("R"), self._record, cluster)

    def Z(self, cluster: object = None) -> pd.DataFrame:
        """Columns of Z that belong to a cluster, its rows only."""
        from mlmfast.cluster_matrices import random_matrix

        return random_matrix(self._needs_source("Z"), self._record, cluster)

    def V(self, cluster: object = None) -> pd.DataFrame:
        """Marginal covariance Z G Z' + R of a cluster's rows."""
        from mlmfast.cluster_matrices import marginal_covariance

        return marginal_covariance(self._needs_source("V"), self._record, cluster)

    def X(self, cluster: object = None) -> pd.DataFrame:
        """Rows of X of a cluster."""
        from mlmfast.cluster_matrices import fixed_matrix

        return fixed_matrix(self._needs_source("X"), self._record, cluster)

    def marginal(self, cluster: object = None) -> MVN:
        """Distribution N(X_i beta, V_i) of a cluster's responses."""
        from mlmfast.cluster_matrices import marginal_distribution

        return marginal_distribution(self._needs_source("marginal"), self._record, cluster)

    # -- reports -------------------------------------------------------------------------------

    def summary(self) -> Summary:
        """The fit as a statistician expects it printed; see also `tidy` and `glance`."""
        from mlmfast.report.summary import Summary

        return Summary(self)

    def tidy(self, effects: str = "all") -> pd.DataFrame:
        """One row a parameter; ``effects``: "all", "fixed" or "random"."""
        from mlmfast.report.tidy import tidy

        return tidy(self, effects)

    def glance(self) -> pd.DataFrame:
        """One row of whole-model figures."""
        from mlmfast.report.tidy import glance

        return glance(self)

    def to_json(self, path: Any = None) -> str:
        """Return the fit as JSON text, and write it to ``path`` if given; see `mlmfast.load`."""
        from mlmfast.storage import to_json

        return to_json(self, path)

    def __repr__(self) -> str:
        return str(self.summary())

    def _repr_html_(self) -> str:
        from mlmfast.report.html import fit_html

        return fit_html(self)

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickle as JSON text: estimates without rows, as `mlmfast.load` gives them back."""
        from mlmfast.storage import load

        return load, (self.to_json(),)

    def __copy__(self) -> LMMResult:
        """Return the result itself, rows and all: it does not change."""
        return self

    def __deepcopy__(self, memo: dict[int, Any]) -> LMMResult:
        """See `__copy__`."""
        return self

    # -- help ----------------------------------------------------------------------------------

    def _series(self, kept: FloatArray) -> pd.Series[float]:
        values = np.full(len(self._record.x_names), np.nan)
        values[list(self._record.kept)] = kept
        return pd.Series(values, index=list(self._record.x_names))

    def _needs_source(self, what: str) -> FitSource:
        if self._source is None:
            raise ModelError(
                f"{what} needs the rows of the data, and a loaded fit holds none; fit the model "
                "again, or use predict(newdata)"
            )
        return self._source
