"""The multivariate normal: against scipy, known formulas and its own identities."""

import sys
from math import comb

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from scipy import stats

from mlmfast import mvn
from mlmfast.errors import DataError, MlmError

RHO = 0.6
SCORES = mvn.normal([50, 52], [[100, 48], [48, 64]], names=["math", "reading"])


def random_normal(k, rank=None, seed=0):
    """An MVN with components on very different scales."""
    rng = np.random.default_rng(seed)
    half = rng.normal(size=(k, rank or k)) * 10.0 ** rng.uniform(-3, 3, size=(k, 1))
    return mvn.normal(rng.normal(size=k), half @ half.T)


# Density ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("k", [1, 2, 5, 40])
def test_logpdf_and_entropy_agree_with_scipy(k):
    x = random_normal(k, rank=k + 3, seed=k)
    points = x.sample(6, seed=1).reshape(2, 3, k)
    # scipy judges ranks on the raw scale, so it is asked about the standardised vector.
    standard = stats.multivariate_normal(np.zeros(k), x.correlation())
    z = (points - x.mean) / x.std()
    expected = standard.logpdf(z).reshape(2, 3) - np.log(x.std()).sum()
    assert_allclose(x.entropy(), standard.entropy() + np.log(x.std()).sum(), rtol=1e-9)
    assert_allclose(x.logpdf(points), expected, rtol=1e-9)
    assert_allclose(x.pdf(points), np.exp(expected), rtol=1e-8)


def test_bivariate_density_is_the_textbook_formula():
    # Johnson and Wichern, equation 4-6.
    z1, z2 = (61 - 50) / 10, (47 - 52) / 8
    q = (z1**2 - 2 * RHO * z1 * z2 + z2**2) / (1 - RHO**2)
    assert_allclose(SCORES.mahalanobis([61, 47]), np.sqrt(q), rtol=1e-14)
    expected = np.exp(-q / 2) / (2 * np.pi * 80 * np.sqrt(1 - RHO**2))
    assert_allclose(SCORES.pdf([61, 47]), expected, rtol=1e-13)


def test_one_point_gives_a_scalar_and_many_give_an_array():
    assert np.ndim(SCORES.logpdf([50, 52])) == 0
    assert SCORES.logpdf(np.zeros((0, 2))).shape == (0,)
    assert SCORES.logpdf(np.zeros((4, 1, 2))).shape == (4, 1)


def test_singular_density_lives_on_the_support():
    x = mvn.normal([1, 1], [[1, 1], [1, 1]])
    # Along the line the distance from the mean is N(0, 2): sqrt(2) times the common deviation.
    expected = stats.norm(0, np.sqrt(2)).logpdf(np.sqrt(2) * 0.7)
    assert_allclose(x.logpdf([1.7, 1.7]), expected, rtol=1e-14)
    assert_array_equal(x.logpdf([[1.7, 1.6], [2, 1]]), [-np.inf, -np.inf])
    assert x.mahalanobis([2, 1]) == np.inf
    assert x.pdf([2, 1]) == 0


def test_singular_density_agrees_with_scipy():
    half = np.random.default_rng(3).normal(size=(5, 3))
    x = mvn.normal(np.arange(5), half @ half.T)
    assert x.rank == 3
    points = x.sample(4, seed=2)
    oracle = stats.multivariate_normal(np.arange(5), half @ half.T, allow_singular=True)
    assert_allclose(x.logpdf(points), oracle.logpdf(points), rtol=1e-10)
    assert_allclose(x.entropy(), oracle.entropy(), rtol=1e-10)


def test_constant_vector_has_all_mass_at_its_mean():
    x = mvn.normal([3, 4], np.zeros((2, 2)))
    assert x.rank == 0
    assert_array_equal(x.logpdf([[3, 4], [3, 4.1]]), [0, -np.inf])
    assert_array_equal(x.sample(2, seed=0), [[3, 4], [3, 4]])
    assert np.isnan(x.correlation()).all()


