"""What the form in which a residual covariance reaches the core answers about itself."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass, field
from typing import ClassVar, NamedTuple, TypeAlias

import mlmfast._core as _core
from mlmfast.arrays import CodeArray, FloatArray, IntArray
from mlmfast.covariance import CovarianceStructure
from mlmfast.covariance.scaled_covariance import without_scale
from mlmfast.covariance.units import natural_in_units
from mlmfast.reduction.residual.form_parameters import Elementwise, FormParameters

#: Class of the step to each row, classes of starts and of steps; how a step combines two rows, the
#: share of a row at the end, numbers of weights, and whether the core walks along the rows.
CoreSeries: TypeAlias = tuple[
    CodeArray, int, int, list[tuple[float, float, float]], bool, float, int, bool
]
#: Parameters; that of each class of starts, the two of each class of steps one after the other,
#: and the correlation parameters of each class of steps, as offsets and positions.
CoreChain: TypeAlias = tuple[int, IntArray, IntArray, IntArray, IntArray]


class Arm(NamedTuple):
    """A structure, its stretch of theta, and what its parameters' names begin with.

    That of one arm; of all where there is a scale, which they share.
    """

    structure: CovarianceStructure
    theta: slice
    prefix: str


class ArmEstimates(NamedTuple):
    """Names and natural parameters of an arm in the user's units, and its covariance over visits.

    The covariance is empty where there are no visits, or too many.
    """

    names: tuple[str, ...]
    values: FloatArray
    covariance: FloatArray


@dataclass(frozen=True)
class ResidualForm(ABC):
    """A residual covariance as the core is given it.

    A form is one structure's; where several arms have parameters of their own it is that of an arm,
    and `ByArm` that of all, unless visits share a template, of which the core has one an arm.

    Attributes
    ----------
    structure
        The structure.
    prefix
        What names of its parameters begin with.
    """

    structure: CovarianceStructure
    prefix: str = field(default="", kw_only=True)

    #: Whether the core's derivatives are by theta; else they are by the entries of a template.
    by_theta: ClassVar[bool] = True
    #: Whether all units share one matrix.
    is_shared: ClassVar[bool] = False

    @property
    @abstractmethod
    def size(self) -> int:
        """Order of the matrices; 0 where none is formed."""

    @property
    @abstractmethod
    def entries(self) -> tuple[tuple[int, int], ...]:
        """Rows and columns that the core's derivatives are by; see `by_theta`."""

    @abstractmethod
    def chart(self, theta: FloatArray, weight: FloatArray) -> tuple[FloatArray, FloatArray]:
        """Derivatives of the core's coordinates by steps, as `CovarianceStructure.chart`."""

    @abstractmethod
    def move(self, theta: FloatArray, step: FloatArray) -> FloatArray:
        """The point ``step`` away from ``theta``."""

    @abstractmethod
    def parameters(self, theta: FloatArray, unit: float, given: FloatArray) -> FormParameters:
        """Covariance parameters at theta (1, n_theta), and what the core is given of them.

        Parameters
        ----------
        unit
            What 1 is in the user's units of a variance.
        given
            The covariances that the core is given where derivatives are by entries.
        """

    @abstractmethod
    def common_variance(self, theta: FloatArray, matrices: FloatArray) -> FloatArray:
        """The variance of all rows, NaN where it differs; shape (n_fits,).

        Parameters
        ----------
        theta : shape (n_fits, n_theta)
        matrices
            What the core is given of each fit.
        """

    @property
    def n_theta(self) -> int:
        """Number of parameters."""
        return self.structure.n_theta

    @property
    def core_rows(self) -> tuple[CoreSeries, CoreChain | None] | None:
        """How rows are combined along a series or a chain; None where the core takes matrices."""
        return None

    @property
    def along_rows(self) -> bool:
        """Whether rows are combined along a series or a chain, so that no matrix is formed."""
        return self.core_rows is not None

    @property
    def mixes(self) -> bool:
        """The residual has no columns of Z to mix."""
        return False

    @property
    def arms(self) -> tuple[Arm, ...]:
        """Structures and their stretches of theta."""
        return (Arm(self.structure, slice(0, self.n_theta), self.prefix),)

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the natural parameters."""
        return tuple(self.prefix + name for name in self.structure.parameter_names)

    def own_start(self, core: _core.Engine, fit: int, variance: float) -> FloatArray | None:
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

    def estimates(self, theta: FloatArray, unit: float) -> list[ArmEstimates]:
        """What a fit keeps, by arm; ``unit`` is what 1 is in the user's units, theta (1, n)."""
        matrix = unit * self.structure.matrix(theta)[0]
        return [ArmEstimates(self.names, natural_in_units(self.structure, theta, unit)[0], matrix)]

    def may_be_singular(self) -> list[tuple[CovarianceStructure, slice]]:
        """Covariances over visits that may become singular, and their stretches of theta."""
        parts = without_scale(self.structure)
        return [(own, s) for own, s in parts if own.size > 1 and own.everywhere]

    @property
    def elementwise(self) -> Elementwise | None:
        """The natural parameters, where each is a function of one theta; None elsewhere."""
        return None
