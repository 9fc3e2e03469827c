"""The Matern correlation and its derivatives: arbitrary precision, Bessel functions, bits."""

import json
from pathlib import Path

import numpy as np
import pytest
from numpy.testing import assert_allclose

from mlmfast.covariance import STRUCTURES
from mlmfast.covariance.matern_function import matern

REFERENCE = Path(__file__).parents[1] / "reference" / "matern.json"


#: Errors of the value and its derivatives that are allowed.
DIGITS = (1e-13, 1e-14, 1e-13, 1e-14, 1e-14, 5e-13)


def _scales(z, nu):
    """Derivatives by log z and log nu are of the size of the correlation, or smaller."""
    return 1.0, z, nu, z * z, z * nu, nu * nu


def _check_digits(found, expected, z, nu, relative=0.0):
    for own, right, scale, atol in zip(found, expected, _scales(z, nu), DIGITS, strict=True):
        assert_allclose(own * scale, right * scale, rtol=relative * atol, atol=atol)
    # Far out too the value has digits of its own.
    assert_allclose(found[0], expected[0], rtol=1e-13)


def test_value_and_derivatives_are_those_of_arbitrary_precision():
    z, nu, *expected = np.array(json.loads(REFERENCE.read_text())["rows"]).T
    found = np.stack([np.ravel(matern(*at)) for at in _one_by_one(z, nu)], axis=1)
    _check_digits(found, expected, z, nu)


def test_many_distances_at_once_are_those_of_arbitrary_precision():
    """Where the quadrature is interpolated, the digits are the same, relative to what exceeds 1."""
    z, nu, *expected = np.array(json.loads(REFERENCE.read_text())["rows"]).T
    found = np.empty((6, len(z)))
    for order in np.unique(nu):
        own = np.flatnonzero(nu == order)
        beside = z[own, None] * np.linspace(0.7, 1.4, 300)
        many = np.concatenate([z[own], beside.ravel()])[None]
        found[:, own] = np.stack(matern(many, np.array([[order]])))[:, 0, : len(own)]
    _check_digits(found, expected, z, nu, relative=1.0)


@pytest.mark.parametrize("nu", [0.02, 0.3, 0.5, 1.0, 2.6, 9.0, 19.99])
def test_interpolation_is_the_quadrature(nu):
    z = np.geomspace(1e-7, 400.0, 5000)
    many = np.stack(matern(z[None], np.array([[nu]])))[:, 0, ::25]
    few = np.stack([np.ravel(matern(*at)) for at in _one_by_one(z[::25], np.full(200, nu))], axis=1)
    for own, other, scale, atol in zip(many, few, _scales(z[::25], nu), DIGITS, strict=True):
        # Each is as far from the truth as the tests above allow, relative to the largest.
        size = max(1.0, float(np.abs(other * scale).max()))
        assert_allclose(own * scale, other * scale, rtol=0, atol=2.0 * atol * size)
    assert_allclose(many[0], few[0], rtol=2e-13)


def test_many_distances_beyond_every_range_are_finite():
    z = np.concatenate([np.linspace(700.0, 2e3, 500), np.full(500, 1e5), np.full(500, 1e200)])
    for nu in (1e-3, 0.5, 19.999):
        at = matern(z[None], np.array([[nu]]))
        assert np.isfinite(np.stack(at)).all()
        assert_allclose(at.value[0, z > 800.0], 0.0, atol=1e-300)


def _one_by_one(z, nu):
    return [(np.array([[a]]), np.array([[b]])) for a, b in zip(z, nu, strict=True)]


@pytest.mark.parametrize("nu", [0.02, 0.1, 0.5, 1.0, 1.3, 4.0, 15.0, 19.9])
def test_value_and_slopes_are_those_of_bessel_functions(nu):
    from scipy.special import gamma, kv

    z = np.geomspace(1e-6, 300.0, 500)[None]
    at = matern(z, np.array([[nu]]))
    power = 2.0 / gamma(nu) * (0.5 * z) ** nu
    assert_allclose(at.value, power * kv(nu, z), rtol=2e-13)
    assert_allclose(at.by_z, -power * kv(nu - 1.0, z), rtol=2e-13)
    bend = power * (kv(nu - 2.0, z) - kv(nu - 1.0, z) / z)
    assert_allclose(at.by_zz * z * z, bend * z * z, rtol=1e-11, atol=1e-13)


def test_the_ends_of_the_range_are_finite():
    z = np.array([[0.0, 1e-300, 1e-12, 1e3, 1e6]])
    for nu in (1e-3, 0.5, 19.999):
        at = matern(z, np.array([[nu]]))
        assert np.isfinite(np.stack(at)).all()
        assert_allclose(at.value[0, 3:], 0.0, atol=1e-300)


def test_a_fit_has_the_same_bits_alone_and_beside_others():
    rng = np.random.default_rng(4)
    z, nu = rng.uniform(0.001, 30.0, (3, 1000)), np.array([[0.3], [1.7], [12.0]])
    together = np.stack(matern(z, nu))
    for k in range(3):
        alone = np.stack(matern(z[k : k + 1], nu[k : k + 1]))
        assert (alone[:, 0] == together[:, k]).all()


@pytest.mark.parametrize("p", [0, 1, 2, 3, 7, 19])
def test_polynomials_of_half_integers_agree_with_the_quadrature(p):
    z = np.geomspace(1e-5, 60.0, 300)[None]
    known = STRUCTURES["sp_matern"](2, np.arange(2.0), p + 0.5)
    at = matern(z, np.array([[p + 0.5]]))
    scales = (1.0, z, z * z)
    for own, other, scale in zip(
        known.kernel(z), (at.value, at.by_z, at.by_zz), scales, strict=True
    ):
        assert_allclose(own * scale, other * scale, rtol=1e-12, atol=1e-15)


def test_known_smoothness_agrees_with_a_smoothness_that_is_estimated():
    points = np.random.default_rng(5).uniform(0.0, 9.0, (12, 2))
    for nu in (0.5, 2.0, 3.5, 7.7):
        free, known = (STRUCTURES["sp_matern"](12, points, n) for n in (None, nu))
        own = free.entry_derivatives(free.from_natural(np.array([[1.3, 2.1, nu]])))
        other = known.entry_derivatives(known.from_natural(np.array([[1.3, 2.1]])))
        assert_allclose(own[0], other[0], rtol=1e-14)
        assert_allclose(own[1][..., :2], other[1], rtol=1e-13, atol=1e-15)
        assert_allclose(own[2][..., :3], other[2], rtol=1e-12, atol=1e-14)
