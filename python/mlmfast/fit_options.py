"""Options of a fit: settings of the iteration, and which engine evaluates the criterion."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Any

from mlmfast.errors import ModelError
from mlmfast.iterative import IterativeSettings
from mlmfast.newton import NewtonOptions

ENGINES = ("automatic", "direct", "iterative")


@dataclass(frozen=True)
class FitOptions:
    """What the ``options`` of a fit say.

    Parameters
    ----------
    newton
        Settings of the iteration.
    engine
        "direct" factorises, "iterative" solves by conjugate gradients with stochastic traces,
        "automatic" takes the second where the first would need too much memory or time.
    iterative
        Settings of the iterative engine, used where it is.
    """

    newton: NewtonOptions
    engine: str
    iterative: IterativeSettings


def read_options(options: NewtonOptions | Mapping[str, Any] | None) -> FitOptions:
    """Read the ``options`` of a fit.

    Raises
    ------
    ModelError
        For a name or a value that is not known.

    Examples
    --------
    >>> read_options({"engine": "iterative", "probes": 60}).iterative.probes
    60
    """
    if isinstance(options, NewtonOptions):
        return FitOptions(options, "automatic", IterativeSettings())
    given = dict(options or {})
    engine = given.pop("engine", "automatic")
    if engine not in ENGINES:
        near = get_close_matches(str(engine), ENGINES, n=1)
        hint = f"; did you mean {near[0]!r}?" if near else ""
        raise ModelError(f"engine is {engine!r}{hint} (available: {', '.join(ENGINES)})")
    own = {name: given.pop(name) for name in IterativeSettings.__dataclass_fields__ if name in given}
    if own and engine == "direct":
        raise ModelError(
            f"{' and '.join(own)} belong to the iterative engine, and engine is 'direct'; leave "
            "them out, or ask for engine='iterative'"
        )
    try:
        newton = NewtonOptions(**given)
    except TypeError:
        known = ", ".join(
            ["engine", *IterativeSettings.__dataclass_fields__, *NewtonOptions.__dataclass_fields__]
        )
        raise ModelError(f"options {sorted(given)} are not all known; known: {known}") from None
    return FitOptions(newton, engine, IterativeSettings(**own))
