"""A design of the rows that stand for those read, and the model that is fitted to it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from mlmfast.arrays import FloatArray
from mlmfast.data.factor import cross_factors
from mlmfast.data.frame import Frame
from mlmfast.degrees_of_freedom import Ddf
from mlmfast.design.checks import check_columns, check_identified
from mlmfast.design.condensed import Condensed, Shifted
from mlmfast.design.design import Design
from mlmfast.design.factors.grouping import GroupingFactor, RandomEffects
from mlmfast.design.model_frame import ModelFrame
from mlmfast.design.random_structure import check_not_residual
from mlmfast.errors import DataError
from mlmfast.handed_out import read_only
from mlmfast.mergeable.coding.plan import Plan
from mlmfast.mergeable.condensed.rows import CondensedRows
from mlmfast.mergeable.condensed.units import CondensedUnits
from mlmfast.mergeable.content import Content
from mlmfast.mergeable.residual import unit_rows
from mlmfast.mergeable.row_facts import row_facts
from mlmfast.newton.options import NewtonOptions
from mlmfast.prepared.fit_model import Wishes, fit_model
from mlmfast.prepared.model import PreparedModel
from mlmfast.result import LMMResult


def fit_content(
    content: Content,
    frame: ModelFrame,
    method: str,
    options: NewtonOptions | Mapping[str, Any] | None,
    ddf: Ddf | None,
    wishes: Wishes,
) -> LMMResult:
    """The fit of a reduction; ``frame`` is its `model_frame`."""
    model = PreparedModel(frame.design, frame)
    fit = fit_model(model, LMMResult, method, options, ddf, wishes)
    fit._row_facts = row_facts(content.plan, content.facts)
    return fit


def model_frame(content: Content) -> ModelFrame:
    """The design of a reduction, as one that was read from a frame.

    Its frame holds examples, not the rows: what reads rows of a fit is refused before it looks.

    Raises
    ------
    DataError, ModelError
        Where no rows are left, or nothing could be estimated from them.
    """
    plan = content.plan
    design = design_of(content)
    matrix = plan.fixed_matrix
    return ModelFrame(
        design,
        matrix.spec,
        tuple(own.spec for own in plan.random_matrices),
        plan.parsed,
        None,
        plan.examples,
        matrix.terms,
        matrix.term_of_column,
        plan.offset is not None,
        plan.weights,
    )


def design_of(content: Content) -> Design:
    """Columns of y, X and Z."""
    plan, rows = content.plan, content.rows
    if content.units is not None:
        return _design_of_units(content, content.units)
    if rows is None:
        raise DataError(
            f"no rows are left: the parts hold none without a missing value ({content.n_dropped} "
            "left out)"
        )
    places = plan.places
    raw, shifted = _columns(rows.values, rows.origin)
    terms = [_of_places(own, raw) for own in places.z]
    factors, positions = _factors(plan, rows)
    random = tuple(
        RandomEffects(position, matrix.names, columns, structure, term.text)
        for term, position, matrix, columns, structure in zip(
            plan.parsed.random, positions, plan.random_matrices, terms, plan.structures, strict=True
        )
    )
    weighted = plan.weights is not None
    design = Design(
        y=raw[places.y],
        x=_of_places(places.x, raw),
        x_names=plan.fixed_matrix.names,
        factors=factors,
        random=random,
        weights=rows.weights,
        response=plan.parsed.response,
        n_dropped=content.n_dropped,
        condensed=Condensed(
            content.n_obs,
            content.log_weights,
            weighted,
            tuple(zip(raw, shifted, strict=True)),
            parts=tuple(content.parts),
            unweighted=_unweighted(plan, content.unweighted),
        ),
    )
    check_columns(design)
    check_identified(design)
    if len(rows.weights) == content.n_obs and not weighted:
        _check_terms(plan, design)
    return design


def _unweighted(plan: Plan, rows: CondensedRows | None) -> tuple[FloatArray, FloatArray] | None:
    """Rows of X with the sums of all rows without their weights."""
    if rows is None:
        return None
    raw, _ = _columns(rows.values, rows.origin)
    ones = np.ones(len(rows.weights))
    own = [ones if column is None else column for column in _of_places(plan.places.x, raw)]
    return np.stack(own, axis=1) if own else np.zeros((len(ones), 0)), rows.weights


def _check_terms(plan: Plan, design: Design) -> None:
    """Refuse terms that are the residual once more; ``design`` has the rows as they were read."""
    for term, matrix, own in zip(
        plan.parsed.random, plan.random_matrices, design.random, strict=True
    ):
        columns = [np.ones(design.n_obs) if c is None else c for c in own.columns]
        rows = replace(matrix, columns=columns)
        check_not_residual(term, rows, design.factors[own.factor].codes)


def _design_of_units(content: Content, units: CondensedUnits) -> Design:
    """Columns of subjects that stand for those read, with their residual covariance."""
    plan, places = content.plan, content.plan.places
    found = unit_rows(plan, units)
    raw, shifted = _columns(found.values, units.origin)
    design = Design(
        y=raw[places.y],
        x=_of_places(places.x, raw),
        x_names=plan.fixed_matrix.names,
        factors=(found.residual.subject,),
        weights=found.weights,
        response=plan.parsed.response,
        residual=found.residual,
        n_dropped=content.n_dropped,
        condensed=Condensed(
            content.n_obs,
            0.0,
            False,
            tuple(zip(raw, shifted, strict=True)),
            found.counts,
            tuple(content.parts),
        ),
    )
    check_columns(design)
    check_identified(design)
    return design


def _columns(values: FloatArray, origins: FloatArray) -> tuple[list[FloatArray], list[Shifted]]:
    """Columns as the data hold them, and less their origins; one array where that is 0."""
    shifted = [
        Shifted(np.ascontiguousarray(column), float(origin))
        for column, origin in zip(values.T, origins, strict=True)
    ]
    # Not to be copied where they are locked: a column is known by its memory.
    raw = [read_only(own.values + own.origin if own.origin else own.values) for own in shifted]
    return raw, shifted


def _of_places(
    places: tuple[int | None, ...], raw: list[FloatArray]
) -> tuple[FloatArray | None, ...]:
    return tuple(None if place is None else raw[place] for place in places)


def _factors(plan: Plan, rows: CondensedRows) -> tuple[tuple[GroupingFactor, ...], list[int]]:
    """Grouping factors, coded by cell."""
    if not plan.grouping:
        return (), []
    cells = Frame.from_native(dict(rows.keys))
    factors: dict[tuple[str, ...], GroupingFactor] = {}
    positions = []
    for term in plan.parsed.random:
        if term.group not in factors:
            own = cross_factors([cells.factor(name) for name in term.group])
            codes = np.repeat(own.codes, rows.sizes)
            factors[term.group] = GroupingFactor(
                ":".join(term.group), codes, own.levels, term.group
            )
        positions.append(list(factors).index(term.group))
    return tuple(factors.values()), positions
