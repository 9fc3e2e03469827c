"""Every covariance structure of the registry: derivatives, round trips, limits."""

from dataclasses import replace
from itertools import product

import numpy as np
import pytest
from numpy.testing import assert_allclose

from mlmfast.covariance import STRUCTURES, structures
from mlmfast.covariance.spatial.linear_decay import SpatialLinear
from mlmfast.covariance.spatial.linear_logarithm import SpatialLinearLogarithm
from mlmfast.covariance.structures.toeplitz import HeterogeneousToeplitz, Toeplitz
from mlmfast.errors import DataError, ModelError

N_FITS = 4
SIZES = (2, 3, 5)


def structure_of(keyword, size, **order):
    """A structure over `size` levels, or over points in the plane at least 0.5 apart."""
    cls = STRUCTURES[keyword]
    if cls.needs == "levels":
        return cls(size, **order)
    rng = np.random.default_rng(size)
    along = np.arange(size) + 0.5 * rng.uniform(size=size)
    if issubclass(cls, SpatialLinear):
        # Along a line; logarithms of distances above 1.
        stretch = 4.0 if issubclass(cls, SpatialLinearLogarithm) else 1.0
        return cls(size, coordinates=stretch * along, **order)
    return cls(size, coordinates=np.column_stack([along, rng.uniform(size=size)]), **order)


ARGUMENTS = {
    "toep": ({}, {"order": 2}),
    "toeph": ({}, {"order": 2}),
    "un": ({}, {"order": 2}),
    "fa": ({}, {"order": 2}),
    "rr": ({"order": 1}, {}),
    "sp_matern": ({}, {"nu": 1.5}),
    "sp_matern_nugget": ({"nu": 1.5},),
}
#: Structures that go by steps, and places of levels that leave out some.
BY_LAG = [word for word, kind in STRUCTURES.items() if kind.by_lag]
GAPS = [(0, 1, 2, 5), (0, 2, 3, 7, 8), (3, 0, 4)]


def cases():
    """(keyword, size, order) of every structure, with bands and factors where it has them."""
    for keyword, size in [*product(STRUCTURES, SIZES), ("us", 8), ("toeph", 8), ("adh", 8)]:
        for arguments in ARGUMENTS.get(keyword, ({},)):
            needed = STRUCTURES[keyword].minimum_size
            if size >= (3 if (keyword, arguments) == ("sp_matern", {}) else needed):
                given = "".join(f"({value})" for value in arguments.values())
                structure = structure_of(keyword, size, **arguments)
                yield pytest.param(structure, id=f"{keyword}{given}-{size}")
    for keyword, places in product(BY_LAG, GAPS):
        for arguments in ({}, {"order": 3}) if keyword in ("toep", "un") else ({},):
            structure = structure_of(keyword, len(places), places=places, **arguments)
            at = ",".join(map(str, places))
            yield pytest.param(structure, id=f"{keyword}{[*arguments.values()]}-at-{at}")


every_structure = pytest.mark.parametrize("structure", list(cases()))


def structures_that(holds):
    chosen = [case for case in cases() if holds(case.values[0])]
    return pytest.mark.parametrize("structure", chosen)


def random_theta(structure, spread=0.7, seed=0):
    rng = np.random.default_rng(seed + structure.n_theta)
    theta = spread * rng.standard_normal((N_FITS, structure.n_theta))
    if structure.keyword in ("toep", "toeph") and structure.has_gaps:
        # Correlations small enough for a matrix of any lags.
        theta[:, structure.n_scales :] *= 0.1
    # Positive coefficients of positive semi-definite matrices where any theta will not do.
    return theta if structure.everywhere else np.abs(theta) + 0.1


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
def test_natural_hessian_matches_differences(structure):
    theta = random_theta(structure)
    expected = central(structure.natural_jacobian, theta)
    assert_allclose(structure.natural_hessian(theta), expected, rtol=1e-5, atol=1e-6)


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


# A smoothness from a grid, loadings and nuggets after a limited number of iterations.
STARTS_ARE_NEAR = {"sp_matern", "fa"} | {word for word in STRUCTURES if word.endswith("_nugget")}


