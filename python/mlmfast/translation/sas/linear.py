"""Options of ESTIMATE and CONTRAST statements, and labels that tell statements apart."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from mlmfast.errors import FormulaError
from mlmfast.translation.findings import Findings
from mlmfast.translation.sas.statements.linear import LinearStatement
from mlmfast.translation.sas.statements.options import Option, numbers

_PRINTS = {"estimate": frozenset({"cl", "e", "singular"}), "contrast": frozenset({"e", "singular"})}
_KNOWN = {
    "estimate": frozenset(
        {"alpha", "df", "divisor", "lower", "lowertailed", "upper", "uppertailed"}
    ),
    "contrast": frozenset({"chisq", "df"}),
}
_BY_PART = frozenset({"group", "grp", "subject", "sub"})


def linear_statements(
    given: Sequence[LinearStatement], found: Findings
) -> tuple[LinearStatement, ...]:
    """The statements that have a result here, with labels that differ within a kind.

    A statement with an option that has no counterpart is withheld, by name.
    """
    taken = []
    for statement in given:
        name = f"{statement.kind.upper()} {statement.label!r}"
        try:
            for option in statement.options:
                _look_at(option, statement, name, found)
            _check_tail(statement)
        except FormulaError as error:
            found.left_out.append(f"{name}: {error}")
        else:
            taken.append(statement)
    labels = {
        kind: iter(told_apart([own.label for own in taken if own.kind == kind])) for kind in _KNOWN
    }
    return tuple(replace(own, label=next(labels[own.kind])) for own in taken)


def _look_at(option: Option, statement: LinearStatement, name: str, found: Findings) -> None:
    kind = statement.kind
    if option.name in _PRINTS[kind]:
        found.ignored.append(f"{option} of {name}")
    elif option.name in _BY_PART:
        raise FormulaError(
            f"{option} is for random effects of single subjects or groups; see "
            "fit.estimate(row, random={group: {level: weight}})"
        )
    elif option.name not in _KNOWN[kind]:
        raise FormulaError(f"{option} is no option of {kind.upper()} that is known here")
    elif option.name == "chisq":
        found.left_out.append(
            f"CHISQ of {name}: the F test only is made; fit.contrast(rows).f.chi2 is the other's "
            "statistic, of several rows"
        )
    elif option.name in {"alpha", "df", "divisor"}:
        _check_number(option)


def _check_number(option: Option) -> None:
    values = list(numbers(option.value or ()))
    good = len(values) == 1 and {
        "alpha": 0.0 < values[0] < 1.0,
        "df": values[0] > 0.0,
        "divisor": values[0] != 0.0,
    }.get(option.name, False)
    if not good:
        what = {"alpha": "between 0 and 1", "df": "above 0", "divisor": "other than 0"}
        raise FormulaError(f"{option} is not one number {what[option.name]}")


def _check_tail(statement: LinearStatement) -> None:
    if statement.option(*LinearStatement.LOWER) and statement.option(*LinearStatement.UPPER):
        raise FormulaError("LOWER and UPPER are two tests; write two statements")
    if statement.tail and (statement.alpha or 0.05) >= 0.5:
        raise FormulaError("a one-sided limit takes an ALPHA= below 0.5")


def told_apart(labels: Sequence[str]) -> list[str]:
    """Labels, those that come again with a number.

    Examples
    --------
    >>> told_apart(["a", "b", "a", "a (2)", "a"])
    ['a', 'b', 'a (3)', 'a (2)', 'a (4)']
    """
    taken: set[str] = set()
    out = []
    for label in labels:
        own, number = label, 1
        while own in taken or (number > 1 and own in labels):
            number += 1
            own = f"{label} ({number})"
        taken.add(own)
        out.append(own)
    return out
