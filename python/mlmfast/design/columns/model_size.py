"""The size of a model matrix, before its columns are formed."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod

from mlmfast.design.columns.values import Basis, CodedFactor, Variable
from mlmfast.errors import ModelError
from mlmfast.formula.terms import TermList
from mlmfast.running.memory import RESERVE, memory_left


def check_size(
    structure: TermList, values: Sequence[Variable], n_rows: int, left_out: int | None
) -> None:
    """Refuse columns that would not fit into memory.

    Parameters
    ----------
    structure, values : the terms and their variables.
    left_out : position of a factor whose columns are not formed.

    Raises
    ------
    ModelError
        With the size, the term that has most of it, and what to do.
    """
    widths = [_width(value) for value in values]
    sizes = {
        label: prod(widths[k] for k in term)
        for label, term in zip(structure.labels, structure.terms, strict=True)
        if term != (left_out,)
    }
    # A factor is coded by a square matrix of its levels.
    coded = max(
        (widths[k] ** 2 for term in structure.terms for k in term if k != left_out), default=0
    )
    needed = 8.0 * (n_rows * sum(sizes.values()) + coded)
    if needed < RESERVE or needed <= memory_left():
        return
    label = max(sizes, key=lambda name: sizes[name])
    raise ModelError(
        f"the columns of {label!r} over {n_rows:,} rows, {sizes[label]:,} of them, would take "
        f"{8e-9 * (n_rows * sizes[label] + coded):,.1f} GB, more than there is memory. One factor "
        "of many levels is eliminated where it stands in a single term by itself, coded by "
        "treatment contrasts, with independent residuals (absorb=); others, and slopes by level, "
        "can be random effects"
    )


def _width(value: Variable) -> int:
    if isinstance(value, CodedFactor):
        return max(len(value.factor.levels), 1)
    return int(value.values.shape[1]) if isinstance(value, Basis) else 1
