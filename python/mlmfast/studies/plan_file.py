"""A study from a TOML file, as `mlmfast study plan.toml` reads it."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Mapping
from dataclasses import fields
from difflib import get_close_matches
from importlib import import_module
from pathlib import Path
from typing import Any

from mlmfast.errors import DataError, MlmError
from mlmfast.simulation.make import design
from mlmfast.studies.plan.method import Method
from mlmfast.studies.study import Study

_KEYS = (
    "folder",
    "seed",
    "n_replicates",
    "chunk",
    "generate",
    "design",
    "conditions",
    "methods",
    "estimands",
    "stop_at",
)
_DESIGN = (
    "formula",
    "levels",
    "params",
    "varcorr",
    "sigma",
    "residual",
    "between",
    "sizes",
    "covariates",
    "icc",
    "residual_parameters",
    "residual_scale",
    "missing",
    "errors",
    "random_effects",
    "seed",
)


def read_plan_file(path: str | Path) -> tuple[Study, Path]:
    """The study of a plan, and the folder that it is run in.

    ``generate``, and ``function`` of a method, name Python functions as ``"file.py:name"``, beside
    the plan, or ``"package.module:name"``.

    Raises
    ------
    DataError
        For what is no plan; an unknown key is refused with the nearest known one.
    OSError
        Where the file cannot be read.
    """
    file = Path(path)
    plan = _read(file)
    _check_keys(plan, _KEYS, "the plan")
    for name in ("conditions", "methods", "estimands", "n_replicates"):
        if name not in plan:
            raise DataError(f"the plan has no {name}; see examples/ of mlmfast for whole ones")
    study = Study(
        plan["conditions"],
        _generator(plan, file.parent),
        _methods(plan["methods"], file.parent),
        plan["estimands"],
        plan["n_replicates"],
        plan.get("seed", 0),
        chunk=plan.get("chunk", 500),
        stop_at=plan.get("stop_at"),
    )
    return study, file.parent / str(plan.get("folder", file.stem))


def _read(file: Path) -> dict[str, Any]:
    for name in ("tomllib", "tomli"):
        try:
            toml: Any = import_module(name)
        except ModuleNotFoundError:
            continue
        try:
            found: dict[str, Any] = toml.loads(file.read_text(encoding="utf-8"))
        except ValueError as error:
            raise DataError(f"{file} is no TOML file: {error}") from None
        return found
    raise MlmError("plans in TOML need Python 3.11 or later, or: pip install tomli")


def _check_keys(given: Mapping[str, Any], known: Iterable[str], what: str) -> None:
    names = list(known)
    for name in given:
        if name not in names:
            near = get_close_matches(name, names, n=1)
            hint = f"; did you mean {near[0]!r}?" if near else ""
            raise DataError(f"{what} has the unknown key {name!r}{hint} ({', '.join(names)})")


def _generator(plan: Mapping[str, Any], beside: Path) -> Any:
    if ("generate" in plan) == ("design" in plan):
        raise DataError("the plan needs either generate = 'file.py:function' or a [design] table")
    if "generate" in plan:
        return _function(plan["generate"], beside, "generate")
    own = plan["design"]
    if not isinstance(own, Mapping):
        raise DataError(f"design is {own!r}; a table [design] is needed")
    _check_keys(own, _DESIGN, "[design]")
    if "formula" not in own or "levels" not in own:
        raise DataError("[design] needs formula and levels")
    return design(**own)


def _methods(given: Any, beside: Path) -> dict[str, Any]:
    if not isinstance(given, Mapping):
        raise DataError("methods is no table; write [methods.NAME] with formula or function")
    return {name: _method(name, own, beside) for name, own in given.items()}


def _method(name: str, given: Any, beside: Path) -> Any:
    if not isinstance(given, Mapping):
        raise DataError(f"method {name!r} is {given!r}; write [methods.{name}] with formula = ...")
    known = [field.name for field in fields(Method)]
    _check_keys(given, [*known, "function"], f"[methods.{name}]")
    if "function" in given:
        if len(given) > 1:
            raise DataError(f"[methods.{name}]: function goes alone")
        return _function(given["function"], beside, f"method {name!r}")
    if "formula" not in given:
        raise DataError(f"[methods.{name}] needs formula = '...' or function = 'file.py:name'")
    return Method(**given)


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