def test_rank_does_not_depend_on_units():
    half = np.random.default_rng(4).normal(size=(4, 2)) * np.array([[1e-9], [1], [1e7], [1e-3]])
    x = mvn.normal(np.zeros(4), half @ half.T)
    assert x.rank == 2
    assert np.isfinite(x.logpdf(x.sample(20, seed=0))).all()
    assert mvn.normal([0, 0], np.diag([1e-20, 1e20])).rank == 2


def test_support_test_forgives_the_rounding_of_a_large_mean():
    x = mvn.normal([1e9, 1e9], [[1, 1], [1, 1]])
    assert np.isfinite(x.logpdf(x.sample(50, seed=0))).all()


# Linear functions, marginals, independence -----------------------------------------------------


def test_linear_gives_mean_and_covariance():
    A, b = np.array([[1.0, 1], [1, -1], [2, 0]]), np.array([1.0, 0, -1])
    y = SCORES.linear(A, b, names=["sum", "difference", "double"])
    assert_allclose(y.mean, A @ SCORES.mean + b)
    assert_allclose(y.cov, A @ SCORES.cov @ A.T)
    assert y.rank == 2
    assert y.names == ("sum", "difference", "double")
    same = A @ SCORES + b
    assert_array_equal(same.cov, y.cov)
    assert_array_equal((b + A @ SCORES).mean, y.mean)


def test_linear_function_that_is_constant_has_variance_zero():
    x = random_normal(5, rank=3, seed=5)
    _, _, vt = np.linalg.svd(x.cov / np.outer(x.std(), x.std()))
    y = x.linear(np.vstack([vt[-1] / x.std(), np.eye(5)[0]]))
    assert y.cov[0, 0] == 0
    assert_array_equal(mvn.normal([1, 1], [[2, 2], [2, 2]]).linear([1, -1]).cov, [[0]])


def test_linear_keeps_small_differences_of_nearly_equal_components():
    gap = 1e-6
    x = mvn.normal([0, 0], [[1, 1], [1, 1 + gap]])
    assert_allclose(x.linear([-1, 1]).cov, [[gap]], rtol=1e-9)


def test_shift_keeps_names_and_two_distributions_do_not_add():
    assert_array_equal((SCORES + 1).mean, [51, 53])
    assert (np.array([1, 2]) + SCORES).names == ("math", "reading")
    with pytest.raises(TypeError):
        SCORES + SCORES


def test_marginal_takes_positions_and_names_in_any_order():
    x = random_normal(4, seed=6)
    for subset in ([3, 1], ["x3", "x1"], np.array([3, 1]), pd.Index(["x3", "x1"]), [-1, "x1"]):
        part = x.marginal(subset)
        assert part.names == ("x3", "x1")
        assert_array_equal(part.mean, x.mean[[3, 1]])
        assert_array_equal(part.cov, x.cov[[3, 1]][:, [3, 1]])
    assert x.marginal("x2").names == ("x2",)
    assert_array_equal(x.covariance_block([0, 1], 3), x.cov[:2, 3:])


def test_independence_is_a_zero_block_relative_to_the_standard_deviations():
    x = mvn.normal([0, 0, 0], [[1e-12, 0, 5e-7], [0, 1, 0], [5e-7, 0, 1]])
    assert x.independent(1, [0, 2])
    assert not x.independent(0, 2)
    assert x.independent(0, 2, tolerance=0.6)
    assert not x.independent(0, 0)


# Conditional -----------------------------------------------------------------------------------


def test_bivariate_conditional_is_the_textbook_formula():
    y = SCORES.conditional({"reading": 60})
    assert y.names == ("math",)
    assert_allclose(y.mean, 50 + RHO * 10 / 8 * (60 - 52))
    assert_allclose(y.cov, [[100 * (1 - RHO**2)]])
    assert_allclose(SCORES.regression_coefficients("reading"), [[RHO * 10 / 8]])


