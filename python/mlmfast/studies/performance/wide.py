"""Performance as readers have it: a row a condition, a column a measure and method."""

from __future__ import annotations

from collections.abc import Sequence
from importlib import import_module
from typing import Any

import pandas as pd

from mlmfast.errors import DataError, MlmError
from mlmfast.studies.performance.by_condition import Shown
from mlmfast.studies.performance.printed import cell_text
from mlmfast.words import did_you_mean

#: Measures of a table where none are named.
_USUAL = ("bias", "empirical_se", "model_se", "coverage", "power")


def wide_table(
    result: Shown, measures: str | Sequence[str] | None, estimand: str | None, mcse: bool
) -> pd.DataFrame:
    """See `StudyResult.table`."""
    rows = _rows(result, measures, estimand)
    value = rows.pivot(index="row", columns=["measure", "method"], values="value")
    measures_there = dict.fromkeys(rows["measure"])
    methods = dict.fromkeys(rows["method"])
    order = [(measure, method) for measure in measures_there for method in methods]
    value = value.reindex(columns=pd.MultiIndex.from_tuples(order, names=["measure", "method"]))
    error = rows.pivot(index="row", columns=["measure", "method"], values="mcse").reindex(
        columns=value.columns
    )
    out = value
    if mcse:
        texts = [
            [cell_text(v, e) for v, e in zip(own, errors, strict=True)]
            for own, errors in zip(value.to_numpy(), error.to_numpy(), strict=True)
        ]
        out = pd.DataFrame(texts, index=value.index, columns=value.columns)
    names = [*result.factors, "estimand"]
    labels = rows.drop_duplicates("row").set_index("row").loc[out.index, names]
    out.index = pd.MultiIndex.from_frame(labels)
    return out


def _rows(
    result: Shown, measures: str | Sequence[str] | None, estimand: str | None
) -> pd.DataFrame:
    """Rows of the performance with values, and the number of the table's row for each."""
    if estimand is not None and estimand not in result.estimands:
        hint = did_you_mean(str(estimand), result.estimands)
        raise DataError(
            f"there is no estimand {estimand!r}{hint} (there are {', '.join(result.estimands)})"
        )
    found = result.performance(list(_USUAL) if measures is None else measures)
    if estimand is not None:
        found = found[found["estimand"] == estimand]
    if measures is None:
        # What has no value anywhere, such as the bias where the truth is unknown.
        known = found.groupby("measure")["value"].transform(lambda v: v.notna().any())
        found = found[known.astype(bool)]
    if found.empty:
        raise DataError("there is nothing to make a table of")
    found = found.reset_index(drop=True)
    by = found.groupby([*result.factors, "estimand"], sort=False, dropna=False)
    return found.assign(row=by.ngroup())


def great_table(
    result: Shown, measures: str | Sequence[str] | None, estimand: str | None, title: str | None
) -> Any:
    """See `StudyResult.to_gt`."""
    try:
        gt: Any = import_module("great_tables")
    except ModuleNotFoundError:
        raise MlmError(
            "to_gt() makes a table of great-tables, which is not installed; run: "
            "pip install 'mlmfast[tables]'"
        ) from None
    wide = wide_table(result, measures, estimand, True)
    pairs = [(str(key[0]), str(key[1])) for key in wide.columns.to_flat_index()]
    flat = wide.set_axis([f"{measure}: {method}" for measure, method in pairs], axis=1)
    table = flat.reset_index()
    several = len(result.estimands) > 1 and estimand is None
    if not several:
        table = table.drop(columns="estimand")
    table = table.astype(dict.fromkeys(result.factors, str))
    out = gt.GT(table, groupname_col="estimand" if several else None)
    for measure in dict.fromkeys(measure for measure, _ in pairs):
        columns = [f"{measure}: {method}" for m, method in pairs if m == measure]
        out = out.tab_spanner(label=measure.replace("_", " ").capitalize(), columns=columns)
    labels = {f"{measure}: {method}": method for measure, method in pairs}
    n = result.plan["n_replicates"]
    subtitle = (
        f"{n:,} replicates" if several or estimand is None else f"{estimand}; {n:,} replicates"
    )
    return (
        out.cols_label(cases=labels)
        .cols_align(align="right", columns=list(labels))
        .tab_header(title="Performance" if title is None else title, subtitle=subtitle)
        .tab_source_note("Monte Carlo standard errors in parentheses.")
    )
