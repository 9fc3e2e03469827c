"""A study from a plan, as `mlmfast study plan.toml` reads it."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from dataclasses import fields
from importlib import import_module
from pathlib import Path
from typing import Any

from mlmfast.cli.plans import arguments_of, check_keys, read_plan, values_of
from mlmfast.errors import DataError
from mlmfast.simulation.make import design
from mlmfast.studies.plan.method import Method
from mlmfast.studies.study import Study

#: What a plan must say, and may say.
_NEEDED = ("n_replicates", "conditions", "methods", "estimands")
_KEYS = (
    *_NEEDED,
    "seed",
    "chunk",
    "stop_at",
    "common_random_numbers",
    "design",
    "generate",
    "folder",
)


def read_study(path: str) -> tuple[Study, Path]:
    """The study of a plan, and the folder that it is run in.

    ``generate``, and ``function`` of a method, name Python functions as ``"file.py:name"``, beside
    the plan, or ``"package.module:name"``.

    Raises
    ------
    DataError
        For what is no plan; an unknown key is refused with the nearest known one.
    """
    file = Path(path)
    plan = check_keys("the top", read_plan(path), _KEYS)
    for name in _NEEDED:
        if name not in plan:
            raise DataError(f"the plan has no {name}; mlmfast study --help shows a whole one")
    conditions = plan["conditions"]
    if isinstance(conditions, Mapping):
        conditions = {name: values_of(values) for name, values in conditions.items()}
    study = Study(
        conditions,
        _generator(plan, file.parent),
        _methods(plan["methods"], file.parent),
        plan["estimands"],
        plan["n_replicates"],
        plan.get("seed", 0),
        chunk=plan.get("chunk", 1000),
        stop_at=plan.get("stop_at"),
        common_random_numbers=plan.get("common_random_numbers", False),
    )
    return study, file.parent / str(plan.get("folder", file.stem))


def _generator(plan: Mapping[str, Any], beside: Path) -> Any:
    if ("generate" in plan) == ("design" in plan):
        raise DataError("the plan needs either generate = 'file.py:function' or a table [design]")
    if "generate" in plan:
        return _function(plan["generate"], beside, "generate")
    own = dict(check_keys("[design]", plan["design"], arguments_of(design, without=["data"])))
    for name in ("formula", "levels"):
        if name not in own:
            raise DataError(f"[design] of the plan needs {name}")
    if isinstance(own["levels"], Mapping):
        own["levels"] = {name: values_of(given) for name, given in own["levels"].items()}
    return design(**own)


def _methods(given: Any, beside: Path) -> dict[str, Any]:
    if not isinstance(given, Mapping):
        raise DataError("methods is no table; write [methods.NAME] with formula or function")
    return {name: _method(name, own, beside) for name, own in given.items()}


def _method(name: str, given: Any, beside: Path) -> Any:
    known = [field.name for field in fields(Method)]
    own = check_keys(f"[methods.{name}]", given, [*known, "function"])
    if "function" in own:
        if len(own) > 1:
            raise DataError(f"[methods.{name}] of the plan: function goes alone")
        return _function(own["function"], beside, f"method {name!r}")
    if "formula" not in own:
        raise DataError(f"[methods.{name}] needs formula = '...' or function = 'file.py:name'")
    return Method(**own)


def _function(text: Any, beside: Path, what: str) -> Callable[..., Any]:
    """A function by the name of its file or module."""
    place, colon, name = str(text).rpartition(":")
    if not colon or not name.isidentifier():
        raise DataError(f"{what} is {text!r}; write 'file.py:function' or 'module:function'")
    if place.endswith(".py"):
        file = (beside / place).resolve()
        if not file.is_file():
            raise DataError(f"{what}: there is no file {file}")
        # By its name, so that workers import it too.
        if str(file.parent) not in sys.path:
            sys.path.insert(0, str(file.parent))
        place = file.stem
    try:
        module = import_module(place)
    except ImportError as error:
        raise DataError(f"{what}: {place} cannot be imported ({error})") from error
    found = getattr(module, name, None)
    if not callable(found):
        raise DataError(f"{what}: {place} has no function {name!r}")
    function: Callable[..., Any] = found
    return function
