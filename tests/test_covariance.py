"""Every covariance structure of the registry: derivatives, round trips, limits."""

from itertools import product

import numpy as np
import pytest
from numpy.testing import assert_allclose

from mlmfast.covariance import STRUCTURES

N_FITS = 4
SIZES = (2, 3, 5)


def structure_of(keyword, size, **order):
    """A structure over `size` levels, or over points in the plane at least 0.5 apart."""
    cls = STRUCTURES[keyword]
    if cls.needs == "levels":
        return cls(size, **order)
    rng = np.random.default_rng(size)
    along = np.arange(size) + 0.5 * rng.uniform(size=size)
    return cls(size, coordinates=np.column_stack([along, rng.uniform(size=size)]), **order)


def cases():
    """(keyword, size, order) of every structure, with bands and factors where it has them."""
    orders = {"toep": (None, 2), "toeph": (None, 2), "un": (None, 2), "fa": (1, 2)}
    orders = {keyword: orders.get(keyword, (None,)) for keyword in STRUCTURES}
    for keyword, size in [*product(STRUCTURES, SIZES), ("us", 8), ("toeph", 8), ("adh", 8)]:
        if size >= STRUCTURES[keyword].minimum_size:
            for order in orders[keyword]:
                name = f"{keyword}-{size}" if order is None else f"{keyword}({order})-{size}"
                arguments = {} if order is None else {"order": order}
                yield pytest.param(structure_of(keyword, size, **arguments), id=name)


every_structure = pytest.mark.parametrize("structure", list(cases()))


def random_theta(structure, spread=0.7, seed=0):
    rng = np.random.default_rng(seed + structure.n_theta)
    return spread * rng.standard_normal((N_FITS, structure.n_theta))


def entries_of(structure, theta):
    matrix = structure.matrix(theta)
    return np.stack([matrix[:, a, b] for a, b in structure.entries], axis=1)


def central(function, theta, h=1e-5):
    """Derivatives of `function` by theta along a new last axis."""
    steps = h * np.eye(theta.shape[1])
    return np.stack([(function(theta + s) - function(theta - s)) / (2 * h) for s in steps], axis=-1)


@every_structure
def test_jacobian_matches_differences(structure):
    theta = random_theta(structure)
    expected = central(lambda t: entries_of(structure, t), theta)
    assert_allclose(structure.jacobian(theta), expected, rtol=1e-6, atol=1e-8)


@every_structure
def test_curvature_matches_differences(structure):
    theta = random_theta(structure)
    weight = np.random.default_rng(1).standard_normal((N_FITS, len(structure.entries)))
    expected = central(lambda t: np.einsum("ae,aei->ai", weight, structure.jacobian(t)), theta)
    curvature = structure.curvature(theta, weight)
    assert_allclose(curvature, expected, rtol=1e-6, atol=1e-7)
    assert_allclose(curvature, curvature.mT, rtol=1e-12, atol=1e-12)


@every_structure
def test_chart_matches_moves(structure):
    theta = structure.theta(structure.matrix(random_theta(structure)))
    weight = np.random.default_rng(1).standard_normal((N_FITS, len(structure.entries)))
    zero = np.zeros_like(theta)
    jacobian, curvature = structure.chart(theta, weight)

    def entries(step):
        return entries_of(structure, structure.move(theta, step))

    def total(step):
        return np.einsum("ae,ae->a", weight, entries(step))

    assert_allclose(jacobian, central(entries, zero), rtol=1e-6, atol=1e-7)
    twice = central(lambda s: central(lambda t: total(t), s, 1e-4), zero, 1e-4)
    assert_allclose(curvature, twice, rtol=1e-4, atol=1e-4)


@every_structure
def test_natural_jacobian_matches_differences(structure):
    theta = random_theta(structure)
    expected = central(structure.natural, theta)
    assert_allclose(structure.natural_jacobian(theta), expected, rtol=1e-6, atol=1e-8)


@every_structure
def test_natural_parameters_return(structure):
    theta = random_theta(structure)
    natural = structure.natural(theta)
    back = structure.from_natural(natural)
    assert_allclose(structure.natural(back), natural, rtol=1e-9, atol=1e-12)
    assert_allclose(structure.matrix(back), structure.matrix(theta), rtol=1e-9, atol=1e-12)


@every_structure
def test_names_and_shapes(structure):
    theta = random_theta(structure)
    n, k, e = structure.n_theta, structure.size, len(structure.entries)
    assert len(structure.parameter_names) == len(set(structure.parameter_names)) == n
    assert structure.natural(theta).shape == (N_FITS, n)
    assert structure.matrix(theta).shape == (N_FITS, k, k)
    assert structure.jacobian(theta).shape == (N_FITS, e, n)
    assert all(a >= b for a, b in structure.entries)
    for words in (structure.label, structure.formula, structure.use):
        assert words


@every_structure
def test_matrix_is_zero_outside_the_entries(structure):
    matrix = structure.matrix(random_theta(structure))
    mask = np.ones((structure.size, structure.size), dtype=bool)
    for a, b in structure.entries:
        mask[a, b] = mask[b, a] = False
    assert not matrix[:, mask].any()
    assert_allclose(matrix, matrix.mT, rtol=0, atol=0)
