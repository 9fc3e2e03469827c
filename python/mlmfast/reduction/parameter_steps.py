"""Models whose covariances are iterated in the very parameters that are held or profiled."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from mlmfast.covariance import CovarianceStructure

if TYPE_CHECKING:
    from mlmfast.reduction.reduced_model import ReducedModel


def in_parameters(model: ReducedModel) -> ReducedModel:
    """The same reduction, steps of random effects being those of their parameters.

    Steps of `fa0` with as many factors as levels are otherwise those of `us`, in which a loading
    that is held has no derivative at the singular covariances where others are 0.
    """
    blocks = tuple(
        replace(block, structure=block.structure.by_parameters())
        if isinstance(block.structure, CovarianceStructure)
        else block
        for block in model.blocks
    )
    same = all(new == old for new, old in zip(blocks, model.blocks, strict=True))
    return model if same else replace(model, blocks=blocks)
