"""Smooth terms of a formula as random-effects terms, one a curve."""

from __future__ import annotations

from dataclasses import replace

from mlmfast.data.frame import Frame
from mlmfast.design.columns.expressions import States, evaluate
from mlmfast.design.factors.grouping import ALL_ROWS
from mlmfast.design.smooths.columns import smooth_levels
from mlmfast.errors import FormulaError
from mlmfast.formula.deparse import deparse
from mlmfast.formula.mixed_formula import MixedFormula, RandomTerm
from mlmfast.formula.smooth_terms import SmoothTerm


def with_smooths(parsed: MixedFormula, frame: Frame) -> tuple[MixedFormula, States]:
    """The formula with a random term for each curve, and what the smooths remember of the rows.

    Raises
    ------
    FormulaError
        Where curves cannot be told apart.
    """
    if not parsed.smooths:
        return parsed, {}
    if any(term.group == (ALL_ROWS,) for term in parsed.random):
        raise FormulaError(
            f"the grouping factor {ALL_ROWS!r} has the name that smooths use; rename the column"
        )
    states: States = {}
    for smooth in parsed.smooths:
        evaluate(smooth.call, frame, states)
    return with_curves(parsed, states), states


def with_curves(parsed: MixedFormula, states: States) -> MixedFormula:
    """The formula with a random term for each curve, by what the smooths remember of the rows.

    Raises
    ------
    FormulaError
        Where curves cannot be told apart.
    """
    terms = [
        _curve(smooth, level)
        for smooth in parsed.smooths
        for level in smooth_levels(states[smooth.text])
    ]
    _check_apart(parsed.smooths, states)
    return replace(parsed, random=(*parsed.random, *terms))


def _curve(smooth: SmoothTerm, level: str | None) -> RandomTerm:
    expression = f"0 + {deparse(smooth.part(level))}"
    return RandomTerm("homdiag", expression, (), smooth.name(level), shared=ALL_ROWS)


def _check_apart(smooths: tuple[SmoothTerm, ...], states: States) -> None:
    """Refuse a curve beside curves of the same variable in each level of a factor."""
    alone = {deparse(smooth.variable) for smooth in smooths if smooth.by is None}
    for smooth in smooths:
        if "levels" in states[smooth.text] and deparse(smooth.variable) in alone:
            raise FormulaError(
                f"{smooth.label} has a curve for each level, which s({deparse(smooth.variable)}) "
                "cannot be told from; leave one of them out"
            )
