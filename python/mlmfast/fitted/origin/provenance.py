"""How a fit came about: the call, and the versions that made it."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass, is_dataclass
from typing import Any

import numpy as np

from mlmfast.relationships.pedigree import Pedigree
from mlmfast.relationships.precision import Precision
from mlmfast.running.versions import place, versions

#: Numbers of an array that a call is written with.
_MOST_NUMBERS = 100


@dataclass
class Provenance:
    """What was asked, when, and by which versions.

    Attributes
    ----------
    call
        Arguments that were given, as JSON holds them; arrays of rows and frames by their shape.
    seconds
        Time of the fit since 1970.
    made_by
        Versions and place; None for those of this process.
    """

    call: dict[str, Any]
    seconds: float
    made_by: dict[str, dict[str, str]] | None = None

    @property
    def versions(self) -> dict[str, dict[str, str]]:
        """Versions and platform of the process that made the fit."""
        return made_here() if self.made_by is None else self.made_by

    def __getstate__(self) -> dict[str, Any]:
        """A pickle may be read by other versions."""
        return {**self.__dict__, "made_by": self.versions}


def made_here() -> dict[str, dict[str, str]]:
    """Versions and platform of this process."""
    return {"versions": versions(), "platform": place()}


def provenance_of(*arguments: Mapping[str, Any]) -> Provenance:
    """What is known at the time of a fit; arguments that are None were not given.

    Examples
    --------
    >>> provenance_of({"formula": "y ~ x", "weights": None}, {"method": "ML"}).call
    {'formula': 'y ~ x', 'method': 'ML'}
    """
    given = {k: v for own in arguments for k, v in own.items() if v is not None}
    call = {name: v if type(v) is str else written(v) for name, v in given.items()}
    return Provenance(call, time.time())


def written(value: Any) -> Any:
    """An argument as JSON holds it.

    Examples
    --------
    >>> written({"cor": np.float64(0.5), "start": np.eye(2)})
    {'cor': 0.5, 'start': [[1.0, 0.0], [0.0, 1.0]]}
    >>> written(np.zeros(1000))
    'ndarray (1000,)'
    """
    if isinstance(value, np.generic):
        value = value.item()
    if value is None or isinstance(value, bool | int | float):
        return value
    if isinstance(value, str):
        return str(value)
    if isinstance(value, Mapping):
        return {str(key): written(item) for key, item in value.items()}
    if isinstance(value, np.ndarray) and value.size <= _MOST_NUMBERS and value.dtype.kind in "biuf":
        return value.tolist()
    if isinstance(value, list | tuple | range) and len(value) <= _MOST_NUMBERS:
        return [written(item) for item in value]
    if isinstance(value, Pedigree | Precision):
        return repr(value)
    if is_dataclass(value) and not isinstance(value, type):
        return written(asdict(value))
    shape = getattr(value, "shape", None)
    name = getattr(value, "__name__", type(value).__name__)
    return name if shape is None else f"{name} {tuple(shape)}"
