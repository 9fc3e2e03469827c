"""Plan: all that a study's results depend on, and its record beside them."""

from __future__ import annotations

import platform
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

import numpy as np
import pandas as pd
import scipy

from mlmfast._core import __version__
from mlmfast.errors import DataError
from mlmfast.simulation.study_design import StudyDesign
from mlmfast.studies.plan.conditions import Condition, read_conditions
from mlmfast.studies.plan.generator import read_generator
from mlmfast.studies.plan.identity import described, digest, source_of
from mlmfast.studies.plan.method import Method
from mlmfast.studies.plan.stopping import read_stopping
from mlmfast.words import did_you_mean

#: How random streams are made: part of every plan.
STREAMS = "PCG64DXSM of SeedSequence(seed, spawn_key=(*words of the condition, replicate))"
COMMON_STREAMS = "PCG64DXSM of SeedSequence(seed, spawn_key=(0, 0, replicate))"
#: A true value that the design has.
_OF_DESIGN = object()
#: Form of the folder; another one is another plan.
FORMAT = 1


@dataclass(frozen=True)
class Chunk:
    """Replicates first to last - 1 of a condition: what is run, written and finished at a time."""

    condition: int
    first: int
    last: int

    def __len__(self) -> int:
        return self.last - self.first


@dataclass(frozen=True)
class Plan:
    """What `Study` was given, checked.

    Attributes
    ----------
    truths
        For each condition the true value of each estimand, NaN where unknown.
    """

    conditions: tuple[Condition, ...]
    generate: Any
    methods: dict[str, Method | Callable[..., Any]]
    estimands: dict[str, Any]
    n_replicates: int
    seed: int
    chunk: int
    stop_at: dict[str, float] = field(default_factory=dict)
    truths: tuple[dict[str, float], ...] = ()
    common: bool = False

    @classmethod
    def of(
        cls,
        conditions: Any,
        generate: Any,
        methods: Any,
        estimands: Any,
        n_replicates: Any,
        seed: Any,
        chunk: Any,
        stop_at: Any,
        common: Any = False,
    ) -> Plan:
        """Check the parts of a plan.

        Raises
        ------
        DataError
        """
        if not isinstance(common, bool):
            raise DataError(f"common_random_numbers is {common!r}; use True or False")
        found = read_conditions(conditions)
        named = _read_methods(methods)
        generate = read_generator(generate)
        wanted = _read_estimands(estimands, generate)
        return cls(
            found,
            generate,
            named,
            wanted,
            _count(n_replicates, "n_replicates", 1),
            _count(seed, "seed", 0),
            _count(chunk, "chunk", 1),
            read_stopping(stop_at),
            tuple(_truths(wanted, generate, condition) for condition in found),
            common,
        )

    @property
    def factors(self) -> tuple[str, ...]:
        """Names of the factors of the conditions."""
        return tuple(self.conditions[0].values)

    def words(self, condition: Condition) -> tuple[int, int]:
        """What the random streams of a condition are named by."""
        return (0, 0) if self.common else condition.words

    def chunks(self, condition: int) -> list[Chunk]:
        """The chunks of a condition; their borders depend on the plan alone."""
        borders = [*range(0, self.n_replicates, self.chunk), self.n_replicates]
        return [Chunk(condition, first, last) for first, last in pairwise(borders)]

    def record(self) -> dict[str, Any]:
        """The plan as JSON: what another plan is compared with."""
        return {
            "format": FORMAT,
            "seed": self.seed,
            "streams": COMMON_STREAMS if self.common else STREAMS,
            "n_replicates": self.n_replicates,
            "chunk": self.chunk,
            "stop_at": self.stop_at,
            "generate": _described(self.generate),
            "methods": {name: _described(method) for name, method in self.methods.items()},
            "estimands": list(self.estimands),
            "conditions": [condition.values for condition in self.conditions],
            "truths": [
                {name: None if np.isnan(value) else value for name, value in truth.items()}
                for truth in self.truths
            ],
        }

    def sources(self) -> dict[str, str]:
        """The text of the generator and of methods that are functions, for readers."""
        functions = {"generate": self.generate}
        functions |= {f"method {name}": own for name, own in self.methods.items()}
        found = {name: source_of(own) for name, own in functions.items()}
        if isinstance(self.generate, StudyDesign):
            found["generate"] = repr(self.generate)
        return {name: text for name, text in found.items() if text}

    @property
    def fingerprint(self) -> str:
        """Digits that stand for the record."""
        return digest(self.record(), 16)


