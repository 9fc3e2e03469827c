"""Covariates at averages over rows, where they do not stand at single values."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from mlmfast.arrays import FloatArray
from mlmfast.design.columns.parts import covariate_part, factor_part
from mlmfast.errors import ModelError
from mlmfast.inference.emmeans.estimates.linear_functions import LinearFunctions
from mlmfast.inference.emmeans.reference_grid import ReferenceGrid, grid_frame

if TYPE_CHECKING:
    from mlmfast.fitted.fitted import Fitted

KINDS = ("means", "averaged", "by level")


def covariates_kind(covariates: object, at: Mapping[str, Any] | None, grid: ReferenceGrid) -> str:
    """Check what is asked for.

    Raises
    ------
    ModelError
        For a word that is none, or values of covariates beside their averages.
    """
    if covariates not in KINDS:
        raise ModelError(f"covariates is {covariates!r}; use {', '.join(map(repr, KINDS))}")
    given = [v.name for v in grid.variables if not v.is_factor and v.name in (at or {})]
    if covariates != "means" and given:
        raise ModelError(
            f"covariates={covariates!r} takes averages over rows, and at= sets {', '.join(given)}; "
            "leave out one of them"
        )
    return str(covariates)


def factor_grid(fit: Fitted, grid: ReferenceGrid) -> ReferenceGrid:
    """The grid with 1 for every covariate and 0 for the offset."""
    spec = fit._record.fixed_spec
    assert spec is not None, "it has a grid"
    sizes = grid.offset.shape
    rows = factor_part(spec, grid_frame(grid.variables, sizes))[: grid.offset.size]
    return replace(grid, L=rows.reshape(*sizes, -1), offset=np.zeros(sizes))


def with_averages(functions: LinearFunctions, grid: ReferenceGrid, kind: str) -> LinearFunctions:
    """Rows of `factor_grid` times averages of what covariates give, by level or of all rows.

    ``functions`` has a row for each level of the means, NaN where by level no row of the data is.
    """
    fit = functions.fit
    source = fit._needs_source("averages of covariates over rows")
    spec = fit._record.fixed_spec
    assert source.frame is not None
    assert spec is not None
    frame = source.frame.frame
    values = np.column_stack([covariate_part(spec, frame), _offsets(fit)])
    names = [name for name in functions.labels.columns if name in grid.names]
    if kind == "averaged" or not names:
        averages = np.broadcast_to(values.mean(axis=0), (len(functions.labels), values.shape[1]))
    else:
        averages = _by_level(functions, grid, names, values)
    return replace(
        functions, L=functions.L * averages[:, :-1], offset=functions.offset + averages[:, -1]
    )


def _by_level(
    functions: LinearFunctions, grid: ReferenceGrid, names: Sequence[str], values: FloatArray
) -> FloatArray:
    """Averages within the rows of the data that each row's labels name."""
    source = functions.fit._source
    assert source is not None, "the caller looked"
    assert source.frame is not None, "the caller looked"
    cells = grid.codes(source.frame.frame, names)
    variables = [grid.variables[grid.position(name)] for name in names]
    n_cells = int(np.prod([v.size for v in variables], dtype=int))
    inside = cells >= 0
    counts = np.bincount(cells[inside], minlength=n_cells).astype(np.float64)
    sums = np.zeros((n_cells, values.shape[1]))
    np.add.at(sums, cells[inside], values[inside])
    with np.errstate(invalid="ignore"):
        means = sums / counts[:, None]
    codes = [
        np.array([v.labels.index(label) for label in functions.labels[v.name]]) for v in variables
    ]
    return np.asarray(means[np.ravel_multi_index(codes, [v.size for v in variables])])


def _offsets(fit: Fitted) -> FloatArray:
    """Offset of each row."""
    source = fit._needs_source("the mean offset")
    offset = source.design.offset
    if offset is None:
        return np.zeros(source.design.n_obs)
    return np.asarray(offset, dtype=np.float64)
