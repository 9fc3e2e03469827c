"""Covariance parameters that data cannot tell apart, and residual covariances that are singular."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

import numpy as np

from mlmfast.arrays import FloatArray, IntArray
from mlmfast.covariance.correlations import correlations
from mlmfast.covariance.scaled_covariance import ScaledCovariance
from mlmfast.covariance.spatial.base import Spatial
from mlmfast.criterion.criterion import Criterion
from mlmfast.design.residual.design import ResidualDesign, seen_pairs
from mlmfast.design.residual.record import ResidualRecord
from mlmfast.reduction.blocks import structure_of
from mlmfast.reduction.independence import is_within
from mlmfast.reduction.reduced_model import ReducedModel

#: Share of a term's information that the residual covariance must leave for it to be told apart.
_OWN_SHARE = 1e-9
#: Smallest scaled eigenvalue of a Hessian that is not flat.
_FLAT = 1e-8
#: Scaled information of known means from which on V moves.
_TOLD = 1e-6
#: Smallest eigenvalue of a correlation matrix (and ratio of variances) that is not singular, for a
#: fit that converged and for one that did not.
_SINGULAR, _NEARLY_SINGULAR = 1e-9, 1e-5
#: Visits that a message lists.
_MOST_NAMED = 12
#: The same for a fit known to be singular.
_AT_END = 1e-3
#: Ratio of residual standard deviations that goes to 0, one on the way there, and what each exactly
#: fitted combination of rows adds to the slope of -2 log-likelihood by its logarithm.
_VANISHED, _BEFORE, _OF_EACH = 1e-6, 1e-4, 2.0


def confounded_terms(model: ReducedModel, criterion: Criterion, theta: FloatArray) -> list[int]:
    """Blocks of random effects that the residual covariance can express too.

    A term by subject, or inside subjects, whose tangent space, at the start and next to it, lies
    within that of the residual covariance (the expected information it adds given the residual's
    is 0): such as a random intercept beside ``cs`` or ``us`` on the same subject. Not where the
    residual covariance expresses it up to a bound only, as factors with specific variances do.
    """
    residual = model.design.residual
    if residual is None or residual.formula is None or not residual.structure.holds_sums:
        return []
    flat, slices = criterion.flat, criterion.entry_slices
    positions = [p for p in range(len(model.order)) if _is_in_unit(model, p)]
    # What the fixed effects take up is no affair of the residual covariance.
    positions = [p for p in positions if flat is None or not flat.holds(slices[p])]
    for moved in (0.0, 0.1):
        if positions:
            at = criterion(theta[:1] + moved, np.zeros(1, dtype=np.intp))
            if not np.isfinite(at.value[0]):
                return []
            own = [k for k, block in enumerate(criterion.terms) if block.is_residual]
            positions = [
                p for p in positions if _left(criterion, at.expected[0], p, own) < _OWN_SHARE
            ]
    return positions


def _is_in_unit(model: ReducedModel, position: int) -> bool:
    """Whether each level of the term's factor lies within one unit of the residual covariance."""
    residual = model.design.residual
    assert residual is not None
    factor = model.design.factors[model.design.random[model.order[position]].factor]
    return factor.relationship is None and is_within(factor.codes, factor.n_levels, residual.units)


def _left(criterion: Criterion, expected: FloatArray, term: int, residual: list[int]) -> float:
    """Largest share of a term's information that is not also the residual covariance's."""
    slices = criterion.theta_slices
    own = np.arange(slices[term].start, slices[term].stop)
    others = np.concatenate([np.arange(slices[k].start, slices[k].stop) for k in residual])
    scale = np.sqrt(np.maximum(np.diag(expected), 1e-300))
    scaled = expected / np.outer(scale, scale)
    across = scaled[np.ix_(others, own)]
    inner = np.linalg.pinv(scaled[np.ix_(others, others)], rcond=1e-12, hermitian=True)
    rest = scaled[np.ix_(own, own)] - across.T @ inner @ across
    return float(np.diag(rest).max())


