"""Rows of the results: one a replicate, method and estimand, as a table in Arrow's columns."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from mlmfast.studies.plan.conditions import Condition
from mlmfast.studies.plan.identity import cell
from mlmfast.studies.plan.plan import Chunk, Plan
from mlmfast.studies.replicates.outcomes import NUMBERS, Outcomes
from mlmfast.studies.running.arrow import arrow


def key_of(plan: Plan, condition: Condition, replicate: int | str) -> str:
    """What a replicate is drawn from again: seed, condition and number."""
    return f"{plan.seed}/{condition.name}/{replicate}"


def table_of(plan: Plan, chunk: Chunk, outcomes: Sequence[Outcomes]) -> Any:
    """The rows of a chunk, a `pyarrow.Table`, given the outcomes of each method."""
    pa = arrow()
    condition = plan.conditions[chunk.condition]
    n, n_methods, n_estimands = len(chunk), len(plan.methods), len(plan.estimands)
    rows = n * n_methods * n_estimands
    replicate = np.repeat(np.arange(chunk.first, chunk.last), n_methods * n_estimands)
    columns: dict[str, Any] = {
        name: pa.repeat(_cell(plan, name, value), rows) for name, value in condition.values.items()
    }
    columns["replicate"] = pa.array(replicate, pa.int64())
    method = np.tile(np.repeat(np.arange(n_methods), n_estimands), n)
    columns["method"] = _text(list(plan.methods), method)
    columns["estimand"] = _text(
        list(plan.estimands), np.tile(np.arange(n_estimands), rows // n_estimands)
    )
    numbers = np.stack([own.numbers for own in outcomes], axis=2)
    for k, name in enumerate(NUMBERS):
        columns[name] = pa.array(numbers[k].ravel(), pa.float64(), from_pandas=False)
    for name in ("converged", "singular"):
        flags = np.stack([getattr(own, name) for own in outcomes], axis=1)
        columns[name] = pa.array(np.repeat(flags.ravel(), n_estimands), pa.bool_())
    errors = np.stack([own.error for own in outcomes], axis=1).ravel().tolist()
    told = [text or None for text in errors] if any(errors) else [None] * rows
    columns["error"] = pa.array(told, pa.string())
    stem = key_of(plan, condition, "")
    keys = [f"{stem}{number}" for number in range(chunk.first, chunk.last)]
    columns["key"] = _text(keys, replicate - chunk.first)
    return pa.table(columns)


def _text(values: list[str], codes: Any) -> Any:
    pa = arrow()
    array = pa.DictionaryArray.from_arrays(
        pa.array(codes, pa.int32()), pa.array(values, pa.string())
    )
    return array.dictionary_decode()


def _cell(plan: Plan, factor: str, value: Any) -> Any:
    kind, pa = _type(plan, factor), arrow()
    texts = value is not None and kind == pa.string()
    return pa.scalar(str(cell(value)) if texts else value, kind)


def _type(plan: Plan, factor: str) -> Any:
    """One type of a factor in all conditions."""
    pa = arrow()
    values = [cell(condition.values[factor]) for condition in plan.conditions]
    kinds = {type(value) for value in values if value is not None}
    if kinds <= {bool}:
        return pa.bool_()
    if kinds <= {int}:
        return pa.int64()
    return pa.float64() if kinds <= {int, float} else pa.string()
