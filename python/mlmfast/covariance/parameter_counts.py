"""How many parameters a structure has, beside its levels."""

from __future__ import annotations

from mlmfast.covariance import CovarianceStructure


def has_few_parameters(structure: CovarianceStructure) -> bool:
    """Whether derivatives by parameters cost less than by entries."""
    t = structure.n_theta
    return structure.size > 5 and 2 * (t + t * (t + 1) // 2) < len(structure.entries)
