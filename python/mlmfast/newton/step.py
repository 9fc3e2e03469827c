"""Newton's step at one point a row, from the derivatives of a criterion there."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

import mlmfast._core as _core
from mlmfast.arrays import BoolArray, FloatArray, IntArray
from mlmfast.eigen import is_small
from mlmfast.newton.large_step import MANY, large_step
from mlmfast.running.interruptible import interruptible


class Derivatives(NamedTuple):
    """A criterion at one theta a row.

    Value (a,); gradient (a, t), Hessian and expected Hessian (a, t, t) by coordinates local to
    theta; the same (a, k), (a, k, k) by the natural parameters, in which the model is linear.
    """

    value: FloatArray
    gradient: FloatArray
    hessian: FloatArray
    expected: FloatArray
    natural_gradient: FloatArray
    natural_hessian: FloatArray
    natural_expected: FloatArray

    def rows(self, keep: IntArray | BoolArray) -> Derivatives:
        """The rows ``keep``; these themselves where that is all."""
        n = len(self.value)
        if len(keep) == n and (keep.all() if keep.dtype == np.bool_ else (keep == range(n)).all()):
            return self
        return Derivatives(*(part[keep] for part in self))


class Step(NamedTuple):
    """A step, its slope, the Newton decrement and the smallest scaled eigenvalue."""

    step: FloatArray
    slope: FloatArray
    decrement: FloatArray
    min_eigenvalue: FloatArray


def newton_step(at: Derivatives, floor: float) -> Step:
    """Newton steps -|H|^-1 g with eigenvalues of the scaled Hessian made positive.

    The Hessian is scaled by the roots of the expected information's diagonal; ``|eigenvalue|``
    turns a step towards a saddle into a step away from it.
    """
    if is_small(at.gradient.shape[1]):
        return _small_step(at, floor)
    if at.gradient.shape[1] >= MANY:
        return _large_steps(at, floor)
    return _by_eigenvalues(at, floor)


def _large_steps(at: Derivatives, floor: float) -> Step:
    """The same row by row for many parameters, without eigenvalues where they are not needed."""
    rows = []
    for k in range(len(at.gradient)):
        found = large_step(at.gradient[k], at.hessian[k], at.expected[k], floor)
        if found is None:
            rows.append(_by_eigenvalues(at.rows(np.array([k])), floor))
        else:
            step, slope, smallest = found
            rows.append(Step(step[None], *(np.array([x]) for x in (slope, -slope, smallest))))
    return Step(*(np.concatenate(parts) for parts in zip(*rows, strict=True)))


def _by_eigenvalues(at: Derivatives, floor: float) -> Step:
    diagonal = np.maximum(
        np.einsum("aii->ai", at.expected), np.abs(np.einsum("aii->ai", at.hessian))
    )
    scale = np.sqrt(np.maximum(diagonal, 1e-12 * diagonal.max(axis=1, initial=1e-300)[:, None]))
    scaled = at.hessian / (scale[:, :, None] * scale[:, None, :])
    try:
        values, vectors = interruptible(np.linalg.eigh, scaled)
    except np.linalg.LinAlgError:
        return _where_finite(at, scaled, floor)
    gradient = at.gradient / scale
    along = (vectors.mT @ gradient[:, :, None])[..., 0]
    size = np.maximum(np.abs(values), floor)
    step = -(vectors @ (along / size)[:, :, None])[..., 0] / scale
    slope = (at.gradient[:, None, :] @ step[:, :, None])[:, 0, 0]
    return Step(step, slope, -slope, values[:, 0])


def _small_step(at: Derivatives, floor: float) -> Step:
    """The same by the core, for few parameters."""
    gradient, hessian, expected = map(np.ascontiguousarray, (at.gradient, at.hessian, at.expected))
    step, slope, smallest = _core.newton_steps(gradient, hessian, expected, floor)
    decrement = -slope
    # Derivatives that are not finite give no step, and no certificate.
    slope[np.isneginf(smallest)] = 0.0
    return Step(step, slope, decrement, smallest)


def _where_finite(at: Derivatives, scaled: FloatArray, floor: float) -> Step:
    """Steps of the rows whose derivatives are finite; none, and no certificate, for the others.

    Derivatives overflow where a trial has gone far beyond all covariances of the data.
    """
    good = np.asarray(np.isfinite(scaled).all(axis=(1, 2)) & np.isfinite(at.gradient).all(axis=1))
    if good.all():
        raise np.linalg.LinAlgError("the eigenvalues of a finite Hessian did not converge")
    n, t = at.gradient.shape
    out = Step(np.zeros((n, t)), np.zeros(n), np.full(n, np.inf), np.full(n, -np.inf))
    if good.any():
        for whole, part in zip(out, newton_step(at.rows(good), floor), strict=True):
            whole[good] = part
    return out
