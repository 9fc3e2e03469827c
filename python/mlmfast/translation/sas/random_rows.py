"""Random effects of an ESTIMATE, after the bar, as weights by group and level."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from mlmfast.errors import ModelError
from mlmfast.translation.sas.rows import Cells
from mlmfast.translation.sas.statements.effects import Effect

if TYPE_CHECKING:
    from mlmfast.result import LMMResult


def random_weights(
    fit: LMMResult,
    given: Sequence[tuple[Effect, tuple[float, ...]]],
    random: Sequence[Effect],
    classes: Mapping[str, Sequence[str]],
    divisor: float,
) -> dict[str, dict[str, float]] | None:
    """Weights as ``estimate(random=)`` takes them; None where nothing stands after the bar.

    Parameters
    ----------
    random
        Effects of RANDOM statements that have no SUBJECT=.
    """
    if not given:
        return None
    source = fit._needs_source("an ESTIMATE with random effects")
    assert source.frame is not None
    out: dict[str, dict[str, float]] = {}
    for effect, values in given:
        names = frozenset(effect.names)
        if not names or all(frozenset(own.names) != names for own in random):
            raise ModelError(
                f"the random effect {effect} stands in no RANDOM statement without SUBJECT=; see "
                "fit.estimate(row, random={group: {level: weight}})"
            )
        cells = Cells(effect, classes, source.frame.frame)
        factor = next(f for f in source.design.factors if frozenset(f.columns) == names)
        order = [cells.factors.index(name) for name in factor.columns]
        own = zip(cells.labels, values, strict=False)
        weights = {":".join(label[k] for k in order): v / divisor for label, v in own if v}
        out[factor.name] = weights
    return out
