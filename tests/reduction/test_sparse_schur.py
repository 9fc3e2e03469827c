"""The crossed engine's sparse factor: dense matrices, the dense factor, derivatives, threads."""

import numpy as np
import pandas as pd
import pytest

import mlmfast as mlm
from mlmfast import _core
from mlmfast.criterion.criterion import criterion_of
from mlmfast.errors import ModelError
from mlmfast.reduction.engines.options import CrossedSettings
from mlmfast.reduction.engines.sizes import crossed_size, is_too_large
from mlmfast.reduction.reduce import reduce_design

from .. import dense
from ..fits import lmm
from ..reduction.test_crossed import FORMULAS, crossed_frame, random_theta, reduction
from ..threads import output_for_any_number_of_threads

SPARSE = {"engine": "crossed", "schur": "sparse"}
DENSE = {"engine": "crossed", "schur": "dense"}


def schools(n_schools, pupils=6, movers=0.15, seed=0, far=0.0):
    """Pupils met twice, most in one school, movers in a neighbouring one or (`far`) in any."""
    rng = np.random.default_rng(seed)
    n_pupils = n_schools * pupils
    pupil = np.repeat(np.arange(n_pupils), 2)
    school, n = pupil // pupils, 2 * n_pupils
    school = np.where(rng.random(n) < movers, (school + rng.integers(1, 4, n)) % n_schools, school)
    school = np.where(rng.random(n) < far, rng.integers(0, n_schools, n), school)
    x, year = rng.normal(size=n), rng.integers(0, 5, n)
    y = 1 + 0.3 * x + rng.normal(size=n) + rng.normal(size=n_pupils)[pupil]
    y += rng.normal(size=n_schools)[school] + 0.6 * rng.normal(size=n_schools)[school] * x
    y += 0.5 * rng.normal(size=5)[year]
    codes = {"pupil": pupil, "school": school, "region": school // 8, "year": year}
    return pd.DataFrame({"y": y, "x": x, "w": rng.uniform(0.5, 2.0, n), **codes})


SCHOOLS = [
    "y ~ x + (1 | pupil) + (1 | school)",
    "y ~ x + (1 | pupil) + (x | school)",
    "y ~ x + (x | pupil) + (x | school) + (1 | year)",
    "y ~ x + (1 | region/school) + (1 | pupil) + (0 + x | year)",
]


def both(formula, frame):
    """The reductions with a dense and with a sparse factor."""
    found = [
        reduction(formula, frame, CrossedSettings(s), weights="w") for s in ("dense", "sparse")
    ]
    assert [r.core.schur for r in found] == ["dense", "sparse"]
    return found


def numbers(reduced, theta, exact):
    """Everything that the engine computes at one theta, `exact` second derivatives too."""
    core, criterion = reduced.core, criterion_of(reduced, "REML")
    g, entries = criterion.covariances(theta), criterion.entries
    value, gradient, observed, expected = core.evaluate(g, [0], entries, True, True, exact=exact)
    out = [value, gradient] + ([observed, expected] if exact else [])
    out.extend(core.solve(g, [0]))
    for mean, covariance in core.conditional(g, 0, np.ones(len(reduced.kept))):
        out.extend([mean, covariance])
    n_levels = [reduced.design.factors[f].n_levels for f in reduced.levels]
    for n_rows in (20, 200):  # one row after the other, and from the inverse
        rng = np.random.default_rng(n_rows)
        codes = [rng.integers(-1, n, n_rows).astype(np.int32) for n in n_levels]
        z = [rng.normal(size=(n_rows, q)) for q in reduced.level_sizes]
        out.extend(core.prediction_error(g, 0, codes, z))
    out.append(core.information_derivatives(g, 0, entries))
    if exact:
        out.append(core.information_second_derivatives(g, 0, entries))
    return out


def thetas(criterion):
    """Regular, all zero, singular, and nearly singular covariances."""
    regular = random_theta(criterion, 3)
    odd = np.arange(criterion.n_theta) % 2
    return [regular, 0 * regular, regular * np.where(odd, 1, 0), regular * np.where(odd, 1, 1e-3)]


CASES = [(f, "crossed") for f in FORMULAS] + [(f, "schools") for f in SCHOOLS]


@pytest.mark.parametrize(("formula", "data"), CASES, ids=[f[8:] for f, _ in CASES])
def test_both_factors_give_the_same_numbers(formula, data):
    pair = both(formula, crossed_frame() if data == "crossed" else schools(50))
    for theta in thetas(criterion_of(pair[0], "REML")):
        for theirs, ours in zip(*(numbers(r, theta, exact=True) for r in pair), strict=True):
            np.testing.assert_allclose(ours, theirs, rtol=1e-10, atol=1e-12 * np.abs(theirs).max())


@pytest.mark.parametrize("far", [0.0, 0.03])
def test_both_factors_agree_where_subtrees_are_factored_side_by_side(far):
    """Enough schools for several panels a supernode; movers to far schools couple the subtrees."""
    pair = both("y ~ x + (1 | pupil) + (1 | school) + (1 | year)", schools(900, 4, far=far))
    dense_cost, sparse_cost = (r.nesting.cost for r in pair)
    assert sparse_cost[0] < dense_cost[0] / 2
    theta = random_theta(criterion_of(pair[0], "REML"), 3)
    for theirs, ours in zip(*(numbers(r, theta, exact=False) for r in pair), strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-10, atol=1e-12 * np.abs(theirs).max())


@pytest.mark.parametrize("formula", SCHOOLS)
def test_fit_agrees_with_dense_matrices(formula):
    """Log-likelihood, coefficients and their covariance at the estimates, by the n x n V."""
    fit = lmm(formula, schools(25, 5), method="ML", options=SPARSE)
    assert fit.certificate.engine.startswith("crossed, sparse Schur")
    V, X = fit.V(None).to_numpy(), fit.X(None).to_numpy()
    y = fit.fittedvalues.to_numpy() + fit.resid().to_numpy()
    inverse = dense.inverse(V)
    vcov = np.linalg.inv(X.T @ inverse @ X)
    beta = vcov @ X.T @ inverse @ y
    r = y - X @ beta
    llf = -0.5 * (len(y) * np.log(2 * np.pi) + dense.log_determinant(V) + r @ inverse @ r)
    assert fit.llf == pytest.approx(llf, rel=1e-10)
    np.testing.assert_allclose(fit.params, beta, rtol=1e-8)
    np.testing.assert_allclose(fit.cov_params(), vcov, rtol=1e-7, atol=1e-12)


def test_gradient_agrees_with_central_differences():
    reduced = both(SCHOOLS[2], schools(60))[1]
    criterion, core = criterion_of(reduced, "REML"), reduced.core
    theta = random_theta(criterion, 3)
    g, entries = criterion.covariances(theta), criterion.entries
    gradient = core.evaluate(g, [0], entries, True, True)[1][0]
    for k, (level, a, b) in enumerate(entries):
        values = []
        for step in (1e-4, -1e-4):
            moved = [matrix.copy() for matrix in g]
            moved[level][0, a, b] += step
            moved[level][0, b, a] += step if a != b else 0.0
            values.append(core.evaluate(moved, [0], entries, True, False)[0][0])
        assert (values[0] - values[1]) / 2e-4 == pytest.approx(gradient[k], rel=2e-5, abs=1e-4)


def test_everything_a_fit_offers_is_the_same():
    frame = schools(50)
    sparse, whole = (lmm(SCHOOLS[1], frame, weights="w", options=o) for o in (SPARSE, DENSE))
    assert sparse.llf == pytest.approx(whole.llf, rel=1e-12)
    np.testing.assert_allclose(sparse.params, whole.params, rtol=1e-9)
    np.testing.assert_allclose(sparse.df, whole.df, rtol=1e-6)
    for group in ("pupil", "school"):
        np.testing.assert_allclose(sparse.varcorr[group], whole.varcorr[group], rtol=1e-7)
        np.testing.assert_allclose(sparse.ranef[group], whole.ranef[group], rtol=1e-6, atol=1e-8)
    bounds = [f.predict(frame.head(90), interval="confidence") for f in (sparse, whole)]
    np.testing.assert_allclose(*bounds, rtol=1e-7)
    drawn = [f.simulate(2, seed=3) for f in (sparse, whole)]
    np.testing.assert_allclose(*drawn, rtol=1e-6, atol=1e-8)


def test_a_batch_gives_the_bits_of_single_fits():
    model = mlm.LMM(SCHOOLS[1], schools(40))
    responses = model.fit(options=SPARSE).simulate(5, seed=1)
    batch = model.fit_many(responses, options=SPARSE)
    for f in (0, 4):
        alone = model.fit_many(responses[:, f], options=SPARSE)
        np.testing.assert_array_equal(batch.params[f], alone.params[0])
        np.testing.assert_array_equal(batch.llf[f], alone.llf[0])


THREADS = """
import numpy as np, mlmfast as mlm
from tests.reduction.test_sparse_schur import schools
frame = schools(600, 4, far=0.05)
fit = mlm.lmm("y ~ x + (1 | pupil) + (x | school)", frame)
assert fit.certificate.engine.startswith("crossed, sparse Schur"), fit.certificate
values = [*fit.params, *fit.bse, fit.llf, *fit.ranef["school"].to_numpy().ravel()]
values += [*fit.ranef["pupil"].to_numpy().ravel(), *fit._source.theta.ravel()]
print(np.array(values).tobytes().hex())
"""


def test_the_number_of_threads_changes_no_bit():
    assert output_for_any_number_of_threads(THREADS)


# -- which factor ---------------------------------------------------------------------------------


def test_many_disconnected_parts_are_factored_part_by_part():
    frame = schools(400, 3, movers=0.0)
    pairs = frame.assign(school=lambda d: d.school // 2 * 2 + (np.arange(len(d)) % 2))
    fit = lmm(SCHOOLS[0], pairs)
    assert fit.certificate.engine.startswith("crossed, sparse Schur")
    values, _ = fit._source.model.nesting.cost
    assert values <= 4 * 400
    whole = lmm(SCHOOLS[0], pairs, options=DENSE)
    assert fit.llf == pytest.approx(whole.llf, rel=1e-11)
    np.testing.assert_allclose(fit.bse, whole.bse, rtol=1e-7)


def test_the_cheaper_factor_is_chosen():
    assert lmm(SCHOOLS[0], schools(300, 3)).certificate.engine.startswith("crossed, sparse")
    rng = np.random.default_rng(2)
    full = pd.DataFrame({"y": rng.normal(size=9000), "u": np.arange(9000) % 300})
    full["v"] = rng.integers(0, 200, 9000)
    assert reduce_design(mlm.LMM("y ~ 1 + (1 | u) + (1 | v)", full).design).core.schur == "dense"


def test_memory_follows_the_nonzeros_of_the_factor():
    """20,000 schools: a dense factor would hold 2e8 numbers."""
    frame = schools(20_000, 3)
    model = mlm.LMM(SCHOOLS[0], frame)
    codes = [frame.school.to_numpy(np.int32), frame.pupil.to_numpy(np.int32)]
    arguments = (len(frame), codes, [20_000, 60_000], [1, 1])
    sparse, whole = (_core.Crossing(*arguments, s) for s in ("cheaper", "dense"))
    assert (sparse.order, sparse.schur, whole.schur) == (20_000, "sparse", "dense")
    assert sparse.cost[0] < 1e6
    assert not is_too_large(crossed_size(model.design, sparse), 1e9)
    assert is_too_large(crossed_size(model.design, whole), 1e12)


REFUSED = {
    "unknown": ({"engine": "crossed", "schur": "banded"}, "schur is 'banded'; use"),
    "without the engine": ({"schur": "sparse"}, "schur are options of the crossed engine"),
    "another engine": ({"engine": "iterative", "schur": "dense"}, "options of the crossed engine"),
}


@pytest.mark.parametrize(("options", "message"), REFUSED.values(), ids=REFUSED)
def test_options_that_do_not_apply_are_refused(options, message):
    with pytest.raises(ModelError, match=message):
        mlm.lmm(SCHOOLS[0], schools(10), options=options)
