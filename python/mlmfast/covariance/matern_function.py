"""The Matern correlation as a function of distance and smoothness, with its derivatives."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from mlmfast.arrays import FloatArray

#: Distances in ranges below the first count as it, those above the second as that.
_SHORTEST, _LONGEST = 1e-12, 1e6
#: Step of the quadrature, and what its terms may lose on the largest, as a logarithm.
_STEP, _NEGLIGIBLE = 0.1, 45.0
#: Terms of the quadrature held at a time.
_BLOCK = 40_000
#: Parts of a decade, each with its interpolation; its nodes, and up to how many points need none.
_PARTS, _NODES, _FEW = 4, 16, 100
#: Decade from which on the value and its derivatives are below every number.
_FAR = 3
#: Points whose polynomials are held at a time: these stay in the cache.
_POINTS = 2048


class MaternValue(NamedTuple):
    """The Matern correlation, each field of shape (n_fits, n), with derivatives by z and nu."""

    value: FloatArray
    by_z: FloatArray
    by_nu: FloatArray
    by_zz: FloatArray
    by_z_nu: FloatArray
    by_nu_nu: FloatArray


def matern(z: FloatArray, nu: FloatArray) -> MaternValue:
    """2 / Gamma(nu) (z / 2)^nu K_nu(z), with first and second derivatives.

    By the trapezoidal rule on K_nu(z) = int_0^inf exp(-z cosh t) cosh(nu t) dt, whose error falls
    faster than any power of the step since the integrand is even and analytic: Bessel functions
    have no closed derivatives by their order. Those by z come from K at nu - 1 and nu - 2,
    d/dz z^n K_n = -z^n K_n-1. What depends on nu alone is a matrix of weights that all distances of
    a decade share.

    Where many distances lie in a quarter of a decade, the quadrature is done at the Chebyshev
    points of log z there and interpolated: the logarithm of exp(z) times the value, and the ratios
    of the derivatives to the value. They are analytic in a strip about the real axis, and 16 points
    leave less than rounding does (Trefethen 2013, Approximation Theory and Approximation Practice,
    chapter 8).

    Parameters
    ----------
    z : shape (n_fits, n), positive
    nu : shape (n_fits, 1)

    Examples
    --------
    >>> at = matern(np.array([[1.0]]), np.array([[0.5]]))
    >>> bool(abs(at.value[0, 0] - np.exp(-1.0)) < 1e-14)
    True
    """
    out = np.empty((6, *z.shape))
    z = np.clip(z, _SHORTEST, _LONGEST)
    for fit, order in enumerate(nu[:, 0].tolist()):
        _fill(out[:, fit], z[fit], order)
    return MaternValue(*out)


def _fill(out: FloatArray, z: FloatArray, nu: float) -> None:
    """The fields at distances (n,) of one fit, (6, n)."""
    part = np.floor(np.log10(z) * _PARTS).astype(np.int16)
    order = np.argsort(part, kind="stable")
    starts = np.flatnonzero(np.diff(part[order], prepend=-1000))
    decades: dict[int, _Decade] = {}
    for own in np.split(order, starts[1:]):
        first = int(part[own[0]])
        decade = first // _PARTS
        if decade >= _FAR:
            out[:, own] = 0.0
            continue
        if decade not in decades:
            decades[decade] = _Decade(float(decade), nu)
        if len(own) > _FEW:
            out[:, own] = _interpolated(decades[decade], first, z[own])
        else:
            out[:, own] = decades[decade].at(z[own])


def _interpolated(decade: _Decade, part: int, z: FloatArray) -> FloatArray:
    """The fields at distances (n,) in a part of the decade, (6, n)."""
    middle, half = 10.0 ** ((part + 0.5) / _PARTS), 0.5 * np.log(10.0) / _PARTS
    # The logarithm of a ratio near 1 has more digits than a difference of logarithms.
    x = np.log(z / middle) / half
    angles = np.pi * (np.arange(_NODES) + 0.5) / _NODES
    nodes = middle * np.exp(half * np.append(np.cos(angles), 0.0))
    fields = decade.scaled(nodes)
    in_the_middle = fields[0, -1]
    fields = fields[:, :-1]
    fields[1:] /= fields[0]
    fields[0] = np.log(fields[0] / in_the_middle)
    polynomials = np.cos(np.arange(_NODES)[:, None] * angles)
    polynomials[0] *= 0.5
    coefficients = fields @ polynomials.T * (2.0 / _NODES)
    out = np.empty((6, len(x)))
    for first in range(0, len(x), _POINTS):
        own = slice(first, first + _POINTS)
        out[:, own] = coefficients @ _chebyshev(x[own])
    np.exp(out[0], out=out[0])
    out[0] *= in_the_middle * np.exp(-z)
    out[1:] *= out[0]
    return out


def _chebyshev(x: FloatArray) -> FloatArray:
    """The first Chebyshev polynomials, (16, n)."""
    out = np.empty((_NODES, len(x)))
    out[0], out[1] = 1.0, x
    twice = 2.0 * x
    for k in range(2, _NODES):
        np.multiply(twice, out[k - 1], out=out[k])
        out[k] -= out[k - 2]
    return out


class _Decade:
    """The quadrature for 10^decade <= z < 10^(decade + 1)."""

    def __init__(self, decade: float, nu: float) -> None:
        from scipy.special import gammaln, polygamma, psi

        shortest = 10.0**decade
        # Far out the integrand is a normal density of variance 1 / z.
        step = min(_STEP, 0.5 / np.sqrt(10.0 * shortest))
        highest = max(nu, abs(nu - 2.0))
        end = np.arccosh((_NEGLIGIBLE + 40.0 * highest) / min(shortest, 1.0) + 1.0)
        t = np.arange(0.0, end, step)
        exponent = highest * t - shortest * _cosh_less_1(t)
        t = t[: 1 + np.flatnonzero(exponent > exponent.max() - _NEGLIGIBLE)[-1]]
        self.nu, self.rise = nu, _cosh_less_1(t)
        #: Derivatives by nu of the logarithm of (z / 2)^nu / Gamma(nu) are near 0 at this z.
        self.middle = np.sqrt(10.0) * shortest
        log_slope = psi(nu) - np.log(0.5 * self.middle)
        self.scale = float((nu * t - self.middle * self.rise).max())
        self.constant, self.bend = float(self.scale - gammaln(nu)), float(polygamma(1, nu))
        weight = np.full(len(t), step)
        weight[0] *= 0.5

        def kernel(order: float) -> FloatArray:
            return np.asarray(weight * np.exp(np.logaddexp(order * t, -order * t) - self.scale))

        by_nu = t * np.tanh(nu * t) - log_slope
        twice = by_nu * by_nu + (t / np.cosh(np.minimum(nu * t, 700.0))) ** 2
        below = t * np.tanh((nu - 1.0) * t) - log_slope
        own, one = kernel(nu), kernel(nu - 1.0)
        columns = [own, one, kernel(nu - 2.0), own * by_nu, one * below, own * twice]
        self.weights = np.stack(columns, axis=1)

    def at(self, z: FloatArray) -> FloatArray:
        """The fields of `MaternValue`, (6, n)."""
        return self._fields(z, -z)

    def scaled(self, z: FloatArray) -> FloatArray:
        """The same times exp(z)."""
        return self._fields(z, np.zeros_like(z))

    def _fields(self, z: FloatArray, exponent: FloatArray) -> FloatArray:
        # Products so small that BLAS makes them in one thread, and in its cache.
        size = max(1, _BLOCK // len(self.rise))
        starts = range(0, len(z), size)
        blocks = [np.exp(-z[k : k + size, None] * self.rise) @ self.weights for k in starts]
        factor = np.exp(self.nu * np.log(0.5 * z) + exponent + self.constant)
        value, one, two, by_nu, by_nu_one, twice = np.concatenate(blocks).T * factor
        slope = np.log(z / self.middle)
        return np.stack(
            [
                value,
                -one,
                slope * value + by_nu,
                two - one / z,
                -slope * one - by_nu_one,
                (slope * slope - self.bend) * value + 2.0 * slope * by_nu + twice,
            ]
        )


def _cosh_less_1(t: FloatArray) -> FloatArray:
    return np.asarray(2.0 * np.sinh(0.5 * t) ** 2)
