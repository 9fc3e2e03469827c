"""Crossed random effects: both engines, dense matrices, derivatives, threads, refusals."""

import warnings
from itertools import pairwise

import numpy as np
import pandas as pd
import pytest

import mlmfast as mlm
from mlmfast.criterion.criterion import criterion_of
from mlmfast.errors import ModelError, SingularFitWarning
from mlmfast.reduction.engines.options import CrossedSettings
from mlmfast.reduction.reduce import reduce_design

from ..cases import data_of
from ..fits import conditional_covariance, lmm
from ..problems import nested_frame
from ..threads import output_for_any_number_of_threads

CROSSED = {"engine": "crossed"}


def crossed_frame(seed=5, n=400, n_subj=25, n_item=14, sd=(1.0, 0.6, 0.8, 0.5)):
    """Subjects and items met at random, with slopes of x by both, and weights."""
    rng = np.random.default_rng(seed)
    s, i = rng.integers(0, n_subj, n), rng.integers(0, n_item, n)
    x = rng.normal(size=n)
    y = 2.0 + 0.5 * x + rng.normal(size=n)
    y += rng.normal(0, sd[0], n_subj)[s] + rng.normal(0, sd[1], n_subj)[s] * x
    y += rng.normal(0, sd[2], n_item)[i] + rng.normal(0, sd[3], n_item)[i] * x
    labels = {"subj": [f"s{k}" for k in s], "item": [f"i{k}" for k in i]}
    return pd.DataFrame(labels | {"x": x, "y": y, "w": rng.uniform(0.5, 2.0, n)})


def reduction(formula, frame, engine=None, **arguments):
    model = mlm.LMM(formula, frame, **arguments)
    return reduce_design(model.design, engine=engine or CrossedSettings())


def random_theta(criterion, seed, scale=0.8):
    return scale * np.random.default_rng(seed).normal(size=(1, criterion.n_theta))


FORMULAS = [
    "y ~ x + (1 | subj) + (1 | item)",
    "y ~ x + (x | subj) + (x | item)",
    "y ~ x + (x || item) + (1 | subj)",
    "y ~ x + (x | subj) + (0 + x | item) + (1 | subj:item)",
]


# -- derivatives ---------------------------------------------------------------------------------


@pytest.mark.parametrize("reml", [True, False], ids=["REML", "ML"])
@pytest.mark.parametrize("singular", [False, True], ids=["regular", "singular"])
@pytest.mark.parametrize("formula", FORMULAS)
def test_derivatives_agree_with_central_differences(formula, singular, reml):
    reduced = reduction(formula, crossed_frame(), weights="w")
    criterion, core = criterion_of(reduced, "REML" if reml else "ML"), reduced.core
    theta = random_theta(criterion, 3)
    if singular:
        # A rank-one G everywhere, and one term that is exactly 0.
        theta[:, -1] = 0.0
        theta[:, criterion.theta_slices[0]] = 0.0
    g, entries = criterion.covariances(theta), criterion.entries

    def at(shift, k):
        moved = [matrix.copy() for matrix in g]
        level, a, b = entries[k]
        moved[level][0, a, b] += shift
        if a != b:
            moved[level][0, b, a] += shift
        return moved

    def evaluate(matrices):
        return core.evaluate(matrices, [0], entries, reml, True, exact=True)

    value, gradient, hessian, expected = evaluate(g)
    assert np.isfinite(value).all()
    for k, (level, a, b) in enumerate(entries):
        # Outside the covariance matrices the root of G is cut off; step along G = v v' instead.
        step = 1e-4
        if singular and not _interior(g[level][0], a, b):
            continue
        up, down = evaluate(at(step, k)), evaluate(at(-step, k))
        slope = (up[0] - down[0]) / (2 * step)
        assert slope[0] == pytest.approx(gradient[0, k], rel=2e-5, abs=1e-4)
        curve = (up[1] - down[1]) / (2 * step)
        np.testing.assert_allclose(curve[0], hessian[0, k], rtol=2e-4, atol=2e-3)
    np.testing.assert_allclose(hessian[0], hessian[0].T, rtol=1e-12)
    assert np.linalg.eigvalsh(expected[0])[0] > -1e-8 * np.abs(expected).max()


def _interior(g, a, b):
    return np.linalg.eigvalsh(g)[0] > 1e-2


