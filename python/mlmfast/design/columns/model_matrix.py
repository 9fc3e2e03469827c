"""Columns of a model matrix, named, ordered and coded as R's `model.matrix` does."""

from __future__ import annotations

from collections.abc import Container, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from weakref import WeakValueDictionary

import numpy as np

from mlmfast.arrays import FloatArray
from mlmfast.data.factor import Factor, factor_from_floats
from mlmfast.data.frame import Frame
from mlmfast.design.columns.expressions import States, evaluate
from mlmfast.design.columns.model_columns import (
    FactorColumns,
    NumericColumns,
    VariableColumns,
    product_columns,
)
from mlmfast.design.columns.model_variables import (
    FactorVariable,
    NumericVariable,
    variable_from_dict,
    variable_to_dict,
)
from mlmfast.design.columns.one_level import OneLevel
from mlmfast.design.columns.values import Basis, CodedFactor, Variable
from mlmfast.errors import DataError, MlmError
from mlmfast.formula.deparse import deparse
from mlmfast.formula.functions import variables_of
from mlmfast.formula.syntax import Node
from mlmfast.formula.terms import TermList, term_list

__all__ = ["INTERCEPT", "ModelMatrix", "ModelMatrixSpec"]

INTERCEPT = "(Intercept)"


#: Rows up to which the last columns of ones are kept, though nobody holds them.
_FEW = 10_000
#: Columns of ones that somebody holds, by their length: all intercepts of a model share one.
_ONES: WeakValueDictionary[int, FloatArray] = WeakValueDictionary()


def constant(n_rows: int) -> FloatArray:
    """A column of ones, not to be written to.

    Examples
    --------
    >>> constant(3)
    array([1., 1., 1.])
    """
    return _few_ones(n_rows) if n_rows <= _FEW else _ones(n_rows)


def _ones(n_rows: int) -> FloatArray:
    found = _ONES.get(n_rows)
    if found is None:
        found = np.ones(n_rows)
        found.flags.writeable = False
        _ONES[n_rows] = found
    return found


@lru_cache(maxsize=8)
def _few_ones(n_rows: int) -> FloatArray:
    return _ones(n_rows)


@dataclass(frozen=True, eq=False)
class ModelMatrix:
    """A model matrix as its columns.

    Attributes
    ----------
    columns : list of contiguous float64 arrays, shape (n,)
        A plain numeric column is the data frame's own memory: do not write to it.
    names : tuple of str
        R's column names.
    term_of_column : tuple of int
        For each column, the position of its term in `terms`.
    terms : tuple of str
        R's term labels; the first is "(Intercept)" where there is an intercept.
    spec : ModelMatrixSpec
        What builds the same matrix from other rows.
    """

    columns: list[FloatArray]
    names: tuple[str, ...]
    term_of_column: tuple[int, ...]
    terms: tuple[str, ...]
    spec: ModelMatrixSpec
    #: The names of all columns, those not formed among them, and where they are.
    absorbed: AbsorbedColumns | None = None


@dataclass(frozen=True, eq=False)
class AbsorbedColumns:
    """Columns that are not formed: those of one factor, and the intercept.

    Attributes
    ----------
    factor
        The factor.
    names
        Names of all columns of the matrix.
    first
        Position of the factor's first column.
    by_contrasts, intercept, term
        Whether it is coded by contrasts; whether there is an intercept; position of its term.
    """

    factor: Factor
    names: tuple[str, ...]
    first: int
    by_contrasts: bool
    intercept: bool
    term: int