def versions() -> dict[str, str]:
    """Versions that the last digits of results may depend on."""
    return {
        "mlmfast": __version__,
        "numpy": np.__version__,
        "scipy": scipy.__version__,
        "pandas": pd.__version__,
        "python": platform.python_version(),
        "machine": platform.machine(),
    }


def _described(thing: Any) -> dict[str, Any]:
    own = getattr(thing, "record", None)
    return {"model": own()} if isinstance(thing, Method) and own else described(thing)


def _read_methods(given: Any) -> dict[str, Method | Callable[..., Any]]:
    if not isinstance(given, Mapping) or not given:
        raise DataError(
            "methods is empty or no dict; give names with mlm.Method(...) or functions, such as "
            "{'REML': mlm.Method('y ~ t + (1 | g)')}"
        )
    for name, method in given.items():
        if not isinstance(name, str) or not name:
            raise DataError(f"methods: the name {name!r} must be a text")
        if not isinstance(method, Method) and not callable(method):
            raise DataError(
                f"method {name!r} is {type(method).__name__}; give mlm.Method(...), or a function "
                "of (data, condition)"
            )
    return dict(given)


def _read_estimands(given: Any, generate: Any) -> dict[str, Any]:
    """Estimands with their true values; names alone are those of a design's fixed effects."""
    if isinstance(given, list | tuple) and given and isinstance(generate, StudyDesign):
        given = dict.fromkeys(given, _OF_DESIGN)
    if not isinstance(given, Mapping) or not given:
        raise DataError(
            "estimands is empty or no dict; give names of coefficients with their true values, "
            "such as {'t': 0.5}"
        )
    for name in given:
        if not isinstance(name, str) or not name:
            raise DataError(f"estimands: the name {name!r} must be a text")
    return dict(given)


def _truths(estimands: Mapping[str, Any], generate: Any, condition: Condition) -> dict[str, float]:
    """True values in a condition; under a design, which refuses what it does not know."""
    design = generate.under(condition.values) if isinstance(generate, StudyDesign) else None
    out = {}
    for name, value in estimands.items():
        if value is _OF_DESIGN and design is not None:
            value = _of_design(design, name)
        out[name] = _truth(name, value, condition)
    return out


def _of_design(design: StudyDesign, name: str) -> float:
    params = design.params
    if name not in params.index:
        hint = did_you_mean(name, list(params.index))
        raise DataError(
            f"estimands: the design has no fixed effect {name!r}{hint} (there are "
            f"{', '.join(params.index)}); give a dict with its true value"
        )
    return float(params[name])


def _truth(name: str, value: Any, condition: Condition) -> float:
    """The true value in a condition: a number, a function of it, or the name of a factor."""
    if isinstance(value, str):
        if value not in condition.values:
            hint = did_you_mean(value, list(condition.values))
            raise DataError(f"estimand {name!r} is {value!r}, which is no factor{hint}")
        value = condition.values[value]
    elif callable(value):
        try:
            value = value(dict(condition.values))
        except Exception as error:
            raise DataError(
                f"estimand {name!r}: its function failed in the condition {condition} "
                f"({type(error).__name__}: {error})"
            ) from error
    if value is None:
        return float("nan")
    try:
        number = float(value)
    except (TypeError, ValueError):
        number = float("nan")
    if not np.isfinite(number) or isinstance(value, bool | str):
        raise DataError(
            f"estimand {name!r} is {value!r} in the condition {condition}; its true value must be "
            "a number (None where it is not known)"
        )
    return number


def _count(value: Any, name: str, least: int) -> int:
    if isinstance(value, bool) or not isinstance(value, int | np.integer) or value < least:
        raise DataError(f"{name} is {value!r}; a whole number of at least {least} is needed")
    return int(value)
