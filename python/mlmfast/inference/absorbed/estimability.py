"""Which functions of the coefficients the data determine, beside an absorbed factor."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from mlmfast.arrays import FloatArray
from mlmfast.design.design import Design
from mlmfast.inference.absorbed.coefficient_tests import levels_of
from mlmfast.inference.contrasts.aliasing import Aliasing
from mlmfast.reduction.absorbed.coefficients import CoefficientMap, share_within

if TYPE_CHECKING:
    from mlmfast.fitted.fitted import Fitted

#: Coefficient of one column in another, both at length 1, that is rounding.
_ROUNDING = 1e-11


def aliasing_of_levels(fit: Fitted) -> Aliasing:
    """The aliased columns of X, of levels too, by those kept."""
    return fit._once("_aliasing_of_levels", lambda: _aliasing(fit))


def _aliasing(fit: Fitted) -> Aliasing:
    model = fit._needs_source("what can be estimated beside an eliminated factor").model
    design, kept = model.design, levels_of(fit).kept
    lengths = _lengths(design, len(levels_of(fit).x_names))
    left = np.setdiff1d(np.arange(len(lengths)), kept)
    coefficients = _by_kept(design, model.coefficient_map, left)
    parts = coefficients * lengths[list(kept), None] / lengths[left]
    coefficients[np.abs(parts) <= _ROUNDING] = 0.0
    return Aliasing(tuple(kept), coefficients, lengths, np.zeros(len(lengths)), -1)


def _lengths(design: Design, n_columns: int) -> FloatArray:
    """Root mean square of each column of X, (p,); 1 for one of zeros."""
    absorbed = design.absorbed
    assert absorbed is not None, "made for such fits"
    out = np.ones(n_columns)
    for position, column in zip(absorbed.others, design.x, strict=True):
        out[position] = np.sqrt(np.mean(np.asarray(column) ** 2))
    counts = np.bincount(absorbed.codes, minlength=absorbed.n_levels)[absorbed.by_contrasts :]
    own = slice(absorbed.first, absorbed.first + absorbed.n_columns)
    out[own] = np.sqrt(counts / len(absorbed.codes))
    return np.where(out > 0.0, out, 1.0)


def _by_kept(design: Design, by: CoefficientMap, left: FloatArray) -> FloatArray:
    """Coefficients of the columns left out in those kept, (rank, n_aliased)."""
    absorbed = design.absorbed
    assert absorbed is not None, "made for such fits"
    others = {position: j for j, position in enumerate(absorbed.others)}
    inner = [others[int(position)] for position in by.inner]
    root = np.ones(design.n_obs) if design.weights is None else np.sqrt(design.weights)
    within = [root * absorbed.split(np.asarray(design.x[j]), design.weights)[1] for j in inner]
    out = np.zeros((len(by.kept), len(left)))
    for k, position in enumerate(left.tolist()):
        if position in others:
            column = np.asarray(design.x[others[position]])
            means, rest = absorbed.split(column, design.weights)
            g = share_within(within, root * rest)
            h = means - by.means @ g
        else:
            g, h = np.zeros(len(inner)), np.zeros(absorbed.n_levels)
            h[position - absorbed.first + absorbed.by_contrasts] = 1.0
        out[:, k] = by.of_column(g, h)
    return out