@pytest.mark.parametrize("rank", [6, 4, 2])
@pytest.mark.parametrize("given", [[0], [4, 1], [5, 0, 2, 3, 1]])
def test_chain_rule(rank, given):
    x = random_normal(6, rank=rank, seed=rank)
    points = x.sample(5, seed=1)
    order = [*given, *np.setdiff1d(np.arange(6), given)]
    joint = x.marginal(order)
    for point in points:
        rest = x.conditional(given, point[given])
        assert rest.rank == rank - x.marginal(given).rank
        # Densities on supports multiply up to the volume ratio of the three supports,
        # which is 1 at full rank; distances always add.
        parts = (
            x.marginal(given).mahalanobis(point[given]),
            rest.mahalanobis(point[order[len(given) :]]),
        )
        assert_allclose(np.hypot(*parts), joint.mahalanobis(point[order]), rtol=1e-6)
        if rank == 6:
            total = x.marginal(given).logpdf(point[given]) + rest.logpdf(point[order[len(given) :]])
            assert_allclose(total, x.logpdf(point), rtol=1e-8)


def test_conditional_of_a_linear_function_is_the_linear_function_of_the_conditional():
    x = random_normal(4, seed=8)
    z = np.array([0.3, -0.2]) * x.std()[:2] + x.mean[:2]
    A = np.array([[1.0, -2.0], [0.5, 3.0]])
    whole = np.block([[np.eye(2), np.zeros((2, 2))], [np.zeros((2, 2)), A]])
    first = x.linear(whole).conditional([0, 1], z)
    second = x.conditional([0, 1], z).linear(A)
    assert_allclose(first.mean, second.mean, rtol=1e-9)
    assert_allclose(first.cov, second.cov, rtol=1e-7)


def test_conditioning_in_two_steps_equals_conditioning_at_once():
    x = random_normal(5, seed=9)
    point = x.sample(1, seed=3)[0]
    once = x.conditional([0, 3], point[[0, 3]])
    twice = x.conditional(3, point[3]).conditional("x0", point[0])
    assert twice.names == once.names
    assert_allclose(once.mean, twice.mean, rtol=1e-8)
    assert_allclose(once.cov, twice.cov, rtol=1e-7)


def test_conditional_covariance_keeps_digits_that_the_difference_would_lose():
    gap = 2.0**-40  # 1 + gap and its Cholesky factor are exact to a relative eps / gap
    x = mvn.normal([0, 0], [[1, 1], [1, 1 + gap]])
    assert_allclose(x.conditional(0, 0).cov, [[gap]], rtol=1e-3)
    # Hilbert's matrix, condition 1e10: (H^-1)_nn = (2n - 1) binom(2n - 2, n - 1)^2.
    hilbert = 1 / (np.arange(1, 8)[:, None] + np.arange(7))
    last = mvn.normal(np.zeros(7), hilbert).conditional(range(6), np.zeros(6))
    assert_allclose(last.cov, [[1 / (13 * comb(12, 6) ** 2)]], rtol=1e-6)


def test_conditional_on_a_singular_part():
    # x1 = 2 x0 exactly; x2 = x0 + independent noise of variance 3.
    x = mvn.normal([0, 1, 2], [[1, 2, 1], [2, 4, 2], [1, 2, 4]])
    y = x.conditional([0, 1], [0.5, 2.0])
    assert_allclose(y.mean, [2.5])
    assert_allclose(y.cov, [[3]])
    slope = x.regression_coefficients([0, 1])
    assert_allclose(slope @ x.cov[:2, :2], x.cov[2:, :2])
    with pytest.raises(DataError, match="values are impossible"):
        x.conditional([0, 1], [0.5, 2.1])


def test_conditioning_on_own_draws_is_possible_though_numerically_singular():
    # A squared-exponential covariance: eigenvalues fall smoothly through any rank threshold.
    lag = np.subtract.outer(np.arange(50), np.arange(50))
    x = mvn.normal(np.zeros(50), np.exp(-(lag**2) / 200))
    assert x.rank < 50
    for draw in x.sample(5, seed=15):
        y = x.conditional(range(20), draw[:20])
        assert np.isfinite(y.logpdf(y.mean))
        assert (np.diff(y.std()[:10]) > 0).all()


