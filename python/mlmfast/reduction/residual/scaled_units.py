"""Residual covariances with standard deviations from row to row, unit by unit."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

import mlmfast._core as _core
from mlmfast.arrays import FloatArray
from mlmfast.covariance import CovarianceStructure
from mlmfast.covariance.base import symmetric
from mlmfast.covariance.scaled_covariance import ScaledCovariance
from mlmfast.reduction.residual.directions import Directions


@dataclass(frozen=True)
class ScaledUnits(Directions):
    """`ScaledCovariance` unit by unit, where rows have a scale each (or points of their own).

    Attributes
    ----------
    structure
        The structure; its own positions are not used.
    exponents : shape (n_units, size, m)
        Centred and scaled d of each position, units in the core's order; 0 where one lacks it.
    own
        C of each unit, for scattered points; None where visits share one.
    """

    structure: ScaledCovariance
    exponents: FloatArray
    own: Directions | None = None

    @property
    def size(self) -> int:
        """Rows of the largest unit, or visits of all arms."""
        return int(self.exponents.shape[1])

    def stacked(self, theta: FloatArray, derivatives: bool) -> FloatArray:
        """See `Directions`; one matrix for each unit."""
        first, m, scale = self.structure.n_base, self.structure.n_scale, self.structure.scale
        flat, shape = self.exponents.reshape(-1, m), self.exponents.shape[:2]
        log_scale = scale.values(flat, theta[:1, first:])[0].reshape(shape)
        growth = np.exp(_of_pairs(log_scale))
        base = self._base(theta[:, :first], derivatives)
        parts = [base[0] * growth]
        if derivatives:
            n = first
            slopes, bends = scale.derivatives(flat, theta[:1, first:])
            by_scale = [_of_pairs(slopes[0, :, j].reshape(shape)) for j in range(m)]
            gradients = [g * growth for g in base[1 : n + 1]]
            gradients += [parts[0] * by_scale[j] for j in range(m)]
            second = [b * growth for b in base[n + 1 :]]
            for j in range(m):
                second += [gradients[i] * by_scale[j] for i in range(n + j + 1)]
                if bends is None:
                    continue
                for i in range(j + 1):
                    bend = _of_pairs(bends[0, :, i, j].reshape(shape))
                    second[i - j - 1] = second[i - j - 1] + parts[0] * bend
            parts = [*parts, *gradients, *second]
        return np.ascontiguousarray(np.stack(parts)[None])

    def _base(self, theta: FloatArray, derivatives: bool) -> list[FloatArray]:
        """C, its first derivatives and those by pairs, each broadcasting over units."""
        if self.own is not None:
            return list(self.own.stacked(theta, derivatives)[0])
        return self._shared(theta, derivatives)

    def _shared(self, theta: FloatArray, derivatives: bool) -> list[FloatArray]:
        blocks = [
            template_derivatives(structure, theta[:, s], derivatives)
            for structure, s in zip(self.structure.arms, self.structure.slices, strict=True)
        ]
        k, n = self.structure.arms[0].size, self.structure.n_base

        def placed(arm: int, matrix: FloatArray) -> FloatArray:
            whole = np.zeros((self.size, self.size))
            whole[arm * k : (arm + 1) * k, arm * k : (arm + 1) * k] = matrix
            return whole

        out = [sum((placed(a, b[0]) for a, b in enumerate(blocks)), np.zeros((self.size,) * 2))]
        if not derivatives:
            return out
        arm_of = [
            a for a, structure in enumerate(self.structure.arms) for _ in range(structure.n_theta)
        ]
        at = [i - self.structure.slices[a].start for i, a in enumerate(arm_of)]
        out += [placed(arm_of[i], blocks[arm_of[i]][1 + at[i]]) for i in range(n)]
        for i in range(n):
            for j in range(i + 1):
                if arm_of[i] != arm_of[j]:
                    out.append(np.zeros((self.size, self.size)))
                    continue
                block, t = blocks[arm_of[i]], self.structure.arms[arm_of[i]].n_theta
                pair = at[i] * (at[i] + 1) // 2 + at[j]
                out.append(placed(arm_of[i], block[1 + t + pair]))
        return out

    def own_start(self, core: _core.Engine, fit: int, variance: float) -> FloatArray | None:
        """C by the distances between points, hardly a scale; None for visits."""
        if self.own is None:
            return None
        base = self.own.own_start(core, fit, variance)
        assert base is not None, "points have a start of their own"
        return np.concatenate([base, self.structure.scale.start()])

    def theta_near(self, covariance: FloatArray) -> FloatArray:
        """C from a covariance of all visits, hardly a scale."""
        gamma = self.structure.scale.start()
        k = self.structure.arms[0].size
        parts = [
            structure.theta(covariance[None, a * k : (a + 1) * k, a * k : (a + 1) * k])[0]
            for a, structure in enumerate(self.structure.arms)
        ]
        return np.concatenate([*parts, gamma])[None]


def _of_pairs(values: FloatArray) -> FloatArray:
    """Sums of two rows of a unit, (n_units, size, size)."""
    return np.asarray(values[:, :, None] + values[:, None, :])


def template_derivatives(
    structure: CovarianceStructure, theta: FloatArray, derivatives: bool
) -> FloatArray:
    """A structure's matrix, first derivatives and those by pairs, (n_matrices, K, K)."""
    if not derivatives:
        return structure.matrix(theta)
    rows, columns = np.array(structure.entries, dtype=np.intp).T
    value, first, second = structure.entry_derivatives(theta)
    flat = np.concatenate([value[0][None], first[0].T, second[0].T])
    return symmetric(flat, structure.size, rows, columns)
