"""Blocks of V = Z G Z' + R, cluster by cluster; V itself is never formed."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

import numpy as np

from mlmfast.arrays import CodeArray, FloatArray, IntArray
from mlmfast.covariance.correlations import correlations
from mlmfast.covariance.spatial.base import Spatial
from mlmfast.design.design import Design
from mlmfast.design.residual.design import ResidualDesign
from mlmfast.design.residual.record import ResidualRecord, ScaleRecord
from mlmfast.design.residual.scale import ScaleDesign
from mlmfast.errors import ModelError
from mlmfast.fitted.record import FitRecord
from mlmfast.interruptible import interruptible

#: Rows of a cluster whose V is still formed (0.8 GB, and a few times that in passing).
LARGEST_CLUSTER = 10_000

_ENTRIES_AT_ONCE = 1 << 21


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


def residual_covariances(design: Design, record: FitRecord, rows: IntArray) -> FloatArray:
    """R of m sets of n rows each, shape (m, n, n); ``rows`` of shape (m, n)."""
    sd = noise_sd(design, record)[rows]
    if record.residual is None or design.residual is None:
        out = np.zeros((*rows.shape, rows.shape[1]))
        diagonal = np.arange(rows.shape[1])
        out[:, diagonal, diagonal] = sd**2
        return out
    if design.residual.points is not None:
        if design.residual.series is not None:
            from mlmfast.clusters.series_whitening import series_correlations

            within = series_correlations(design.residual, record.residual, rows)
            return within * (sd[:, :, None] * sd[:, None, :])
        return _scattered(design.residual, record.residual, rows, sd)
    units, positions = design.residual.units[rows], design.residual.positions[rows]
    correlation = correlations(residual_template(record.residual))
    out = correlation[positions[:, :, None], positions[:, None, :]]
    out = out * (sd[:, :, None] * sd[:, None, :])
    return np.where(units[:, :, None] == units[:, None, :], out, 0.0)


def _scattered(
    design: ResidualDesign, record: ResidualRecord, rows: IntArray, sd: FloatArray
) -> FloatArray:
    """R of rows by the distances between their points, shape (m, n, n)."""
    assert design.points is not None
    assert isinstance(design.structure, Spatial)
    points = design.points[rows]
    distances = design.structure.separations(points[:, :, None, :], points[:, None, :, :])
    m, n = rows.shape
    flat = distances.reshape(m * n * n, *distances.shape[3:])
    arms = (
        np.zeros(rows.shape, dtype=np.int32) if design.arm_codes is None else design.arm_codes[rows]
    )
    natural = record.parameters.reshape(len(record.arms), -1)
    out = np.zeros((m, n, n))
    for arm, theta in enumerate(design.structure.from_natural(natural)):
        values = design.structure.at_distances(theta[None], flat)[0].reshape(m, n, n)
        own = arms == arm
        out += np.where(own[:, :, None] & own[:, None, :], values / values.ravel()[0], 0.0)
    units = design.units[rows]
    out *= sd[:, :, None] * sd[:, None, :]
    return np.where(units[:, :, None] == units[:, None, :], out, 0.0)


def residual_template(residual: ResidualRecord) -> FloatArray:
    """Covariance of the visits of all arms, block diagonal, shape (k, k)."""
    arms, size, _ = residual.covariances.shape
    out = np.zeros((arms * size, arms * size))
    for a, block in enumerate(residual.covariances):
        out[a * size : (a + 1) * size, a * size : (a + 1) * size] = block
    return out


def noise_sd(design: Design, record: FitRecord) -> FloatArray:
    """Residual standard deviation of each row, sigma s_i / sqrt(weight), shape (n,)."""
    if record.residual_scale is not None:
        assert design.residual is not None
        assert design.residual.scale is not None
        factor = row_scales(design.residual.scale, record.residual_scale)
        return factor * noise_sd(design, replace(record, residual_scale=None))
    if record.residual is not None and design.residual is not None and np.isnan(record.sigma2):
        if design.residual.points is not None:
            from mlmfast.clusters.series_whitening import standard_deviations

            sd = standard_deviations(design.residual, record.residual)
            return np.asarray(sd if design.weights is None else sd / np.sqrt(design.weights))
        by_visit = np.sqrt(np.diag(residual_template(record.residual)))
        sd = by_visit[design.residual.positions]
        return np.asarray(sd if design.weights is None else sd / np.sqrt(design.weights))
    sigma = np.sqrt(record.sigma2)
    if design.weights is None:
        return np.full(design.n_obs, sigma)
    return np.asarray(sigma / np.sqrt(design.weights))


def row_scales(design: ScaleDesign, record: ScaleRecord) -> FloatArray:
    """What the residual standard deviation of each row is multiplied by, shape (n,)."""
    ratio = np.array(record.is_ratio)
    gamma = np.where(ratio, np.log(np.where(ratio, record.parameters, 1.0)), record.parameters)
    return np.asarray(np.exp(design.exponents @ gamma)[design.codes])


def columns_at(columns: Sequence[FloatArray | None], rows: IntArray) -> FloatArray:
    """Columns of a design as a matrix for some rows, shape (*rows.shape, len(columns))."""
    out = np.empty((*rows.shape, len(columns)))
    for j, column in enumerate(columns):
        out[..., j] = 1.0 if column is None else column[rows]
    return out


def clusters_by_size(codes: CodeArray, n_levels: int) -> Iterator[IntArray]:
    """Yield the rows of the clusters, clusters of one size together, rows in data order.

    Each array has shape (clusters, size); a size with many clusters comes in several arrays.

    Examples
    --------
    >>> for rows in clusters_by_size(np.array([0, 1, 0, 2], dtype=np.int32), 3):
    ...     print(rows.tolist())
    [[1], [3]]
    [[0, 2]]
    """
    order = np.argsort(codes, kind="stable")
    sizes = np.bincount(codes, minlength=n_levels)
    starts = np.cumsum(sizes) - sizes
    for size in np.unique(sizes).tolist():
        first = starts[sizes == size]
        step = max(1, _ENTRIES_AT_ONCE // max(size * size, 1))
        for at in range(0, len(first), step):
            yield order[first[at : at + step, None] + np.arange(size)]


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
