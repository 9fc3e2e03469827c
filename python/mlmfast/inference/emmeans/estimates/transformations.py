"""Functions of the response that a model is of, their inverses and derivatives."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from difflib import get_close_matches
from functools import partial
from typing import TypeAlias

import numpy as np

from mlmfast.arrays import FloatArray
from mlmfast.errors import ModelError
from mlmfast.formula.syntax import Binary, Call, Name, Node, Number, Paren, Unary, parse
from mlmfast.running.scipy_on_use import special

Function: TypeAlias = Callable[[FloatArray], FloatArray]


@dataclass(frozen=True)
class Transformation:
    """A function g of the response, known by its inverse h.

    Attributes
    ----------
    name
        As reports call it.
    forward
        g.
    derivatives
        h, h', h'' and h'''.
    differences
        What the inverse of a difference is called: "ratio" for logarithms; empty for nothing.
    of_differences
        Whether estimates are differences, whose inverse is that.
    shift
        c of log(y + c): a ratio of y + c is no ratio of y.
    """

    name: str
    forward: Function
    derivatives: tuple[Function, Function, Function, Function]
    differences: str = ""
    of_differences: bool = False
    shift: float = 0.0

    def inverse(self, eta: FloatArray, spread: FloatArray | float = 0.0) -> FloatArray:
        """h(eta) + h''(eta) spread^2 / 2, the mean of h at a normal variable to second order."""
        h, _, second, _ = self.derivatives
        with np.errstate(all="ignore"):
            value = h(eta)
            return value if np.all(spread == 0.0) else value + second(eta) * spread**2 / 2

    def slope(self, eta: FloatArray, spread: FloatArray | float = 0.0) -> FloatArray:
        """The derivative of `inverse`."""
        _, first, _, third = self.derivatives
        with np.errstate(all="ignore"):
            value = first(eta)
            return value if np.all(spread == 0.0) else value + third(eta) * spread**2 / 2

    def of_combinations(self, coefficients: FloatArray) -> Transformation | None:
        """That of combinations: the same for averages, another for differences, else none.

        Examples
        --------
        >>> log = transformation("log")
        >>> log.of_combinations(np.array([[1.0, -1.0]])).name
        'ratio'
        >>> transformation("sqrt").of_combinations(np.array([[1.0, -1.0]])) is None
        True
        """
        with np.errstate(invalid="ignore"):
            sums = coefficients.sum(axis=1)
        if np.allclose(sums, 1.0) and not self.of_differences:
            return self
        keeps = self.of_differences or (np.allclose(sums, 0.0) and not self.shift)
        if not (self.differences and keeps):
            return None
        plain = self.derivatives if self.differences == "ratio" else _EXP
        return replace(self, name=self.differences, derivatives=plain, of_differences=True)


def _powers_of(base: float) -> tuple[Function, Function, Function, Function]:
    rate = float(np.log(base))
    exp = (lambda x, k=k: rate**k * np.exp(rate * x) for k in range(4))
    return tuple(exp)  # type: ignore[return-value]


_EXP = _powers_of(math.e)


def _shifted(shift: float) -> tuple[Function, Function, Function, Function]:
    return (lambda x: np.exp(x) - shift, *_EXP[1:])


def _expit_derivatives() -> tuple[Function, Function, Function, Function]:
    def first(x: FloatArray) -> FloatArray:
        p = special.expit(x)
        return np.asarray(p * (1 - p))

    def second(x: FloatArray) -> FloatArray:
        p = special.expit(x)
        return np.asarray(p * (1 - p) * (1 - 2 * p))

    def third(x: FloatArray) -> FloatArray:
        p = special.expit(x)
        return np.asarray(p * (1 - p) * (1 - 6 * p * (1 - p)))

    return special.expit, first, second, third


def _density(x: FloatArray) -> FloatArray:
    return np.asarray(np.exp(-0.5 * x**2) / np.sqrt(2 * np.pi))


def _log_log_slope(x: FloatArray) -> FloatArray:
    return np.asarray(np.exp(x - np.exp(x)))


def _power(exponent: float) -> Transformation:
    """y^exponent, whose inverse is a power again."""
    q = 1.0 / exponent
    factors = (1.0, q, q * (q - 1), q * (q - 1) * (q - 2))

    def power(x: FloatArray, k: int) -> FloatArray:
        # A factor of 0 must not meet an infinite power.
        return np.asarray(factors[k] * x ** (q - k) if factors[k] else np.zeros_like(x))

    derivatives = tuple(partial(power, k=k) for k in range(4))
    return Transformation(f"power {exponent:g}", lambda y: y**exponent, derivatives)  # type: ignore[arg-type]


def _known() -> dict[str, Transformation]:
    log, log1p = np.log, np.log1p
    return {
        "log": Transformation("log", log, _EXP, "ratio"),
        "log2": Transformation("log2", np.log2, _powers_of(2.0), "ratio"),
        "log10": Transformation("log10", np.log10, _powers_of(10.0), "ratio"),
        "log1p": Transformation("log1p", log1p, _shifted(1.0), "ratio", shift=1.0),
        "sqrt": replace(_power(0.5), name="sqrt"),
        "inverse": replace(_power(-1.0), name="inverse"),
        "logit": Transformation("logit", special.logit, _expit_derivatives(), "odds ratio"),
        "probit": Transformation(
            "probit",
            special.ndtri,
            (
                special.ndtr,
                _density,
                lambda x: -x * _density(x),
                lambda x: (x**2 - 1) * _density(x),
            ),
        ),
        "cloglog": Transformation(
            "cloglog",
            lambda y: np.log(-np.log1p(-y)),
            (
                lambda x: -np.expm1(-np.exp(x)),
                _log_log_slope,
                lambda x: _log_log_slope(x) * (1 - np.exp(x)),
                lambda x: _log_log_slope(x) * ((1 - np.exp(x)) ** 2 - np.exp(x)),
            ),
        ),
        "asin.sqrt": Transformation(
            "asin.sqrt",
            lambda y: np.arcsin(np.sqrt(y)),
            (
                lambda x: np.sin(x) ** 2,
                lambda x: np.sin(2 * x),
                lambda x: 2 * np.cos(2 * x),
                lambda x: -4 * np.sin(2 * x),
            ),
        ),
        "identity": Transformation(
            "identity", lambda y: y, (lambda x: x, np.ones_like, np.zeros_like, np.zeros_like)
        ),
    }


_SPELLINGS = {"ln": "log", "arcsine": "asin.sqrt", "1/y": "inverse", "reciprocal": "inverse"}


def transformation(given: object) -> Transformation:
    """A transformation by its name, or the power y^given.

    Raises
    ------
    ModelError
        For a name that is none.

    Examples
    --------
    >>> float(transformation("log10").inverse(np.array(2.0)).round(6))
    100.0
    """
    if isinstance(given, Transformation):
        return given
    if isinstance(given, int | float) and not isinstance(given, bool):
        if not np.isfinite(given) or given == 0:
            raise ModelError(f"the power of a response must be finite and not 0, and is {given!r}")
        return _power(float(given))
    known = _known()
    name = _SPELLINGS.get(str(given), str(given))
    if name in known:
        return known[name]
    near = get_close_matches(str(given), known, n=1)
    hint = f"; did you mean {near[0]!r}?" if near else ""
    raise ModelError(
        f"{given!r} is not a transformation{hint} ({', '.join(known)}, or a number for a power)"
    )


def of_response(expression: str) -> Transformation | None:
    """The transformation that a formula's left side is; None for the plain response.

    Examples
    --------
    >>> [getattr(of_response(text), "name", None) for text in ("log(y + 1)", "y", "I(y^2)")]
    ['log', None, 'power 2']
    """
    return _of_node(parse(expression))


def _of_node(node: Node) -> Transformation | None:
    if isinstance(node, Paren):
        return _of_node(node.inner)
    if isinstance(node, Call) and node.function == "I" and len(node.arguments) == 1:
        return _of_node(node.arguments[0])
    if isinstance(node, Call) and len(node.arguments) == 1 and not node.keywords:
        return _of_call(node.function.removeprefix("np."), node.arguments[0])
    if isinstance(node, Binary) and isinstance(node.left, Name) and node.operator in {"^", "**"}:
        exponent = _number(node.right)
        return None if not exponent or exponent == 1 else _power(exponent)
    if isinstance(node, Binary) and node.operator == "/" and isinstance(node.right, Name):
        return transformation("inverse") if _number(node.left) == 1.0 else None
    return None


def _of_call(function: str, argument: Node) -> Transformation | None:
    if isinstance(argument, Paren):
        return _of_call(function, argument.inner)
    if function in {"log", "log2", "log10", "log1p", "sqrt"} and isinstance(argument, Name):
        return transformation(function)
    if function == "log" and isinstance(argument, Binary) and isinstance(argument.left, Name):
        shift = _number(argument.right)
        if shift is not None and argument.operator in {"+", "-"}:
            shift = shift if argument.operator == "+" else -shift
            plain = transformation("log")
            forward = partial(_log_of_sum, shift=shift)
            return replace(plain, forward=forward, derivatives=_shifted(shift), shift=shift)
    return None


def _log_of_sum(y: FloatArray, shift: float) -> FloatArray:
    return np.asarray(np.log(y + shift))


def _number(node: Node) -> float | None:
    """A number as it stands in a formula, with a sign or as a fraction."""
    if isinstance(node, Number):
        return float(node.value)
    if isinstance(node, Paren):
        return _number(node.inner)
    if isinstance(node, Unary) and node.operator == "-":
        inner = _number(node.operand)
        return None if inner is None else -inner
    if isinstance(node, Binary) and node.operator == "/":
        above, below = _number(node.left), _number(node.right)
        return above / below if above is not None and below else None
    return None


def is_plain(expression: str) -> bool:
    """Whether a formula's left side is a column as it stands."""
    return isinstance(parse(expression), Name)