@dataclass(frozen=True, eq=False)
class ModelMatrixSpec:
    """How a model matrix was built: enough to build it again from new rows.

    Attributes
    ----------
    rhs : text of the right-hand side.
    coded : for each variable of the formula, by its text, how it gives columns.
    states : what `poly`, `scale`, ... remember, by call.

    Examples
    --------
    >>> from mlmfast.design.columns.build_matrix import build_model_matrix
    >>> frame = Frame.from_native({"x": [1.0, 2.0, 3.0], "f": ["a", "b", "a"]})
    >>> spec = build_model_matrix("f + x", frame).spec
    >>> spec.build(Frame.from_native({"x": [5.0], "f": ["b"]})).columns
    [array([1.]), array([1.]), array([5.])]
    """

    rhs: str
    coded: Mapping[str, NumericVariable | FactorVariable]
    states: States
    #: A factor whose columns, and the intercept, are not formed.
    absorbed: str | None = None
    #: The level of a column outside which all columns are 0.
    only: OneLevel | None = None

    @property
    def variables(self) -> tuple[str, ...]:
        """Columns of the data that the matrix is made from."""
        own = variables_of(self.rhs)
        return own if self.only is None else tuple(dict.fromkeys((*own, self.only.column)))

    @property
    def factors(self) -> dict[str, tuple[str, ...]]:
        """For each term, without the intercept, the variables that it multiplies."""
        structure = term_list(self.rhs)
        names = structure.variable_names
        return {
            label: tuple(names[k] for k in term)
            for label, term in zip(structure.labels, structure.terms, strict=True)
        }

    @property
    def levels(self) -> dict[str, tuple[str, ...]]:
        """For each variable that is a factor, its levels."""
        return {
            name: variable.levels
            for name, variable in self.coded.items()
            if isinstance(variable, FactorVariable)
        }

    @property
    def contrasted(self) -> frozenset[str]:
        """Factors that some term codes by contrasts, and not by indicators of their levels."""
        structure = term_list(self.rhs)
        names = structure.variable_names
        is_factor = [isinstance(self.coded[name], FactorVariable) for name in names]
        flags = zip(structure.terms, contrast_flags(structure, is_factor), strict=True)
        return frozenset(
            names[k]
            for term, own in flags
            for k, by_contrasts in zip(term, own, strict=True)
            if by_contrasts and is_factor[k]
        )

    def build(self, frame: Frame, chosen: Container[int] | None = None) -> ModelMatrix:
        """Build the matrix of other rows, with the levels, contrasts and states of the fit's.

        Parameters
        ----------
        frame
            The rows.
        chosen
            Positions, in `ModelMatrix.terms`, of the terms whose columns are wanted; None: all.
        """
        structure = term_list(self.rhs)
        # A copy, so that no call can add to the states of the fit.
        states = {label: dict(state) for label, state in self.states.items()}
        used = _variables_of_terms(structure, chosen)
        columns = [
            self._columns(name, _evaluated(node, frame, states)) if k in used else None
            for k, (name, node) in enumerate(
                zip(structure.variable_names, structure.variables, strict=True)
            )
        ]
        matrix = _assemble(self, structure, columns, frame.n_rows, chosen)
        return matrix if self.only is None else of_one_level(matrix, self.only, frame)

    def variable(self, name: str, frame: Frame) -> VariableColumns:
        """Columns that one variable of the formula gives, from other rows."""
        structure = term_list(self.rhs)
        node = structure.variables[structure.variable_names.index(name)]
        states = {label: dict(state) for label, state in self.states.items()}
        return self._columns(name, _evaluated(node, frame, states))

    def _columns(self, name: str, value: Variable) -> VariableColumns:
        variable = self.coded[name]
        if isinstance(variable, NumericVariable):
            columns = _numeric_columns(name, value)
            if len(columns.arrays) != variable.n_columns:
                raise DataError(
                    f"{name} gives {len(columns.arrays)} columns for these rows, and gave "
                    f"{variable.n_columns} for those of the fit; if the fit was loaded, its file "
                    "is damaged"
                )
            return columns
        factor = _as_trained_factor(name, value, variable.levels)
        return FactorColumns(name, factor, variable.coding)

    def to_dict(self) -> dict[str, object]:
        """Return the spec as JSON-able data.

        Examples
        --------
        >>> from mlmfast.design.columns.build_matrix import build_model_matrix
        >>> frame = Frame.from_native({"x": [1.0, 2.0]})
        >>> build_model_matrix("x", frame).spec.to_dict()
        {'rhs': 'x', 'coded': {'x': {'n_columns': 1}}, 'states': {}}
        """
        coded = {name: variable_to_dict(variable) for name, variable in self.coded.items()}
        out: dict[str, object] = {"rhs": self.rhs, "coded": coded, "states": self.states}
        if self.only is not None:
            out["only"] = [self.only.column, self.only.level, list(self.only.known)]
        return out

    @classmethod
    def from_dict(cls, data: Mapping[str, object]) -> ModelMatrixSpec:
        """Read what `to_dict` wrote."""
        rhs, coded, states = data["rhs"], data["coded"], data["states"]
        if not isinstance(rhs, str) or not isinstance(coded, dict) or not isinstance(states, dict):
            raise DataError("this is not a saved model matrix specification")
        if not all(isinstance(state, dict) for state in states.values()):
            raise DataError("this is not a saved model matrix specification")
        variables = {str(name): variable_from_dict(item) for name, item in coded.items()}
        return cls(rhs, variables, states, only=_only(data.get("only")))