@pytest.mark.parametrize("formula", FORMULAS)
def test_both_engines_agree_in_one_sided_limits_at_zero(formula):
    reduced = reduction(formula, crossed_frame())
    criterion = criterion_of(reduced, "REML")
    zero = [np.zeros((1, q, q)) for q in criterion.level_sizes]
    tiny = [1e-9 * np.eye(q)[None] for q in criterion.level_sizes]
    at_zero = reduced.core.evaluate(zero, [0], criterion.entries, True, True)
    near = reduced.core.evaluate(tiny, [0], criterion.entries, True, True)
    for exact, limit in zip(at_zero, near, strict=True):
        np.testing.assert_allclose(limit, exact, rtol=1e-5, atol=1e-4 * np.abs(exact).max())


@pytest.mark.parametrize("formula", FORMULAS)
def test_average_information_is_the_mean_of_both_at_the_optimum(formula):
    frame = crossed_frame(n=900)
    fit = lmm(formula, frame)
    source = fit._source
    g = source.criterion.covariances(source.theta)
    core, entries = source.model.core, source.criterion.entries
    _, gradient, observed, expected = core.evaluate(g, [0], entries, True, True, exact=True)
    along = np.abs(gradient[0]) < 1e-6 * np.sqrt(np.diagonal(expected[0]))
    if not along.all():
        pytest.skip("on the boundary the gradient does not vanish")
    parts = core.likelihood_derivatives(g, [0], entries, True)
    nu = source.model.design.n_obs - fit.rank
    rss, rss_by, rss_second = parts[6][0], parts[2][0], parts[3][0]
    average = nu * (0.5 * rss_second / rss - np.outer(rss_by, rss_by) / rss**2)
    np.testing.assert_allclose(average, (observed[0] + expected[0]) / 2, rtol=1e-5, atol=1e-6)


def test_derivatives_of_the_information_agree_with_central_differences():
    reduced = reduction(FORMULAS[1], crossed_frame(), weights="w")
    criterion, core = criterion_of(reduced, "REML"), reduced.core
    g, entries = criterion.covariances(random_theta(criterion, 8)), criterion.entries

    def information(matrices):
        return np.linalg.inv(core.solve(matrices, [0])[1][0])

    def moved(k, step):
        level, a, b = entries[k]
        out = [matrix.copy() for matrix in g]
        out[level][0, a, b] += step
        out[level][0, b, a] += step if a != b else 0.0
        return out

    first = core.information_derivatives(g, 0, entries)
    second = core.information_second_derivatives(g, 0, entries)
    weights = np.random.default_rng(1).normal(size=second.shape[:2])
    weights = weights + weights.T
    summed = core.information_second_derivatives(g, 0, entries, weights)
    np.testing.assert_allclose(summed, np.tensordot(weights, second, axes=2), rtol=1e-10)
    for k in range(len(entries)):
        step = 1e-5
        up, down = moved(k, step), moved(k, -step)
        difference = (information(up) - information(down)) / (2 * step)
        np.testing.assert_allclose(difference, first[k], rtol=1e-5, atol=1e-5)
        ends = [core.information_derivatives(m, 0, entries) for m in (up, down)]
        difference = (ends[0] - ends[1]) / (2 * step)
        np.testing.assert_allclose(difference, second[k], rtol=1e-4, atol=1e-4)


# -- two engines ---------------------------------------------------------------------------------

NESTED = ["(1 | a)", "(x | a)", "(x || a)", "(1 | a/b)", "(x | a) + (1 | a:b)", "(1 | a/b/c)"]


@pytest.mark.parametrize("method", ["REML", "ML"])
@pytest.mark.parametrize("seed", [21, 22])
@pytest.mark.parametrize("random_part", NESTED)
def test_both_engines_give_one_fit_where_factors_are_nested(random_part, seed, method):
    frame = nested_frame(seed)
    arguments = {"method": method, "weights": "w", "offset": "off"}
    formula = f"y ~ x + z + {random_part}"
    nested = lmm(formula, frame, **arguments)
    crossed = lmm(formula, frame, **arguments, options=CROSSED)
    assert nested.certificate.engine == "nested elimination"
    assert crossed.certificate.engine == "crossed, dense Schur"
    assert crossed.converged
    assert crossed.llf == pytest.approx(nested.llf, rel=1e-11)
    np.testing.assert_allclose(crossed.params, nested.params, rtol=1e-9)
    np.testing.assert_allclose(crossed.bse, nested.bse, rtol=1e-9)
    for group, covariance in nested.varcorr.items():
        scale = np.abs(covariance.to_numpy()).max()
        np.testing.assert_allclose(crossed.varcorr[group], covariance, rtol=1e-8, atol=1e-8 * scale)
        np.testing.assert_allclose(
            crossed.ranef[group], nested.ranef[group], rtol=1e-7, atol=1e-8 * np.sqrt(scale)
        )
        for level in nested.ranef[group].index:
            blocks = [conditional_covariance(fit, group, level) for fit in (crossed, nested)]
            np.testing.assert_allclose(*blocks, rtol=1e-7, atol=1e-8 * scale)


