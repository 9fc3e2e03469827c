"""The matrix of each term's hypothesis, by type and by whose definition."""

from __future__ import annotations

import numpy as np

from mlmfast.arrays import FloatArray
from mlmfast.design.columns.model_matrix import INTERCEPT
from mlmfast.errors import ModelError
from mlmfast.formula.smooth_terms import is_smooth_label
from mlmfast.inference.anova import (
    EstimableFunctions,
    TermParts,
    of_coefficients,
    type_one,
    type_three,
    type_two,
)
from mlmfast.inference.anova.row_bases import (
    from_first_level,
    from_last_level,
    from_mean,
    in_coding,
    one_after_the_other,
    orthonormal_over_cells,
    span_the_same,
)
from mlmfast.inference.anova.type_four import type_four


def hypothesis_matrices(
    functions: EstimableFunctions, kind: int, definition: str, vcov: FloatArray
) -> dict[str, FloatArray]:
    """For each term but the intercept its matrix over the coefficients kept, shape (n_rows, r).

    Parameters
    ----------
    functions
        Estimable functions of the design.
    kind
        1, 2, 3 or 4.
    definition
        "SAS", "lmerTest", "mmrm" (the same hypotheses by other rows) or "car".
    vcov : shape (r, r)
        (X'V^-1 X)^-1, the metric of car's types I and II.
    """
    if definition == "car" and kind < 3:
        # C^-1 is a root of the information, where vcov = C C'.
        functions = functions.in_metric(np.linalg.inv(np.linalg.cholesky(vcov)))
    find = _by_car if definition == "car" else _by_sas
    return {
        term.label: find(functions, t, kind, definition)
        for t, term in enumerate(functions.terms)
        if term.label != INTERCEPT and not is_smooth_label(term.label)
    }


def _by_sas(functions: EstimableFunctions, t: int, kind: int, definition: str) -> FloatArray:
    if kind == 4:
        own, same = type_four(functions, t), _by_sas(functions, t, 3, definition)
        return same if span_the_same(functions, own, same) else own
    L = {1: type_one, 2: type_two, 3: type_three}[kind](functions, t)
    if definition == "SAS":
        return in_coding(functions, t, L, from_last_level)
    if definition == "mmrm" and kind == 3:
        return in_coding(functions, t, L, from_mean)
    rows = in_coding(functions, t, L, from_first_level)
    if definition == "lmerTest" and _is_sequential(functions.terms, t, kind):
        return one_after_the_other(functions, rows)
    return rows


def _is_sequential(terms: tuple[TermParts, ...], t: int, kind: int) -> bool:
    """Whether lmerTest takes rows that are orthogonal one after the other."""
    if kind == 1 or sum(term.label != INTERCEPT for term in terms) == 1:
        return True
    return kind == 2 and any(terms[t].is_contained_in(other) for other in terms)


def _by_car(functions: EstimableFunctions, t: int, kind: int, definition: str) -> FloatArray:
    if kind == 4:
        raise ModelError("type IV is SAS's; leave definition='car' out")
    if kind == 3:
        return orthonormal_over_cells(functions, t, of_coefficients(functions, t))
    L = type_one(functions, t) if kind == 1 else type_two(functions, t, TermParts.is_within)
    return orthonormal_over_cells(functions, t, L)
