"""Distributions by name, ``t(5)``: standardised for errors and effects, plain for covariates."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from mlmfast.arrays import FloatArray
from mlmfast.errors import ModelError
from mlmfast.simulation.streams import Kind
from mlmfast.words import did_you_mean

Draw = Callable[[np.random.Generator, Any], FloatArray]

_CALL = re.compile(r"\s*([A-Za-z_]\w*)\s*(?:\(([^()]*)\))?\s*\Z")


def _normal(generator: np.random.Generator, size: Any) -> FloatArray:
    return np.asarray(generator.standard_normal(size))


def _t(df: float) -> Draw:
    if not df > 2:
        raise ModelError(f"t({df:g}) has no variance; its degrees of freedom must exceed 2")
    scale = np.sqrt((df - 2.0) / df)
    return lambda generator, size: np.asarray(generator.standard_t(df, size) * scale)


def _chi2(df: float) -> Draw:
    _positive("chi2", df)
    return lambda generator, size: (generator.chisquare(df, size) - df) / np.sqrt(2.0 * df)


def _lognormal(sigma: float) -> Draw:
    _positive("lognormal", sigma)
    mean = np.exp(0.5 * sigma**2)
    sd = mean * np.sqrt(np.expm1(sigma**2))
    return lambda generator, size: (generator.lognormal(0.0, sigma, size) - mean) / sd


def _uniform() -> Draw:
    return lambda generator, size: (generator.random(size) - 0.5) * np.sqrt(12.0)


def _laplace() -> Draw:
    return lambda generator, size: np.asarray(generator.laplace(0.0, np.sqrt(0.5), size))


def _positive(name: str, value: float) -> None:
    if not value > 0:
        raise ModelError(f"{name}({value:g}): the number must be positive")


#: Name, what makes it, how many numbers it takes.
_STANDARD: dict[str, tuple[Callable[..., Draw], int]] = {
    "normal": (lambda: _normal, 0),
    "t": (_t, 1),
    "chi2": (_chi2, 1),
    "lognormal": (_lognormal, 1),
    "uniform": (_uniform, 0),
    "laplace": (_laplace, 0),
}


def standardised(text: str, role: str) -> Draw:
    """Draws of mean 0 and variance 1: ``normal``, ``t(5)``, ``chi2(3)``, ``lognormal(1)``, ...

    Parameters
    ----------
    text
        ``normal``, ``t(df)``, ``chi2(df)``, ``lognormal(sigma)``, ``uniform`` or ``laplace``.
    role
        Whose distribution it is, for messages.

    Raises
    ------
    ModelError

    Examples
    --------
    >>> x = standardised("chi2(3)", "errors")(np.random.default_rng(1), 100_000)
    >>> bool(abs(x.mean()) < 0.02 and abs(x.std() - 1) < 0.02)
    True
    """
    name, numbers = _read(text, role, _STANDARD)
    return _STANDARD[name][0](*numbers)


_PLAIN = {"normal": (0, 2), "uniform": (0, 2), "binary": (0, 1)}


@dataclass(frozen=True)
class CovariateDistribution:
    """Distribution of a covariate: ``normal(mean, sd)``, ``uniform(low, high)``, ``binary(share)``.

    Examples
    --------
    >>> binary = CovariateDistribution.of("binary(0.25)", "x")
    >>> binary.kind, binary.values(np.array([0.1, 0.25, 0.9])).tolist()
    ('uniform', [1.0, 0.0, 0.0])
    """

    text: str
    name: str
    numbers: tuple[float, ...]

    @classmethod
    def of(cls, text: str, role: str) -> CovariateDistribution:
        """Read its text."""
        name, numbers = _read(text, role, _PLAIN)
        if name == "normal":
            numbers = numbers or (0.0, 1.0)
            _positive("normal", numbers[1])
        elif name == "uniform":
            numbers = numbers or (0.0, 1.0)
            if not numbers[0] < numbers[1]:
                raise ModelError(f"{role}: {text!r} has no width; write uniform(low, high)")
        else:
            numbers = numbers or (0.5,)
            if not 0.0 < numbers[0] < 1.0:
                raise ModelError(f"{role}: {text!r}: the share of ones lies between 0 and 1")
        return cls(text, name, numbers)

    @property
    def kind(self) -> Kind:
        """What `values` are made of: "normal" or "uniform" numbers."""
        return "normal" if self.name == "normal" else "uniform"

    def values(self, numbers: FloatArray) -> FloatArray:
        """Values, given standard normal numbers or those of [0, 1)."""
        if self.name == "binary":
            return (numbers < self.numbers[0]).astype(np.float64)
        first, second = self.numbers
        out = (second if self.name == "normal" else second - first) * numbers
        out += first
        return out


def _read(text: Any, role: str, known: dict[str, Any]) -> tuple[str, tuple[float, ...]]:
    """Name and numbers of ``name(number, ...)``."""
    match = _CALL.match(text) if isinstance(text, str) else None
    if match is None:
        raise ModelError(
            f"{role} is {text!r}; give a distribution by its name, one of {', '.join(known)}"
        )
    name, inside = match.group(1), match.group(2)
    if name not in known:
        hint = did_you_mean(name, known)
        raise ModelError(
            f"{role}: there is no distribution {name!r}{hint} (there are {', '.join(known)})"
        )
    try:
        numbers = tuple(float(part) for part in (inside or "").split(",") if part.strip())
    except ValueError:
        raise ModelError(f"{role}: {text!r} has something in it that is no number") from None
    allowed = known[name] if known is _PLAIN else (known[name][1],)
    if len(numbers) not in allowed or not np.isfinite(numbers).all():
        takes = " or ".join(map(str, allowed))
        raise ModelError(f"{role}: {name} takes {takes} finite numbers; found {text!r}")
    return name, numbers
