"""Starts of crossed designs whose evaluations are long: the iterative engine's estimates.

An evaluation of the crossed engine factors a matrix of all random effects but those of the leading
factor; the iterative engine estimates score and information by random probes, in the time of some
passes over the rows. From its estimates, which lie within their Monte Carlo error of the optimum,
one or two exact evaluations are left to do, and they alone say where the fit ends.
"""

from __future__ import annotations

import numpy as np

import mlmfast._core as _core
from mlmfast.arrays import BoolArray, FloatArray, IntArray
from mlmfast.criterion.criterion import Criterion, criterion_of
from mlmfast.criterion.scoring import Scoring
from mlmfast.fitting.iterative import fit_iteratively
from mlmfast.fitting.starts.moments import moment_start, residual_start
from mlmfast.newton.options import NewtonOptions
from mlmfast.reduction.reduce import reduce_for_start
from mlmfast.reduction.reduced_model import ReducedModel

#: Operations of an exact evaluation from which probes are worth their time, and those for each row.
_FEWEST_OPERATIONS = 4e9
_OPERATIONS_A_ROW = 2e4
#: The iteration over probes: what it leaves is less than its Monte Carlo error.
_FEW = NewtonOptions(tolerance=1e-3, max_iter=6, max_halvings=3)
#: Eigenvalues of G (1 is a unit's mean square) below which a start may lie where G is singular, and
#: slopes by the parameters die out.
_SINGULAR = 1e-2


def first_start(model: ReducedModel, criterion: Criterion, fits: IntArray) -> FloatArray:
    """Where the iteration of the fits begins, (a, n_theta): estimates by moments or by probes."""
    if not model.profiled:
        return residual_start(model, criterion, fits)
    scoring = Scoring(criterion)
    if not _is_worth_it(model, criterion):
        return scoring.start(fits)
    theta, usable = _probed(model, criterion, fits)
    if not usable.all():
        theta[~usable] = scoring.start(fits[~usable])
    return theta


def _probed(
    model: ReducedModel, criterion: Criterion, fits: IntArray
) -> tuple[FloatArray, BoolArray]:
    """Estimates by probes, (a, n_theta), and where they are of use.

    They are of none where factors are nearly confounded, so that conjugate gradients take long, and
    near singular covariances.
    """
    other = reduce_for_start(model)
    probed = criterion_of(other, "REML" if criterion.reml else "ML")
    theta = moment_start(other, probed)[fits]
    try:
        found = fit_iteratively(probed, theta, _FEW, fits)
    except _core.NotConverged:
        return theta, np.zeros(len(fits), dtype=np.bool_)
    return found.theta, found.converged & _is_regular(criterion, found.theta)


def _is_worth_it(model: ReducedModel, criterion: Criterion) -> bool:
    related = any(factor.relationship is not None for factor in model.design.factors)
    if related or criterion.flat is not None:
        return False
    fewest = max(_FEWEST_OPERATIONS, _OPERATIONS_A_ROW * model.design.n_observations)
    return model.factorization_operations > fewest


def _is_regular(criterion: Criterion, theta: FloatArray) -> BoolArray:
    """Whether every covariance is finite and far from singular, shape (n_fits,)."""
    regular: BoolArray = np.asarray(np.isfinite(theta).all(axis=1))
    for term, s in zip(criterion.terms, criterion.theta_slices, strict=True):
        matrix = np.where(regular[:, None, None], term.matrix(theta[:, s]), 0.0)
        regular = regular & (np.linalg.eigvalsh(matrix)[:, 0] > _SINGULAR)
    return regular
