"""Newton-Raphson on the points where covariance parameters have given values.

The points c(psi) = c0 form a surface. Its local coordinates at a point are an orthonormal basis N
of the null space of c's Jacobian J; a step N z is followed by steps J'(JJ')^-1 (c0 - c) back onto
the surface. Along such a path the criterion f has, at z = 0 exactly, gradient N'g and Hessian
N'(H - sum_i lambda_i C_i) N, with lambda = (JJ')^-1 J g the Lagrange multipliers and C_i the
Hessian of c_i, so Newton's steps keep their quadratic convergence and the certificate its meaning
(Absil, Mahony and Sepulchre 2008, Optimization Algorithms on Matrix Manifolds, section 5.5).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from mlmfast.arrays import BoolArray, FloatArray, IntArray
from mlmfast.covariance.jet import Jet
from mlmfast.criterion.inside_v import with_larger_residual
from mlmfast.criterion.parameters.correlation_starts import with_correlations
from mlmfast.criterion.parameters.functions import CovarianceFunctions
from mlmfast.criterion.parameters.natural_starts import with_natural_parameters
from mlmfast.criterion.scaled import ScaledCriterion
from mlmfast.newton.iteration import Derivatives, NewtonResult, newton_raphson
from mlmfast.newton.options import NewtonOptions

#: Steps back onto the surface, and halvings of each.
_RETURNS, _HALVINGS = 60, 12


class Surface(NamedTuple):
    """Parameters held, by position among the functions', and their values: (n_rows, k) each."""

    which: IntArray
    values: FloatArray


def surface_of(values: Mapping[int, float], n: int) -> Surface:
    """The same parameters held at the same values in each of n rows."""
    which = np.array(list(values), dtype=np.intp)
    numbers = np.array(list(values.values()), dtype=np.float64)
    return Surface(np.tile(which, (n, 1)), np.tile(numbers, (n, 1)))


class ConstrainedResult(NamedTuple):
    """One row a constrained fit.

    Attributes
    ----------
    points : shape (n_rows, n_coordinates)
    newton
        The iteration; its theta has one column more, the row's number.
    multipliers : shape (n_rows, k)
        Derivatives of the minimum by the values held.
    """

    points: FloatArray
    newton: NewtonResult
    multipliers: FloatArray


@dataclass(frozen=True)
class ConstrainedCriterion:
    """The criterion on the surface where parameters have given values, one surface a row.

    Points carry their row's number in a last column: Newton's iteration moves points without
    saying whose they are.
    """

    scaled: ScaledCriterion
    surface: Surface
    responses: IntArray

    def __call__(self, points: FloatArray, rows: IntArray) -> Derivatives:
        """Value and derivatives by the null space's coordinates."""
        at = self.scaled(points[:, :-1], self.responses[rows])
        held = self.held(points)
        basis, multipliers = _split(held.first, at.gradient)
        hessian = at.hessian - np.einsum("ak,akij->aij", multipliers, held.second)
        return Derivatives(
            at.value,
            (basis.mT @ at.gradient[:, :, None])[..., 0],
            basis.mT @ hessian @ basis,
            basis.mT @ at.expected @ basis,
            at.natural_gradient,
            at.natural_hessian,
            at.natural_expected,
        )

    def held(self, points: FloatArray) -> Jet:
        """The parameters held at each point."""
        which = self.surface.which[_rows(points)]
        chosen, places = np.unique(which, return_inverse=True)
        every = self.scaled.functions(points[:, :-1], chosen)
        take = np.arange(len(points))[:, None], places.reshape(which.shape)
        return Jet(every.value[take], every.first[take], np.nan_to_num(every.second[take]))

    def move(self, points: FloatArray, step: FloatArray) -> FloatArray:
        """A step along the surface; the point itself where there is no way back onto it."""
        basis, _ = _split(self.held(points).first, np.zeros_like(points[:, :-1]))
        along = (basis @ step[:, :, None])[..., 0]
        moved, good = self.onto(self._shifted(points, along))
        return np.where(good[:, None], moved, points)

    def onto(self, points: FloatArray) -> tuple[FloatArray, BoolArray]:
        """Points on the surface near these, and whether they were reached.

        Gauss-Newton steps of least length, halved while they lead further away.
        """
        points, targets = points.copy(), self.surface.values[_rows(points)]
        held = self.held(points)
        away = _distance(held, targets)
        for _ in range(_RETURNS):
            active = np.flatnonzero(np.isfinite(away) & (away > 1e-13))
            if active.size == 0:
                break
            step = _return_step(held, targets, active)
            moved = False
            for halving in range(_HALVINGS):
                trial = self._shifted(points[active], step * 0.5**halving)
                at = self.held(trial)
                distance = _distance(at, targets[active])
                closer = distance < away[active]
                rows = active[closer]
                points[rows], away[rows] = trial[closer], distance[closer]
                for part, found in zip(
                    (held.value, held.first, held.second),
                    (at.value, at.first, at.second),
                    strict=True,
                ):
                    part[rows] = found[closer]
                moved |= bool(closer.any())
                active, step = active[~closer], step[~closer]
                if active.size == 0 or bool((away[active] < 1e-10).all()):
                    break
            if not moved:
                break
        return points, away < 1e-9

    def _shifted(self, points: FloatArray, step: FloatArray) -> FloatArray:
        moved = self.scaled.move(points[:, :-1], step)
        return np.concatenate([moved, points[:, -1:]], axis=1)