def of_one_level(matrix: ModelMatrix, only: OneLevel, frame: Frame) -> ModelMatrix:
    """The matrix with 0 in the rows of other levels, and with names that say whose it is.

    Raises
    ------
    DataError
        Where rows have a level that is not known.
    """
    inside = only.inside(frame)
    return replace(
        matrix,
        columns=[np.where(inside, column, 0.0) for column in matrix.columns],
        names=tuple(f"{name}:{only.column}{only.level}" for name in matrix.names),
        spec=replace(matrix.spec, only=only),
    )


def _only(value: object) -> OneLevel | None:
    if value is None:
        return None
    column, level, known = value if isinstance(value, list) and len(value) == 3 else (0, 0, 0)
    if not isinstance(known, list) or level not in known:
        raise DataError("this is not a saved model matrix specification")
    if not all(isinstance(text, str) for text in (column, *known)):
        raise DataError("this is not a saved model matrix specification")
    return OneLevel(str(column), str(level), tuple(known))


def _evaluated(node: Node, frame: Frame, states: States) -> Variable:
    """A variable for other rows; what a saved fit keeps of it may have been edited."""
    try:
        return evaluate(node, frame, states)
    except MlmError:
        raise
    except (ArithmeticError, AssertionError, LookupError, TypeError, ValueError) as error:
        raise DataError(
            f"{deparse(node)} cannot be evaluated for these rows by what the fit keeps of it "
            f"({error}); if the fit was loaded, its file is damaged"
        ) from error


def contrast_flags(structure: TermList, is_factor: list[bool]) -> list[tuple[bool, ...]]:
    """Whether each variable of each term is coded by contrasts rather than by indicators.

    Without an intercept the first factor of the first term that has one is not, as in R.
    """
    flags = list(structure.by_contrasts)
    if structure.intercept:
        return flags
    for t, term in enumerate(structure.terms):
        for position, k in enumerate(term):
            if is_factor[k]:
                flags[t] = (*flags[t][:position], False, *flags[t][position + 1 :])
                return flags
    return flags


def _numeric_columns(name: str, value: Variable) -> NumericColumns:
    if isinstance(value, CodedFactor):
        raise DataError(f"{name!r} was numeric in the data of the fit and is a factor here")
    if isinstance(value, Basis):
        matrix = np.asfortranarray(value.values)
        width = matrix.shape[1]
        numbered = (name,) if width == 1 else tuple(f"{name}{j + 1}" for j in range(width))
        names = value.names or numbered
        return NumericColumns(names, [matrix[:, j] for j in range(width)])
    return NumericColumns((name,), [value])


