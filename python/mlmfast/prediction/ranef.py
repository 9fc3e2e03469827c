"""Predicted random effects by grouping factor and level."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import pandas as pd

from mlmfast.design.factors.names import ByGroup
from mlmfast.fitted.random_effects import ByLevel, ConditionalEffects
from mlmfast.fitted.record import GroupRecord
from mlmfast.prediction.undetermined_blups import told_effects

if TYPE_CHECKING:
    from mlmfast.fitted.fitted import Fitted


def ranef(fit: Fitted) -> dict[str, pd.DataFrame]:
    """BLUPs by grouping factor: the conditional means E(g | y), one row a level.

    Levels of an interaction ``"a:b"`` are labelled ``"a1:b1"``; under lme4's name of it,
    ``ranef["b:a"]``, they are ``"b1:a1"``. NaN is what the data do not tell: an effect that
    hangs on a covariance with effects it never meets in one level, or its share of a sum that
    overlapping terms have together, which `estimate` gives.
    """
    means = {
        group.name: pd.DataFrame(
            own.mean, index=pd.Index(group.labels, name=group.name), columns=names
        )
        for group, names, own in _by_group(fit)
    }
    return ByGroup(means, _respelled_rows)


def ranef_cov(fit: Fitted) -> dict[str, ByLevel]:
    """Conditional covariances Var(g | y) by grouping factor and level (lme4's postVar).

    Raises
    ------
    ModelError
        For a fit by the iterative engine, which has the means alone.
    """
    covariances = {
        group.name: ByLevel(group.labels, names, own.known_covariance())
        for group, names, own in _by_group(fit)
    }
    return ByGroup(covariances, ByLevel.respelled)


def _by_group(fit: Fitted) -> list[tuple[GroupRecord, list[str], ConditionalEffects]]:
    record, effects = fit._record, told_effects(fit)
    return [
        (
            group,
            [name for term in record.terms_on(position) for name in term.names],
            effects[position],
        )
        for position, group in enumerate(record.groups)
        if record.terms_on(position)
    ]


def _respelled_rows(frame: pd.DataFrame, spell: Callable[[str], str]) -> pd.DataFrame:
    return frame.rename(index=spell).rename_axis(spell(str(frame.index.name)))
