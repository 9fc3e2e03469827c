"""Huynh-Feldt covariance: differences of any two levels have the same variance."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from mlmfast.arrays import BoolArray, FloatArray, IntArray
from mlmfast.covariance.base import CovarianceStructure, lower_entries, symmetric
from mlmfast.covariance.jet import Jet, NaturalByJet, concatenate
from mlmfast.covariance.other_parameters import OtherParameters
from mlmfast.eigen import is_singular
from mlmfast.running.cached import cached_property


@dataclass(frozen=True)
class HuynhFeldt(NaturalByJet, CovarianceStructure):
    """R[i, j] = (sigma_i^2 + sigma_j^2) / 2 - lambda off the diagonal.

    R = lambda I + a 1' + 1 a' with a_i = (sigma_i^2 - lambda) / 2 has the eigenvalues lambda and
    lambda + K m +- sqrt(K^2 m^2 + K |d|^2), m the mean of a and d = a - m. It is positive definite
    where m / lambda > |d / lambda|^2 / 2 - 1 / (2 K), which the parameters
    theta = (log lambda, log of the excess of m / lambda, d / lambda in an orthonormal basis of the
    contrasts) ensure: every theta gives a positive definite R, and every such R has a theta.
    Natural parameters are sigma_i^2 and lambda.

    References: Huynh and Feldt (1970), JASA 65, 1582-1589; SAS/STAT User's Guide, The MIXED
    Procedure, REPEATED statement, TYPE=HF.

    Examples
    --------
    >>> hf = HuynhFeldt(3)
    >>> hf.matrix(hf.from_natural(np.array([[2.0, 4.0, 6.0, 2.0]])))[0].round(12).tolist()
    [[2.0, 1.0, 2.0], [1.0, 4.0, 3.0], [2.0, 3.0, 6.0]]
    """

    keyword: ClassVar[str] = "hf"
    space: ClassVar[str] = "hf"
    label: ClassVar[str] = "Huynh-Feldt"
    formula: ClassVar[str] = "(sigma_i^2 + sigma_j^2) / 2 - lambda 1(i != j)"
    parameters: ClassVar[str] = "K + 1: variances, lambda"
    use: ClassVar[str] = "the condition under which univariate repeated-measures F tests hold"
    sas: ClassVar[str | None] = "HF"
    exchangeable: ClassVar[bool] = True
    contains_residual: ClassVar[bool] = True
    contained_in: ClassVar[tuple[str, ...]] = ("us",)
    minimum_size: ClassVar[int] = 2

    @cached_property
    def entries(self) -> tuple[tuple[int, int], ...]:
        return lower_entries(self.size)

    @property
    def n_theta(self) -> int:
        return self.size + 1

    def matrix(self, theta: FloatArray) -> FloatArray:
        entries = self.natural(theta) @ self._entries_of_natural.T
        return symmetric(entries, self.size, *self._places)

    def jacobian(self, theta: FloatArray) -> FloatArray:
        return np.asarray(self._entries_of_natural @ self.natural_jacobian(theta))

    def curvature(self, theta: FloatArray, weight: FloatArray) -> FloatArray:
        natural = self._natural(Jet.variables(theta))
        by_natural = weight @ self._entries_of_natural
        return np.asarray(np.einsum("an,anij->aij", by_natural, natural.second))

    def frees_combinations(self, levels: Sequence[int]) -> bool:
        # lambda (I - 1 v')(I - 1 v')', sum of v 1, is of the structure but for its one null vector
        # v: any combination whose sum is not 0.
        return True

    def theta(self, matrix: FloatArray) -> FloatArray:
        k = self.size
        variances = np.diagonal(matrix, axis1=1, axis2=2)
        total = variances.sum(axis=1, keepdims=True)
        # Mean over pairs of half the variance of the difference: positive, below total / (K - 1).
        mean_lambda = (k * total - matrix.sum(axis=(1, 2))[:, None]) / (k * (k - 1))
        relative = (variances / mean_lambda - 1.0) / 2.0
        mean = relative.mean(axis=1, keepdims=True)
        away = relative - mean
        room = (1.0 + 2.0 * k * mean) / k
        square = (away**2).sum(axis=1, keepdims=True)
        kept = np.minimum(1.0, np.sqrt(0.99 * room / np.maximum(square, 1e-300)))
        shrunk = mean_lambda * (1.0 + 2.0 * (mean + kept * away))
        return self.from_natural(np.concatenate([shrunk, mean_lambda], axis=1))

    def closed(self) -> CovarianceStructure:
        return ClosedHuynhFeldt(self.size, self)

    @property
    def parameter_names(self) -> tuple[str, ...]:
        return (*(f"Var({k + 1})" for k in range(self.size)), "HF")

    def from_natural(self, values: FloatArray) -> FloatArray:
        values = self._check_natural(values)
        with np.errstate(all="ignore"):
            scale = values[:, -1:]
            relative = (values[:, :-1] / scale - 1.0) / 2.0
            mean = relative.mean(axis=1, keepdims=True)
            contrasts = (relative - mean) @ self._contrasts
            excess = mean - 0.5 * (contrasts**2).sum(axis=1, keepdims=True) + 0.5 / self.size
            theta = np.concatenate([np.log(scale), np.log(excess), contrasts], axis=1)
        inside = np.isfinite(theta).all(axis=1)
        if not inside.all():
            raise self._outside(values[~inside][0])
        return theta

    def _natural(self, theta: Jet) -> Jet:
        scale, excess, contrasts = theta[:1].exp(), theta[1:2].exp(), theta[2:]
        away = contrasts.through_matrix(self._contrasts)
        mean = excess + (contrasts * contrasts).sum() * 0.5 - 0.5 / self.size
        return concatenate([scale * (away * 2.0 + mean * 2.0 + 1.0), scale])

    @cached_property
    def _contrasts(self) -> FloatArray:
        """Orthonormal basis of what sums to 0, shape (K, K - 1) (Helmert)."""
        k = self.size
        helmert = np.tril(np.ones((k, k)), -1)[1:]
        helmert[np.arange(k - 1), np.arange(1, k)] = -np.arange(1.0, k)
        return np.asarray((helmert / np.linalg.norm(helmert, axis=1)[:, None]).T)

    @cached_property
    def _places(self) -> tuple[IntArray, IntArray]:
        rows, columns = np.tril_indices(self.size)
        return rows, columns

    @cached_property
    def _entries_of_natural(self) -> FloatArray:
        """The entries are linear in the natural parameters, shape (n_entries, K + 1)."""
        rows, columns = self._places
        half = 0.5 * np.eye(self.size)
        off = -1.0 * (rows != columns)
        return np.concatenate([half[rows] + half[columns], off[:, None]], axis=1)


@dataclass(frozen=True)
class ClosedHuynhFeldt(NaturalByJet, OtherParameters):
    """The structure as a quadratic form: theta = (s, t, c) with c in a basis of the contrasts.

    lambda = s^2, m = t^2 + |c|^2 / 2 - s^2 / (2 K) and d = s c in the terms of `HuynhFeldt`: these
    are the matrices of the structure and their limits, lambda = 0 included.

    Examples
    --------
    >>> HuynhFeldt(2).closed().matrix(np.array([[0.0, 1.0, 0.0]]))[0].tolist()
    [[2.0, 2.0], [2.0, 2.0]]
    """

    structure: HuynhFeldt

    def matrix(self, theta: FloatArray) -> FloatArray:
        return self.on_entries(self.natural(theta) @ self.structure._entries_of_natural.T)

    def jacobian(self, theta: FloatArray) -> FloatArray:
        return np.asarray(self.structure._entries_of_natural @ self.natural_jacobian(theta))

    def curvature(self, theta: FloatArray, weight: FloatArray) -> FloatArray:
        second = self._natural(Jet.variables(theta)).second
        by_natural = weight @ self.structure._entries_of_natural
        return np.asarray(np.einsum("an,anij->aij", by_natural, second))

    def theta(self, matrix: FloatArray) -> FloatArray:
        small = 1e-12 * np.abs(matrix).max(axis=(1, 2)) + 1e-300
        inside = matrix + small[:, None, None] * np.eye(self.size)
        return self.from_natural(self.structure.natural(self.structure.theta(inside)))

    def at_boundary(self, theta: FloatArray, small: float) -> tuple[FloatArray, BoolArray]:
        zero = theta**2 <= small
        zero[:, 2:] = (theta[:, 2:] ** 2).sum(axis=1, keepdims=True) <= small
        out = np.where(zero, 0.0, theta)
        return out, is_singular(self.matrix(out), small)

    def from_natural(self, values: FloatArray) -> FloatArray:
        values = self.structure._check_natural(values)
        root = np.sqrt(np.where(values[:, -1:] >= 0, values[:, -1:], np.nan))
        half = (values[:, :-1] - values[:, -1:]) / 2.0
        mean = half.mean(axis=1, keepdims=True)
        contrasts = (half - mean) @ self.structure._contrasts
        noise = 1e-12 * np.abs(values).max(axis=1, keepdims=True)
        with np.errstate(all="ignore"):
            c = np.where(np.abs(contrasts) <= noise, 0.0, contrasts / root)
            excess = mean - 0.5 * (c * c).sum(axis=1, keepdims=True) + root**2 / (2 * self.size)
            excess = np.where(np.abs(excess) <= noise, 0.0, excess)
            return self.checked(np.concatenate([root, np.sqrt(excess), c], axis=1), values)

    def _natural(self, theta: Jet) -> Jet:
        s, t, contrasts = theta[:1], theta[1:2], theta[2:]
        away = s * contrasts.through_matrix(self.structure._contrasts)
        scale = s * s
        mean = t * t + (contrasts * contrasts).sum() * 0.5 - scale * (0.5 / self.size)
        return concatenate([away * 2.0 + mean * 2.0 + scale, scale])
