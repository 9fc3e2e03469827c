"""What tests of a fit need, as JSON-able data and back."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import numpy as np

from mlmfast.degrees_of_freedom import TestBasis, method_of
from mlmfast.errors import ModelError
from mlmfast.fitted.level_errors import LevelErrors
from mlmfast.fitted.marginal_slopes import MarginalSlopes
from mlmfast.fitted.record import FitRecord
from mlmfast.inference.contrasts.aliasing import Aliasing
from mlmfast.inference.contrasts.estimability import aliasing_of_fit
from mlmfast.inference.intervals.parameter_table import (
    CombinedEstimate,
    ParameterTable,
    parameter_table,
)
from mlmfast.prediction.level_errors import level_errors
from mlmfast.prediction.spread import marginal_slopes
from mlmfast.saving.record import array, covariance, typed

if TYPE_CHECKING:
    from mlmfast.fitted.fitted import Fitted

_KINDS = {"variance", "covariance", "other"}
#: Methods that a saved fit has its tests by, besides its own and those used, if they are small.
_USUAL = ("satterthwaite", "kenward-roger", "containment", "between-within")
_FEW_ROWS, _FEW_NUMBERS = 20_000, 1_000


def inference_to_dict(fit: Fitted) -> dict[str, Any]:
    """The bases of the tests computed so far, the fit's own among them, and the parameters."""
    fit._basis()
    _compute_others(fit)
    # The iterative engine has no information of the covariance parameters.
    table = None if fit.monte_carlo_error is not None else parameter_table(fit)
    return {
        "bases": [
            {
                "method": basis.method,
                "vcov": basis.vcov,
                "gradient": basis.gradient,
                "covariance": basis.covariance,
                "by_coefficient": basis.by_coefficient,
                "note": basis.note,
                "moves": basis.moves,
            }
            for basis in fit._bases.values()
        ],
        "parameters": None if table is None else _members(table),
        "aliasing": _aliasing_members(aliasing_of_fit(fit)) if fit.aliased else None,
        "marginal_slopes": _slopes_of(fit),
        "level_errors": _level_errors_of(fit),
    }


def _compute_others(fit: Fitted) -> None:
    """Bases of the usual methods, where they cost and hold little."""
    rows, record = fit._rows, fit._record
    if rows is None or rows.model.is_vast or record.absorbed is not None:
        return
    basis = fit._basis()
    size = 0 if basis.gradient is None else basis.gradient.size
    if record.n_obs > _FEW_ROWS or max(size, record.rank**2) > _FEW_NUMBERS:
        return
    for name in _USUAL:
        with suppress(ModelError):
            fit._basis(name)


def _slopes_of(fit: Fitted) -> dict[str, Any] | None:
    """What intervals of new responses need, of a fit with its rows or one that was saved."""
    known = fit._marginal_slopes
    if fit._rows is not None and fit._record.absorbed is None:
        basis = fit._basis()
        small = basis.gradient is not None and basis.gradient.size <= _FEW_NUMBERS
        known = marginal_slopes(fit, basis.method) if small else None
    if known is None or known.noise_slopes.size > _FEW_NUMBERS:
        return None
    return {
        "method": known.method,
        "covariance": known.covariance,
        "phi": known.phi,
        "effects": list(known.effects),
        "noise": known.noise,
        "noise_slopes": known.noise_slopes,
    }


def _slopes_from(data: Mapping[str, Any], record: FitRecord) -> MarginalSlopes:
    method, p = typed(data["method"], str), record.rank
    method_of(method)
    r, k = len(typed(data["covariance"], list)), len(typed(data["noise"], list))
    sizes = [len(term.names) for term in record.terms]
    effects = typed(data["effects"], list)
    return MarginalSlopes(
        method,
        array(data["covariance"], (r, r)),
        array(data["phi"], (r, p, p)),
        tuple(array(own, (r, q, q)) for own, q in zip(effects, sizes, strict=True)),
        array(data["noise"], (k,)),
        array(data["noise_slopes"], (k, r)),
    )


def _level_errors_of(fit: Fitted) -> dict[str, Any] | None:
    """What intervals around random effects need, of a fit with its rows or one that was saved."""
    known = fit._level_errors if fit._rows is None else level_errors(fit)
    if known is None:
        return None
    return {
        "method": known.method,
        "covariance": known.covariance,
        "by_level": known.by_level,
        "of_beta": known.of_beta,
    }


def _level_errors_from(data: Mapping[str, Any], record: FitRecord) -> LevelErrors:
    method, p = typed(data["method"], str), record.rank
    method_of(method)
    r, q = len(typed(data["covariance"], list)), sum(len(term.names) for term in record.terms)
    if len(record.groups) != 1:
        raise ValueError("errors by level are those of one grouping factor")
    n_levels = record.groups[0].n_levels
    return LevelErrors(
        method,
        array(data["covariance"], (r, r)),
        array(data["by_level"], (n_levels, 2 + r, q, q + p)),
        array(data["of_beta"], (2 + r, p, p)),
    )