@pytest.mark.parametrize("seed", range(40))
def test_ranks_add_up_whatever_the_units(seed):
    rng = np.random.default_rng(seed)
    k, rank = 7, int(rng.integers(1, 8))
    half = rng.normal(size=(k, rank)) * 10.0 ** rng.uniform(-6, 6, size=(k, 1))
    x = mvn.normal(rng.normal(size=k), half @ half.T)
    point, given = x.sample(1, seed=1)[0], rng.permutation(k)[:3]
    rest = x.conditional(given, point[given])
    assert (x.rank, rest.rank) == (rank, max(rank - 3, 0))
    assert np.isfinite(rest.logpdf(np.delete(point, given)))


def test_a_component_that_is_determined_gets_variance_zero():
    y = mvn.normal([0, 1, 2], [[1, 2, 1], [2, 4, 2], [1, 2, 4]]).conditional({"x0": 0.5})
    assert_allclose(y.mean, [2.0, 2.5])
    assert_array_equal(y.cov, [[0, 0], [0, y.cov[1, 1]]])
    assert_allclose(y.cov[1, 1], 3)


def test_blup_is_the_conditional_mean_of_the_random_effects():
    rng = np.random.default_rng(10)
    Z, G, R = rng.normal(size=(7, 2)), np.array([[2, 0.5], [0.5, 1]]), np.diag(rng.uniform(1, 2, 7))
    Xb, y = rng.normal(size=7), rng.normal(size=7)
    joint = mvn.joint_linear_gaussian([0, 0], G, Z, Xb, R)
    assert joint.names == ("g0", "g1", *(f"y{i}" for i in range(7)))
    V = Z @ G @ Z.T + R
    assert_allclose(joint.marginal(range(2, 9)).cov, V, rtol=1e-13)
    blup = joint.conditional([f"y{i}" for i in range(7)], y)
    assert_allclose(blup.mean, G @ Z.T @ np.linalg.solve(V, y - Xb), rtol=1e-11)
    # Henderson's form of the prediction variance.
    assert_allclose(
        blup.cov, np.linalg.inv(Z.T @ np.linalg.inv(R) @ Z + np.linalg.inv(G)), rtol=1e-11
    )


def test_joint_without_noise_is_singular_and_recovers_g():
    Z = np.array([[1.0, 0], [1, 1], [1, 2]])
    joint = mvn.joint_linear_gaussian(
        [1, 1], np.eye(2), Z, 0, np.zeros((3, 3)), names=list("abcde")
    )
    assert joint.rank == 2
    g = joint.conditional(["c", "d", "e"], Z @ [0.3, 4])
    assert_allclose(g.mean, [0.3, 4])
    assert_array_equal(g.cov, np.zeros((2, 2)))


# Sampling, information -------------------------------------------------------------------------


@pytest.mark.parametrize("rank", [3, 2])
def test_sample_moments_lie_within_monte_carlo_error(rank):
    n, x = 40_000, random_normal(3, rank=rank, seed=11)
    draws = x.sample(n, seed=12)
    assert draws.shape == (n, 3)
    assert (np.abs(draws.mean(axis=0) - x.mean) < 4.5 * x.std() / np.sqrt(n)).all()
    # Var of a sample covariance is (s_ii s_jj + s_ij^2) / n (Anderson 2003, section 3.4.1).
    se = np.sqrt((np.outer(x.std(), x.std()) ** 2 + x.cov**2) / n)
    assert (np.abs(np.cov(draws.T) - x.cov) < 4.5 * se).all()
    assert np.isfinite(x.logpdf(draws)).all()


def test_seed_may_be_int_sequence_or_generator():
    expected = SCORES.sample(3, seed=7)
    assert_array_equal(SCORES.sample(3, seed=np.random.SeedSequence(7)), expected)
    generator = np.random.default_rng(7)
    assert_array_equal(SCORES.sample(3, seed=generator), expected)
    assert not np.array_equal(SCORES.sample(3, seed=generator), expected)
    assert SCORES.sample(0).shape == (0, 2)


def test_kl_divergence_is_the_mean_log_ratio():
    p, q = SCORES, mvn.normal([48, 55], [[90, 10], [10, 80]])
    draws = p.sample(40_000, seed=13)
    ratio = p.logpdf(draws) - q.logpdf(draws)
    assert abs(ratio.mean() - p.kl_divergence(q)) < 4.5 * ratio.std() / np.sqrt(len(ratio))
    assert abs(p.kl_divergence(p)) < 1e-14


