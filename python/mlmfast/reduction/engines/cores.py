"""The cores that designs are reduced to, and what each offers."""

from __future__ import annotations

from typing import TypeAlias

import mlmfast._core as _core
from mlmfast.reduction.absorbed.core import AbsorbedCore
from mlmfast.reduction.residual.form_parameters import MomentCore

#: What one design is reduced to.
Core: TypeAlias = (
    _core.NestedReduction
    | _core.CrossedReduction
    | _core.IterativeReduction
    | _core.DenseReduction
    | AbsorbedCore
)
#: What a criterion is evaluated by.
AnyCore: TypeAlias = Core | _core.NestedBatch
#: Those whose derivatives are exact, or differences of exact ones; the iterative one estimates.
ExactCore: TypeAlias = (
    _core.NestedReduction | _core.CrossedReduction | _core.DenseReduction | AbsorbedCore
)


def iterative_core(core: AnyCore) -> _core.IterativeReduction | None:
    """The core, where it is the iterative engine's, which estimates derivatives by probes."""
    return core if isinstance(core, _core.IterativeReduction) else None


def nested_core(core: AnyCore) -> _core.NestedReduction | None:
    """The core, where it is the nested engine's, whose clusters are the outermost levels."""
    return core if isinstance(core, _core.NestedReduction) else None


def exact_core(core: Core) -> ExactCore:
    """The core of a model whose derivatives are known to be exact."""
    assert not isinstance(core, _core.IterativeReduction), "the caller has looked"
    return core


def exact_cores(core: AnyCore) -> ExactCore | _core.NestedBatch:
    """The same of one reduction or of many."""
    return core if isinstance(core, _core.NestedBatch) else exact_core(core)


def crossed_core(core: Core) -> _core.CrossedReduction | _core.DenseReduction:
    """The core of a model without nested levels, which has the error of any predictions."""
    assert isinstance(core, _core.CrossedReduction | _core.DenseReduction), "the caller has looked"
    return core


def moment_core(core: Core) -> MomentCore:
    """The core of a model with a residual structure, which knows moments of visits."""
    assert isinstance(core, _core.NestedReduction | _core.DenseReduction), "the caller has looked"
    return core


def absorbed_core(core: Core) -> AbsorbedCore:
    """The core of a model with an absorbed factor."""
    assert isinstance(core, AbsorbedCore), "the caller has looked"
    return core


def has_exact_information(core: AnyCore) -> bool:
    """Whether the expected information is exact; else it is of differences of first derivatives."""
    return not isinstance(core, AbsorbedCore) or core.is_exact


def for_method(core: Core, reml: bool) -> Core:
    """The core as it serves REML or ML."""
    return core.for_method(reml) if isinstance(core, AbsorbedCore) else core