@every_structure
def test_start_of_a_member_is_that_member(structure):
    matrix = structure.matrix(member_theta(structure))
    found = structure.matrix(structure.theta(matrix))
    near = structure.keyword in STARTS_ARE_NEAR
    assert_allclose(found, matrix, rtol=1e-7, atol=0.1 * matrix.max() if near else 1e-7)


def member_theta(structure):
    """Random parameters of positive definite members with ranges of the order of a distance."""
    theta = random_theta(structure, spread=0.5)
    if structure.needs == "coordinates":
        theta[:, 1] = np.random.default_rng(2).uniform(0.5, 1.5, N_FITS)
    if getattr(structure, "order", None) and structure.keyword.startswith("toep"):
        theta[:, structure.n_scales :] *= 0.3
    return theta


@every_structure
def test_start_of_any_covariance_is_inside(structure):
    rng = np.random.default_rng(3)
    for spread in (0.1, 1.0, 10.0):
        root = np.eye(structure.size) + spread * rng.standard_normal(
            (N_FITS, structure.size, structure.size)
        )
        theta = structure.theta(root @ root.mT)
        matrix = structure.matrix(theta)
        assert np.isfinite(theta).all()
        least = smallest_correlation_eigenvalue(matrix).min()
        assert least > 0 if structure.for_residuals else least > -1e-12


def smallest_correlation_eigenvalue(matrix):
    sd = np.sqrt(np.diagonal(matrix, axis1=1, axis2=2))
    return np.linalg.eigvalsh(matrix / (sd[:, :, None] * sd[:, None, :]))[:, 0]


def is_positive_definite_by_construction(structure):
    """Bands cut off a Toeplitz matrix, and gaps in it, may leave it indefinite."""
    if structure.keyword not in ("toep", "toeph"):
        return structure.for_residuals
    cut = structure.order not in (None, structure.size) or structure.has_gaps
    return not cut or structure.bands == 1


@structures_that(is_positive_definite_by_construction)
@pytest.mark.parametrize("spread", [0.5, 2.0, 5.0])
def test_matrix_is_positive_definite_everywhere(structure, spread):
    theta = np.clip(random_theta(structure, spread, seed=5), -8.0, 8.0)
    # To rounding: correlations come within 1e-7 of 1.
    assert smallest_correlation_eigenvalue(structure.matrix(theta)).min() > -1e-13


def test_cut_bands_can_be_indefinite():
    toep = STRUCTURES["toep"](5, order=2)
    matrix = toep.matrix(np.array([[0.0, 3.0]]))
    assert np.linalg.eigvalsh(matrix)[0, 0] < 0


@structures_that(lambda structure: structure.exchangeable)
def test_order_of_levels_does_not_matter_where_it_should_not(structure):
    order = np.random.default_rng(6).permutation(structure.size)
    matrix = structure.matrix(member_theta(structure))[:, order][:, :, order]
    if structure.needs == "coordinates":
        structure = replace(structure, coordinates=structure.coordinates[order])
    found = structure.matrix(structure.theta(matrix))
    near = structure.keyword in STARTS_ARE_NEAR
    assert_allclose(found, matrix, rtol=1e-7, atol=0.1 * matrix.max() if near else 1e-7)


def same(narrow, wide):
    """The wide structure holds the random members of the narrow one."""
    matrix = narrow.matrix(member_theta(narrow))
    assert_allclose(wide.matrix(wide.theta(matrix)), matrix, rtol=1e-7, atol=1e-8)


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize(
    ("narrow", "wide"),
    [
        *(("homdiag", "diag"), ("homdiag", "cs"), ("homdiag", "toep"), ("homdiag", "un")),
        *(("cs", "csh"), ("cs", "toep"), ("cs", "hf"), ("csh", "toeph"), ("csh", "us")),
        *(("ar1", "ar1h"), ("ar1", "toep"), ("ar1", "ad"), ("ar1h", "adh"), ("ar1h", "toeph")),
        *(("ad", "adh"), ("adh", "us"), ("toep", "toeph"), ("toeph", "us"), ("diag", "un")),
        *(("hf", "us"), ("us", "un")),
    ],
)
def test_narrow_structure_is_a_member_of_the_wide_one(narrow, wide, size):
    same(STRUCTURES[narrow](size), STRUCTURES[wide](size))


