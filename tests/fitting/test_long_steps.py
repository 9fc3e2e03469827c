"""Steps along valleys that bend, and beside a tail.

Minima are known from arithmetic; how many evaluations lead there is what is told.
"""

import numpy as np

from mlmfast.newton.iteration import Derivatives, newton_raphson
from mlmfast.newton.options import NewtonOptions
from mlmfast.newton.tails import Tails


def derivatives(value, gradient, hessian, expected):
    empty = np.zeros((len(value), 0))
    return Derivatives(value, gradient, hessian, expected, empty, empty, empty)


class Valley:
    """Rosenbrock's 100 (y - x^2)^2 + (1 - x)^2, lowest at (1, 1); a straight valley expected."""

    def __call__(self, theta, fits):
        x, y = theta.T
        off = y - x * x
        gradient = np.stack([-400 * x * off - 2 * (1 - x), 200 * off], axis=1)
        hessian = np.empty((len(theta), 2, 2))
        hessian[:, 0, 0] = 1200 * x * x - 400 * y + 2
        hessian[:, 0, 1] = hessian[:, 1, 0] = -400 * x
        hessian[:, 1, 1] = 200.0
        value = 100 * off * off + (1 - x) ** 2
        return derivatives(value, gradient, hessian, np.abs(hessian))

    def move(self, theta, step):
        return theta + step


def no_limit(theta):
    return np.full(len(theta), np.inf)


def test_a_valley_that_bends_is_followed_by_long_steps():
    """Steps that are shortened until they lead down take 27 to 41 evaluations from these points."""
    start = np.array([[-1.2, 1.0], [-3.0, 9.0], [4.0, 16.0]])
    found = newton_raphson(Valley(), start, NewtonOptions(), no_limit)
    assert found.converged.all()
    np.testing.assert_allclose(found.theta, 1.0, atol=1e-9)
    assert found.n_evaluations.max() <= 10


def test_what_comes_to_its_end_goes_no_further_along_a_tail():
    """Of exp(-t) steps are as long as the last; of a minimum that is reached they die out."""
    tails, row = Tails(np.zeros((1, 3)), 1e-9), np.array([0])
    tails.keep(row, np.array([[1.0, 0.1, -0.1]]), np.ones(1), np.ones(1, dtype=np.bool_))
    step = np.array([[0.9, 0.005, 0.08]])
    assert tails.repeated(row, step, step).tolist() == [[True, False, False]]
    # Coordinates that turn on the way do not tell.
    assert tails.repeated(row, step, step[:, ::-1]).all()
    assert tails.repeated(row, step, step[:, :2]).tolist() == [[True, True]]
