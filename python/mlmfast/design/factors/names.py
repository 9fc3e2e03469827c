"""Names of grouping factors, as people spell them."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from functools import partial
from typing import Any, TypeVar

_Value = TypeVar("_Value")


def known_group(name: str, known: Collection[str]) -> str | None:
    """Return the grouping factor that is meant, or None.

    An interaction may be spelled from the inside out, as lme4 prints it.

    Examples
    --------
    >>> known_group("cask:batch", ["batch", "batch:cask"])
    'batch:cask'
    """
    if name in known:
        return name
    # lme4 writes (1 | a/b/c) as c:(b:a).
    parts = name.replace("(", "").replace(")", "").split(":")
    backwards = ":".join(reversed(parts))
    return backwards if backwards in known else None


def backwards(label: str, n_parts: int) -> str:
    """The label of an interaction's level, spelled from the inside out.

    A label whose parts cannot be told, for a ``:`` within them, stays as it is.

    Examples
    --------
    >>> backwards("A:a", 2), backwards("A:a:1", 2)
    ('a:A', 'A:a:1')
    """
    parts = label.split(":")
    return ":".join(reversed(parts)) if len(parts) == n_parts else label


class ByGroup(dict[str, _Value]):
    """A dict by grouping factor in which ``d["b:a"]`` also finds ``"a:b"``, its levels likewise.

    Parameters
    ----------
    values
        By grouping factor.
    respelled
        Makes the value for the other spelling: takes the value and what to do with each label.

    Examples
    --------
    >>> def respelled(values, spell):
    ...     return {spell(label): value for label, value in values.items()}
    >>> by_group = ByGroup({"batch:cask": {"A:a": 3}}, respelled)
    >>> by_group["batch:cask"], by_group["cask:batch"]
    ({'A:a': 3}, {'a:A': 3})
    """

    def __init__(
        self,
        values: Mapping[str, _Value],
        respelled: Callable[[_Value, Callable[[str], str]], _Value],
    ) -> None:
        super().__init__(values)
        self._respelled = respelled

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (dict(self), self._respelled)

    def __missing__(self, name: str) -> _Value:
        group = known_group(name, self.keys()) if isinstance(name, str) else None
        if group is None:
            raise KeyError(f"{name!r}; grouping factors: {', '.join(self) or 'none'}")
        return self._respelled(self[group], partial(backwards, n_parts=group.count(":") + 1))
