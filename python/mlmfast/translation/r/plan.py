"""What a call of R is here: formula, arguments, what is done to the data, and findings."""

from __future__ import annotations

import keyword
from dataclasses import dataclass, field
from typing import Any

from mlmfast.errors import FormulaError
from mlmfast.formula.deparse import deparse
from mlmfast.formula.functions import variables_of
from mlmfast.formula.mixed_formula import RandomTerm, parse_formula
from mlmfast.formula.syntax import Call, Name, Node, Text
from mlmfast.translation.findings import Findings
from mlmfast.translation.preparation import Preparation
from mlmfast.translation.r.syntax import Arguments


@dataclass
class RPlan:
    """The call here, as it is put together.

    Attributes
    ----------
    columns : that the preparations take, and that have to be in the data
    stops_at_missing : name of the function, where its default is na.fail
    """

    formula: str
    data: str = "data"
    arguments: dict[str, Any] = field(default_factory=dict)
    preparations: list[Preparation] = field(default_factory=list)
    found: Findings = field(default_factory=Findings)
    columns: tuple[str, ...] = ()
    stops_at_missing: str | None = None


#: Arguments that say how the search goes, or what is kept.
_SILENT = frozenset({"control", "start", "verbose", "keep.data", "optimizer", "devFunOnly"})


def common(plan: RPlan, given: Arguments, reml: bool) -> None:
    """Arguments that all functions share: data, weights of rows, missing values, contrasts."""
    data = given.node("data")
    if isinstance(data, Name) and data.name.replace(".", "_").isidentifier():
        plan.data = _name_here(data.name.replace(".", "_"))
        if plan.data.endswith("_") and not data.name.endswith(("_", ".")):
            plan.found.notes.append(
                f"data = {data.name}: the name is taken in Python, and is {plan.data} here"
            )
    elif data is not None:
        plan.found.lost.append(f"data = {deparse(data)}: do this to the data first")
    if not reml:
        plan.arguments["method"] = "ML"
    if given.node("subset") is not None:
        plan.found.lost.append(f"subset = {_text(given, 'subset')}: keep these rows of the data")
    plan.found.ignored += [f"{name} = ..." for name in sorted(_SILENT & set(given.given))]
    _missing(plan, given)
    if given.node("contrasts") is not None:
        plan.arguments["contrasts"] = _contrasts(given)


def contrasts_of_fixed_effects(plan: RPlan, name: str) -> None:
    """That lmer and glmmTMB, named so, do not take ``contrasts =`` for random effects."""
    factors = set(plan.arguments.get("contrasts", {}))
    terms = [term for term in parse_formula(plan.formula).random if _codes(term, factors)]
    if not terms:
        return
    said = f"contrasts: {name} codes the random effects without them; here they have them too"
    if all(term.structure in ("us", "rr") for term in terms):
        plan.found.notes.append(f"{said}, the same fit with variances of other columns")
    else:
        plan.found.lost.append(f"{said}, another model where effects are uncorrelated")


def _codes(term: RandomTerm, factors: set[str]) -> bool:
    """Whether one of the factors stands in the term, and not by itself without an intercept."""
    found = factors & set(variables_of(term.expression))
    bare = term.expression.replace(" ", "")
    return any(bare not in (f"0+{factor}", f"{factor}-1") for factor in found)


def _name_here(name: str) -> str:
    """The name of a frame in Python, where a keyword or the package's own name is none."""
    return f"{name}_" if keyword.iskeyword(name) or name == "mlm" else name


def column(plan: RPlan, given: Arguments, name: str) -> None:
    """An argument that names a column."""
    node = given.node(name)
    if node is None:
        return
    if isinstance(node, Name):
        plan.arguments[name] = node.name
    else:
        plan.found.lost.append(f"{name} = {deparse(node)}: make a column of it, and name that")


def _text(given: Arguments, name: str) -> str:
    node = given.node(name)
    return "" if node is None else deparse(node)


def _missing(plan: RPlan, given: Arguments) -> None:
    node = given.node("na.action")
    word = node.value if isinstance(node, Text) else node.name if isinstance(node, Name) else ""
    if word == "na.fail":
        plan.arguments["na_action"] = "raise"
    elif word == "na.exclude":
        plan.found.notes.append("na.exclude: fittedvalues and resid() hold the rows used only")
    elif node is not None and word not in {"na.omit", "na.exclude"}:
        plan.found.lost.append(f"na.action = {deparse(node)}")


def _contrasts(given: Arguments) -> dict[str, str]:
    node = given.node("contrasts")
    if not isinstance(node, Call) or node.function != "list" or node.arguments:
        raise FormulaError("contrasts is not of the form list(factor = 'contr.sum')")
    return {name: _contrast(value) for name, value in node.keywords}


def _contrast(node: Node) -> str:
    if isinstance(node, Text):
        return node.value
    if isinstance(node, Name | Call):
        return deparse(node)
    raise FormulaError(f"{deparse(node)} is not the name of a contrast")
