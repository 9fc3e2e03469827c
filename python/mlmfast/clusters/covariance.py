"""Blocks of V = Z G Z' + R, cluster by cluster; V itself is never formed."""

from __future__ import annotations

import numpy as np

from mlmfast.arrays import FloatArray, IntArray
from mlmfast.clusters.residual_covariance import residual_covariances
from mlmfast.design.design import Design
from mlmfast.design.rows import columns_at
from mlmfast.errors import ModelError
from mlmfast.fitted.record import FitRecord
from mlmfast.running.interruptible import interruptible

#: Rows of a cluster whose V is still formed (0.8 GB, and a few times that in passing).
LARGEST_CLUSTER = 10_000


def marginal_covariances(design: Design, record: FitRecord, rows: IntArray) -> FloatArray:
    """V of m sets of n rows each.

    Parameters
    ----------
    design, record : the data and the estimates.
    rows : shape (m, n), rows in the order they are to have in V.

    Returns
    -------
    shape (m, n, n), exactly symmetric.
    """
    n_sets, size = rows.shape
    total = np.zeros((n_sets, size, size))
    for term, effects in zip(record.terms, design.random, strict=True):
        codes = design.factors[term.group].codes[rows]
        z = columns_at(effects.columns, rows)
        block = z @ term.covariance @ np.swapaxes(z, 1, 2)
        related = design.factors[term.group].relationship
        if related is None:
            block[codes[:, :, None] != codes[:, None, :]] = 0.0
        else:
            block *= np.stack([related.between(own) for own in codes])
        total += block
    # Z G Z' as computed is symmetric only up to rounding.
    total = (total + np.swapaxes(total, 1, 2)) / 2
    return np.asarray(total + residual_covariances(design, record, rows))


def cholesky_factors(covariances: FloatArray) -> FloatArray:
    """Lower Cholesky factors, shape (m, n, n).

    Raises
    ------
    ModelError
        Where sigma^2 is so small beside G that V is singular in double precision.
    """
    try:
        return np.asarray(interruptible(np.linalg.cholesky, covariances), dtype=np.float64)
    except np.linalg.LinAlgError:
        raise ModelError(
            "the covariance matrix V of a cluster is singular to rounding: the residual variance "
            "is too small beside the random effects' for this result"
        ) from None


def solve_lower(factors: FloatArray, right: FloatArray) -> FloatArray:
    """L^-1 b for m systems at once by forward substitution.

    Parameters
    ----------
    factors : shape (m, n, n), lower triangular.
    right : shape (m, n, k).

    Examples
    --------
    >>> solve_lower(np.array([[[2.0, 0.0], [1.0, 1.0]]]), np.array([[[2.0], [3.0]]])).tolist()
    [[[1.0], [2.0]]]
    """
    out = np.empty_like(right)
    for j in range(right.shape[1]):
        known = factors[:, j, None, :j] @ out[:, :j]
        out[:, j] = (right[:, j] - known[:, 0]) / factors[:, j, j, None]
    return out


def refuse_large_cluster(n_rows: int, what: str) -> None:
    """Refuse what would need a V too large for memory.

    Examples
    --------
    >>> refuse_large_cluster(100, "V")
    """
    if n_rows > LARGEST_CLUSTER:
        raise ModelError(
            f"{what} needs the covariance matrix of {n_rows:,} rows of one cluster, their number "
            f"squared; at most {LARGEST_CLUSTER:,} rows are supported"
        )
