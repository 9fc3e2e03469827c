"""Whether the columns of a model go by each row alone."""

from __future__ import annotations

from collections.abc import Container

from mlmfast.formula.functions import data_parts, mathematical
from mlmfast.formula.memberships import MEMBERS
from mlmfast.formula.mixed_formula import MixedFormula
from mlmfast.formula.smooth_terms import SMOOTH
from mlmfast.formula.syntax import Call, Node, parse


def is_row_wise(formula: MixedFormula) -> bool:
    """Whether each row of X and Z depends on the values of that row, and effects stack.

    Not so where a transformation goes by the data's moments (`scale`, `poly`), and where a grouping
    factor has two terms, or one with a covariance structure.

    Examples
    --------
    >>> from mlmfast.formula.mixed_formula import parse_formula
    >>> texts = ["y ~ log(x) * f + (x | g)", "y ~ poly(x, 2) + (1 | g)", "y ~ x + (x || g)"]
    >>> [is_row_wise(parse_formula(text)) for text in texts]
    [True, False, False]
    """
    expressions = [formula.fixed, *(term.expression for term in formula.random)]
    structures = {term.structure for term in formula.random}
    # Terms of one factor would be two sets of effects with a covariance of their own.
    one_each = len({term.group for term in formula.random}) == len(formula.random)
    calls = [call for text in expressions for call in _calls(parse(text))]
    row_wise = all(call == "I" or mathematical(call) is not None for call in calls)
    plain = structures == {"us"} and all(term.by is None for term in formula.random)
    return row_wise and one_each and plain and not formula.offsets


def call_over_all_rows(formula: MixedFormula, but: Container[str] = ()) -> str | None:
    """A function of a formula that looks at all rows at once, but for the transforms; None if none.

    Parameters
    ----------
    but
        Functions of which what they remember of the rows is found otherwise.

    Examples
    --------
    >>> from mlmfast.formula.mixed_formula import parse_formula
    >>> call_over_all_rows(parse_formula("y ~ poly(x, 2) + s(z) + (1 | g)"))
    's'
    """
    expressions = [formula.fixed, *(term.expression for term in formula.random)]
    calls = [call for text in expressions for call in _calls(parse(text))]
    return next(
        (call for call in calls if call in {SMOOTH, MEMBERS, "dummy"} and call not in but), None
    )


def _calls(node: Node) -> list[str]:
    own = [node.function] if isinstance(node, Call) else []
    return own + [name for part in data_parts(node) for name in _calls(part)]
