"""What a fit says where the likelihood has no maximum, or none that is the greatest."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import numpy as np

from mlmfast.arrays import FloatArray, IntArray
from mlmfast.covariance.correlations import correlations
from mlmfast.covariance.scaled_covariance import ScaledCovariance
from mlmfast.criterion.criterion import Criterion
from mlmfast.design.residual.design import ResidualDesign
from mlmfast.design.residual.record import ResidualRecord
from mlmfast.fitted.residual.zero_variances import NEARLY_SINGULAR, is_zero
from mlmfast.fitting.covariance_fit import CovarianceFit
from mlmfast.fitting.minima.counted import held_by_few
from mlmfast.fitting.minima.vanishing import arms_not_told, exactly_fitted
from mlmfast.fitting.starts.stretches import residual_stretches
from mlmfast.reduction.blocks import structure_of
from mlmfast.reduction.reduced_model import ReducedModel

#: Visits that a message lists.
_MOST_NAMED = 12
#: Ratio of residual standard deviations that goes to 0, one on the way there, and what each exactly
#: fitted combination of rows adds to the slope of -2 log-likelihood by its logarithm.
_VANISHED, _BEFORE, _OF_EACH = 1e-6, 1e-4, 2.0


def name_without_bound(
    model: ReducedModel, covariance: CovarianceFit, record: ResidualRecord | None
) -> list[str]:
    """Say whose residual covariance becomes singular as -2 log-likelihood falls without bound."""
    residual = model.design.residual
    if residual is None or record is None or not record.visits:
        return []
    found = list(_becoming_singular(residual, record, record.covariances))
    if not found:
        # On the way there already, which counting foresees the end of.
        held = held_by_few(model, covariance.criterion, covariance.theta[0])
        found = [(_named_visits(record, arm, visits), n) for arm, visits, n in held]
    if not found:
        return _name_fitted(model, covariance, record)
    return [
        f"the likelihood of {residual.text} has no maximum: it grows without bound as the "
        f"residual covariance{whose} becomes singular ({_who_has(n)} all of these), so the "
        "structure has more parameters than the data can hold"
        for whose, n in found
    ]


def _name_fitted(
    model: ReducedModel, covariance: CovarianceFit, record: ResidualRecord
) -> list[str]:
    """Say which rows fixed effects fit exactly, which leaves nothing for their variance."""
    residual = model.design.residual
    assert residual is not None, "the caller looked"
    out = []
    for arm, visits in exactly_fitted(model, covariance.criterion, 0):
        whose = _named_visits(record, arm, np.array(visits, dtype=np.intp))
        if len(visits) == len(record.visits):
            whose = f" of {record.arms[arm]}" if len(record.arms) > 1 else ""
        out.append(
            f"the likelihood of {residual.text} has no maximum: it grows without bound as the "
            f"residual variance{whose} goes to 0, whose rows the fixed effects fit exactly; leave "
            "out fixed effects, or let these rows share a variance with others"
        )
    return out


def name_arms_not_told(
    model: ReducedModel, covariance: CovarianceFit, record: ResidualRecord | None
) -> list[str]:
    """Say of which arms nothing is told, where an iteration along that did not come to an end."""
    if record is None or not record.visits:
        return []
    arms = [record.arms[arm] for arm in arms_not_told(model, covariance.criterion)]
    return [
        f"the data do not determine the residual covariance{f' of {arm}' if arm else ''}, whose "
        "rows the fixed effects fit exactly; leave out fixed effects, or let these rows share a "
        "variance with others"
        for arm in arms
    ]


def name_unbounded_elsewhere(
    model: ReducedModel, covariance: CovarianceFit, record: ResidualRecord | None
) -> list[str]:
    """Say that the likelihood has no maximum, those of local ones being the estimates, if any."""
    residual, theta = model.design.residual, covariance.unbounded_elsewhere.get(0)
    if theta is None or residual is None or record is None or not record.visits:
        return []
    matrices = [stretch.matrix(theta[0]) for stretch in residual_stretches(covariance.criterion)]
    if len(matrices) != len(record.arms):
        return []
    found = list(_becoming_singular(residual, record, matrices))
    ended = bool(covariance.newton.converged[0])
    if not found and not ended:
        return _name_fitted(model, covariance, record)
    ends = [f"{whose} becomes singular ({_who_has(n)} all of these)" for whose, n in found]
    what = (
        f"a local maximum: the likelihood of {residual.text} grows without bound somewhere else, as"
        if ended
        else f"the likelihood of {residual.text} has no maximum: it grows without bound as"
    )
    return [
        f"{what} the residual covariance{end}; the structure has more parameters than the data can "
        "hold"
        for end in ends or [" becomes singular"]
    ]


def _becoming_singular(
    residual: ResidualDesign, record: ResidualRecord, covariances: Iterable[FloatArray]
) -> Iterator[tuple[str, int]]:
    """Visits, by arm, whose covariance is nearly singular, and how many subjects have them all."""
    for arm, matrix in zip(record.arms, covariances, strict=True):
        variances = np.diag(matrix)
        scaled = correlations(matrix)
        if is_zero(matrix, NEARLY_SINGULAR).any():
            scaled = np.diag(variances / variances.max())
        values, vectors = np.linalg.eigh(scaled)
        if values[0] > NEARLY_SINGULAR:
            continue
        weights = np.abs(vectors[:, 0])
        visits = np.flatnonzero(weights > 0.01 * weights.max())
        n = _subjects_with(residual, record.arms.index(arm) * len(variances) + visits)
        yield _named_visits(record, record.arms.index(arm), visits), n


def _who_has(n: int) -> str:
    return f"{n} subject(s) have" if n else "no subject has"


def _named_visits(record: ResidualRecord, arm: int, visits: IntArray) -> str:
    named = ", ".join(record.visits[v] for v in visits[:_MOST_NAMED])
    if len(visits) > _MOST_NAMED:
        named += f" and {len(visits) - _MOST_NAMED} more"
    where = f" of {record.arms[arm]}" if len(record.arms) > 1 else ""
    return f"{where} of {named}"


def name_vanishing_scale(model: ReducedModel, criterion: Criterion, theta: FloatArray) -> list[str]:
    """Say which levels of a residual scale are fitted ever more exactly, without end.

    Each combination of rows that the other parameters fit exactly takes 2 log SD from -2
    log-likelihood, which the slope by the logarithm of a ratio counts.
    """
    residual = model.design.residual
    if residual is None or residual.scale is None:
        return []
    structure, s = structure_of(criterion.terms[-1]), criterion.theta_slices[-1]
    assert isinstance(structure, ScaledCovariance), "there is a residual scale"
    scale, own = structure.scale, slice(s.start + structure.n_base, s.stop)
    # Ratios are exp of theta.
    ratio, gamma = np.array(scale.is_ratio), theta[0, own] / scale.spread
    # At the end itself the slope is lost in rounding.
    before = theta[:1].copy()
    limit = -np.log(_BEFORE)
    before[0, own] = np.where(ratio, np.clip(gamma, -limit, limit), gamma) * scale.spread
    at = criterion(before, np.zeros(1, dtype=np.intp))
    slope = at.gradient[0, s][structure.n_base :] * scale.spread
    falls = ratio & (np.abs(gamma) > -np.log(_VANISHED))
    falls &= -np.sign(gamma) * slope > 0.5 * _OF_EACH
    return [
        f"the likelihood has no maximum: it grows without bound as {scale.names[k]} of "
        f"residual_scale={residual.scale.formula.text!r} goes to {'0' if gamma[k] < 0 else '1/0'}, "
        "where rows are fitted exactly; leave the scale out, or the fixed effects that fit them"
        for k in np.flatnonzero(falls)
    ]


def _subjects_with(residual: ResidualDesign, positions: IntArray) -> int:
    """Number of units that have all of some positions."""
    seen = np.zeros((residual.n_units, residual.order), dtype=np.bool_)
    seen[residual.units, residual.positions] = True
    return int(seen[:, positions].all(axis=1).sum())
