"""Families of contrasts: coefficients over k means, with the names that R's emmeans gives."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from difflib import get_close_matches
from typing import Any

import numpy as np
import pandas as pd

from mlmfast.arrays import FloatArray
from mlmfast.errors import DataError, ModelError

Coefficients = dict[str, FloatArray]

#: Name of each family, and the adjustment that goes with it unless another is asked for.
DEFAULT_ADJUST = {
    "pairwise": "tukey",
    "revpairwise": "tukey",
    "trt.vs.ctrl": "dunnett",
    "trt.vs.ctrlk": "dunnett",
    "poly": "none",
    "consec": "mvt",
    "mean_chg": "mvt",
    "eff": "fdr",
    "del.eff": "fdr",
    "identity": "none",
}

_SPELLINGS = {
    "pairs": "pairwise",
    "tukey": "pairwise",
    "dunnett": "trt.vs.ctrl",
    "trt.vs.ctrl1": "trt.vs.ctrl",
    "trt_vs_ctrl": "trt.vs.ctrl",
    "trt_vs_ctrlk": "trt.vs.ctrlk",
    "del_eff": "del.eff",
}

_DEGREES = ("linear", "quadratic", "cubic", "quartic")


def family_name(method: str) -> str:
    """Name of a family as it is kept; other spellings are understood.

    Raises
    ------
    ModelError
        For a word that is none.
    """
    name = _SPELLINGS.get(method, method)
    if name in DEFAULT_ADJUST:
        return name
    near = get_close_matches(method, [*DEFAULT_ADJUST, *_SPELLINGS], n=1)
    hint = f"; did you mean {near[0]!r}?" if near else ""
    raise ModelError(
        f"{method!r} is not a family of contrasts{hint} ({', '.join(DEFAULT_ADJUST)}, or a dict of "
        "name: coefficients)"
    )


def family(method: str, labels: Sequence[str], ref: Any = None) -> Coefficients:
    """Coefficients of a family over means with these labels.

    Parameters
    ----------
    method
        Name of the family.
    labels
        Labels of the means.
    ref
        For trt.vs.ctrl, the label of the control; the first by default.

    Examples
    --------
    >>> {name: c.tolist() for name, c in family("consec", ("a", "b", "c")).items()}
    {'b - a': [-1.0, 1.0, 0.0], 'c - b': [0.0, -1.0, 1.0]}
    """
    name = family_name(method)
    if ref is not None and name != "trt.vs.ctrl":
        raise ModelError(f"ref is for 'trt.vs.ctrl', not for {method!r}")
    if name == "trt.vs.ctrl":
        return _against(labels, _position(ref, labels) if ref is not None else 0)
    if len(labels) < 2 and name != "identity":
        return {}
    return _FAMILIES[name](labels)


def custom(given: Any, labels: Sequence[str]) -> Coefficients:
    """Coefficients as the user wrote them: a dict by name, a data frame, or a matrix.

    A matrix has a row a contrast. A dict holds, for each contrast, one number a mean or a dict by
    label of the mean, those left out being 0.

    Raises
    ------
    DataError
        Where the length is wrong, a label unknown, or a number not finite.

    Examples
    --------
    >>> custom({"c - mean": {"a": -0.5, "b": -0.5, "c": 1}}, ("a", "b", "c"))
    {'c - mean': array([-0.5, -0.5,  1. ])}
    """
    if isinstance(given, pd.DataFrame):
        given = {str(name): row.to_numpy() for name, row in given.iterrows()}
    if not isinstance(given, Mapping):
        matrix = np.atleast_2d(np.asarray(given, dtype=object))
        given = {f"c.{k + 1}": row for k, row in enumerate(matrix)}
    if not given:
        raise DataError("no contrast is given; write {'name': coefficients}")
    return {str(name): _vector(str(name), row, labels) for name, row in given.items()}


def _vector(name: str, row: Any, labels: Sequence[str]) -> FloatArray:
    if isinstance(row, Mapping):
        by_label = {str(label): value for label, value in row.items()}
        for label in by_label:
            _position(label, labels)
        row = [by_label.get(label, 0.0) for label in labels]
    try:
        values = np.asarray(row, dtype=np.float64)
    except (TypeError, ValueError):
        raise DataError(f"contrast {name!r}: the coefficients must be numbers") from None
    if values.shape != (len(labels),):
        raise DataError(
            f"contrast {name!r} has {values.size} coefficients; there are {len(labels)} means "
            f"({', '.join(labels[:10])}{' ...' if len(labels) > 10 else ''})"
        )
    if not np.isfinite(values).all() or not values.any():
        raise DataError(f"contrast {name!r}: the coefficients must be finite and not all 0")
    return values


def _position(label: Any, labels: Sequence[str]) -> int:
    text = str(label)
    if text in labels:
        return list(labels).index(text)
    near = get_close_matches(text, labels, n=1)
    hint = f"; did you mean {near[0]!r}?" if near else ""
    raise DataError(f"{text!r} is not among the means{hint} ({', '.join(labels[:20])})")


def _unit(size: int, position: int) -> FloatArray:
    unit = np.zeros(size)
    unit[position] = 1.0
    return unit


def _difference(labels: Sequence[str], i: int, j: int) -> tuple[str, FloatArray]:
    k = len(labels)
    return f"{labels[i]} - {labels[j]}", _unit(k, i) - _unit(k, j)


def _pairwise(labels: Sequence[str]) -> Coefficients:
    k = len(labels)
    return dict(_difference(labels, i, j) for i in range(k) for j in range(i + 1, k))


def _reverse_pairwise(labels: Sequence[str]) -> Coefficients:
    return dict(_difference(labels, i, j) for i in range(1, len(labels)) for j in range(i))


def _against(labels: Sequence[str], control: int) -> Coefficients:
    others = (i for i in range(len(labels)) if i != control)
    return dict(_difference(labels, i, control) for i in others)


def _against_last(labels: Sequence[str]) -> Coefficients:
    return _against(labels, len(labels) - 1)


def _consecutive(labels: Sequence[str]) -> Coefficients:
    return dict(_difference(labels, i, i - 1) for i in range(1, len(labels)))


def _effects(labels: Sequence[str]) -> Coefficients:
    k = len(labels)
    return {f"{label} effect": _unit(k, i) - 1 / k for i, label in enumerate(labels)}


def _effects_against_others(labels: Sequence[str]) -> Coefficients:
    k = len(labels)
    return {f"{label} effect": (_unit(k, i) * k - 1) / (k - 1) for i, label in enumerate(labels)}


def _mean_changes(labels: Sequence[str]) -> Coefficients:
    k = len(labels)
    return {
        f"{labels[i - 1]}|{labels[i]}": np.where(np.arange(k) < i, -1 / i, 1 / (k - i))
        for i in range(1, k)
    }


def _identity(labels: Sequence[str]) -> Coefficients:
    return {label: _unit(len(labels), i) for i, label in enumerate(labels)}


def _polynomial(labels: Sequence[str]) -> Coefficients:
    """Orthogonal polynomials of equally spaced levels, in whole numbers where these are small."""
    k = len(labels)
    score = np.arange(k) - (k - 1) / 2
    q, r = np.linalg.qr(np.vander(score, k, increasing=True))
    found = {}
    for degree in range(1, min(k - 1, 6) + 1):
        name = _DEGREES[degree - 1] if degree <= len(_DEGREES) else f"degree {degree}"
        found[name] = _in_whole_numbers(q[:, degree] * np.sign(r[degree, degree]))
    return found


_MOST_DENOMINATOR = 1000


def _in_whole_numbers(row: FloatArray) -> FloatArray:
    """Scale a row to the smallest whole numbers that are proportional to it, if there are any."""
    size = np.abs(row[np.abs(row) > 1e-8]).min()
    for factor in range(1, _MOST_DENOMINATOR):
        scaled = row / size * factor
        if np.abs(scaled - np.round(scaled)).max() < 1e-9 * np.abs(scaled).max():
            return np.asarray(np.round(scaled) + 0.0)
    return row


_FAMILIES: dict[str, Callable[[Sequence[str]], Coefficients]] = {
    "pairwise": _pairwise,
    "revpairwise": _reverse_pairwise,
    "trt.vs.ctrlk": _against_last,
    "poly": _polynomial,
    "consec": _consecutive,
    "mean_chg": _mean_changes,
    "eff": _effects,
    "del.eff": _effects_against_others,
    "identity": _identity,
}
