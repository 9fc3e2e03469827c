"""Columns of a multiple-membership factor: the weight of each level in each row."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from mlmfast.arrays import FloatArray
from mlmfast.data.factor import Factor
from mlmfast.design.columns.values import Basis
from mlmfast.errors import DataError
from mlmfast.formula.memberships import Members
from mlmfast.formula.transform_options import State, labels_in
from mlmfast.running.memory import check_memory


def member_columns(
    members: Members,
    factors: Sequence[Factor],
    weights: Sequence[FloatArray] | None,
    state: State,
) -> Basis:
    """A column a level: the sum of the weights with which a row has it.

    The state holds the levels of the rows of the fit, those of any of the columns.

    Raises
    ------
    DataError
        Where there is one level, a weight that is not finite, or a level that the fit did not see.
    MemoryError
        Where no memory would hold the columns.
    """
    if not state:
        state["levels"] = _levels(members, factors)
    levels = labels_in(state["levels"])
    n = len(factors[0].codes)
    check_memory(
        24.0 * n * len(levels),
        f"{members.name}, whose {len(levels):,} levels are a column each over {n:,} rows,",
        "leave levels with few rows out, or take one of the columns as a grouping factor",
    )
    out = np.zeros((n, len(levels)), order="F")
    rows = np.arange(n)
    for k, factor in enumerate(factors):
        codes, unknown = factor.recode(levels)
        if unknown:
            raise DataError(
                f"{members.name} has new levels, which the fit did not see: "
                f"{', '.join(map(repr, unknown[:5]))}; new_levels= is not for members: name a "
                "level of the fit with a weight of 0 for an effect of 0, or use ranef=False "
                "(with interval='prediction', which is for members not seen anyway, name another "
                "level of the fit in each place: all have the same variance)"
            )
        weight = np.full(n, 1.0 / len(factors)) if weights is None else weights[k]
        if not np.isfinite(weight).all():
            raise DataError(f"{members.name}: a weight is missing or infinite; leave such rows out")
        # A row has one level of each column, so that no place is met twice.
        out[rows, codes] += weight
    return Basis(out, levels)


def _levels(members: Members, factors: Sequence[Factor]) -> list[str]:
    """Levels of all columns, numbers in their order, else as the columns list them."""
    labels = list(dict.fromkeys(label for factor in factors for label in factor.levels))
    if len(labels) < 2:
        raise DataError(f"{members.name} has 1 level ({labels[0]!r}); a random effect needs 2")
    if all(factor.is_numeric for factor in factors):
        return sorted(labels, key=float)
    declared = any(factor.declared is not None for factor in factors)
    return labels if declared else sorted(labels)
