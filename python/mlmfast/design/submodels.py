"""Designs within a design: without a random effect or a term."""

from __future__ import annotations

from dataclasses import replace

from mlmfast.design.design import Design


def without_effect(design: Design, t: int, effect: int) -> Design:
    """The design without one random effect."""
    term = design.random[t]
    left = [j for j in range(len(term.names)) if j != effect]
    if not left:
        return without_term(design, t)
    smaller = replace(
        term,
        names=tuple(term.names[j] for j in left),
        columns=tuple(term.columns[j] for j in left),
        structure=replace(term.structure, size=len(left)),
    )
    return replace(design, random=(*design.random[:t], smaller, *design.random[t + 1 :]))


def without_term(design: Design, t: int) -> Design:
    """The design without one random-effects term."""
    return replace(design, random=design.random[:t] + design.random[t + 1 :])
