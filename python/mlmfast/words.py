"""Arguments that are one of some words."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from difflib import get_close_matches

from mlmfast.errors import ModelError


def is_one_of(value: object, words: Collection[str]) -> bool:
    """Whether a value, of whatever type, is one of the words.

    A set or a dict would ask a list for its hash, and a comparison an array for its truth.

    Examples
    --------
    >>> is_one_of("a", {"a", "b"}), is_one_of(["a"], {"a", "b"}), is_one_of(None, {"a"})
    (True, False, False)
    """
    return isinstance(value, str) and value in words


def meant(value: object, words: Collection[str], others: Mapping[str, str]) -> str | None:
    """The word that a value is, in any case, or is another program's name for; None for neither.

    Examples
    --------
    >>> meant("Bootstrap", ("wald", "boot"), {"bootstrap": "boot"}), meant(3, ("wald",), {})
    ('boot', None)
    """
    if not isinstance(value, str):
        return None
    own = {word.casefold(): word for word in words}
    return own.get(value.casefold(), others.get(value.casefold()))


def did_you_mean(name: object, known: Collection[str], cutoff: float = 0.5) -> str:
    """The nearest of some names as the end of a sentence; empty where none is near.

    Examples
    --------
    >>> did_you_mean("dyas", ["Days", "Subject"]), did_you_mean("X", ["x"]), did_you_mean("q", "a")
    ("; did you mean 'Days'?", "; did you mean 'x'?", '')
    """
    folded = {word.casefold(): word for word in reversed(list(known))}
    near = get_close_matches(str(name).casefold(), folded, n=1, cutoff=cutoff)
    return f"; did you mean {folded[near[0]]!r}?" if near else ""


def read_method(method: str) -> str:
    """Read the method of estimation: "REML" or "ML".

    Raises
    ------
    ModelError

    Examples
    --------
    >>> read_method("reml")
    'REML'
    """
    if isinstance(method, str) and method.lower() in MOMENTS:
        raise ModelError(
            f"method={method!r} estimates one response at a time from its rows, by lmm() or "
            "LMM.fit(); use 'REML' or 'ML' here"
        )
    if not isinstance(method, str) or method.upper() not in {"REML", "ML"}:
        raise ModelError(f"method is {method!r}; use 'REML' or 'ML'{_of_another_choice(method)}")
    return method.upper()


#: Methods of estimation by moments.
MOMENTS = ("type1", "type2", "type3", "mivque0")


def read_estimator(method: str) -> str:
    """Read the method of estimation: "REML", "ML" or one by moments.

    Raises
    ------
    ModelError

    Examples
    --------
    >>> read_estimator("TYPE3"), read_estimator("ml")
    ('type3', 'ML')
    """
    if isinstance(method, str) and method.lower() in MOMENTS:
        return method.lower()
    if not isinstance(method, str) or method.upper() not in {"REML", "ML"}:
        known = ", ".join(map(repr, MOMENTS))
        raise ModelError(
            f"method is {method!r}; use 'REML' or 'ML', or {known} for moments"
            f"{_of_another_choice(method)}"
        )
    return method.upper()


#: Beginnings of the names of methods of degrees of freedom, and of optimisers of other programs.
_DEGREES_OF_FREEDOM = ("kenward", "kr", "satt", "between", "contain", "residual", "asymptotic")
_OPTIMISERS = ("lbfgs", "l-bfgs", "bfgs", "cg", "nm", "nelder", "powell", "newton", "bobyqa")


def _of_another_choice(method: object) -> str:
    """The end of a sentence where a method of something else than estimation was given."""
    word = method.casefold() if isinstance(method, str) else ""
    if word.startswith(_DEGREES_OF_FREEDOM):
        return "; degrees of freedom are chosen by ddf="
    if word.startswith(_OPTIMISERS):
        return "; every fit is by Newton-Raphson"
    return ""


def name_or_number(text: str) -> str | float:
    """A number where the text is one, such as the degrees of freedom that a fit holds as text.

    Examples
    --------
    >>> name_or_number("12.5"), name_or_number("kenward-roger")
    (12.5, 'kenward-roger')
    """
    try:
        return float(text)
    except ValueError:
        return text
