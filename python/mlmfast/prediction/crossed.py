"""Error variance of predictions where grouping factors cross, from the factored system.

The formula is that of `prediction_error`; V, which is one block for all rows, is never formed.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from mlmfast.arrays import FloatArray
from mlmfast.design.rows import columns_at
from mlmfast.errors import ModelError
from mlmfast.fitted.record import FitRecord
from mlmfast.prediction.rows import PredictionRows
from mlmfast.reduction.engines.cores import engine_offering

if TYPE_CHECKING:
    from mlmfast.fitted.origin.source import FitSource


def crossed_error_variance(
    rows: PredictionRows, record: FitRecord, source: FitSource
) -> FloatArray:
    """Variance of predicted minus true x'beta + z'g, shape (n,).

    z'g given y has variance z'(G - G Z'V^-1 Z G)z for known beta; the error of beta-hat enters
    through d = x - z'G Z'V^-1 X (Henderson 1975, Biometrics 31, 423).

    Parameters
    ----------
    rows : the rows to predict, with levels.
    record : the estimates.
    source : the reduced design of the fit.

    Raises
    ------
    ModelError
        For a fit by the iterative engine.
    """
    model = source.model
    if not model.core.offers("prediction_error"):
        raise ModelError(
            "intervals around random effects need their conditional covariances, which the "
            "iterative engine does not form; fit with options={'engine': 'crossed'} if memory "
            "allows, or use ranef=False"
        )
    core = engine_offering(model.core, "prediction_error")
    everything = np.arange(rows.n_rows)
    z = [np.zeros((rows.n_rows, q)) for q in model.level_sizes[: len(model.levels)]]
    for term, block in zip(model.order, model.blocks, strict=False):
        z[block.level][:, block.stretch] = columns_at(rows.z[term], everything)
    own = [np.ascontiguousarray(part @ model.level_map(k)) for k, part in enumerate(z)]
    codes = [np.ascontiguousarray(rows.codes[f], dtype=np.int32) for f in model.levels]
    found = core.prediction_error(source.criterion.covariances(source.theta), 0, codes, own)
    assert found is not None, "a covariance G = L L' always gives a positive definite W"
    variance, shift = found
    d = columns_at([rows.x[j] for j in record.kept], everything)
    d = d - np.linalg.solve(model.fixed_map.T, shift.T).T
    known = model.covariance_unit(record.sigma2) * variance
    return np.asarray(known + np.einsum("ij,jk,ik->i", d, record.vcov, d))
