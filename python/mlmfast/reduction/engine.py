"""Which engine serves a model: decided from how its grouping factors stand to each other."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

import numpy as np

import mlmfast._core as _core
from mlmfast.arrays import CodeArray, FloatArray
from mlmfast.design.design import Design
from mlmfast.design.factors.grouping import GroupingFactor
from mlmfast.errors import ModelError
from mlmfast.memory import check_memory, memory_left
from mlmfast.newton import NewtonOptions, check_settings
from mlmfast.reduction.dense import DenseParts, dense_parts, dense_size
from mlmfast.reduction.independence import check_distinct, clusters_are_levels, independent_clusters
from mlmfast.reduction.options import IterativeSettings

if TYPE_CHECKING:
    from mlmfast.reduction.reduced_model import ReducedModel

#: Engines that can be asked for by ``options={"engine": ...}``.
ENGINES = ("nested", "crossed", "iterative", "dense")
#: Forms of the crossed engine's factor that can be asked for by ``options={"schur": ...}``.
SCHUR = ("cheaper", "dense", "sparse")
#: Bytes of the crossed engine above which the iterative engine takes over.
LARGEST_CROSSED = 6e9
#: Operations of its evaluation above which it does: about a minute, a dense factor of order 12,600.
MOST_OPERATIONS = 2e12
#: Order up to which the exact second derivatives of the criterion, which degrees of freedom need,
#: are formed by default, with dense matrices of this order: some seconds.
LARGEST_EXACT = 3_000
#: Rows up to which models with related levels are served by the dense engine.
FEW_ROWS = 300


@dataclass(frozen=True)
class CrossedSettings:
    """Settings of the crossed engine.

    Parameters
    ----------
    schur
        How the matrix that remains of the factors but the leading one is factored: "dense",
        "sparse" (supernodes in a fill-reducing order), or "cheaper", whichever takes less by the
        counts of a symbolic factorisation.

    Examples
    --------
    >>> CrossedSettings(schur="sparse").schur
    'sparse'
    """

    schur: str = "cheaper"

    def __post_init__(self) -> None:
        if self.schur not in SCHUR:
            raise ModelError(f"schur is {self.schur!r}; use 'cheaper', 'dense' or 'sparse'")


_SETTINGS: dict[str, type[CrossedSettings] | type[IterativeSettings]] = {
    "crossed": CrossedSettings,
    "iterative": IterativeSettings,
}
#: An engine asked for; None leaves the choice to the model.
Engine: TypeAlias = Literal["nested", "dense"] | CrossedSettings | IterativeSettings | None


def read_options(
    options: NewtonOptions | Mapping[str, Any] | None,
) -> tuple[Engine, NewtonOptions]:
    """The engine asked for (None: the model decides) and the settings of the iteration.

    The crossed and the iterative engine come as their settings.

    Raises
    ------
    ModelError
        For an engine or a setting that is not known, or one of another engine.

    Examples
    --------
    >>> read_options({"engine": "crossed", "schur": "sparse", "max_iter": 50})[0]
    CrossedSettings(schur='sparse')
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
        known = "'nested', 'crossed', 'iterative' or 'dense'"
        raise ModelError(f"engine is {engine!r}; use {known}")
    # The engines without settings of their own stand for themselves.
    chosen: Engine = engine if engine in {"nested", "dense"} else None
    names: list[str] = []
    for name, kind in _SETTINGS.items():
        fields = kind.__dataclass_fields__
        own = {field: settings.pop(field) for field in fields if field in settings}
        if own and engine != name:
            raise ModelError(
                f"{' and '.join(own)} are options of the {name} engine; leave them out or add "
                f"'engine': {name!r}"
            )
        if engine == name:
            chosen = kind(**own)
        names.extend(fields)
    try:
        newton = NewtonOptions(**settings)
    except TypeError:
        known = ", ".join(["engine", *names, *NewtonOptions.__dataclass_fields__])
        unknown = [repr(n) for n in settings if n not in NewtonOptions.__dataclass_fields__]
        raise ModelError(f"unknown options: {', '.join(unknown)}; there are {known}") from None
    check_settings(newton)
    return chosen, newton


def engine_name(model: ReducedModel) -> str:
    """What evaluated the criterion, for the certificate."""
    from mlmfast.reduction.absorbed.core import AbsorbedCore

    if isinstance(model.core, _core.MarginalReduction):
        levels = model.levels
        nested = not levels or clusters_are_levels(model.design, levels)
        return "dense V" if nested else "dense V, crossed"
    if isinstance(model.core, AbsorbedCore):
        levels = model.levels
        nested = not levels or clusters_are_levels(model.design, levels)
        name = f"{model.core.n_levels:,} fixed levels eliminated, {model.core.core.schur} Schur"
        return name if nested else f"{name}, crossed"
    if not model.blocks:
        return "least squares"
    if isinstance(model.core, _core.IterativeReduction):
        return "iterative"
    if isinstance(model.core, _core.CrossedReduction):
        exact = model.core.curvature == "exact"
        return f"crossed, {model.core.schur} Schur" + ("" if exact else ", average information")
    chain = model.design.residual is not None and model.design.residual.chain is not None
    return "nested elimination, chain of visits" if chain else "nested elimination"


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


