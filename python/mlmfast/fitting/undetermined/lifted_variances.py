"""Residual variances that ran away though the data do not tell them, brought back from there.

A visit of which every row is taken up by fixed effects has no part in the restricted likelihood:
its variance may end anywhere, and at 0, or far above the others, nothing could be computed. That of
the other visits stands for all. What comes back has the same likelihood, or there is nothing to
bring back.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from itertools import islice, product

import numpy as np

from mlmfast.arrays import BoolArray, FloatArray
from mlmfast.covariance import CovarianceStructure
from mlmfast.covariance.correlations import correlations
from mlmfast.covariance.natural_chart import entries_by_natural
from mlmfast.criterion.arms import residual_arms
from mlmfast.criterion.criterion import Criterion
from mlmfast.errors import ModelError
from mlmfast.reduction.parameter_block import is_variance

#: A variance that ran to 0, over the largest.
_VANISHED = 1e-6
#: Smallest eigenvalue of correlations that are taken along.
_REGULAR = 1e-3
#: Points that are tried, of a few arms two each.
_MOST_TRIED = 16


def with_lifted_variances(criterion: Criterion, theta: FloatArray) -> Iterator[FloatArray]:
    """theta (n_theta,) with residual variances that are near to each other, where none were."""
    apart: list[tuple[slice, list[FloatArray]]] = []
    for arm in residual_arms(criterion):
        structure, own = arm.structure, theta[None, arm.theta]
        variances = np.diag(structure.matrix(own)[0])
        small = variances < _VANISHED * variances.max(initial=0.0)
        if small.any():
            # Those that ran to 0, or those that ran far above them.
            nearest = (next(_lifted(structure, own, away), None) for away in (small, ~small))
            apart.append((arm.theta, [found for found in nearest if found is not None]))
    for chosen in islice(product(*(moved for _, moved in apart)), _MOST_TRIED if apart else 0):
        out = theta.copy()
        for (s, _), moved in zip(apart, chosen, strict=True):
            out[s] = moved
        yield out


def _lifted(
    structure: CovarianceStructure, theta: FloatArray, away: BoolArray
) -> Iterator[FloatArray]:
    """theta (n_theta,) of regular matrices with variances ``away`` at the mean of the others.

    Parameters of these visits alone, such as correlations with others, are kept, or 0.
    """
    rows, columns = np.array(structure.entries, dtype=np.intp).T
    of_these = away[rows] | away[columns]
    first = entries_by_natural(structure, theta)[0]
    alone = ~np.any(first[~of_these] != 0.0, axis=0)
    own = np.array([is_variance(name) for name in structure.parameter_names])
    natural = structure.natural(theta)
    mean = np.diag(structure.matrix(theta)[0])[~away].mean()
    for others in (natural, np.where(alone, 0.0, natural)):
        with suppress(ModelError):
            moved = structure.from_natural(np.where(alone & own, mean, others))
            scaled = correlations(structure.matrix(moved)[0])
            if np.isfinite(scaled).all() and np.linalg.eigvalsh(scaled)[0] > _REGULAR:
                yield moved[0]
