"""Arguments that are one of some words."""

from __future__ import annotations

from collections.abc import Collection


def is_one_of(value: object, words: Collection[str]) -> bool:
    """Whether a value, of whatever type, is one of the words.

    A set or a dict would ask a list for its hash, and a comparison an array for its truth.

    Examples
    --------
    >>> is_one_of("a", {"a", "b"}), is_one_of(["a"], {"a", "b"}), is_one_of(None, {"a"})
    (True, False, False)
    """
    return isinstance(value, str) and value in words
