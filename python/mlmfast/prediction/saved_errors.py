"""Errors of prediction at the levels of a factor by a fit that holds no rows."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from mlmfast.arrays import FloatArray
from mlmfast.degrees_of_freedom import method_of
from mlmfast.errors import ModelError
from mlmfast.prediction.targets import RowTargets

if TYPE_CHECKING:
    from mlmfast.fitted.fitted import Fitted


def forms_of_saved(fit: Fitted, targets: RowTargets, ddf: str) -> tuple[FloatArray, FloatArray]:
    """Forms of rows, and the parameters' covariance, of a fit without rows.

    Rows at a level that the fit did not see have those of x'beta.

    Raises
    ------
    ModelError
        Where the saved fit has none, or none by this method.
    """
    known, method = fit._level_errors, method_of(ddf)
    if known is None:
        curves = bool(fit._record.smooth_terms)
        raise ModelError(
            f"an interval around {'curves' if curves else 'random effects'} needs the rows of the "
            "data, and a loaded fit holds none; what they tell is kept of fits with one grouping "
            "factor of few levels: fit the model again"
            + ("" if curves else ", or say ranef=False for the population's")
        )
    if method.information is not None and known.method != ddf:
        raise ModelError(
            f"this saved fit has its intervals around random effects by ddf={known.method!r}, and "
            f"for {method.label} degrees of freedom it would need the rows of the data; say "
            f"ddf={known.method!r} or 'asymptotic', or fit the model again"
        )
    rows = targets.rows
    everything = [
        np.ones(rows.n_rows) if column is None else column for own in rows.z for column in own
    ]
    codes = rows.codes[0]
    z = np.where(codes[:, None] < 0, 0.0, np.stack(everything, axis=1))
    return known(z, targets.x, np.maximum(codes, 0)), known.covariance
