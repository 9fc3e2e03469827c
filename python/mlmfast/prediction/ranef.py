"""Predicted random effects by grouping factor and level."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from mlmfast.arrays import FloatArray
from mlmfast.design.factors.frame_by_group import FrameByGroup
from mlmfast.design.factors.names import ByGroup
from mlmfast.fitted.random_effects import ByLevel, ConditionalEffects
from mlmfast.fitted.record import GroupRecord, TermRecord
from mlmfast.formula.memberships import MEMBERS
from mlmfast.formula.transform_options import labels_in
from mlmfast.prediction.undetermined_blups import told_effects

if TYPE_CHECKING:
    from mlmfast.fitted.fitted import Fitted


class RandomEffects(FrameByGroup):
    """Predicted random effects: from grouping factor to a data frame, a row a level.

    As one data frame it has a row an effect: group, level, term, estimate; methods of pandas are
    those of these rows. Functions that ask for ``len`` or ``in`` take ``to_frame()``.

    Examples
    --------
    >>> import mlmfast as mlm
    >>> fit = mlm.lmm("Reaction ~ Days + (Days | Subject)", mlm.load_sleepstudy())
    >>> fit.ranef["Subject"].loc["308"].round(3).to_dict()
    {'(Intercept)': 2.259, 'Days': 9.199}
    >>> fit.ranef.to_frame().head(2).round(3)
         group level         term  estimate
    0  Subject   308  (Intercept)     2.259
    1  Subject   308         Days     9.199
    """

    def _respelled(self, part: pd.DataFrame, spell: Callable[[str], str]) -> pd.DataFrame:
        return _respelled_rows(part, spell)


def ranef(fit: Fitted) -> RandomEffects:
    """BLUPs by grouping factor: the conditional means E(g | y), one row a level.

    A mapping from grouping factor to a data frame; as a data frame, all below each other.

    Levels of an interaction ``"a:b"`` are labelled ``"a1:b1"``; under lme4's name of it,
    ``ranef["b:a"]``, they are ``"b1:a1"``. NaN is what the data do not tell: an effect that
    hangs on a covariance with effects it never meets in one level, or its share of a sum that
    overlapping terms have together, which `estimate` gives.
    """
    means = {
        group.name: pd.DataFrame(mean, index=pd.Index(labels, name=group.name), columns=names)
        for group, labels, names, mean, _ in map(_of_members, _by_group(fit))
    }
    return RandomEffects(_rows(means), means)


def ranef_cov(fit: Fitted) -> dict[str, ByLevel]:
    """Conditional covariances Var(g | y) by grouping factor and level (lme4's postVar).

    Raises
    ------
    ModelError
        For a fit by the iterative engine, which has the means alone.
    """
    covariances = {
        group.name: ByLevel(labels, names, covariance())
        for group, labels, names, _, covariance in map(_of_members, _by_group(fit))
    }
    return ByGroup(covariances, ByLevel.respelled)


def _rows(means: Mapping[str, pd.DataFrame]) -> pd.DataFrame:
    """A row an effect of a level, factor below factor."""
    parts: dict[str, list[NDArray[Any]]] = {
        "group": [np.empty(0, dtype=object)],
        "level": [np.empty(0, dtype=object)],
        "term": [np.empty(0, dtype=object)],
        "estimate": [np.empty(0)],
    }
    for name, frame in means.items():
        n, q = frame.shape
        parts["group"].append(np.full(n * q, name, dtype=object))
        parts["level"].append(frame.index.to_numpy(dtype=object).repeat(q))
        parts["term"].append(np.tile(frame.columns.to_numpy(dtype=object), n))
        parts["estimate"].append(frame.to_numpy().ravel())
    # Pointers to a text are cheaper than texts of their own, of which a million rows have few.
    columns = {name: np.concatenate(own) for name, own in parts.items()}
    return pd.DataFrame({name: pd.Series(own, dtype=own.dtype) for name, own in columns.items()})


def _by_group(fit: Fitted) -> list[tuple[GroupRecord, list[TermRecord], ConditionalEffects]]:
    record, effects = fit._record, told_effects(fit)
    return [
        (group, record.terms_on(position), effects[position])
        for position, group in enumerate(record.groups)
        if record.terms_on(position)
    ]


def _of_members(
    found: tuple[GroupRecord, list[TermRecord], ConditionalEffects],
) -> tuple[GroupRecord, tuple[str, ...], list[str], FloatArray, Callable[[], FloatArray]]:
    """A factor's labels, names of effects, means, and how to come by their covariances.

    Of a factor of which rows have several levels, whose effects are those of one level here, a row
    a member.
    """
    group, terms, own = found
    if not group.has_all_rows or group.has_curves:
        names = [name for term in terms for name in term.names]
        return group, group.labels, names, own.mean, own.known_covariance
    n = len(terms[0].names)

    def covariance() -> FloatArray:
        whole = own.known_covariance().reshape(len(terms), n, len(terms), n)
        return np.ascontiguousarray(np.einsum("iaja->aij", whole))

    means = own.mean.reshape(len(terms), n).T
    return group, _members(terms[0]), [term.effect for term in terms], means, covariance


def _members(term: TermRecord) -> tuple[str, ...]:
    """The levels of which rows have several."""
    assert term.spec is not None, "they are of a formula"
    states = [s for call, s in term.spec.states.items() if call.startswith(f"{MEMBERS}(")]
    return labels_in(states[0]["levels"])


def _respelled_rows(frame: pd.DataFrame, spell: Callable[[str], str]) -> pd.DataFrame:
    return frame.rename(index=spell).rename_axis(spell(str(frame.index.name)))
