"""Rows of a design with an absorbed factor, reduced to a core.

Columns of X and responses are taken within levels first: P_F of the core's projections sees no
difference, a column that is constant within levels is 0 and left out, and sums lose no digits.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

import mlmfast._core as _core
from mlmfast.arrays import FloatArray
from mlmfast.design.design import Design
from mlmfast.errors import ModelError
from mlmfast.reduction.absorbed.core import AbsorbedCore
from mlmfast.reduction.engines.choice import no_sparse_factor, relate_factors
from mlmfast.reduction.engines.options import CrossedSettings
from mlmfast.reduction.engines.sizes import crossed_size, is_too_large
from mlmfast.reduction.scaling import ScaledColumn
from mlmfast.running.memory import memory_left


def within_levels(design: Design, columns: Sequence[FloatArray | None]) -> list[FloatArray]:
    """Columns of X, or responses, less their means by level."""
    assert design.absorbed is not None, "the caller looked"
    out = []
    for column in columns:
        assert column is not None, "the intercept is absorbed"
        out.append(design.absorbed.split(column, design.weights)[1])
    return out


def relate_absorbed(design: Design, levels: tuple[int, ...], engine: object) -> Any:
    """The grouping factors of a design with an absorbed factor, as the crossed engine has them.

    Raises
    ------
    ModelError
        For another engine.
    """
    if engine is not None and not isinstance(engine, CrossedSettings):
        assert design.absorbed is not None, "the caller looked"
        raise ModelError(
            f"the fixed factor {design.absorbed.name!r} with {design.absorbed.n_levels:,} levels "
            "is eliminated by the crossed engine; leave options={'engine': ...} out, or have it as "
            "columns with absorb=False"
        )
    if not levels:
        return relate_factors(design, levels, None)
    settings = engine if isinstance(engine, CrossedSettings) else CrossedSettings()
    return relate_factors(design, levels, settings)


def reduce_within(
    reduce: Callable[..., Any],
    parts: tuple[Any, ...],
    x_scaling: tuple[ScaledColumn, ...],
    y_scaling: Sequence[ScaledColumn],
    schur: str,
) -> AbsorbedCore:
    """The core of a design with an absorbed factor.

    Parameters
    ----------
    reduce : reduces a design without one; called with ``parts``, columns of X and responses.
    x_scaling, y_scaling : columns within levels.
    schur : form of the factor; see `CrossedSettings`.
    """
    design, nesting, levels, order, blocks, z_scaling = parts
    absorbed = design.absorbed
    crossing = _crossing(design, levels, schur)
    whole = (design, crossing, levels, order, blocks, z_scaling)
    core = reduce(*whole, x_scaling, y_scaling, absorbed=True)

    def random() -> _core.CrossedReduction:
        found = reduce(design, nesting, levels, order, blocks, z_scaling, (), y_scaling[:1])
        assert isinstance(found, _core.CrossedReduction), "what relate_absorbed asked for"
        return found

    return AbsorbedCore(core, random, design.n_obs, absorbed.n_levels, bool(levels))


def _crossing(design: Design, levels: tuple[int, ...], schur: str) -> _core.Crossing:
    absorbed = design.absorbed
    assert absorbed is not None, "the caller looked"
    factors = [design.factors[f] for f in levels]
    effects = [sum(len(t.columns) for t in design.random if t.factor == f) for f in levels]
    crossing = _core.Crossing(
        design.n_obs,
        [*(f.codes for f in factors), np.ascontiguousarray(absorbed.codes)],
        [*(f.n_levels for f in factors), absorbed.n_levels],
        [*effects, 1],
        schur,
        None,
        len(levels),
    )
    if schur == "sparse" and crossing.schur != "sparse":
        raise no_sparse_factor()
    size = crossed_size(design, crossing)
    if is_too_large(size, memory_left()):
        raise ModelError(
            f"the fixed factor {absorbed.name!r} with {absorbed.n_levels:,} levels and the random "
            f"effects leave a system of {size.order:,} equations whose factor takes "
            f"{size.memory / 1e9:.1f} GB; take the factor as random, (1 | {absorbed.name}), for "
            "which there is options={'engine': 'iterative'}"
        )
    return crossing
