"""Results of a fit with statsmodels' names; containers are put on by a wrapper."""

from __future__ import annotations

import math
from typing import Any, ClassVar

import numpy as np
import pandas as pd
from scipy import special

from mlmfast.arrays import FloatArray
from mlmfast.errors import DataError, ModelError
from mlmfast.result import LMMResult
from mlmfast.running.cached import cached_property
from mlmfast.statsmodels.fitting.estimates import Estimates
from mlmfast.statsmodels.model.arrays import ModelArrays
from mlmfast.statsmodels.results.uncertainty import (
    covariance_errors,
    gls_covariance,
    joint_covariance,
)


class ResultArrays:
    """What a fit found, in arrays."""

    #: Tests are by the normal distribution, as statsmodels' are.
    use_t: ClassVar[bool] = False
    cov_pen = None

    def __init__(self, found: Estimates, model: ModelArrays, se: str, full_output: bool) -> None:
        self.model, self.se, self._found = model, se, found
        params = found.params
        self.params_object = params
        self.params: FloatArray = params.get_packed(use_sqrt=False, has_fe=True)
        self.fe_params: FloatArray = np.array(params.fe_params)
        self.scale, self.converged = found.scale, found.converged
        self.cov_re_unscaled: FloatArray = np.array(params.cov_re)
        self.cov_re: FloatArray = found.scale * self.cov_re_unscaled
        self.vcomp: FloatArray = found.scale * np.array(params.vcomp)
        self.reml, self.method = model.reml, "REML" if model.reml else "ML"
        self.k_fe, self.k_re = model.k_fe, model.k_re
        self.k_re2, self.k_vc = model.k_re2, model.k_vc
        self.use_sqrt, self.freepat = model.use_sqrt, model._freepat
        self.nobs = model.nobs
        # A plain int: packages ask isinstance(df, int).
        self.df_resid = model.nobs - model.k_fe
        state = {"converged": found.converged, "iterations": found.iterations, "fopt": -found.llf}
        self.hist = [state] if full_output else None
        sizes = np.bincount(model._groups.codes)
        self._sizes = (int(sizes.min()), int(sizes.max()), float(sizes.mean()))

    @property
    def lmm(self) -> LMMResult:
        """The same fit as mlmfast's own result: degrees of freedom, anova, emmeans, diagnostics.

        Raises
        ------
        ModelError
            For a fit with parameters held.
        """
        if self._found.lmm is None:
            raise ModelError("a fit with parameters held has no mlmfast result; use mlmfast.LMM")
        return self._found.lmm

    # -- precision ----------------------------------------------------------------------------

    @cached_property
    def _cov(self) -> FloatArray:
        joint = self.se == "statsmodels"
        return (joint_covariance if joint else gls_covariance)(self.model, self._found)

    @property
    def normalized_cov_params(self) -> FloatArray:
        """`cov_params` over the residual variance."""
        return self._cov / self.scale

    def cov_params(
        self,
        r_matrix: Any = None,
        column: Any = None,
        scale: float | None = None,
        cov_p: Any = None,
        other: Any = None,
    ) -> Any:
        """Covariance of the estimates, or of combinations of them.

        Parameters
        ----------
        r_matrix, other
            Combinations L and M: L C M', M = L where it is left out.
        column
            Positions of parameters.
        scale
            Instead of the residual variance.
        cov_p
            Instead of the covariance C.
        """
        if column is not None and (r_matrix is not None or other is not None):
            raise ValueError("Column should be specified without other arguments.")
        if other is not None and r_matrix is None:
            raise ValueError("other can only be specified with r_matrix")
        c = self._cov if cov_p is None else np.asarray(cov_p)
        if cov_p is None and scale is not None:
            c = c * (scale / self.scale)
        if column is not None:
            at = np.asarray(column)
            return c[at, at] if at.shape == () else c[at[:, None], at]
        if r_matrix is None:
            return c.copy()
        left = np.asarray(r_matrix, dtype=np.float64)
        if left.shape == ():
            raise ValueError("r_matrix should be 1d or 2d")
        right = left if other is None else np.asarray(other, dtype=np.float64)
        # What is not known of a variance on the boundary is nothing where it does not enter.
        asked = np.abs(np.atleast_2d(left)).sum(axis=0) > 0
        asked |= np.abs(np.atleast_2d(right)).sum(axis=0) > 0
        c = np.where(np.outer(asked, asked), c, 0.0)
        return left @ c @ right.T

    @cached_property
    def bse(self) -> FloatArray:
        """Standard errors of `params`; NaN for covariances on the boundary."""
        return _root(np.diag(self._cov))

    @property
    def bse_fe(self) -> FloatArray:
        """Standard errors of the fixed effects."""
        if self.se == "gls" and self._found.lmm is not None:
            variances = np.zeros(self.k_fe)
            variances[self._found.fe_free] = np.diag(self._found.lmm._record.vcov)
            return _root(variances)
        return self.bse[: self.k_fe]

    @cached_property
    def bse_re(self) -> FloatArray:
        """Standard errors of `cov_re`, its lower triangle, and of `vcomp`, in their own units.

        With ``se="statsmodels"`` those of the ratios times the residual standard deviation, as
        statsmodels has them.
        """
        if self.se == "statsmodels":
            return math.sqrt(self.scale) * self.bse[self.k_fe :]
        of_ratios = self._cov[self.k_fe :, self.k_fe :]
        return covariance_errors(self.model, self._found, of_ratios)

    @property
    def tvalues(self) -> FloatArray:
        """`params` over `bse`."""
        with np.errstate(invalid="ignore", divide="ignore"):
            return self.params / self.bse

    @property
    def pvalues(self) -> FloatArray:
        """Two-sided p-values by the normal distribution."""
        return np.asarray(2.0 * special.ndtr(-np.abs(self.tvalues)))

    def conf_int(self, alpha: float = 0.05, cols: Any = None) -> FloatArray:
        """Confidence limits, shape (k, 2), by the normal distribution."""
        reach = special.ndtri(1.0 - alpha / 2.0) * self.bse
        limits = np.column_stack([self.params - reach, self.params + reach])
        return limits if cols is None else limits[np.asarray(cols)]

    @property
    def llf(self) -> float:
        """The log-likelihood, restricted by REML; without log|X'X|, as lme4 has it."""
        return self._found.llf

    # -- criteria -----------------------------------------------------------------------------

    @property
    def _n_estimated(self) -> float:
        return float(self.k_fe + self._found.free.sum() + 1)

    @property
    def aic(self) -> float:
        """-2 llf + 2 k with all parameters counted; nan by REML, as in statsmodels."""
        return math.nan if self.reml else 2.0 * (self._n_estimated - self.llf)

    @property
    def bic(self) -> float:
        """-2 llf + k log n with all parameters counted; nan by REML, as in statsmodels."""
        n = math.log(self.nobs)
        return math.nan if self.reml else n * self._n_estimated - 2.0 * self.llf

    @property
    def df_modelwc(self) -> int:
        """Number of packed parameters."""
        return self.params.size

    # -- random effects -----------------------------------------------------------------------

    def _effect_names(self, group: int) -> list[str]:
        names = list(self.model.data.exog_re_names)
        for name, columns in zip(
            self.model.exog_vc.names, self.model.exog_vc.colnames, strict=True
        ):
            names += [f"{name}[{column}]" for column in columns[group]]
        return names

    @cached_property
    def random_effects(self) -> dict[Any, pd.Series[float]]:
        """Random effects given the data, by group; 0 where their variance is estimated 0."""
        at = self.model._likelihood(self.params_object, self.reml)
        means = at.effects(self.fe_params)
        return {
            label: pd.Series(means[k], index=self._effect_names(k))
            for k, label in enumerate(self.model.group_labels)
        }

    @cached_property
    def random_effects_cov(self) -> dict[Any, pd.DataFrame]:
        """Covariances of the random effects given the data, by group."""
        at = self.model._likelihood(self.params_object, self.reml)
        out = {}
        for k, matrix in enumerate(at.effects_covariance()):
            names = self._effect_names(k)
            own = self.scale * (matrix + matrix.T) / 2
            out[self.model.group_labels[k]] = pd.DataFrame(own, index=names, columns=names)
        return out

    @cached_property
    def fittedvalues(self) -> FloatArray:
        """Fitted values with the random effects."""
        if self._found.lmm is not None:
            return np.asarray(self._found.lmm.fittedvalues, dtype=np.float64)
        return self._conditional_fit()

    def _conditional_fit(self) -> FloatArray:
        """Fitted values from the effects of each group."""
        model = self.model
        at = model._likelihood(self.params_object, self.reml)
        out = model.exog @ self.fe_params
        for k, (rows, effects) in enumerate(
            zip(model._rows, at.effects(self.fe_params), strict=True)
        ):
            own = [] if model.exog_re is None else [model.exog_re[rows]]
            own += [np.asarray(mats[k]) for mats in model.exog_vc.mats]
            out[rows] += np.column_stack(own) @ effects
        return np.asarray(out)

    @cached_property
    def resid(self) -> FloatArray:
        """The response minus `fittedvalues`."""
        return np.asarray(self.model.endog - self.fittedvalues)

    # -- tests --------------------------------------------------------------------------------

    def _hypotheses(self, r_matrix: Any) -> FloatArray:
        """Rows of a hypothesis about the fixed effects, zeros for the covariances.

        Raises
        ------
        ValueError
            Where there is not a column for each fixed effect, or for each parameter.
        """
        try:
            rows = np.atleast_2d(np.asarray(r_matrix, dtype=np.float64))
        except (TypeError, ValueError):
            raise DataError(f"r_matrix is no matrix of numbers: {r_matrix!r}") from None
        if rows.shape[1] != self.k_fe:
            raise ValueError(f"r_matrix for t-test should have {self.k_fe:d} columns")
        zeros = np.zeros((len(rows), self.k_re2 + self.k_vc))
        return np.hstack([rows, zeros])

    # -- kept ---------------------------------------------------------------------------------

    def remove_data(self) -> None:
        """Let go of the rows of the data; estimates, tests and the summary stay."""
        for name in ("_cov", "bse", "bse_re"):
            getattr(self, name)
        if self._found.lmm is not None:
            self._found.lmm.remove_data()
        for name in ("fittedvalues", "resid", "random_effects", "random_effects_cov"):
            self.__dict__.pop(name, None)
        self.model._remove_data()


def _root(variances: FloatArray) -> FloatArray:
    with np.errstate(invalid="ignore"):
        return np.asarray(np.sqrt(variances))
