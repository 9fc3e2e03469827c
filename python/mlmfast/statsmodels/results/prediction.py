"""Predictions: the fixed part for the rows of a fit or new ones, with random effects on request."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from scipy import special

from mlmfast.arrays import FloatArray
from mlmfast.data.frame import Frame
from mlmfast.errors import DataError
from mlmfast.statsmodels.model.input import check_order
from mlmfast.statsmodels.results.arrays import ResultArrays


def predict(
    self: ResultArrays,
    exog: Any = None,
    transform: bool = True,
    *,
    random_effects: bool = False,
    groups: Any = None,
) -> Any:
    """Predictions for new rows, or for those of the fit.

    Parameters
    ----------
    exog
        A data frame, for a model made from a formula; else, or without ``transform``, rows of X.
    random_effects
        Whether the random effects are added: 0 in groups that the fit does not know. statsmodels
        leaves them out, silently; so does this by default. Needs a model made from a formula.
    groups
        Labels of the new rows' groups; the column that the model was made with by default.

    Returns
    -------
    array, or a Series with the index of a pandas ``exog``
    """
    matrix, index = _rows_of(self, exog, transform)
    values = matrix @ self.fe_params
    if random_effects:
        values = values + _random_part(self, exog, groups)
    return values if index is None else pd.Series(values, index=index)


def _rows_of(
    results: ResultArrays, exog: Any, transform: bool
) -> tuple[FloatArray, pd.Index | None]:
    model = results.model
    index = getattr(exog, "index", None) if isinstance(exog, pd.Series | pd.DataFrame) else None
    if exog is None:
        if model.exog is None:
            raise DataError("the rows of the data were removed; give new rows")
        return model.exog, None
    source = model._source
    if source is None or not transform:
        matrix = np.asarray(exog, dtype=np.float64)
        if matrix.ndim == 1:
            matrix = matrix[:, None] if results.k_fe == 1 else matrix[None]
        if matrix.shape[1] != results.k_fe:
            raise ValueError(
                f"exog has {matrix.shape[1]} columns; the model has {results.k_fe} fixed effects"
            )
        return matrix, index
    if isinstance(exog, pd.Series):
        exog = pd.DataFrame(exog).T.infer_objects()
        index = exog.index
    frame = Frame.from_native(exog)
    kept = source.complete(frame)
    found = np.full((frame.n_rows, results.k_fe), np.nan)
    part = frame if kept is None else frame.take(kept)
    rows = np.arange(frame.n_rows) if kept is None else np.flatnonzero(kept)
    if len(rows):
        names, columns = source.fixed.build(part)
        found[rows] = np.column_stack([columns[names.index(name)] for name in source.names])
    return found, index


def _random_part(results: ResultArrays, exog: Any, groups: Any) -> FloatArray:
    if exog is None:
        return np.asarray(results.fittedvalues - results.model.exog @ results.fe_params)
    source = results.model._source
    if source is None or results.k_vc:
        raise NotImplementedError(
            "random effects of new rows need a model made by from_formula, without variance "
            "components; mlmfast.lmm's predict takes any"
        )
    if groups is None and source.groups is None:
        raise DataError(
            "the groups of the new rows are not known, since the model's were given as an array; "
            "give groups=, a label for each row"
        )
    frame = Frame.from_native(exog)
    if groups is None:
        factor = frame.factor(str(source.groups))
    else:
        factor = Frame.from_native({"groups": np.asarray(groups)}).factor("groups")
        if len(factor.codes) != frame.n_rows:
            raise DataError(f"groups has {len(factor.codes)} labels for {frame.n_rows} rows")
        check_order("groups", groups, exog.index if isinstance(exog, pd.DataFrame) else None)
    known = {str(label): k for k, label in enumerate(results.model.group_labels)}
    means = results.random_effects
    effects = np.array([means[label] for label in results.model.group_labels])
    levels = [known.get(str(value), -1) for value in factor.values.tolist()]
    table = np.vstack([effects, np.zeros(results.k_re)])
    own = table[np.array([*levels, -1])[factor.codes]]
    z = np.column_stack(source.random_columns(frame))
    return np.asarray((own * z).sum(axis=1))


@dataclass(frozen=True, eq=False)
class PredictionResults:
    """Means of the fixed part at some rows, with their standard errors.

    Attributes
    ----------
    predicted_mean, se_mean, var_pred_mean : shape (n,)
    """

    predicted_mean: FloatArray
    var_pred_mean: FloatArray
    row_labels: pd.Index | None = None

    @property
    def predicted(self) -> FloatArray:
        """`predicted_mean`."""
        return self.predicted_mean

    @property
    def se_mean(self) -> FloatArray:
        """Standard errors of the means."""
        return np.asarray(np.sqrt(self.var_pred_mean))

    se = se_mean

    def conf_int(self, obs: bool = False, alpha: float = 0.05) -> FloatArray:
        """Confidence limits of the means, shape (n, 2)."""
        if obs:
            raise NotImplementedError(
                "limits of new observations: results.lmm.predict(data, interval='prediction')"
            )
        reach = special.ndtri(1.0 - alpha / 2.0) * self.se_mean
        return np.column_stack([self.predicted_mean - reach, self.predicted_mean + reach])

    def summary_frame(self, alpha: float = 0.05) -> pd.DataFrame:
        """Means, standard errors and limits as a frame."""
        limits = self.conf_int(alpha=alpha)
        columns = {
            "mean": self.predicted_mean,
            "mean_se": self.se_mean,
            "mean_ci_lower": limits[:, 0],
            "mean_ci_upper": limits[:, 1],
        }
        return pd.DataFrame(columns, index=self.row_labels)


def get_prediction(
    self: ResultArrays, exog: Any = None, transform: bool = True
) -> PredictionResults:
    """Means of the fixed part with standard errors and limits.

    Parameters
    ----------
    exog, transform
        As `predict`.
    """
    matrix, index = _rows_of(self, exog, transform)
    fixed = self._cov[: self.k_fe, : self.k_fe]
    variances = np.einsum("ni,ij,nj->n", matrix, fixed, matrix, optimize=True)
    return PredictionResults(matrix @ self.fe_params, variances, index)
