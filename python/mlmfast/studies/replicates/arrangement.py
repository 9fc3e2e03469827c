"""Which data sets share what, so that they are fitted together.

Fits are the same to the bit whichever way is taken; this is about time alone.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from mlmfast.arrays import FloatArray
from mlmfast.design.input_columns import variables_used
from mlmfast.design.residual.scale import parse_scale
from mlmfast.formula.functions import variables_of
from mlmfast.formula.mixed_formula import MixedFormula, parse_formula
from mlmfast.formula.residual_formula import parse_residual
from mlmfast.formula.row_wise import is_row_wise
from mlmfast.formula.syntax import Name, parse
from mlmfast.studies.plan.method import Method
from mlmfast.studies.replicates.data_set import DataSet


@dataclass(frozen=True)
class Arrangement:
    """Positions of data sets by the way they are fitted.

    Attributes
    ----------
    same
        Lists of data sets that differ in their responses only.
    alike
        Lists of data sets that differ in numeric covariates too.
    others
        Those that are fitted one by one.
    """

    same: tuple[tuple[int, ...], ...]
    alike: tuple[tuple[int, ...], ...]
    others: tuple[int, ...]


@dataclass(frozen=True)
class Variables:
    """The columns that a method reads, by their part in it.

    Attributes
    ----------
    response
        Column of the response; None where it is an expression, or on the right side too.
    structure
        Columns that group rows, or stand where a factor does.
    others
        Other columns.
    by_row
        Whether each row of X and Z depends on the values of that row alone.
    """

    response: str | None
    structure: tuple[str, ...]
    others: tuple[str, ...]
    by_row: bool

    @classmethod
    def of(cls, method: Method) -> Variables:
        """Those of a method."""
        formula = parse_formula(method.formula)
        residual = None if method.residual is None else parse_residual(method.residual)
        scale = None if method.residual_scale is None else parse_scale(method.residual_scale)
        right = _without_response(formula)
        arguments = (method.weights, method.offset)
        used = dict.fromkeys(variables_used(right, residual, scale, arguments))
        groups = dict.fromkeys(name for term in formula.random for name in term.group)
        node = parse(formula.response)
        alone = isinstance(node, Name) and variables_of(formula.response) == (node.name,)
        response = node.name if isinstance(node, Name) and alone and node.name not in used else None
        plain = (residual, scale, *arguments, method.contrasts, method.options)
        return cls(
            response,
            tuple(groups),
            tuple(name for name in used if name not in groups),
            all(part is None for part in plain) and is_row_wise(formula),
        )


def _without_response(formula: MixedFormula) -> MixedFormula:
    return MixedFormula("1", formula.fixed, formula.random, formula.offsets, formula.text)


def arrange(data: Sequence[DataSet], variables: Variables) -> Arrangement:
    """Sort data sets by what they share."""
    if variables.response is None:
        return Arrangement((), (), tuple(range(len(data))))
    rows: dict[int, Rows] = {}
    # Columns that many share are looked at once too.
    known: dict[int, _Looked] = {}
    others: list[int] = []
    same: dict[Any, list[int]] = {}
    found: dict[int, Rows] = {}
    for position, one in enumerate(data):
        # Rows that many share are looked at once.
        source = id(one.shared_by(variables.response))
        if source not in rows:
            rows[source] = Rows.of(one, variables, known)
        own = rows[source]
        if own.everything is None or response_of(one, variables) is None:
            others.append(position)
        else:
            same.setdefault(own.everything, []).append(position)
            found[position] = own
    several = [positions for positions in same.values() if len(positions) > 1]
    alike: dict[Any, list[int]] = {}
    for position in [positions[0] for positions in same.values() if len(positions) == 1]:
        key = found[position].structure
        if key is None or not _is_whole(response_of(data[position], variables)):
            others.append(position)
        else:
            alike.setdefault(key, []).append(position)
    others += [positions[0] for positions in alike.values() if len(positions) == 1]
    together = [tuple(positions) for positions in alike.values() if len(positions) > 1]
    return Arrangement(tuple(map(tuple, several)), tuple(together), tuple(sorted(others)))


@dataclass(frozen=True)
class Rows:
    """What the rows of a data set hold beside the response, so that it can be compared.

    Attributes
    ----------
    everything
        All columns; None where one is of a kind that is not compared here.
    structure
        All but numeric covariates; None where these are not numbers in every row, or the model's
        matrices go by more than a row.
    """

    everything: tuple[Any, ...] | None
    structure: tuple[Any, ...] | None

    @classmethod
    def of(cls, data: DataSet, variables: Variables, known: dict[int, _Looked]) -> Rows:
        """Those of a data set; ``known`` holds what was found of arrays that others have too."""
        everything: list[Any] = []
        structure: list[Any] = []
        whole = variables.by_row
        for name in (*variables.structure, *variables.others):
            column = data.column(name)
            looked = known.get(id(column))
            if looked is None:
                looked = _Looked.at(column)
                if isinstance(column, np.ndarray):
                    known[id(column)] = looked
            if looked.content is None:
                return cls(None, None)
            everything.append(looked.content)
            if name in variables.structure or not looked.numeric:
                structure.append(looked.content)
            else:
                whole = whole and looked.whole
        return cls(tuple(everything), tuple(structure) if whole else None)


class _Looked(NamedTuple):
    """What stands for a column's values, whether they are numbers, and a finite one in each row."""

    content: tuple[Any, ...] | None
    numeric: bool
    whole: bool

    @classmethod
    def at(cls, column: Any) -> _Looked:
        content = None if column is None else _content(column)
        values = None if content is None else plain_numbers(column)
        return cls(content, values is not None, _is_whole(values))


def response_of(data: DataSet, variables: Variables) -> FloatArray | None:
    """The response as floats, if it is a column of finite or missing numbers."""
    assert variables.response is not None
    values = plain_numbers(data.column(variables.response))
    if values is None or _is_whole(values):
        return values
    return None if np.isinf(values).any() else values


def _is_whole(values: FloatArray | None) -> bool:
    """Whether there is a finite number in every row: a finite sum says so at once."""
    if values is None:
        return False
    return math.isfinite(values.sum()) or bool(np.isfinite(values).all())


def plain_numbers(column: Any) -> FloatArray | None:
    """A column of NumPy's integers or floats as floats."""
    dtype = getattr(column, "dtype", None)
    if not isinstance(dtype, np.dtype) or dtype.kind not in "iuf":
        return None
    return np.asarray(column, dtype=np.float64)


def _content(column: Any) -> tuple[Any, ...] | None:
    """What stands for a column's values; None for a kind that is not compared here."""
    dtype = column.dtype
    if isinstance(dtype, pd.CategoricalDtype):
        kind = repr((list(dtype.categories), str(dtype.categories.dtype), dtype.ordered))
        return kind, len(column), _digest(column.cat.codes.to_numpy())
    values = np.asarray(column)
    kind = dtype.str if isinstance(dtype, np.dtype) else str(dtype)
    if not values.dtype.hasobject:
        return kind, len(values), _digest(np.ascontiguousarray(values))
    texts = values.tolist()
    if not all(isinstance(item, str) for item in texts):
        return None
    return kind, len(values), _digest(repr(texts).encode())


def _digest(content: Any) -> bytes:
    return hashlib.blake2b(content, digest_size=16).digest()
