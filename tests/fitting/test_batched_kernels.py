"""What the core does for many fits in one call: right, and the same for each as alone."""

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

import mlmfast as mlm
import mlmfast._core as _core
from mlmfast.covariance.structures.unstructured import Unstructured
from mlmfast.criterion.criterion import criterion_of
from mlmfast.criterion.scoring import solve_scoring
from mlmfast.eigen import SMALL, eigen
from mlmfast.fitting.undetermined.search import _has_small_pivot
from mlmfast.newton.iteration import Derivatives
from mlmfast.newton.step import newton_step

MANY = 600


def symmetric(rng, n, k):
    """Matrices of every condition, some of them singular or of lone elements."""
    root = rng.normal(size=(n, k, k)) * 10.0 ** rng.uniform(-5, 5, (n, 1, k))
    out = root @ (root.mT * rng.choice([-1.0, 1.0, 0.0], (n, k, 1)))
    out[: n // 10] *= np.eye(k)
    return (out + out.mT) / 2


@pytest.mark.parametrize("k", range(1, SMALL + 1))
def test_eigenvalues_are_those_of_lapack(k):
    matrices = symmetric(np.random.default_rng(k), MANY, k)
    values, vectors = eigen(matrices)
    size = np.sqrt((matrices**2).sum(axis=(1, 2), keepdims=True)) + 1e-300
    expected = np.linalg.eigvalsh(matrices)
    assert_allclose(values / size[:, 0], expected / size[:, 0], rtol=0, atol=5e-15)
    back = (vectors * values[:, None, :]) @ vectors.mT
    assert_allclose(back / size, matrices / size, rtol=0, atol=1e-14)
    assert_allclose(vectors.mT @ vectors, np.broadcast_to(np.eye(k), back.shape), atol=1e-14)
    assert (np.diff(values, axis=1) >= 0).all()


def test_matrices_that_are_not_finite_do_not_hang():
    for value in (np.nan, np.inf):
        matrices = np.full((3, 4, 4), value)
        eigen(matrices)
        at = Derivatives(np.zeros(3), *(np.full((3, 4, 4)[:d], value) for d in (2, 3, 3, 2, 3, 3)))
        step = newton_step(at, 1e-5)
        assert_array_equal(step.step, 0.0)
        assert np.isinf(step.decrement).all()
        assert np.isneginf(step.min_eigenvalue).all()


def derivatives(rng, n, k):
    gradient, hessian = rng.normal(size=(n, k)), symmetric(rng, n, k)
    expected = symmetric(rng, n, k)
    expected = expected @ expected.mT + np.eye(k)
    return Derivatives(np.zeros(n), gradient, hessian, expected, gradient, hessian, expected)


@pytest.mark.parametrize("k", range(1, SMALL + 1))
def test_newton_steps_are_those_of_the_scaled_hessian(k):
    floor = 1e-5
    at = derivatives(np.random.default_rng(k), MANY, k)
    found = newton_step(at, floor)
    for row in range(0, MANY, 7):
        own = np.maximum(np.diag(at.expected[row]), np.abs(np.diag(at.hessian[row])))
        scale = np.sqrt(np.maximum(own, 1e-12 * own.max()))
        values, vectors = np.linalg.eigh(at.hessian[row] / np.outer(scale, scale))
        size = np.maximum(np.abs(values), floor)
        step = -(vectors / size) @ vectors.T @ (at.gradient[row] / scale) / scale
        # A step is told as far as eigenvalues above the floor are.
        known = np.abs(step).max() * 1e-13 / size.min()
        assert_allclose(found.step[row], step, rtol=1e-9, atol=known)
        assert_allclose(found.min_eigenvalue[row], values[0], rtol=0, atol=1e-13)
        assert_allclose(found.decrement[row], -at.gradient[row] @ found.step[row], rtol=1e-12)


def test_scoring_steps_leave_out_what_the_information_does_not_tell():
    rng = np.random.default_rng(1)
    root = rng.normal(size=(MANY, 3, 2))
    expected = root @ root.mT
    gradient = (expected @ rng.normal(size=(MANY, 3, 1)))[..., 0]
    step = solve_scoring(gradient, expected)
    assert_allclose((expected @ step[:, :, None])[..., 0], -gradient, rtol=1e-6, atol=1e-8)


@pytest.mark.parametrize("size", [2, 3])
@pytest.mark.parametrize("singular", [False, True])
def test_unstructured_charts_are_derivatives_of_moves(size, singular):
    rng = np.random.default_rng(size)
    structure = Unstructured(size)
    t = structure.n_theta
    theta, weight = rng.normal(size=(2, MANY, t))
    if singular:
        theta[:, -size:] = 0.0
    jacobian, curvature = structure.chart(theta, weight)
    rows, columns = np.tril_indices(size)

    def entries(step):
        return structure.matrix(structure.move(theta, step))[:, rows, columns]

    assert_allclose(entries(np.zeros((MANY, t))), structure.matrix(theta)[:, rows, columns],
                    atol=1e-13)  # fmt: skip
    h = 1e-4
    for c in range(t):
        step = np.zeros((MANY, t))
        step[:, c] = h
        up, down = entries(step), entries(-step)
        assert_allclose((up - down) / (2 * h), jacobian[:, :, c], atol=1e-7)
        bend = (up - 2 * entries(0 * step) + down) / h**2
        assert_allclose((weight * bend).sum(axis=1), curvature[:, c, c], atol=1e-5)


@pytest.mark.parametrize("size", [2, 3])
def test_unstructured_parameters_give_the_matrix_back(size):
    rng = np.random.default_rng(size)
    root = rng.normal(size=(MANY, size, size))
    root[::3, :, 0] = 0.0
    matrices = root @ root.mT
    structure = Unstructured(size)
    theta = structure.theta(matrices)
    assert_allclose(structure.matrix(theta), matrices, atol=1e-13)
    diagonal = [k * (k + 1) // 2 + k for k in range(size)]
    assert (theta[:, diagonal] >= 0).all()


@pytest.mark.parametrize("size", [1, 2, 3])
def test_unstructured_matrices_and_their_nearest_parameters(size):
    rng = np.random.default_rng(size)
    structure = Unstructured(size)
    theta = rng.normal(size=(MANY, structure.n_theta))
    rows, columns = np.tril_indices(size)
    factor = np.zeros((MANY, size, size))
    factor[:, rows, columns] = theta
    matrices = structure.matrix(theta)
    assert_allclose(matrices, factor @ factor.mT, atol=1e-14)
    asked = symmetric(rng, MANY, size)
    entries = asked[:, rows, columns]
    found, negative = structure.near_entries(entries, 1e-6)
    values, vectors = np.linalg.eigh(asked)
    scale = np.abs(values).max(axis=1)
    clear = np.abs(values[:, 0]) > 1e-12 * scale
    assert_array_equal(negative[clear], values[clear, 0] < 0)
    least = np.maximum(1e-6 * values[:, -1:], 1e-6)
    lifted = (vectors * np.maximum(values, least)[:, None, :]) @ vectors.mT
    size_of = np.maximum(scale, 1e-6)[:, None, None]
    assert_allclose(structure.matrix(found) / size_of, lifted / size_of, atol=1e-13)
    for row in (0, 7, MANY - 1):
        assert_array_equal(structure.matrix(theta[row : row + 1])[0], matrices[row])
        alone = structure.near_entries(entries[row : row + 1], 1e-6)
        assert_array_equal(alone[0][0], found[row])
        assert alone[1][0] == negative[row]


def test_pivots_tell_singular_information_whatever_its_order():
    rng = np.random.default_rng(3)
    for order in (2, 4, SMALL, SMALL + 3):
        root = rng.normal(size=(order, order + 2))
        regular = root @ root.T
        assert not _has_small_pivot(regular)
        dependent = root.copy()
        dependent[-1] = dependent[:-1].sum(axis=0)
        assert _has_small_pivot(dependent @ dependent.T)
        assert _has_small_pivot(regular - 2 * np.eye(order) * np.linalg.eigvalsh(regular)[-1])


@pytest.mark.parametrize("k", [1, 3, 6])
def test_a_row_has_the_same_bits_alone_and_among_others(k):
    rng = np.random.default_rng(k)
    at = derivatives(rng, MANY, k)
    steps = newton_step(at, 1e-5)
    jacobian, curvature = rng.normal(size=(2, MANY, k, k))
    parts = (jacobian, curvature, at.gradient, at.hessian, at.expected)
    led = _core.led_derivatives(*parts)
    for row in rng.permutation(MANY)[:40]:
        alone = newton_step(at.rows(np.array([row])), 1e-5)
        for whole, part in zip(steps, alone, strict=True):
            assert_array_equal(part[0], whole[row])
        own = _core.led_derivatives(*(part[row : row + 1] for part in parts))
        for whole, part in zip(led, own, strict=True):
            assert_array_equal(part[0], whole[row])
    bend = jacobian.mT @ at.hessian @ jacobian + curvature
    size = np.abs(jacobian.mT) @ np.abs(at.hessian) @ np.abs(jacobian) + np.abs(curvature)
    assert (np.abs(led[1] - bend) <= 1e-14 * k * size).all()


def model_of(n_groups, n_rows, q, p, equal, seed=0):
    """Clusters of random effects in q columns; equal designs share their factorisation."""
    rng = np.random.default_rng(seed)
    g = np.repeat(np.arange(n_groups), n_rows)
    z = np.tile(np.arange(n_rows) % 5.0, n_groups) if equal else rng.normal(size=g.size)
    Z = np.stack([z**k for k in range(q)], axis=1)
    X = np.column_stack([Z, rng.normal(size=(g.size, p))]) if p else Z
    Y = (Z * rng.normal(size=(n_groups, q))[g]).sum(axis=1)[:, None] + rng.normal(size=(g.size, 40))
    return mlm.LMM.from_arrays(Y[:, 0], X, groups=g, Z=Z), Y


SHAPES = [(12, 6, 1, 0, True), (12, 6, 1, 4, False), (20, 8, 2, 0, True), (30, 4, 2, 1, False),
          (15, 9, 3, 0, False), (300, 3, 2, 0, False), (400, 4, 1, 1, True)]  # fmt: skip


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("method", ["REML", "ML"])
def test_criteria_side_by_side_have_the_bits_of_each_alone(shape, method):
    model, Y = model_of(*shape)
    reduced = model.fit_many(Y)._rows.reduced
    criterion = criterion_of(reduced, method)
    n, t = Y.shape[1], criterion.n_theta
    rng = np.random.default_rng(2)
    theta = rng.normal(size=(n, t))
    g = criterion.covariances(theta)
    # No covariance: a lane that fails must not touch those beside it.
    g[0][[3, 17, n - 1]] = -1e6 * np.eye(shape[2])
    fits = rng.permutation(n)
    reml = method == "REML"
    whole = criterion.reduction.evaluate(g, fits.tolist(), criterion.entries, reml, True)
    assert np.isinf(whole[0][[3, 17, n - 1]]).all()
    for part in whole[1:]:
        assert_array_equal(part[[3, 17, n - 1]], 0.0)
    assert np.isfinite(whole[0]).sum() == n - 3
    for k in range(n):
        own = criterion.reduction.evaluate(
            [g[0][k : k + 1]], [int(fits[k])], criterion.entries, reml, True
        )
        for a, b in zip(whole, own, strict=True):
            assert_array_equal(a[k], b[0])


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("method", ["REML", "ML"])
def test_criteria_of_small_designs_have_their_derivatives(shape, method):
    model, Y = model_of(*shape)
    criterion = criterion_of(model.fit_many(Y)._rows.reduced, method)
    fits = np.arange(Y.shape[1])
    theta = np.random.default_rng(3).normal(size=(len(fits), criterion.n_theta))
    at = criterion(theta, fits)
    assert_allclose(at.value, criterion.value(theta, fits), rtol=1e-13)
    h = 1e-5
    for c in range(criterion.n_theta):
        step = np.zeros_like(theta)
        step[:, c] = h
        up, down = (criterion(criterion.move(theta, s * step), fits) for s in (1.0, -1.0))
        slope = (up.value - down.value) / (2 * h)
        assert_allclose(at.gradient[:, c], slope, rtol=1e-6, atol=1e-5)
        up, down = (criterion(criterion.move(theta, s * 20 * step), fits) for s in (1.0, -1.0))
        bend = (up.value - 2 * at.value + down.value) / (20 * h) ** 2
        assert_allclose(at.hessian[:, c, c], bend, rtol=1e-4, atol=1e-3)


def test_responses_reduced_in_groups_have_the_bits_of_each_alone():
    model, Y = model_of(12, 6, 2, 0, False)
    rng = np.random.default_rng(4)
    Y = Y[:, [0]] + rng.normal(size=(len(Y), 300)) + 100.0 * np.arange(300)
    whole = model.fit_many(Y)
    some = rng.permutation(300)[:7]
    few = model.fit_many(Y[:, some])
    for name in ("params", "bse", "llf", "sigma", "df", "pvalues"):
        assert_array_equal(getattr(few, name), getattr(whole, name)[some])
    assert_array_equal(few.varcorr["group"], whole.varcorr["group"][some])
    alone = whole[int(some[0])]
    assert_array_equal(alone.params.to_numpy(), few.params[0])
    assert_array_equal(alone.bse.to_numpy(), few.bse[0])


@pytest.mark.parametrize("offset", [None, "ramp"])
def test_responses_have_the_same_bits_however_they_lie_in_memory(offset):
    rng = np.random.default_rng(5)
    n, n_fits = 60, 70
    groups = np.repeat(np.arange(12), 5)
    X = np.column_stack([np.ones(n), rng.normal(size=n)])
    ramp = None if offset is None else np.linspace(0.0, 9.0, n)
    Y = rng.normal(size=(n, n_fits)) + rng.normal(size=(12, n_fits))[groups]
    model = mlm.LMM.from_arrays(Y[:, 0], X, groups=groups, offset=ramp)
    wide = np.empty((n, 2 * n_fits))
    wide[:, ::2] = Y
    read_only = Y.copy()
    read_only.flags.writeable = False
    found = [model.fit_many(own) for own in (Y, np.asfortranarray(Y), wide[:, ::2], read_only)]
    for other in found[1:]:
        assert_array_equal(other.llf, found[0].llf)
        assert_array_equal(other.params, found[0].params)
        assert_array_equal(other.pvalues, found[0].pvalues)
    # What is kept is no part of what was given.
    before = found[0][3].llf
    Y[:] = 0.0
    assert found[0][3].llf == before
    alone = mlm.LMM.from_arrays(wide[:, 6], X, groups=groups, offset=ramp).fit()
    assert alone.llf == found[0].llf[3]
