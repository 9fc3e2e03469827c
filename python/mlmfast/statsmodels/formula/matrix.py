"""Model matrices with patsy's columns, names and order."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np

from mlmfast.arrays import FloatArray
from mlmfast.data.factor import Factor
from mlmfast.data.frame import Frame
from mlmfast.design.columns.contrasts import Coding, contrast_coding
from mlmfast.design.columns.expressions import States, evaluate
from mlmfast.design.columns.model_columns import NamedColumns, coded_columns, product_columns
from mlmfast.design.columns.values import Basis, CodedFactor, Variable
from mlmfast.errors import DataError, FormulaError
from mlmfast.formula.contrast_calls import Contrast
from mlmfast.formula.functions import check_functions, variables_of
from mlmfast.formula.syntax import Call, Node, parse
from mlmfast.statsmodels.errors import MissingDataError, PatsyFormulaError
from mlmfast.statsmodels.formula.coding import coded_terms
from mlmfast.statsmodels.formula.terms import Term, Terms

INTERCEPT = "Intercept"

#: patsy's word for a contrast in a column's name.
_LETTER = {"contr.treatment": "T", "contr.sum": "S", "contr.helmert": "H", "contr.sdif": "D"}
_POWERS = (".Linear", ".Quadratic", ".Cubic")


@dataclass(frozen=True, eq=False)
class LevelCoding:
    """A factor's levels, and its contrasts; None where only indicators are wanted."""

    levels: tuple[str, ...]
    labels: tuple[str, ...]
    kind: str
    reduced: Coding | None


#: How new rows of a factor are coded; None for numbers.
Codings: TypeAlias = Mapping[str, LevelCoding | None]


@dataclass(frozen=True, eq=False)
class MatrixSpec:
    """How a matrix was built: enough to build it again from new rows."""

    terms: Terms
    codings: Codings
    states: States
    rows: int
    #: Columns of each numeric variable.
    widths: Mapping[str, int]

    @property
    def columns_of_terms(self) -> dict[str, int]:
        """Names of the terms in the order of their columns, and how many each has."""
        out = {}
        numeric = frozenset(name for name, coding in self.codings.items() if coding is None)
        for term, parts in coded_terms(self.terms.terms, numeric):
            widths = [self._width(term, part) for part in parts]
            out[":".join(term) or INTERCEPT] = sum(widths)
        return out

    def _width(self, term: Term, part: Mapping[str, bool]) -> int:
        out = 1
        for factor in term:
            coding = self.codings[factor]
            if coding is None:
                out *= self.widths[factor]
            elif factor in part:
                out *= len(coding.levels) - (not part[factor])
        return out

    def build(self, frame: Frame) -> NamedColumns:
        """Names and columns for other rows.

        Raises
        ------
        DataError
            For a level that the model does not know.
        """
        values = {
            name: _evaluated(name, frame, self.states, self.rows) for name in self.terms.factors
        }
        return _assembled(self.terms, values, self.codings, frame.n_rows)


@dataclass(frozen=True, eq=False)
class FormulaMatrix:
    """A matrix as its columns, patsy's names, and what rebuilds it."""

    names: tuple[str, ...]
    columns: list[FloatArray]
    spec: MatrixSpec


def build_matrix(terms: Terms, frame: Frame) -> FormulaMatrix:
    """The matrix of one side of a formula.

    Examples
    --------
    >>> from mlmfast.statsmodels.formula.terms import read_formula
    >>> frame = Frame.from_native({"x": [1.0, 2.0, 4.0], "g": ["a", "b", "b"]})
    >>> build_matrix(read_formula("y ~ x * C(g)")[1], frame).names
    ('Intercept', 'C(g)[T.b]', 'x', 'x:C(g)[T.b]')
    """
    states: States = {}
    values = {name: _evaluated(name, frame, states, frame.n_rows) for name in terms.factors}
    codings = {name: _coding(name, value) for name, value in values.items()}
    names, columns = _assembled(terms, values, codings, frame.n_rows)
    widths = {
        name: value.values.shape[1] if isinstance(value, Basis) else 1
        for name, value in values.items()
    }
    spec = MatrixSpec(terms, codings, states, frame.n_rows, widths)
    return FormulaMatrix(tuple(names), columns, spec)


def lone_factor(terms: Terms, frame: Frame) -> tuple[Factor, list[str]] | None:
    """The factor whose indicators are all the columns of a side, with their names.

    None where it holds anything else; its columns are not formed.
    """
    if len(terms.terms) != 1 or len(terms.terms[0]) != 1:
        return None
    name = terms.factors[0]
    value = _evaluated(name, frame, {}, frame.n_rows)
    if not isinstance(value, CodedFactor):
        return None
    if value.contrast is not None and value.contrast.kind != "contr.treatment":
        return None
    return value.factor, [f"{name}[{label}]" for label in _labels(value.factor)]


def columns_used(texts: Sequence[str]) -> list[str]:
    """Columns of the data that expressions use.

    Raises
    ------
    PatsyFormulaError
        For a function that formulas do not know.
    """
    found: dict[str, None] = {}
    try:
        for text in texts:
            check_functions(parse(text))
            found.update(dict.fromkeys(variables_of(text)))
    except FormulaError as error:
        raise PatsyFormulaError(str(error)) from None
    return list(found)