# A trial far out may overflow, or divide by a range of 0: it is no closer, and dropped.
@np.errstate(all="ignore")
def fit_constrained(
    functions: CovarianceFunctions,
    surface: Surface,
    start: FloatArray,
    options: NewtonOptions,
    responses: IntArray | None = None,
) -> ConstrainedResult:
    """Minimise the criterion with parameters held, one fit a row.

    Parameters
    ----------
    functions
        The model's covariance parameters.
    surface
        Which are held, and at what values, for each row.
    start : shape (n_rows, n_coordinates)
        Points to begin from; they need not lie on the surfaces.
    options
        Settings of the iteration.
    responses : shape (n_rows,)
        Response of each row; the first by default.

    Returns
    -------
    ConstrainedResult
        Rows whose surface was not reached are not converged and have an infinite value.
    """
    n = len(start)
    rows = np.arange(n)
    fits = np.zeros(n, dtype=np.intp) if responses is None else responses
    problem = ConstrainedCriterion(ScaledCriterion(functions), surface, fits)
    start = _put(functions, surface, start)
    points, reached = problem.onto(np.concatenate([start, rows[:, None].astype(float)], axis=1))
    points[:, :-1] = with_larger_residual(functions, surface.which, points[:, :-1])
    if surface.which.shape[1] == functions.n_coordinates:
        newton = _nothing_left(problem, points, reached)
    else:
        newton = newton_raphson(_Reached(problem, reached), points, options, _max_step)
    points = newton.theta
    at = problem.scaled(points[:, :-1], fits)
    _, multipliers = _split(problem.held(points).first, at.gradient)
    return ConstrainedResult(points[:, :-1], newton, multipliers)


@np.errstate(all="ignore")
def points_on(
    functions: CovarianceFunctions, surface: Surface, points: FloatArray
) -> tuple[FloatArray, BoolArray]:
    """The nearest points with given values, one surface a row, and whether there are any."""
    n = len(points)
    problem = ConstrainedCriterion(ScaledCriterion(functions), surface, np.zeros(n, dtype=np.intp))
    points = _put(functions, surface, points)
    numbered = np.concatenate([points, np.arange(n)[:, None].astype(float)], axis=1)
    moved, reached = problem.onto(numbered)
    return with_larger_residual(functions, surface.which, moved[:, :-1]), reached


def _put(functions: CovarianceFunctions, surface: Surface, points: FloatArray) -> FloatArray:
    """Points with those values put in that can be."""
    points = with_correlations(functions, *surface, points)
    return with_natural_parameters(functions, *surface, points)


@dataclass(frozen=True)
class _Reached:
    """A constrained criterion, infinite in the rows that have no point to begin from."""

    problem: ConstrainedCriterion
    reached: BoolArray

    def __call__(self, points: FloatArray, rows: IntArray) -> Derivatives:
        at = self.problem(points, rows)
        return at._replace(value=np.where(self.reached[rows], at.value, np.inf))

    def move(self, points: FloatArray, step: FloatArray) -> FloatArray:
        return self.problem.move(points, step)


def _nothing_left(
    problem: ConstrainedCriterion, points: FloatArray, reached: BoolArray
) -> NewtonResult:
    """The result where every parameter is held."""
    n = len(points)
    value = problem.scaled(points[:, :-1], problem.responses).value
    return NewtonResult(
        theta=points,
        value=np.where(reached, value, np.inf),
        decrement=np.zeros(n),
        min_eigenvalue=np.full(n, np.inf),
        curvature=np.zeros((n, 0)),
        converged=reached.copy(),
        n_iterations=np.zeros(n, dtype=np.intp),
        n_evaluations=np.ones(n, dtype=np.intp),
    )


def _rows(points: FloatArray) -> IntArray:
    return points[:, -1].astype(np.intp)


def _split(jacobian: FloatArray, gradient: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Null space basis (a, t, t - k) of a Jacobian (a, k, t), and Lagrange multipliers (a, k)."""
    k = jacobian.shape[1]
    finite = np.nan_to_num(jacobian, nan=0.0, posinf=0.0, neginf=0.0)
    q, r = np.linalg.qr(finite.mT, mode="complete")
    along = (q[:, :, :k].mT @ gradient[:, :, None])[..., 0]
    triangle = r[:, :k]
    small = np.abs(np.einsum("aii->ai", triangle)).min(axis=1, initial=np.inf) < 1e-300
    triangle = np.where(small[:, None, None], np.eye(k), triangle)
    multipliers = np.linalg.solve(triangle, along[..., None])[..., 0]
    return q[:, :, k:], np.where(small[:, None], 0.0, multipliers)


def _return_step(held: Jet, targets: FloatArray, active: IntArray) -> FloatArray:
    """Shortest step that closes the gap to first order."""
    jacobian = held.first[active]
    gap = (targets - held.value)[active]
    return np.asarray((np.linalg.pinv(jacobian, rcond=1e-10) @ gap[..., None])[..., 0])


def _distance(held: Jet, targets: FloatArray) -> FloatArray:
    """Largest relative distance from the values to hold; NaN where a parameter is undefined."""
    # Relative to what a step of 1 changes where the value itself is 0.
    with np.errstate(over="ignore", invalid="ignore"):
        size = np.maximum(np.abs(targets), 1e-3 * np.sqrt((held.first**2).sum(axis=2)) + 1e-300)
        away = (np.abs(held.value - targets) / size).max(axis=1, initial=0.0)
    return np.where(np.isfinite(held.first).all(axis=(1, 2)), away, np.nan)


def _max_step(points: FloatArray) -> FloatArray:
    theta = points[:, :-1]
    return np.asarray(1.0 + 2.0 * np.sqrt((theta * theta).sum(axis=1)))
