"""Estimable functions of a formula from rows that only have the sums of those that were read."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from mlmfast.arrays import FloatArray
from mlmfast.data.frame import Frame
from mlmfast.design.columns.model_matrix import ModelMatrixSpec
from mlmfast.design.design import Design
from mlmfast.errors import ModelError
from mlmfast.fitted.row_facts import RowFacts
from mlmfast.inference.anova.functions import EstimableFunctions, functions_of_terms
from mlmfast.inference.anova.terms import term_columns

#: Rows in a cell of levels, at most, by which the columns of terms are told from those of X.
_IN_A_CELL = 60
#: Size of singular values that count, beside the largest.
_RANK = 1e-9
#: Size of what is left of a column that X spans.
_LEFT = 1e-8


def functions_of_sums(
    spec: ModelMatrixSpec, design: Design, facts: RowFacts, kept: Sequence[int]
) -> EstimableFunctions:
    """Estimable functions of the fixed part of a formula.

    A column of a term, an indicator of a cell times covariates, is the same combination of the
    columns of X in every row. Which, is found on rows of each cell of levels that occurs with
    covariates drawn at random; the combination has then the sums that X has.

    Parameters
    ----------
    spec, design
        How X was built, and the rows.
    facts
        Which cells of levels occur.
    kept
        Positions of the columns of X that were estimated.

    Raises
    ------
    ModelError
        Where the cells are not known, or the columns of terms do not lie in the span of X.
    """
    if facts.cells is None:
        raise ModelError(
            "the factors have more combinations of levels than a reduction counts, and a test of "
            "terms goes by those that occur; use contrast() with the coefficients you mean"
        )
    rows = _rows_of_cells(facts, min(len(design.x) + 2, _IN_A_CELL))
    matrix = spec.build(rows)
    x = np.stack(matrix.columns, axis=1)
    terms = term_columns(spec, rows, np.ones(rows.n_rows))
    wanted = np.stack(terms.columns, axis=1)
    size = np.sqrt((x**2).sum(axis=0))
    size[size == 0.0] = 1.0
    sizes = np.linalg.svd(x / size, compute_uv=False)
    n_told = int((sizes > _RANK * sizes[0]).sum())
    combination = np.linalg.lstsq(x / size, wanted, rcond=_RANK)[0] / size[:, None]
    if n_told != len(kept) or np.abs(wanted - x @ combination).max(initial=0.0) > _LEFT * np.abs(
        wanted
    ).max(initial=1.0):
        raise ModelError(
            "which hypotheses the terms mean needs the rows themselves here; use contrast() with "
            "the coefficients you mean, or fit the rows: mlm.lmm(formula, data)"
        )
    own, counts = _rows_of_x(design)
    columns = list(np.asfortranarray(own @ combination).T)
    x_columns: list[FloatArray] = list(own.T)
    return functions_of_terms(
        x_columns, matrix.term_of_column, replace(terms, columns=columns), counts, kept
    )


def _rows_of_x(design: Design) -> tuple[FloatArray, FloatArray]:
    """Rows of X with the sums that tests of terms go by, and how many each stands for.

    Least squares weights its sums of squares; programs for mixed models go by the design.
    """
    unweighted = None if design.condensed is None else design.condensed.unweighted
    if (design.random or design.residual is not None) and unweighted is not None:
        return unweighted
    counts = np.ones(design.n_obs) if design.weights is None else design.weights
    return design.fixed_matrix, counts


def _rows_of_cells(facts: RowFacts, n_each: int) -> Frame:
    """Rows of every cell, with covariates that no combination of columns fits by chance."""
    assert facts.cells is not None, "the caller looked"
    cells = np.repeat(facts.cells, n_each, axis=0)
    n = len(cells)
    rng = np.random.default_rng(0)
    columns = {
        name: _values(mean, facts.spreads.get(name, 1.0), rng.random(n))
        for name, mean in facts.means.items()
    }
    by_level: dict[str, object] = {}
    for name, codes in zip(facts.factors, cells.T, strict=True):
        values = np.array(facts.levels[name][1], dtype=object)
        text = isinstance(facts.levels[name][1][0], str)
        by_level[name] = values[codes] if text else np.array(facts.levels[name][1])[codes]
    if not columns and not by_level:
        return Frame.from_native({"(none)": np.ones(n)})
    return Frame.from_native({**by_level, **columns})


def _values(mean: float, spread: float, shares: FloatArray) -> FloatArray:
    """Values over the range of a covariate; above 0 where its mean is, for its logarithm's sake."""
    low, high = mean - 1.7 * spread, mean + 1.7 * spread
    if low <= 0.0 < mean:
        low = 0.02 * mean
    return low + (high - low) * shares
