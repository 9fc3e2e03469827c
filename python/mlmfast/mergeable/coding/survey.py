"""The first pass: what the coding of a model needs to know of all parts before any row is coded."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from mlmfast.data.frame import Frame
from mlmfast.errors import DataError
from mlmfast.formula.deparse import deparse
from mlmfast.formula.functions import FACTOR_OPTIONS, data_parts, variables_of
from mlmfast.formula.mixed_formula import MixedFormula
from mlmfast.formula.syntax import Call, Node, parse
from mlmfast.mergeable.coding.levels import Levels, united
from mlmfast.mergeable.coding.transform_states import ValueCounts, seen, transforms_in


@dataclass(frozen=True, eq=False)
class Survey:
    """What was seen of the rows of a part, or of several.

    Attributes
    ----------
    n
        Complete rows.
    levels
        Of the columns that formulas use as factors.
    means
        Of the columns of numbers, for the origin of each.
    values
        What functions that remember the data need of their variables.
    name
        Where the first rows came from.
    """

    n: int
    levels: Mapping[str, Levels]
    means: Mapping[str, float]
    values: Mapping[str, ValueCounts]
    name: str


def expressions_of(formula: MixedFormula) -> list[str]:
    """Sides of a formula of which columns are made."""
    return [formula.fixed, *dict.fromkeys(term.expression for term in formula.random)]


def survey_part(
    formula: MixedFormula, frame: Frame, name: str, factors: Sequence[str] = ()
) -> Survey:
    """What the complete rows of one part say; ``factors`` are columns besides the formula's."""
    expressions = expressions_of(formula)
    as_factors = {v for text in expressions for v in _made_factors(parse(text))}
    levels, means = {}, {}
    for variable in dict.fromkeys(v for text in expressions for v in variables_of(text)):
        if variable in as_factors or not frame.is_numeric(variable):
            levels[variable] = Levels.of(frame.factor(variable))
        else:
            means[variable] = float(frame.numeric(variable).mean())
    for variable in factors:
        levels[variable] = Levels.of(frame.factor(variable))
    values = seen(transforms_in(expressions), frame)
    return Survey(frame.n_rows, levels, means, values, name)


def _made_factors(node: Node) -> Iterator[str]:
    """Columns inside calls such as `factor(x)`."""
    if isinstance(node, Call) and node.function in FACTOR_OPTIONS:
        for part in data_parts(node):
            yield from _columns(part)
    for part in data_parts(node):
        yield from _made_factors(part)


def _columns(node: Node) -> Iterator[str]:
    yield from variables_of(deparse(node))


def merge_surveys(parts: Sequence[Survey]) -> Survey:
    """What all parts say.

    Raises
    ------
    DataError
        Where parts hold a column as different types.
    """
    first = parts[0]
    for part in parts[1:]:
        for name in first.levels.keys() ^ part.levels.keys():
            one, other = (first, part) if name in first.levels else (part, first)
            raise DataError(
                f"the column {name!r} holds text, categories, logicals or dates in {one.name} and "
                f"numbers in {other.name}; make them the same type"
            )
    levels = {name: united(name, [part.levels[name] for part in parts]) for name in first.levels}
    n = np.array([part.n for part in parts], dtype=np.float64)
    means = {
        name: float(n @ np.array([part.means[name] for part in parts]) / n.sum())
        for name in first.means
    }
    values = dict(first.values)
    for part in parts[1:]:
        values = {label: own + part.values[label] for label, own in values.items()}
    return Survey(int(n.sum()), levels, means, values, first.name)
