"""What answers about the rows need of them, as JSON-able data and back.

The rows themselves are not saved: their levels, means, frequencies and cross products are.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from mlmfast.arrays import IntArray
from mlmfast.errors import ModelError
from mlmfast.fitted.record import FitRecord
from mlmfast.fitted.row_facts import RowFacts
from mlmfast.inference.anova import EstimableFunctions
from mlmfast.inference.anova.of_fit import estimable_functions
from mlmfast.inference.anova.terms import Cells, TermParts
from mlmfast.inference.emmeans.reference_grid import facts_of_rows
from mlmfast.inference.intervals.explained_variance import FIGURES, explained_figures
from mlmfast.saving.record import array, members, positions, texts, typed

if TYPE_CHECKING:
    from mlmfast.fitted.fitted import Fitted

#: Numbers in the matrices of hypotheses above which a saved fit has none.
_MOST_NUMBERS = 200_000


def rows_to_dict(fit: Fitted) -> dict[str, Any]:
    """Estimable functions, facts for marginal means, and shares of variance."""
    functions, facts, shares = fit_functions(fit), fit._row_facts, fit._shares
    if fit._source is not None:
        facts, shares = facts_of_rows(fit), explained_figures(fit._source, fit._record)
    return {
        "functions": None if functions is None else _functions_to_dict(functions),
        "facts": None if facts is None else members(facts),
        "shares": shares,
        "held": fit.held,
    }


def fit_functions(fit: Fitted) -> EstimableFunctions | None:
    """The estimable functions, where they are defined and not too large to save."""
    try:
        found = estimable_functions(fit)
    except ModelError:
        return None
    return found if found.root.size + found.coordinates.size <= _MOST_NUMBERS else None


def rows_from_dict(data: Mapping[str, Any], record: FitRecord) -> dict[str, Any]:
    """Attributes of a result from what `rows_to_dict` wrote.

    Raises
    ------
    KeyError, TypeError, ValueError
        Where a field is missing, of another type, or does not fit the others.
    """
    held = {name: _number(value) for name, value in typed(data["held"], dict).items()}
    out: dict[str, Any] = {"_shares": _shares(data["shares"]), "_held": held}
    if data["functions"] is not None:
        out["_estimable_functions"] = _functions(data["functions"], record)
    if data["facts"] is not None:
        out["_row_facts"] = _facts(data["facts"], record)
    return out


def _functions_to_dict(functions: EstimableFunctions) -> dict[str, Any]:
    terms = [[t.label, sorted(t.factors), sorted(t.covariates)] for t in functions.terms]
    cells = [members(cell) for cell in functions.cells]
    return members(functions) | {"terms": terms, "cells": cells}


def _functions(data: Mapping[str, Any], record: FitRecord) -> EstimableFunctions:
    terms = tuple(_term(*typed(item, list)) for item in typed(data["terms"], list))
    cells = tuple(_cells(item) for item in typed(data["cells"], list))
    of_column = positions(data["term_of_column"], len(terms))
    r, p, q = record.rank, len(record.x_names), len(of_column)
    sizes = np.bincount(np.array(of_column, dtype=np.intp), minlength=len(terms)).tolist()
    if sizes != [len(cell.codes) * len(cell.scales) for cell in cells]:
        raise ValueError("the cells of the terms do not fit their columns")
    term_of_x = tuple(positions(data["term_of_x"], len(terms)))
    root = array(data["root"], (r, r))
    if len(term_of_x) != p or positions(data["kept"], p) != record.kept:
        raise ValueError("the terms do not fit the coefficients")
    if not np.isfinite(root).all() or not np.diag(root).all():
        raise ValueError("the cross products of the coefficients are singular")
    return EstimableFunctions(
        terms,
        root,
        _finite(data["coordinates"], (r, q)),
        np.array(of_column, dtype=np.intp),
        _finite(data["alias"], (r, p)),
        record.kept,
        term_of_x,
        cells,
    )


def _term(label: object, factors: object, covariates: object) -> TermParts:
    return TermParts(typed(label, str), frozenset(texts(factors)), frozenset(texts(covariates)))


def _cells(data: Mapping[str, Any]) -> Cells:
    sizes = tuple(typed(size, int) for size in typed(data["sizes"], list))
    flags = tuple(typed(flag, bool) for flag in typed(data["by_contrasts"], list))
    codes = _codes(data["codes"], sizes)
    if len(flags) != len(sizes):
        raise ValueError("the cells of a term do not fit its factors")
    scales = typed(data["scales"], list)
    return Cells(codes, sizes, flags, _finite(scales, (len(scales),)))


def _codes(data: object, sizes: Sequence[int]) -> IntArray:
    """Levels of each factor in each cell, shape (n_cells, n_factors)."""
    rows = typed(data, list)
    own = [
        [positions([code], size)[0] for code, size in zip(typed(row, list), sizes, strict=True)]
        for row in rows
    ]
    return np.array(own, dtype=np.intp).reshape(len(rows), len(sizes))


def _facts(data: Mapping[str, Any], record: FitRecord) -> RowFacts:
    levels = {name: _levels(item) for name, item in typed(data["levels"], dict).items()}
    means = {name: _number(value) for name, value in typed(data["means"], dict).items()}
    known = set() if record.fixed_spec is None else set(record.fixed_spec.variables)
    if not known <= set(levels) | set(means):
        raise ValueError("the variables of the fixed part are not all described")
    factors, counts = texts(data["factors"]), typed(data["counts"], list)
    if set(factors) != set(levels):
        raise ValueError("the cells do not fit the factors")
    sizes = [len(levels[name][0]) for name in factors]
    cells = None if data["cells"] is None else _codes(data["cells"], sizes)
    if cells is not None and len(counts) != len(cells):
        raise ValueError("the cells do not fit their counts")
    frequencies = _finite(counts, (len(counts),))
    return RowFacts(levels, means, _number(data["offset"]), factors, cells, frequencies)


def _levels(item: object) -> tuple[tuple[str, ...], tuple[Any, ...]]:
    labels, values = typed(item, list)
    known = texts(labels)
    if not known or len(set(known)) < len(known) or len(typed(values, list)) != len(known):
        raise ValueError("the levels of a factor do not fit each other")
    # Numbers and text may stand together, as in a column of which single values have labels.
    if not all(isinstance(value, str | int | float) for value in values):
        raise TypeError("the levels of a factor are neither numbers nor text")
    return known, tuple(values)


def _shares(data: object) -> dict[str, dict[str, tuple[float, float]]]:
    out = {}
    for figure, rows in typed(data, dict).items():
        if figure not in FIGURES:
            raise ValueError(f"{figure!r} is no share of variance")
        out[figure] = {
            name: (float(pair[0]), float(pair[1]))
            for name, pair in ((n, array(p, (2,))) for n, p in typed(rows, dict).items())
        }
    return out


def _finite(value: object, shape: tuple[int, ...]) -> Any:
    found = array(value, shape)
    if not np.isfinite(found).all():
        raise ValueError("an array holds what is not finite")
    return found


def _number(value: object) -> float:
    number = float(value) if type(value) is int else typed(value, float)
    if not np.isfinite(number):
        raise ValueError("a number is not finite")
    return number
