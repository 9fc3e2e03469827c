"""Covariance parameters with what is known of their precision."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from mlmfast.arrays import BoolArray, FloatArray
from mlmfast.criterion.parameters.functions import CovarianceFunctions
from mlmfast.degrees_of_freedom import FittedRows, no_rows
from mlmfast.errors import ModelError
from mlmfast.fitted.certificates.singular_v import is_without_precision
from mlmfast.fitting.undetermined.record import UndeterminedRecord
from mlmfast.information.held import HeldInformation
from mlmfast.information.information import Information
from mlmfast.information.open_parameters import names_of
from mlmfast.words import is_one_of

if TYPE_CHECKING:
    from mlmfast.fitted.fitted import Fitted


#: Move of a parameter along what the data do not tell, over its standard error, that is rounding.
_STILL = 1e-5


@dataclass(frozen=True)
class CombinedEstimate:
    """A combination of parameters that the data determine where they do not tell these apart.

    A sum of variances is one. Its value, and its variances by the observed and the expected
    information.
    """

    name: str
    kind: str
    value: float
    observed: float
    expected: float


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
    combined
        What is determined of parameters that cannot be told apart.
    """

    names: tuple[str, ...]
    kinds: tuple[str, ...]
    values: FloatArray
    fixed: BoolArray
    observed: FloatArray
    expected: FloatArray
    unidentified: tuple[int, int]
    combined: tuple[CombinedEstimate, ...] = ()


def parameter_table(fit: Fitted) -> ParameterTable:
    """The covariance parameters of a fit.

    Raises
    ------
    ModelError
        Where a loaded fit was saved without them.
    """
    return fit._once("_parameter_table", lambda: _table_of(fit))


def observed_covariance(fit: Fitted) -> FloatArray:
    """`ParameterTable.observed` by itself, the expected information not formed."""
    rows = fit._rows
    if rows is None:
        return parameter_table(fit).observed
    matrix = _covariance(rows.information, "observed")[0]
    found = rows.undetermined
    names = np.array(rows.information.parameters.names, dtype=object)
    unknown = np.array(rows.information.parameters.fixed, dtype=np.bool_)
    known = _held(rows.information)
    matrix[known] = matrix[:, known] = 0.0
    unknown |= np.isin(names, () if found is None else found.names)
    if found is None and rows.information.n_unidentified("observed"):
        unknown |= _moved(rows.information, "observed", matrix)
    unknown |= is_without_precision(fit.certificate.boundary)
    matrix[unknown] = matrix[:, unknown] = np.nan
    return matrix


def _table_of(fit: Fitted) -> ParameterTable:
    """The covariance parameters of a fit with its rows."""
    rows = fit._rows
    if rows is None:
        raise no_rows("the precision of the covariance parameters")
    table = table_of(rows)
    if not is_without_precision(fit.certificate.boundary):
        return table
    # Derivatives by a singular V, or on a way without end, are rounding.
    nothing = np.full_like(table.observed, np.nan)
    combined = tuple(replace(c, observed=np.nan, expected=np.nan) for c in table.combined)
    return replace(
        table,
        observed=nothing,
        expected=nothing.copy(),
        unidentified=(0, 0),
        combined=combined,
    )


def table_of(rows: FittedRows) -> ParameterTable:
    """`parameter_table` by the information, whether it can be trusted or not."""
    about = rows.information
    parameters = about.parameters
    found = rows.undetermined
    fixed, known = np.array(parameters.fixed, dtype=np.bool_), _held(about)
    observed, n_observed = _covariance(about, "observed")
    try:
        expected, n_expected = _covariance(about.with_covariances(), "expected")
    except ModelError:
        # Series too long for covariance matrices have the observed information alone.
        expected, n_expected = np.full_like(observed, np.nan), 0
    names = np.array(parameters.names, dtype=object)
    zero, unseen = (np.isin(names, some) for some in _without_values(found))
    values = np.where(zero, 0.0, parameters.values)
    combined = _combined(found, parameters.names, parameters.kinds, values, observed, expected)
    untold = np.isin(names, () if found is None else found.names)
    for kind, matrix, left in (
        ("observed", observed, n_observed),
        ("expected", expected, n_expected),
    ):
        matrix[known] = matrix[:, known] = 0.0
        moved = _moved(about, kind, matrix) if left and found is None else untold
        unknown = fixed | untold | moved
        matrix[unknown] = matrix[:, unknown] = np.nan
    return ParameterTable(
        parameters.names,
        parameters.kinds,
        np.where(unseen, np.nan, values),
        fixed & ~untold,
        observed,
        expected,
        (n_observed, n_expected),
        combined,
    )