def test_autoregression_is_a_moving_average_with_gamma_equal_to_rho():
    same(STRUCTURES["ar1"](5), STRUCTURES["arma11"](5))


@pytest.mark.parametrize("size", SIZES)
def test_one_band_is_a_diagonal(size):
    same(STRUCTURES["homdiag"](size), STRUCTURES["toep"](size, order=1))
    same(STRUCTURES["toep"](size, order=1), STRUCTURES["homdiag"](size))
    same(STRUCTURES["diag"](size), STRUCTURES["toeph"](size, order=1))
    same(STRUCTURES["un"](size, order=1), STRUCTURES["diag"](size))


@pytest.mark.parametrize("size", SIZES)
def test_as_many_factors_as_levels_hold_any_covariance(size):
    us, fa = STRUCTURES["us"](size), STRUCTURES["fa"](size, order=size)
    matrix = us.matrix(random_theta(us))
    values = np.concatenate([np.zeros((N_FITS, size)), random_theta(us)], axis=1)
    assert_allclose(fa.matrix(fa.from_natural(values)), matrix, rtol=1e-12)


def test_power_at_unit_steps_is_autoregression():
    sp_pow = STRUCTURES["sp_pow"](4, coordinates=np.arange(4.0))
    ar1 = STRUCTURES["ar1"](4)
    natural = np.array([[2.0, 0.6], [0.5, 0.1]])
    expected = ar1.matrix(ar1.from_natural(natural))
    assert_allclose(sp_pow.matrix(sp_pow.from_natural(natural)), expected, rtol=1e-13)


def test_matern_of_half_smoothness_is_exponential():
    points = np.array([[0.0, 0.0], [1.0, 0.3], [0.2, 2.0], [4.0, 4.0]])
    sp_exp = STRUCTURES["sp_exp"](4, points)
    expected = sp_exp.matrix(sp_exp.from_natural(np.array([[2.0, 1.5]])))
    free, fixed = STRUCTURES["sp_matern"](4, points), STRUCTURES["sp_matern"](4, points, nu=0.5)
    found = free.matrix(free.from_natural(np.array([[2.0, 1.5, 0.5]])))
    assert_allclose(found, expected, rtol=1e-12)
    found = fixed.matrix(fixed.from_natural(np.array([[2.0, 1.5]])))
    assert_allclose(found, expected, rtol=1e-12)


def test_names_are_those_of_proc_mixed():
    assert STRUCTURES["us"](2).parameter_names == ("UN(1,1)", "UN(2,1)", "UN(2,2)")
    assert STRUCTURES["cs"](3).parameter_names == ("Variance", "CS")
    assert STRUCTURES["ar1h"](2).parameter_names == ("Var(1)", "Var(2)", "ARH(1)")
    assert STRUCTURES["toep"](3).parameter_names == ("Variance", "TOEP(2)", "TOEP(3)")
    assert STRUCTURES["fa"](2).parameter_names == ("Var(1)", "Var(2)", "FA(1,1)", "FA(2,1)")


