"""Calls of mmrm."""

from __future__ import annotations

from mlmfast.covariance import STRUCTURES
from mlmfast.degrees_of_freedom import known_name
from mlmfast.errors import FormulaError
from mlmfast.formula.deparse import deparse, quote_name
from mlmfast.formula.mixed_formula import parse_formula
from mlmfast.formula.residual_formula import ResidualFormula, parse_residual
from mlmfast.formula.syntax import Binary, Call, Name, Node, Text, summands
from mlmfast.translation.preparation import Levels, LevelsSeen
from mlmfast.translation.r.plan import RPlan, column, common
from mlmfast.translation.r.syntax import Arguments, matched, one_sided, variables

_MMRM = (
    "formula",
    "data",
    "weights",
    "covariance",
    "reml",
    "control",
    "method",
    "vcov",
    "optimizer",
)
_STRUCTURES = frozenset({"us", "toep", "toeph", "ar1", "ar1h", "ad", "adh", "cs", "csh", "sp_exp"})

#: Robust covariances of mmrm, as `LMMResult.robust` names them.
_ROBUST = {"Empirical": "CR0", "Empirical-Jackknife": "CR3", "Empirical-Bias-Reduced": "CR2"}


def mmrm(call: Call) -> RPlan:
    """``mmrm(formula, data, weights, covariance, reml, method, vcov)``.

    Examples
    --------
    >>> from mlmfast.translation.r.syntax import read_call
    >>> plan = mmrm(read_call("mmrm(y ~ a * v + us(v | a / id), d, method = 'Kenward-Roger')"))
    >>> plan.formula, plan.arguments
    ('y ~ a * v', {'residual': 'us(v | a/id)', 'ddf': 'kenward-roger'})
    """
    given = matched(call, _MMRM)
    formula = given.node("formula")
    if not isinstance(formula, Binary) or formula.operator != "~":
        raise FormulaError("mmrm() has no formula y ~ ... + us(visit | subject)")
    fixed, structures = _split(formula.right)
    covariance = given.node("covariance")
    if covariance is not None:
        structures.append(_covariance(covariance))
    if len(structures) != 1:
        raise FormulaError(
            f"mmrm() takes one covariance structure such as us(visit | subject), found "
            f"{len(structures)}"
        )
    plan = RPlan(f"{deparse(formula.left)} ~ {fixed}")
    parse_formula(plan.formula)
    _visits(plan, parse_residual(structures[0]), variables(formula, covariance), given)
    common(plan, given, given.flag("reml", True))
    plan.found.ignored = [text for text in plan.found.ignored if not text.startswith("control")]
    column(plan, given, "weights")
    _degrees(plan, given)
    return plan


def _visits(
    plan: RPlan, residual: ResidualFormula, used: tuple[str, ...], given: Arguments
) -> None:
    """Visits and arms are factors in mmrm, in the fixed part too; a number would be a slope here.

    Visits that no complete row has are dropped before lags are counted.
    """
    keeps, control = False, given.node("control")
    if isinstance(control, Call):
        word = dict(control.keywords).get("drop_visit_levels")
        keeps = isinstance(word, Name) and word.name in {"FALSE", "F"}
    plan.arguments["residual"] = _by_level(residual)
    is_spatial = residual.structure.startswith("sp_")
    visits = () if is_spatial else residual.coordinates
    arms = () if residual.arm is None else (residual.arm,)
    whole = (*visits, *arms) if keeps else arms
    if whole:
        plan.preparations.append(Levels(whole))
    weights = given.node("weights")
    plan.columns = tuple(dict.fromkeys((*used, *residual.variables, *variables(weights))))
    if not keeps:
        plan.preparations += [LevelsSeen(visit, plan.columns) for visit in visits]