def test_kl_divergence_of_singular_distributions():
    line = mvn.normal([0, 0], [[1, 1], [1, 1]])
    # On the line both are univariate: N(0, 2) and N(0, 8).
    expected = 0.5 * (0.25 - 1 + np.log(4))
    assert_allclose(line.kl_divergence(mvn.normal([0, 0], [[4, 4], [4, 4]])), expected)
    assert line.kl_divergence(mvn.normal([0, 1], [[1, 1], [1, 1]])) == np.inf
    assert line.kl_divergence(mvn.normal([0, 0], np.eye(2))) == np.inf
    assert mvn.normal([0, 0], np.eye(2)).kl_divergence(line) == np.inf


# Input and output ------------------------------------------------------------------------------


def test_input_of_any_layout_is_copied_and_frozen():
    cov = np.asfortranarray([[100.0, 48], [48, 64]])
    mean = np.array([50, 52], dtype=np.int32)
    read_only = cov.copy()
    read_only.flags.writeable = False
    frame = pd.DataFrame(cov)
    wide = np.zeros((4, 4))
    wide[::2, ::2] = cov
    for value in (cov, read_only, frame, wide[::2, ::2], cov.tolist(), cov.astype(object)):
        x = mvn.normal(mean, value)
        assert_array_equal(x.cov, SCORES.cov)
        assert x.cov.flags.c_contiguous
    x = mvn.normal(mean, cov)
    cov[0, 0] = mean[0] = 1
    assert (x.mean[0], x.cov[0, 0]) == (50, 100)
    with pytest.raises(ValueError, match="read-only"):
        x.mean[0] = 1
    with pytest.raises(ValueError, match="read-only"):
        x.cov[0, 0] = 1
    with pytest.raises(AttributeError):
        x.mean = mean


def test_rounding_asymmetry_is_averaged_away():
    x = mvn.normal([0, 0], [[1, 0.5], [0.5 + 1e-12, 1]])
    assert_array_equal(x.cov, x.cov.T)


def test_repr_shows_rank_and_hides_what_does_not_fit():
    assert "singular (rank 1)" in repr(mvn.normal([0, 0], [[1, 1], [1, 1]]))
    text = repr(mvn.normal(np.zeros(30), np.eye(30)))
    assert "... and 10 more" in text
    assert "correlation" not in text


