"""A residual covariance with standard deviations that differ from row to row: R = D C D.

C is any covariance over visits (or points), D the residual scale, by columns d of each row.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from mlmfast.arrays import FloatArray, IntArray
from mlmfast.covariance.base import CovarianceStructure, floor_eigenvalues, symmetric
from mlmfast.covariance.log_scale import LogScale
from mlmfast.covariance.units import entry_values, scale_powers
from mlmfast.errors import ModelError
from mlmfast.running.cached import cached_property


@dataclass(frozen=True, eq=False)
class ScaledCovariance(CovarianceStructure):
    """R[p, q] = C[v_p, v_q] s(d_p) s(d_q) over positions p of visit v_p and scale columns d_p.

    theta = (theta of C for each arm, that of the scale, see `LogScale`). Every derivative follows
    from those of C and of log s.

    Parameters
    ----------
    arms
        C of each group with parameters of its own, all of one size.
    places : shape (size,)
        arm * (visits) + visit of each position.
    exponents : shape (size, m)
        d of each position.
    scale
        log s by d.
    pairs
        Entries that rows of one unit have.
    arm_names
        Labels of the arms, before the names of their parameters where there are several.
    """

    arms: tuple[CovarianceStructure, ...]
    places: IntArray
    exponents: FloatArray
    scale: LogScale
    pairs: tuple[tuple[int, int], ...]
    arm_names: tuple[str, ...] = ("",)

    @property
    def entries(self) -> tuple[tuple[int, int], ...]:
        return self._kept

    @cached_property
    def _layout(self) -> tuple[tuple[tuple[int, int], ...], IntArray]:
        """Entries that are not always 0, and the entry of C (arms in sequence) behind each."""
        k, n_before = self.arms[0].size, 0
        index: dict[tuple[int, int], int] = {}
        for a, structure in enumerate(self.arms):
            for e, (i, j) in enumerate(structure.entries):
                index[a * k + i, a * k + j] = index[a * k + j, a * k + i] = n_before + e
            n_before += len(structure.entries)
        behind = {(p, q): index.get((self.places[p], self.places[q])) for p, q in self.pairs}
        kept = tuple(pair for pair, entry in behind.items() if entry is not None)
        return kept, np.array([behind[pair] for pair in kept], dtype=np.intp)

    @cached_property
    def _kept(self) -> tuple[tuple[int, int], ...]:
        return self._layout[0]

    @cached_property
    def _behind(self) -> IntArray:
        return self._layout[1]

    @cached_property
    def _rows(self) -> tuple[IntArray, IntArray]:
        rows, columns = np.array(self._kept, dtype=np.intp).T
        return rows, columns

    @cached_property
    def columns(self) -> FloatArray:
        """Centred and scaled d, shape (size, m)."""
        return self.scale.columns(self.exponents)

    @property
    def n_scale(self) -> int:
        """Number m of scale parameters."""
        return self.scale.size

    @property
    def n_theta(self) -> int:
        return self.n_base + self.n_scale

    @property
    def n_base(self) -> int:
        """Number of parameters of C."""
        return sum(structure.n_theta for structure in self.arms)

    @cached_property
    def slices(self) -> tuple[slice, ...]:
        """Stretch of theta of each arm."""
        ends = np.cumsum([0, *(structure.n_theta for structure in self.arms)])
        return tuple(slice(int(a), int(b)) for a, b in pairwise(ends))

    @cached_property
    def _entry_slices(self) -> tuple[slice, ...]:
        ends = np.cumsum([0, *(len(structure.entries) for structure in self.arms)])
        return tuple(slice(int(a), int(b)) for a, b in pairwise(ends))

    def matrix(self, theta: FloatArray) -> FloatArray:
        return symmetric(self._values(theta), self.size, *self._rows)

    def jacobian(self, theta: FloatArray) -> FloatArray:
        return self._derivatives(theta, None, "jacobian")[0]

    def curvature(self, theta: FloatArray, weight: FloatArray) -> FloatArray:
        return self._derivatives(theta, weight, "curvature")[1]

    def chart(self, theta: FloatArray, weight: FloatArray) -> tuple[FloatArray, FloatArray]:
        return self._derivatives(theta, weight, "chart")

    def move(self, theta: FloatArray, step: FloatArray) -> FloatArray:
        parts = [
            structure.move(theta[:, s], step[:, s])
            for structure, s in zip(self.arms, self.slices, strict=True)
        ]
        last = slice(self.n_base, None)
        return np.concatenate([*parts, theta[:, last] + step[:, last]], axis=1)

    def theta(self, matrix: FloatArray) -> FloatArray:
        return np.concatenate([self._moments(one)[None] for one in matrix])

    @property
    def parameter_names(self) -> tuple[str, ...]:
        prefixes = [f"{arm}: " for arm in self.arm_names] if len(self.arms) > 1 else [""]
        pairs = zip(prefixes, self.arms, strict=True)
        names = (prefix + name for prefix, arm in pairs for name in arm.parameter_names)
        return (*names, *self.scale.names)

    def natural(self, theta: FloatArray) -> FloatArray:
        scale = self.scale.natural(theta[:, self.n_base :])
        return np.concatenate([self._natural_base(theta), scale], axis=1)

    def natural_jacobian(self, theta: FloatArray) -> FloatArray:
        n, first = len(theta), self.n_base
        out = np.zeros((n, self.n_theta, self.n_theta))
        factor = self._reference_factor(theta)
        slope = -2.0 * self.scale.reference(theta[:, first:])[1]
        for structure, s in zip(self.arms, self.slices, strict=True):
            power = scale_powers(structure, theta[:, s])
            growth = factor[:, None] ** power
            out[:, s, s] = growth[:, :, None] * structure.natural_jacobian(theta[:, s])
            moved = growth * structure.natural(theta[:, s]) * power
            out[:, s, first:] = moved[:, :, None] * slope[:, None]
        out[:, first:, first:] = self.scale.natural_derivatives(theta[:, first:])[0]
        return out

    def natural_hessian(self, theta: FloatArray) -> FloatArray:
        n, first = len(theta), self.n_base
        out = np.zeros((n, *(self.n_theta,) * 3))
        factor = self._reference_factor(theta)
        _, slope, bend = (-2.0 * part for part in self.scale.reference(theta[:, first:]))
        square = slope[:, :, None] * slope[:, None]
        for structure, s in zip(self.arms, self.slices, strict=True):
            power = scale_powers(structure, theta[:, s])
            growth = factor[:, None] ** power
            out[:, s, s, s] = growth[:, :, None, None] * structure.natural_hessian(theta[:, s])
            side = (growth * power)[:, :, None] * structure.natural_jacobian(theta[:, s])
            out[:, s, s, first:] = side[:, :, :, None] * slope[:, None, None]
            out[:, s, first:, s] = np.moveaxis(out[:, s, s, first:], 2, 3)
            moved = growth * power * structure.natural(theta[:, s])
            twice = (power * moved)[:, :, None, None] * square[:, None]
            out[:, s, first:, first:] = twice + moved[:, :, None, None] * bend[:, None]
        out[:, first:, first:, first:] = self.scale.natural_derivatives(theta[:, first:])[1]
        return out

    def from_natural(self, values: FloatArray) -> FloatArray:
        values = self._check_natural(values)
        scale = self.scale.from_natural(values[:, self.n_base :])
        factor = np.exp(2.0 * self.scale.reference(scale)[0])
        parts = []
        for structure, s in zip(self.arms, self.slices, strict=True):
            # The powers do not depend on where they are read off.
            power = scale_powers(structure, structure.from_natural(values[:, s]))
            parts.append(structure.from_natural(values[:, s] * factor[:, None] ** power))
        return np.concatenate([*parts, scale], axis=1)

    def _check_natural(self, values: FloatArray) -> FloatArray:
        values = np.asarray(values, dtype=np.float64)
        if values.ndim != 2 or values.shape[1] != self.n_theta:
            raise ModelError(
                f"the residual covariance has {self.n_theta} parameters "
                f"({', '.join(self.parameter_names)}); found values of shape {values.shape}"
            )
        return values

    def powers(self, theta: FloatArray) -> FloatArray:
        """How each natural parameter grows with the scale of C, shape (n_fits, n_theta)."""
        parts = [
            scale_powers(structure, theta[:, s])
            for structure, s in zip(self.arms, self.slices, strict=True)
        ]
        return np.concatenate([*parts, np.zeros((len(theta), self.n_scale))], axis=1)

    def reference(self, theta: FloatArray) -> list[FloatArray]:
        """C of each arm at scale 1, (n_fits, K, K)."""
        factor = self._reference_factor(theta)[:, None, None]
        pairs = zip(self.arms, self.slices, strict=True)
        return [factor * structure.matrix(theta[:, s]) for structure, s in pairs]

    def _reference_factor(self, theta: FloatArray) -> FloatArray:
        """Variance at s = 1 over that at the centre of d."""
        return np.asarray(np.exp(-2.0 * self.scale.reference(theta[:, self.n_base :])[0]))

    def _natural_base(self, theta: FloatArray) -> FloatArray:
        factor = self._reference_factor(theta)[:, None]
        parts = [
            structure.natural(theta[:, s]) * factor ** scale_powers(structure, theta[:, s])
            for structure, s in zip(self.arms, self.slices, strict=True)
        ]
        return np.concatenate(parts, axis=1)

    def _values(self, theta: FloatArray) -> FloatArray:
        base = [
            entry_values(structure, theta[:, s])
            for structure, s in zip(self.arms, self.slices, strict=True)
        ]
        return np.asarray(np.concatenate(base, axis=1)[:, self._behind] * self._growth(theta))

    def _growth(self, theta: FloatArray) -> FloatArray:
        """s(d_p) s(d_q) of each entry."""
        rows, columns = self._rows
        log_scale = self.scale.values(self.columns, theta[:, self.n_base :])
        return np.asarray(np.exp(log_scale[:, rows] + log_scale[:, columns]))

    def _derivatives(
        self, theta: FloatArray, weight: FloatArray | None, how: str
    ) -> tuple[FloatArray, FloatArray]:
        """Jacobian, and second derivatives of weight'entries (0 without weight)."""
        n, first = len(theta), self.n_base
        growth, (slopes, bends) = self._growth(theta), self._of_entries(theta)
        values = self._values(theta)
        if weight is None:
            weight = np.zeros_like(values)
        n_entries = sum(len(structure.entries) for structure in self.arms)
        # weight'entries as a function of C: the weights of the entries of C.
        folded = np.zeros((n, n_entries))
        np.add.at(folded.T, self._behind, (weight * growth).T)
        base = np.zeros((n, n_entries, first))
        curvature = np.zeros((n, self.n_theta, self.n_theta))
        for structure, s, e in zip(self.arms, self.slices, self._entry_slices, strict=True):
            if how == "chart":
                parts = structure.chart(theta[:, s], folded[:, e])
                base[:, e, s], curvature[:, s, s] = parts
            else:
                base[:, e, s] = structure.jacobian(theta[:, s])
                if how == "curvature":
                    curvature[:, s, s] = structure.curvature(theta[:, s], folded[:, e])
        by_base = base[:, self._behind] * growth[:, :, None]
        jacobian = np.concatenate([by_base, values[:, :, None] * slopes], axis=2)
        weighted = weight[:, :, None] * slopes
        curvature[:, first:, :first] = weighted.mT @ by_base
        curvature[:, :first, first:] = curvature[:, first:, :first].mT
        curvature[:, first:, first:] = (weighted * values[:, :, None]).mT @ slopes
        if bends is not None:
            curvature[:, first:, first:] += np.einsum("ae,aeij->aij", weight * values, bends)
        return jacobian, curvature

    def _of_entries(self, theta: FloatArray) -> tuple[FloatArray, FloatArray | None]:
        """Derivatives of log s(d_p) + log s(d_q) of each entry."""
        rows, columns = self._rows
        slopes, bends = self.scale.derivatives(self.columns, theta[:, self.n_base :])
        slopes = slopes[:, rows] + slopes[:, columns]
        return slopes, None if bends is None else bends[:, rows] + bends[:, columns]

    def _moments(self, matrix: FloatArray) -> FloatArray:
        """theta near one covariance of positions: scales from variances, then C from the rest."""
        log_sd = 0.5 * np.log(np.maximum(np.diag(matrix), 1e-300))
        gamma = self._scale_moments(log_sd)
        scale = np.exp(self.scale.values(self.columns, gamma[None])[0])
        scaled = matrix / np.outer(scale, scale)
        k = self.arms[0].size
        total = np.zeros((k * len(self.arms),) * 2)
        count = np.zeros_like(total)
        for p, q in self.pairs:
            for i, j in {(p, q), (q, p)}:
                total[self.places[i], self.places[j]] += scaled[i, j]
                count[self.places[i], self.places[j]] += 1.0
        mean = np.where(count > 0, total / np.maximum(count, 1.0), 0.0)
        typical = float(np.mean(np.diag(mean)[np.diag(mean) > 0]))
        np.fill_diagonal(mean, np.where(np.diag(mean) > 0, np.diag(mean), typical))
        parts = [
            structure.theta(positive(mean[a * k : (a + 1) * k, a * k : (a + 1) * k])[None])[0]
            for a, structure in enumerate(self.arms)
        ]
        return np.concatenate([*parts, gamma])

    def _scale_moments(self, log_sd: FloatArray) -> FloatArray:
        """The scale's theta by log standard deviations, given the visit."""
        k = self.arms[0].size * len(self.arms)
        dummies = (self.places[:, None] == np.arange(k)).astype(np.float64)
        return self.scale.near(dummies, self.columns, log_sd)


def positive(matrix: FloatArray) -> FloatArray:
    """A symmetric matrix with a positive diagonal made positive definite, variances kept."""
    sd = np.sqrt(np.diag(matrix))
    correlation = np.clip(matrix / np.outer(sd, sd), -0.95, 0.95)
    np.fill_diagonal(correlation, 1.0)
    lifted = floor_eigenvalues(correlation[None], 0.02, 0.05)[0]
    scale = sd / np.sqrt(np.diag(lifted))
    return np.asarray(lifted * np.outer(scale, scale))


def without_scale(structure: CovarianceStructure) -> list[tuple[CovarianceStructure, slice]]:
    """The covariances that a scale multiplies, by arm, and their stretches of theta.

    The structure itself where there is no scale.
    """
    if isinstance(structure, ScaledCovariance):
        return list(zip(structure.arms, structure.slices, strict=True))
    return [(structure, slice(0, structure.n_theta))]
