"""Random-effects terms, and the residual, as blocks of what the core reads."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from mlmfast.arrays import BoolArray, FloatArray
from mlmfast.covariance import CovarianceStructure, floor_eigenvalues
from mlmfast.covariance.scaled_angles import ScaledAngles
from mlmfast.reduction.residual.directions import Directions
from mlmfast.reduction.residual.form import ResidualForm
from mlmfast.running.cached import cached_property


@dataclass(frozen=True)
class TermBlock:
    """One random-effects term, or the residual: where its covariance stands in that of its level.

    Attributes
    ----------
    structure
        The structure of random effects; the form of a residual covariance.
    """

    structure: CovarianceStructure | ResidualForm
    level: int
    first: int

    @cached_property
    def form(self) -> ResidualForm | None:
        """The form of a residual covariance; None for random effects."""
        return self.structure if isinstance(self.structure, ResidualForm) else None

    @cached_property
    def is_residual(self) -> bool:
        """Whether it is the residual's, or that of one of its arms."""
        return self.form is not None

    @cached_property
    def by_theta(self) -> bool:
        """Whether the core's derivatives are by theta; else they are by entries."""
        return self.form is not None and self.form.by_theta

    @cached_property
    def shared(self) -> CovarianceStructure:
        """The structure, where the core takes derivatives by entries."""
        assert not self.by_theta, "derivatives are by theta here"
        return structure_of(self)

    @property
    def along_rows(self) -> bool:
        """Whether rows are combined along a series or a chain, so that no matrix is formed."""
        return self.form is not None and self.form.along_rows

    def put(self, out: list[FloatArray], theta: FloatArray, derivatives: bool) -> None:
        """Set what the core is given of it among the covariances of the levels."""
        if isinstance(self.structure, Directions):
            stacks = [self.structure.stacked(own[None], derivatives)[0] for own in theta]
            out[self.level] = np.stack(stacks)
        else:
            out[self.level][:, self.stretch, self.stretch] = self.matrix(theta)

    @property
    def stretch(self) -> slice:
        """Rows of the level's G that belong to the term."""
        return slice(self.first, self.first + self.structure.size)

    @cached_property
    def by_row(self) -> bool:
        """Whether to compute fit by fit.

        A product over a whole batch may sum in another order than for one fit, and bits must not
        depend on the company a fit keeps.
        """
        return self.is_residual or not (self.shared.mixes or self.shared.variances_alone)

    @property
    def has_vague_parameters(self) -> bool:
        """Whether the structure is not linear in some of its parameters, its correlations."""
        return isinstance(self.structure, ScaledAngles)

    def matrix(self, theta: FloatArray) -> FloatArray:
        """The covariance, shape (a, q, q)."""
        if not self.by_row or len(theta) < 2:
            return self.shared.matrix(theta)
        return np.stack([self.shared.matrix(t[None])[0] for t in theta])

    def theta(self, matrix: FloatArray) -> FloatArray:
        """Parameters of covariances near ``matrix``, shape (a, n_theta)."""
        if not self.by_row:
            return self.shared.theta(matrix)
        if len(matrix) == 0:
            return np.empty((0, self.structure.n_theta))
        if not (self.is_residual or self.shared.indefinite):
            # Beyond the end of a scoring step there may be no covariance; `us` sees to it itself.
            matrix = np.stack([floor_eigenvalues(m[None], 0.0, 0.0)[0] for m in matrix])
        return np.stack([self.shared.theta(m[None])[0] for m in matrix])

    def at_boundary(self, theta: FloatArray, small: float) -> tuple[FloatArray, BoolArray]:
        """`CovarianceStructure.at_boundary`."""
        if not self.by_row or len(theta) < 2:
            return self.shared.at_boundary(theta, small)
        parts = [self.shared.at_boundary(t[None], small) for t in theta]
        return np.concatenate([p[0] for p in parts]), np.concatenate([p[1] for p in parts])

    def pull(self, theta: FloatArray, rows: FloatArray) -> FloatArray:
        """`CovarianceStructure.pull`, fit by fit."""
        parts = [self._pull(theta[k, None], rows[k, None]) for k in range(len(theta))]
        return parts[0] if len(parts) == 1 else np.concatenate(parts)

    def _pull(self, theta: FloatArray, rows: FloatArray) -> FloatArray:
        return rows if self.by_theta else self.shared.pull(theta, rows)

    def bend(self, theta: FloatArray, weight: FloatArray) -> FloatArray:
        """`CovarianceStructure.bend`, fit by fit; 0 where derivatives are by theta."""
        if self.by_theta:
            return np.zeros((*theta.shape, theta.shape[1]))
        return np.concatenate(
            [self.shared.bend(t[None], w[None]) for t, w in zip(theta, weight, strict=True)]
        )

    def chart(self, theta: FloatArray, weight: FloatArray) -> tuple[FloatArray, FloatArray]:
        """`CovarianceStructure.chart`."""
        if not self.by_row or len(theta) < 2:
            return self.structure.chart(theta, weight)
        parts = [self.structure.chart(t[None], w[None]) for t, w in zip(theta, weight, strict=True)]
        return np.concatenate([p[0] for p in parts]), np.concatenate([p[1] for p in parts])


def structure_of(block: TermBlock) -> CovarianceStructure:
    """The structure of a block, however the core takes its derivatives."""
    form = block.form
    return block.structure if form is None else form.structure  # type: ignore[return-value]
