"""Starts of the covariance parameters that the user gives as matrices."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from mlmfast.arrays import FloatArray
from mlmfast.criterion.criterion import criterion_of
from mlmfast.design.factors.frame_by_group import FrameByGroup
from mlmfast.errors import ModelError
from mlmfast.fitting.parms.request import start_matrix, start_variance
from mlmfast.fitting.starts.moments import residual_start
from mlmfast.reduction.reduced_model import ReducedModel


def read_starts(
    reduced: ReducedModel, method: str, start: Mapping[str, Any] | FloatArray
) -> tuple[FloatArray | None, dict[str, Any]]:
    """theta of the matrices in ``start``, if there are any, and the values of single parameters."""
    if isinstance(start, FrameByGroup):
        start = dict(start.items())
    if not isinstance(start, Mapping):
        return starting_theta(reduced, method, start), {}
    groups = {factor.name for factor in reduced.design.factors}
    matrices = {name: value for name, value in start.items() if name in groups}
    named = {name: value for name, value in start.items() if name not in groups}
    if matrices and reduced.profiled and "Residual" in named:
        matrices["Residual"] = named.pop("Residual")
    return starting_theta(reduced, method, matrices) if matrices else None, named


def starting_theta(
    reduced: ReducedModel, method: str, start: Mapping[str, Any] | FloatArray
) -> FloatArray:
    """Starting covariance matrices in the parameters of the iteration, shape (1, n_theta)."""
    if not isinstance(start, Mapping):
        raise ModelError("start is a mapping from grouping factors to covariance matrices")
    residual = start_variance(start.get("Residual", 1.0))
    criterion = criterion_of(reduced, method)
    unit, theta = residual, np.empty((1, criterion.n_theta))
    if reduced.design.residual is not None:
        # Its own start for the residual covariance, and units of the response instead of sigma^2.
        theta = residual_start(reduced, criterion, np.zeros(1, dtype=np.intp))
        unit = reduced.response_unit
    taken: dict[str, int] = {}
    known = {factor.name for factor in reduced.design.factors}
    unknown = sorted(set(start) - known - {"Residual"})
    if unknown:
        raise ModelError(f"start names {unknown[0]!r}; grouping factors: {', '.join(known)}")
    for position in np.argsort(reduced.order):
        block = reduced.blocks[position]
        term = reduced.design.random[reduced.order[position]]
        group = reduced.design.factors[term.factor].name
        first = taken.get(group, 0)
        taken[group] = first + block.structure.size
        if group not in start:
            raise ModelError(f"start has no covariance matrix for grouping factor {group!r}")
        own = [t for t in reduced.design.random if t.factor == term.factor]
        full = start_matrix(group, start[group], [name for t in own for name in t.names])
        stretch = slice(first, taken[group])
        k = np.linalg.inv(reduced.effects_map(int(position)))
        relative = k @ full[stretch, stretch] @ k.T / unit
        below = term.bounded and np.linalg.eigvalsh(np.nan_to_num(relative))[0] < -1e-8
        if not np.isfinite(relative).all() or below:
            raise ModelError(f"the matrix to start {group!r} from is not a covariance matrix")
        theta[:, criterion.theta_slices[int(position)]] = block.structure.theta(relative[None])
    return theta
