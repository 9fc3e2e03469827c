"""Tests and intervals of the fixed effects with a cluster-robust covariance."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike

from mlmfast.arrays import FloatArray
from mlmfast.confidence_level import check_level
from mlmfast.display.framed import Framed
from mlmfast.distributions import f_tail, t_quantile, t_tail
from mlmfast.errors import ModelError
from mlmfast.handed_out import handed_out, hands_out_copies
from mlmfast.inference.contrasts.estimability import aliasing_of_fit, kept_rows
from mlmfast.inference.robust.covariance import RobustCovariance, robust_covariance
from mlmfast.running.cached import cached_property

if TYPE_CHECKING:
    from mlmfast.fitted.fitted import Fitted


@hands_out_copies
@dataclass(frozen=True)
class RobustInference(Framed):
    """Fixed effects with standard errors that do not trust the covariance model.

    Examples
    --------
    >>> import mlmfast as mlm
    >>> fit = mlm.lmm("Reaction ~ Days + (Days | Subject)", mlm.load_sleepstudy())
    >>> fit.robust("CR2")
    CR2 standard errors, 18 clusters
                Estimate Std. Error    df t value  Pr(>|t|)
    (Intercept)  251.405      6.825  17.0  36.838    <1e-16
    Days          10.467      1.546  17.0   6.771  3.26e-06
    """

    fit: Fitted
    covariance: RobustCovariance

    @handed_out
    def params(self) -> pd.Series[float]:
        """Fixed effects by name; NaN where aliased."""
        return self.fit.params

    @handed_out
    def bse(self) -> pd.Series[float]:
        """Robust standard errors."""
        return self._series(np.sqrt(np.diag(self.covariance.covariance)))

    @handed_out
    def df(self) -> pd.Series[float]:
        """Satterthwaite's degrees of freedom of each coefficient."""
        return self._series(self.covariance.df(np.eye(len(self._names))))

    @handed_out
    def tvalues(self) -> pd.Series[float]:
        """Estimates over standard errors."""
        return self.params / self.bse

    @handed_out
    def pvalues(self) -> pd.Series[float]:
        """Two-sided p-values by Student's t."""
        sizes = np.asarray(self.tvalues.abs(), dtype=np.float64)
        values = 2.0 * t_tail(sizes, np.asarray(self.df, dtype=np.float64))
        return pd.Series(values, index=self.params.index)

    def cov_params(self) -> pd.DataFrame:
        """The robust covariance matrix."""
        return self.fit._square(self.covariance.covariance)

    def conf_int(self, level: float = 0.95) -> pd.DataFrame:
        """Confidence intervals, columns ``lower`` and ``upper``.

        Raises
        ------
        ModelError
            For a level outside (0, 1).
        """
        check_level(level)
        half = t_quantile(0.5 + level / 2, np.asarray(self.df, float)) * self.bse
        return pd.DataFrame({"lower": self.params - half, "upper": self.params + half})

    def contrast(self, rows: ArrayLike, rhs: float | Sequence[float] = 0.0) -> pd.Series[float]:
        """Test L beta = rhs: t with Satterthwaite's df for one row, HTZ's F for several.

        Parameters
        ----------
        rows : shape (p,) or (q, p)
            Over all fixed effects, or over those that are not aliased.

        Raises
        ------
        ModelError
            Where the rows have another length, are dependent or not estimable, or hold what is not
            a number.
        """
        try:
            matrix = np.atleast_2d(np.asarray(rows, dtype=np.float64))
        except (TypeError, ValueError):
            raise ModelError(f"L is {rows!r}; rows of numbers are needed") from None
        if self.fit.aliased and matrix.shape[-1] == len(self.params):
            matrix = kept_rows(matrix, self.fit._record.x_names, aliasing_of_fit(self.fit))
        p = len(self._names)
        if matrix.ndim != 2 or matrix.shape[1] != p or not np.isfinite(matrix).all():
            raise ModelError(
                f"L has shape {np.shape(rows)}; rows of {p} finite numbers are needed, one for "
                f"each of {', '.join(self._names)}"
            )
        if np.linalg.matrix_rank(matrix) < len(matrix):
            raise ModelError("the rows of L depend on each other; leave out what is implied")
        estimate = matrix @ self.fit._record.beta - np.asarray(rhs)
        if len(matrix) == 1:
            variance = float((matrix @ self.covariance.covariance @ matrix.T)[0, 0])
            df, t = float(self.covariance.df(matrix)[0]), float(estimate[0] / np.sqrt(variance))
            return pd.Series(
                {"estimate": estimate[0] + np.ravel(rhs)[0], "se": np.sqrt(variance), "df": df}
                | {"t": t, "p": 2.0 * t_tail(abs(t), df)}
            )
        f, num_df, den_df = self.covariance.wald_test(matrix, estimate)
        p_value = f_tail(f, num_df, den_df) if den_df > 0 else np.nan
        return pd.Series({"F": f, "num_df": num_df, "den_df": den_df, "p": p_value})

    def to_frame(self) -> pd.DataFrame:
        """One row a coefficient: estimate, std_error, df, statistic, p_value, limits."""
        table = pd.DataFrame(
            {"estimate": self.params, "std_error": self.bse, "df": self.df}
            | {"statistic": self.tvalues, "p_value": self.pvalues}
        )
        limits = self.conf_int().set_axis(["conf_low", "conf_high"], axis=1)
        return pd.concat([table, limits], axis=1)

    def tidy(self) -> pd.DataFrame:
        """`to_frame` with the names of the coefficients as the column term."""
        return self.to_frame().rename_axis("term").reset_index()

    def __repr__(self) -> str:
        from mlmfast.display.numbers import p_value

        table = pd.DataFrame(
            {
                "Estimate": self.params.map("{:.3f}".format),
                "Std. Error": self.bse.map("{:.3f}".format),
                "df": self.df.map("{:.1f}".format),
                "t value": self.tvalues.map("{:.3f}".format),
                "Pr(>|t|)": self.pvalues.map(p_value),
            }
        )
        head = f"{self.covariance.kind} standard errors, {self.covariance.n_clusters} clusters"
        return f"{head}\n{table.to_string()}"

    @cached_property
    def _names(self) -> list[str]:
        record = self.fit._record
        return [record.x_names[j] for j in record.kept]

    def _series(self, values: FloatArray) -> pd.Series[float]:
        return self.fit._series(values)


def robust(
    fit: Fitted, kind: str = "CR2", cluster: object = None, square_root: str | None = None
) -> RobustInference:
    """Cluster-robust standard errors, with Satterthwaite's degrees of freedom.

    Parameters
    ----------
    kind
        "CR0" (sandwich), "CR1" (times m / (m - 1)), "CR2" (bias-reduced: Bell and McCaffrey
        2002), "CR3" (near the jackknife).
    cluster
        A grouping factor of the model, a column of its data (several joined by ``:``), or one
        label a row used; by default the outermost grouping factor or subject.
    square_root
        Of CR2: "cholesky" (Pustejovsky and Tipton 2018; default without a residual structure)
        or "whitened" (as the R package mmrm; default with one).

    Raises
    ------
    ModelError, DataError
        For unknown words, or clusters the model says are correlated.
    """
    return RobustInference(fit, robust_covariance(fit, kind, cluster, square_root))