def _evaluated(text: str, frame: Frame, states: States, rows: int) -> Variable:
    node = parse(text)
    _refuse_other_bases(text)
    try:
        value = evaluate(node, frame, states)
    except FormulaError as error:
        raise PatsyFormulaError(str(error)) from None
    if isinstance(value, CodedFactor):
        if value.factor.has_missing():
            raise MissingDataError(f"{text!r} has missing values; missing='drop' leaves rows out")
        return value
    numbers = value.values if isinstance(value, Basis) else value
    if np.isnan(numbers).any():
        raise MissingDataError(f"{text!r} has missing values; missing='drop' leaves rows out")
    if _standardizes(node, text) and rows > 1:
        # patsy divides by the standard deviation of n, R and `scale` by that of n - 1.
        numbers = numbers * np.sqrt(rows / (rows - 1))
        return Basis(numbers) if isinstance(value, Basis) else numbers
    return value


def _refuse_other_bases(text: str) -> None:
    """Refuse splines that patsy means otherwise: its `cr` has columns that are values at knots."""
    if re.search(r"(?<![\w.])(?:cr|cc|te)\(", text):
        raise PatsyFormulaError(
            f"{text}: patsy's cr, cc and te are not offered; bs(x, df=4) is, and columns made "
            "beforehand are"
        )


def _standardizes(node: Node, text: str) -> bool:
    """Whether an expression is a call of patsy's `standardize`, which is refused elsewhere."""
    if isinstance(node, Call) and node.function in ("scale", "standardize"):
        if len(node.arguments) > 1 or node.keywords:
            raise PatsyFormulaError(f"{text}: {node.function} takes one variable and no options")
        return True
    if "standardize(" in text or "scale(" in text:
        raise PatsyFormulaError(f"{text}: compute the standardized variable as a column first")
    return False


def _coding(name: str, value: Variable) -> LevelCoding | None:
    if not isinstance(value, CodedFactor):
        return None
    factor = value.factor
    contrast = value.contrast or Contrast("contr.treatment")
    reduced = None
    if factor.n_levels > 1:
        try:
            reduced = contrast_coding(contrast, factor.levels, name, numeric=factor.is_numeric)
        except FormulaError as error:
            raise PatsyFormulaError(str(error)) from None
    return LevelCoding(factor.levels, _labels(factor), contrast.kind, reduced)


def _labels(factor: Factor) -> tuple[str, ...]:
    """Levels as patsy prints them: as Python does."""
    if not factor.is_numeric:
        return factor.levels
    return tuple(str(value) for value in factor.values.tolist())


def _assembled(
    terms: Terms, values: Mapping[str, Variable], codings: Codings, n: int
) -> NamedColumns:
    numeric = frozenset(name for name, coding in codings.items() if coding is None)
    names: list[str] = []
    columns: list[FloatArray] = []
    for term, parts in coded_terms(terms.terms, numeric):
        for part in parts:
            own = _part_columns(term, part, values, codings, n)
            names += own[0]
            columns += own[1]
    return names, columns


def _part_columns(
    term: Term, part: Mapping[str, bool], values: Mapping[str, Variable], codings: Codings, n: int
) -> NamedColumns:
    pieces = []
    for factor in term:
        value, coding = values[factor], codings[factor]
        if coding is None:
            pieces.append(_numeric(factor, value))
        elif factor in part:
            pieces.append(_categorical(factor, value, coding, part[factor]))
    if not pieces:
        return [INTERCEPT], [np.ones(n)]
    return product_columns(pieces)


def _numeric(name: str, value: Variable) -> NamedColumns:
    if isinstance(value, CodedFactor):
        raise DataError(f"{name} was a number in the data of the fit and is categorical here")
    if isinstance(value, Basis):
        k = value.values.shape[1]
        return [f"{name}[{j}]" for j in range(k)], [
            np.ascontiguousarray(value.values[:, j]) for j in range(k)
        ]
    return [name], [value]


def _categorical(name: str, value: Variable, coding: LevelCoding, full: bool) -> NamedColumns:
    if not isinstance(value, CodedFactor):
        raise DataError(f"{name} was categorical in the data of the fit and is a number here")
    factor = value.factor
    if factor.levels != coding.levels:
        codes, unknown = factor.recode(coding.levels)
        if unknown:
            raise DataError(f"{name}: the model does not know the level {unknown[0]!r}")
        factor = Factor(codes, coding.levels, np.array(coding.levels, dtype=object))
    if full:
        labels, matrix = _full(coding)
    elif coding.reduced is None:
        # One level, which the margin stands for: no column, as in patsy.
        return [], []
    else:
        labels, matrix = _reduced(coding, coding.reduced)
    return [name + label for label in labels], coded_columns(factor, matrix)


def _reduced(coding: LevelCoding, contrasts: Coding) -> tuple[list[str], FloatArray]:
    matrix = contrasts.matrix
    if coding.kind == "contr.poly":
        names = [*_POWERS, *(f"^{k}" for k in range(4, len(coding.levels)))]
        return names[: matrix.shape[1]], matrix
    letter = _LETTER.get(coding.kind, "T")
    if coding.kind == "contr.sdif":
        labels = coding.labels[:-1]
    elif coding.kind == "contr.helmert":
        labels = coding.labels[1:]
    else:
        # Each column is named by the level whose own row has a 1 and no other column's.
        labels = tuple(coding.labels[k] for k in np.argmax(matrix == 1.0, axis=0))
    return [f"[{letter}.{label}]" for label in labels], matrix


def _full(coding: LevelCoding) -> tuple[list[str], FloatArray]:
    n = len(coding.levels)
    first = {"contr.sum": "[mean]", "contr.helmert": "[H.intercept]", "contr.poly": ".Constant"}
    if coding.kind not in first or coding.reduced is None:
        if coding.kind == "contr.sdif":
            raise PatsyFormulaError("Diff contrasts need the intercept, or the margin of the term")
        return [f"[{label}]" for label in coding.labels], np.eye(n)
    names, matrix = _reduced(coding, coding.reduced)
    return [first[coding.kind], *names], np.hstack([np.ones((n, 1)), matrix])
