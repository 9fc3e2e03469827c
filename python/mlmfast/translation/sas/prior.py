"""The PRIOR statement as a call of `posterior`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from mlmfast.errors import FormulaError
from mlmfast.translation.findings import Findings
from mlmfast.translation.sas.statements.options import Option, numbers

_DRAWS = 1000
_LARGEST_SEED = 2**31 - 2
#: What prints or saves, and how candidates are found: the posterior is the same.
_SILENT = frozenset(
    {"bdata", "ifactor", "lognote", "logrbound", "nsearch", "out", "psearch", "ptrans", "sfactor"}
    | {"tdata", "trans", "update"}
)
_CHAIN = frozenset({"ic", "indchain"})


def posterior_arguments(
    prior: tuple[Sequence[Option], Sequence[Option]] | None, found: Findings
) -> dict[str, Any] | None:
    """Arguments of ``fit.posterior``; None without the statement, or where it has no counterpart.

    Parameters
    ----------
    prior
        What stands before the slash, and the options after it.
    found
        Where it is said what is left out.
    """
    if prior is None:
        return None
    try:
        kind = _kind(prior[0])
        return {"n": _DRAWS, **_options(prior[1], found), **kind}
    except FormulaError as error:
        found.left_out.append(f"PRIOR: {error}")
        return None


def _kind(words: Sequence[Option]) -> dict[str, str]:
    """FLAT or JEFFREYS, the default."""
    names = [option.name for option in words]
    if names in ([], ["jeffreys"]):
        return {}
    if names == ["flat"]:
        return {"prior": "flat"}
    listed = ", ".join(map(str, words))
    raise FormulaError(f"{listed} has no counterpart; there are JEFFREYS and FLAT")


def _options(options: Sequence[Option], found: Findings) -> dict[str, int]:
    out = {}
    for option in options:
        if option.name == "nsample":
            out["n"] = _whole_number(option, 1)
        elif option.name == "seed":
            seed = _whole_number(option, -_LARGEST_SEED)
            # The clock's time for 0 and below, there and here.
            out |= {"seed": seed} if seed > 0 else {}
            found.notes.append("SEED= of PRIOR: draws are other ones from the same posterior")
        elif option.name in {"alg", "algorithm"}:
            if option.text not in _CHAIN:
                found.notes.append(
                    f"{option} of PRIOR: draws are by the independence chain, of the same posterior"
                )
        elif option.name in {"grid", "gridt", "outg", "outgt"}:
            found.left_out.append(f"{option} of PRIOR: the posterior is drawn from, on no grid")
        elif option.name in _SILENT:
            found.ignored.append(f"{option} of PRIOR")
        else:
            raise FormulaError(f"{option} has no counterpart")
    return out


def _whole_number(option: Option, least: int) -> int:
    given = list(numbers(option.value or ()))
    if len(given) != 1 or given[0] != int(given[0]) or given[0] < least:
        raise FormulaError(f"{option} is not a whole number from {least:,} on")
    return int(given[0])
