"""All effects of a model, fixed and random, as columns of one design."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import linalg

from mlmfast.arrays import BoolArray, CodeArray, FloatArray
from mlmfast.design.columns.model_columns import FactorColumns
from mlmfast.design.columns.model_matrix import INTERCEPT
from mlmfast.design.factors.grouping import GroupingFactor
from mlmfast.design.model_frame import ModelFrame
from mlmfast.errors import ModelError
from mlmfast.inference.anova.functions import EstimableFunctions
from mlmfast.inference.anova.terms import SINGLE, TermParts, term_columns
from mlmfast.reduction.engines.independence import is_within
from mlmfast.running.memory import check_memory

#: What of a column sticks out of those before, over its length, that is rounding.
_RANK = 1e-10


class AllEffects(EstimableFunctions):
    """`EstimableFunctions` of fixed and random effects alike, in an orthonormal basis."""

    def spanning(self, terms: Sequence[int]) -> BoolArray:
        """All columns of some terms: nested ones have none to spare."""
        return np.isin(self.term_of_column, terms)


@dataclass(frozen=True)
class Effects:
    """The effects of a model.

    Attributes
    ----------
    functions
        Their estimable functions, fixed terms first, then random ones in the formula's order.
    basis : shape (n, r), orthonormal columns that span all effects.
    n_fixed
        Number of fixed terms, the intercept among them.
    codes
        Level of each row by random term.
    """

    functions: AllEffects
    basis: FloatArray
    n_fixed: int
    codes: tuple[CodeArray, ...]

    @property
    def labels(self) -> tuple[str, ...]:
        """Names of all effects."""
        return tuple(term.label for term in self.functions.terms)


def effects_of(frame: ModelFrame, factors: Sequence[GroupingFactor]) -> Effects:
    """The effects of a formula whose random terms are intercepts by ``factors``."""
    rows = frame.frame
    n = rows.n_rows
    fixed = term_columns(frame.fixed, rows, np.ones(n))
    columns = len(fixed.columns) + sum(factor.n_levels for factor in factors)
    check_memory(
        8.0 * 3 * n * columns + 8.0 * 3 * columns**2,
        f"sums of squares of {columns:,} columns of fixed and random effects over {n:,} rows",
        "use method='REML'",
    )
    terms = list(fixed.terms)
    random = [_parts(frame, factor, factors) for factor in factors]
    indicators = [np.eye(factor.n_levels)[factor.codes] for factor in factors]
    whole = np.column_stack([*fixed.columns, *indicators]) if columns else np.empty((n, 0))
    term_of_column = np.concatenate(
        [
            fixed.term_of_column,
            *[np.full(f.n_levels, len(terms) + k) for k, f in enumerate(factors)],
        ]
    ).astype(np.intp)
    lengths = np.linalg.norm(whole, axis=0)
    whole /= np.where(lengths > 0, lengths, 1.0)
    q, upper, _ = linalg.qr(whole, mode="economic", pivoting=True)
    sizes = np.abs(np.diag(upper))
    rank = int((sizes > _RANK * sizes.max(initial=0.0)).sum())
    basis: FloatArray = np.asarray(q[:, :rank], dtype=np.float64)
    r = basis.shape[1]
    # Of the lengths that SAS's indicators have, on which type III depends.
    coordinates = basis.T @ (whole * lengths)
    functions = AllEffects(
        (*terms, *random),
        np.eye(r),
        np.where(np.abs(coordinates) > 1e-13 * lengths, coordinates, 0.0),
        term_of_column,
        np.eye(r),
        tuple(range(r)),
        (0,) * r,
        (SINGLE,) * (len(terms) + len(random)),
    )
    return Effects(functions, basis, len(terms), tuple(factor.codes for factor in factors))


def _parts(
    frame: ModelFrame, factor: GroupingFactor, factors: Sequence[GroupingFactor]
) -> TermParts:
    """A random effect with all factors in which its levels are nested: it contains theirs."""
    names = set(factor.columns)
    for name in frame.fixed.coded:
        variable = frame.fixed.variable(name, frame.frame)
        if isinstance(variable, FactorColumns):
            own = variable.factor
            if is_within(factor.codes, factor.n_levels, own.codes):
                names.add(name)
    for other in factors:
        if other is not factor and is_within(factor.codes, factor.n_levels, other.codes):
            names |= set(other.columns)
    return TermParts(factor.name, frozenset(names))


def check_effects(labels: Sequence[str], n_fixed: int) -> None:
    """Refuse random effects that are fixed ones too, whose squares would be none of theirs."""
    twice = [label for label in labels[n_fixed:] if label in labels[:n_fixed]]
    if twice:
        raise ModelError(
            f"{twice[0]!r} is a fixed and a random effect; its mean square tells no variance. "
            "Leave one of them out"
        )


def is_tested(label: str) -> bool:
    """Whether an effect has a row in a table of mean squares: all but the intercept."""
    return label != INTERCEPT
