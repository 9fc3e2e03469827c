"""The space of estimable functions of a design, in coordinates fit for rank decisions."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from mlmfast.arrays import BoolArray, FloatArray, IntArray
from mlmfast.data.frame import Frame
from mlmfast.design.columns.model_matrix import ModelMatrixSpec
from mlmfast.errors import ModelError
from mlmfast.inference.anova.distinct_rows import distinct_rows
from mlmfast.inference.anova.terms import (
    SINGLE,
    Cells,
    TermColumns,
    TermParts,
    of_mean_square_one,
    term_columns,
)
from mlmfast.inference.contrasts.triangle import triangle_of
from mlmfast.running.cached import cached_property

# What a column of a term may stick out of the span of X, relative to its length.
_OUTSIDE = 1e-6
_RANK_TOLERANCE = 1e-13


@dataclass(frozen=True, eq=False)
class EstimableFunctions:
    """Linear functions of the coefficients that the data determine.

    With X = Q R over the columns kept, the terms' columns are Z = Q W. A function l of the
    coefficients of Z is estimable where l = W'g for some g, and is then g'R of the coefficients
    that are kept.

    Attributes
    ----------
    terms
        Terms in the order of the formula.
    root : shape (r, r)
        R; R'R = X'X.
    coordinates : shape (r, q)
        W, for all columns of all terms.
    term_of_column : shape (q,)
    alias : shape (r, p)
        All columns of X by those kept: X = X_kept alias.
    kept
        Positions of the columns kept.
    term_of_x
        For each column of X, the position of its term.
    cells
        What the columns of each term stand for.
    """

    terms: tuple[TermParts, ...]
    root: FloatArray
    coordinates: FloatArray
    term_of_column: IntArray
    alias: FloatArray
    kept: tuple[int, ...]
    term_of_x: tuple[int, ...]
    cells: tuple[Cells, ...]

    def kept_of_term(self, term: int) -> list[int]:
        """Positions of a term's columns among those kept."""
        return [i for i, j in enumerate(self.kept) if self.term_of_x[j] == term]

    @cached_property
    def coded(self) -> FloatArray:
        """Coordinates of all columns of X at length 1, aliased ones too, shape (r, p)."""
        columns = self.root @ self.alias
        lengths = np.linalg.norm(columns, axis=0)
        return np.asarray(columns / np.where(lengths > 0, lengths, 1.0))

    @cached_property
    def row_factors(self) -> tuple[FloatArray, FloatArray]:
        """L lower triangular, (r, r), and Q of orthonormal rows, (r, q), with W = L Q."""
        q, upper = np.linalg.qr(self.coordinates.T)
        return np.asarray(upper.T), np.asarray(q.T)

    def spanning(self, terms: Sequence[int]) -> BoolArray:
        """Columns that span those of some terms: few enough where no cell is empty, shape (q,).

        The indicators of a factor's first level follow from the others and from the term without
        the factor, where that is among the terms.
        """
        out = np.isin(self.term_of_column, terms)
        for t in terms:
            own, cells = self.terms[t], self.cells[t]
            below = sum(
                self.terms[o].is_contained_in(own)
                and len(self.terms[o].factors) == len(own.factors) - 1
                for o in terms
            )
            if below == sum(cells.by_contrasts):
                first = (cells.codes == 0) & np.array(cells.by_contrasts, dtype=np.bool_)
                out[self.term_of_column == t] = np.tile(~first.any(axis=1), len(cells.scales))
        return out

    def columns_of(self, terms: Sequence[int]) -> FloatArray:
        """Coordinates of the columns of some terms, shape (r, n_columns)."""
        return self.coordinates[:, np.isin(self.term_of_column, terms)]

    def in_metric(self, root: FloatArray) -> EstimableFunctions:
        """Use another inner product of the coefficients kept, given by its root (R'R)."""
        from scipy import linalg

        coordinates = root @ linalg.solve_triangular(self.root, self.coordinates)
        return replace(self, root=root, coordinates=coordinates)


