"""Which engine serves a model: decided from how its grouping factors stand to each other."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from mlmfast import _core
from mlmfast.clusters import check_distinct, clusters_are_levels
from mlmfast.dense_engine import DenseParts, dense_parts
from mlmfast.design import Design, GroupingFactor
from mlmfast.errors import ModelError
from mlmfast.iterative import IterativeSettings
from mlmfast.newton import NewtonOptions, check_settings

if TYPE_CHECKING:
    from mlmfast.reduced_model import ReducedModel

#: Engines that can be asked for by ``options={"engine": ...}``.
ENGINES = ("nested", "crossed", "iterative", "dense")
#: Bytes of the crossed engine's evaluation above which the iterative engine takes over: a factor of
#: order 18,000, minutes an evaluation.
LARGEST_CROSSED = 6e9


def read_options(
    options: NewtonOptions | Mapping[str, Any] | None,
) -> tuple[str | IterativeSettings | None, NewtonOptions]:
    """The engine asked for (None: the model decides) and the settings of the iteration.

    The iterative engine comes as its settings.

    Raises
    ------
    ModelError
        For an engine or a setting that is not known, or one of another engine.

    Examples
    --------
    >>> read_options({"engine": "crossed", "max_iter": 50})[0]
    'crossed'
    >>> read_options({"engine": "iterative", "probes": 60})[0]
    IterativeSettings(probes=60, seed=0)
    """
    if options is None:
        return None, NewtonOptions()
    if isinstance(options, NewtonOptions):
        check_settings(options)
        return None, options
    if not isinstance(options, Mapping):
        raise ModelError(f"options is {options!r}; give a dict such as {{'max_iter': 200}}")
    settings = dict(options)
    engine = settings.pop("engine", None)
    if engine is not None and engine not in ENGINES:
        raise ModelError(f"engine is {engine!r}; use 'nested', 'crossed', 'iterative' or 'dense'")
    names = IterativeSettings.__dataclass_fields__
    own = {name: settings.pop(name) for name in names if name in settings}
    if own and engine != "iterative":
        raise ModelError(
            f"{' and '.join(own)} are options of the iterative engine; leave them out or add "
            "'engine': 'iterative'"
        )
    try:
        newton = NewtonOptions(**settings)
    except TypeError:
        known = ", ".join(["engine", *names, *NewtonOptions.__dataclass_fields__])
        unknown = [repr(n) for n in settings if n not in NewtonOptions.__dataclass_fields__]
        raise ModelError(f"unknown options: {', '.join(unknown)}; there are {known}") from None
    check_settings(newton)
    return IterativeSettings(**own) if engine == "iterative" else engine, newton


def engine_name(model: ReducedModel) -> str:
    """What evaluated the criterion, for the certificate."""
    if isinstance(model.core, _core.MarginalReduction):
        levels = model.levels
        nested = not levels or clusters_are_levels(model.design, levels)
        return "dense V" if nested else "dense V, crossed"
    if not model.blocks:
        return "least squares"
    if isinstance(model.core, _core.IterativeReduction):
        return "iterative"
    if isinstance(model.core, _core.CrossedReduction):
        exact = model.core.curvature == "exact"
        return "crossed, dense Schur" + ("" if exact else ", average information")
    return "nested elimination"


@dataclass(frozen=True)
class CrossedSize:
    """What the crossed engine needs for a design.

    Attributes
    ----------
    order
        Rows of the matrix that is factored: random effects of all factors but the leading one.
    memory
        Bytes at the peak, degrees of freedom included.
    operations
        Floating-point operations of one evaluation.
    """

    order: int
    memory: float
    operations: float


def crossed_size(design: Design, levels: tuple[int, ...]) -> CrossedSize:
    """Memory and work of the crossed engine, from the numbers of levels and effects alone.

    The factor, its inverse and the matrix they come from are held as dense triangles; the exact
    second derivatives that degrees of freedom take need three times as much as the fit.
    """
    effects = [
        design.factors[f].n_levels
        * sum(len(term.columns) for term in design.random if term.factor == f)
        for f in levels
    ]
    order = sum(effects) - max(effects, default=0)
    widest = max((len(term.columns) for term in design.random), default=0)
    cells = float(design.n_obs) * max(len(levels) - 1, 1)
    memory = 56.0 * order**2 + cells * (60.0 + 16.0 * widest**2)
    return CrossedSize(order, memory, float(order) ** 3 + 50.0 * cells)


def available_memory() -> float:
    """Bytes that a process may still take; infinite where the system does not say."""
    limits = [float("inf")]
    with contextlib.suppress(OSError, ValueError, StopIteration):
        lines = Path("/proc/meminfo").read_text(encoding="ascii").splitlines()
        free = next(line for line in lines if line.startswith("MemAvailable:"))
        limits.append(1024.0 * int(free.split()[1]))
    with contextlib.suppress(OSError, ValueError):
        group = Path("/sys/fs/cgroup")
        limit = float((group / "memory.max").read_text(encoding="ascii"))
        used = float((group / "memory.current").read_text(encoding="ascii"))
        limits.append(limit - used)
    return min(limits)


def is_too_large(size: CrossedSize, available: float) -> bool:
    """Whether a factorisation is out of reach: more memory than there is, or many minutes.

    Examples
    --------
    >>> is_too_large(CrossedSize(5_000, 4.5e8, 1.25e11), 8e9)
    False
    """
    return size.memory > min(LARGEST_CROSSED, available)


def relate_factors(
    design: Design, levels: tuple[int, ...], engine: str | IterativeSettings | None = None
) -> _core.Nesting | _core.Crossing | IterativeSettings | DenseParts:
    """The rows sorted by nested factors, or, where factors cross, the codes as they are.

    For the iterative engine, which sorts the rows itself, its settings; for the dense one the
    independent parts of the rows.

    Parameters
    ----------
    design
        The design.
    levels
        Positions of the grouping factors, outermost first.
    engine
        "nested", "crossed", "dense" or the settings of the iterative engine to have it so; None
        leaves the choice to the model and, where factors cross, to the memory that a factorisation
        would take.

    Raises
    ------
    ModelError
        Where two factors are the same, or the engine asked for does not serve the model, or no
        memory would hold it.
    """
    check_distinct(design)
    factors = [design.factors[f] for f in levels]
    related = [factor.name for factor in factors if factor.relationship is not None]
    if engine == "dense" or (engine is None and related):
        return dense_parts(design, levels, available_memory())
    if related:
        name = "iterative" if isinstance(engine, IterativeSettings) else engine
        raise ModelError(
            f"the {name} engine has no relationship matrices (cov= of {related[0]!r}); leave "
            f"options={{'engine': {name!r}}} out"
        )
    codes, sizes = [f.codes for f in factors], [f.n_levels for f in factors]
    if isinstance(engine, IterativeSettings):
        _check_iterative(design)
        return engine
    if engine == "crossed" and design.residual is None and factors:
        return _core.Crossing(design.n_obs, codes, sizes)
    if design.residual is not None:
        codes.append(design.residual.units)
        sizes.append(design.residual.n_units)
    series = None if design.residual is None else design.residual.series
    try:
        return _core.Nesting(
            design.n_obs, codes, sizes, None if series is None else series.positions
        )
    except _core.NotNested as error:
        if design.residual is None and engine is None:
            if is_too_large(crossed_size(design, levels), available_memory()):
                return IterativeSettings()
            return _core.Crossing(design.n_obs, codes, sizes)
        if engine is None:
            return dense_parts(design, levels, available_memory())
        raise _crossed(design, levels, error.args[0]) from None


def _check_iterative(design: Design) -> None:
    if design.residual is not None:
        raise ModelError(
            f"the iterative engine has independent residuals; leave out "
            f"{design.residual.text} or options={{'engine': 'iterative'}}"
        )
    if not design.random:
        raise ModelError(
            "options={'engine': 'iterative'} needs random effects; without any the fit is least "
            "squares"
        )


def _met_twice(design: Design, factor: GroupingFactor) -> str:
    """A subject of the residual covariance with two of its levels of a factor."""
    assert design.residual is not None
    codes = design.residual.subject.codes
    seen = np.full(design.residual.subject.n_levels, -1, dtype=np.int64)
    seen[codes] = factor.codes
    row = int(np.flatnonzero(seen[codes] != factor.codes)[0])
    first, second = factor.labels[factor.codes[row]], factor.labels[seen[codes[row]]]
    return f"{design.residual.subject.labels[codes[row]]!r} with {first!r} and {second!r}"


def _crossed(design: Design, levels: tuple[int, ...], inner: int) -> ModelError:
    """The refusal of factors that are not nested; ``inner`` crosses the one before it."""
    factors = [design.factors[f] for f in levels]
    if design.residual is not None and inner == len(factors):
        return ModelError(
            f"subjects ({design.residual.subject.name!r}) of "
            f"{design.residual.text} are met with several levels of the "
            f"grouping factor {factors[-1].name!r}, {_met_twice(design, factors[-1])}, which the "
            "engine asked for does not serve; leave options={'engine': ...} out"
        )
    outer_name, inner_name = factors[inner - 1].name, factors[inner].name
    what = "options={'engine': 'nested'}"
    return ModelError(
        f"grouping factors {outer_name!r} and {inner_name!r} are crossed (a level of "
        f"{inner_name!r} is met with several levels of {outer_name!r}), which {what} does not "
        f"allow. If the levels are meant to be nested, write (1 | {outer_name}/{inner_name})"
    )