def crossed_size(design: Design, crossing: _core.Crossing) -> CrossedSize:
    """Memory and work of the crossed engine, from the nonzeros of its factor.

    The factor and, for intervals of predictions, its inverse beside it, with the places of their
    values; where they are formed, the matrices of the exact second derivatives; the data by cell.
    """
    widest = max((len(term.columns) for term in design.random), default=0)
    n_factors = len({term.factor for term in design.random})
    cells = float(design.n_obs) * max(n_factors - 1, 1)
    values, operations = crossing.cost
    order = crossing.order
    exact = 32.0 * order**2 if order <= LARGEST_EXACT else 0.0
    memory = 20.0 * values + exact + cells * (60.0 + 16.0 * widest**2)
    return CrossedSize(order, memory, operations + 50.0 * cells)


def is_too_large(size: CrossedSize, available: float) -> bool:
    """Whether a factorisation is out of reach: more memory than there is, or many minutes.

    Examples
    --------
    >>> is_too_large(CrossedSize(5_000, 4.5e8, 1.25e11), 8e9)
    False
    """
    return size.memory > min(LARGEST_CROSSED, available) or size.operations > MOST_OPERATIONS


def relate_factors(
    design: Design, levels: tuple[int, ...], engine: Engine = None
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
        "nested", "dense" or the settings of the crossed or the iterative engine to have it so; None
        leaves the choice to the model and, where factors cross, to what a factorisation would take.

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
        crossing = _cross_related(design, levels) if engine is None else None
        return crossing or dense_parts(design, levels)
    if related and not (isinstance(engine, CrossedSettings) and design.residual is None):
        name = next((n for n, kind in _SETTINGS.items() if isinstance(engine, kind)), engine)
        beside = " beside residual=" if name == "crossed" else ""
        raise ModelError(
            f"the {name} engine has no relationship matrices{beside} (cov= of {related[0]!r}); "
            f"leave options={{'engine': {name!r}}} out"
        )
    codes, sizes = [f.codes for f in factors], [f.n_levels for f in factors]
    if isinstance(engine, IterativeSettings):
        _check_iterative(design)
        return engine
    if isinstance(engine, CrossedSettings) and design.residual is None and factors:
        crossing = _cross(design, levels, engine)
        _check_crossed(crossed_size(design, crossing), engine)
        return crossing
    if design.residual is not None:
        codes.append(design.residual.units)
        sizes.append(design.residual.n_units)
    within = None
    if design.residual is not None and design.residual.series is not None:
        within = design.residual.series.positions
    elif design.residual is not None and design.residual.chain is not None:
        within = design.residual.chain.visits
    try:
        return _core.Nesting(design.n_obs, codes, sizes, within)
    except _core.NotNested as error:
        if design.residual is None and engine is None:
            crossing = _cross(design, levels, CrossedSettings())
            if is_too_large(crossed_size(design, crossing), memory_left()):
                return IterativeSettings()
            return crossing
        if engine is None:
            return dense_parts(design, levels)
        raise _crossed(design, levels, error.args[0]) from None


def _cross_related(design: Design, levels: tuple[int, ...]) -> _core.Crossing | None:
    """The crossed form of a model with related levels, where it serves and is cheaper."""
    if design.residual is not None or design.n_obs <= FEW_ROWS:
        return None
    related = [design.factors[f].relationship for f in levels]
    if any(r is not None and r.precision is None for r in related):
        return None
    crossing = _cross(design, levels, CrossedSettings())
    size = crossed_size(design, crossing)
    components, _ = independent_clusters(design, levels)
    cheaper = size.operations < dense_size(design, levels, components).operations
    return crossing if cheaper and not is_too_large(size, memory_left()) else None


def _n_units(factor: GroupingFactor) -> int:
    """Levels with rows, and those that a relationship matrix adds."""
    return factor.n_levels + (0 if factor.relationship is None else len(factor.relationship.extra))


def _precision(factor: GroupingFactor) -> tuple[FloatArray, CodeArray, FloatArray] | None:
    if factor.relationship is None:
        return None
    found = factor.relationship.precision_argument
    if found is None:
        raise ModelError(
            f"cov[{factor.name!r}] is singular or nearly so, and the crossed engine needs its "
            "inverse; leave options={'engine': 'crossed'} out"
        )
    return found


def _cross(design: Design, levels: tuple[int, ...], settings: CrossedSettings) -> _core.Crossing:
    factors = [design.factors[f] for f in levels]
    effects = [sum(len(t.columns) for t in design.random if t.factor == f) for f in levels]
    crossing = _core.Crossing(
        design.n_obs,
        [f.codes for f in factors],
        [
            f.n_levels + (0 if f.relationship is None else len(f.relationship.extra))
            for f in factors
        ],
        effects,
        settings.schur,
        [_precision(f) for f in factors],
    )
    if settings.schur == "sparse" and crossing.schur != "sparse":
        raise no_sparse_factor()
    return crossing


def _check_crossed(size: CrossedSize, settings: CrossedSettings) -> None:
    """Refuse the crossed engine, which was asked for, where its factor would not fit."""
    dense = settings.schur == "dense"
    check_memory(
        size.memory,
        f"the crossed engine, which factors a matrix of order {size.order:,},",
        "leave out 'schur': 'dense'" if dense else "fit with options={'engine': 'iterative'}",
    )


def no_sparse_factor() -> ModelError:
    """The complaint that a sparse factor would be larger than any memory."""
    return ModelError(
        "the sparse factor that options={'schur': 'sparse'} asks for would have more than 5e8 "
        "entries; leave the option out"
    )


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
