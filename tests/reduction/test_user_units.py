"""Coefficients and covariances from the core's coordinates in the user's units."""

import numpy as np
import pytest

from mlmfast.fitted.estimates import coefficients, effect_covariances
from mlmfast.reduction.scaling import FEW_COLUMNS, coefficient_maps

#: Orders that the core serves, and one that is LAPACK's.
ORDERS = (1, 2, 5, FEW_COLUMNS, FEW_COLUMNS + 1)


def triangles(n, p, rng):
    return np.triu(rng.normal(size=(n, p, p))) + 2.0 * p * np.eye(p)


def spread(n, p, rng):
    root = rng.normal(size=(n, p, p))
    return root @ root.mT


@pytest.mark.parametrize("constant", [None, "last", "first"])
@pytest.mark.parametrize("p", ORDERS)
def test_maps_undo_the_factor_and_the_scaling(p, constant):
    rng = np.random.default_rng(p)
    factor, scale = triangles(4, p, rng), 2.0 ** rng.integers(-3, 4, size=(4, p))
    center = rng.normal(size=(4, p))
    at = None if constant is None else (p - 1 if constant == "last" else 0)
    if at is None:
        center[:] = 0.0
    else:
        center[:, at], scale[:, at] = 0.0, 1.0
    maps = coefficient_maps(factor, center, scale, at)
    # Columns (x - center) scale are those of the orthonormal ones times R: so are coefficients.
    wanted = np.zeros((4, p, p))
    for k in range(4):
        wanted[k] = np.diag(scale[k])
        if at is not None:
            wanted[k, at] -= scale[k] * center[k]
    np.testing.assert_allclose(maps @ factor, wanted, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("shared", [True, False])
@pytest.mark.parametrize("p", ORDERS)
def test_coefficients_and_covariances_by_their_formulas(p, shared):
    rng = np.random.default_rng(100 + p)
    maps = rng.normal(size=(1 if shared else 3, p, p))
    ols, beta, c = rng.normal(size=(3, p)), rng.normal(size=(3, p)), spread(3, p, rng)
    scale, unit, center = rng.uniform(0.5, 2.0, size=(3, 3))
    sigma2 = rng.uniform(0.5, 2.0, size=3)
    found, vcov = coefficients(maps, (ols, beta, c), (scale, unit, center), sigma2, p - 1)
    turned = effect_covariances(maps, c, sigma2)
    for k in range(3):
        own = maps[0 if shared else k]
        by_hand = own @ (ols[k] / scale[k] + unit[k] * beta[k])
        by_hand[p - 1] += center[k]
        np.testing.assert_allclose(found[k], by_hand, rtol=1e-12, atol=1e-12)
        np.testing.assert_allclose(vcov[k], sigma2[k] * own @ c[k] @ own.T, rtol=1e-11, atol=1e-11)
        np.testing.assert_allclose(turned[k], vcov[k], rtol=1e-11, atol=1e-11)
        np.testing.assert_array_equal(turned[k], turned[k].T)
        alone = coefficients(
            own[None],
            (ols[[k]], beta[[k]], c[[k]]),
            (scale[[k]], unit[[k]], center[[k]]),
            sigma2[[k]],
            p - 1,
        )
        assert alone[0].tobytes() == found[[k]].tobytes()
        assert alone[1].tobytes() == vcov[[k]].tobytes()


def test_no_columns_have_no_coefficients():
    maps = coefficient_maps(np.empty((1, 0, 0)), np.empty((1, 0)), np.empty((1, 0)), None)
    nothing = (np.empty((2, 0)), np.empty((2, 0)), np.empty((2, 0, 0)))
    beta, vcov = coefficients(maps, nothing, (np.ones(2),) * 3, np.ones(2), None)
    assert beta.shape == (2, 0)
    assert vcov.shape == (2, 0, 0)
