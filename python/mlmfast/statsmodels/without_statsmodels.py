"""What stands in for statsmodels' classes where it is not installed."""

from __future__ import annotations

import pickle
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import pandas as pd
from scipy import special, stats

from mlmfast.arrays import FloatArray


@dataclass(frozen=True, eq=False)
class ContrastResults:
    """Tests of linear combinations; names are statsmodels'.

    Attributes
    ----------
    effect, sd, statistic, pvalue
        Estimates, standard errors, z (or chi-square or F) and p-values.
    df_denom
        Number of combinations of a joint test.
    """

    effect: Any
    sd: Any
    statistic: Any
    pvalue: Any
    df_denom: Any = None

    @property
    def tvalue(self) -> Any:
        """`statistic`."""
        return self.statistic

    def conf_int(self, alpha: float = 0.05) -> FloatArray:
        """Limits of the combinations by the normal distribution."""
        reach = special.ndtri(1.0 - alpha / 2.0) * self.sd
        return np.column_stack([self.effect - reach, self.effect + reach])

    def summary_frame(self, alpha: float = 0.05) -> pd.DataFrame:
        """The tests as a frame."""
        limits = self.conf_int(alpha)
        values = [self.effect, self.sd, self.statistic, self.pvalue, limits[:, 0], limits[:, 1]]
        names = ["coef", "std err", "z", "P>|z|", "Conf. Int. Low", "Conf. Int. Upp."]
        return pd.DataFrame(dict(zip(names, values, strict=True)))


def t_test(results: Any, r_matrix: Any) -> ContrastResults:
    """Tests of each row of a matrix times the fixed effects."""
    rows = results._hypotheses(r_matrix)
    effect = rows @ results.params
    sd = np.sqrt(np.diag(results.cov_params(r_matrix=rows)))
    z = effect / sd
    return ContrastResults(effect, sd, z, 2.0 * special.ndtr(-np.abs(z)))


def wald_test(results: Any, r_matrix: Any) -> ContrastResults:
    """A chi-square test of all rows of a matrix times the fixed effects at once."""
    rows = results._hypotheses(r_matrix)
    effect = rows @ results.params
    covariance = results.cov_params(r_matrix=rows)
    statistic = float(effect @ np.linalg.solve(covariance, effect))
    p = float(stats.chi2.sf(statistic, len(rows)))
    return ContrastResults(effect, np.sqrt(np.diag(covariance)), statistic, p, len(rows))


class ResultsWrapper:
    """Results in pandas containers where the input was pandas, as statsmodels wraps them."""

    _wrap: ClassVar[dict[str, tuple[str, ...]]] = {
        **dict.fromkeys(("params", "bse", "tvalues", "pvalues"), ("columns",)),
        **dict.fromkeys(("fittedvalues", "resid"), ("rows",)),
        **dict.fromkeys(("fe_params", "bse_fe"), ("generic_columns", "xnames")),
        "bse_re": ("generic_columns", "exog_re_names_full"),
        **dict.fromkeys(("cov_re", "cov_re_unscaled"), ("generic_columns_2d", "exog_re_names")),
    }

    def __init__(self, results: Any) -> None:
        self._results = results

    def __getattr__(self, name: str) -> Any:
        if name == "_results":
            raise AttributeError(name)
        found = getattr(self._results, name)
        how = self._wrap.get(name)
        return found if how is None else self._results.model.data.wrap_output(found, *how)

    def __dir__(self) -> list[str]:
        return sorted({*super().__dir__(), *dir(self._results)})

    def conf_int(self, alpha: float = 0.05, cols: Any = None) -> Any:
        """Confidence limits by the normal distribution, columns 0 and 1."""
        limits = self._results.conf_int(alpha, cols)
        return limits if cols is not None else self._results.model.data.wrap_output(limits)

    def cov_params(self, *args: Any, **kwargs: Any) -> Any:
        """Covariance of the estimates, or of combinations of them."""
        found = self._results.cov_params(*args, **kwargs)
        whole = not args and not {"r_matrix", "column"} & set(kwargs)
        return self._results.model.data.wrap_output(found, "cov") if whole else found

    def save(self, fname: Any, remove_data: bool = False) -> None:
        """Write a pickle."""
        if remove_data:
            self._results.remove_data()
        with open(fname, "wb") as file:
            pickle.dump(self, file)

    @classmethod
    def load(cls, fname: Any) -> Any:
        """Read a pickle that `save` wrote; pickles run code: read none that is not your own."""
        with open(fname, "rb") as file:
            return pickle.load(file)
