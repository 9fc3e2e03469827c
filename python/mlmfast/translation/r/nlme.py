"""Calls of nlme's lme and gls."""

from __future__ import annotations

from mlmfast.errors import FormulaError
from mlmfast.formula.deparse import deparse
from mlmfast.formula.mixed_formula import parse_formula
from mlmfast.formula.residual_formula import parse_residual
from mlmfast.formula.syntax import Call
from mlmfast.translation.preparation import CompleteRows, RowNumber
from mlmfast.translation.r.plan import RPlan, common
from mlmfast.translation.r.random import random_terms
from mlmfast.translation.r.residual import residual_of
from mlmfast.translation.r.syntax import Arguments, matched, variables

_LME = (
    *("fixed", "data", "random", "correlation", "weights", "subset", "method"),
    *("na.action", "control", "contrasts", "keep.data"),
)
_GLS = (
    *("model", "data", "correlation", "weights", "subset", "method", "na.action", "control"),
    "verbose",
)
_BY_ML = (
    "nlme multiplies standard errors of fits by ML by sqrt(n / (n - p)); these are as lme4's and "
    "PROC MIXED's"
)


def lme(call: Call) -> RPlan:
    """``lme(fixed, data, random, correlation, weights, method)``.

    Examples
    --------
    >>> from mlmfast.translation.r.syntax import read_call
    >>> plan = lme(read_call("lme(y ~ x, d, ~ 1 | g, corAR1(form = ~ t))"))
    >>> plan.formula, plan.arguments
    ('y ~ x + (1 | g)', {'na_action': 'raise', 'residual': 'ar1(t | g)'})
    """
    given = matched(call, _LME)
    random = given.node("random")
    if random is None:
        raise FormulaError("lme() without random= takes the groups from groupedData; write them")
    terms, groups = random_terms(random)
    plan = _plan(given, "fixed", terms, groups)
    plan.found.notes.append(
        "degrees of freedom are Satterthwaite's; nlme counts levels of groups, which is not offered"
    )
    return plan


def gls(call: Call) -> RPlan:
    """``gls(model, data, correlation, weights, method)``.

    Examples
    --------
    >>> from mlmfast.translation.r.syntax import read_call
    >>> text = "gls(y ~ x, d, weights = varPower(form = ~ x), na.action = na.omit)"
    >>> gls(read_call(text)).arguments
    {'residual_scale': 'power(x)', 'ddf': 'residual'}
    """
    plan = _plan(matched(call, _GLS), "model", [], ())
    plan.arguments["ddf"] = "residual"
    return plan


def _plan(given: Arguments, name: str, terms: list[str], groups: tuple[str, ...]) -> RPlan:
    formula = given.node(name)
    if formula is None:
        raise FormulaError(f"{given.function}() has no formula")
    plan = RPlan(" + ".join([deparse(formula), *terms]))
    parse_formula(plan.formula)
    method = given.word("method") or "REML"
    if method not in {"REML", "ML"}:
        raise FormulaError(f"method = {method!r}; there are 'REML' and 'ML'")
    common(plan, given, method == "REML")
    if method == "ML":
        plan.found.notes.append(_BY_ML)
    parts = (given.node(name) for name in ("random", "correlation", "weights"))
    plan.columns = tuple(dict.fromkeys((*variables(formula, *parts), *groups)))
    if given.node("na.action") is None:
        plan.arguments["na_action"], plan.stops_at_missing = "raise", given.function
    found = residual_of(given.node("correlation"), given.node("weights"), groups)
    if found.residual is not None:
        parse_residual(found.residual)
    own = {"residual": found.residual, "residual_scale": found.scale, "weights": found.weights}
    plan.arguments |= {key: value for key, value in own.items() if value is not None}
    plan.found.notes += found.notes
    omits = "na_action" not in plan.arguments
    if omits and any(isinstance(step, RowNumber) for step in found.preparations):
        # nlme numbers the rows that it keeps.
        plan.preparations.append(CompleteRows(plan.columns))
    plan.preparations += found.preparations
    return plan
