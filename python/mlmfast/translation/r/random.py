"""nlme's ``random=`` as terms of a formula."""

from __future__ import annotations

from mlmfast.errors import FormulaError
from mlmfast.formula.deparse import deparse, quote_name
from mlmfast.formula.syntax import Binary, Call, Name, Node, Paren
from mlmfast.formula.terms import term_list
from mlmfast.translation.r.syntax import one_sided

#: nlme's classes of positive definite matrices, and the structure here.
_CLASSES = {
    "pdSymm": "us",
    "pdLogChol": "us",
    "pdNatural": "us",
    "pdDiag": "diag",
    "pdIdent": "homdiag",
    "pdCompSymm": "cs",
}


def random_terms(node: Node) -> tuple[list[str], tuple[str, ...]]:
    """Terms of a formula, and the columns whose combinations are the innermost groups.

    Raises
    ------
    FormulaError

    Examples
    --------
    >>> from mlmfast.formula.syntax import parse
    >>> random_terms(parse("~ x | a / b"))
    (['(x | a)', '(x | a:b)'], ('a', 'b'))
    >>> random_terms(parse("list(g = pdDiag(~ x))"))
    (['diag(1 + x | g)'], ('g',))
    """
    if isinstance(node, Call) and node.function == "list" and not node.arguments:
        groups: tuple[str, ...] = ()
        terms = []
        for name, value in node.keywords:
            # Each is nested in those before it.
            groups = (*groups, name)
            terms.append(_term(value, groups))
        return terms, groups
    inner = one_sided(node)
    if not isinstance(inner, Binary) or inner.operator != "|":
        raise FormulaError(
            f"random = {deparse(node)} names no groups, which nlme takes from groupedData; write "
            "~ x | group"
        )
    names = _nested(inner.right)
    left = deparse(inner.left)
    terms = [f"({left} | {':'.join(map(quote_name, names[: k + 1]))})" for k in range(len(names))]
    return terms, names


def _nested(node: Node) -> tuple[str, ...]:
    while isinstance(node, Paren):
        node = node.inner
    if isinstance(node, Binary) and node.operator == "/":
        return (*_nested(node.left), *_nested(node.right))
    if isinstance(node, Name):
        return (node.name,)
    raise FormulaError(f"{deparse(node)} is not a grouping factor, g or g / h")


def _term(node: Node, groups: tuple[str, ...]) -> str:
    where = ":".join(map(quote_name, groups))
    kind = "us"
    if isinstance(node, Call):
        kind = _CLASSES.get(node.function, "")
        if not kind or len(node.arguments) != 1 or node.keywords:
            known = ", ".join(_CLASSES)
            raise FormulaError(f"{deparse(node)} has no counterpart; there are {known}")
        node = node.arguments[0]
    left = deparse(one_sided(node))
    if kind == "us" or left == "1":
        return f"({left} | {where})"
    has_intercept = term_list(left).intercept
    if has_intercept and not left.startswith("1 +"):
        # Named, since a factor by itself in a structure would be read as visits.
        left = f"1 + {left}"
    return f"{kind}({left} | {where})"
