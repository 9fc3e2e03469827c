"""Calls of mgcv's gam and of gamm4."""

from __future__ import annotations

from dataclasses import replace

from mlmfast.errors import FormulaError
from mlmfast.formula.deparse import deparse, quote_name
from mlmfast.formula.mixed_formula import parse_formula
from mlmfast.formula.syntax import Binary, Call, Name, Node, Text, summands
from mlmfast.translation.r.plan import RPlan, column, common
from mlmfast.translation.r.syntax import Arguments, matched, one_sided

_GAM = (
    *("formula", "family", "data", "weights", "subset", "na.action", "offset", "method"),
    *("optimizer", "control", "scale", "select", "knots", "sp", "min.sp", "H", "gamma", "fit"),
)
_GAMM4 = (
    *("formula", "random", "family", "data", "weights", "subset", "na.action", "knots"),
    *("drop.unused.levels", "REML", "control", "start", "verbose"),
)
#: Arguments that change the fit and have no counterpart.
_OTHERS = ("scale", "select", "knots", "sp", "min.sp", "H", "gamma")


def gam(call: Call) -> RPlan:
    """``gam(formula, data = , method = "REML")`` with P-splines, Gaussian.

    Examples
    --------
    >>> from mlmfast.translation.r.syntax import read_call
    >>> text = "gam(y ~ s(x, bs = 'ps', k = 8) + s(g, bs = 're'), data = d, method = 'REML')"
    >>> gam(read_call(text)).formula
    'y ~ s(x, k = 8) + (1 | g)'
    """
    given = matched(call, _GAM)
    plan = _plan(given, [])
    method = given.node("method")
    if method != Text("REML"):
        found = "GCV.Cp, gam's own," if method is None else deparse(method)
        plan.found.lost.append(f"method = {found} is not offered; write method = 'REML'")
    common(plan, given, True)
    column(plan, given, "offset")
    return plan


def gamm4(call: Call) -> RPlan:
    """``gamm4(formula, random = ~ (1 | g), data = , REML = )`` with P-splines, Gaussian."""
    given = matched(call, _GAMM4)
    random = given.node("random")
    terms = [] if random is None else [part for _, part in summands(one_sided(random))]
    plan = _plan(given, terms)
    common(plan, given, given.flag("REML", True))
    return plan


def _plan(given: Arguments, terms: list[Node]) -> RPlan:
    formula = given.node("formula")
    if not isinstance(formula, Binary) or formula.operator != "~":
        raise FormulaError(f"{given.function}() has no formula y ~ s(x, bs = 'ps')")
    plan = RPlan("")
    parts = [(sign, _term(part, plan)) for sign, part in summands(formula.right)]
    parts += [("+", deparse(term)) for term in terms]
    right = parts[0][1] + "".join(f" {sign} {text}" for sign, text in parts[1:])
    plan.formula = f"{deparse(formula.left)} ~ {right}"
    if not plan.found.lost:
        parse_formula(plan.formula)
    family = given.node("family")
    gaussian = (None, Name("gaussian"), Text("gaussian"), Call("gaussian", ()))
    if family not in gaussian:
        plan.found.lost.append(f"family = {deparse(family) if family else ''}: the Gaussian alone")
    lost = [name for name in _OTHERS if given.node(name) is not None]
    plan.found.lost += [f"{name} = ... has no counterpart" for name in lost]
    column(plan, given, "weights")
    plan.found.notes.append(
        "tests of curves are mgcv's, in fit.smooths; degrees of freedom of coefficients are "
        "Satterthwaite's"
    )
    return plan


def _term(node: Node, plan: RPlan) -> str:
    """A term here: a P-spline, a random intercept that mgcv writes as a smooth, or itself."""
    if not isinstance(node, Call) or node.function not in {"s", "te", "ti", "t2"}:
        return deparse(node)
    options = dict(node.keywords)
    basis = options.get("bs")
    columns = [n.name for n in node.arguments if isinstance(n, Name)]
    if node.function == "s" and basis == Text("re") and len(columns) == len(node.arguments) == 1:
        return f"(1 | {quote_name(columns[0])})"
    if node.function != "s" or basis != Text("ps") or len(node.arguments) != 1:
        plan.found.lost.append(
            f"{deparse(node)}: smooths of one variable with bs = 'ps' are offered, and s(g, bs = "
            "'re')"
        )
        return deparse(node)
    kept = tuple((name, value) for name, value in node.keywords if name != "bs")
    return deparse(replace(node, keywords=kept))
