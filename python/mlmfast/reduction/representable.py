"""Sizes of columns and responses that double precision cannot serve."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

import mlmfast._core as _core
from mlmfast.design.design import Design
from mlmfast.errors import DataError
from mlmfast.reduction.reduced_model import ReducedModel
from mlmfast.reduction.scaling import ScaledColumn, centers_and_scales


def check_sizes(
    design: Design, x_scaling: tuple[ScaledColumn, ...], y: ScaledColumn | None
) -> None:
    """Refuse sizes of which double precision cannot hold squares, of a response fourth powers.

    Variances are squares, and the information about them has their squares.
    """
    weight = 1.0 if design.weights is None else float(np.sqrt(design.weights.mean()))
    sizes = [
        (f"the column {m!r}", c, 1.0, 140) for m, c in zip(design.x_names, x_scaling, strict=True)
    ]
    if y is not None:
        sizes.append((f"the response {design.response!r}", y, 1.0, 70))
        sizes.append((f"the response {design.response!r} with its weights", y, weight, 70))
    for what, column, factor, power in sizes:
        size = factor / column.scale
        if column.values is not None and not 10.0**-power < size < 10.0**power:
            raise DataError(
                f"{what} is of the order of {size:.0e}, and its powers leave the range of double "
                "precision; give it in another unit"
            )


def check_residual(model: ReducedModel) -> None:
    """Refuse a response of which the fixed effects, or these and the random ones, leave nothing."""
    if _leaves_much(model):
        return
    problems = without_residual(model, (model.design.response,))
    if problems:
        raise DataError(problems[0])


#: What is left of a response, over the rounding error of its values, that is no question.
_MUCH = 1e3


def _leaves_much(model: ReducedModel) -> bool:
    """Whether far more is left of one response than `without_residual` asks for, by a glance."""
    column, core = model.y_scaling[0], model.core
    rounding = abs(column.center) * 1e-15 + 1e-14 / column.scale
    left = float(core.y_scale[0]) / column.scale
    if model.design.weights is not None or not left > _MUCH * rounding:
        return False
    if not model.profiled or isinstance(core, _core.IterativeReduction):
        return True
    rss, degrees = core.within
    if not isinstance(degrees, int):
        return False
    return degrees == 0 or left * math.sqrt(float(rss[0]) / degrees) > _MUCH * rounding


def without_residual(model: ReducedModel, names: Sequence[str]) -> dict[int, str]:
    """What is wrong with the responses of which the effects leave nothing, by their position.

    Parameters
    ----------
    names : as messages call the responses.
    """
    center, scale = centers_and_scales(model.y_scaling)
    rounding = np.abs(center) * 1e-15 + 1e-14 / scale
    if model.design.weights is not None and model.design.condensed is None:
        rounding = rounding * float(np.sqrt(model.design.weights.max()))
    left = np.asarray(model.core.y_scale) / scale
    none = left <= rounding
    out = {
        k: f"the response {names[k]!r} has no residual variance: it is constant or fitted "
        "exactly by the fixed effects, so no variance can be estimated"
        for k in none.nonzero()[0].tolist()
    }
    if not model.profiled or isinstance(model.core, _core.IterativeReduction):
        return out
    rss, degrees = model.core.within
    if degrees > 0:
        exact = ~none & (left * np.sqrt(rss / degrees) <= rounding)
        for k in exact.nonzero()[0].tolist():
            out[k] = (
                f"the response {names[k]!r} has no residual variance: the fixed and random effects "
                "reproduce it exactly, so the likelihood has no maximum; check how the response "
                "was made, or leave out the random effects that give it"
            )
    return out
