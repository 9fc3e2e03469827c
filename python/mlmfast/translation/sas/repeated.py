"""The REPEATED statement as ``residual=`` and ``residual_scale=``."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

from mlmfast.covariance import STRUCTURES
from mlmfast.covariance.names import canonical
from mlmfast.errors import FormulaError
from mlmfast.formula.deparse import quote_name
from mlmfast.translation.findings import Findings
from mlmfast.translation.preparation import RowNumber
from mlmfast.translation.sas.random import FULL, SIMPLE, spatial_kind, subject_names
from mlmfast.translation.sas.statements.step import Effects
from mlmfast.translation.sas.statements.text import Token

_PRINTS = frozenset({"r", "rc", "rci", "rcorr", "ri", "hlm", "hlps"})
#: Column of row numbers, where the statement names no visit.
OCCASION = "occasion_"


@dataclass(frozen=True)
class ResidualText:
    """What a REPEATED statement is here.

    Attributes
    ----------
    parameters
        In PROC MIXED's order; None where their number depends on the data, "us" for its triangle.
    """

    residual: str | None = None
    scale: str | None = None
    number: RowNumber | None = None
    levels: tuple[str, ...] = ()
    parameters: tuple[str, ...] | str | None = ("Residual",)


def residual_text(
    statement: Effects | None, classes: Collection[str], found: Findings
) -> ResidualText:
    """Read a REPEATED statement; what cannot be said is entered among the findings.

    Examples
    --------
    >>> from mlmfast.translation.sas.statements.step import read_step
    >>> step = read_step("proc mixed; class g t; model y=t; repeated t / type=ar(1) sub=g r;")
    >>> residual_text(step.repeated, step.classes, Findings()).residual
    'ar1(factor(t) | g)'
    """
    if statement is None:
        return ResidualText()
    known = {"type", "group", "grp", "subject", "sub", "local"}
    for option in statement.options:
        if option.name in _PRINTS:
            found.ignored.append(f"{option} of REPEATED")
        elif option.name not in known:
            found.lost.append(f"{option} of '{statement.text}'")
    try:
        return _read(statement, classes)
    except FormulaError as error:
        found.lost.append(f"'{statement.text}': {error}")
        return ResidualText()


def _read(statement: Effects, classes: Collection[str]) -> ResidualText:
    kind, group = statement.option("type"), statement.option("group", "grp")
    subject = subject_names(statement.option("subject", "sub"))
    arms = () if group is None else subject_names(group)
    if len(arms) > 1:
        raise FormulaError("GROUP= by several variables; make one variable of them")
    arm = quote_name(arms[0]) if arms else None
    local = statement.option("local")
    name = "vc" if kind is None else kind.text
    nugget = local is not None and not local.value and name.startswith("sp(")
    scale = None if local is None or nugget else _local(local.value or (), name)
    if name in SIMPLE:
        scales = [text for text in (arm, scale) if text is not None]
        return ResidualText(
            scale=" * ".join(scales) or None, parameters=None if scales else ("Residual",)
        )
    if not subject:
        raise FormulaError(f"TYPE={name.upper()} without SUBJECT= is one block of all rows")
    where = ":".join(map(quote_name, subject))
    bar = where if arm is None else f"{arm} / {where}"
    assert kind is not None
    number: RowNumber | None = None
    levels: tuple[str, ...] = ()
    keyword = ""
    if name.startswith("sp("):
        residual, keyword = _spatial(kind.value or (), bar, nugget)
    elif "@" in name:
        residual, levels = _product(statement, name, bar, classes)
    else:
        residual, keyword, number, levels = _by_visit(statement, name, bar, subject, classes)
    parameters = None if arms or scale else _parameters(keyword)
    return ResidualText(residual, scale, number, levels, parameters)


def _local(argument: Sequence[Token], name: str) -> str:
    """``local=exp(x)``: standard deviations exp(delta x), SAS's parameter being twice ours."""
    words = [token for token in argument if token.kind == "name"]
    if len(words) == 2 and words[0].text.lower() == "exp":
        return f"exp({quote_name(words[1].text)})"
    what = "adds an independent error to" if not argument else "is not one of EXP() in"
    raise FormulaError(f"LOCAL {what} TYPE={name.upper()}, which has no counterpart")


def _by_visit(
    statement: Effects, name: str, bar: str, subject: tuple[str, ...], classes: Collection[str]
) -> tuple[str, str, RowNumber | None, tuple[str, ...]]:
    """A structure over the levels of a factor, or over the rows of a subject by number."""
    if len(statement.effects) > 1:
        raise FormulaError("several repeated effects; make one factor of them, or a product TYPE=")
    number = None
    if statement.effects:
        effect = statement.effects[0]
        if effect.covariates(classes) or len(effect.names) != 1:
            raise FormulaError(f"{effect} is not one CLASS variable; make one factor of it")
        visit = effect.names[0]
    else:
        visit, number = OCCASION, RowNumber(OCCASION, subject)
    known = {"un(1)": "diag", **dict.fromkeys(FULL, "UN")}
    text = canonical(f"{known.get(name, name)}(x | y)")
    keyword, rest = text.partition("(")[0], text.partition("|")[2]
    coordinate = quote_name(visit)
    if STRUCTURES[keyword].ordered:
        # CLASS levels count one by one, whatever numbers they are.
        coordinate = f"factor({coordinate})"
    after = f",{rest.partition(',')[2]}" if "," in rest else ")"
    residual = f"{keyword}({coordinate} | {bar}{after}"
    return residual, keyword, number, () if number else (visit,)


def _spatial(value: Sequence[Token], bar: str, nugget: bool) -> tuple[str, str]:
    """``sp(exp)(x y)``: coordinates are numbers."""
    keyword, coordinates = spatial_kind(value)
    after = ", nugget" if nugget else ""
    text = f"{keyword}({', '.join(map(quote_name, coordinates))} | {bar}{after})"
    return text, f"{keyword}_nugget" if nugget else keyword


def _product(
    statement: Effects, name: str, bar: str, classes: Collection[str]
) -> tuple[str, tuple[str, ...]]:
    """``un@ar(1)`` over two factors."""
    names = [n for effect in statement.effects for n in effect.names]
    kinds = name.split("@")
    if len(names) != 2 or len(kinds) != 2 or any(n not in classes for n in names):
        raise FormulaError(f"TYPE={name.upper()} goes with two CLASS variables")
    parts = []
    for kind, variable in zip(kinds, names, strict=True):
        keyword = canonical(f"{'UN' if kind == 'un' else kind}(x | y)").partition("(")[0]
        own = quote_name(variable)
        parts.append((keyword, f"factor({own})" if STRUCTURES[keyword].ordered else own))
    (first, a), (second, b) = parts
    return f"{first}({a}) @ {second}({b} | {bar})", tuple(names)


def _parameters(keyword: str) -> tuple[str, ...] | str | None:
    """Covariance parameters as PROC MIXED lists them, where their number is known."""
    if keyword == "us":
        return "us"
    second = {"cs": "CS", "ar1": "AR(1)", "sp_exp": "SP(EXP)", "sp_gau": "SP(GAU)"}
    second |= {"sp_pow": "SP(POW)", "sp_sph": "SP(SPH)"}
    kind = keyword.removesuffix("_nugget")
    if kind not in second:
        return None
    return (second[kind], "Variance") if kind == keyword else ("Variance", second[kind], "Nugget")
