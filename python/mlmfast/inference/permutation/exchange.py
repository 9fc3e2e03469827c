"""What a permutation test exchanges: residuals within cells, whole clusters, labels, white noise.

Each scheme turns an arrangement into a response (or a design), under the null hypothesis as likely
as the one that was seen: exactly, or as nearly as the null model is estimated.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from mlmfast.arrays import FloatArray, IntArray
from mlmfast.clusters.blocks import cluster_factor
from mlmfast.clusters.covariance import (
    cholesky_factors,
    marginal_covariances,
    refuse_large_cluster,
    solve_lower,
)
from mlmfast.clusters.noise import noise_sd
from mlmfast.design.design import Design
from mlmfast.design.factors.grouping import GroupingFactor
from mlmfast.design.rows import clusters_by_size
from mlmfast.errors import ModelError
from mlmfast.fitted.fitted import Fitted
from mlmfast.fitted.random_effects import fixed_part
from mlmfast.inference.permutation.arrangements import Arrangements
from mlmfast.inference.permutation.hypotheses import Hypothesis
from mlmfast.inference.permutation.schemes import Labels, Residuals
from mlmfast.reduction.engines.independence import independent_clusters


def classes_of(blocks: Sequence[FloatArray]) -> IntArray:
    """A number for each of some arrays, the same for equal ones."""
    known: dict[bytes, int] = {}
    # Adding zero turns -0 into 0, whose bits differ.
    return np.array([known.setdefault((b + 0.0).tobytes(), len(known)) for b in blocks])


def _rows_of_model(design: Design) -> FloatArray:
    """X, and Z by term, row by row."""
    ones = np.ones(design.n_obs)
    columns = [*design.x, *(column for term in design.random for column in term.columns)]
    return np.column_stack([ones, *(ones if c is None else c for c in columns)])


def within_cells(fit: Fitted, null: Fitted, hypothesis: Hypothesis) -> Residuals:
    """Residuals within the cells of all grouping factors.

    Raises
    ------
    ModelError
        Where they are not exchangeable: slopes, correlated or unequal residuals.
    """
    source = fit._needs_source("a permutation test")
    design = source.design
    if any(column is not None for term in design.random for column in term.columns):
        raise ModelError(
            "permute='within': random slopes make residuals of one cluster vary with their "
            "covariates; use permute='whitened'"
        )
    if design.residual is not None or design.weights is not None:
        raise ModelError(
            "permute='within': residuals of one cluster are correlated or have variances of their "
            "own here; use permute='whitened'"
        )
    sets = _sets(cells_of(design))
    assert hypothesis.L is not None, "a random effect has another scheme"
    x = design.fixed_matrix[:, hypothesis.L.any(axis=0)]
    if all((x[own] == x[own[0]]).all() for own in sets):
        raise ModelError(
            "permute='within': what is tested is constant within clusters, so that nothing would "
            "change; use permute='clusters'"
        )
    mean, residuals = _parts(null)
    classes = classes_of(list(_rows_of_model(design)))
    return Residuals(Arrangements(sets, classes), mean, residuals, _single(design.n_obs))


def cells_of(design: Design) -> IntArray:
    """Combination of the levels of all grouping factors, (n,)."""
    cells = np.zeros(design.n_obs, dtype=np.intp)
    for factor in design.factors:
        cells = np.unique(cells * factor.n_levels + factor.codes, return_inverse=True)[1]
    return cells


def whitened(fit: Fitted, null: Fitted) -> Residuals:
    """Residuals of the null model made independent, exchanged, and correlated again.

    Lee and Braun (2012), Biometrics 68:486.
    """
    design, record = null._needs_source("a permutation test").design, null._record
    mean, residuals = _parts(null)
    white = np.empty_like(residuals)
    factors: list[tuple[IntArray, FloatArray]] = []
    if not record.groups:
        sd = noise_sd(design, record)
        white = residuals / sd
        factors.append((np.arange(len(sd))[:, None], sd[:, None, None]))
    else:
        for rows in clusters_by_size(*independent_clusters(design, record.levels)):
            refuse_large_cluster(rows.shape[1], "permute='whitened'")
            lower = cholesky_factors(marginal_covariances(design, record, rows))
            white[rows] = solve_lower(lower, residuals[rows][:, :, None])[:, :, 0]
            factors.append((rows, lower))
    classes = _alike_rows(fit._needs_source("a permutation test").design)
    every = (np.arange(design.n_obs),)
    return Residuals(
        Arrangements(every, classes), mean, white, _single(design.n_obs), tuple(factors)
    )


def _alike_rows(design: Design) -> IntArray:
    """Classes of rows between which nothing of the model tells."""
    if design.residual is not None or design.weights is not None:
        return np.arange(design.n_obs)
    codes = np.column_stack([np.zeros(design.n_obs), *(f.codes for f in design.factors)])
    return classes_of(list(np.column_stack([_rows_of_model(design), codes])))


def whole_clusters(
    fit: Fitted, null: Fitted, hypothesis: Hypothesis, cluster: object
) -> Residuals | Labels:
    """Clusters for each other: residuals where all are alike, else labels of the tested columns.

    Raises
    ------
    ModelError
        Where clusters are not alike, and what is tested varies within them.
    """
    source = fit._needs_source("a permutation test")
    clusters = cluster_factor(source, fit._record, cluster)
    design = source.design
    blocks = _alike_clusters(design, clusters)
    if blocks is not None:
        mean, residuals = _parts(null)
        rows = _rows_of_model(design)
        classes = classes_of([rows[own] for own in blocks])
        own_set = (np.arange(len(blocks)),)
        return Residuals(Arrangements(own_set, classes), mean, residuals, blocks)
    assert hypothesis.L is not None, "a random effect has another scheme"
    columns = tuple(j for j in fit._record.kept if hypothesis.L[:, j].any())
    terms = None if source.frame is None else source.frame.term_of_column
    return _labels(design, clusters, columns, terms)


def _alike_clusters(design: Design, clusters: GroupingFactor) -> IntArray | None:
    """Rows by cluster (m, n) where clusters differ in X alone; None where in more."""
    sizes = np.bincount(clusters.codes, minlength=clusters.n_levels)
    if (sizes != sizes[0]).any():
        return None
    blocks = np.argsort(clusters.codes, kind="stable").reshape(clusters.n_levels, -1)
    for term in design.random:
        for column in term.columns:
            if column is not None and (column[blocks] != column[blocks[0]]).any():
                return None
    partitions = [factor.codes for factor in design.factors]
    values: list[FloatArray] = [] if design.weights is None else [design.weights]
    if design.residual is not None:
        partitions.append(design.residual.units)
        values.append(design.residual.positions.astype(np.float64))
        if design.residual.points is not None:
            values.append(design.residual.points)
        if design.residual.scale is not None:
            values.append(design.residual.scale.codes.astype(np.float64))
    for value in values:
        if (value[blocks] != value[blocks[0]]).any():
            return None
    for codes in partitions:
        own = codes[blocks]
        same = own[:, :, None] == own[:, None, :]
        if (same != same[0]).any():
            return None
    return blocks


def _labels(
    design: Design,
    clusters: GroupingFactor,
    columns: tuple[int, ...],
    terms: tuple[int, ...] | None,
) -> Labels:
    first = np.full(clusters.n_levels, -1)
    first[clusters.codes[::-1]] = np.arange(design.n_obs)[::-1]
    x = design.fixed_matrix
    values = x[first][:, list(columns)]
    if (values[clusters.codes] != x[:, list(columns)]).any():
        raise ModelError(
            f"permute='clusters': levels of {clusters.name!r} differ in their rows, so that only "
            "what is constant within them can be exchanged, and the tested columns vary; use "
            "permute='within' or 'whitened'"
        )
    _check_whole(design, columns, terms)
    own = (np.arange(clusters.n_levels),)
    codes = clusters.codes.astype(np.intp)
    arrangements = Arrangements(own, classes_of(list(values)))
    return Labels(arrangements, design.working_response, columns, codes, values)


def _check_whole(design: Design, columns: tuple[int, ...], terms: tuple[int, ...] | None) -> None:
    """Refuse some columns of a term without the rest of it, which would stay where it is.

    Columns of arrays have no terms: two indicators that never meet may be levels of one factor.
    """
    x = design.fixed_matrix
    tested = x[:, list(columns)].any(axis=1)
    for j, name in enumerate(design.x_names):
        if j in columns or design.x[j] is None or not x[:, j].any():
            continue
        if terms is not None:
            if terms[j] in {terms[k] for k in columns}:
                raise ModelError(
                    f"permute='clusters': {name!r} is of the same term as what is tested, and "
                    "labels move together; test the whole term"
                )
        elif np.isin(x[:, j], (0.0, 1.0)).all() and not (tested & (x[:, j] != 0)).any():
            raise ModelError(
                f"permute='clusters': {name!r} may be another level of what is tested (they never "
                "meet, and columns of arrays have no terms), and labels move together; test both, "
                "or fit by a formula"
            )


def _parts(null: Fitted) -> tuple[FloatArray, FloatArray]:
    design = null._needs_source("a permutation test").design
    mean = fixed_part(design, null._record)
    return mean, design.working_response - mean


def _single(n: int) -> IntArray:
    """Each row a thing."""
    return np.arange(n)


def _sets(codes: IntArray) -> tuple[IntArray, ...]:
    order = np.argsort(codes, kind="stable")
    return tuple(np.split(order, np.flatnonzero(np.diff(codes[order])) + 1))
