"""Refits of clusters drawn anew, together, whether clusters have one shape or not."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np

from mlmfast.arrays import FloatArray, IntArray
from mlmfast.batch.fit_batch import FitBatch
from mlmfast.batch.stacked.fits import fit_shape, fit_unequal, is_stackable
from mlmfast.batch.stacked.parts import Parts, are_identified, slopes_vary
from mlmfast.covariance.structures.unstructured import Unstructured
from mlmfast.criterion.criterion import criterion_of
from mlmfast.design.design import Design
from mlmfast.design.rows import columns_at
from mlmfast.errors import MlmError
from mlmfast.fitted.estimates import Estimates
from mlmfast.fitted.parameter_values import covariance_values
from mlmfast.inference.resampling.drawn_clusters import DrawnClusters
from mlmfast.inference.resampling.refits import Refits, RefitValues
from mlmfast.newton.options import NewtonOptions
from mlmfast.prepared.model import PreparedModel
from mlmfast.reduction.reduce import reduce_design
from mlmfast.reduction.reduced_model import ReducedModel

#: Samples tried for one whose structure the others share.
_TRIALS = 5


def refit_clusters(
    refits: Refits, clusters: DrawnClusters, samples: Sequence[IntArray]
) -> RefitValues:
    """What is taken from the refit of each sample of clusters, in order, without scores.

    Parameters
    ----------
    samples
        Numbers of the clusters in each.
    """
    n, left = len(samples), np.ones(len(samples), dtype=np.bool_)
    flags = np.zeros((2, n), dtype=np.bool_)
    out = RefitValues(np.full((n, len(refits.names)), np.nan), np.empty((n, 0)), *flags)
    for at, found in _together(refits, clusters, samples):
        _put(out, at, found)
        left[at] = False
    for k in np.flatnonzero(left).tolist():
        _put(out, np.array([k]), refits.refit_design(clusters.of_clusters(samples[k])))
    return out


def _put(out: RefitValues, at: IntArray, found: RefitValues) -> None:
    out.values[at], out.failed[at] = found.values, found.failed
    out.singular[at] = found.singular


def _together(
    refits: Refits, clusters: DrawnClusters, samples: Sequence[IntArray]
) -> Iterator[tuple[IntArray, RefitValues]]:
    """Refits of the samples that a batch serves, and their positions."""
    design = clusters.design
    if refits.asked is not None or len(samples) < 2:
        return
    if not _is_plain(design):
        return
    how = (refits.record.method, NewtonOptions(), False)
    data, places = _Samples(clusters, samples), np.arange(len(samples))
    if clusters.are_alike:
        like = _example(refits, clusters, samples)
        if like is None:
            return
        rows = np.stack([clusters.rows_of(chosen) for chosen in samples])
        found = fit_shape(like, _arrays(design, rows), data, places, *how)
    else:
        parts, rows = _parts(clusters, samples)
        places = np.flatnonzero(are_identified(design, parts) & slopes_vary(design, parts, rows))
        like = _example(refits, clusters, [samples[k] for k in places.tolist()])
        if like is None:
            return
        among, parts = parts.taken(places)
        found = fit_unequal(like, _arrays(design, rows[among]), parts, data, places, *how)
    for batch, at in zip(*found, strict=True):
        covariances = partial(_covariances, like, batch)
        yield at, refits.taken(batch, covariances, np.empty((len(batch), 0)))


def _arrays(design: Design, rows: IntArray) -> tuple[FloatArray, FloatArray, dict[int, FloatArray]]:
    """y, X and Z by term of some rows."""
    z = {
        t: columns_at(term.columns, rows)
        for t, term in enumerate(design.random)
        if any(column is not None for column in term.columns)
    }
    return design.working_response[rows], columns_at(design.x, rows), z


def _parts(clusters: DrawnClusters, samples: Sequence[IntArray]) -> tuple[Parts, IntArray]:
    """The rows of each sample, and which rows of the design these are, one after the other."""
    own = [clusters.rows_of(chosen) for chosen in samples]
    rows, factors = np.concatenate(own), clusters.design.factors
    place = np.concatenate([clusters.place_of(chosen) for chosen in samples])
    # A cluster that is drawn twice has levels of its own each time.
    codes = [place * factor.n_levels + factor.codes[rows] for factor in factors]
    n_levels = [(int(place.max(initial=0)) + 1) * factor.n_levels for factor in factors]
    return Parts.of(codes, n_levels, np.array([len(rows) for rows in own])), rows


def _is_plain(design: Design) -> bool:
    """Whether independent residuals and unstructured effects are all that it has."""
    plain = design.residual is None and design.weights is None and design.is_bounded
    return plain and all(isinstance(term.structure, Unstructured) for term in design.random)


def _example(
    refits: Refits, clusters: DrawnClusters, samples: Sequence[IntArray]
) -> ReducedModel | None:
    """The reduction of one sample, if others like it are fitted together."""
    for chosen in samples[:_TRIALS]:
        try:
            model = reduce_design(clusters.of_clusters(chosen))
        except MlmError:
            continue
        if model.kept.tolist() == list(refits.record.kept):
            return model if is_stackable(model) else None
    return None


def _covariances(like: ReducedModel, batch: FitBatch) -> FloatArray:
    """`covariance_values` of fits, of whose factors each has one term."""
    design = like.design
    terms = [batch.varcorr[design.factors[term.factor].name] for term in design.random]
    estimates = Estimates(
        batch.params, batch.cov_params, np.square(batch.sigma), tuple(terms), -2.0 * batch.llf
    )
    criterion = criterion_of(like, batch.method)
    return covariance_values(like, criterion, np.empty((len(batch), 0)), estimates)


@dataclass(frozen=True)
class _Samples:
    """Data sets of drawn clusters, made where one of them is asked for."""

    clusters: DrawnClusters
    samples: Sequence[IntArray]

    def model(self, position: int) -> PreparedModel:
        """The model of one sample."""
        return PreparedModel(self.clusters.of_clusters(self.samples[position]))
