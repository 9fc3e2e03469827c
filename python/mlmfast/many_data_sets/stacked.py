"""Fits of arrays of one shape in one batch: no Python object a fit."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from mlmfast.arrays import FloatArray, IntArray
from mlmfast.batch.arrays import effect_names, n_parameters, outcome, stacked_terms
from mlmfast.batch.fit_batch import FitBatch
from mlmfast.batch.merge import Layout, merged
from mlmfast.batch.rows import StackedRows
from mlmfast.degrees_of_freedom.stacked_bases import stacked_bases
from mlmfast.design.columns.model_matrix import ModelMatrixSpec
from mlmfast.errors import MlmError
from mlmfast.fitting.fit import fit_independent
from mlmfast.fitting.undetermined.search import suspect_fits
from mlmfast.many_data_sets.alike import alike_parts
from mlmfast.many_data_sets.data_sets import Frames, Levels, Stacked
from mlmfast.many_data_sets.stacked_model import StackedModel, stacked_model
from mlmfast.newton.options import NewtonOptions
from mlmfast.reduction.engines.options import Engine
from mlmfast.reduction.reduce import reduce_design
from mlmfast.reduction.reduced_model import ReducedModel

#: Numbers in the arrays of the fits that are reduced at a time.
_CHUNK_NUMBERS = 20_000_000
#: Data sets tried for one whose structure the others share.
_TRIALS = 5


def fit_stacked(
    data: Stacked, method: str, engine: Engine, settings: NewtonOptions, adjusts: bool
) -> tuple[list[FitBatch], list[IntArray]]:
    """Fit the data sets that are regular arrays of one shape.

    Parameters
    ----------
    adjusts
        Whether tests of Kenward and Roger are wanted.

    Returns
    -------
    Batches, and the positions of their data sets. What is not among them is left to be fitted one
    by one: data sets that have missing values, aliased columns or no fit, or another structure.
    """
    arrays = _arrays(data)
    if arrays is None or engine is not None:
        return [], []
    like = _example(data, np.arange(min(_TRIALS, len(data))), data.y.shape[1])
    if like is None:
        return [], []
    y, x, z = arrays
    own: dict[int, FloatArray] = {}
    for t, term in enumerate(like.design.random):
        part = z[like.design.factors[term.factor].name]
        if part is not None:
            own[t] = part
    return _fit_shape(like, (y, x, own), data, np.arange(len(y)), method, settings, adjusts)


def fit_parts(
    data: Levels | Frames,
    method: str,
    engine: Engine,
    settings: NewtonOptions,
    adjusts: bool,
) -> tuple[list[FitBatch], list[IntArray], dict[int, ModelMatrixSpec]]:
    """Fit the tables, or parts of one, that make regular designs of one shape.

    Returns
    -------
    As `fit_stacked`, and how X is built from the data of each.
    """
    batches: list[FitBatch] = []
    positions: list[IntArray] = []
    specs: dict[int, ModelMatrixSpec] = {}
    for alike in () if engine is not None else alike_parts(data):
        like = _example(data, alike.positions[:_TRIALS], alike.y.shape[1])
        if like is None:
            continue
        arrays = (alike.y, alike.x, alike.z)
        how = (method, settings, adjusts)
        found, at = _fit_shape(like, arrays, data, alike.positions, *how)
        batches += found
        positions += at
        specs |= {int(position): alike.fixed for own in at for position in own}
    return batches, positions, specs


def _fit_shape(
    like: ReducedModel,
    arrays: tuple[FloatArray, FloatArray, dict[int, FloatArray]],
    data: Stacked | Levels | Frames,
    places: IntArray,
    method: str,
    settings: NewtonOptions,
    adjusts: bool,
) -> tuple[list[FitBatch], list[IntArray]]:
    """Fit designs of the shape of ``like``: y, X and Z by term of the data sets at ``places``."""
    y, x, own = arrays
    size = y.shape[1] * (1 + x.shape[2] + sum(part.shape[2] for part in own.values()))
    chunk = max(1, _CHUNK_NUMBERS // size)
    batches, positions = [], []
    for first in range(0, len(y), chunk):
        some = slice(first, first + chunk)
        model, regular = stacked_model(
            like, y[some], _cut(x, some), {t: _cut(part, some) for t, part in own.items()}
        )
        if model is None:
            continue
        at = places[first + np.flatnonzero(regular)]
        at_zero = model.criterion(method).at_zero_of(np.arange(len(at)))
        batch = _batch(model, data, at, method, at_zero, settings, adjusts)
        told = np.flatnonzero(~suspect_fits(like, at_zero[1]))
        if told.size < len(at):
            batch = merged([batch], told, Layout.of([batch]))
        batches.append(batch)
        positions.append(at[told])
    return batches, positions


def _cut(array: FloatArray, some: slice) -> FloatArray:
    return array if len(array) == 1 else array[some]


def _arrays(
    data: Stacked,
) -> tuple[FloatArray, FloatArray, dict[str, FloatArray | None]] | None:
    """y, X and Z by factor as arrays with a leading axis; None where they are something else."""
    y, x = data.y, _stacked(data.X)
    groups = data.groups if isinstance(data.groups, Mapping) else {"group": data.groups}
    if not isinstance(y, np.ndarray) or y.dtype != np.float64 or x is None or len(y) < 2:
        return None
    shared = all(value is not None and np.ndim(value) == 1 for value in groups.values())
    if not shared or data.offset is not None:
        return None
    if data.weights is not None and np.ndim(data.weights) != 1:
        return None
    z: dict[str, FloatArray | None] = {}
    for name in groups:
        given = data.Z.get(name) if isinstance(data.Z, Mapping) else data.Z
        z[str(name)] = None if given is None else _stacked(given)
        if given is not None and z[str(name)] is None:
            return None
    return np.ascontiguousarray(y), x, z


def _stacked(given: Any) -> FloatArray | None:
    """A matrix of each data set, or of all: three axes."""
    if type(given) is not np.ndarray or given.dtype != np.float64 or given.ndim not in {2, 3}:
        return None
    array = np.ascontiguousarray(given)
    return array[None] if array.ndim == 2 else array


def _example(data: Stacked | Levels | Frames, places: IntArray, n_rows: int) -> ReducedModel | None:
    """The reduction of one of some data sets, where nested elimination serves it."""
    for position in places.tolist():
        try:
            model = reduce_design(data.model(position).design)
        except MlmError:
            continue
        if len(model.design.y) < n_rows:
            continue
        nested = model.nested is not None and model.order
        whole = len(model.kept) == len(model.design.x) > 0
        one_each = len({block.level for block in model.blocks}) == len(model.blocks)
        return model if nested and whole and one_each and model.profiled else None
    return None


def _batch(
    model: StackedModel,
    data: Stacked | Levels | Frames,
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
        design.n_obs,
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
        nobs=np.full(n, design.n_obs, dtype=np.intp),
        effects=effect_names(design),
        n_groups={f.name: np.full(n, f.n_levels) for f in design.factors},
        n_parameters=np.full(n, n_parameters(model.like, covariance)),
        aliased=np.zeros((n, len(design.x)), dtype=np.bool_),
        undetermined=np.full(n, "", dtype=object),
        _rows=rows,
        **outcome(covariance),
    )
