"""Memory that a covariance over visits asks for."""

from __future__ import annotations

from mlmfast.covariance import CovarianceStructure
from mlmfast.covariance.base import has_few_parameters

#: Matrices of second derivatives that an iteration holds at once: by each pair of distinct
#: covariances, and by each pair of parameters.
_BY_ENTRIES, _BY_PARAMETERS = 8, 20


def template_bytes(structure: CovarianceStructure, n_arms: int, scaled: bool = False) -> float:
    """What second derivatives of a covariance over visits take, by its entries and parameters."""
    few = has_few_parameters(structure) and n_arms == 1 and not scaled
    n = 0 if few else len(structure.entries) * n_arms
    t = structure.n_theta * n_arms
    return 8.0 * max(_BY_ENTRIES * n**2, _BY_PARAMETERS * t**2)