@pytest.mark.parametrize("random_part", NESTED)
def test_both_engines_take_the_same_derivatives(random_part):
    frame = nested_frame()
    theta = None
    results = []
    for engine in ("nested", CrossedSettings()):
        reduced = reduction(f"y ~ x + z + {random_part}", frame, engine, weights="w")
        criterion = criterion_of(reduced, "REML")
        theta = random_theta(criterion, 4) if theta is None else theta
        theta[:, 0] = 0.0
        results.append(criterion(theta, np.arange(1)))
    for ours, theirs in pairwise(results):
        for part, other in zip(ours, theirs, strict=True):
            np.testing.assert_allclose(part, other, rtol=1e-8, atol=1e-9 * np.abs(other).max())


@pytest.mark.parametrize("name", ["intercepts", "maximal"])
def test_singular_crossed_fit_is_found_and_named(name):
    sd = (1.0, 0.0, 0.0, 0.0)
    formula = FORMULAS[0] if name == "intercepts" else FORMULAS[1]
    with pytest.warns(SingularFitWarning, match="item"):
        fit = mlm.lmm(formula, crossed_frame(seed=0, sd=sd), method="ML")
    assert fit.converged
    assert fit.singular


def test_a_far_covariate_loses_no_digits():
    frame = crossed_frame()
    near = lmm(FORMULAS[1], frame)
    far = lmm(FORMULAS[1], frame.assign(x=frame.x + 1e6))
    # The intercept moves, and with it the REML likelihood does not.
    assert far.llf == pytest.approx(near.llf, rel=1e-9)
    assert far.params["x"] == pytest.approx(near.params["x"], rel=1e-8)
    assert far.bse["x"] == pytest.approx(near.bse["x"], rel=1e-8)


# -- batches, threads ----------------------------------------------------------------------------


def test_a_batch_gives_the_bits_of_single_fits():
    frame = crossed_frame()
    model = mlm.LMM(FORMULAS[1], frame)
    responses = model.fit().simulate(18, seed=1)
    batch = model.fit_many(responses)
    for f in (0, 7, 17):
        alone = model.fit_many(responses[:, f])
        np.testing.assert_array_equal(batch.params[f], alone.params[0])
        np.testing.assert_array_equal(batch.llf[f], alone.llf[0])
        np.testing.assert_array_equal(batch.varcorr["item"][f], alone.varcorr["item"][0])
    assert batch.converged.all()


THREADS = """
import numpy as np, pandas as pd, mlmfast as mlm
rng = np.random.default_rng(0)
n = 30_000
u, v = rng.integers(0, 900, n), rng.integers(0, 500, n)
y = rng.normal(size=900)[u] + rng.normal(size=500)[v] + rng.normal(size=n)
x = rng.normal(size=n)
fit = mlm.lmm("y ~ x + (1 | u) + (1 | v)", pd.DataFrame({"y": y, "x": x, "u": u, "v": v}))
core, theta = fit._source.model.core, fit._source.theta
g = fit._source.criterion.covariances(theta)
parts = core.evaluate(g, [0], fit._source.criterion.entries, True, True, exact=True)
values = [*fit.params, *fit.bse, fit.llf, *fit.ranef["u"].iloc[:, 0], *parts[2].ravel()]
print(np.array(values).tobytes().hex())
"""


def test_the_number_of_threads_changes_no_bit():
    assert output_for_any_number_of_threads(THREADS)


# -- large enough for the average information ----------------------------------------------------


def test_average_information_reaches_the_optimum_of_exact_curvature():
    rng = np.random.default_rng(4)
    n, n_u, n_v = 60_000, 1500, 900
    u, v = rng.integers(0, n_u, n), rng.integers(0, n_v, n)
    y = 0.8 * rng.normal(size=n_u)[u] + 0.3 * rng.normal(size=n_v)[v] + rng.normal(size=n)
    frame = pd.DataFrame({"y": y, "u": u, "v": v})
    fit = mlm.lmm("y ~ 1 + (1 | u) + (1 | v)", frame)
    assert fit.certificate.engine.endswith("average information")
    assert fit.certificate.n_evaluations <= 10
    source = fit._source
    g = source.criterion.covariances(source.theta)
    at = source.model.core.evaluate(g, [0], source.criterion.entries, True, True, exact=True)
    decrement = at[1][0] @ np.linalg.solve(at[2][0], at[1][0])
    assert abs(decrement) < 1e-8
    assert np.linalg.eigvalsh(at[2][0])[0] > 0


