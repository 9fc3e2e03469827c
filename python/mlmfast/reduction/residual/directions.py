"""Residual covariances handed to the core with their derivatives by the structure's parameters.

Cheaper than derivatives by every entry where parameters are few, and the only way where units have
matrices of their own.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from mlmfast.arrays import FloatArray
from mlmfast.reduction.parameter_block import residual_block
from mlmfast.reduction.residual.form import CoreChain, CoreSeries, ResidualForm
from mlmfast.reduction.residual.form_parameters import (
    FormParameters,
    common_diagonal,
    with_free_parameters,
)


@dataclass(frozen=True)
class Directions(ResidualForm):
    """A residual covariance as matrices and their derivatives by theta.

    Steps need no chain rule: the core's derivatives are by theta already.
    """

    @abstractmethod
    def stacked(self, theta: FloatArray, derivatives: bool) -> FloatArray:
        """Covariances, (a, matrices, units or 1, size, size).

        Matrices are the covariance and, with ``derivatives``, those by each parameter and by each
        pair of parameters.
        """

    @property
    def entries(self) -> tuple[tuple[int, int], ...]:
        """One for each parameter: the core counts them."""
        return ((0, 0),) * self.n_theta

    def chart(self, theta: FloatArray, weight: FloatArray) -> tuple[FloatArray, FloatArray]:
        """Derivatives are by theta already."""
        identity = np.broadcast_to(np.eye(self.n_theta), (len(theta), self.n_theta, self.n_theta))
        return identity, np.zeros((len(theta), self.n_theta, self.n_theta))

    def move(self, theta: FloatArray, step: FloatArray) -> FloatArray:
        """The point ``step`` away from ``theta``."""
        return np.asarray(theta + step)

    def common_variance(self, theta: FloatArray, matrices: FloatArray) -> FloatArray:
        """From the diagonals; see `ResidualForm.common_variance`."""
        return common_diagonal(matrices[:, 0, 0])

    def parameters(self, theta: FloatArray, unit: float, given: FloatArray) -> FormParameters:
        """The core's coordinates are the natural parameters; see `ResidualForm.parameters`."""
        free = np.eye(self.structure.n_theta)
        block = residual_block(self.structure, self.prefix, theta, unit, free, None)
        stacked = self.stacked(theta, True)
        return FormParameters((block,), *with_free_parameters(self.structure, theta, stacked))


@dataclass(frozen=True)
class ArmDirections(Directions):
    """Those of a structure that several arms may have, each with parameters of its own."""

    #: Whether the covariance parameters of each arm are a block; else those of all arms are one.
    has_separate_blocks: ClassVar[bool] = False

    @staticmethod
    @abstractmethod
    def joined(parts: Sequence[Any], stacks: list[FloatArray]) -> FloatArray:
        """What the core is given of forms of this kind, of what `stacked` says of each."""

    @staticmethod
    def rows_of(parts: Sequence[Any]) -> tuple[CoreSeries, CoreChain | None] | None:
        """`core_rows` of forms of this kind."""
        return None

    @property
    def core_rows(self) -> tuple[CoreSeries, CoreChain | None] | None:
        """See `ResidualForm.core_rows`."""
        return self.rows_of((self,))


@dataclass(frozen=True)
class SharedDirections(Directions):
    """One template that all units share, of a structure with few parameters."""

    is_shared: ClassVar[bool] = True

    @property
    def size(self) -> int:
        """Visits."""
        return self.structure.size

    def stacked(self, theta: FloatArray, derivatives: bool) -> FloatArray:
        """See `Directions`; one matrix serves all units."""
        if not derivatives:
            return np.ascontiguousarray(self.structure.matrix(theta)[:, None, None])
        rows, columns = np.array(self.structure.entries, dtype=np.intp).T
        value, first, second = self.structure.entry_derivatives(theta)
        flat = np.concatenate([value[:, None], first.mT, second.mT], axis=1)
        whole = np.zeros((*flat.shape[:2], self.size, self.size))
        whole[:, :, rows, columns] = flat
        whole[:, :, columns, rows] = flat
        return np.ascontiguousarray(whole[:, :, None])
