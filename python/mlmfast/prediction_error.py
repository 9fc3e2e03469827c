"""How far a prediction of x'beta + z'g may be off: its error variance.

With C = Var(beta-hat) and c the covariance of z'g with the data, the error of the conditional
prediction x'beta-hat + z'g-hat has variance

    z'G z - c V^-1 c' + d C d',    d = x - c V^-1 X

(Henderson 1975, Biometrics 31, 423; "universal kriging"), the covariance parameters taken as
known. Without random effects in the prediction, z'g is new: z'G z + x C x'.
"""

from __future__ import annotations

import numpy as np

from mlmfast.arrays import CodeArray, FloatArray, IntArray
from mlmfast.clusters import independent_clusters
from mlmfast.design import Design
from mlmfast.marginal_covariance import (
    cholesky_factors,
    columns_at,
    marginal_covariances,
    refuse_large_cluster,
    solve_lower,
)
from mlmfast.prediction_rows import PredictionRows
from mlmfast.record import FitRecord


def error_variance(rows: PredictionRows, record: FitRecord, design: Design | None) -> FloatArray:
    """Variance of predicted minus true x'beta + z'g, shape (n,); of x'beta where rows have no z.

    Parameters
    ----------
    rows : the rows to predict.
    record : the estimates.
    design : the rows of the fit; only needed where ``rows`` have levels.
    """
    everything = np.arange(rows.n_rows)
    d = columns_at([rows.x[j] for j in record.kept], everything)
    variance = np.zeros(rows.n_rows)
    for term, columns in zip(record.terms if rows.z else (), rows.z, strict=True):
        z = columns_at(columns, everything)
        variance += np.einsum("ij,jk,ik->i", z, term.covariance, z)
    if rows.codes:
        assert design is not None, "levels mean nothing without the rows of the fit"
        clusters, _ = independent_clusters(design, record.levels)
        for cluster, own in _rows_by_cluster(rows, design, clusters):
            # Clusters are independent, so what each tells about a row adds up.
            data = np.flatnonzero(clusters == cluster)
            explained, shift = _learnt(rows, record, design, data, own)
            variance[own] -= explained
            d[own] -= shift
    # Rounding may leave a variance that should be 0 a little below it.
    variance = np.maximum(variance, 0.0)
    return np.asarray(variance + np.einsum("ij,jk,ik->i", d, record.vcov, d))


def _rows_by_cluster(
    rows: PredictionRows, design: Design, of_row: CodeArray
) -> list[tuple[int, IntArray]]:
    """Clusters of the fit (``of_row``, (n,)) and the rows that share a level with them."""
    touched = []
    for factor, codes in zip(design.factors, rows.codes, strict=True):
        parent = np.full(factor.n_levels + 1, -1, dtype=np.int32)
        parent[factor.codes] = of_row
        touched.append(np.stack([parent[codes], np.arange(rows.n_rows)], axis=1))
    pairs = np.unique(np.concatenate(touched), axis=0)
    pairs = pairs[pairs[:, 0] >= 0]
    clusters, first = np.unique(pairs[:, 0], return_index=True)
    return list(zip(clusters.tolist(), np.split(pairs[:, 1], first[1:]), strict=True))


def _learnt(
    rows: PredictionRows, record: FitRecord, design: Design, data: IntArray, own: IntArray
) -> tuple[FloatArray, FloatArray]:
    """Compute what one cluster tells of the rows ``own``: c V^-1 c' and c V^-1 X.

    Shapes (m,) and (m, rank) for m rows.
    """
    refuse_large_cluster(len(data), "the interval")
    factor = cholesky_factors(marginal_covariances(design, record, data[None]))
    c = np.zeros((len(own), len(data)))
    for term, columns, effects in zip(record.terms, rows.z, design.random, strict=True):
        codes = rows.codes[term.group][own]
        z, z_data = columns_at(columns, own), columns_at(effects.columns, data)
        same = codes[:, None] == design.factors[term.group].codes[data]
        c += np.where(same, z @ term.covariance @ z_data.T, 0.0)
    x = columns_at([design.x[j] for j in record.kept], data)
    a = solve_lower(factor, c.T[None])[0]
    return (a**2).sum(axis=0), a.T @ solve_lower(factor, x[None])[0]
