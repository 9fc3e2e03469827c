"""Distribution of max T_j of correlated t statistics: one-sided comparisons with a control."""

from __future__ import annotations

import numpy as np

from mlmfast.arrays import FloatArray
from mlmfast.errors import ModelError
from mlmfast.inference.multiplicity.maximum_t import product_form, product_tail
from mlmfast.running.scipy_on_use import special


class OneSidedMaximumT:
    """max T_j where correlations are l_i l_j, as those of comparisons with one control.

    Dunnett (1955), Journal of the American Statistical Association 50, 1096.

    Parameters
    ----------
    correlation : shape (m, m)

    Raises
    ------
    ModelError
        For correlations of another form.

    Examples
    --------
    >>> two = OneSidedMaximumT(np.array([[1.0, 0.5], [0.5, 1.0]]))
    >>> round(two.upper_tail(2.2, 20.0), 6), round(two.critical_value(0.05, np.inf), 4)
    (0.035797, 1.9163)
    """

    def __init__(self, correlation: FloatArray) -> None:
        self._m = len(correlation)
        loadings = product_form(correlation)
        if loadings is None:
            raise ModelError(
                "one-sided tests by adjust='dunnett' or 'mvt' are for comparisons with a control "
                "(correlations of the form l_i l_j); use 'sidak', 'holm' or 'bonferroni'"
            )
        self._loadings = loadings

    def upper_tail(self, c: float, df: float) -> float:
        """P(max T > c)."""
        return min(product_tail(c, df, self._loadings, sides=1), 1.0)

    def critical_value(self, p: float, df: float) -> float:
        """c with P(max T > c) = p."""
        from scipy import optimize

        low, high = (_quantile(share, df) for share in (p, p / self._m))
        if self._m == 1 or high - low < 1e-12:
            return low
        excess = lambda c: self.upper_tail(c, df) - p  # noqa: E731
        return float(optimize.brentq(excess, low - 1e-6, high + 1e-6, xtol=1e-12))


def _quantile(p: float, df: float) -> float:
    return float(-special.ndtri(p) if np.isinf(df) else -special.stdtrit(df, p))