REFUSALS = {
    "cov has shape (3, 3) but the mean has 2": lambda: mvn.normal([0, 0], np.eye(3)),
    "cov has shape (2,)": lambda: mvn.normal([0, 0], [1, 1]),
    "mean has shape (1, 2)": lambda: mvn.normal([[0, 0]], np.eye(2)),
    "mean has shape (0,)": lambda: mvn.normal([], np.empty((0, 0))),
    "are 0.5 and 0.3, a difference of 0.2": lambda: mvn.normal([0, 0], [[1, 0.5], [0.3, 1]]),
    "smallest eigenvalue is -1": lambda: mvn.normal([0, 0], [[1, 2], [2, 1]]),
    "variance 1 is -1": lambda: mvn.normal([0, 0], [[1, 0], [0, -1]]),
    "variance 0 is 0 but row 0": lambda: mvn.normal([0, 0], [[0, 1e-5], [1e-5, 1]]),
    "mean has 1 NaN or infinite": lambda: mvn.normal([0, np.nan], np.eye(2)),
    "cov has 2 NaN or infinite": lambda: mvn.normal([0, 0], [[1, np.inf], [np.inf, 1]]),
    "mean has complex numbers": lambda: mvn.normal([0, 1j], np.eye(2)),
    "mean has entries that are not real": lambda: mvn.normal(["1", "2"], np.eye(2)),
    "cov has entries that are not real": lambda: mvn.normal([0, 0], [[1, 0], [0]]),
    "mean has masked entries": lambda: mvn.normal(np.ma.array([0, 0], mask=[0, 1]), np.eye(2)),
    "names has 1 entries": lambda: mvn.normal([0, 0], np.eye(2), names="ab"),
    "names has 'a' more than once": lambda: mvn.normal([0, 0], np.eye(2), names=["a", "a"]),
    "names must be strings; entry 0 is 1": lambda: mvn.normal([0, 0], np.eye(2), names=[1, 2]),
    "did you mean 'reading'": lambda: SCORES.marginal("readings"),
    "the names are 'math', 'reading'": lambda: SCORES.marginal("qqq"),
    "position 2, but there are 2": lambda: SCORES.marginal([0, 2]),
    "lists component 'math' more than once": lambda: SCORES.marginal([0, "math"]),
    "subset is empty": lambda: SCORES.marginal([]),
    "subset has True": lambda: SCORES.marginal([True, False]),
    "subset has 1.0": lambda: SCORES.marginal([1.0]),
    "a has position 5": lambda: SCORES.covariance_block(5, 0),
    "b has position 5": lambda: SCORES.independent(0, 5),
    "x has shape (3,)": lambda: SCORES.logpdf([1, 2, 3]),
    "x has 1 NaN": lambda: SCORES.logpdf([1, np.nan]),
    "write x[:, None]": lambda: mvn.normal(0, 1).pdf([1, 2]),
    "A has shape (1, 3)": lambda: SCORES.linear([1, 2, 3]),
    "b has length 3; it must have length 2": lambda: SCORES + np.arange(3),
    "given lists all 2": lambda: SCORES.conditional([0, 1], [1, 2]),
    "values has length 2; it must have length 1": lambda: SCORES.conditional(0, [1, 2]),
    "values are missing": lambda: SCORES.conditional(0),
    "values are given twice": lambda: SCORES.conditional({0: 1}, [1]),
    "given has 'maths'": lambda: SCORES.regression_coefficients("maths"),
    "n is -1": lambda: SCORES.sample(-1),
    "n is 2.0": lambda: SCORES.sample(2.0),
    "other has 1 components": lambda: SCORES.kl_divergence(mvn.normal(0, 1)),
    "level is 1": lambda: SCORES.ellipse(1),
    "n_points is 1": lambda: SCORES.ellipse(0.5, n_points=1),
    "an ellipse needs two": lambda: SCORES.ellipse(0.5, dims=[0]),
    "constant: no ellipse": lambda: mvn.normal([0, 0], np.zeros((2, 2))).ellipse(0.5),
    "'x0': constant": lambda: mvn.normal(0, 0).plot(),
    "a plot shows one or two": lambda: mvn.normal([0] * 3, np.eye(3)).plot(dims=range(3)),
    "a surface stands over two": lambda: SCORES.surface(dims=[0]),
    "singular covariance": lambda: mvn.normal([0, 0], np.ones((2, 2))).surface(),
    "levels must be one probability": lambda: SCORES.plot(levels=[]),
    "level is 95": lambda: SCORES.plot(levels=95.0),
    "points has shape (1, 3)": lambda: SCORES.plot(points=[1, 2, 3]),
    "noise_cov has shape (2, 2)": lambda: mvn.joint_linear_gaussian(0, 1, [1], 0, np.eye(2)),
    "noise_cov is not positive": lambda: mvn.joint_linear_gaussian(
        0, 9, [[1], [1]], 0, [[1, 2], [2, 1]]
    ),
}


@pytest.mark.parametrize("message", REFUSALS)
def test_refusal(message):
    with pytest.raises(DataError) as caught:
        REFUSALS[message]()
    assert message in str(caught.value)


# Picture ---------------------------------------------------------------------------------------


@pytest.fixture
def pyplot():
    """Pyplot with the file back end; figures are closed afterwards."""
    matplotlib = pytest.importorskip("matplotlib")
    matplotlib.use("Agg")
    from matplotlib import pyplot

    yield pyplot
    pyplot.close("all")


@pytest.mark.parametrize("level", [0.1, 0.5, 0.99])
def test_ellipse_has_the_chi_square_radius(level):
    curve = SCORES.ellipse(level)
    assert curve.shape == (201, 2)
    assert_allclose(SCORES.mahalanobis(curve), np.sqrt(stats.chi2.ppf(level, 2)), rtol=1e-12)
    assert_allclose(curve[0], curve[-1])


