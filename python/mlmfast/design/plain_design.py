"""Designs of formulas whose variables are columns of numbers, with one unstructured random term.

What depends on the text of a formula alone is found once; with the data come their columns. Other
models, and data that are refused, are read by `mlmfast.design.model_frame` step by step, which
gives the same design.
"""

from __future__ import annotations

from functools import lru_cache, reduce
from operator import mul
from typing import NamedTuple

from mlmfast.arrays import FloatArray
from mlmfast.covariance import STRUCTURES, CovarianceStructure
from mlmfast.data.frame import Frame
from mlmfast.design.checks import check_columns, check_identified
from mlmfast.design.columns.model_matrix import INTERCEPT, ModelMatrixSpec
from mlmfast.design.columns.model_variables import NumericVariable
from mlmfast.design.design import Design
from mlmfast.design.factors.grouping import GroupingFactor, RandomEffects
from mlmfast.formula.functions import variables_of
from mlmfast.formula.mixed_formula import parse_formula
from mlmfast.formula.terms import term_list

#: Numbers in all columns up to which nobody need ask whether there is room for them.
_MOST_NUMBERS = 1_000_000


class Side(NamedTuple):
    """One side of a formula: for each column the data's columns that it is the product of.

    An intercept is that of none.
    """

    products: tuple[tuple[str, ...], ...]
    names: tuple[str, ...]
    spec: ModelMatrixSpec

    def columns(self, frame: Frame) -> tuple[FloatArray | None, ...]:
        """The columns as a design holds them."""
        numeric = frame.numeric
        return tuple(
            [
                reduce(mul, [numeric(name) for name in product]) if product else None
                for product in self.products
            ]
        )


class PlainFormula(NamedTuple):
    """What a formula says of itself.

    Attributes
    ----------
    response, group
        Columns of the response and of the levels.
    numbers
        Columns that have to be numbers.
    fixed, random
        Sides of the fixed part and of the random term.
    structure, text
        Covariance structure of the term, and the term as written.
    """

    response: str
    group: str
    numbers: tuple[str, ...]
    fixed: Side
    random: Side
    structure: CovarianceStructure
    text: str


@lru_cache(maxsize=1024)
def plain_formula(text: str) -> PlainFormula | None:
    """A formula of this kind; None for any other.

    Examples
    --------
    >>> plain = plain_formula("y ~ x * z + (x | g)")
    >>> plain.fixed.products, plain.random.names, plain.group
    (((), ('x',), ('z',), ('x', 'z')), ('(Intercept)', 'x'), 'g')
    >>> plain_formula("log(y) ~ x + (x | g)") is plain_formula("y ~ (1 | f/g)") is None
    True
    """
    parsed = parse_formula(text)
    if parsed.smooths or parsed.offsets or len(parsed.random) != 1:
        return None
    term = parsed.random[0]
    written = (term.structure, term.number, term.by, term.shared, len(term.group))
    fixed, random = _side(parsed.fixed), _side(term.expression)
    if written != ("us", None, None, "", 1) or fixed is None or random is None:
        return None
    if variables_of(parsed.response) != (parsed.response,):
        return None
    numbers = (parsed.response, *fixed.spec.variables, *random.spec.variables)
    structure = STRUCTURES[term.structure](len(random.names))
    return PlainFormula(
        parsed.response, term.group[0], numbers, fixed, random, structure, term.text
    )


def _side(rhs: str) -> Side | None:
    structure = term_list(rhs)
    if structure.columns is None:
        return None
    names = structure.variable_names
    coded = dict.fromkeys(names, NumericVariable(1))
    products = [tuple([structure.columns[k] for k in term]) for term in structure.terms]
    labels = structure.labels
    if structure.intercept:
        products, labels = [(), *products], (INTERCEPT, *labels)
    return Side(tuple(products), labels, ModelMatrixSpec(rhs, coded, {}))


def plain_design(plain: PlainFormula, frame: Frame, n_dropped: int) -> Design | None:
    """The design of rows without missing values; None where it is read step by step.

    Raises
    ------
    DataError, ModelError
        As the design's columns are at fault.
    """
    if frame.n_rows * (len(plain.fixed.names) + len(plain.random.names)) > _MOST_NUMBERS:
        return None
    if not all(map(frame.is_numeric, plain.numbers)):
        return None
    y = frame.numeric(plain.response)
    if not frame.statistics.one(y).is_finite:
        return None
    factor = frame.factor(plain.group)
    group = GroupingFactor(plain.group, factor.codes, factor.levels, (plain.group,))
    effects = plain.random.columns(frame)
    term = RandomEffects(0, plain.random.names, effects, plain.structure, plain.text)
    design = Design(
        y=y,
        x=plain.fixed.columns(frame),
        x_names=plain.fixed.names,
        factors=(group,),
        random=(term,),
        response=plain.response,
        n_dropped=n_dropped,
        statistics=frame.statistics,
    )
    check_columns(design, frame.rows_used)
    check_identified(design)
    return design
