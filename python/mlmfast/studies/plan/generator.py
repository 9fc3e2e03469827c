"""What may generate data: a design, or a function of the condition."""

from __future__ import annotations

import inspect
from typing import Any

from mlmfast.errors import DataError
from mlmfast.simulation.study_design import StudyDesign

_WANTED = (
    "give mlm.design(...), a function of (condition, rng) that returns a data frame, or a function "
    "of the condition that returns a design"
)


def read_generator(generate: Any) -> Any:
    """The generator, if it is one.

    Raises
    ------
    DataError
    """
    if isinstance(generate, StudyDesign):
        return generate
    if not callable(generate):
        raise DataError(f"generate is {generate!r}; {_WANTED}")
    if _n_arguments(generate) not in (None, 1, 2):
        raise DataError(f"generate takes {_n_arguments(generate)} arguments; {_WANTED}")
    return generate


def takes_rng(generate: Any) -> bool:
    """Whether a function takes the random generator besides the condition."""
    return _n_arguments(generate) != 1


def _n_arguments(function: Any) -> int | None:
    """Arguments by position that must be given; None where that is not known, or any number."""
    try:
        parameters = inspect.signature(function).parameters.values()
    except (TypeError, ValueError):
        return None
    if any(p.kind is p.VAR_POSITIONAL for p in parameters):
        return None
    by_position = [p for p in parameters if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)]
    needed = [p for p in by_position if p.default is p.empty]
    # An rng that has a default is still asked for.
    return 2 if len(needed) < 2 <= len(by_position) else len(needed)
