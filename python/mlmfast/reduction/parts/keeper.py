"""Where parts stay between one question and the next."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Protocol


class Keeper(Protocol):
    """Keeps what functions give, and fetches it when it is asked for."""

    def keep(self, function: Callable[..., Any], *arguments: Any) -> Any:
        """What a function gives, kept; arguments may be such as are kept here."""

    def fetch(self, kept: Sequence[Any]) -> list[Any]:
        """What is kept, brought here."""


class PartsAt:
    """Parts kept somewhere, asked all at once; see `PartedCore`."""

    def __init__(self, place: Keeper, parts: Sequence[Any]) -> None:
        self._place, self._parts = place, list(parts)

    def each(self, method: str, *arguments: Any) -> list[Any]:
        """What every part answers, in their order."""
        return self._place.fetch(
            [self._place.keep(_asked, own, method, arguments) for own in self._parts]
        )


def _asked(part: Any, method: str, arguments: tuple[Any, ...]) -> Any:
    return getattr(part, method)(*arguments)
