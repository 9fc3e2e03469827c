"""What an iteration leaves behind."""

from __future__ import annotations

from dataclasses import dataclass

from mlmfast.arrays import BoolArray, FloatArray, IntArray


@dataclass(frozen=True)
class NewtonResult:
    """One row a fit; ``theta`` is the last point evaluated plus a last full step.

    Attributes
    ----------
    theta : shape (n_fits, n_theta)
    value : shape (n_fits,), criterion at the last evaluated point.
    decrement : shape (n_fits,), g'H^-1 g there.
    min_eigenvalue : shape (n_fits,), smallest eigenvalue of the scaled Hessian there.
    curvature : shape (n_fits, n_coordinates), diagonal of the Hessian there.
    converged : shape (n_fits,)
    n_iterations, n_evaluations : shape (n_fits,)
    """

    theta: FloatArray
    value: FloatArray
    decrement: FloatArray
    min_eigenvalue: FloatArray
    curvature: FloatArray
    converged: BoolArray
    n_iterations: IntArray
    n_evaluations: IntArray
