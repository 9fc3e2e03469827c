"""Natural parameters in the user's units."""

from __future__ import annotations

import numpy as np

from mlmfast.arrays import FloatArray
from mlmfast.covariance import CovarianceStructure
from mlmfast.covariance.scaled_covariance import scale_powers


def natural_in_units(structure: CovarianceStructure, theta: FloatArray, unit: float) -> FloatArray:
    """Natural parameters of the covariance times ``unit``, shape (n_theta,)."""
    return np.asarray((structure.natural(theta) * unit ** scale_powers(structure, theta))[0])
