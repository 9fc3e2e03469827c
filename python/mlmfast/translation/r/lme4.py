"""Calls of lme4's lmer."""

from __future__ import annotations

from mlmfast.errors import FormulaError
from mlmfast.formula.deparse import deparse
from mlmfast.formula.mixed_formula import parse_formula
from mlmfast.formula.syntax import Call
from mlmfast.translation.r.plan import RPlan, column, common, contrasts_of_fixed_effects
from mlmfast.translation.r.syntax import matched

_LMER = (
    *("formula", "data", "REML", "control", "start", "verbose", "subset", "weights"),
    *("na.action", "offset", "contrasts", "devFunOnly"),
)


def lmer(call: Call) -> RPlan:
    """``lmer(formula, data, REML, ...)``, of lme4 or lmerTest.

    Examples
    --------
    >>> from mlmfast.translation.r.syntax import read_call
    >>> plan = lmer(read_call("lmer(y ~ x + (x || g), d, REML = FALSE, weights = w)"))
    >>> plan.formula, plan.arguments
    ('y ~ x + (x || g)', {'method': 'ML', 'weights': 'w'})
    """
    given = matched(call, _LMER)
    formula = given.node("formula")
    if formula is None:
        raise FormulaError("lmer() has no formula")
    plan = RPlan(deparse(formula))
    parse_formula(plan.formula)
    common(plan, given, given.flag("REML", True))
    contrasts_of_fixed_effects(plan, "lmer")
    column(plan, given, "weights")
    column(plan, given, "offset")
    plan.found.notes.append("degrees of freedom are Satterthwaite's, as lmerTest's; lme4 has none")
    return plan
