"""Arguments that are one of some words."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from difflib import get_close_matches


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
