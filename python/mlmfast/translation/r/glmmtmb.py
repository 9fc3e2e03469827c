"""Calls of glmmTMB with the Gaussian family."""

from __future__ import annotations

from dataclasses import replace

from mlmfast.errors import FormulaError
from mlmfast.formula.deparse import deparse
from mlmfast.formula.mixed_formula import parse_formula
from mlmfast.formula.syntax import Binary, Call, Name, Node, Text, summands
from mlmfast.translation.r.plan import RPlan, column, common, contrasts_of_fixed_effects
from mlmfast.translation.r.syntax import matched

_ARGUMENTS = (
    *("formula", "data", "family", "ziformula", "dispformula", "weights", "offset"),
    *("contrasts", "na.action", "se", "verbose", "doFit", "control", "REML", "start", "map"),
)
#: Structures that mean the same here, and those of another name.
_SAME = {"us": "us", "diag": "diag", "homdiag": "homdiag", "rr": "rr", "cs": "csh", "homcs": "cs"}


def glmmtmb(call: Call) -> RPlan:
    """``glmmTMB(formula, data, REML = )``, by maximum likelihood unless REML = TRUE.

    Examples
    --------
    >>> from mlmfast.translation.r.syntax import read_call
    >>> plan = glmmtmb(read_call("glmmTMB(y ~ x + rr(0 + f | g, d = 2), d, REML = TRUE)"))
    >>> plan.formula, plan.arguments
    ('y ~ x + rr(0 + f | g, 2)', {})
    """
    given = matched(call, _ARGUMENTS)
    formula = given.node("formula")
    if not isinstance(formula, Binary) or formula.operator != "~":
        raise FormulaError("glmmTMB() has no formula")
    plan = RPlan("")
    parts = [(sign, _term(part, plan)) for sign, part in summands(formula.right)]
    right = parts[0][1] + "".join(f" {sign} {text}" for sign, text in parts[1:])
    plan.formula = f"{deparse(formula.left)} ~ {right}"
    if not plan.found.lost:
        parse_formula(plan.formula)
    if given.node("family") not in (None, Name("gaussian"), Call("gaussian", ()), Text("gaussian")):
        plan.found.lost.append("family: the Gaussian alone is offered")
    lost = [name for name in ("ziformula", "dispformula", "map") if given.node(name) is not None]
    plan.found.lost += [f"{name} = ... has no counterpart" for name in lost]
    common(plan, given, given.flag("REML", False))
    if not plan.found.lost:
        contrasts_of_fixed_effects(plan, "glmmTMB")
    if (weights := given.node("weights")) is not None:
        plan.found.lost.append(
            f"weights = {deparse(weights)}: glmmTMB counts a row of weight w as w rows, here (as "
            "in lmer) weights are precisions; repeat the rows, or say weights= yourself"
        )
    column(plan, given, "offset")
    plan.found.notes.append("degrees of freedom are Satterthwaite's; glmmTMB's tests are by z")
    return plan


def _term(node: Node, plan: RPlan) -> str:
    """A term with its structure by the name that it has here."""
    bar = node.arguments[0] if isinstance(node, Call) and node.arguments else None
    if not isinstance(node, Call) or not isinstance(bar, Binary) or bar.operator != "|":
        return deparse(node)
    if node.function not in _SAME:
        plan.found.lost.append(f"{deparse(node)}: the structure {node.function} is not mapped")
        return deparse(node)
    rank = tuple(value for name, value in node.keywords if name == "d")
    arguments = (*node.arguments, *rank)
    return deparse(replace(node, function=_SAME[node.function], arguments=arguments, keywords=()))