@pytest.mark.parametrize(
    ("structure", "values"),
    [
        (STRUCTURES["cs"](3), [[1.0, -0.6]]),
        (STRUCTURES["csh"](3), [[1.0, 1.0, 1.0, -0.6]]),
        (STRUCTURES["ar1"](3), [[1.0, 1.0]]),
        (STRUCTURES["ar1"](3), [[-1.0, 0.5]]),
        (STRUCTURES["toep"](3), [[1.0, 0.9, 0.1]]),
        (STRUCTURES["adh"](2), [[1.0, 2.0, -1.5]]),
        (STRUCTURES["arma11"](3), [[1.0, 0.2, 0.9]]),
        (STRUCTURES["hf"](3), [[1.0, 1.0, 30.0, 1.0]]),
        (STRUCTURES["us"](2), [[1.0, 2.0, 1.0]]),
        (STRUCTURES["un"](2), [[1.0, 2.0, 1.0]]),
        (STRUCTURES["fa"](2), [[-1.0, 1.0, 1.0, 1.0]]),
        (STRUCTURES["diag"](2), [[1.0, -1.0]]),
        (STRUCTURES["sp_exp"](2, np.arange(2.0)), [[1.0, 0.0]]),
        (STRUCTURES["sp_pow"](2, np.arange(2.0)), [[1.0, 1.0]]),
        (STRUCTURES["sp_matern"](3, np.arange(3.0)), [[1.0, 1.0, 25.0]]),
    ],
)
def test_natural_parameters_outside_the_space_are_refused(structure, values):
    values = np.array(values)
    with pytest.raises(ModelError, match="outside the parameter space"):
        structure.from_natural(values)
    inside = structure.natural(member_theta(structure))
    inside[1] = values[0]
    with pytest.raises(ModelError, match=f"{structure.parameter_names[0]}".split("(")[0]):
        structure.from_natural(inside)
    with pytest.raises(ModelError, match=f"has {structure.n_theta} parameters"):
        structure.from_natural(values[:, :-1])


@pytest.mark.parametrize(
    ("keyword", "arguments", "error", "message"),
    [
        ("ar1", {"size": 1}, ModelError, "at least 2 levels"),
        ("arma11", {"size": 2}, ModelError, "at least 3 levels"),
        ("toep", {"size": 3, "order": 4}, ModelError, "between 1 and 3"),
        ("un", {"size": 3, "order": 0}, ModelError, "between 1 and 3"),
        ("fa", {"size": 3, "order": 4}, ModelError, "between 1 and 3"),
        ("sp_exp", {"size": 2, "coordinates": np.ones((2, 2))}, DataError, "two are the same"),
        ("sp_exp", {"size": 2, "coordinates": np.ones(3)}, DataError, "2 points"),
        ("sp_gau", {"size": 2, "coordinates": np.array([0.0, np.nan])}, DataError, "finite"),
        ("sp_sph", {"size": 2, "coordinates": np.eye(4)[:2]}, DataError, "at most 3 dimensions"),
        ("sp_matern", {"size": 2, "coordinates": np.arange(2.0)}, ModelError, "at least 3 points"),
        ("sp_matern", {"size": 3, "coordinates": np.arange(3.0), "nu": 0.0}, ModelError, "nu"),
    ],
)
def test_structures_that_cannot_be_are_refused(keyword, arguments, error, message):
    with pytest.raises(error, match=message):
        STRUCTURES[keyword](**arguments)


def test_coordinates_are_a_copy_that_cannot_be_written():
    points = np.arange(3.0)
    structure = STRUCTURES["car1"](3, points)
    points[0] = 5.0
    assert structure.coordinates[0, 0] == 0.0
    with pytest.raises(ValueError, match="read-only"):
        structure.coordinates[0, 0] = 1.0


def test_table_lists_every_structure():
    table = structures()
    assert set(table.index) == set(STRUCTURES)
    assert table.loc["ar1h", "SAS"] == "ARH(1)"
    assert table.loc["car1", "nlme"] == "corExp, corCAR1"
    assert (table[["name", "formula", "parameters", "use", "needs"]] != "").all(axis=None)


@pytest.mark.parametrize("closed", [False, True])
@pytest.mark.parametrize("size", [2, 9, 30])
def test_curvature_of_many_lags_is_the_weighted_sum_of_all_second_derivatives(size, closed):
    # The chart walks the recursion of the lags back; the Hessians of all entries come forward.
    rng = np.random.default_rng(size)
    for structure in (Toeplitz(size), HeterogeneousToeplitz(size), Toeplitz(size, order=2)):
        own = structure.closed() if closed else structure
        theta = np.abs(rng.normal(size=(2, own.n_theta))) / size
        weight = rng.normal(size=(2, len(own.entries)))
        whole = np.einsum("ae,aeij->aij", weight, own.entry_hessians(theta))
        jacobian, curvature = own.chart(theta, weight)
        assert_allclose(curvature, whole, rtol=1e-11, atol=1e-11)
        assert_allclose(jacobian, own.jacobian(theta), rtol=1e-12, atol=1e-13)
