"""Fits of many data sets in one batch: no Python object a fit."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd

from mlmfast.arrays import CodeArray, FloatArray, IntArray
from mlmfast.batch.fit_batch import FitBatch
from mlmfast.batch.rows import DataSets
from mlmfast.batch.stacked.fits import fit_shape, fit_unequal, is_stackable
from mlmfast.batch.stacked.parts import Parts, are_identified, varies
from mlmfast.design.columns.model_matrix import ModelMatrixSpec
from mlmfast.errors import MlmError
from mlmfast.many_data_sets.alike import alike_parts
from mlmfast.many_data_sets.data_sets import Frames, Levels, Stacked
from mlmfast.newton.options import NewtonOptions
from mlmfast.reduction.engines.options import Engine
from mlmfast.reduction.reduce import reduce_design
from mlmfast.reduction.reduced_model import ReducedModel

#: Data sets tried for one whose structure the others share.
_TRIALS = 5


def fit_stacked(
    data: Stacked, method: str, engine: Engine, settings: NewtonOptions, adjusts: bool
) -> tuple[list[FitBatch], list[IntArray]]:
    """Fit the data sets that are regular arrays of one shape, responses with missing values too.

    Parameters
    ----------
    adjusts
        Whether tests of Kenward and Roger are wanted.

    Returns
    -------
    Batches, and the positions of their data sets. What is not among them is left to be fitted one
    by one: data sets that have aliased columns or no fit, or another structure.
    """
    arrays = _arrays(data)
    if arrays is None or engine is not None or data.cov is not None:
        return [], []
    y, x, z = arrays
    there = np.logical_not(np.isnan(y))
    complete = there.all(axis=1)
    some = np.flatnonzero(complete)[:_TRIALS]
    like = _example(data, some, np.full(len(some), y.shape[1]))
    batches: list[FitBatch] = []
    positions: list[IntArray] = []
    if like is not None:
        whole = (y, x, _by_term(like, z))
        batches, positions = fit_shape(
            like, whole, data, np.arange(len(y)), method, settings, adjusts
        )
    rest = np.flatnonzero(there.any(axis=1) & ~complete)
    if rest.size > 1 and data.weights is None:
        found, at = _incomplete(data, arrays, rest, (method, settings, adjusts))
        batches, positions = batches + found, positions + at
    return batches, positions


def _incomplete(
    data: Stacked,
    arrays: tuple[FloatArray, FloatArray, dict[str, FloatArray | None]],
    places: IntArray,
    how: tuple[str, NewtonOptions, bool],
) -> tuple[list[FitBatch], list[IntArray]]:
    """Fit the data sets whose responses have missing values, each on the rows that it has."""
    y, x, z = arrays
    there = np.logical_not(np.isnan(y[places]))
    like = _example(data, places[:_TRIALS], there.sum(axis=1))
    codes = _codes(data)
    if like is None or codes is None:
        return [], []
    fits, rows = np.nonzero(there)
    n_levels = [int(own.max()) + 1 for own in codes]
    parts = Parts.of([own[rows] for own in codes], n_levels, there.sum(axis=1))

    def of_rows(array: FloatArray) -> FloatArray:
        return np.asarray(array[0, rows] if len(array) == 1 else array[places[fits], rows])

    own = {t: of_rows(part) for t, part in _by_term(like, z).items()}
    fit = are_identified(like.design, parts)
    for t, term in enumerate(like.design.random):
        for j, column in enumerate(term.columns):
            fit &= True if column is None else varies(own[t][:, j], parts)
    chosen = np.flatnonzero(fit)
    if chosen.size < 2:
        return [], []
    among, parts = parts.taken(chosen)
    left = (y[places][there][among], of_rows(x)[among], {t: z[among] for t, z in own.items()})
    return fit_unequal(like, left, parts, data, places[chosen], *how)


def _by_term(like: ReducedModel, z: Mapping[str, FloatArray | None]) -> dict[int, FloatArray]:
    """Z by random-effects term, where it is not the constant 1."""
    own = {t: z[like.design.factors[term.factor].name] for t, term in enumerate(like.design.random)}
    return {t: part for t, part in own.items() if part is not None}


def _codes(data: Stacked) -> list[CodeArray] | None:
    """Codes of the grouping factors, which all share; None where labels are missing."""
    groups = data.groups if isinstance(data.groups, Mapping) else {"group": data.groups}
    codes = [pd.factorize(np.asarray(labels))[0].astype(np.int32) for labels in groups.values()]
    return None if any((own < 0).any() for own in codes) else codes


def fit_parts(
    data: Levels | Frames,
    method: str,
    engine: Engine,
    settings: NewtonOptions,
    adjusts: bool,
) -> tuple[list[FitBatch], list[IntArray], dict[int, ModelMatrixSpec]]:
    """Fit the tables, or parts of one, that make regular designs of one structure.

    Returns
    -------
    As `fit_stacked`, and how X is built from the data of each.
    """
    batches: list[FitBatch] = []
    positions: list[IntArray] = []
    specs: dict[int, ModelMatrixSpec] = {}
    for alike in () if engine is not None else alike_parts(data):
        parts, some = alike.parts, alike.positions[:_TRIALS]
        sizes = parts.sizes if parts is not None else np.full(_TRIALS, alike.y.shape[1])
        like = _example(data, some, sizes)
        if like is None:
            continue
        arrays, how = (alike.y, alike.x, alike.z), (method, settings, adjusts)
        if parts is None:
            found, at = fit_shape(like, arrays, data, alike.positions, *how)
        else:
            found, at = fit_unequal(like, arrays, parts, data, alike.positions, *how)
        batches += found
        positions += at
        specs |= {int(position): alike.fixed for own in at for position in own}
    return batches, positions, specs


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


def _example(data: DataSets, places: IntArray, sizes: IntArray) -> ReducedModel | None:
    """The reduction of one of some data sets of so many rows, if nested elimination serves."""
    for position, n_rows in zip(places.tolist(), sizes.tolist(), strict=False):
        try:
            model = reduce_design(data.model(position).design)
        except MlmError:
            continue
        if len(model.design.y) < n_rows:
            continue
        return model if is_stackable(model) else None
    return None
