"""Names of grouping factors, as people spell them."""

from __future__ import annotations

from collections.abc import Collection
from typing import TypeVar

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


class ByGroup(dict[str, _Value]):
    """A dict by grouping factor in which ``d["b:a"]`` also finds ``"a:b"``.

    Examples
    --------
    >>> ByGroup({"batch:cask": 3})["cask:batch"]
    3
    """

    def __missing__(self, name: str) -> _Value:
        group = known_group(name, self.keys()) if isinstance(name, str) else None
        if group is None:
            raise KeyError(f"{name!r}; grouping factors: {', '.join(self) or 'none'}")
        return self[group]
