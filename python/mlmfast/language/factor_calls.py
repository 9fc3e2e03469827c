"""Calls that make a factor: `factor`, `as.factor`, `ordered`, `relevel` and `C`."""

from __future__ import annotations

from mlmfast.errors import DataError, FormulaError
from mlmfast.factor import Factor, number_label
from mlmfast.language.contrasts import Contrast, read_contrast
from mlmfast.language.deparse import deparse
from mlmfast.language.functions import FACTOR_OPTIONS, bind, split_call
from mlmfast.language.syntax import Call, Node
from mlmfast.language.transform_options import Constant
from mlmfast.language.values import CodedFactor


def factor_argument(node: Call) -> Node:
    """Return what the call makes a factor of."""
    return split_call(node, FACTOR_OPTIONS[node.function])[0]


def apply_factor_call(node: Call, given: CodedFactor) -> CodedFactor:
    """Carry out the call on its argument, already a factor."""
    if node.function == "C":
        _, written = split_call(node, FACTOR_OPTIONS["C"])
        contrast = read_contrast(written["contr"]) if "contr" in written else given.contrast
        return CodedFactor(given.factor, contrast)
    _, options = bind(node, FACTOR_OPTIONS[node.function])
    factor = given.factor
    if node.function == "relevel":
        factor = _with_reference(factor, options.get("ref"), node)
    if options.get("levels") is not None:
        factor = _with_levels(factor, options["levels"], node)
    contrast = Contrast("contr.poly") if node.function == "ordered" else given.contrast
    return CodedFactor(factor, contrast)


def _with_reference(factor: Factor, reference: Constant, node: Call) -> Factor:
    level = _label(reference)
    if level not in factor.levels:
        known = ", ".join(factor.levels[:20])
        raise FormulaError(f"{deparse(node)}: {level!r} is not a level; known are {known}")
    return _reorder(factor, (level, *(name for name in factor.levels if name != level)))


def _with_levels(factor: Factor, levels: Constant, node: Call) -> Factor:
    labels = tuple(_label(level) for level in (levels if isinstance(levels, tuple) else (levels,)))
    absent = [level for level in factor.levels if level not in labels]
    if absent:
        raise DataError(f"{deparse(node)}: the data also have the level {absent[0]!r}; add it")
    return _reorder(factor, tuple(label for label in labels if label in factor.levels))


def _label(level: Constant) -> str:
    return number_label(level) if isinstance(level, float) else str(level)


def _reorder(factor: Factor, levels: tuple[str, ...]) -> Factor:
    codes, _ = factor.recode(levels)
    order = [factor.levels.index(level) for level in levels]
    return Factor(codes, levels, factor.values[order])
