"""Terms as SAS parameterises them: a column for every combination of levels that occurs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product

import numpy as np

from mlmfast.arrays import FloatArray, IntArray
from mlmfast.factor import Factor, cross_factors
from mlmfast.frame import Frame
from mlmfast.language.terms import term_list
from mlmfast.model_columns import FactorColumns, VariableColumns
from mlmfast.model_matrix import INTERCEPT, ModelMatrixSpec


@dataclass(frozen=True)
class TermParts:
    """A term and what it multiplies.

    Attributes
    ----------
    label
        The term as R writes it.
    factors, covariates
        Its categorical and its numeric variables.

    Examples
    --------
    >>> a, ab = TermParts("a", frozenset("a")), TermParts("a:b", frozenset("ab"))
    >>> a.is_contained_in(ab), ab.is_contained_in(a)
    (True, False)
    >>> slopes = TermParts("a:x", frozenset("a"), frozenset("x"))
    >>> a.is_contained_in(slopes), a.is_within(slopes)
    (False, True)
    """

    label: str
    factors: frozenset[str] = frozenset()
    covariates: frozenset[str] = frozenset()

    def is_contained_in(self, other: TermParts) -> bool:
        """SAS's containment: the same covariates, and all the factors with others besides."""
        return self.covariates == other.covariates and self.factors < other.factors

    def is_within(self, other: TermParts) -> bool:
        """car's marginality: all the variables with others besides."""
        own = self.factors | self.covariates
        return own < other.factors | other.covariates


@dataclass(frozen=True, eq=False)
class TermColumns:
    """Columns of all terms: each an indicator of a cell times a product of covariates.

    Attributes
    ----------
    terms
        The terms in the order of the formula, the intercept first where there is one.
    columns : each of shape (n,)
        Those of all terms, one term after the other. A product of covariates has mean square 1 in
        all terms that have it, which leaves every hypothesis as it is.
    term_of_column : shape (n_columns,)
    """

    terms: tuple[TermParts, ...]
    columns: list[FloatArray]
    term_of_column: IntArray


def term_columns(spec: ModelMatrixSpec, frame: Frame, counts: FloatArray) -> TermColumns:
    """Columns of every term of a formula, with no contrasts: more than X has, of the same span.

    Parameters
    ----------
    spec
        How X was built.
    frame, counts
        Distinct rows, and how many rows of the data each stands for.
    """
    structure = term_list(spec.rhs)
    names = structure.variable_names
    variables = [spec.variable(name, frame) for name in names]
    terms = [TermParts(INTERCEPT)] if structure.intercept else []
    columns: list[FloatArray] = [np.ones(frame.n_rows)] if structure.intercept else []
    positions = [0] * len(columns)
    for label, term in zip(structure.labels, structure.terms, strict=True):
        is_factor = {k: _is_factor(variables[k]) for k in term}
        factors = frozenset(names[k] for k in term if is_factor[k])
        terms.append(TermParts(label, factors, frozenset(names[k] for k in term) - factors))
        own = _columns_of_term([variables[k] for k in term], counts)
        columns += own
        positions += [len(terms) - 1] * len(own)
    return TermColumns(tuple(terms), columns, np.array(positions, dtype=np.intp))


def _is_factor(variable: VariableColumns) -> bool:
    """Whether the variable's contrasts span its levels; fewer of them are covariates."""
    if not isinstance(variable, FactorColumns):
        return False
    coding = variable.coding
    if coding is None:
        return True
    spanned = np.column_stack([np.ones(len(coding.matrix)), coding.matrix])
    return bool(np.linalg.matrix_rank(spanned) == len(coding.matrix))


def _columns_of_term(variables: Sequence[VariableColumns], counts: FloatArray) -> list[FloatArray]:
    cells = [v.factor for v in variables if isinstance(v, FactorColumns) and _is_factor(v)]
    numeric = [v.columns(True)[1] for v in variables if not _is_factor(v)]
    indicators = _indicators(cross_factors(cells)) if cells else [np.ones(len(counts))]
    products = [_of_mean_square_one(parts, counts) for parts in product(*numeric)]
    return [cell * covariates for covariates in products for cell in indicators]


def _indicators(cells: Factor) -> list[FloatArray]:
    return [(cells.codes == code).astype(np.float64) for code in range(cells.n_levels)]


def _of_mean_square_one(parts: Sequence[FloatArray], counts: FloatArray) -> FloatArray:
    column = np.ones(len(counts))
    for part in parts:
        column = column * part
    size = np.sqrt(counts @ column**2 / counts.sum())
    return column / size if size > 0 else column
