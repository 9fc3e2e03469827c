"""Contrasts between the rows of a table, named and laid out as R's emmeans does."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import product
from typing import Any, TypeAlias

import numpy as np
import pandas as pd

from mlmfast.arrays import FloatArray, IntArray
from mlmfast.errors import ModelError
from mlmfast.inference.emmeans.coefficients import (
    DEFAULT_ADJUST,
    Coefficients,
    custom,
    family,
    family_name,
)
from mlmfast.inference.emmeans.estimates.base import Estimates

Method: TypeAlias = str | Mapping[str, Any] | Sequence[Any] | FloatArray | pd.DataFrame


def contrast_rows(
    functions: Estimates, method: Method, ref: Any
) -> tuple[Estimates, int | None, str]:
    """Contrasts within each family.

    Returns
    -------
    functions
        The contrasts.
    n_means
        Number of means where they are all the pairwise differences in each family, else None.
    adjust
        The adjustment that goes with the method.
    """
    blocks, names, keys = [], [], []
    sizes = set()
    for key, rows in functions.groups():
        sizes.add(len(rows))
        for name, row in _coefficients(functions, rows, method, ref).items():
            full = np.zeros(len(functions.labels))
            full[rows] = row
            blocks.append(full)
            names.append(name)
            keys.append(key)
    if not blocks:
        raise ModelError("there is one mean in each family, so nothing to compare; see by=")
    # Of contrasts of contrasts the first stand in `by`.
    taken = sum(name.startswith("contrast") for name in functions.by)
    labels = pd.DataFrame({f"contrast{taken}" if taken else "contrast": names})
    for k, column in enumerate(functions.by):
        labels[column] = [key[k] for key in keys]
    combined = functions.combined(np.array(blocks), labels, functions.by)
    if not isinstance(method, str):
        return combined, None, "none"
    kept = family_name(method)
    is_all_pairs = kept in {"pairwise", "revpairwise"} and len(sizes) == 1
    return combined, sizes.pop() if is_all_pairs else None, DEFAULT_ADJUST[kept]


def _coefficients(functions: Estimates, rows: IntArray, method: Method, ref: Any) -> Coefficients:
    """Coefficients over the rows of one family; means are found by level or by full label."""
    plain = functions.labels[functions.own_labels].iloc[rows].astype(str).agg(" ".join, axis=1)
    levels = plain.tolist()
    if not isinstance(method, str):
        return custom(method, levels)
    shown = _in_parentheses(_label_texts(functions, rows))
    if ref is not None and str(ref) in levels:
        ref = shown[levels.index(str(ref))]
    return family(method, shown, ref)


def interaction_rows(functions: Estimates, methods: Any) -> Estimates:
    """Products of one contrast from each factor, within each family."""
    own = functions.own_labels
    listed = [methods] * len(own) if isinstance(methods, str) else list(methods)
    if len(listed) != len(own):
        raise ModelError(
            f"interaction has {len(listed)} methods for {len(own)} factors ({', '.join(own)})"
        )
    columns = [f"{name}_{method}" for name, method in zip(own, listed, strict=True)]
    blocks: list[FloatArray] = []
    labels: list[tuple[str, ...]] = []
    for key, rows in functions.groups():
        for names, row in _products(functions, rows, listed):
            full = np.zeros(len(functions.labels))
            full[rows] = row
            blocks.append(full)
            labels.append((*names, *key))
    if not blocks:
        raise ModelError("a factor has one level, so there is nothing to compare")
    frame = pd.DataFrame(labels, columns=[*columns, *functions.by])
    return functions.combined(np.array(blocks), frame, functions.by)


def _products(
    functions: Estimates, rows: IntArray, methods: Sequence[str]
) -> list[tuple[list[str], FloatArray]]:
    own = functions.own_labels
    levels = [list(dict.fromkeys(functions.labels[name].iloc[rows])) for name in own]
    if int(np.prod([len(names) for names in levels])) != len(rows):
        raise ModelError("an interaction needs every combination of levels in each family")
    each = [
        family(method, _in_parentheses(_with_name(name, labels, set())))
        for name, method, labels in zip(own, methods, levels, strict=True)
    ]
    found: list[tuple[list[str], FloatArray]] = []
    # Rows stand with the first factor fastest.
    for chosen in product(*[list(one.items()) for one in reversed(each)]):
        row: FloatArray = np.ones(1)
        for _, part in chosen:
            row = np.asarray(np.kron(row, part), dtype=np.float64)
        found.append(([name for name, _ in reversed(chosen)], row))
    return found


def _label_texts(functions: Estimates, rows: IntArray) -> list[str]:
    own = functions.own_labels
    columns = {name: functions.labels[name].astype(str) for name in own}
    shown = []
    for name, column in columns.items():
        others = {label for other in own if other != name for label in columns[other]}
        shown.append(_with_name(name, column.iloc[rows].tolist(), others))
    return [" ".join(parts) for parts in zip(*shown, strict=True)]


def _with_name(name: str, labels: Sequence[str], others: set[str]) -> list[str]:
    """Put the factor's name before levels that are numbers, or that another factor has too."""
    is_plain = all(_is_number(label) or label in {"TRUE", "FALSE"} for label in labels)
    return [(name if is_plain or others & set(labels) else "") + label for label in labels]


def _is_number(label: str) -> bool:
    try:
        float(label)
    except ValueError:
        return False
    return True


def _in_parentheses(labels: Sequence[str]) -> list[str]:
    """Protect labels that hold an operator, which the names of differences would confuse."""
    return [f"({label})" if any(sign in label for sign in "-+*/") else label for label in labels]
