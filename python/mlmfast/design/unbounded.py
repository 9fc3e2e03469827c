"""Designs with random effects whose variances may be negative (NOBOUND of PROC MIXED)."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace

from mlmfast.design.design import Design
from mlmfast.design.model_frame import ModelFrame
from mlmfast.errors import ModelError


def without_bounds(design: Design, terms: Collection[int] | None = None) -> Design:
    """The design with the covariances of some terms (all by default) unbounded.

    Raises
    ------
    ModelError
        Where the structure of one has correlations of its own, which no negative variance goes
        with.
    """
    if design.absorbed is not None:
        raise ModelError(
            f"bounded=False goes with all columns of X, and the fixed factor "
            f"{design.absorbed.name!r} was eliminated; leave absorb=True out"
        )
    chosen = range(len(design.random)) if terms is None else terms
    random = tuple(
        replace(term, bounded=False) if t in chosen else term
        for t, term in enumerate(design.random)
    )
    for term in random:
        if not term.bounded:
            term.structure.opened()
    return replace(design, random=random)


def frame_without_bounds(
    frame: ModelFrame | None, terms: Collection[int] | None = None
) -> ModelFrame | None:
    """How a design was read, with the covariances of some terms unbounded."""
    return None if frame is None else replace(frame, design=without_bounds(frame.design, terms))
