"""A model's arrays -> mlmfast's design."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from mlmfast.arrays import FloatArray, IntArray
from mlmfast.covariance import STRUCTURES
from mlmfast.design.checks import check_identified
from mlmfast.design.design import Design
from mlmfast.design.factors.grouping import GroupingFactor, RandomEffects
from mlmfast.design.from_arrays import columns_of
from mlmfast.statsmodels.model.arrays import ModelArrays
from mlmfast.statsmodels.model.components import terms_of


def design_of(model: ModelArrays, blocks: Sequence[IntArray] | None) -> Design:
    """The design of a model, whose random effects are correlated within ``blocks`` alone."""
    names = _distinct(model.exog_names)
    groups = GroupingFactor("groups", model._groups.codes, tuple(map(str, model.group_labels)))
    effects = _effects(model, blocks)
    factors, components = terms_of(model._components, groups, 1)
    used = [groups, *factors]
    terms = [*effects, *components]
    met = sorted({term.factor for term in terms})
    design = Design(
        y=np.ascontiguousarray(model.endog),
        x=columns_of(_by_columns(model.exog)),
        x_names=names,
        factors=tuple(used[k] for k in met),
        random=tuple(_moved(term, met.index(term.factor)) for term in terms),
        response=model.endog_names,
    )
    check_identified(_checked(design))
    return design


def _checked(design: Design) -> Design:
    """The design without what its check does not know: several columns of one variance."""
    kept = tuple(term for term in design.random if term.structure.keyword != "homdiag")
    return Design(design.y, design.x, design.x_names, design.factors, kept)


def _by_columns(matrix: FloatArray) -> FloatArray:
    contiguous = matrix.flags.c_contiguous or matrix.flags.f_contiguous
    return matrix if contiguous else np.asfortranarray(matrix)


def _effects(model: ModelArrays, blocks: Sequence[IntArray] | None) -> list[RandomEffects]:
    if model.exog_re is None:
        return []
    columns = columns_of(_by_columns(model.exog_re))
    names = _distinct(
        [
            "Intercept" if column is None else name
            for column, name in zip(columns, model.data.exog_re_names, strict=True)
        ]
    )
    out = []
    for block in [np.arange(model.k_re)] if blocks is None else blocks:
        structure = STRUCTURES["us"](len(block))
        own = tuple(names[k] for k in block)
        text = f"({' + '.join(own)} | groups)"
        out.append(RandomEffects(0, own, tuple(columns[k] for k in block), structure, text))
    return out


def _distinct(names: Sequence[str]) -> tuple[str, ...]:
    """The names, numbered where two are the same."""
    if len(set(names)) == len(names):
        return tuple(names)
    return tuple(f"{name} ({k + 1})" for k, name in enumerate(names))


def _moved(term: RandomEffects, factor: int) -> RandomEffects:
    return RandomEffects(factor, term.names, term.columns, term.structure, term.text)