def _by_level(residual: ResidualFormula) -> str:
    """The structure with visits that count one by one, whatever numbers they are."""
    (call,) = residual.calls
    if not STRUCTURES[call.keyword].ordered or call.as_levels:
        return residual.text
    visit, subject = quote_name(call.coordinates[0]), ":".join(map(quote_name, residual.subject))
    bar = subject if residual.arm is None else f"{quote_name(residual.arm)} / {subject}"
    return f"{call.keyword}(factor({visit}) | {bar})"


def _split(node: Node) -> tuple[str, list[str]]:
    """The fixed part, and the structures that stand in the sum."""
    fixed: Node | None = None
    structures = []
    for sign, part in summands(node):
        is_structure = isinstance(part, Call) and part.function in _STRUCTURES
        if is_structure and sign == "+":
            structures.append(deparse(part))
        elif fixed is None:
            fixed = part
        else:
            fixed = Binary(sign, fixed, part)
    return "1" if fixed is None else deparse(fixed), structures


def _covariance(node: Node) -> str:
    """``as.cov_struct(~ us(v | id))``, a formula, or ``cov_struct("us", "v", "id", "arm")``."""
    if isinstance(node, Call) and node.function == "as.cov_struct" and len(node.arguments) == 1:
        node = node.arguments[0]
    if isinstance(node, Call) and node.function == "cov_struct":
        return _cov_struct(node)
    return deparse(one_sided(node))


def _cov_struct(call: Call) -> str:
    given = matched(call, ("type", "visits", "subject", "group", "heterogeneous"))
    visits = given.node("visits")
    if isinstance(visits, Call) and visits.function == "c":
        names = [node.value for node in visits.arguments if isinstance(node, Text)]
    else:
        names = [given.word("visits") or ""]
    kind = given.word("type") or "us"
    kind += "h" if given.flag("heterogeneous", False) else ""
    subject, group = given.word("subject"), given.word("group")
    bar = quote_name(subject or "")
    bar = bar if group is None else f"{quote_name(group)} / {bar}"
    return f"{kind}({', '.join(map(quote_name, names))} | {bar})"


def _degrees(plan: RPlan, given: Arguments) -> None:
    """The method and its covariance, as arguments or inside ``mmrm_control``."""
    control = given.node("control")
    inner: Arguments | None = None
    if isinstance(control, Call) and control.function == "mmrm_control":
        known = ("method", "vcov", "drop_visit_levels", "accept_singular", "n_cores", "optimizer")
        named = Call(
            control.function,
            (),
            tuple((name, node) for name, node in control.keywords if name in known),
        )
        inner = matched(named, known)
        rest = [name for name, _ in control.keywords if name not in known]
        plan.found.ignored += [f"{name} of mmrm_control" for name in rest]
    method = _option(given, inner, "method") or "Satterthwaite"
    name = known_name(method)
    vcov = _option(given, inner, "vcov") or ("Empirical" if name == "residual" else None)
    if name is None:
        plan.found.lost.append(f"method = {method!r}")
        return
    if name != "satterthwaite":
        plan.arguments["ddf"] = name
    if vcov == "Kenward-Roger-Linear":
        plan.arguments["ddf"] = "kenward-roger-linear"
    elif name == "kenward-roger":
        plan.found.notes.append(
            "mmrm's vcov = 'Kenward-Roger' has second derivatives by its own parameters; here they "
            "are by PROC MIXED's. vcov = 'Kenward-Roger-Linear' is the same in both"
        )
    elif vcov not in {None, "Asymptotic"}:
        own = "" if _option(given, inner, "vcov") else f", mmrm's default for method = {method!r}"
        kind = _ROBUST.get(vcov or "")
        hint = "" if kind is None else f": the robust covariance is fit.robust({kind!r})"
        plan.found.lost.append(f"vcov = {vcov!r}{own}{hint}")


def _option(given: Arguments, inner: Arguments | None, name: str) -> str | None:
    if given.node(name) is not None:
        return given.word(name)
    if inner is None or inner.node(name) is None:
        return None
    node = inner.node(name)
    return node.name if isinstance(node, Name) else inner.word(name)