def functions_of_formula(
    spec: ModelMatrixSpec,
    frame: Frame,
    kept: Sequence[int],
    weights: FloatArray | None = None,
) -> EstimableFunctions:
    """Estimable functions of the fixed part of a formula.

    Parameters
    ----------
    spec
        How X was built.
    frame
        The rows used.
    kept
        Positions of the columns of X that were estimated.
    weights : shape (n,)
        Of the rows, where the metric of types I and II is X'WX instead of X'X.

    Raises
    ------
    ModelError
        Where contrasts that do not span the levels of a factor stand beside its indicators, so
        that the terms do not say what was fitted.

    Examples
    --------
    >>> from mlmfast.design.columns.build_matrix import build_model_matrix
    >>> frame = Frame.from_native({"a": ["u", "u", "v", "v"]})
    >>> spec = build_model_matrix("a", frame).spec
    >>> functions = functions_of_formula(spec, frame, (0, 1))
    >>> [term.label for term in functions.terms], functions.coordinates.shape
    (['(Intercept)', 'a'], (2, 3))
    """
    rows, counts = distinct_rows(frame, spec.variables, weights)
    matrix = spec.build(rows)
    terms = term_columns(spec, rows, counts)
    return functions_of_terms(matrix.columns, matrix.term_of_column, terms, counts, kept)


def functions_of_columns(
    columns: Sequence[FloatArray | None],
    names: Sequence[str],
    kept: Sequence[int],
    weights: FloatArray | None = None,
) -> EstimableFunctions:
    """Estimable functions of a matrix without a formula: every column is a covariate of its own.

    Examples
    --------
    >>> functions = functions_of_columns([None, np.array([1.0, 2.0])], ["one", "x"], (0, 1))
    >>> [term.label for term in functions.terms]
    ['one', 'x']
    """
    n = next((len(column) for column in columns if column is not None), 1)
    filled = [np.ones(n) if column is None else column for column in columns]
    parts = tuple(TermParts(name, frozenset(), frozenset([name])) for name in names)
    counts = np.ones(n) if weights is None else weights
    scaled = [of_mean_square_one([column], counts) for column in filled]
    cells = tuple(replace(SINGLE, scales=np.array([size])) for _, size in scaled)
    terms = TermColumns(parts, [column for column, _ in scaled], np.arange(len(filled)), cells)
    return functions_of_terms(filled, range(len(filled)), terms, counts, kept)


def functions_of_terms(
    x: Sequence[FloatArray],
    term_of_x: Sequence[int],
    terms: TermColumns,
    counts: FloatArray,
    kept: Sequence[int],
) -> EstimableFunctions:
    """Estimable functions from the columns of X and those of its terms.

    Parameters
    ----------
    x, term_of_x
        Columns of X, and the term of each.
    terms, counts
        Columns of the terms, and how many rows each row stands for.
    kept
        Positions of the columns of X that were estimated.
    """
    aliased = [j for j in range(len(x)) if j not in set(kept)]
    columns = [*[x[j] for j in kept], *[x[j] for j in aliased], *terms.columns]
    triangle = triangle_of(columns, np.ones(len(columns)), np.sqrt(counts))
    r, n_aliased = len(kept), len(aliased)
    root = triangle[:r, :r]
    _check_span(triangle[:, r + n_aliased :], r)
    alias = np.zeros((r, len(x)))
    alias[:, list(kept)] = np.eye(r)
    from scipy import linalg

    alias[:, aliased] = linalg.solve_triangular(root, triangle[:r, r : r + n_aliased])
    return EstimableFunctions(
        terms.terms,
        root,
        triangle[:r, r + n_aliased :],
        terms.term_of_column,
        alias,
        tuple(kept),
        tuple(term_of_x),
        terms.cells,
    )


def _check_span(columns: FloatArray, rank: int) -> None:
    outside, length = np.linalg.norm(columns[rank:], axis=0), np.linalg.norm(columns, axis=0)
    sizes = np.linalg.svd(columns[:rank], compute_uv=False)
    is_spanned = rank == 0 or (len(sizes) == rank and sizes[-1] > _RANK_TOLERANCE * sizes[0])
    if (outside > _OUTSIDE * length).any() or not is_spanned:
        raise ModelError(
            "a factor has fewer contrasts than its levels need, and stands with all its levels in "
            "another term: which hypotheses its terms mean is not defined; use contrast() with "
            "the coefficients you mean, or contrasts that span the levels"
        )
