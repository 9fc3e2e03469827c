"""Derivatives by the coefficients, from which standard errors follow.

marginaleffects differentiates by forward differences, each coefficient moved by 1.5e-8 of itself.
A slope is itself a difference, over a ten-thousandth of its variable's range, and what rounding
leaves of the two is off by 1e-3 or more where predictions are large beside a coefficient. Here
coefficients move by a thousandth of their standard errors to both sides: a prediction is linear in
them, so that nothing is lost by the wider step.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from mlmfast.arrays import FloatArray

#: Steps in standard errors.
_STEP = 1e-3


class Coefficients(np.ndarray):
    """Coefficients that know how far they are moved for a derivative."""

    steps: FloatArray

    @classmethod
    def of(cls, beta: FloatArray, errors: FloatArray) -> Coefficients:
        """Coefficients with steps by their standard errors.

        Examples
        --------
        >>> Coefficients.of(np.array([2.0, 3.0]), np.array([0.5, np.nan])).steps
        array([0.0005, 0.003 ])
        """
        own = np.array(beta, dtype=np.float64).view(cls)
        usable = np.isfinite(errors) & (errors > 0.0)
        own.steps = _STEP * np.where(usable, errors, np.maximum(np.abs(beta), 1e-3))
        return own

    def __array_wrap__(self, array: Any, context: Any = None, return_scalar: bool = False) -> Any:
        """What is computed of them is an array or a number like any other."""
        return array[()] if return_scalar else np.asarray(array)


def jacobian(values: Callable[[FloatArray], FloatArray], coefficients: Coefficients) -> FloatArray:
    """Derivatives of a function of the coefficients by central differences, (n_values, p).

    Examples
    --------
    >>> at = Coefficients.of(np.array([2.0, 3.0]), np.array([0.5, 0.1]))
    >>> jacobian(lambda b: np.array([b[0] * b[1], b[0]]), at).round(8)
    array([[3., 2.],
           [1., 0.]])
    """
    beta = np.asarray(coefficients)
    columns = []
    for j, step in enumerate(coefficients.steps):
        up, down = beta.copy(), beta.copy()
        up[j] += step
        down[j] -= step
        columns.append((values(up) - values(down)) / (up[j] - down[j]))
    return np.stack(columns, axis=1)


def with_own_steps(theirs: Callable[..., Any], vector: Callable[[Any], FloatArray]) -> Any:
    """`get_jacobian` of marginaleffects, by `jacobian` where the coefficients are a fit's.

    Parameters
    ----------
    theirs
        The function itself.
    vector
        What makes an array of an estimand.
    """

    def get_jacobian(func: Callable[[Any], Any], coefs: Any, eps_vcov: Any = None) -> Any:
        if eps_vcov is not None or not isinstance(coefs, Coefficients):
            return theirs(func, coefs, eps_vcov=eps_vcov)
        return jacobian(lambda beta: vector(func(beta)), coefs)

    return get_jacobian
