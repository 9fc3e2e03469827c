"""The record of a fit, from the reduced design and what came of the iteration."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from mlmfast.arrays import FloatArray
from mlmfast.design.design import Design
from mlmfast.design.factors.grouping import GroupingFactor
from mlmfast.design.model_frame import ModelFrame
from mlmfast.fitted.absorbed.estimates import absorbed_record
from mlmfast.fitted.certificates.boundary_messages import (
    name_boundary,
    name_negative,
    name_residual_boundary,
)
from mlmfast.fitted.certificates.certificate import Certificate
from mlmfast.fitted.certificates.monte_carlo import monte_carlo_error
from mlmfast.fitted.estimates import Estimates, estimates_of
from mlmfast.fitted.record import FitRecord, GroupRecord, TermRecord
from mlmfast.fitted.residual.record import residual_record, scale_record
from mlmfast.fitted.residual.untold import with_untold_visits
from mlmfast.fitted.residual.zero_variances import with_zero_variances
from mlmfast.fitted.untold import with_untold
from mlmfast.fitting.covariance_fit import CovarianceFit
from mlmfast.information.undetermined import n_determined, undetermined_of
from mlmfast.reduction.reduced_model import ReducedModel


def make_record(
    reduced: ReducedModel,
    frame: ModelFrame | None,
    method: str,
    covariance: CovarianceFit,
    estimates: Estimates,
    ddf: str,
    held: Sequence[str] = (),
) -> FitRecord:
    """What is kept of the first fit.

    Parameters
    ----------
    reduced, frame
        The design reduced, and how it was read; None where it was made from arrays.
    method, ddf
        As the user chose them.
    covariance, estimates
        What came of the iteration.
    held
        Names of covariance parameters that were held.
    """
    design = reduced.design
    singular = dict(zip(reduced.order, covariance.singular[0], strict=False))
    natural = term_parameters(reduced, covariance, estimates)
    open_ended = undetermined_of(reduced, covariance, held)
    groups, terms = _groups_and_terms(design, frame, estimates, singular, natural)
    terms = with_untold(terms, groups, open_ended, reduced, covariance, held)
    newton, elsewhere = covariance.newton, covariance.n_elsewhere
    residual = residual_record(reduced, covariance.criterion, covariance.theta)
    residual = with_untold_visits(residual, open_ended, reduced, covariance, held)
    residual = with_zero_variances(residual, reduced, covariance)
    certificate = Certificate(
        newton_decrement=float(newton.decrement[0]),
        min_hessian_eigenvalue=float(newton.min_eigenvalue[0]),
        boundary=(
            *name_boundary(groups, terms, open_ended),
            *name_residual_boundary(reduced, covariance, residual, open_ended),
        ),
        n_evaluations=int(covariance.n_evaluations[0]),
        n_iterations=int(newton.n_iterations[0]),
        engine=reduced.engine_name,
        n_elsewhere=0 if elsewhere is None else int(elsewhere[0]),
        negative=name_negative(groups, terms),
        unsearched=0 in covariance.unsearched,
    )
    return FitRecord(
        formula=None if frame is None else frame.formula.text,
        method=method,
        response=design.response,
        offsets=() if frame is None else frame.formula.offsets,
        weighted=design.is_weighted,
        offset_given=frame is not None and frame.offset_given,
        n_obs=design.n_observations,
        n_dropped=design.n_dropped,
        x_names=design.x_names,
        terms_of_x=((), ()) if frame is None else (frame.terms, frame.term_of_column),
        kept=tuple(int(j) for j in reduced.kept),
        beta=estimates.beta[0],
        vcov=estimates.vcov[0],
        sigma2=float(estimates.sigma2[0]),
        residual=residual,
        deviance=float(estimates.deviance[0]),
        n_theta=n_determined(covariance, open_ended),
        groups=groups,
        terms=terms,
        levels=reduced.levels or tuple(range(len(design.factors))),
        certificate=certificate,
        converged=bool(newton.converged[0]) and certificate.is_minimum,
        ddf=ddf,
        fixed_spec=None if frame is None else frame.fixed,
        monte_carlo=monte_carlo_error(reduced, covariance.criterion, covariance.theta),
        residual_scale=scale_record(reduced, covariance.criterion, covariance.theta),
        undetermined=open_ended,
        absorbed=absorbed_record(reduced, covariance.criterion, covariance.theta, estimates),
        notices=() if frame is None else frame.notices,
    )


@dataclass(frozen=True)
class LaterRecord:
    """The record of a fit of which nothing has to be told, made when something asks for it.

    Attributes
    ----------
    reduced, frame, method, ddf
        As of `make_record`.
    found
        What came of the iteration.
    """

    reduced: ReducedModel
    frame: ModelFrame | None
    method: str
    found: CovarianceFit
    ddf: str

    def __call__(self) -> FitRecord:
        """Make it."""
        reduced, found = self.reduced, self.found
        estimates = estimates_of(reduced, found.criterion, found.theta)
        return make_record(reduced, self.frame, self.method, found, estimates, self.ddf)


def term_parameters(
    model: ReducedModel, covariance: CovarianceFit, estimates: Estimates
) -> list[tuple[tuple[str, ...], FloatArray]]:
    """Names and estimates of the natural parameters of each term of the first fit.

    Terms in the order of the design; none for `us` and `diag`, whose parameters are the elements
    of G.
    """
    nothing: tuple[tuple[str, ...], FloatArray] = ((), np.empty(0))
    out = [nothing] * len(model.order)
    criterion = covariance.criterion
    unit = estimates.sigma2[0] if model.profiled else model.response_unit
    for position, term in enumerate(model.order):
        block, own = criterion.terms[position], criterion.theta_slices[position]
        structure = block.shared
        if model.design.random[term].structure.named_by_effects:
            continue
        # One scale for all columns, or a diagonal that the structure keeps under.
        factor = np.diag(model.effects_map(position))[None] * np.sqrt(unit)
        if not model.design.random[term].structure.scales:
            factor = factor[:, :1]
        theta = structure.scaled(covariance.theta[:1, own], factor)
        natural = structure.natural(theta)[0]
        undetermined = (structure.matrix(theta) == 0.0).all()
        if undetermined:
            natural = np.where(natural == 0.0, 0.0, np.nan)
        out[term] = (structure.parameter_names, natural)
    return out


def _group(factor: GroupingFactor) -> GroupRecord:
    """A grouping factor with the levels that its relationship matrix adds."""
    related = factor.relationship
    if related is None:
        return GroupRecord(factor.name, factor.columns, factor.labels)
    labels = (*factor.labels, *related.extra)
    return GroupRecord(factor.name, factor.columns, labels, True, len(related.extra))


def _groups_and_terms(
    design: Design,
    frame: ModelFrame | None,
    estimates: Estimates,
    singular: Mapping[int, Any],
    natural: Sequence[tuple[tuple[str, ...], FloatArray]],
) -> tuple[tuple[GroupRecord, ...], tuple[TermRecord, ...]]:
    groups = tuple(map(_group, design.factors))
    terms = tuple(
        TermRecord(
            group=term.factor,
            names=term.names,
            structure=term.structure.keyword,
            text=term.text,
            covariance=estimates.covariances[t][0],
            singular=bool(singular[t]),
            spec=None if frame is None else frame.random[t],
            parameter_names=natural[t][0],
            parameters=natural[t][1],
            bounded=term.bounded,
        )
        for t, term in enumerate(design.random)
    )
    return groups, terms
