"""Numbers that carry their exact first and second derivatives through ordinary arithmetic."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from mlmfast.arrays import FloatArray


@dataclass(frozen=True, eq=False)
class Differentiable:
    """A number as a function of p parameters.

    Works with ``+ - * / **``, `abs` and NumPy's ``sqrt``, ``exp``, ``log``, ``log1p``, ``expm1``,
    ``square``, ``tanh``, ``arctanh`` and ``absolute``.

    Attributes
    ----------
    value
    first : shape (p,)
    second : shape (p, p)

    Examples
    --------
    >>> x = Differentiable(4.0, np.array([1.0]), np.zeros((1, 1)))
    >>> y = np.sqrt(x) / (1 + x)
    >>> round(y.value, 3), y.first.round(3).tolist()
    (0.4, [-0.03])
    """

    value: float
    first: FloatArray
    second: FloatArray

    def _through(self, value: float, slope: float, bend: float) -> Differentiable:
        square = np.outer(self.first, self.first)
        return Differentiable(value, slope * self.first, bend * square + slope * self.second)

    def __add__(self, other: Any) -> Differentiable:
        if not isinstance(other, Differentiable):
            return Differentiable(self.value + float(other), self.first, self.second)
        return Differentiable(
            self.value + other.value, self.first + other.first, self.second + other.second
        )

    __radd__ = __add__

    def __neg__(self) -> Differentiable:
        return Differentiable(-self.value, -self.first, -self.second)

    def __sub__(self, other: Any) -> Differentiable:
        return self.__add__(-other)

    def __rsub__(self, other: Any) -> Differentiable:
        return (-self).__add__(other)

    def __mul__(self, other: Any) -> Differentiable:
        if not isinstance(other, Differentiable):
            c = float(other)
            return Differentiable(self.value * c, self.first * c, self.second * c)
        cross = np.outer(self.first, other.first)
        second = self.value * other.second + other.value * self.second + cross + cross.T
        first = self.value * other.first + other.value * self.first
        return Differentiable(self.value * other.value, first, second)

    __rmul__ = __mul__

    def __truediv__(self, other: Any) -> Differentiable:
        return self.__mul__(other**-1.0 if isinstance(other, Differentiable) else 1.0 / other)

    def __rtruediv__(self, other: Any) -> Differentiable:
        return (self**-1.0).__mul__(other)

    def __pow__(self, k: Any) -> Differentiable:
        if isinstance(k, Differentiable):
            return np.exp(k * np.log(self))  # type: ignore[no-any-return]
        k, x = float(k), self.value
        slope = 0.0 if k == 0 else k * x ** (k - 1.0)
        bend = 0.0 if k in {0.0, 1.0} else k * (k - 1.0) * x ** (k - 2.0)
        return self._through(x**k, slope, bend)

    def __rpow__(self, base: Any) -> Differentiable:
        return np.exp(self * float(np.log(base)))  # type: ignore[no-any-return]

    def __abs__(self) -> Differentiable:
        return -self if self.value < 0 else self

    def __float__(self) -> float:
        raise TypeError("this would lose the derivatives; use NumPy's functions and operators")

    def __array_ufunc__(self, ufunc: Any, method: str, *inputs: Any, **kwargs: Any) -> Any:
        """NumPy's functions by the chain rule."""
        binary = _BINARY.get(ufunc.__name__)
        if method == "__call__" and not kwargs and binary is not None and len(inputs) == 2:
            return binary(*(x.item() if isinstance(x, np.generic) else x for x in inputs))
        unary = _UNARY.get(ufunc.__name__)
        if method != "__call__" or kwargs or unary is None:
            return NotImplemented
        return self._through(*(float(part) for part in unary(self.value)))


def _tanh(x: float) -> tuple[float, float, float]:
    y = float(np.tanh(x))
    return y, 1.0 - y * y, -2.0 * y * (1.0 - y * y)


_UNARY: dict[str, Callable[[float], tuple[float, float, float]]] = {
    "sqrt": lambda x: (np.sqrt(x), 0.5 / np.sqrt(x), -0.25 * x**-1.5),
    "exp": lambda x: (np.exp(x), np.exp(x), np.exp(x)),
    "expm1": lambda x: (np.expm1(x), np.exp(x), np.exp(x)),
    "log": lambda x: (np.log(x), 1.0 / x, -1.0 / x**2),
    "log1p": lambda x: (np.log1p(x), 1.0 / (1.0 + x), -1.0 / (1.0 + x) ** 2),
    "square": lambda x: (x * x, 2.0 * x, 2.0),
    "tanh": _tanh,
    "arctanh": lambda x: (np.arctanh(x), 1.0 / (1.0 - x * x), 2.0 * x / (1.0 - x * x) ** 2),
    "absolute": lambda x: (abs(x), float(np.sign(x)), 0.0),
    "negative": lambda x: (-x, -1.0, 0.0),
}
_BINARY: dict[str, Callable[[Any, Any], Any]] = {
    "add": lambda a, b: a + b,
    "subtract": lambda a, b: a - b,
    "multiply": lambda a, b: a * b,
    "divide": lambda a, b: a / b,
    "power": lambda a, b: a**b,
}