# -- designs -------------------------------------------------------------------------------------


def test_disconnected_parts_are_clusters_of_their_own():
    frame = crossed_frame(n=300)
    parts = [frame.assign(subj=frame.subj + k, item=frame.item + k, y=frame.y) for k in "AB"]
    both = pd.concat(parts, ignore_index=True)
    one, two = lmm(FORMULAS[0], frame, method="ML"), lmm(FORMULAS[0], both, method="ML")
    assert two.llf == pytest.approx(2 * one.llf, rel=1e-9)
    whole = two.resid("scaled").to_numpy()
    np.testing.assert_allclose(whole[: len(frame)], whole[len(frame) :], atol=1e-7)
    assert np.dot(whole, whole) == pytest.approx(2 * len(frame), rel=1e-6)


def test_one_row_a_cell_and_a_level_met_once():
    rng = np.random.default_rng(3)
    cells = pd.DataFrame(
        [(f"a{i}", f"b{j}") for i in range(12) for j in range(8)], columns=["a", "b"]
    )
    effect = {f"a{i}": v for i, v in enumerate(rng.normal(size=12))}
    cells["y"] = cells["a"].map(effect) + rng.normal(size=len(cells))
    assert lmm("y ~ 1 + (1 | a) + (1 | b)", cells).converged
    single = pd.concat([cells, pd.DataFrame({"a": ["new"], "b": ["b0"], "y": [0.3]})])
    fit = lmm("y ~ 1 + (1 | a) + (1 | b)", single)
    assert fit.converged
    assert "new" in fit.ranef["a"].index


def test_a_nested_factor_written_as_crossed_is_noticed():
    frame = crossed_frame().assign(ward=lambda d: d.subj.str[:2])
    fit = lmm("y ~ x + (1 | ward) + (1 | subj) + (1 | item)", frame)
    assert fit.certificate.engine.startswith("crossed")
    assert "subj is nested in ward" in " ".join(str(fit.summary()).split())


REFUSED = {
    "same factor": ("y ~ x + (1 | subj) + (1 | twin) + (1 | item)", {}, "'subj' and 'twin'.*same"),
    "same term twice": ("y ~ x + (1 | subj) + (1 | subj)", {}, "'subj' stands in two terms"),
    "as many levels as rows": ("y ~ x + (1 | subj) + (1 | row)", {}, "told from the residual"),
    "nested engine asked for": (FORMULAS[0], {"options": {"engine": "nested"}}, "are crossed"),
    "unknown engine": (FORMULAS[0], {"options": {"engine": "sparse"}}, "'iterative' or 'dense'"),
    "nested engine with a residual structure": (
        "y ~ 1 + (1 | item)",
        {"residual": "diag(half | subj)", "options": {"engine": "nested"}},
        "several levels.*options",
    ),
    "constant slope": ("y ~ x + (one | subj) + (1 | item)", {}, "constant"),
}


@pytest.mark.parametrize(("formula", "arguments", "message"), REFUSED.values(), ids=REFUSED)
def test_crossed_models_that_cannot_be_fitted_say_why(formula, arguments, message):
    frame = crossed_frame().assign(
        twin=lambda d: d.subj.map(lambda s: "twin of " + s),
        row=lambda d: np.arange(len(d)),
        half=lambda d: np.arange(len(d)) % 2,
        one=1.0,
    )
    with pytest.raises(ModelError, match=f"(?s){message}"):
        mlm.lmm(formula, frame, **arguments)


def test_clusters_cannot_be_counted_where_factors_cross():
    fit = lmm(FORMULAS[0], crossed_frame())
    with pytest.raises(ModelError, match="crossed"):
        fit.information_criteria(n="clusters")


def test_memory_is_estimated_before_it_is_taken(monkeypatch):
    import mlmfast.reduction.engines.choice as engine

    monkeypatch.setattr(engine, "memory_left", lambda: 1e4)
    assert lmm(FORMULAS[0], crossed_frame()).certificate.engine == "iterative"


# -- predictions ---------------------------------------------------------------------------------


