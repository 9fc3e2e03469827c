"""Covariance parameters with standard errors and Wald tests."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from mlmfast.arrays import BoolArray
from mlmfast.confidence_level import check_level
from mlmfast.display.numbers import column, p_value, printable, statistic
from mlmfast.display.printed_frame import PrintedFrame
from mlmfast.display.tables import Table
from mlmfast.display.text import table_text
from mlmfast.distributions import normal_tail, two_sided_normal
from mlmfast.fitted.certificates.singular_v import is_without_precision
from mlmfast.inference.intervals.parameter_table import cov_theta, parameter_table

if TYPE_CHECKING:
    from mlmfast.fitted.fitted import Fitted


class CovarianceTests(PrintedFrame):
    """Wald tests of the covariance parameters, as PROC MIXED's COVTEST prints them.

    Z = estimate / SE by the observed information; p is one-sided for variances, whose boundary is
    0, and two-sided for covariances, correlations and ranges, and for variances that may be
    negative (``bounded=False``). Z tests of variances are crude with few clusters; profile
    intervals and likelihood ratios say more. Ratios of residual standard
    deviations (``residual_scale=``) are tested against 1, z = log(ratio) / (SE / ratio), and have
    limits by their logarithms. A variance of 0 has no standard error. Where a covariance
    matrix is singular, its parameters move among matrices of its rank. Parameters that the data do
    not determine have no standard error; what is determined of them, as their sum, has a row of its
    own below.

    Attributes
    ----------
    frame, table : pd.DataFrame
        By parameter: estimate, se, z, p_value, lower, upper (Wald limits).
    notes : tuple of str
        What is on the boundary, and what the data do not tell.
    """

    def __init__(self, table: pd.DataFrame, notes: tuple[str, ...]) -> None:
        super().__init__(table)
        self.notes = notes

    @property
    def table(self) -> pd.DataFrame:
        """`frame`, by another name."""
        return self.frame

    def tidy(self) -> pd.DataFrame:
        """The table as a plain data frame, a row a parameter."""
        return self.reset_index()

    def __repr__(self) -> str:
        return table_text(covariance_tests_table(self))

    def _repr_html_(self) -> str:
        from mlmfast.display.html import tables_html

        return tables_html([covariance_tests_table(self)], ())


def _ratios(fit: Fitted, names: Sequence[str]) -> BoolArray:
    """Which parameters are ratios of residual standard deviations, 1 where these are equal."""
    scale = fit._record.residual_scale
    pairs = () if scale is None else zip(scale.names, scale.is_ratio, strict=True)
    own = {name for name, is_ratio in pairs if is_ratio}
    return np.array([name in own for name in names], dtype=np.bool_)


def covtest(fit: Fitted, information: str = "observed", level: float = 0.95) -> CovarianceTests:
    """Wald tests of the covariance parameters (PROC MIXED's COVTEST): see `CovarianceTests`.

    Examples
    --------
    >>> import mlmfast as mlm
    >>> fit = mlm.lmm("Reaction ~ Days + (1 | Subject)", mlm.load_sleepstudy())
    >>> fit.covtest().table["se"].round(3).to_dict()
    {'Var((Intercept)) | Subject': 505.768, 'Residual': 107.048}
    """
    check_level(level)
    covariance = cov_theta(fit, information)
    parameters = parameter_table(fit)
    names = [*parameters.names, *(c.name for c in parameters.combined)]
    kinds = [*parameters.kinds, *(c.kind for c in parameters.combined)]
    values = np.append(parameters.values, [c.value for c in parameters.combined])
    values[np.isin(names, _zero_names(fit))] = 0.0
    with np.errstate(invalid="ignore", divide="ignore"):
        variance = np.append(
            np.diag(covariance), [getattr(c, information) for c in parameters.combined]
        )
        se = np.where(variance > 0, np.sqrt(np.maximum(variance, 0.0)), np.nan)
        z = values / se
        relative = se / values
    ratio = _ratios(fit, names)
    z[ratio] = np.log(values[ratio]) / relative[ratio]
    one_sided = np.array([kind == "variance" for kind in kinds])
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
    table = pd.DataFrame(columns, index=pd.Index(names, name="parameter"))
    found = fit._record.undetermined
    untold = () if found is None else found.messages
    notes = [
        f"on the boundary, held there: {text}"
        for text in fit.certificate.boundary
        if text not in untold
    ]
    notes += untold
    if is_without_precision(fit.certificate.boundary):
        notes.append("no standard errors: derivatives by these covariances are rounding")
    if not all(term.bounded for term in fit._record.terms):
        notes.append("variances that may be negative have two-sided p")
    if ratio.any():
        notes.append("ratios of standard deviations: z and limits by their logarithms, against 1")
    left = parameters.unidentified[information == "expected"]
    if left:
        notes.append(
            f"the data do not tell {left} combination(s) of the parameters; what moves along them "
            "has no standard error"
        )
    return CovarianceTests(table, tuple(notes))


def _zero_names(fit: Fitted) -> list[str]:
    """Parameters of the residual covariance that are 0 but for rounding."""
    residual = fit._record.residual
    if residual is None:
        return []
    return [residual.parameter_names[p] for p in residual.zero_parameters]


def covariance_tests_table(result: CovarianceTests) -> Table:
    """Estimates, standard errors, Z and p of the covariance parameters."""
    frame = result.frame
    rows = zip(
        [printable(str(name)) for name in frame.index],
        column(frame["estimate"].tolist()),
        column(frame["se"].tolist()),
        [statistic(value) for value in frame["z"]],
        [p_value(value) for value in frame["p_value"]],
        strict=True,
    )
    header = ("", "Estimate", "Std. error", "z value", "p value")
    note = "\n".join(["p: one-sided for variances, two-sided for other parameters", *result.notes])
    return Table("Covariance parameters", header, tuple(rows), 1, note)
