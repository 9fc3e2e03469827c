"""Functions with their exact first and second derivatives (forward mode), for a batch of fits."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from mlmfast.arrays import FloatArray, IntArray


@dataclass(frozen=True)
class Jet:
    """n functions of p parameters: values, gradients and Hessians, one row a fit.

    Sums and products follow the chain rule exactly; a Jet of one function broadcasts over n. With
    p = 0 (`constant`) the same expressions compute values alone.

    Attributes
    ----------
    value : shape (n_fits, n)
    first : shape (n_fits, n, p)
    second : shape (n_fits, n, p, p)

    Examples
    --------
    >>> x = Jet.variables(np.array([[2.0, 3.0]]))
    >>> product = x[:1] * x[1:]
    >>> product.value.tolist(), product.first.tolist(), product.second[0, 0].tolist()
    ([[6.0]], [[[3.0, 2.0]]], [[0.0, 1.0], [1.0, 0.0]])
    """

    value: FloatArray
    first: FloatArray
    second: FloatArray

    @classmethod
    def variables(cls, theta: FloatArray) -> Jet:
        """The parameters themselves, shape (n_fits, p)."""
        n, p = theta.shape
        return cls(theta, np.broadcast_to(np.eye(p), (n, p, p)), np.zeros((n, p, p, p)))

    @classmethod
    def constant(cls, values: FloatArray, p: int = 0) -> Jet:
        """Values, shape (n_fits, n), that depend on none of p parameters."""
        n, k = values.shape
        return cls(values, np.zeros((n, k, p)), np.zeros((n, k, p, p)))

    def ones(self, n: int = 1) -> Jet:
        """The constant 1, n times, as a function of the same parameters."""
        return Jet.constant(np.ones((len(self.value), n)), self.first.shape[-1])

    def __getitem__(self, which: slice | IntArray) -> Jet:
        """Some of the functions."""
        return Jet(self.value[:, which], self.first[:, which], self.second[:, which])

    def __add__(self, other: Jet | float) -> Jet:
        if not isinstance(other, Jet):
            return Jet(self.value + other, self.first, self.second)
        return Jet(self.value + other.value, self.first + other.first, self.second + other.second)

    def __sub__(self, other: Jet | float) -> Jet:
        return self + other * -1.0

    def __mul__(self, other: Jet | float | FloatArray) -> Jet:
        """Product with a Jet, a number, or constants of shape (n,)."""
        if not isinstance(other, Jet):
            c = np.asarray(other, dtype=np.float64)
            return Jet(self.value * c, self.first * c[..., None], self.second * c[..., None, None])
        if self.first.shape[-1] == 0:  # values alone
            return Jet.constant(self.value * other.value)
        u, v = self.value[..., None], other.value[..., None]
        cross = self.first[..., :, None] * other.first[..., None, :]
        second = u[..., None] * other.second + v[..., None] * self.second + cross + cross.mT
        return Jet(self.value * other.value, u * other.first + v * self.first, second)

    def through_matrix(self, matrix: FloatArray) -> Jet:
        """The linear functions M f of the n functions f, M of shape (m, n)."""
        second = np.einsum("mn,anpq->ampq", matrix, self.second)
        return Jet(self.value @ matrix.T, matrix @ self.first, second)

    def sum(self) -> Jet:
        """The sum of the n functions, as one function."""
        return Jet(
            self.value.sum(axis=1, keepdims=True),
            self.first.sum(axis=1, keepdims=True),
            self.second.sum(axis=1, keepdims=True),
        )

    def through(self, value: FloatArray, slope: FloatArray, bend: FloatArray) -> Jet:
        """f of each function, from f and its first two derivatives there (they may broadcast)."""
        square = self.first[..., :, None] * self.first[..., None, :]
        second = bend[..., None, None] * square + slope[..., None, None] * self.second
        return Jet(value, slope[..., None] * self.first, second)

    def compose(self, value: FloatArray, gradient: FloatArray, hessian: FloatArray) -> Jet:
        """Functions of all n functions, from their derivatives by these n.

        Parameters
        ----------
        value, gradient, hessian : shapes (n_fits, m), (n_fits, m, n), (n_fits, m, n, n)
        """
        bent = self.first.mT[:, None] @ (hessian @ self.first[:, None])
        a, n, p = self.first.shape
        linear = (gradient @ self.second.reshape(a, n, p * p)).reshape(bent.shape)
        return Jet(value, gradient @ self.first, linear + bent)

    def exp(self) -> Jet:
        """The exponential of each function."""
        value = np.exp(self.value)
        return self.through(value, value, value)

    def tanh(self) -> Jet:
        """The hyperbolic tangent of each function."""
        value = np.tanh(self.value)
        slope = 1.0 - value * value
        return self.through(value, slope, -2.0 * value * slope)

    def sin(self) -> Jet:
        """The sine of each function."""
        value = np.sin(self.value)
        return self.through(value, np.cos(self.value), -value)

    def powers(self, exponents: IntArray | FloatArray) -> Jet:
        """Non-negative whole powers of one function, finite at 0 too."""
        x, k = self.value, exponents
        slope = k * x ** np.maximum(k - 1, 0)
        return self.through(x**k, slope, k * (k - 1) * x ** np.maximum(k - 2, 0))


class Chart(NamedTuple):
    """n functions of p parameters, with second derivatives of one weighted sum of them.

    Attributes
    ----------
    value : shape (n_fits, n)
    first : shape (n_fits, n, p)
    bend : shape (n_fits, p, p)
    """

    value: FloatArray
    first: FloatArray
    bend: FloatArray

    @classmethod
    def of(cls, functions: Jet, weight: FloatArray) -> Chart:
        """That of a Jet, weights (n_fits, n)."""
        bend = np.einsum("ae,aeij->aij", weight, functions.second)
        return cls(functions.value, functions.first, np.asarray(bend))


def concatenate(parts: Sequence[Jet]) -> Jet:
    """All functions of several Jets of the same parameters."""
    return Jet(
        np.concatenate([part.value for part in parts], axis=1),
        np.concatenate([part.first for part in parts], axis=1),
        np.concatenate([part.second for part in parts], axis=1),
    )


class NaturalByJet(ABC):
    """A mixin of structures: natural parameters and their derivatives from one expression."""

    @abstractmethod
    def _natural(self, theta: Jet) -> Jet:
        """Natural parameters."""

    def natural(self, theta: FloatArray) -> FloatArray:
        """Natural parameters, shape (n_fits, n_theta)."""
        return self._natural(Jet.constant(theta)).value

    def natural_jacobian(self, theta: FloatArray) -> FloatArray:
        """Their derivatives by theta, shape (n_fits, n_theta, n_theta)."""
        return self._natural(Jet.variables(theta)).first

    def natural_hessian(self, theta: FloatArray) -> FloatArray:
        """Their second derivatives, shape (n_fits, n_theta, n_theta, n_theta)."""
        return self._natural(Jet.variables(theta)).second
