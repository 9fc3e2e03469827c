"""Fits of designs of one shape in one batch: no Python object a fit."""

from __future__ import annotations

import numpy as np

from mlmfast.arrays import FloatArray, IntArray
from mlmfast.batch.arrays import effect_names, n_parameters, outcome, stacked_terms
from mlmfast.batch.fit_batch import FitBatch
from mlmfast.batch.merge import Layout, merged
from mlmfast.batch.rows import DataSets, StackedRows
from mlmfast.batch.stacked.model import StackedModel, stacked_model
from mlmfast.batch.stacked.parts import Parts
from mlmfast.degrees_of_freedom.stacked_bases import stacked_bases
from mlmfast.fitting.fit import fit_independent
from mlmfast.fitting.undetermined.search import suspect_fits
from mlmfast.newton.options import NewtonOptions
from mlmfast.reduction.reduced_model import ReducedModel

#: Numbers in the arrays of the fits that are reduced at a time.
_CHUNK_NUMBERS = 20_000_000


def is_stackable(model: ReducedModel) -> bool:
    """Whether designs of a shape are fitted together: by nested elimination, one term a factor."""
    nested = model.nested is not None and bool(model.order)
    whole = len(model.kept) == len(model.design.x) > 0
    one_each = len({block.level for block in model.blocks}) == len(model.blocks)
    return nested and whole and one_each and model.profiled


def fit_shape(
    like: ReducedModel,
    arrays: tuple[FloatArray, FloatArray, dict[int, FloatArray]],
    data: DataSets,
    places: IntArray,
    method: str,
    settings: NewtonOptions,
    adjusts: bool,
) -> tuple[list[FitBatch], list[IntArray]]:
    """Fit designs of the shape of ``like``: y, X and Z by term of the data sets at ``places``.

    Returns
    -------
    Batches, and the positions of their data sets; others are to be fitted one by one.
    """
    y, x, own = arrays
    size = y.shape[1] * (1 + x.shape[2] + sum(part.shape[2] for part in own.values()))
    chunk = max(1, _CHUNK_NUMBERS // size)
    batches, positions = [], []
    for first in range(0, len(y), chunk):
        some = slice(first, first + chunk)
        model, regular = stacked_model(
            like, y[some], _cut(x, some), {t: _cut(part, some) for t, part in own.items()}
        )
        if model is not None:
            at = places[first + np.flatnonzero(regular)]
            batch, told = _fitted(model, data, at, method, settings, adjusts)
            batches.append(batch)
            positions.append(at[told])
    return batches, positions


def fit_unequal(
    like: ReducedModel,
    arrays: tuple[FloatArray, FloatArray, dict[int, FloatArray]],
    parts: Parts,
    data: DataSets,
    places: IntArray,
    method: str,
    settings: NewtonOptions,
    adjusts: bool,
) -> tuple[list[FitBatch], list[IntArray]]:
    """Fit designs of the structure of ``like`` whose rows and units differ, as `fit_shape`.

    Parameters
    ----------
    arrays
        y (n,), X (n, p) and Z by term (n, q), the rows of one design after those of the other.
    parts
        Which rows are those of each.
    """
    y, x, own = arrays
    width = 1 + x.shape[1] + sum(part.shape[1] for part in own.values())
    ends = np.cumsum(parts.sizes) * width // _CHUNK_NUMBERS
    batches, positions = [], []
    for chunk in np.unique(ends).tolist():
        among = np.flatnonzero(ends == chunk)
        some = slice(int(among[0]), int(among[-1]) + 1)
        rows = parts.rows_of(some)
        of_z = {t: part[rows] for t, part in own.items()}
        model, regular = stacked_model(like, y[rows], x[rows], of_z, parts.stretch(some))
        if model is not None:
            at = places[some][regular]
            batch, told = _fitted(model, data, at, method, settings, adjusts)
            batches.append(batch)
            positions.append(at[told])
    return batches, positions


def _fitted(
    model: StackedModel,
    data: DataSets,
    at: IntArray,
    method: str,
    settings: NewtonOptions,
    adjusts: bool,
) -> tuple[FitBatch, IntArray]:
    """Fits of the designs whose data tell all of G, and which these are."""
    at_zero = model.criterion(method).at_zero_of(np.arange(len(at)))
    batch = _batch(model, data, at, method, at_zero, settings, adjusts)
    n_levels = None if model.parts is None else model.parts.n_units
    told = np.flatnonzero(~suspect_fits(model.like, at_zero[1], n_levels))
    if told.size < len(at):
        batch = merged([batch], told, Layout.of([batch]))
    return batch, told


def _cut(array: FloatArray, some: slice) -> FloatArray:
    return array if len(array) == 1 else array[some]


def _batch(
    model: StackedModel,
    data: DataSets,
    at: IntArray,
    method: str,
    at_zero: tuple[FloatArray, FloatArray],
    settings: NewtonOptions,
    adjusts: bool,
) -> FitBatch:
    criterion = model.criterion(method)
    covariance = fit_independent(criterion, at_zero, settings)
    estimates = model.estimates(criterion, covariance.theta)
    design, n = model.like.design, len(at)
    unit = model.core.y_scale / model.y.scale[:, 0]
    bases = stacked_bases(
        model.core,
        criterion,
        covariance.theta,
        np.arange(n),
        unit[:, None, None] * model.fixed_maps,
        model.n_obs,
        adjusts,
        covariance.singular,
    )
    rows = StackedRows(
        data,
        at,
        model.like,
        bases,
        method,
        covariance.theta,
        covariance.singular,
        estimates.beta,
        estimates.vcov,
    )
    return FitBatch(
        names=design.x_names,
        params=estimates.beta,
        bse=np.sqrt(np.diagonal(estimates.vcov, axis1=1, axis2=2)),
        cov_params=estimates.vcov,
        sigma=np.sqrt(estimates.sigma2),
        varcorr=stacked_terms(design, estimates),
        llf=-0.5 * estimates.deviance,
        method=method,
        kept=tuple(range(len(design.x))),
        responses=("",) * n,
        nobs=np.full(n, model.n_obs, dtype=np.intp),
        effects=effect_names(design),
        n_groups=model.n_groups,
        n_parameters=np.full(n, n_parameters(model.like, covariance)),
        aliased=np.zeros((n, len(design.x)), dtype=np.bool_),
        undetermined=np.full(n, "", dtype=object),
        _rows=rows,
        **outcome(covariance),
    )
