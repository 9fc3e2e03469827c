"""What a fit says of the boundary that it ended on."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from itertools import combinations

import numpy as np

from mlmfast.arrays import FloatArray
from mlmfast.covariance import STRUCTURES
from mlmfast.covariance.correlations import correlations
from mlmfast.covariance.spatial.base import Spatial
from mlmfast.criterion.criterion import Criterion
from mlmfast.design.residual.design import seen_pairs
from mlmfast.design.residual.record import ResidualRecord
from mlmfast.fitted.certificates.no_maximum import (
    name_arms_not_told,
    name_unbounded_elsewhere,
    name_vanishing_scale,
    name_without_bound,
)
from mlmfast.fitted.certificates.singular_v import name_inverted, name_singular_v
from mlmfast.fitted.record import GroupRecord, TermRecord
from mlmfast.fitted.residual.zero_variances import is_zero, singular_limit
from mlmfast.fitting.confounding import errors_depend, flat_directions
from mlmfast.fitting.covariance_fit import CovarianceFit
from mlmfast.fitting.starts.stretches import residual_stretches
from mlmfast.fitting.undetermined.record import ERRORS_DEPEND, UndeterminedRecord
from mlmfast.information.edges import is_variance, may_stand_still
from mlmfast.information.of_fit import information_of
from mlmfast.reduction.blocks import structure_of
from mlmfast.reduction.reduced_model import ReducedModel

#: Variance of a random effect, over that of the residual, beside which the latter is 0.
_OVER_RESIDUAL = 1e8
#: Smallest eigenvalue of a Hessian that is not flat.
FLAT = 1e-4
#: What a curve without variance is, which is nothing to warn of.
STRAIGHT = "is 0: the curve is a straight line"


def name_boundary(
    groups: tuple[GroupRecord, ...],
    terms: tuple[TermRecord, ...],
    open_ended: UndeterminedRecord | None,
) -> tuple[str, ...]:
    """Name what is on the boundary: variances of 0, else covariances of deficient rank.

    Variances at 0 because the data do not determine them are named as that.
    """
    out: list[str] = []
    held = set() if open_ended is None else set(open_ended.absorbed)
    for term in terms:
        if not term.singular:
            continue
        if groups[term.group].has_curves:
            out.append(f"variance of {term.text} {STRAIGHT}")
            continue
        group = groups[term.group].name
        zero = [
            name
            for name, variance in zip(term.names, np.diag(term.covariance), strict=True)
            if variance == 0.0
        ]
        left = len(term.names) - len(zero)
        kind = STRUCTURES[term.structure]
        if left == 0 and not kind.named_by_effects:
            if not any(f"{name} | {group}" in held for name in term.parameter_names):
                out.append(f"variance of {term.text} is 0")
            continue
        out.extend(
            f"variance of {name} by {group} is 0"
            for name in zero
            if f"Var({name}) | {group}" not in held
        )
        if not kind.variances_alone and left > 1:
            what = "correlation is +-1" if left == 2 else "covariance matrix is singular"
            if not (zero or term.unseen) or _is_deficient(term, zero):
                out.append(f"{what} for {', '.join(term.names)} by {group}")
    return tuple(out)


def name_negative(
    groups: tuple[GroupRecord, ...], terms: tuple[TermRecord, ...]
) -> tuple[str, ...]:
    """Name what is below 0 where there is no bound: variances, else indefinite matrices."""
    out: list[str] = []
    for term in terms:
        if term.bounded:
            continue
        group, variances = groups[term.group].name, np.diag(term.covariance).tolist()
        below = [(n, v) for n, v in zip(term.names, variances, strict=True) if v < 0.0]
        if len(below) == len(term.names) > 1 and not term.kind.named_by_effects:
            out.append(f"variance of {term.text} is negative ({below[0][1]:.6g})")
            continue
        out += [f"variance of {name} by {group} is negative ({v:.6g})" for name, v in below]
        size = np.abs(term.covariance).max(initial=0.0)
        if not below and np.linalg.eigvalsh(term.covariance)[0] < -1e-12 * size:
            out.append(f"matrix G of {term.text} is indefinite: some combination varies below 0")
    return tuple(out)


def _is_deficient(term: TermRecord, zero: list[str]) -> bool:
    """Whether effects whose covariances the data tell have a singular covariance matrix."""
    keep = [i for i, name in enumerate(term.names) if name not in zero]
    unseen = {frozenset(pair) for pair in term.unseen}
    pairs = [pair for pair in combinations(keep, 2) if frozenset(pair) not in unseen]
    sets = [keep] if len(pairs) == len(keep) * (len(keep) - 1) // 2 else [list(p) for p in pairs]
    return any(_is_singular(term.covariance[np.ix_(own, own)]) for own in sets)


def _is_singular(covariance: FloatArray) -> bool:
    sd = np.sqrt(np.diag(covariance))
    return bool(np.linalg.eigvalsh(covariance / np.outer(sd, sd))[0] < 1e-8)


def name_residual_boundary(
    reduced: ReducedModel,
    covariance: CovarianceFit,
    residual: ResidualRecord | None,
    open_ended: UndeterminedRecord | None,
) -> list[str]:
    """Name residual covariances that are singular, and terms that cannot be told apart."""
    untold = [] if open_ended is None else list(open_ended.messages)
    if covariance.at_singular_v:
        return [
            "V = Z G Z' + R is nearly singular: without bounds -2 log-likelihood falls on to where "
            "V is no covariance matrix, and there is no estimate"
        ]
    if reduced.profiled:
        return untold or name_vanishing_residual(reduced, covariance)
    own = _name_own_boundary(reduced, covariance, residual, untold)
    if not covariance.without_bound:
        own += name_singular_v(reduced, covariance) or name_inverted(reduced, covariance)
    return own + name_unbounded_elsewhere(reduced, covariance, residual)


def _name_own_boundary(
    reduced: ReducedModel,
    covariance: CovarianceFit,
    residual: ResidualRecord | None,
    untold: list[str],
) -> list[str]:
    """Name what is on the boundary at the estimates; see `name_residual_boundary`."""
    newton = covariance.newton
    out = name_confounded(reduced, covariance.confounded)
    if covariance.without_bound:
        return out + name_without_bound(reduced, covariance, residual)
    if untold:
        return out + (name_unseen(reduced) or untold)
    at_end = bool(covariance.singular_residual)
    out += singular_residual(reduced, residual, singular_limit(covariance), at_end)
    if not out and newton.converged[0]:
        out = name_edges(reduced, covariance.criterion, covariance.theta)
    if not out and not newton.converged[0]:
        out = name_vanishing_scale(reduced, covariance.criterion, covariance.theta)
        out += name_arms_not_told(reduced, covariance, residual)
    if not out and newton.converged[0] and newton.min_eigenvalue[0] < FLAT:
        flat = flat_directions(covariance.criterion, covariance.theta)
        out = (name_unseen(reduced) if flat else []) or name_flat(reduced, flat)
        if flat and errors_depend(covariance.criterion, covariance.theta):
            out.append(ERRORS_DEPEND)
    return out


def name_vanishing_residual(model: ReducedModel, covariance: CovarianceFit) -> list[str]:
    """Say which random effects take up all of the variance, where the residual's goes to 0.

    -2 log-likelihood flattens on this way, whose end is no covariance of the model.
    """
    newton = covariance.newton
    if not (newton.converged[0] and newton.min_eigenvalue[0] < FLAT):
        return []
    criterion = covariance.criterion
    parts = zip(criterion.terms, criterion.theta_slices, model.order, strict=False)
    names = [
        model.design.random[position].text
        for term, s, position in parts
        if term.matrix(covariance.theta[:1, s]).max(initial=0.0) > _OVER_RESIDUAL
    ]
    if not names:
        return []
    return [
        f"the residual variance goes to 0: {' and '.join(names)} can take up all of the variance "
        "of every row, and -2 log-likelihood is flat along the way there; a structure with fewer "
        "parameters leaves some to the residual"
    ]


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
    model: ReducedModel, record: ResidualRecord | None, limit: float, at_end: bool = False
) -> list[str]:
    """Say where the residual covariance is singular, or has a variance of 0.

    ``limit`` is what counts as 0; ``at_end`` says that the covariance is known to be singular.
    """
    residual = model.design.residual
    if residual is None or record is None or not record.visits:
        return []
    out = []
    for arm, matrix in zip(record.arms, record.covariances, strict=True):
        where = f" of {arm}" if len(record.arms) > 1 else ""
        small = is_zero(matrix, limit)
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


def name_edges(model: ReducedModel, criterion: Criterion, theta: FloatArray) -> list[str]:
    """Say which parameters of the residual's structure are at the end of their range.

    Parameters
    ----------
    theta : shape (1, n_theta)
    """
    residual = model.design.residual
    moved = {
        (arm, name)
        for arm, own in enumerate(residual_stretches(criterion))
        for name in own.structure.at_moving_ends(theta[:, own.theta])
    }
    slices = zip(criterion.terms, criterion.theta_slices, strict=True)
    still = (may_stand_still(structure_of(t), theta[:, s]) for t, s in slices if t.is_residual)
    if residual is None or not (moved or any(still)):
        return []
    found = information_of(model, criterion, theta, (False,) * len(criterion.terms)).parameters
    out, seen = [], Counter[str]()
    # Residuals come last; arms that share a block of the core have one each here.
    for block in found.blocks[sum(not term.is_residual for term in criterion.terms) :]:
        for name, value, fixed in zip(block.names, block.values, block.fixed, strict=True):
            # Arm after arm has the same parameters.
            own = name.rpartition(": ")[2]
            if fixed or (seen[own], own) in moved:
                at = 0 if is_variance(name) else round(value, 6)
                out.append(f"{name} of {residual.text} is {at:g}, an end of its range")
            seen[own] += 1
    return out