def test_ellipse_holds_its_probability():
    draws = SCORES.sample(20_000, seed=14)
    radius = SCORES.mahalanobis(SCORES.ellipse(0.9))[0]
    assert abs((SCORES.mahalanobis(draws) <= radius).mean() - 0.9) < 4.5 * np.sqrt(0.09 / 20_000)


def test_ellipse_of_a_singular_pair_is_a_central_segment():
    curve = mvn.normal([0, 0], [[1, 1], [1, 1]]).ellipse(0.95)
    assert_allclose(curve[:, 0], curve[:, 1], atol=1e-12)
    assert_allclose(curve[:, 0].max(), stats.norm.ppf(0.975))


def test_plot_draws_the_ellipses_axes_and_points(pyplot):
    x = SCORES.linear([[0, 1], [1, 0], [1, 1]], names=["reading", "math", "sum"])
    figure, ax = pyplot.subplots()
    points = x.sample(30, seed=1)
    assert x.plot(dims=["math", "reading"], levels=[0.9, 0.5], ax=ax, points=points) is ax
    for patch, level in zip(ax.patches, [0.9, 0.5], strict=True):
        radius = SCORES.mahalanobis(patch.get_xy())
        assert_allclose(radius, np.sqrt(stats.chi2.ppf(level, 2)), rtol=1e-10)
    assert_allclose(ax.collections[0].get_offsets(), points[:, [1, 0]])
    first, second = (np.diff(line.get_xydata(), axis=0)[0] for line in ax.lines[:2])
    assert_allclose(first @ second, 0, atol=1e-9)
    assert [text.get_text() for text in ax.get_legend().get_texts()] == ["50%", "90%"]
    assert (ax.get_xlabel(), ax.get_ylabel()) == ("math", "reading")
    assert ax.get_aspect() == 1
    figure.canvas.draw()


def test_plot_of_very_unequal_spreads_has_free_scales(pyplot):
    assert mvn.normal([0, 0], np.diag([1, 1e4])).plot().get_aspect() == "auto"


def test_plot_of_one_component_is_its_density(pyplot):
    ax = SCORES.plot(dims="math", levels=0.95, points=SCORES.sample(5, seed=1))
    curve = ax.lines[0].get_xydata()
    assert_allclose(curve[:, 1], stats.norm(50, 10).pdf(curve[:, 0]), rtol=1e-12)
    shaded = ax.collections[0].get_paths()[0].vertices[:, 0]
    assert_allclose([shaded.min(), shaded.max()], stats.norm(50, 10).interval(0.95))
    assert ax.get_ylabel() == "density"
    assert mvn.normal(0, 1).plot().get_xlabel() == "x0"


def test_plot_of_a_singular_pair_draws_segments(pyplot):
    ax = mvn.normal([0, 0], [[1, -1], [-1, 1]]).plot(levels=[0.95])
    assert not ax.patches
    assert_allclose(ax.lines[0].get_xdata().max(), stats.norm.ppf(0.975))
    ax.figure.canvas.draw()


def test_plot_without_matplotlib_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(MlmError, match=r'pip install "mlmfast\[plot\]"'):
        SCORES.plot()


def test_surface_has_the_height_of_the_density(pyplot):
    x = SCORES.linear([[0, 1], [1, 0]], names=["reading", "math"])
    ax = x.surface()
    assert (ax.get_xlabel(), ax.get_ylabel(), ax.get_zlabel()) == ("reading", "math", "density")
    top = 1.0 / (2.0 * np.pi * np.sqrt(np.linalg.det(x.cov)))
    assert_allclose(ax.get_zlim()[1], 1.05 * top, rtol=1e-12)
    assert all(0.0 <= tick <= top for tick in ax.get_zticks())
    figure = pyplot.figure()
    mine = figure.add_subplot(projection="3d")
    assert x.surface(ax=mine) is mine
    with pytest.raises(DataError, match="projection"):
        x.surface(ax=pyplot.subplots()[1])