@pytest.mark.parametrize("formula", FORMULAS)
def test_errors_of_predictions_agree_with_dense_matrices(formula):
    frame = crossed_frame(n=150, n_subj=9, n_item=7)
    fit = lmm(formula, frame, weights="w", ddf="asymptotic")
    V = fit.V(None).to_numpy()
    X, R = fit.X(None).to_numpy(), fit.R(None).to_numpy()
    cross = (V - R)[:20]  # covariance of z'g with the data, for rows of the data
    solved = np.linalg.solve(V, cross.T)
    d = X[:20] - solved.T @ X
    variance = np.diag((V - R)[:20, :20] - cross @ solved)
    variance = variance + np.einsum("ij,jk,ik->i", d, fit.cov_params().to_numpy(), d)
    bounds = fit.predict(frame.head(20), interval="confidence", level=0.9)
    half = (bounds["upper"] - bounds["lower"]).to_numpy() / 2
    np.testing.assert_allclose(half, 1.6448536269514722 * np.sqrt(variance), rtol=1e-7)


def test_a_new_level_adds_its_whole_variance():
    frame = crossed_frame()
    fit = lmm(FORMULAS[0], frame, ddf="asymptotic")
    known = {"x": [0.5], "subj": ["s1"], "item": ["i1"]}
    new = known | {"subj": ["nobody"], "item": ["nothing"]}
    bounds = fit.predict(new, interval="confidence", new_levels="population")
    half = float(bounds["upper"].iloc[0] - bounds["lower"].iloc[0]) / 2 / 1.959963984540054
    x = np.array([1.0, 0.5])
    total = sum(float(fit.varcorr[g].iloc[0, 0]) for g in ("subj", "item"))
    assert half**2 == pytest.approx(total + x @ fit.cov_params().to_numpy() @ x, rel=1e-10)
    inside = fit.predict(known, interval="confidence")
    assert (inside["upper"] - inside["lower"]).iloc[0] / 2 / 1.96 < half


def test_intervals_for_more_rows_than_a_dense_covariance_could_hold():
    rng = np.random.default_rng(9)
    n = 12_000
    u, v = rng.integers(0, 60, n), rng.integers(0, 40, n)
    y = rng.normal(size=60)[u] + rng.normal(size=40)[v] + rng.normal(size=n)
    fit = mlm.lmm("y ~ 1 + (1 | u) + (1 | v)", pd.DataFrame({"y": y, "u": u, "v": v}))
    bounds = fit.predict({"u": [0, 1], "v": [3, 3]}, interval="prediction")
    width = (bounds["upper"] - bounds["lower"]).to_numpy() / 2 / 1.96
    assert np.all(width > fit.sigma)
    assert np.all(width < 1.05 * fit.sigma)


def test_studentised_residuals_take_all_factors_into_account():
    fit = lmm(FORMULAS[1], crossed_frame(n=150, n_subj=9, n_item=7))
    V, X = fit.V(None).to_numpy(), fit.X(None).to_numpy()
    variance = np.diag(V - X @ fit.cov_params().to_numpy() @ X.T)
    expected = fit.resid("marginal").to_numpy() / np.sqrt(variance)
    ours = fit.resid("studentised-marginal").to_numpy()
    np.testing.assert_allclose(ours, expected, rtol=1e-9)


def test_clusters_that_are_not_independent_are_refused():
    fit = lmm(FORMULAS[0], crossed_frame())
    with pytest.raises(ModelError, match="several clusters"):
        fit.robust("CR0")


@pytest.mark.parametrize("ddf", ["kenward-roger", "kenward-roger-expected", "satterthwaite"])
def test_degrees_of_freedom_do_not_depend_on_the_engine(ddf):
    frame, formula = nested_frame(), "y ~ x + z + (x | a) + (1 | a:b)"
    nested = lmm(formula, frame, ddf=ddf)
    crossed = lmm(formula, frame, ddf=ddf, options=CROSSED)
    np.testing.assert_allclose(crossed.df, nested.df, rtol=1e-6)
    np.testing.assert_allclose(crossed.bse, nested.bse, rtol=1e-8)


def test_vast_designs_have_z_tests_by_default(monkeypatch):
    data = data_of("penicillin_reml")
    formula = "diameter ~ 1 + (1 | plate) + (1 | sample)"
    assert mlm.lmm(formula, data).ddf == "satterthwaite"
    monkeypatch.setattr("mlmfast.reduction.reduced_model.LARGEST_EXACT", 1)
    assert mlm.lmm(formula, data).ddf == "asymptotic"
    assert mlm.lmm(formula, data, ddf="satterthwaite").ddf == "satterthwaite"


