"""Starts of unstructured residual covariances of many visits, by the EM algorithm.

A Newton step for thousands of parameters costs some seconds, and far from the maximum many are
taken. A step of EM costs a gradient, and with all visits seen one leads to the maximum. Where many
of them lead nowhere there may be none: that is found out before the steps that are dear.

Reference: Laird, Lange and Stram (1987), Maximum likelihood computations with repeated measures:
application of the EM algorithm, JASA 82, 97-105.
"""

from __future__ import annotations

import numpy as np

from mlmfast.arrays import BoolArray, FloatArray, IntArray
from mlmfast.criterion.criterion import Criterion
from mlmfast.design.residual.design import ResidualDesign
from mlmfast.errors import ModelError
from mlmfast.reduction.blocks import TermBlock
from mlmfast.reduction.engines.cores import nested_core
from mlmfast.reduction.reduced_model import ReducedModel

#: Parameters from which a gradient costs far less than a Newton step.
_MANY = 200
#: Steps at most, and the slope along one from which Newton's steps do better.
_MOST_STEPS, _NEAR = 60, 0.5
#: Visits that a message names.
_MOST_NAMED = 8


def improved_by_em(model: ReducedModel, criterion: Criterion, theta: FloatArray) -> FloatArray:
    """Starts (n_fits, n_theta) led near the maximum, where that is worth its gradients.

    Elsewhere, beside random effects or for other structures, ``theta`` itself.
    """
    residual, core = model.design.residual, nested_core(model.core)
    if residual is None or core is None or criterion.n_theta < _MANY or criterion.flat is not None:
        return theta
    if any(t.by_theta or not (t.is_residual and t.shared.natural_entries) for t in criterion.terms):
        return theta
    counts = np.bincount(residual.arm_of_units, minlength=len(criterion.terms))
    out = theta.copy()
    for fit, row in enumerate(theta):
        out[fit], is_near = _climb(criterion, row, fit, counts)
        if not is_near:
            _check_bounded(residual)
    return out


def _climb(
    criterion: Criterion, theta: FloatArray, fit: int, counts: IntArray
) -> tuple[FloatArray, bool]:
    """theta (n_theta,) after steps of one fit, and whether they came near a maximum."""
    core = nested_core(criterion.reduction)
    assert core is not None, "the caller looked"
    lowest, best = np.inf, theta
    for _ in range(_MOST_STEPS):
        g = criterion.covariances(theta[None])
        value, gradient = core.gradient(g, [fit], criterion.entries, criterion.reml)
        if not value[0] < lowest:
            break
        lowest, best = float(value[0]), theta
        theta, slope = _step(criterion, theta, gradient[0], counts)
        if slope > -_NEAR:
            return theta, True
    return best, False


def _step(
    criterion: Criterion, theta: FloatArray, gradient: FloatArray, counts: IntArray
) -> tuple[FloatArray, float]:
    """theta of R - R D R / m of each arm, and the slope towards it.

    D is the derivative of -2 log-likelihood by R and m the subjects. With every visit seen D is
    m R^-1 - R^-1 S R^-1, and the step leads to S / m; else to the mean of E[e e' | y].
    """
    out, slope = theta.copy(), 0.0
    stretches = zip(criterion.theta_slices, criterion.entry_slices, strict=True)
    for term, m, (s, e) in zip(criterion.terms, counts, stretches, strict=True):
        r = term.matrix(theta[None, s])[0]
        way = r @ _derivative(term, gradient[e]) @ r / m
        out[s] = term.theta((r - way)[None])[0]
        slope -= float((_derivative(term, gradient[e]) * way).sum())
    return out, slope


def _derivative(term: TermBlock, by_entry: FloatArray) -> FloatArray:
    """The symmetric D with tr(D dR) the differential, from derivatives by entries."""
    rows, columns = np.array(term.shared.entries, dtype=np.intp).T
    out = np.zeros((term.structure.size, term.structure.size))
    out[rows, columns] = by_entry
    return np.asarray(0.5 * (out + out.T))


def _check_bounded(residual: ResidualDesign) -> None:
    """Refuse a covariance that some visits let become singular, the likelihood without bound."""
    size = residual.structure.size
    seen = np.zeros((residual.n_units, size), dtype=np.bool_)
    seen[residual.units, residual.positions % size] = True
    for arm, label in enumerate(residual.arms):
        own = residual.arm_of_units == arm
        visits = fewest_together(seen[own])
        if visits is None:
            continue
        n = int(seen[own][:, visits].all(axis=1).sum())
        named = ", ".join(residual.visits[v] for v in sorted(visits)[:_MOST_NAMED])
        more = f" and {len(visits) - _MOST_NAMED} more" if len(visits) > _MOST_NAMED else ""
        where = f" of {label}" if label else ""
        raise ModelError(
            f"the likelihood of {residual.text} has no maximum: it grows without bound as the "
            f"residual covariance{where} of the {len(visits)} visits {named}{more} becomes "
            f"singular ({n} subject(s) have all of these), so the structure has more parameters "
            "than the data can hold. Use a structure with fewer, such as toeph, adh or csh"
        )


def fewest_together(seen: BoolArray) -> list[int] | None:
    """Visits that fewer subjects have together than they are, yet some; None where none are found.

    One at a time, that which leaves fewest subjects. A combination of the visits is 0 for all these
    subjects, and others do not tell its variance.

    Parameters
    ----------
    seen : shape (n_subjects, n_visits)

    Examples
    --------
    >>> fewest_together(np.array([[1, 1, 0], [1, 1, 1], [0, 1, 1]], dtype=np.bool_))
    [0, 2]
    >>> fewest_together(np.ones((4, 3), dtype=np.bool_))
    """
    have = np.ones(len(seen), dtype=np.bool_)
    chosen: list[int] = []
    for _ in range(seen.shape[1]):
        left = seen[have].sum(axis=0)
        left[chosen] = 0
        some = np.flatnonzero(left)
        if some.size == 0:
            return None
        chosen.append(int(some[np.argmin(left[some])]))
        have &= seen[:, chosen[-1]]
        if have.sum() < len(chosen):
            return chosen
    return None
