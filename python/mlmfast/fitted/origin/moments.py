"""Covariance parameters estimated by moments, not by likelihood."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import pandas as pd

from mlmfast.arrays import FloatArray
from mlmfast.information.information import Information


@dataclass(frozen=True)
class MomentEstimates:
    """What a fit by moments knows of its covariance parameters.

    Attributes
    ----------
    method
        "type1", "type2", "type3" or "mivque0".
    log_sigma2 : shape (1,), log of the residual variance in the criterion's units.
    covariance : shape (k, k)
        Of the estimators of the variances, in the formula's order, the residual's last, where y is
        normal with the variances estimated.
    table
        The mean squares; None for MIVQUE0.
    """

    method: str
    log_sigma2: FloatArray
    covariance: FloatArray
    table: pd.DataFrame | None = field(default=None, repr=False)

    def told(self, about: Information) -> Information:
        """Information whose inverse is the covariance of these estimators."""
        inverse = np.linalg.inv(about.parameters.by_free)
        whole = inverse @ self.covariance @ inverse.T
        for kind in ("observed", "expected"):
            about._inverses[kind] = ((whole + whole.T) / 2, 0)
        return about