def _held(about: Information) -> BoolArray:
    """Which parameters the fit holds: what is known has no error, and rounding is none."""
    if not isinstance(about, HeldInformation):
        return np.zeros(len(about.parameters.names), dtype=np.bool_)
    every = CovarianceFunctions(about.model, about.criterion).parameters
    own = {name for p in every if p.name in about.held.names for name in names_of(p)}
    return np.array([name in own for name in about.parameters.names], dtype=np.bool_)


def _moved(about: Information, kind: str, covariance: FloatArray) -> BoolArray:
    """Which parameters move along what is left out of their covariance: it is no bound to them."""
    moves = about.parameters.by_free @ (
        about if kind == "observed" else about.with_covariances()
    ).untold_moves(kind)
    # Moves are those of a unit of information, whose variance would be at least 1e9 times as much.
    size = np.sqrt(np.maximum(np.diag(covariance), 0.0))
    return np.asarray(np.abs(moves).max(axis=1, initial=0.0) > _STILL * size) & (size > 0.0)


def _without_values(found: UndeterminedRecord | None) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Parameters that are held at 0, be it up to rounding, and those without a value."""
    return ((), ()) if found is None else (found.absorbed, found.unseen)


def _covariance(about: Information, kind: str) -> tuple[FloatArray, int]:
    by = about.parameters.by_free
    matrix = by @ about.covariance(kind) @ by.T
    return (matrix + matrix.T) / 2, about.n_unidentified(kind)


def _combined(
    found: UndeterminedRecord | None,
    names: tuple[str, ...],
    kinds: tuple[str, ...],
    values: FloatArray,
    observed: FloatArray,
    expected: FloatArray,
) -> tuple[CombinedEstimate, ...]:
    """What is determined of parameters that cannot be told apart, with its variances."""
    out = []
    for combination in () if found is None else found.combined:
        weights = np.zeros(len(names))
        weights[[names.index(name) for name in combination.parameters]] = combination.weights
        variances = (float(weights @ matrix @ weights) for matrix in (observed, expected))
        is_sum = all(kinds[k] == "variance" for k in np.flatnonzero(weights)) and (
            weights.min() >= 0.0
        )
        kind = "variance" if is_sum else "other"
        out.append(CombinedEstimate(combination.name, kind, float(weights @ values), *variances))
    return tuple(out)


def covariance_parameters(fit: Fitted) -> pd.Series[float]:
    """Covariance parameters on their natural scale: elements of G, then the residual's.

    Named as ``Var(Days) | Subject`` and ``Cov((Intercept), Days) | Subject``; parameters of
    structures, and of the residual, as PROC MIXED names them.

    Examples
    --------
    >>> import mlmfast as mlm
    >>> fit = mlm.lmm("Reaction ~ Days + (1 | Subject)", mlm.load_sleepstudy())
    >>> fit.covariance_parameters.round(2).to_dict()
    {'Var((Intercept)) | Subject': 1378.18, 'Residual': 960.46}
    """
    table = parameter_table(fit)
    return pd.Series(table.values, index=list(table.names))


def cov_theta(fit: Fitted, information: str = "observed") -> pd.DataFrame:
    """Asymptotic covariance of `covariance_parameters`, the inverse of their information.

    NaN for parameters on the boundary.

    Parameters
    ----------
    information
        "observed" (PROC MIXED's ASYCOV) or "expected".

    Raises
    ------
    ModelError
        For another word, or a loaded fit.

    Examples
    --------
    >>> import mlmfast as mlm
    >>> fit = mlm.lmm("Reaction ~ Days + (1 | Subject)", mlm.load_sleepstudy())
    >>> fit.cov_theta().loc["Residual"].round(1).to_dict()
    {'Var((Intercept)) | Subject': -1145.9, 'Residual': 11459.3}
    """
    if not is_one_of(information, ("observed", "expected")):
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