@pytest.mark.parametrize(
    "ddf", ["satterthwaite", "kenward-roger", "kenward-roger-expected", "kenward-roger-linear"]
)
@pytest.mark.parametrize(
    "formula", ["y ~ x * f + (1 | u) + (1 | v)", "y ~ x + f + (x | u) + (1 | v)"]
)
@pytest.mark.parametrize("spread", [0.7, 0.0])
def test_tests_of_vast_designs_agree_with_exact_derivatives(ddf, formula, spread, monkeypatch):
    """Differences at two points, of which 8 digits are told, beside a variance of 0 too."""
    rng = np.random.default_rng(5)
    n, u, v = 150, *rng.integers(0, [[12], [9]], (2, 150))
    data = {"x": rng.normal(size=n), "f": rng.choice(list("abc"), n), "u": u, "v": v}
    noise = rng.normal(size=n)
    noise -= (1.0 if spread == 0.0 else 0.0) * np.bincount(v, noise)[v] / np.bincount(v)[v]
    data["y"] = rng.normal(size=12)[u] * (1 + data["x"]) + spread * rng.normal(size=9)[v] + noise
    found = []
    for most in (3_000, 1):
        monkeypatch.setattr("mlmfast.reduction.reduced_model.LARGEST_EXACT", most)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", SingularFitWarning)
            fit = lmm(formula, data, ddf=ddf)
        assert fit.singular is (spread == 0.0)
        found.append((fit.df, fit.bse, fit.anova().frame.iloc[:, 1:3], fit.cov_theta()))
    for exact, close in zip(*found, strict=True):
        np.testing.assert_allclose(close, exact, rtol=2e-7, atol=1e-9)


@pytest.mark.parametrize(
    "formula",
    [
        "y ~ x + (1 | u) + (1 | v)",
        "y ~ x + (x | u) + (1 | v)",
        "y ~ x + (x | v) + (1 | u) + (1 | w)",
    ],
)
def test_traces_by_the_inverse_root_are_those_by_the_inverse(formula):
    # Several panels; without exact curvature a dense factor's inverse root is enough.
    rng = np.random.default_rng(8)
    n, n_u, n_v = 3_000, 900, 450
    u, v, w = (
        rng.permutation(np.arange(n) % n_u),
        rng.permutation(np.arange(n) % n_v),
        np.arange(n) % 3,
    )
    frame = pd.DataFrame({"y": rng.normal(size=n), "x": rng.normal(size=n), "u": u, "v": v, "w": w})
    reduced = reduction(formula, frame, CrossedSettings(schur="dense"))
    criterion = criterion_of(reduced, "REML")
    for scale in (0.8, 1e-3):
        g = criterion.covariances(random_theta(criterion, 2, scale))
        parts = [
            reduced.core.evaluate(g, [0], criterion.entries, True, True, exact=exact)
            for exact in (False, True)
        ]
        assert parts[0][0] == parts[1][0]
        size = np.abs(parts[1][1]).max()
        np.testing.assert_allclose(parts[0][1], parts[1][1], rtol=1e-9, atol=1e-10 * size)


def test_the_gradient_by_the_inverse_root_agrees_with_central_differences():
    rng = np.random.default_rng(9)
    n, n_u, n_v = 2_500, 700, 400
    u, v = rng.permutation(np.arange(n) % n_u), rng.permutation(np.arange(n) % n_v)
    frame = pd.DataFrame({"y": rng.normal(size=n), "x": rng.normal(size=n), "u": u, "v": v})
    reduced = reduction("y ~ x + (x | u) + (x | v)", frame, CrossedSettings(schur="dense"))
    criterion, core = criterion_of(reduced, "REML"), reduced.core
    g = [np.array([[[0.5, 0.1], [0.1, 0.8]]]), np.array([[[0.3, -0.2], [-0.2, 0.6]]])]
    slope = core.evaluate(g, [0], criterion.entries, True, True, exact=False)[1][0]
    h = 1e-5
    for k, (level, a, b) in enumerate(criterion.entries):
        ends = []
        for sign in (h, -h):
            moved = [part.copy() for part in g]
            moved[level][0, a, b] += sign
            moved[level][0, b, a] = moved[level][0, a, b]
            ends.append(core.evaluate(moved, [0], [], True, False)[0][0])
        np.testing.assert_allclose(slope[k], (ends[0] - ends[1]) / (2 * h), rtol=1e-5, atol=1e-4)
