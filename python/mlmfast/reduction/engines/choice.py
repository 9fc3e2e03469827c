"""Which engine serves a model: decided from how its grouping factors stand to each other."""

from __future__ import annotations

import numpy as np

import mlmfast._core as _core
from mlmfast.arrays import CodeArray, FloatArray
from mlmfast.design.design import Design
from mlmfast.design.factors.grouping import GroupingFactor
from mlmfast.errors import ModelError
from mlmfast.reduction.engines.dense import DenseParts, dense_parts
from mlmfast.reduction.engines.independence import (
    are_nested,
    check_distinct,
    independent_clusters,
)
from mlmfast.reduction.engines.options import _SETTINGS, CrossedSettings, Engine, IterativeSettings
from mlmfast.reduction.engines.sizes import (
    FEW_ROWS,
    CrossedSize,
    crossed_size,
    dense_size,
    is_too_large,
)
from mlmfast.running.memory import check_memory, memory_left


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
    if not design.is_bounded:
        engine = _unbounded(design, levels, engine)
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


#: Rows of a part up to which V is held whole where nested factors have unbounded variances.
_FEW_CORRELATED = 2_000


def _unbounded(design: Design, levels: tuple[int, ...], engine: Engine) -> Engine:
    """The engine of a model whose variances may be negative: one that factors V.

    With one grouping factor the nested engine's W = I + T G T' is positive definite where V is.
    With several it asks the same of what is inside each level too, which is more than V needs.
    """
    if isinstance(engine, CrossedSettings | IterativeSettings):
        name = next(n for n, kind in _SETTINGS.items() if isinstance(engine, kind))
        raise ModelError(
            f"bounded=False: the {name} engine works with roots of the random effects' "
            "covariances, which negative variances have not; leave options={'engine': ...} out"
        )
    if engine is not None or len(levels) < 2:
        return engine
    if any(design.factors[f].relationship is not None for f in levels):
        return "dense"
    components, _ = independent_clusters(design, levels)
    small = int(np.bincount(components).max(initial=0)) <= _FEW_CORRELATED
    return None if are_nested(design, levels) and not small else "dense"


def _cross_related(design: Design, levels: tuple[int, ...]) -> _core.Crossing | None:
    """The crossed form of a model with related levels, where it serves and is cheaper."""
    if not design.is_bounded or design.residual is not None:
        return None
    related = [r for f in levels if (r := design.factors[f].relationship) is not None]
    # What is known by its inverse is not inverted for few rows.
    by_inverse = any(r.is_inverse for r in related)
    if design.n_obs <= FEW_ROWS and not by_inverse:
        return None
    if any(r.precision_argument is None for r in related):
        return None
    crossing = _cross(design, levels, CrossedSettings())
    size = crossed_size(design, crossing)
    if by_inverse:
        return None if is_too_large(size, memory_left()) else crossing
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
        [_n_units(f) for f in factors],
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
    if design.condensed is not None:
        raise ModelError(
            "the iterative engine reads the rows again and again, and a reduction has none; leave "
            "options={'engine': 'iterative'} out"
        )
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
