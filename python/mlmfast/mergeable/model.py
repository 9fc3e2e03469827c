"""A design of the rows that stand for those read, and the model that is fitted to it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from mlmfast.arrays import CodeArray, FloatArray
from mlmfast.data.factor import Factor, cross_factors, translate_codes
from mlmfast.data.frame import Frame
from mlmfast.degrees_of_freedom import Ddf
from mlmfast.design.checks import check_columns, check_identified
from mlmfast.design.condensed import Condensed, Shifted
from mlmfast.design.design import Design
from mlmfast.design.factors.grouping import EVERY_ROW, GroupingFactor, RandomEffects
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
    return frame_of_design(design_of(content), content.plan)


def frame_of_design(design: Design, plan: Plan) -> ModelFrame:
    """A design of rows that were coded by a plan, as one that was read from a frame."""
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
    base, raw = condensed_design(content)
    assert rows is not None, "there are rows"
    terms = [columns_of_places(own, raw) for own in plan.places.z]
    factors, positions = _factors(plan, rows, content.orders)
    random = tuple(
        RandomEffects(position, matrix.names, columns, structure, term.text)
        for term, position, matrix, columns, structure in zip(
            plan.parsed.random, positions, plan.random_matrices, terms, plan.structures, strict=True
        )
    )
    design = replace(base, factors=factors, random=random)
    check_columns(design)
    check_identified(design)
    if len(rows.weights) == content.n_obs and plan.weights is None:
        _check_terms(plan, design)
    return design


def condensed_design(content: Content) -> tuple[Design, list[FloatArray]]:
    """Columns of y and X of the rows that stand for those read, and all that are kept.

    Raises
    ------
    DataError
        Where no rows are left.
    """
    plan, rows = content.plan, content.rows
    if rows is None:
        raise DataError(
            f"no rows are left: the parts hold none without a missing value ({content.n_dropped} "
            "left out)"
        )
    raw, shifted = _columns(rows.values, rows.origin)
    design = Design(
        y=raw[plan.places.y],
        x=columns_of_places(plan.places.x, raw),
        x_names=plan.fixed_matrix.names,
        weights=rows.weights,
        response=plan.parsed.response,
        n_dropped=content.n_dropped,
        condensed=Condensed(
            content.n_obs,
            content.log_weights,
            plan.weights is not None,
            tuple(zip(raw, shifted, strict=True)),
            parts=tuple(content.parts),
            unweighted=_unweighted(plan, content.unweighted),
        ),
    )
    return design, raw


def _unweighted(plan: Plan, rows: CondensedRows | None) -> tuple[FloatArray, FloatArray] | None:
    """Rows of X with the sums of all rows without their weights."""
    if rows is None:
        return None
    raw, _ = _columns(rows.values, rows.origin)
    ones = np.ones(len(rows.weights))
    own = [ones if column is None else column for column in columns_of_places(plan.places.x, raw)]
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
        x=columns_of_places(places.x, raw),
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


def columns_of_places(
    places: tuple[int | None, ...], raw: list[FloatArray]
) -> tuple[FloatArray | None, ...]:
    """Columns of a design among those that are kept; None for a constant 1."""
    return tuple(None if place is None else raw[place] for place in places)


def _in_order(factor: Factor, order: Sequence[str] | None) -> Factor:
    """A factor with its levels as an order has them, where that has them all.

    Examples
    --------
    >>> factor = Factor(np.int32([0, 1]), ("a", "b"), np.array(["a", "b"]))
    >>> _in_order(factor, ("c", "b", "a")).codes.tolist()
    [1, 0]
    """
    known = set() if order is None else set(order)
    if order is None or not known.issuperset(factor.levels):
        return factor
    place = {label: k for k, label in enumerate(factor.levels)}
    chosen = np.array([place[label] for label in order if label in place], dtype=np.intp)
    new = np.empty(len(chosen), dtype=np.int32)
    new[chosen] = np.arange(len(chosen), dtype=np.int32)
    levels = tuple(factor.levels[k] for k in chosen.tolist())
    return Factor(translate_codes(factor.codes, new), levels, factor.values[chosen])


def _factors(
    plan: Plan, rows: CondensedRows, orders: Mapping[str, tuple[str, ...]]
) -> tuple[tuple[GroupingFactor, ...], list[int]]:
    """Grouping factors, coded by cell, their levels in the order that was given or declared."""
    cells = Frame.from_native(dict(rows.keys)) if plan.grouping else None
    factors: dict[tuple[str, ...], GroupingFactor] = {}
    positions = []
    for term in plan.parsed.random:
        key = term.group or (term.shared,)
        if key not in factors:
            codes: CodeArray = np.zeros(len(rows.weights), dtype=np.int32)
            labels: tuple[str, ...] = (EVERY_ROW,)
            if cells is not None and term.group:
                given = {**orders, **{n: own.labels for n, own in plan.levels.items()}}
                own = cross_factors([_in_order(cells.factor(n), given.get(n)) for n in term.group])
                codes, labels = np.repeat(own.codes, rows.sizes), own.levels
            factors[key] = GroupingFactor(":".join(key), codes, labels, term.group)
        positions.append(list(factors).index(key))
    return tuple(factors.values()), positions
