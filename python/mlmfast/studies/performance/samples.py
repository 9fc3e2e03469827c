"""Samples of a condition, from the columns of its rows."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from importlib import import_module
from typing import Any

import numpy as np

from mlmfast.arrays import FloatArray
from mlmfast.studies.performance.measures import Sample

#: What an error begins with where the generator failed.
NOT_DRAWN = "generate: "
#: Columns of the rows that the measures are made of.
COLUMNS = (
    "estimate",
    "std_error",
    "p_value",
    "lower",
    "upper",
    "converged",
    "singular",
    "error",
)


def columns_of(table: Any) -> dict[str, Any]:
    """Arrays of the columns of a `pyarrow.Table`; ``drawn`` is whether a replicate has data."""
    error = table["error"]
    lost = import_module("pyarrow.compute").starts_with(error, pattern=NOT_DRAWN).fill_null(False)
    out = {name: table[name].to_numpy() for name in COLUMNS if name != "error"}
    return {**out, "drawn": ~lost.to_numpy()}


def samples(
    columns: Mapping[str, Any],
    methods: Sequence[str],
    truths: Mapping[str, float],
    alpha: float,
    reference: str,
    unconverged: bool,
) -> Iterator[tuple[str, str, Sample]]:
    """The sample of each method and estimand of one condition.

    Parameters
    ----------
    columns
        Of `columns_of`; rows are ordered by replicate, method and estimand.
    methods, truths
        Names of the methods, and of the estimands with their true values, in the rows' order.
    alpha
        Level of the tests.
    reference
        Method that precision and correlation refer to.
    unconverged
        Whether estimates of fits that did not converge count.
    """
    shape = (-1, len(methods), len(truths))
    cube = {name: np.asarray(values).reshape(shape) for name, values in columns.items()}
    counts = np.isfinite(cube["estimate"]) & (unconverged | cube["converged"])
    drawn = cube["drawn"]
    base = methods.index(reference)
    for m, method in enumerate(methods):
        for k, (estimand, truth) in enumerate(truths.items()):
            own = {name: values[:, m, k] for name, values in cube.items()}
            use = _paired(counts[:, m, k], own["std_error"])
            other = np.where(counts[:, base, k], cube["estimate"][:, base, k], np.nan)
            other = np.where(
                _paired(counts[:, base, k], cube["std_error"][:, base, k]), other, np.nan
            )
            lone = m == base
            yield (
                method,
                estimand,
                Sample(
                    own["estimate"][use],
                    own["std_error"][use],
                    own["lower"][use],
                    own["upper"][use],
                    own["p_value"][use],
                    truth,
                    alpha,
                    np.full(int(use.sum()), np.nan) if lone else other[use],
                    float("nan") if lone else _spread(other),
                    own["converged"][drawn[:, m, k]],
                    own["singular"][drawn[:, m, k]],
                ),
            )


def _paired(counts: Any, se: FloatArray) -> Any:
    """Without estimates that lack a standard error, where others have one."""
    known = np.isfinite(se)
    return counts & known if (counts & known).any() else counts


def _spread(values: FloatArray) -> float:
    known = values[np.isfinite(values)]
    return float(known.std(ddof=1)) if len(known) > 1 else float("nan")
