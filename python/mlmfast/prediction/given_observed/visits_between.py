"""Visits that a fit did not see, where their covariances follow from the lags that it saw."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from mlmfast.arrays import CodeArray, FloatArray, IntArray
from mlmfast.covariance import CovarianceStructure
from mlmfast.covariance.by_lag import ByLag
from mlmfast.data.frame import Frame
from mlmfast.design.residual.design import ResidualDesign
from mlmfast.design.residual.visits.sequence import VisitSequence, not_seen
from mlmfast.errors import ModelError
from mlmfast.fitted.record import FitRecord


def covers_other_visits(structure: CovarianceStructure) -> bool:
    """Whether a lag is all that a covariance depends on."""
    return isinstance(structure, ByLag) and not structure.scales


def visits_with_new(
    structure: ByLag, sequence: VisitSequence, new: Frame, text: str
) -> tuple[CodeArray, tuple[int, ...]]:
    """Visit of each new row, and the places of those that the fit did not see, which come last.

    Raises
    ------
    DataError
        For a visit at a lag from others that no two visits of the fit are apart.
    """
    places = sequence.times_of(new, text).astype(np.intp)
    standing = structure.standing
    own = sequence.places
    assert own is not None, "visits of a structure by lag have places"
    more = np.setdiff1d(places, own)
    every = np.concatenate([own, more])
    apart = np.abs(more[:, None] - every)
    told = np.abs(np.subtract.outer(standing, standing))
    unknown = ~np.isin(apart, told).all(axis=1)
    if unknown.any():
        row = int(np.flatnonzero(places == more[unknown][0])[0])
        factor = new.factor(sequence.name)
        raise not_seen(sequence.name, factor.levels[factor.codes[row]], text)
    order = np.argsort(every)
    codes = order[np.searchsorted(every, places, sorter=order)]
    return codes.astype(np.int32), tuple(more.tolist())


def with_visits_between(record: FitRecord, design: ResidualDesign | None) -> FitRecord:
    """The estimates with the covariances of visits that were added to the design.

    Raises
    ------
    ModelError
        Where no covariance matrix of all these visits has the estimates at their lags.
    """
    residual = record.residual
    if residual is None or design is None or not design.between:
        return record
    structure = design.structure
    assert isinstance(structure, ByLag), "visits were added by their lags"
    standing = structure.standing
    every = np.concatenate([standing, np.array(design.between, dtype=np.intp)])
    whole = np.array([_by_lag(matrix, standing, every) for matrix in residual.covariances])
    if np.linalg.eigvalsh(whole)[:, 0].min() <= 0.0:
        raise ModelError(
            f"newdata: no covariance matrix of the visits of the fit and the new ones has the "
            f"covariances of residual={residual.text!r} at their lags; leave such rows out"
        )
    labels = (*residual.visits, *(f"+{place}" for place in design.between))
    return replace(record, residual=replace(residual, visits=labels, covariances=whole))


def _by_lag(matrix: FloatArray, standing: IntArray, every: IntArray) -> FloatArray:
    """The covariance of visits at other places, from that at the same lags."""
    told = np.abs(np.subtract.outer(standing, standing)).ravel()
    lags, first = np.unique(told, return_index=True)
    wanted = np.searchsorted(lags, np.abs(np.subtract.outer(every, every)))
    return np.asarray(matrix.ravel()[first][wanted])