def _members(table: ParameterTable) -> dict[str, Any]:
    return {
        "names": table.names,
        "kinds": table.kinds,
        "values": table.values,
        "fixed": table.fixed,
        "observed": table.observed,
        "expected": table.expected,
        "unidentified": table.unidentified,
        "combined": [
            [item.name, item.kind, item.value, item.observed, item.expected]
            for item in table.combined
        ],
    }


def inference_from_dict(data: Mapping[str, Any], record: FitRecord) -> dict[str, Any]:
    """Attributes of a result from what `inference_to_dict` wrote.

    Raises
    ------
    KeyError, TypeError, ValueError
        Where a field is missing, of another type, or does not fit the others.
    """
    bases = [_basis(item, record) for item in typed(data["bases"], list)]
    out: dict[str, Any] = {
        "_bases": {basis.method: basis for basis in bases},
    }
    if data["parameters"] is not None:
        out["_parameter_table"] = _parameters(data["parameters"])
    if data.get("marginal_slopes") is not None:
        out["_marginal_slopes"] = _slopes_from(data["marginal_slopes"], record)
    if data.get("level_errors") is not None:
        out["_level_errors"] = _level_errors_from(data["level_errors"], record)
    if data["aliasing"] is not None:
        out["_aliasing"] = _aliasing(data["aliasing"], record)
    return out


def _aliasing_members(aliasing: Aliasing) -> dict[str, Any]:
    return {
        "coefficients": aliasing.coefficients,
        "lengths": aliasing.lengths,
        "means": aliasing.means,
        "constant": aliasing.constant,
    }


def _aliasing(data: Any, record: FitRecord) -> Aliasing:
    p = len(record.x_names)
    if isinstance(data, list):
        # As the first files hold it: the coefficients alone, of columns as they are.
        plain = array(data, (record.rank, p - record.rank))
        return Aliasing(record.kept, plain, np.ones(p), np.zeros(p), -1)
    constant = typed(data["constant"], int)
    lengths = array(data["lengths"], (p,))
    if (lengths == 0).any() or not np.isfinite(lengths).all() or not -1 <= constant < p:
        raise ValueError("the lengths of the columns do not fit them")
    coefficients = array(data["coefficients"], (record.rank, p - record.rank))
    return Aliasing(record.kept, coefficients, lengths, array(data["means"], (p,)), constant)


def _basis(data: Mapping[str, Any], record: FitRecord) -> TestBasis:
    p = record.rank
    method = typed(data["method"], str)
    method_of(method)
    gradient, degrees = data["gradient"], data["by_coefficient"]
    of_parameters, moves = data["covariance"], data.get("moves")
    r = 0 if of_parameters is None else len(typed(of_parameters, list))
    basis = TestBasis(
        method,
        covariance(data["vcov"], p),
        record.vcov,
        None if gradient is None else array(gradient, (r, p, p)),
        None if of_parameters is None else array(of_parameters, (r, r)),
        None if degrees is None else array(degrees, (p,)),
        typed(data["note"], str),
        None if moves is None else array(moves, (len(typed(moves, list)), p, p)),
    )
    try:
        with np.errstate(all="ignore"):
            method_of(method).of_rows(basis, np.eye(p))
    except AssertionError:
        raise ValueError(f"what tests by {method!r} need is not there") from None
    return basis


def _parameters(data: Mapping[str, Any]) -> ParameterTable:
    names = tuple(typed(name, str) for name in typed(data["names"], list))
    kinds = tuple(typed(kind, str) for kind in typed(data["kinds"], list))
    fixed = np.array([typed(flag, bool) for flag in typed(data["fixed"], list)], dtype=np.bool_)
    n = len(names)
    if len(kinds) != n or len(fixed) != n or not set(kinds) <= _KINDS:
        raise ValueError("the covariance parameters do not fit each other")
    unidentified = [typed(k, int) for k in typed(data["unidentified"], list)]
    return ParameterTable(
        names,
        kinds,
        array(data["values"], (n,)),
        fixed,
        array(data["observed"], (n, n)),
        array(data["expected"], (n, n)),
        (unidentified[0], unidentified[1]),
        tuple(map(_combined, typed(data.get("combined", []), list))),
    )


def _combined(item: Any) -> CombinedEstimate:
    name, kind, *numbers = typed(item, list)
    if kind not in _KINDS:
        raise ValueError(f"{kind!r} is no kind of a covariance parameter")
    return CombinedEstimate(typed(name, str), kind, *array(numbers, (3,)).tolist())
