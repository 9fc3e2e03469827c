"""Certificate: what a fit can show for its claim to be at the optimum."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Certificate:
    """Evidence that a fit is at a minimum of -2 log-likelihood.

    Attributes
    ----------
    newton_decrement
        g'H^-1 g at the last point evaluated: twice the fall of -2 log-likelihood that was still
        predicted there. One more full step was taken after it.
    min_hessian_eigenvalue
        Smallest eigenvalue of the Hessian by the covariance parameters, scaled to a unit diagonal;
        infinite without covariance parameters.
    boundary
        Parameters on the boundary, in words; empty for a regular fit.
    n_evaluations, n_iterations
        Evaluations of the criterion from the first start (start, steps, halvings, solution), and
        Newton steps.
    engine
        What evaluated the criterion.
    n_elsewhere
        Evaluations from other starts, tried where there may be several minima; the rest of the
        certificate is that of the lowest minimum found.
    negative
        Variances below 0, in words, which ``bounded=False`` allows; V = Z G Z' + R is positive
        definite all the same.
    unsearched
        Whether there may be lower minima that were not looked for: evaluations cost so much that
        other starts would have taken too long.

    Examples
    --------
    >>> Certificate(1e-12, 0.4, (), 5, 3, "nested").is_minimum
    True
    """

    newton_decrement: float
    min_hessian_eigenvalue: float
    boundary: tuple[str, ...]
    n_evaluations: int
    n_iterations: int
    engine: str
    n_elsewhere: int = 0
    negative: tuple[str, ...] = ()
    unsearched: bool = False

    @property
    def is_minimum(self) -> bool:
        """Whether gradient and curvature are those of a minimum."""
        return is_minimum(self.newton_decrement, self.min_hessian_eigenvalue)


def is_minimum(decrement: float, min_eigenvalue: float) -> bool:
    """Whether a Newton decrement and a smallest scaled eigenvalue are those of a minimum.

    Examples
    --------
    >>> is_minimum(1e-12, 0.4), is_minimum(1e-12, -0.1)
    (True, False)
    """
    return decrement < 1e-8 and min_eigenvalue > -1e-6
