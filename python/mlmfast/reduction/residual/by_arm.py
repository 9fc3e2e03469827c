"""Arms with residual parameters of their own: one form an arm, as one.

``us(visit | arm / subject)`` is the structure in each arm, theta of the arms one after the other.
Only this file knows how they stand; what the core is given of several is told by their kind. Of
templates over visits the core takes one an arm as they are.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

import mlmfast._core as _core
from mlmfast.arrays import FloatArray, block_diagonal
from mlmfast.covariance import CovarianceStructure
from mlmfast.reduction.parameter_block import ParameterBlock
from mlmfast.reduction.residual.directions import ArmDirections, Directions
from mlmfast.reduction.residual.form import (
    Arm,
    ArmEstimates,
    CoreChain,
    CoreSeries,
)
from mlmfast.reduction.residual.form_parameters import (
    Elementwise,
    FormParameters,
    common_value,
)
from mlmfast.running.cached import cached_property


@dataclass(frozen=True)
class ByArm(Directions):
    """One form an arm, all of one kind; theta is that of the arms, one after the other.

    Attributes
    ----------
    parts
        The form of each arm.
    """

    parts: tuple[ArmDirections, ...]

    @property
    def size(self) -> int:
        """Order of the matrices, which are as large in every arm."""
        return self.parts[0].size

    @property
    def n_theta(self) -> int:
        """Parameters of all arms."""
        return sum(part.n_theta for part in self.parts)

    @cached_property
    def arms(self) -> tuple[Arm, ...]:
        """The structure in each arm."""
        n = self.structure.n_theta
        return tuple(
            Arm(self.structure, slice(k * n, (k + 1) * n), part.prefix)
            for k, part in enumerate(self.parts)
        )

    def _each(self, theta: FloatArray) -> list[tuple[ArmDirections, FloatArray]]:
        """The form of each arm, and its theta."""
        return [
            (part, theta[:, arm.theta]) for part, arm in zip(self.parts, self.arms, strict=True)
        ]

    def _joined(self, stacks: list[FloatArray]) -> FloatArray:
        return self.parts[0].joined(self.parts, stacks)

    @property
    def core_rows(self) -> tuple[CoreSeries, CoreChain | None] | None:
        """See `ResidualForm.core_rows`."""
        return self.parts[0].rows_of(self.parts)

    def stacked(self, theta: FloatArray, derivatives: bool) -> FloatArray:
        """See `Directions`; what the parts say, as the core takes it of several."""
        return self._joined([part.stacked(own, derivatives) for part, own in self._each(theta)])

    def own_start(self, core: _core.Engine, fit: int, variance: float) -> FloatArray | None:
        """Arm by arm."""
        found = [part.own_start(core, fit, variance) for part in self.parts]
        return np.concatenate([own for own in found if own is not None])

    def common_variance(self, theta: FloatArray, matrices: FloatArray) -> FloatArray:
        """That of every arm, NaN where arms differ."""
        each = [part.common_variance(own, matrices) for part, own in self._each(theta)]
        return common_value(np.column_stack(each))

    def estimates(self, theta: FloatArray, unit: float) -> list[ArmEstimates]:
        """Arm after arm; see `ResidualForm.estimates`."""
        return [found for part, own in self._each(theta) for found in part.estimates(own, unit)]

    def may_be_singular(self) -> list[tuple[CovarianceStructure, slice]]:
        """Those of every arm."""
        return [
            (structure, slice(arm.theta.start + s.start, arm.theta.start + s.stop))
            for part, arm in zip(self.parts, self.arms, strict=True)
            for structure, s in part.may_be_singular()
        ]

    def parameters(self, theta: FloatArray, unit: float, given: FloatArray) -> FormParameters:
        """Arm by arm; see `ResidualForm.parameters`."""
        found = [part.parameters(own, unit, given) for part, own in self._each(theta)]
        linear = self._joined([own.linear for own in found])
        bends = any(own.bent is not own.linear for own in found)
        bent = self._joined([own.bent for own in found]) if bends else linear
        blocks = tuple(block for own in found for block in own.blocks)
        if not self.parts[0].has_separate_blocks:
            blocks = (_one_block(blocks),)
        return FormParameters(blocks, linear, bent)

    @property
    def elementwise(self) -> Elementwise | None:
        """Arm by arm, where the natural parameters of each are functions of one theta."""
        return None if self.parts[0].elementwise is None else self._natural_by_theta

    def _natural_by_theta(self, theta: FloatArray) -> tuple[FloatArray, FloatArray, FloatArray]:
        found = [
            part.elementwise(own) for part, own in self._each(theta) if part.elementwise is not None
        ]
        value, first, second = (np.concatenate(own, axis=1) for own in zip(*found, strict=True))
        return value, first, second


def in_each_arm(make: Callable[[int, str], ArmDirections], prefixes: Sequence[str]) -> Directions:
    """The form of one arm, or of several; ``make`` takes the arm and what its names begin with."""
    parts = tuple(make(arm, prefix) for arm, prefix in enumerate(prefixes))
    return parts[0] if len(parts) == 1 else ByArm(parts[0].structure, parts)


def arm_prefixes(arms: Sequence[str]) -> list[str]:
    """What the names of parameters of each arm begin with.

    Examples
    --------
    >>> arm_prefixes(["drug", "placebo"]), arm_prefixes([""])
    (['drug: ', 'placebo: '], [''])
    """
    return [f"{arm}: " for arm in arms] if len(arms) > 1 else [""]


def _one_block(blocks: Sequence[ParameterBlock]) -> ParameterBlock:
    """The parameters of all arms as one block."""
    second = [block.second for block in blocks if block.second is not None]
    flat = all(own.ndim == 1 for own in second)
    bend = None if not second else np.concatenate(second) if flat else block_diagonal(second)
    return ParameterBlock(
        tuple(name for block in blocks for name in block.names),
        tuple(kind for block in blocks for kind in block.kinds),
        np.concatenate([block.values for block in blocks]),
        block_diagonal([block.first for block in blocks]),
        bend,
        block_diagonal([block.by_free for block in blocks]),
        tuple(fixed for block in blocks for fixed in block.fixed),
    )
