"""The public classes: statsmodels' own are their bases where it is installed."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from mlmfast.statsmodels.fitting.estimates import Estimates
from mlmfast.statsmodels.model_base import MixedLMBase
from mlmfast.statsmodels.results_base import MixedLMResultsBase

if TYPE_CHECKING:
    _ModelBase: Any = object
    _ResultsBase: Any = object
    MixedLMResultsWrapper: Any
    HAS_STATSMODELS: bool
else:
    try:
        from statsmodels.regression import mixed_linear_model as _theirs
    except ImportError:
        from mlmfast.statsmodels.without_statsmodels import ResultsWrapper as MixedLMResultsWrapper

        _ModelBase = _ResultsBase = object
        HAS_STATSMODELS = False
    else:
        # What `install` puts aside is kept, should it run before this module.
        _ModelBase, _ResultsBase = _theirs.MixedLM, _theirs.MixedLMResults
        MixedLMResultsWrapper = _theirs.MixedLMResultsWrapper
        HAS_STATSMODELS = True


class MixedLM(MixedLMBase, _ModelBase):  # type: ignore[misc, unused-ignore]
    """A linear mixed model with statsmodels' names, fitted by mlmfast.

    Parameters
    ----------
    endog : shape (n,)
    exog : shape (n, k_fe), a column of ones included where an intercept is wanted
    groups : shape (n,), labels; rows of different groups are independent
    exog_re : shape (n, k_re), covariates of correlated random effects of the groups; an intercept
        where neither this nor ``exog_vc`` is given
    exog_vc
        `VCSpec`: variance components.
    use_sqrt
        Whether `score` and held parameters go by the Cholesky factor of the covariance.
    missing
        "none" and "raise" refuse missing values, "drop" leaves their rows out of every array.

    Examples
    --------
    >>> import mlmfast as mlm
    >>> from mlmfast.statsmodels import MixedLM
    >>> data = mlm.load_sleepstudy()
    >>> fit = MixedLM.from_formula("Reaction ~ Days", data, groups="Subject").fit()
    >>> fit.fe_params.round(3).to_dict()
    {'Intercept': 251.405, 'Days': 10.467}
    >>> round(float(fit.cov_re.iloc[0, 0]), 1)
    1378.2
    """


class MixedLMResults(MixedLMResultsBase, _ResultsBase):  # type: ignore[misc, unused-ignore]
    """What a fit found; `MixedLM.fit` gives it in pandas containers where the input was pandas."""

    def t_test(self, r_matrix: Any, use_t: bool | None = None) -> Any:
        """Tests of each row of a matrix times the fixed effects, by the normal distribution.

        Parameters
        ----------
        r_matrix : shape (k_fe,) or (r, k_fe)
        use_t
            By t with ``df_resid`` degrees of freedom; `lmm` has honest ones.
        """
        rows = self._hypotheses(r_matrix)
        if HAS_STATSMODELS:
            # statsmodels' own override takes the fixed effects' columns alone.
            return super(_ResultsBase, self).t_test(rows, use_t=use_t)
        from mlmfast.statsmodels.without_statsmodels import t_test

        return t_test(self, r_matrix)

    def wald_test(self, r_matrix: Any, *args: Any, **kwargs: Any) -> Any:
        """A joint test of linear hypotheses about the fixed effects.

        Parameters
        ----------
        r_matrix
            A matrix with a column for each fixed effect, or for each parameter; with statsmodels
            installed also text, ``"x = 0, z = 1"``.
        """
        if not isinstance(r_matrix, str | tuple | dict | list) or _is_matrix(r_matrix):
            rows = np.atleast_2d(np.asarray(r_matrix, dtype=np.float64))
            if rows.shape[1] == self.k_fe:
                r_matrix = self._hypotheses(rows)
        if HAS_STATSMODELS:
            return super(MixedLMResultsBase, self).wald_test(r_matrix, *args, **kwargs)
        from mlmfast.statsmodels.without_statsmodels import wald_test

        return wald_test(self, np.atleast_2d(r_matrix)[:, : self.k_fe])

    def f_test(self, r_matrix: Any, *args: Any, **kwargs: Any) -> Any:
        """`wald_test` by F with ``df_resid`` denominator degrees of freedom."""
        if HAS_STATSMODELS:
            return self.wald_test(r_matrix, *args, use_f=True, scalar=True, **kwargs)
        raise NotImplementedError(
            "f_test needs statsmodels: pip install 'mlmfast[statsmodels]'; results.lmm.contrast(L) "
            "has F tests"
        )


def _is_matrix(r_matrix: Any) -> bool:
    try:
        return np.asarray(r_matrix, dtype=np.float64).ndim > 0
    except (TypeError, ValueError):
        return False


def results_of(found: Estimates, model: Any, se: str, full_output: bool) -> Any:
    """Results in the wrapper that gives them their containers."""
    return MixedLMResultsWrapper(MixedLMResults(found, model, se, full_output))


MixedLM._results_of = staticmethod(results_of)
