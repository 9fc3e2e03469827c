"""The cores that designs are reduced to, and what is asked of them.

What not every engine answers is asked for by its name, `Engine.offers`.
"""

from __future__ import annotations

from typing import TypeAlias

import mlmfast._core as _core
from mlmfast.reduction.absorbed.core import AbsorbedCore
from mlmfast.reduction.parts.core import PartedCore

#: What a design, or a batch of designs, is reduced to.
Core: TypeAlias = _core.Engine | AbsorbedCore | PartedCore


def engine_offering(core: Core, name: str) -> _core.Engine:
    """The engine of a model that is known to have one with this method."""
    assert not isinstance(core, AbsorbedCore), "an absorbed factor has its own ways"
    assert core.offers(name), "the caller has looked"
    # What sums over parts answers as an engine does.
    return core  # type: ignore[return-value]


def iterative_core(core: Core) -> _core.IterativeReduction | None:
    """The core, where it is the iterative engine's, which estimates derivatives by probes."""
    return core if isinstance(core, _core.IterativeReduction) else None


def nested_core(core: Core) -> _core.NestedReduction | None:
    """The core, where it is the nested engine's, whose clusters are the outermost levels."""
    return core if isinstance(core, _core.NestedReduction) else None


def stepping_core(core: Core) -> _core.NestedReduction | _core.NestedBatch | None:
    """The core, where it takes steps of an iteration by itself."""
    return core if isinstance(core, _core.NestedReduction | _core.NestedBatch) else None


def is_through_v(core: Core) -> bool:
    """Whether the engine factors V itself, and inverts no R."""
    return isinstance(core, _core.DenseReduction)


def absorbed_core(core: Core) -> AbsorbedCore:
    """The core of a model with an absorbed factor."""
    assert isinstance(core, AbsorbedCore), "the caller has looked"
    return core


def has_exact_information(core: Core) -> bool:
    """Whether the expected information is exact; else it is of differences of first derivatives."""
    return not isinstance(core, AbsorbedCore) or core.is_exact


def for_method(core: Core, reml: bool) -> Core:
    """The core as it serves REML or ML."""
    return core.for_method(reml) if isinstance(core, AbsorbedCore) else core
