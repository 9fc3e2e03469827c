"""Indicators of some levels of a factor: lme4's `dummy(f, "level")`."""

from __future__ import annotations

import numpy as np

from mlmfast.data.factor import Factor
from mlmfast.design.columns.factor_calls import level_label
from mlmfast.design.columns.model_columns import indicators
from mlmfast.design.columns.values import Basis
from mlmfast.errors import DataError, FormulaError
from mlmfast.formula.deparse import deparse
from mlmfast.formula.syntax import Call
from mlmfast.formula.transform_options import Constant, Options, State, labels_in


def dummy_columns(node: Call, factor: Factor, options: Options, state: State) -> Basis:
    """A column of 0 and 1 for each level kept: those named, or all but the first.

    The state holds the levels of the rows of the fit, so that other rows may lack some.

    Raises
    ------
    DataError
        For a level that the rows of the fit do not have, and no level to keep.
    """
    if "kept" not in state:
        state["kept"] = list(_kept(node, factor, options.get("levelsToKeep")))
        state["levels"] = list(factor.levels)
    kept, levels = labels_in(state["kept"]), labels_in(state["levels"])
    codes, unknown = factor.recode(levels)
    if unknown:
        raise DataError(
            f"{deparse(node)}: the level {unknown[0]!r} is not one of the data of the fit; known "
            f"are {', '.join(levels[:20])}"
        )
    known = Factor(codes, levels, np.array(levels, dtype=object))
    columns = indicators(known, [levels.index(level) for level in kept])
    # lme4 names a single column by the call alone.
    labels = kept if len(kept) > 1 else ("",)
    return Basis(np.stack(columns, axis=1), tuple(deparse(node) + label for label in labels))


def _kept(node: Call, factor: Factor, given: Constant) -> tuple[str, ...]:
    if given is None:
        if len(factor.levels) < 2:
            raise DataError(
                f"{deparse(node)}: the factor has one level, and all but the first would be kept"
            )
        return factor.levels[1:]
    wanted = tuple(map(level_label, given if isinstance(given, tuple) else (given,)))
    if not wanted or len(set(wanted)) < len(wanted):
        raise FormulaError(f"{deparse(node)}: name one or more levels, each once")
    absent = next((level for level in wanted if level not in factor.levels), None)
    if absent is not None:
        raise DataError(
            f"{deparse(node)}: {absent!r} is not a level; known are {', '.join(factor.levels[:20])}"
        )
    return wanted
