"""Estimands read from what a user's own method returns."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from mlmfast.distributions import quantile, two_sided
from mlmfast.errors import DataError
from mlmfast.studies.replicates.data_set import DataSet
from mlmfast.studies.replicates.outcomes import NUMBERS, Outcomes

#: Names under which a mapping of one estimand may give its numbers.
_SPELLINGS = {
    "estimate": ("estimate", "params", "coef"),
    "std_error": ("std_error", "se", "bse"),
    "df": ("df", "df_resid"),
    "p_value": ("p_value", "pvalue", "p"),
    "lower": ("lower", "conf_low"),
    "upper": ("upper", "conf_high"),
}
_FLAGS = ("converged", "singular", "error")
#: Coverage of the limits that are made where a method gives none.
_LEVEL = 0.95


def of_function(
    function: Callable[..., Any],
    data: Sequence[DataSet],
    condition: Mapping[str, Any],
    estimands: Sequence[str],
) -> Outcomes:
    """Outcomes of a function of (data, condition) in data sets.

    What the function raises is the error of its replicate.
    """
    out = Outcomes.none(len(data), len(estimands))
    for position, one in enumerate(data):
        try:
            found = function(one.table(), dict(condition))
            numbers, converged, singular, error = _read(found, estimands)
        except Exception as problem:
            text = f"{type(problem).__name__}: {problem}"
            out.error[position] = " ".join(text.split())
            continue
        out.numbers[:, position] = numbers
        out.converged[position], out.singular[position] = converged, singular
        out.error[position] = error
    return out


def _read(found: Any, estimands: Sequence[str]) -> tuple[Any, bool, bool, list[str]]:
    found = _of_the_only(found, estimands)
    rows = _of_mapping(found) if isinstance(found, Mapping) else _of_result(found, estimands)
    numbers = np.full((len(NUMBERS), len(estimands)), np.nan)
    error = [""] * len(estimands)
    for k, name in enumerate(estimands):
        if name in rows:
            numbers[:, k] = _completed(_numbers(name, rows[name]))
            if np.isnan(numbers[0, k]):
                error[k] = "the estimate is missing"
        else:
            error[k] = f"the method returned no {name!r}; it has {', '.join(map(str, rows))}"
    flags = found if isinstance(found, Mapping) else _flags_of_result(found)
    text = str(flags.get("error") or "")
    there = np.isfinite(numbers[0])[[name in rows for name in estimands]]
    converged = bool(flags.get("converged", there.size > 0 and there.all()))
    return numbers, converged, bool(flags.get("singular", False)), [text or own for own in error]


def _of_the_only(found: Any, estimands: Sequence[str]) -> Any:
    """What is returned for one estimand may do without its name."""
    if len(estimands) != 1:
        return found
    [name] = estimands
    if isinstance(found, int | float | np.number | tuple | list | np.ndarray):
        return {name: found}
    if isinstance(found, Mapping) and name not in found and "estimate" in found:
        flags = {key: found[key] for key in _FLAGS if key in found}
        return {name: {k: v for k, v in found.items() if k not in _FLAGS}, **flags}
    return found


def _of_mapping(found: Mapping[Any, Any]) -> dict[str, Any]:
    return {str(name): value for name, value in found.items() if name not in _FLAGS}


def _of_result(found: Any, estimands: Sequence[str]) -> dict[str, Any]:
    """From params, bse, pvalues and conf_int() of a result such as statsmodels'."""
    if not hasattr(found, "params"):
        raise DataError(
            f"the method returned {type(found).__name__}; a dict from estimand to (estimate, "
            "standard error), or a result with params and bse, is needed"
        )
    params = found.params
    if not hasattr(params, "index"):
        names = getattr(getattr(found, "model", None), "exog_names", None)
        if names is None:
            raise DataError("the method's result has params without names; return a dict instead")
        positions = {str(name): k for k, name in enumerate(names)}
    else:
        positions = {str(name): k for k, name in enumerate(params.index)}
    parts = {"estimate": params, "std_error": getattr(found, "bse", None)}
    parts["p_value"] = getattr(found, "pvalues", None)
    arrays = {name: np.asarray(part, float) for name, part in parts.items() if part is not None}
    limits = _limits(found)
    degrees = _degrees(found, len(params))
    return {
        name: {
            **{part: values[k] for part, values in arrays.items() if k < len(values)},
            **({} if limits is None else {"lower": limits[k, 0], "upper": limits[k, 1]}),
            "df": degrees[k],
        }
        for name, k in positions.items()
        if name in estimands
    }


def _limits(found: Any) -> Any:
    return (
        np.asarray(found.conf_int(), float) if callable(getattr(found, "conf_int", None)) else None
    )


def _degrees(found: Any, n: int) -> Any:
    """Degrees of freedom of each coefficient; infinite where the tests are by z."""
    own = getattr(found, "df", None)
    if own is not None and np.shape(own) == (n,):
        return np.asarray(own, float)
    use_t = getattr(found, "use_t", None)
    resid = getattr(found, "df_resid", None)
    return np.full(n, float(resid) if use_t and resid is not None else np.inf)


def _flags_of_result(found: Any) -> dict[str, Any]:
    names = [name for name in ("converged", "singular") if hasattr(found, name)]
    return {name: getattr(found, name) for name in names}


def _numbers(name: str, given: Any) -> dict[str, float]:
    """Numbers of one estimand: one number, a sequence in the order of the columns, or a mapping."""
    if isinstance(given, Mapping):
        known = {spelling: part for part, many in _SPELLINGS.items() for spelling in many}
        unknown = [key for key in given if key not in known]
        if unknown:
            raise DataError(
                f"{name!r} has {unknown[0]!r}; an estimate is given by {', '.join(NUMBERS)}"
            )
        return {known[key]: float(value) for key, value in given.items() if value is not None}
    values = np.atleast_1d(np.asarray(given, dtype=np.float64))
    if values.ndim != 1 or not 1 <= len(values) <= len(NUMBERS):
        raise DataError(
            f"{name!r} has the shape {values.shape}; give estimate, standard error, df, p value, "
            "lower and upper limit, as many as there are"
        )
    return dict(zip(NUMBERS, values.tolist(), strict=False))


def _completed(given: dict[str, float]) -> list[float]:
    """With p value and limits by t, or by z without df, where there is a standard error."""
    out = {name: given.get(name, np.nan) for name in NUMBERS}
    estimate, se = out["estimate"], out["std_error"]
    if se < 0:
        raise DataError(f"the method returned a standard error of {se:g}")
    if se == se and "df" not in given:
        out["df"] = np.inf
    df = np.array([out["df"]])
    if se == se and df[0] == df[0]:
        if "p_value" not in given and se > 0:
            out["p_value"] = float(two_sided(np.array([estimate / se]), df)[0])
        half = float(quantile(df, _LEVEL)[0]) * se
        limits = {"lower": estimate - half, "upper": estimate + half}
        out |= {name: value for name, value in limits.items() if name not in given}
    return [out[name] for name in NUMBERS]
