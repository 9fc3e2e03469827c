"""Multiple membership, `(1 | mm(a, b, weights=(wa, wb)))`: a row belongs to several levels."""

from __future__ import annotations

from dataclasses import dataclass

from mlmfast.errors import FormulaError
from mlmfast.formula.deparse import deparse
from mlmfast.formula.syntax import Call, Name, Node, Number

#: The function, and those that list its weights.
MEMBERS = "mm"
_LISTS = ("c", "cbind")


@dataclass(frozen=True)
class Members:
    """The columns that name the levels of a row, and the weight of each.

    Attributes
    ----------
    columns
        The columns.
    weights
        A column or a number for each; None for equal weights that add up to 1.
    """

    columns: tuple[Name, ...]
    weights: tuple[Node, ...] | None

    @property
    def name(self) -> str:
        """Name of the factor: the call without its weights."""
        return deparse(Call(MEMBERS, self.columns))


def read_members(call: Call) -> Members:
    """Read a call of `mm`.

    Raises
    ------
    FormulaError
        For anything but two or more columns, and a weight for each.

    Examples
    --------
    >>> from mlmfast.formula.syntax import parse
    >>> read_members(parse("mm(a, b, weights=[w, 0.5])")).name
    'mm(a, b)'
    >>> read_members(parse("mm(a, b, weights=(u, v))")).weights == (Name("u"), Name("v"))
    True
    """
    text = deparse(call)
    columns = tuple(node for node in call.arguments if isinstance(node, Name))
    if len(columns) < len(call.arguments) or len(columns) < 2 or len(set(columns)) < len(columns):
        raise FormulaError(f"{text}: mm takes two or more different columns, as in mm(a, b)")
    unknown = [name for name, _ in call.keywords if name != "weights"]
    if unknown or len(call.keywords) > 1:
        raise FormulaError(f"{text}: mm takes columns and weights=, as in mm(a, b, weights=[u, v])")
    if not call.keywords:
        return Members(columns, None)
    given = call.keywords[0][1]
    is_list = isinstance(given, Call) and given.function in _LISTS and not given.keywords
    weights = given.arguments if isinstance(given, Call) and is_list else ()
    if len(weights) != len(columns) or not all(isinstance(w, Name | Number) for w in weights):
        raise FormulaError(
            f"{text}: weights are a column or a number for each of {len(columns)} columns, as in "
            "weights=[u, v]"
        )
    return Members(columns, weights)
