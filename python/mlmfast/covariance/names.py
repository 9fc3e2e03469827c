"""Names of covariance structures as people write them, in any case or as SAS does, and a table."""

from __future__ import annotations

import re
from difflib import get_close_matches
from typing import TYPE_CHECKING

from mlmfast.covariance.base import STRUCTURES
from mlmfast.errors import FormulaError
from mlmfast.running.first_use import OnUse

if TYPE_CHECKING:
    import pandas as pd
else:
    pd = OnUse("pandas")

#: ``toep(2)(visit | id)``: a name, what stands in parentheses before the coordinates, the rest.
_HEAD = re.compile(r"\s*([A-Za-z][\w.]*)\s*(?:\(([^()]*)\)\s*)?\((.*)\)(.*)", re.DOTALL)
#: ``k=2``, ``1.5``, ``nu=free``
_OPTION = re.compile(r"\s*([A-Za-z]\w*\s*=\s*[\w.]+|[\d.]+)\s*")
#: ``toep2``
_ATTACHED = re.compile(r"([a-z]+)(\d+)")
#: Lowercase words of other programs and of ordinary speech that are no keyword here.
_ORDINARY = {
    "unr": "us", "unstructured": "us", "exchangeable": "cs", "compound": "cs", "ante": "adh",
    "arh": "ar1h", "ar": "ar1", "arma": "arma11", "sp": "sp_exp", "independent": "homdiag",
    "spatial": "sp_exp", "exponential": "sp_exp", "gaussian": "sp_gau", "spherical": "sp_sph",
    "power": "sp_pow", "matern": "sp_matern", "autoregressive": "ar1", "toeplitz": "toep",
    "banded": "un",
}  # fmt: skip


def canonical(part: str) -> str:
    """A structure with our keyword, and its number behind the coordinates.

    Raises
    ------
    FormulaError
        For a name that is not known.

    Examples
    --------
    >>> canonical("TOEP(2)(visit | id)"), canonical("fa2(visit | id)")
    ('toep(visit | id, 2)', 'fa(visit | id, 2)')
    >>> canonical("SP(EXP)(time | id)"), canonical("AR(1)(visit) | id")
    ('sp_exp(time | id)', 'ar1(visit) | id')
    """
    head = _HEAD.fullmatch(part)
    if head is None:
        return part
    name, option, inner, rest = head.groups()
    keyword, number = _keyword(name, option)
    return f"{keyword}({inner}{'' if number is None else f', {number}'}){rest}"


def _keyword(name: str, option: str | None) -> tuple[str, str | None]:
    """Keyword and number of a name with what stands in its parentheses."""
    word = name.lower()
    if option is None:
        return _plain(name, word)
    takes_number = word in STRUCTURES and STRUCTURES[word].option is not None
    if takes_number and _OPTION.fullmatch(option):
        return word, option.strip()
    found = _sas_names().get(f"{word}({''.join(option.lower().split())})")
    if found is not None:
        return found, None
    if word in STRUCTURES:
        raise FormulaError(
            f"{f'{name}({option})'!r} is not a residual structure: {word!r} takes {_takes(word)}"
        )
    raise unknown_structure(f"{name}({option})")


def _plain(name: str, word: str) -> tuple[str, str | None]:
    if name == "UN":
        # As SAS means it; `un` in bands is ours.
        return "us", None
    if word in STRUCTURES:
        return word, None
    found = _sas_names().get(word)
    if found is not None:
        return found, None
    attached = _ATTACHED.fullmatch(word)
    base = attached.group(1) if attached else ""
    if attached and base in STRUCTURES and STRUCTURES[base].option == "order":
        return base, attached.group(2)
    raise unknown_structure(name)


def _takes(word: str) -> str:
    names = STRUCTURES[word].option_names
    if STRUCTURES[word].option is None:
        return f"no number; write {word}(visit | id)"
    return f"a number, {word}(visit | id, {names[-1]}=2)"


def _sas_names() -> dict[str, str]:
    """Lowercase TYPE= names of PROC MIXED without a q to fill in, and our keyword for each."""
    out: dict[str, str] = {}
    for word, kind in STRUCTURES.items():
        for name in (kind.sas or "").lower().split(", "):
            if name and "(q)" not in name:
                out.setdefault(name, word)
    return out


def unknown_structure(name: str) -> FormulaError:
    """The error for a name that is not known, with the nearest that is.

    Examples
    --------
    >>> str(unknown_structure("corAR1")).split(" (")[0]
    "'corAR1' is not a residual structure; nlme's corAR1 is 'ar1' here"
    """
    return FormulaError(
        f"{name!r} is not a residual structure{_hint(name)} (available: "
        f"{', '.join(sorted(STRUCTURES))})"
    )


def _hint(name: str) -> str:
    word = name.lower()
    for program in ("nlme", "glmmtmb", "mmrm"):
        for keyword, kind in STRUCTURES.items():
            if word in re.split(r"[,+ ]+", (getattr(kind, program) or "").lower()):
                shown = "glmmTMB" if program == "glmmtmb" else program
                return f"; {shown}'s {name} is {keyword!r} here"
    base = re.match(r"[a-z]*", word)
    near = _ORDINARY.get(word) or _ORDINARY.get(base.group() if base else "")
    if near is None:
        close = get_close_matches(word, [*STRUCTURES, *_ORDINARY], n=1)
        near = _ORDINARY.get(close[0], close[0]) if close else None
    return f"; did you mean {near!r}?" if near else ""


def structures() -> pd.DataFrame:
    """Covariance structures: formula, parameters, when to use each, names in other programs.

    K is the number of levels (or points), i and j two of them, d_ij their distance.

    Examples
    --------
    >>> structures().loc["ar1", ["formula", "SAS", "nlme"]].tolist()
    ['sigma^2 rho^|i - j|', 'AR(1)', 'corAR1']
    """
    rows = {
        word: {
            "name": structure.label,
            "formula": structure.formula,
            "parameters": structure.parameters,
            "use": structure.use,
            "needs": structure.needs,
            "SAS": structure.sas or "",
            "mmrm": structure.mmrm or "",
            "nlme": structure.nlme or "",
            "glmmTMB": structure.glmmtmb or "",
        }
        for word, structure in STRUCTURES.items()
    }
    return pd.DataFrame.from_dict(rows, orient="index").rename_axis("structure").sort_index()
