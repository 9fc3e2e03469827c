"""Which data sets share what, so that they are fitted together.

Fits are the same to the bit whichever way is taken; this is about time alone.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from mlmfast.arrays import FloatArray
from mlmfast.design.input_columns import variables_used
from mlmfast.design.residual.scale import parse_scale
from mlmfast.formula.functions import data_parts, mathematical, variables_of
from mlmfast.formula.mixed_formula import MixedFormula, parse_formula
from mlmfast.formula.residual_formula import parse_residual
from mlmfast.formula.syntax import Call, Name, Node, parse
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
            all(part is None for part in plain) and not formula.offsets and _by_row(formula),
        )


def _without_response(formula: MixedFormula) -> MixedFormula:
    return MixedFormula("1", formula.fixed, formula.random, formula.offsets, formula.text)


def _by_row(formula: MixedFormula) -> bool:
    expressions = [formula.fixed, *(term.expression for term in formula.random)]
    structures = {term.structure for term in formula.random}
    # Terms of one factor would be two sets of effects with a covariance of their own.
    one_each = len({term.group for term in formula.random}) == len(formula.random)
    calls = [call for text in expressions for call in _calls(parse(text))]
    row_wise = all(call == "I" or mathematical(call) is not None for call in calls)
    return row_wise and one_each and structures == {"us"}


def _calls(node: Node) -> list[str]:
    own = [node.function] if isinstance(node, Call) else []
    return own + [name for part in data_parts(node) for name in _calls(part)]


def arrange(data: Sequence[DataSet], variables: Variables) -> Arrangement:
    """Sort data sets by what they share."""
    if variables.response is None:
        return Arrangement((), (), tuple(range(len(data))))
    others: list[int] = []
    same: dict[bytes, list[int]] = {}
    names = (*variables.structure, *variables.others)
    shared: dict[int, bytes | None] = {}
    for position, one in enumerate(data):
        if one.base is None:
            key = _key(one, names)
        else:
            if id(one.base) not in shared:
                shared[id(one.base)] = _key(one, names)
            key = shared[id(one.base)]
        if key is None or response_of(one, variables) is None:
            others.append(position)
        else:
            same.setdefault(key, []).append(position)
    several = [positions for positions in same.values() if len(positions) > 1]
    left = [positions[0] for positions in same.values() if len(positions) == 1]
    alike: dict[bytes, list[int]] = {}
    for position in left:
        key = _alike_key(data[position], variables)
        if key is None:
            others.append(position)
        else:
            alike.setdefault(key, []).append(position)
    others += [positions[0] for positions in alike.values() if len(positions) == 1]
    together = [tuple(positions) for positions in alike.values() if len(positions) > 1]
    return Arrangement(tuple(map(tuple, several)), tuple(together), tuple(sorted(others)))


def response_of(data: DataSet, variables: Variables) -> FloatArray | None:
    """The response as floats, if it is a column of finite or missing numbers."""
    assert variables.response is not None
    values = plain_numbers(data.column(variables.response))
    return None if values is None or np.isinf(values).any() else values


def plain_numbers(column: Any) -> FloatArray | None:
    """A column of NumPy's integers or floats as floats."""
    dtype = getattr(column, "dtype", None)
    if not isinstance(dtype, np.dtype) or dtype.kind not in "iuf":
        return None
    return np.asarray(column, dtype=np.float64)


def _alike_key(data: DataSet, variables: Variables) -> bytes | None:
    """What data sets share that differ in numeric covariates; None where that does not serve."""
    response = response_of(data, variables)
    if not variables.by_row or response is None or np.isnan(response).any():
        return None
    structure = list(variables.structure)
    for name in variables.others:
        values = plain_numbers(data.column(name))
        if values is None:
            structure.append(name)
        elif not np.isfinite(values).all():
            return None
    return _key(data, structure)


def _key(data: DataSet, names: Sequence[str]) -> bytes | None:
    """Digest of columns' contents; None where one is not of a kind that is compared here."""
    total = hashlib.blake2b(digest_size=16)
    for name in names:
        column = data.column(name)
        content = None if column is None else _content(column)
        if content is None:
            return None
        for part in (name.encode(), *content):
            total.update(len(part).to_bytes(8, "little"))
            total.update(part)
    return total.digest()


def _content(column: Any) -> tuple[bytes, ...] | None:
    dtype = column.dtype
    if isinstance(dtype, pd.CategoricalDtype):
        kind = repr((list(dtype.categories), str(dtype.categories.dtype), dtype.ordered))
        return b"categorical", kind.encode(), column.cat.codes.to_numpy().tobytes()
    values = np.asarray(column)
    named = str(dtype).encode()
    if values.dtype.hasobject:
        if not all(isinstance(item, str) for item in values.tolist()):
            return None
        return named, repr(values.tolist()).encode()
    return named, np.ascontiguousarray(values).tobytes()
