"""Contrasts over all coefficients as rows over those estimated, where the data determine them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from mlmfast.arrays import FloatArray
from mlmfast.design.design import Design
from mlmfast.errors import ModelError
from mlmfast.inference.contrasts.aliasing import Aliasing, aliasing_of

if TYPE_CHECKING:
    from mlmfast.fitted.fitted import Fitted


def aliasing_of_fit(fit: Fitted) -> Aliasing:
    """The aliased columns of X by those kept; without any, a loaded fit needs no rows for it."""
    return fit._once("_aliasing", lambda: _aliasing(fit))


def _aliasing(fit: Fitted) -> Aliasing:
    record = fit._record
    if not fit.aliased:
        return _without_aliased(record.kept)
    design = fit._needs_source(
        "what can be estimated in a model with aliased columns", of_sums=True
    ).design
    return aliasing_of(design.x, design.n_obs, record.kept)


def aliasing_of_design(design: Design, kept: tuple[int, ...]) -> Aliasing:
    """The aliased columns of X by those kept."""
    if len(kept) == len(design.x):
        return _without_aliased(kept)
    return aliasing_of(design.x, design.n_obs, kept)


def _without_aliased(kept: tuple[int, ...]) -> Aliasing:
    p = len(kept)
    return Aliasing(kept, np.zeros((p, 0)), np.ones(p), np.zeros(p), -1)


def check_estimable(fit: Fitted, L: FloatArray) -> FloatArray:
    """Rows of a contrast over the columns kept; see `kept_rows` for what is refused."""
    return kept_rows(L, fit._record.x_names, aliasing_of_fit(fit))


def kept_rows(L: FloatArray, names: tuple[str, ...], aliasing: Aliasing) -> FloatArray:
    """Rows of a contrast over the columns kept.

    Raises
    ------
    ModelError
        Where L has the wrong number of columns, holds what is not finite, or a row that is not
        estimable.
    """
    matrix = np.asarray(L, dtype=np.float64)
    if matrix.ndim != 2 or matrix.shape[1] != len(names):
        raise ModelError(
            f"the contrast has {matrix.shape[-1]} columns, and the model {len(names)} "
            f"coefficients: {', '.join(names)}"
        )
    if not np.isfinite(matrix).all():
        raise ModelError("the contrast holds a value that is not a finite number")
    is_estimable = aliasing.estimable(matrix)
    if not is_estimable.all():
        worst = int(np.flatnonzero(~is_estimable)[0])
        row = matrix[worst]
        shown = ", ".join(f"{row[j]:g} {names[j]}" for j in np.flatnonzero(row))
        aliased = ", ".join(names[j] for j in aliasing.left_out)
        raise ModelError(
            f"row {worst + 1} of the contrast ({shown}) is not estimable: X has rank "
            f"{len(aliasing.kept)}, and the data do not tell {aliased} apart from other "
            "coefficients"
        )
    return np.ascontiguousarray(matrix[:, list(aliasing.kept)])
