"""Subjects by pattern as arrays by name, and back."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mlmfast.mergeable.condensed.patterns import Pattern, PatternKey
from mlmfast.mergeable.condensed.units import CondensedUnits, OpenRows

_SUBJECT, _OPEN = "subject:", "open subject:"


def unit_arrays(units: CondensedUnits) -> dict[str, NDArray[Any]]:
    """The arrays of a reduction by pattern, all of one dimension."""
    keys, patterns = list(units.patterns), list(units.patterns.values())
    rows = units.open_rows
    out: dict[str, NDArray[Any]] = {_SUBJECT + n: own for n, own in units.subjects.items()}
    out |= {_OPEN + name: own for name, own in rows.subjects.items()}
    return out | {
        "arm": np.array([key.arm for key in keys], dtype=np.int64),
        "visits": np.array([v for key in keys for v in key.visits], dtype=np.int64),
        "n_visits": np.array([len(key.visits) for key in keys], dtype=np.int64),
        "count": np.array([own.n_subjects for own in patterns], dtype=np.int64),
        "n_weights": np.array([len(own.weights) for own in patterns], dtype=np.int64),
        "weight": np.concatenate([np.zeros(0), *(own.weights for own in patterns)]),
        "value": np.concatenate([np.zeros(0), *(own.values.reshape(-1) for own in patterns)]),
        "open arm": rows.arms.astype(np.int64),
        "open position": rows.positions.astype(np.int64),
        "open value": rows.values.reshape(-1),
    }


def units_of_arrays(
    arrays: Mapping[str, NDArray[Any]], subjects: Sequence[str], origin: NDArray[np.float64]
) -> CondensedUnits:
    """Read what `unit_arrays` gave.

    Raises
    ------
    KeyError, ValueError
        Where arrays are missing, or do not fit each other.
    """
    m = len(origin)
    for name in ("weight", "value", "open value"):
        if arrays[name].dtype != np.float64 or not np.isfinite(arrays[name]).all():
            raise ValueError(f"{name} is not finite")
    visits = np.split(arrays["visits"], np.cumsum(arrays["n_visits"]))[:-1]
    weights = np.split(arrays["weight"], np.cumsum(arrays["n_weights"]))[:-1]
    sizes = arrays["n_visits"] * arrays["n_weights"] * m
    values = np.split(arrays["value"], np.cumsum(sizes))[:-1]
    if sizes.sum() != len(arrays["value"]) or (arrays["weight"] <= 0.0).any():
        raise ValueError("the values do not fit the patterns")
    patterns = {}
    for k, (arm, count) in enumerate(
        zip(arrays["arm"].tolist(), arrays["count"].tolist(), strict=True)
    ):
        if len(weights[k]) > count or not len(weights[k]) or not len(visits[k]):
            raise ValueError("a pattern has more that stand for its subjects than subjects")
        block = values[k].reshape(len(weights[k]), len(visits[k]), m)
        patterns[PatternKey(arm, tuple(visits[k].tolist()))] = Pattern(count, block, weights[k])
    opened = OpenRows(
        {name: arrays[_OPEN + name] for name in subjects},
        arrays["open arm"].astype(np.int32),
        arrays["open position"].astype(np.int32),
        arrays["open value"].reshape(-1, m),
    )
    closed = {name: arrays[_SUBJECT + name] for name in subjects}
    n_open = len(opened.positions)
    lengths = {len(own) for own in (*opened.subjects.values(), opened.arms, opened.values)}
    if lengths != {n_open} or len({len(own) for own in closed.values()}) > 1:
        raise ValueError("the rows of open subjects do not fit each other")
    return CondensedUnits(patterns, closed, opened, origin)
