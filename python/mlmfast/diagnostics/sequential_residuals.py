"""Scaled residuals of a large cluster, row after row from the rows before."""

from __future__ import annotations

import numpy as np

from mlmfast.arrays import FloatArray
from mlmfast.clusters.effect_columns import stretches
from mlmfast.clusters.shared_effects import LargeCluster
from mlmfast.errors import ModelError
from mlmfast.running.scipy_on_use import linalg

#: Rows taken together, at least.
_TOGETHER = 128
#: Operations beyond which nobody waits: some ten minutes.
_MOST_OPERATIONS = 1e13


def sequential_residuals(cluster: LargeCluster) -> FloatArray:
    """L^-1 (y - X beta) with V = L L', rows in the order of the cluster, shape (n,).

    Whitened within the blocks (`inner_blocks`) the rows have V = I + F G F', G the covariance of
    the effects they share, and given the rows before some rows have the mean F A^-1 h and the
    covariance I + F A^-1 F', where A = G^-1 + sum F'F and h = sum F'e are sums over those before:
    the Cholesky factor of V in stretches, exact, at a cost of n q^2.

    Raises
    ------
    ModelError
        Where that cost is out of reach.
    """
    f, e = cluster.scaled, cluster.white[:, -1]
    n, q = f.shape
    if q == 0:
        return np.array(e)
    if 4.0 * n * float(q) ** 2 > _MOST_OPERATIONS:
        raise ModelError(
            f"scaled residuals of {n:,} rows that share {q:,} random effects cost their number "
            "times the square of the effects'; resid('studentised') costs what the fit does, or "
            "take a sample of the data: all rows of some levels of the largest grouping factors"
        )
    out = np.empty(n)
    information, score = np.eye(q), np.zeros(q)
    for rows in stretches(n, max(_TOGETHER, min(q, 1024))):
        own = f[rows].toarray()
        root = np.linalg.cholesky(information)
        half = linalg.solve_triangular(root, np.column_stack([own.T, score]), lower=True)
        conditional = half[:, :-1].T @ half[:, :-1]
        conditional[np.diag_indices(len(own))] += 1.0
        surprise = e[rows] - half[:, :-1].T @ half[:, -1]
        out[rows] = linalg.solve_triangular(np.linalg.cholesky(conditional), surprise, lower=True)
        information += own.T @ own
        score += own.T @ e[rows]
    return out
