"""nlme's ``correlation=`` and ``weights=``, as the residual's covariance here."""

from __future__ import annotations

from dataclasses import dataclass

from mlmfast.errors import FormulaError
from mlmfast.formula.deparse import deparse, quote_name
from mlmfast.formula.syntax import Binary, Call, Name, Node, summands
from mlmfast.translation.preparation import Preparation, Reciprocal, RowNumber
from mlmfast.translation.r.syntax import Arguments, is_number, matched, number_of, one_sided

#: Structures of equal variances, and with a variance for each visit.
_BY_VISIT = {"corAR1": "ar1", "corCompSymm": "cs", "corSymm": "", "corARMA": ""}
_UNEQUAL = {"ar1": "ar1h", "cs": "csh", "": "us"}
_BY_DISTANCE = {
    "corExp": "sp_exp",
    "corGaus": "sp_gau",
    "corSpher": "sp_sph",
    "corRatio": "sp_ratio",
    "corLin": "sp_lin",
    "corCAR1": "car1",
}
_PARAMETERS = {
    "corARMA": ("value", "form", "p", "q", "fixed"),
    "corAR1": ("value", "form", "fixed"),
    "corCAR1": ("value", "form", "fixed"),
    "corCompSymm": ("value", "form", "fixed"),
    "corSymm": ("value", "form", "fixed"),
}
_SPATIAL = ("value", "form", "nugget", "metric", "fixed")
#: Columns made for what nlme takes from the order of the rows, and for one over a column.
OCCASION, WEIGHT = "occasion_", "weight_"


@dataclass(frozen=True)
class RResidual:
    """The residual's covariance here."""

    residual: str | None = None
    scale: str | None = None
    weights: str | None = None
    preparations: tuple[Preparation, ...] = ()
    notes: tuple[str, ...] = ()


def residual_of(
    correlation: Node | None, weights: Node | None, groups: tuple[str, ...]
) -> RResidual:
    """Read both arguments.

    Parameters
    ----------
    groups
        Innermost groups of the random effects, which a formula without a bar is within; one with
        a bar names these, or groups inside them.

    Raises
    ------
    FormulaError

    Examples
    --------
    >>> from mlmfast.formula.syntax import parse
    >>> residual_of(parse("corAR1(form = ~ t | g)"), parse("varIdent(form = ~ 1 | t)"), ())
    RResidual(residual='ar1h(t | g)', scale=None, weights=None, preparations=(), notes=())
    """
    scales: list[str] = []
    prepared: list[Preparation] = []
    weight = None
    if weights is not None:
        scales, weight, prepared = _variances(weights)
    if correlation is None:
        return RResidual(None, " * ".join(scales) or None, weight, tuple(prepared))
    if not isinstance(correlation, Call):
        raise FormulaError(f"correlation = {deparse(correlation)} is no call such as corAR1()")
    notes: list[str] = []
    residual, used, more = _correlation(correlation, groups, scales, notes)
    rest = [scale for scale in scales if scale != used]
    return RResidual(residual, " * ".join(rest) or None, weight, (*prepared, *more), tuple(notes))


def _correlation(
    call: Call, groups: tuple[str, ...], scales: list[str], notes: list[str]
) -> tuple[str, str, list[Preparation]]:
    """The structure, the scale that it takes up, and what it needs of the data."""
    function = call.function
    if function not in _PARAMETERS and function not in _BY_DISTANCE:
        known = ", ".join([*_BY_VISIT, *_BY_DISTANCE])
        raise FormulaError(f"{function}() has no counterpart; there are {known}")
    given = matched(call, _PARAMETERS.get(function, _SPATIAL))
    if given.flag("fixed", False):
        raise FormulaError(f"{deparse(call)}: give the value held as hold={{name: value}}")
    nugget = ", nugget" if given.flag("nugget", False) else ""
    if given.node("metric") is not None and given.word("metric") != "euclidean":
        raise FormulaError(f"{deparse(call)}: distances are Euclidean here")
    coordinates, subject = _form(given, groups, notes)
    bar = ":".join(map(quote_name, subject))
    prepared: list[Preparation] = []
    if not coordinates:
        coordinates, prepared = [OCCASION], [RowNumber(OCCASION, subject)]
    if function in _BY_DISTANCE:
        names = ", ".join(map(quote_name, coordinates))
        return f"{_BY_DISTANCE[function]}({names} | {bar}{nugget})", "", prepared
    if len(coordinates) > 1:
        raise FormulaError(f"{deparse(call)}: one visit tells rows apart")
    visit = quote_name(coordinates[0])
    keyword = _arma(given) if function == "corARMA" else _BY_VISIT[function]
    unequal = visit if visit in scales and keyword in _UNEQUAL else ""
    if unequal:
        keyword = _UNEQUAL[keyword]
    if not keyword:
        raise FormulaError(
            "corSymm() with equal variances has no counterpart; with weights = "
            f"varIdent(form = ~ 1 | {visit}) it is 'us'"
        )
    return f"{keyword}({visit} | {bar})", unequal, prepared