def _as_trained_factor(name: str, value: Variable, levels: tuple[str, ...]) -> Factor:
    """Codes of new rows in the levels of the fit."""
    if isinstance(value, Basis):
        raise DataError(f"{name!r} was a factor in the data of the fit and is numeric here")
    # Numbers stand for the levels that print like them.
    factor = value.factor if isinstance(value, CodedFactor) else factor_from_floats(value)
    codes, unknown = factor.recode(levels)
    if unknown:
        raise DataError(
            f"{name!r} has the level {unknown[0]!r}, which the data of the fit did not have; "
            f"known are {', '.join(levels[:20])}{' ...' if len(levels) > 20 else ''}"
        )
    return Factor(codes, levels, np.array(levels, dtype=object))


def _variables_of_terms(structure: TermList, chosen: Container[int] | None) -> set[int]:
    """Positions of the variables that some terms multiply."""
    if chosen is None:
        return set(range(len(structure.variables)))
    first = int(structure.intercept)
    return {k for t, term in enumerate(structure.terms) if first + t in chosen for k in term}


def _assemble(
    spec: ModelMatrixSpec,
    structure: TermList,
    variables: Sequence[VariableColumns | None],
    n_rows: int,
    chosen: Container[int] | None = None,
) -> ModelMatrix:
    is_factor = [isinstance(spec.coded[name], FactorVariable) for name in structure.variable_names]
    flags = contrast_flags(structure, is_factor)
    if spec.absorbed is not None:
        return _assemble_without(spec, structure, variables, flags)
    has_constant = structure.intercept and (chosen is None or 0 in chosen)
    columns = [constant(n_rows)] if has_constant else []
    names = [INTERCEPT] if has_constant else []
    terms = (INTERCEPT, *structure.labels) if structure.intercept else structure.labels
    term_of_column = [0] * len(names)
    first = int(structure.intercept)
    for t, term in enumerate(structure.terms):
        if chosen is not None and first + t not in chosen:
            continue
        parts = [_of(variables, k).columns(f) for k, f in zip(term, flags[t], strict=True)]
        term_names, term_columns = product_columns(parts)
        columns += term_columns
        names += term_names
        term_of_column += [first + t] * len(term_names)
    return ModelMatrix(columns, tuple(names), tuple(term_of_column), terms, spec)


def _of(variables: Sequence[VariableColumns | None], position: int) -> VariableColumns:
    own = variables[position]
    assert own is not None, "the variables of all terms wanted were evaluated"
    return own


def _assemble_without(
    spec: ModelMatrixSpec,
    structure: TermList,
    variables: Sequence[VariableColumns | None],
    flags: list[tuple[bool, ...]],
) -> ModelMatrix:
    """The columns but those of the factor that is absorbed and the intercept."""
    own = structure.variable_names.index(str(spec.absorbed))
    factor = variables[own]
    assert isinstance(factor, FactorColumns), "a factor was chosen"
    columns: list[FloatArray] = []
    names: list[str] = []
    term_of_column: list[int] = []
    whole = [INTERCEPT] if structure.intercept else []
    first, by_contrasts, position = 0, False, 0
    start = len(whole)
    for t, (term, flag) in enumerate(zip(structure.terms, flags, strict=True)):
        if term == (own,):
            first, by_contrasts, position = len(whole), flag[0], start + t
            levels = factor.factor.levels[1:] if by_contrasts else factor.factor.levels
            whole += [factor.name + level for level in levels]
            continue
        parts = [_of(variables, k).columns(f) for k, f in zip(term, flag, strict=True)]
        term_names, term_columns = product_columns(parts)
        columns += term_columns
        names += term_names
        whole += term_names
        term_of_column += [start + t] * len(term_names)
    terms = (INTERCEPT, *structure.labels) if structure.intercept else structure.labels
    absorbed = AbsorbedColumns(
        factor.factor, tuple(whole), first, by_contrasts, structure.intercept, position
    )
    return ModelMatrix(columns, tuple(names), tuple(term_of_column), terms, spec, absorbed)
