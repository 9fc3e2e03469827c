"""Estimates with covariances of each data set, from fits, tables or arrays."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from mlmfast.arrays import FloatArray
from mlmfast.errors import DataError, ModelError
from mlmfast.fitted.fitted import Fitted
from mlmfast.inference.contrasts.contrast import Contrast
from mlmfast.inference.emmeans.estimates.table import TableOfEstimates


@dataclass(frozen=True)
class Analyses:
    """What m analyses say.

    Attributes
    ----------
    labels
        Columns that name the k estimates.
    estimates : shape (m, k)
    covariances : shape (m, k, k), or (m, 0, 0) where none are given
    df : shape (m, k), degrees of freedom of each analysis.
    """

    labels: pd.DataFrame
    estimates: FloatArray
    covariances: FloatArray
    df: FloatArray


def analyses_of(given: Any, se: Any, df: Any) -> Analyses:
    """Read what `pool` is given.

    Raises
    ------
    DataError, ModelError
        For fewer than two analyses, analyses that differ in their terms, or what is none.
    """
    if isinstance(given, Fitted | TableOfEstimates | Contrast):
        raise ModelError(
            "pool takes the analyses of several imputed data sets, and was given one; make a list"
        )
    if isinstance(given, np.ndarray | pd.Series | pd.DataFrame):
        return _of_arrays(given, se, df)
    if not isinstance(given, Iterable) or isinstance(given, str | Mapping):
        raise DataError(f"pool takes a list of analyses, not {type(given).__name__}")
    parts = list(given)
    if len(parts) < 2:
        raise DataError(
            f"pool takes two analyses or more, and was given {len(parts)}: the variance between "
            "data sets needs several"
        )
    kinds = {_kind(part) for part in parts}
    if kinds == {"number"}:
        return _of_arrays(parts, se, df)
    if len(kinds) > 1:
        raise DataError(f"pool was given analyses of several kinds ({', '.join(sorted(kinds))})")
    if se is not None:
        raise ModelError("se is for plain estimates; fits and tables have their own")
    kind = kinds.pop()
    if kind not in _READERS:
        raise DataError(
            f"pool cannot read {type(parts[0]).__name__}; give fits, tables of emmeans, emtrends "
            "or contrast, dicts of numbers, or estimates with se="
        )
    found = [_READERS[kind](part) for part in parts]
    return _together(found, df)


def _kind(part: Any) -> str:
    if isinstance(part, Fitted):
        return "fit"
    if isinstance(part, TableOfEstimates):
        return "table"
    if isinstance(part, Contrast):
        return "contrast"
    if isinstance(part, Mapping):
        return "mapping"
    is_number = isinstance(part, int | float | np.number | np.ndarray | Sequence | pd.Series)
    return "number" if is_number and not isinstance(part, str) else type(part).__name__


_One = tuple[pd.DataFrame, FloatArray, FloatArray, FloatArray]


def _of_fit(fit: Fitted) -> _One:
    basis, record = fit._basis(), fit._record
    names = pd.DataFrame({"term": [record.x_names[j] for j in record.kept]})
    return names, record.beta, basis.vcov, fit._degrees


def _of_table(table: TableOfEstimates) -> _One:
    functions = table._functions
    if not functions.is_estimable.all():
        raise ModelError("some estimates of a table are not estimable; leave them out of it first")
    rows = np.arange(len(functions.labels))
    found = functions.tests(rows)
    labels = functions.labels.astype(str).reset_index(drop=True)
    return labels, found.estimate, functions.covariance(rows), found.df


def _of_contrast(contrast: Contrast) -> _One:
    if len(contrast) > 1:
        raise ModelError(
            "a contrast of several rows does not hold their covariance; pool the fits, and test "
            "L of the result by .test(L)"
        )
    labels = pd.DataFrame({"contrast": [str(name) for name in contrast.index]})
    se = contrast["se"].to_numpy(dtype=np.float64)
    return labels, contrast["estimate"].to_numpy(), np.diag(se**2), contrast["df"].to_numpy()


def _of_mapping(part: Mapping[Any, Any]) -> _One:
    """Numbers by name; pairs are estimate and standard error, triples these and df."""
    labels = pd.DataFrame({"term": [str(name) for name in part]})
    try:
        rows = [np.atleast_1d(np.asarray(value, dtype=np.float64)) for value in part.values()]
    except (TypeError, ValueError):
        raise DataError(f"a dict of analyses holds what is no number: {dict(part)!r}") from None
    sizes = {row.size for row in rows}
    if len(sizes) != 1 or not sizes <= {1, 2, 3}:
        raise DataError(
            "a dict holds for each name an estimate, (estimate, se) or (estimate, se, df), alike "
            "for all"
        )
    table = np.stack(rows)
    size = sizes.pop()
    if size > 1 and (table[:, 1] < 0).any():
        raise DataError("a dict of analyses holds a negative standard error")
    covariance = np.diag(table[:, 1] ** 2) if size > 1 else np.zeros((0, 0))
    df = table[:, 2] if size == 3 else np.full(len(table), np.inf)
    return labels, table[:, 0], covariance, df


_READERS: dict[str, Callable[[Any], _One]] = {
    "fit": _of_fit,
    "table": _of_table,
    "contrast": _of_contrast,
    "mapping": _of_mapping,
}


def _together(found: list[_One], df: Any) -> Analyses:
    labels = found[0][0]
    for k, (other, *_) in enumerate(found):
        if not other.equals(labels):
            mine, own = (set(f.agg(" ".join, axis=1)) for f in (labels, other))
            differ = sorted(mine ^ own) or ["their order"]
            raise DataError(
                f"analysis {k + 1} has other terms than the first ({', '.join(differ[:5])}); "
                "fit the same model to every data set, with the same levels"
            )
    m, k = len(found), len(labels)
    degrees = np.stack([part[3] for part in found])
    if df is not None:
        degrees = _given_df(df, m, k)
    return _checked(
        Analyses(labels, np.stack([p[1] for p in found]), np.stack([p[2] for p in found]), degrees)
    )


def _of_arrays(given: Any, se: Any, df: Any) -> Analyses:
    values = _numbers(given, "estimates")
    m, k = values.shape
    if m < 2:
        raise DataError(
            f"pool takes two analyses or more, and was given {m}: the variance between data sets "
            "needs several"
        )
    names = [f"estimate {j + 1}" for j in range(k)] if k > 1 else ["estimate"]
    if isinstance(given, pd.DataFrame):
        names = list(map(str, given.columns))
    covariances = np.zeros((m, 0, 0))
    if se is not None:
        errors = _numbers(se, "se")
        if errors.shape != values.shape:
            raise DataError(
                f"se has shape {errors.shape}, and the estimates {values.shape}; give a standard "
                "error for each"
            )
        if (errors < 0).any():
            raise DataError("se holds a negative standard error")
        covariances = errors[:, :, None] ** 2 * np.eye(k)
    degrees = np.full((m, k), np.inf) if df is None else _given_df(df, m, k)
    return _checked(Analyses(pd.DataFrame({"term": names}), values, covariances, degrees))


def _numbers(given: Any, what: str) -> FloatArray:
    try:
        values = np.asarray(given, dtype=np.float64)
    except (TypeError, ValueError):
        raise DataError(f"{what}: give numbers, a row for each data set") from None
    if values.ndim == 1:
        values = values[:, None]
    if values.ndim != 2 or not values.size:
        raise DataError(f"{what} must be of shape (m,) or (m, k), and are {values.shape}")
    return values


def _given_df(df: Any, m: int, k: int) -> FloatArray:
    try:
        values = np.asarray(df, dtype=np.float64)
        values = values[:, None] if values.shape == (m,) and k != m else values
        out = np.array(np.broadcast_to(values, (m, k)))
    except (TypeError, ValueError):
        raise DataError(f"df is {df!r}; give a positive number, or one for each estimate") from None
    if not (out > 0).all():
        raise DataError("df: degrees of freedom of complete data must be positive")
    return out


def _checked(found: Analyses) -> Analyses:
    """Refuse what is not finite."""
    for what, values in (("an estimate", found.estimates), ("a variance", found.covariances)):
        bad = ~np.isfinite(values).reshape(len(values), -1).all(axis=1)
        if bad.any():
            raise DataError(
                f"analysis {int(np.flatnonzero(bad)[0]) + 1} has {what} that is not a finite "
                "number; look at that fit"
            )
    if np.isnan(found.df).any() or not (found.df > 0).all():
        raise DataError("an analysis has no degrees of freedom; give df= of complete data")
    return found
