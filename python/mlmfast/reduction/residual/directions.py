"""Residual covariances handed to the core with their derivatives by the structure's parameters.

Cheaper than derivatives by every entry where parameters are few, and the only way where units have
matrices of their own.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from mlmfast.arrays import FloatArray
from mlmfast.covariance import CovarianceStructure
from mlmfast.covariance.natural_chart import arm_charts
from mlmfast.design.residual.design import ResidualDesign
from mlmfast.design.residual.record import ResidualRecord
from mlmfast.reduction.parameter_block import ParameterBlock, residual_block
from mlmfast.reduction.residual.form_parameters import (
    Elementwise,
    FormParameters,
    MomentCore,
    common_diagonal,
    covariances_over_visits,
    record_of_arms,
    with_free_parameters,
)


@dataclass(frozen=True)
class Directions(ABC):
    """A residual covariance as matrices and their derivatives by theta.

    Steps need no chain rule: the core's derivatives are by theta already.
    """

    structure: CovarianceStructure

    #: Whether rows are combined along a series or a chain, so that no matrix is formed.
    along_rows: ClassVar[bool] = False
    #: Whether all units share one matrix.
    is_shared: ClassVar[bool] = False

    @property
    @abstractmethod
    def size(self) -> int:
        """Order of the matrices."""

    @abstractmethod
    def stacked(self, theta: FloatArray, derivatives: bool) -> FloatArray:
        """Covariances, (a, matrices, units or 1, size, size).

        Matrices are the covariance and, with ``derivatives``, those by each parameter and by each
        pair of parameters.
        """

    @property
    def n_theta(self) -> int:
        """Number of parameters."""
        return self.structure.n_theta

    @property
    def entries(self) -> tuple[tuple[int, int], ...]:
        """One for each parameter: the core counts them."""
        return ((0, 0),) * self.n_theta

    @property
    def mixes(self) -> bool:
        """The residual has no columns of Z to mix."""
        return False

    def chart(self, theta: FloatArray, weight: FloatArray) -> tuple[FloatArray, FloatArray]:
        """Derivatives are by theta already."""
        identity = np.broadcast_to(np.eye(self.n_theta), (len(theta), self.n_theta, self.n_theta))
        return identity, np.zeros((len(theta), self.n_theta, self.n_theta))

    def move(self, theta: FloatArray, step: FloatArray) -> FloatArray:
        """The point ``step`` away from ``theta``."""
        return np.asarray(theta + step)

    def own_start(self, core: MomentCore, fit: int, variance: float) -> FloatArray | None:
        """Start (n_theta,) at a variance, by points or times; None where moments of visits serve.

        Parameters
        ----------
        core, fit
            The reduction, and which of its responses, scaled to mean square 1.
        """
        return None

    def theta_near(self, covariance: FloatArray) -> FloatArray:
        """theta (1, n_theta) of a member near a covariance of all visits (size, size)."""
        return self.structure.theta(covariance[None])

    def common_variance(self, theta: FloatArray, matrices: FloatArray) -> FloatArray:
        """The variance of all rows, NaN where it differs; shape (n_fits,).

        Parameters
        ----------
        theta : shape (n_fits, n_theta)
        matrices
            What `stacked` says of each fit.
        """
        return common_diagonal(matrices[:, 0, 0])

    def record(self, residual: ResidualDesign, theta: FloatArray, unit: float) -> ResidualRecord:
        """The estimates, ``unit`` being what 1 is in the user's units; theta (1, n_theta)."""
        return record_of_arms(residual, self._arms(theta), unit)

    def _arms(self, theta: FloatArray) -> list[tuple[CovarianceStructure, FloatArray]]:
        """The structure and its theta (1, structure.n_theta), by arm."""
        n = self.structure.n_theta
        return [(self.structure, theta[:, at : at + n]) for at in range(0, theta.shape[1], n)]

    def may_be_singular(self) -> list[tuple[CovarianceStructure, slice]]:
        """Covariances over visits that may become singular, and their stretches of theta."""
        return covariances_over_visits(self.structure, self.n_theta)

    def parameters(self, arms: tuple[str, ...], theta: FloatArray, unit: float) -> FormParameters:
        """Covariance parameters at theta (1, n_theta), and what the core is given of them.

        Parameters
        ----------
        arms
            Labels of the arms.
        unit
            What 1 is in the user's units of a variance.
        """
        blocks, stacked = self._blocks(arms, theta, unit), self.stacked(theta, True)
        return FormParameters(blocks, *with_free_parameters(self.structure, theta, stacked))

    def _blocks(
        self, arms: tuple[str, ...], theta: FloatArray, unit: float
    ) -> tuple[ParameterBlock, ...]:
        """One block, whose natural parameters are the core's coordinates."""
        free = np.eye(self.structure.n_theta)
        return (residual_block(self.structure, "", theta, unit, free, None),)

    def chart_of_coordinates(self, theta: FloatArray) -> FloatArray:
        """Derivatives of theta by the coordinates of `parameters`, (n_theta, n_theta)."""
        return arm_charts(self.structure, theta)[0]

    @property
    def elementwise(self) -> Elementwise | None:
        """The natural parameters, where each is a function of one theta; None elsewhere."""
        return None


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
