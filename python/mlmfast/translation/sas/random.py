"""RANDOM statements as terms of a formula."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

from mlmfast.covariance.names import canonical
from mlmfast.errors import FormulaError
from mlmfast.formula.deparse import quote_name
from mlmfast.translation.findings import Findings
from mlmfast.translation.preparation import OneValueWithin
from mlmfast.translation.sas.statements.effects import Effect, effects_of
from mlmfast.translation.sas.statements.options import Option
from mlmfast.translation.sas.statements.step import Effects
from mlmfast.translation.sas.statements.text import Token, written

#: TYPE= of one variance, and of a full matrix however it is factored.
SIMPLE, FULL = ("vc", "simple"), ("un", "unr", "chol")
#: Options that print, or say how.
_PRINTS = frozenset(
    {"s", "solution", "cl", "alpha", "g", "gc", "gci", "gcorr", "gi", "v", "vc", "vci", "vcorr"}
    | {"vi", "nofullz", "ratios"}
)


@dataclass(frozen=True)
class Term:
    """A random term, and its covariance parameters in PROC MIXED's order.

    Attributes
    ----------
    parameters : names; None where their number depends on the levels in the data
    check : what the data must hold for the term to be SAS's
    """

    text: str
    parameters: tuple[str, ...] | None
    check: OneValueWithin | None = None


def subject_names(option: Option | None) -> tuple[str, ...]:
    """Variables whose combinations are the subjects."""
    if option is None or option.value is None:
        return ()
    effects = effects_of(option.value)
    if len(effects) != 1 or effects[0].is_intercept:
        raise FormulaError("SUBJECT= takes one effect, such as id or id(site)")
    # The nesting variables first: id(site) is site, then id within it.
    return tuple(dict.fromkeys((*effects[0].nested, *effects[0].crossed)))


def random_terms(statement: Effects, classes: Collection[str], found: Findings) -> list[Term]:
    """The terms of one RANDOM statement; what cannot be said is entered among the findings.

    Examples
    --------
    >>> from mlmfast.translation.sas.statements.step import read_step
    >>> step = read_step("proc mixed; class g; model y=x; random int x / type=un sub=g;")
    >>> [term.text for term in random_terms(step.random[0], step.classes, Findings())]
    ['(1 + x | g)']
    """
    kind, group = statement.option("type"), statement.option("group", "grp")
    subject = subject_names(statement.option("subject", "sub"))
    known = {"type", "group", "grp", "subject", "sub"}
    for option in statement.options:
        if option.name in _PRINTS:
            found.ignored.append(f"{option} of RANDOM")
        elif option.name not in known:
            found.lost.append(f"{option} of '{statement.text}'")
    name = "vc" if kind is None else kind.text
    grouped = () if group is None else subject_names(group)
    try:
        if name in SIMPLE:
            return [_simple(e, subject, grouped, classes) for e in statement.effects]
        return [_structured(statement, name, subject, grouped, classes)]
    except FormulaError as error:
        found.lost.append(f"'{statement.text}': {error}")
        return []


def _simple(
    effect: Effect, subject: Sequence[str], group: Sequence[str], classes: Collection[str]
) -> Term:
    """One variance: of all levels of an effect, within each subject."""
    factors = [name for name in effect.names if name in classes]
    covariates = effect.covariates(classes)
    groups = tuple(dict.fromkeys((*subject, *factors)))
    if not groups:
        raise FormulaError(
            f"the random effect {effect} has one value for all rows, of which no variance can be "
            "estimated; SUBJECT= is missing"
        )
    slope = Effect(covariates).formula(classes) if covariates else "1"
    where = ":".join(map(quote_name, groups))
    left = "1" if slope == "1" else f"0 + {slope}"
    if not group:
        named = "(Intercept)" if slope == "1" else slope
        return Term(f"({left} | {where})", (f"Var({named}) | {':'.join(groups)}",))
    if len(group) > 1:
        raise FormulaError("GROUP= by several variables; make one variable of them")
    by = quote_name(group[0])
    cells = by if slope == "1" else f"{by}:{slope}"
    return Term(f"diag(0 + {cells} | {where})", None)


def _structured(
    statement: Effects,
    name: str,
    subject: Sequence[str],
    group: Sequence[str],
    classes: Collection[str],
) -> Term:
    if len(group) > 1:
        raise FormulaError("GROUP= by several variables; make one variable of them")
    if group:
        return _by_group(_ungrouped(statement, name, subject, classes), group[0])
    return _ungrouped(statement, name, subject, classes)


def _by_group(term: Term, group: str) -> Term:
    """A term with a covariance at each level of GROUP=."""
    text = f"us{term.text}" if term.text.startswith("(") else term.text
    return Term(f"{text[:-1]}, by={quote_name(group)})", None, term.check)


def _ungrouped(
    statement: Effects, name: str, subject: Sequence[str], classes: Collection[str]
) -> Term:
    effects = statement.effects
    if name.startswith("lin"):
        raise FormulaError("TYPE=LIN: give the matrix as cov={'factor': A} beside (1 | factor)")
    if not subject:
        raise FormulaError(f"TYPE={name.upper()} without SUBJECT= is one block of all rows")
    where = ":".join(map(quote_name, subject))
    if all(not effect.factors(classes) for effect in effects):
        return _slopes(effects, name, subject, classes)
    if len(effects) > 1 or effects[0].covariates(classes):
        listed = ", ".join(map(str, effects))
        raise FormulaError(
            f"TYPE={name.upper()} over {listed} together: write the columns wanted as one factor, "
            "or as numbers"
        )
    if name.startswith("sp("):
        kind = statement.option("type")
        assert kind is not None, "TYPE= names it"
        return _spatial(effects[0], kind.value or (), subject)
    cells = effects[0].formula(classes)
    if name in FULL:
        return Term(f"us(0 + {cells} | {where})", None)
    keyword = canonical(f"{name}(x | y)").partition("(")[0]
    number = canonical(f"{name}(x | y)").partition(",")[2].rstrip(")").strip()
    after = f", {number}" if number else ""
    return Term(f"{keyword}(0 + {cells} | {where}{after})", None)


def _spatial(effect: Effect, value: Sequence[Token], subject: Sequence[str]) -> Term:
    """``sp(pow)(time)``: the levels of an effect lie where TYPE= says, not at their own values."""
    keyword, coordinates = spatial_kind(value)
    if len(coordinates) > 1:
        raise FormulaError(
            f"{', '.join(coordinates)} as coordinates of random effects; they have one here, as in "
            f"{keyword}(0 + factor(time) | id)"
        )
    where = ":".join(map(quote_name, subject))
    check = OneValueWithin(coordinates[0], tuple(dict.fromkeys((*subject, *effect.names))))
    return Term(f"{keyword}(0 + factor({quote_name(coordinates[0])}) | {where})", None, check)


def spatial_kind(value: Sequence[Token]) -> tuple[str, list[str]]:
    """Keyword and coordinates of ``sp(exp)(x y)``, whose coordinates are numbers.

    Raises
    ------
    FormulaError
    """
    names = [token.text for token in value if token.kind == "name"]
    if len(names) < 3:
        raise FormulaError(f"TYPE={written(value).upper()} names no coordinates")
    return canonical(f"sp({names[1].lower()})(x | y)").partition("(")[0], names[2:]


def _slopes(
    effects: Sequence[Effect], name: str, subject: Sequence[str], classes: Collection[str]
) -> Term:
    """Intercept and slopes by numbers."""
    where, group = ":".join(map(quote_name, subject)), ":".join(subject)
    # FA0(q) with a factor for each effect is a full matrix, held positive semidefinite.
    full = name in FULL or name == f"fa0({len(effects)})"
    columns = [effect.formula(classes) for effect in effects]
    names = ["(Intercept)" if column == "1" else column for column in columns]
    intercept = "1" if "1" in columns else "0"
    left = " + ".join([intercept, *(c for c in columns if c != "1")])
    if full:
        return Term(f"({left} | {where})", _triangle(names, group))
    if name == "un(1)":
        variances = tuple(f"Var({n}) | {group}" for n in names)
        return Term(f"diag({left} | {where})", variances)
    raise FormulaError(
        f"TYPE={name.upper()} over an intercept and slopes, whose units differ; TYPE=UN and VC "
        "have counterparts"
    )


def _triangle(names: Sequence[str], group: str) -> tuple[str, ...]:
    """Elements of the matrix as PROC MIXED lists them: UN(1,1), UN(2,1), UN(2,2), ..."""
    return tuple(
        f"Var({a}) | {group}" if i == j else f"Cov({b}, {a}) | {group}"
        for i, a in enumerate(names)
        for j, b in enumerate(names[: i + 1])
    )
