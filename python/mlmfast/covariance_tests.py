"""Covariance parameters with standard errors and Wald tests."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from mlmfast.arrays import BoolArray, FloatArray
from mlmfast.confidence_level import check_level
from mlmfast.degrees_of_freedom import FittedRows, no_rows
from mlmfast.distributions import normal_tail, two_sided_normal
from mlmfast.errors import ModelError
from mlmfast.handed_out import copied
from mlmfast.information import Information

if TYPE_CHECKING:
    from mlmfast.result import LMMResult


@dataclass(frozen=True)
class ParameterTable:
    """The covariance parameters with what is known of their precision; arrays by parameter.

    Attributes
    ----------
    names, kinds
        Names; "variance", "covariance" or "other".
    values, fixed : shape (n,), estimates; which are on the boundary.
    observed, expected : shape (n, n), asymptotic covariances by either information.
    unidentified
        Directions the data do not tell, left out of each.
    """

    names: tuple[str, ...]
    kinds: tuple[str, ...]
    values: FloatArray
    fixed: BoolArray
    observed: FloatArray
    expected: FloatArray
    unidentified: tuple[int, int]


def parameter_table(fit: LMMResult) -> ParameterTable:
    """The covariance parameters of a fit.

    Raises
    ------
    ModelError
        Where a loaded fit was saved without them.
    """
    return fit._parameter_table


def table_of(rows: FittedRows | None) -> ParameterTable:
    """The covariance parameters of a fit with its rows."""
    if rows is None:
        raise no_rows("the precision of the covariance parameters")
    about = rows.information
    parameters = about.parameters
    fixed = np.array(parameters.fixed, dtype=np.bool_)
    observed, n_observed = _covariance(about, "observed", fixed)
    try:
        expected, n_expected = _covariance(about.with_covariances(), "expected", fixed)
    except ModelError:
        # Series too long for covariance matrices have the observed information alone.
        expected, n_expected = np.full_like(observed, np.nan), 0
    return ParameterTable(
        parameters.names,
        parameters.kinds,
        parameters.values,
        fixed,
        observed,
        expected,
        (n_observed, n_expected),
    )


def _covariance(about: Information, kind: str, fixed: BoolArray) -> tuple[FloatArray, int]:
    by = about.parameters.by_free
    matrix = by @ about.covariance(kind) @ by.T
    matrix[fixed] = matrix[:, fixed] = np.nan
    return (matrix + matrix.T) / 2, about.n_unidentified(kind)


def parameter_series(fit: LMMResult) -> pd.Series[float]:
    """See `LMMResult.covariance_parameters`."""
    table = parameter_table(fit)
    return pd.Series(table.values, index=list(table.names))


def parameter_covariance(fit: LMMResult, information: str) -> pd.DataFrame:
    """See `LMMResult.cov_theta`; NaN for parameters on the boundary."""
    if information not in {"observed", "expected"}:
        raise ModelError(f"information is {information!r}; use 'observed' or 'expected'")
    table = parameter_table(fit)
    matrix = table.observed if information == "observed" else table.expected
    if (
        information == "expected"
        and not np.isfinite(matrix).any()
        and np.isfinite(table.observed).any()
    ):
        raise ModelError(
            "the expected information needs covariance matrices of the residuals, and these series "
            "are too long for them; use information='observed'"
        )
    names = list(table.names)
    return pd.DataFrame(matrix.copy(), index=names, columns=names)


class CovarianceTests:
    """Wald tests of the covariance parameters, as PROC MIXED's COVTEST prints them.

    Z = estimate / SE by the observed information; p is one-sided for variances, whose boundary is
    0, and two-sided for covariances, correlations and ranges. Z tests of variances are crude with
    few clusters; profile intervals and likelihood ratios say more. Ratios of residual standard
    deviations (``residual_scale=``) are tested against 1, z = log(ratio) / (SE / ratio), and have
    limits by their logarithms. A variance of 0 has no standard error. Where a covariance
    matrix is singular, its parameters move among matrices of its rank.

    Attributes
    ----------
    table : pd.DataFrame
        By parameter: estimate, se, z, p_value, lower, upper (Wald limits).
    notes : tuple of str
        What is on the boundary, and what the data do not tell.
    """

    table: pd.DataFrame = copied()

    def __init__(self, table: pd.DataFrame, notes: tuple[str, ...]) -> None:
        self.table, self.notes = table, notes

    def tidy(self) -> pd.DataFrame:
        """The table as a plain data frame, a row a parameter."""
        return self.table.reset_index()

    def __str__(self) -> str:
        from mlmfast.report.contrasts import covariance_tests_text

        return covariance_tests_text(self)

    def __repr__(self) -> str:
        return str(self)

    def _repr_html_(self) -> str:
        from mlmfast.report.contrasts import covariance_tests_html

        return covariance_tests_html(self)


def _ratios(fit: LMMResult, names: Sequence[str]) -> BoolArray:
    """Which parameters are ratios of residual standard deviations, 1 where these are equal."""
    scale = fit._record.residual_scale
    pairs = () if scale is None else zip(scale.names, scale.is_ratio, strict=True)
    own = {name for name, is_ratio in pairs if is_ratio}
    return np.array([name in own for name in names], dtype=np.bool_)


def covariance_tests(fit: LMMResult, information: str, level: float) -> CovarianceTests:
    """See `LMMResult.covtest`."""
    check_level(level)
    covariance = parameter_covariance(fit, information)
    parameters = parameter_table(fit)
    values = parameters.values
    with np.errstate(invalid="ignore", divide="ignore"):
        variance = np.diag(covariance)
        se = np.where(variance > 0, np.sqrt(np.maximum(variance, 0.0)), np.nan)
        z = values / se
        relative = se / values
    ratio = _ratios(fit, parameters.names)
    z[ratio] = np.log(values[ratio]) / relative[ratio]
    one_sided = np.array([kind == "variance" for kind in parameters.kinds])
    tail = normal_tail(np.where(one_sided, z, np.abs(z)))
    quantile = two_sided_normal(level)
    lower, upper = values - quantile * se, values + quantile * se
    lower[ratio] = values[ratio] * np.exp(-quantile * relative[ratio])
    upper[ratio] = values[ratio] * np.exp(quantile * relative[ratio])
    columns: dict[str, Any] = {
        "estimate": values,
        "se": se,
        "z": z,
        "p_value": np.where(one_sided, tail, 2.0 * tail),
        "lower": lower,
        "upper": upper,
    }
    table = pd.DataFrame(columns, index=pd.Index(parameters.names, name="parameter"))
    notes = [f"on the boundary, held there: {text}" for text in fit.certificate.boundary]
    if ratio.any():
        notes.append("ratios of standard deviations: z and limits by their logarithms, against 1")
    left = parameters.unidentified[information == "expected"]
    if left:
        notes.append(f"the data do not tell {left} combination(s) of the parameters")
    return CovarianceTests(table, tuple(notes))
