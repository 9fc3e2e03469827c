"""Calls that make a factor: `factor`, `as.factor`, `ordered`, `relevel` and `C`."""

from __future__ import annotations

from dataclasses import replace

from mlmfast.data.factor import Factor, number_label
from mlmfast.design.columns.values import CodedFactor
from mlmfast.errors import DataError, FormulaError
from mlmfast.formula.contrast_calls import Contrast, read_contrast
from mlmfast.formula.deparse import deparse
from mlmfast.formula.functions import FACTOR_OPTIONS, bind, constant, split_call
from mlmfast.formula.syntax import Call, Node
from mlmfast.formula.transform_options import Constant


def factor_argument(node: Call) -> Node:
    """Return what the call makes a factor of."""
    return split_call(_by_one_name(node), FACTOR_OPTIONS[node.function])[0]


def apply_factor_call(node: Call, given: CodedFactor) -> CodedFactor:
    """Carry out the call on its argument, already a factor."""
    if node.function == "C":
        _, written = split_call(_by_one_name(node), FACTOR_OPTIONS["C"])
        contrast = read_contrast(written["contr"]) if "contr" in written else given.contrast
        levels = constant(written["levels"], node) if "levels" in written else None
        if not isinstance(levels, tuple | None):
            raise FormulaError(
                f"{deparse(node)}: C takes (x, contr, levels), and levels is a list such as "
                "['a', 'b']"
            )
        coded = given.factor if levels is None else _with_levels(given.factor, levels, node)
        return CodedFactor(coded, contrast)
    _, options = bind(node, FACTOR_OPTIONS[node.function])
    factor = given.factor
    if node.function == "relevel":
        factor = _with_reference(factor, options.get("ref"), node)
    if options.get("levels") is not None:
        factor = _with_levels(factor, options["levels"], node)
    contrast = Contrast("contr.poly") if node.function == "ordered" else given.contrast
    return CodedFactor(factor, contrast)


def _by_one_name(node: Call) -> Call:
    """The call with R's name of the contrast, which patsy and formulaic call otherwise."""
    names = {"contrast": "contr", "contrasts": "contr"} if node.function == "C" else {}
    keywords = tuple((names.get(name, name), value) for name, value in node.keywords)
    return replace(node, keywords=keywords)


def _with_reference(factor: Factor, reference: Constant, node: Call) -> Factor:
    level = level_label(reference)
    if level not in factor.levels:
        known = ", ".join(factor.levels[:20])
        raise FormulaError(f"{deparse(node)}: {level!r} is not a level; known are {known}")
    return _reorder(factor, (level, *(name for name in factor.levels if name != level)))


def _with_levels(factor: Factor, levels: Constant, node: Call) -> Factor:
    labels = tuple(
        level_label(level) for level in (levels if isinstance(levels, tuple) else (levels,))
    )
    twice = [label for k, label in enumerate(labels) if label in labels[:k]]
    if twice:
        raise FormulaError(f"{deparse(node)}: the level {twice[0]!r} is written twice")
    absent = [level for level in factor.levels if level not in labels]
    if absent:
        raise DataError(
            f"{deparse(node)}: the data also have the level {absent[0]!r}; add it (levels of the "
            f"data: {', '.join(factor.levels[:20])}{' ...' if len(factor.levels) > 20 else ''})"
        )
    ordered = _reorder(factor, tuple(label for label in labels if label in factor.levels))
    return replace(ordered, declared=labels)


def level_label(level: Constant) -> str:
    """A constant of a formula as the label of a level."""
    if isinstance(level, bool):
        return "TRUE" if level else "FALSE"
    return number_label(level) if isinstance(level, float) else str(level)


def _reorder(factor: Factor, levels: tuple[str, ...]) -> Factor:
    codes, _ = factor.recode(levels)
    order = [factor.levels.index(level) for level in levels]
    return Factor(codes, levels, factor.values[order])
