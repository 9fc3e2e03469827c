"""Terms as SAS parameterises them: a column for every combination of levels that occurs."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import product

import numpy as np

from mlmfast.arrays import FloatArray, IntArray
from mlmfast.data.factor import Factor, cross_factors
from mlmfast.data.frame import Frame
from mlmfast.design.columns.contrasts import Coding
from mlmfast.design.columns.model_columns import FactorColumns, VariableColumns
from mlmfast.design.columns.model_matrix import INTERCEPT, ModelMatrixSpec, contrast_flags
from mlmfast.formula.terms import term_list


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
class Cells:
    """Cells of a term's factors, one an indicator, repeated for each product of its covariates.

    Attributes
    ----------
    codes : shape (n_cells, n_factors)
        Level of each factor in each cell that occurs.
    sizes
        Number of levels of each factor.
    by_contrasts
        Whether R codes each factor in this term by contrasts, or by all its levels.
    scales : shape (n_products,)
        What each product of the covariates was divided by.
    """

    codes: IntArray
    sizes: tuple[int, ...]
    by_contrasts: tuple[bool, ...]
    scales: FloatArray

    def coded(self, contrasts: Callable[[Sequence[str]], Coding]) -> FloatArray:
        """Values of a coding's columns in the cells, a block a product of covariates, (q, d).

        The columns of the products are those of mean square 1.
        """
        rows = np.ones((len(self.codes), 1))
        for k, size in enumerate(self.sizes):
            levels = [str(level) for level in range(size)]
            matrix = contrasts(levels).matrix if self.by_contrasts[k] else np.eye(size)
            own = matrix[self.codes[:, k]]
            # The first factor varies fastest, as in R.
            rows = (own[:, :, None] * rows[:, None, :]).reshape(len(rows), -1)
        return np.asarray(np.kron(np.eye(len(self.scales)), rows))


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
    cells
        What the columns of each term stand for.
    """

    terms: tuple[TermParts, ...]
    columns: list[FloatArray]
    term_of_column: IntArray
    cells: tuple[Cells, ...]


#: A term that is one covariate.
SINGLE = Cells(np.zeros((1, 0), dtype=np.intp), (), (), np.ones(1))


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
    flags = contrast_flags(structure, [isinstance(v, FactorColumns) for v in variables])
    terms = [TermParts(INTERCEPT)] if structure.intercept else []
    columns: list[FloatArray] = [np.ones(frame.n_rows)] if structure.intercept else []
    cells = [SINGLE] if structure.intercept else []
    positions = [0] * len(columns)
    for label, term, by_contrasts in zip(structure.labels, structure.terms, flags, strict=True):
        factors = frozenset(names[k] for k in term if _is_factor(variables[k]))
        terms.append(TermParts(label, factors, frozenset(names[k] for k in term) - factors))
        own, kind = _columns_of_term([variables[k] for k in term], by_contrasts, counts)
        columns += own
        cells.append(kind)
        positions += [len(terms) - 1] * len(own)
    return TermColumns(tuple(terms), columns, np.array(positions, dtype=np.intp), tuple(cells))


def columns_of_one_term(
    spec: ModelMatrixSpec, frame: Frame, label: str, counts: FloatArray
) -> tuple[list[FloatArray], Cells]:
    """What `term_columns` says of the term of a label, the others' columns not formed."""
    structure = term_list(spec.rhs)
    variables = [spec.variable(name, frame) for name in structure.variable_names]
    flags = contrast_flags(structure, [isinstance(v, FactorColumns) for v in variables])
    k = structure.labels.index(label)
    own = [variables[position] for position in structure.terms[k]]
    return _columns_of_term(own, flags[k], counts)


def _is_factor(variable: VariableColumns) -> bool:
    """Whether the variable's contrasts span its levels; fewer of them are covariates."""
    if not isinstance(variable, FactorColumns):
        return False
    coding = variable.coding
    if coding is None:
        return True
    spanned = np.column_stack([np.ones(len(coding.matrix)), coding.matrix])
    return bool(np.linalg.matrix_rank(spanned) == len(coding.matrix))


def _columns_of_term(
    variables: Sequence[VariableColumns], by_contrasts: Sequence[bool], counts: FloatArray
) -> tuple[list[FloatArray], Cells]:
    factors, flags, numeric = [], [], []
    for variable, flag in zip(variables, by_contrasts, strict=True):
        if isinstance(variable, FactorColumns) and _is_factor(variable):
            factors.append(variable.factor)
            flags.append(flag)
        else:
            numeric.append(variable.columns(True)[1])
    scaled = [of_mean_square_one(parts, counts) for parts in product(*numeric)]
    products, scales = [column for column, _ in scaled], np.array([size for _, size in scaled])
    if not factors:
        return products, Cells(SINGLE.codes, (), (), scales)
    crossed = cross_factors(factors)
    first = np.unique(crossed.codes, return_index=True)[1]
    codes = np.stack([factor.codes[first] for factor in factors], axis=1)
    sizes = tuple(factor.n_levels for factor in factors)
    columns = [cell * covariates for covariates in products for cell in _indicators(crossed)]
    return columns, Cells(codes.astype(np.intp), sizes, tuple(flags), scales)


def _indicators(cells: Factor) -> list[FloatArray]:
    return [(cells.codes == code).astype(np.float64) for code in range(cells.n_levels)]


def of_mean_square_one(parts: Sequence[FloatArray], counts: FloatArray) -> tuple[FloatArray, float]:
    """Product of columns over its root mean square, and that (1 where all is 0)."""
    column = np.ones(len(counts))
    for part in parts:
        column = column * part
    size = float(np.sqrt(counts @ column**2 / counts.sum()))
    return (column / size, size) if size > 0 else (column, 1.0)