def _arma(given: Arguments) -> str:
    p, q = given.node("p"), given.node("q")
    orders = tuple(0 if node is None else int(number_of(node)) for node in (p, q))
    if orders not in {(1, 0), (1, 1)}:
        raise FormulaError(
            f"corARMA(p = {orders[0]}, q = {orders[1]}); there are (1, 0) and (1, 1)"
        )
    return "ar1" if orders == (1, 0) else "arma11"


def _form(
    given: Arguments, groups: tuple[str, ...], notes: list[str]
) -> tuple[list[str], tuple[str, ...]]:
    """Coordinates, none for the order of the rows, and the columns that make the subjects."""
    form = given.node("form")
    inner: Node = Name("1") if form is None else one_sided(form)
    subject = groups
    if isinstance(inner, Binary) and inner.operator == "|":
        subject = _subject(inner.right, groups, notes)
        inner = inner.left
    if not subject:
        raise FormulaError(
            f"{given.function}() without groups is one block of all rows; write form = ~ t | g"
        )
    parts = [part for _, part in summands(inner)]
    if len(parts) == 1 and deparse(parts[0]) == "1":
        return [], subject
    names = [part.name for part in parts if isinstance(part, Name)]
    if len(names) != len(parts):
        raise FormulaError(f"{deparse(inner)} is not a sum of columns")
    return names, subject


def _subject(node: Node, groups: tuple[str, ...], notes: list[str]) -> tuple[str, ...]:
    """Columns that make the subjects; with random effects their groups, or groups inside them."""
    if not groups:
        return _columns(node, "/")
    own = _nested(node)
    shared = min(len(own), len(groups))
    if own[:shared] != groups[:shared]:
        raise FormulaError(
            f"the groups of correlation, {'/'.join(own)}, are not those of random, "
            f"{'/'.join(groups)}, nor inside them; nlme stops there too (incompatible formulas for "
            "groups)"
        )
    if len(own) < len(groups):
        notes.append(
            f"the groups of correlation, {'/'.join(own)}, are wider than those of random; nlme "
            f"takes {'/'.join(groups)} for them, with a warning, and so does this"
        )
        return groups
    return _columns(node, "/")


def _nested(node: Node) -> tuple[str, ...]:
    """The levels of ``a / b``, as nlme compares them."""
    if isinstance(node, Binary) and node.operator == "/":
        return (*_nested(node.left), *_nested(node.right))
    return (node.name if isinstance(node, Name) else deparse(node),)


def _columns(node: Node, operator: str) -> tuple[str, ...]:
    if isinstance(node, Binary) and node.operator in {operator, ":"}:
        return (*_columns(node.left, operator), *_columns(node.right, operator))
    if isinstance(node, Name):
        return (node.name,)
    raise FormulaError(f"{deparse(node)} is not a grouping factor")


def _variances(node: Node) -> tuple[list[str], str | None, list[Preparation]]:
    """Scales, a column of weights, and what is made for it."""
    if not isinstance(node, Call):
        # A formula, ~ x, is varFixed(~ x).
        node = Call("varFixed", (node,))
    if node.function == "varComb":
        scales: list[str] = []
        weight: str | None = None
        prepared: list[Preparation] = []
        for part in node.arguments:
            more, own, made = _variances(part)
            scales, weight, prepared = scales + more, own or weight, prepared + made
        return scales, weight, prepared
    if node.function == "varFixed":
        names = _columns(one_sided(node.arguments[0]), "/") if node.arguments else ()
        if len(names) != 1:
            raise FormulaError(f"{deparse(node)} is not of the form varFixed(~ x)")
        return [], WEIGHT, [Reciprocal(WEIGHT, names[0])]
    return [_scale(node)], None, []


def _scale(call: Call) -> str:
    words = {"varIdent": "", "varPower": "power", "varExp": "exp", "varConstPower": "constpower"}
    if call.function not in words:
        known = ", ".join([*words, "varFixed", "varComb"])
        raise FormulaError(f"{call.function}() has no counterpart; there are {known}")
    first = ("const", "power") if call.function == "varConstPower" else ("value",)
    given = matched(call, (*first, "form", "fixed"))
    if given.node("fixed") is not None:
        raise FormulaError(f"{deparse(call)}: give the value held as hold={{name: value}}")
    form = given.node("form")
    value = given.node(first[0])
    if form is None and value is not None and not is_number(value):
        form = value
    if form is None:
        raise FormulaError(
            f"{deparse(call)} goes by the fitted values, which has no counterpart; write form = ~ x"
        )
    inner, by = one_sided(form), None
    if isinstance(inner, Binary) and inner.operator == "|":
        names = _columns(inner.right, "/")
        if len(names) != 1:
            raise FormulaError(f"{deparse(call)}: make one column of {', '.join(names)}")
        inner, by = inner.left, quote_name(names[0])
    if call.function == "varIdent":
        if by is None or deparse(inner) != "1":
            raise FormulaError(f"{deparse(call)} is not of the form varIdent(form = ~ 1 | f)")
        return by
    if not isinstance(inner, Name):
        raise FormulaError(f"{deparse(call)}: {deparse(inner)} is no column")
    own = quote_name(inner.name)
    return f"{words[call.function]}({own}{'' if by is None else f' | {by}'})"