def flat_directions(criterion: Criterion, theta: FloatArray) -> list[tuple[int, ...]]:
    """Blocks along which the criterion does not change at a minimum, by flat direction."""
    vectors, _ = _flat_vectors(criterion, theta)
    out = []
    for weight in (vectors**2).T:
        parts = (float(weight[s].sum()) for s in criterion.theta_slices)
        out.append(tuple(b for b, part in enumerate(parts) if part > 1e-6))
    return out


def _flat_vectors(criterion: Criterion, theta: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Flat directions (n_theta, k) of a minimum in units of ``scale``, and that scale."""
    at = criterion(theta[:1], np.zeros(1, dtype=np.intp))
    diagonal = np.maximum(np.diag(at.expected[0]), np.abs(np.diag(at.hessian[0])))
    scale = np.sqrt(np.maximum(diagonal, 1e-12 * diagonal.max()))
    values, vectors = np.linalg.eigh(at.hessian[0] / np.outer(scale, scale))
    return np.asarray(vectors[:, np.abs(values) < _FLAT]), np.asarray(scale)


def errors_depend(criterion: Criterion, theta: FloatArray) -> bool:
    """Whether V moves along a flat direction, and the fixed effects' covariance with it.

    The restricted likelihood can be constant where V is not, as in the correlation of two visits
    beside a fixed mean for every subject. What V shows, the likelihood of known means tells.
    """
    vectors, scale = _flat_vectors(criterion, theta)
    known = replace(criterion, reml=False)(theta[:1], np.zeros(1, dtype=np.intp)).expected[0]
    told = np.einsum("ik,ij,jk->k", vectors, known / np.outer(scale, scale), vectors)
    return bool((np.abs(told) > _TOLD).any())


def name_flat(model: ReducedModel, blocks: Iterable[tuple[int, ...]]) -> list[str]:
    """Say which terms cannot be told apart."""
    return [f"{_listed(model, own)}: the likelihood is flat, parameters cannot be told apart"
            for own in dict.fromkeys(blocks)]  # fmt: skip


def name_confounded(model: ReducedModel, positions: Iterable[int]) -> list[str]:
    """Say which random effects the residual covariance expresses already."""
    residual = model.design.residual
    assert residual is not None
    return [
        f"{model.design.random[model.order[p]].text} cannot be told apart from {residual.text}, "
        "which holds its covariance already (held at 0 here; leave one of the two out)"
        for p in positions
    ]


def name_unseen(model: ReducedModel) -> list[str]:
    """Say which visits no subject has together, where each pair has a covariance of its own."""
    residual = model.design.residual
    if residual is None or not residual.visits or residual.points is not None:
        return []
    if not residual.structure.mixes:
        return []
    seen = set(seen_pairs(residual.units, residual.positions, residual.n_units, residual.order))
    k = residual.structure.size
    unseen = [(i, j) for i in range(k) for j in range(i) for a in range(len(residual.arms))
              if (a * k + i, a * k + j) not in seen]  # fmt: skip
    return [
        f"visits {residual.visits[j]} and {residual.visits[i]} are never seen in one subject: "
        f"{residual.text} cannot estimate their covariance"
        for i, j in unseen[:3]
    ]


def _listed(model: ReducedModel, blocks: tuple[int, ...]) -> str:
    residual = model.design.residual
    names: dict[str, None] = {}
    for block in blocks:
        if block < len(model.order):
            names[model.design.random[model.order[block]].text] = None
        elif residual is not None:
            names[residual.text] = None
            if residual.scale is not None:
                names[f"residual_scale={residual.scale.formula.text!r}"] = None
    return " and ".join(names)


def singular_residual(
    model: ReducedModel, record: ResidualRecord | None, converged: bool, at_end: bool = False
) -> list[str]:
    """Say where the residual covariance is singular, or has a variance of 0.

    ``at_end`` says that it is known to be singular.
    """
    residual = model.design.residual
    if residual is None or record is None or not record.visits:
        return []
    out = []
    limit = _AT_END if at_end else _SINGULAR if converged else _NEARLY_SINGULAR
    for arm, matrix in zip(record.arms, record.covariances, strict=True):
        where = f" of {arm}" if len(record.arms) > 1 else ""
        variances = np.diag(matrix)
        small = variances < limit * 1e-3 * variances.max()
        out += [
            f"the residual variance of {visit}{where} is 0 ({residual.text})"
            for visit, is_small in zip(record.visits, small, strict=True)
            if is_small
        ]
        rest = correlations(matrix)[np.ix_(~small, ~small)]
        smooth = isinstance(residual.structure, Spatial)
        if rest.size and not smooth and np.linalg.eigvalsh(rest)[0] < limit:
            out.append(f"the residual covariance{where} of {residual.text} is singular")
    return out or ([f"the residual covariance of {residual.text} is singular"] if at_end else [])


def name_without_bound(model: ReducedModel, record: ResidualRecord | None) -> list[str]:
    """Say whose residual covariance becomes singular as -2 log-likelihood falls without bound."""
    residual = model.design.residual
    if residual is None or record is None or not record.visits:
        return []
    out = []
    for arm, matrix in zip(record.arms, record.covariances, strict=True):
        variances = np.diag(matrix)
        scaled = correlations(matrix)
        if variances.min() < _NEARLY_SINGULAR * 1e-3 * variances.max():
            scaled = np.diag(variances / variances.max())
        values, vectors = np.linalg.eigh(scaled)
        if values[0] > _NEARLY_SINGULAR:
            continue
        weights = np.abs(vectors[:, 0])
        visits = np.flatnonzero(weights > 0.01 * weights.max())
        n = _subjects_with(residual, record.arms.index(arm) * len(variances) + visits)
        named = ", ".join(record.visits[v] for v in visits[:_MOST_NAMED])
        if len(visits) > _MOST_NAMED:
            named += f" and {len(visits) - _MOST_NAMED} more"
        where = f" of {arm}" if len(record.arms) > 1 else ""
        out.append(
            f"the likelihood of {residual.text} has no maximum: it grows without bound as the "
            f"residual covariance{where} of {named} becomes singular ({n} subject(s) have all of "
            "these), so the structure has more parameters than the data can hold"
        )
    return out


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
    gamma = structure.gamma(theta[:1, s])[0]
    # At the end itself the slope is lost in rounding.
    before = theta[:1].copy()
    limit = -np.log(_BEFORE)
    before[0, s.start + structure.n_base : s.stop] = (
        np.where(structure.is_ratio, np.clip(gamma, -limit, limit), gamma) * structure.spread
    )
    at = criterion(before, np.zeros(1, dtype=np.intp))
    slope = at.gradient[0, s][structure.n_base :] * structure.spread
    falls = np.array(structure.is_ratio) & (np.abs(gamma) > -np.log(_VANISHED))
    falls &= -np.sign(gamma) * slope > 0.5 * _OF_EACH
    return [
        f"the likelihood has no maximum: it grows without bound as {structure.scale_names[k]} of "
        f"residual_scale={residual.scale.formula.text!r} goes to {'0' if gamma[k] < 0 else '1/0'}, "
        "where rows are fitted exactly; leave the scale out, or the fixed effects that fit them"
        for k in np.flatnonzero(falls)
    ]


def _subjects_with(residual: ResidualDesign, positions: IntArray) -> int:
    """Number of units that have all of some positions."""
    seen = np.zeros((residual.n_units, residual.order), dtype=np.bool_)
    seen[residual.units, residual.positions] = True
    return int(seen[:, positions].all(axis=1).sum())
