"""The iterative engine: exact with exact traces, within its Monte Carlo error with random ones."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

import mlmfast as mlm
from mlmfast import _core
from mlmfast.errors import ModelError
from mlmfast.reduction.engines.choice import relate_factors
from mlmfast.reduction.engines.options import IterativeSettings
from mlmfast.reduction.engines.sizes import crossed_size, is_too_large

from ..cases import data_of, reference, tolerance
from ..fits import arguments_of
from ..threads import output_for_any_number_of_threads

EXACT = {"engine": "iterative", "probes": "exact"}
CROSSED = (
    "assay_crossed_ml",
    "assay_crossed_reml",
    "carrots_crossed_slope_ml",
    "carrots_crossed_slope_reml",
    "penicillin_ml",
    "penicillin_reml",
    "sim_crossed_slopes_a_mixed_reml",
    "sim_crossed_slopes_a_ml",
    "sim_crossed_slopes_a_reml",
)


def crossed_data(n=3000, users=150, items=60, seed=3):
    """Sparse crossed ratings with a covariate, some cells met twice."""
    rng = np.random.default_rng(seed)
    law = 1.0 / (np.arange(items) + 3.0)
    user = np.concatenate([np.arange(users), rng.integers(0, users, n - users)])
    item = np.concatenate([np.arange(items), rng.choice(items, n - items, p=law / law.sum())])
    x, day = rng.standard_normal(n), rng.integers(0, 12, n)
    y = 2.0 + 0.5 * x + rng.standard_normal(users)[user] + 0.6 * rng.standard_normal(items)[item]
    y += 0.4 * rng.standard_normal(users)[user] * x + 0.3 * rng.standard_normal(12)[day]
    y += rng.standard_normal(n)
    weight = rng.uniform(0.5, 2.0, n)
    columns = {"y": y, "x": x, "user": user, "item": item, "day": day, "w": weight}
    return pd.DataFrame(columns)


def iterative(formula, data, **arguments):
    options = {"engine": "iterative", **arguments.pop("options", {})}
    return mlm.lmm(formula, data, options=options, **arguments)


def dense_criterion(core, codes, z, x, y, weights, g, reml):
    """-2 log-likelihood in the core's coordinates, by dense matrices."""
    n, root = len(y), np.sqrt(weights)
    q = (root[:, None] * x) @ np.linalg.inv(core.x_factor)
    e = (root * y - q @ (q.T @ (root * y))) / core.y_scale[0]
    w = np.eye(n)
    for code, columns, matrix, basis in zip(codes, z, g, core.bases, strict=True):
        transformed = root[:, None] * columns @ np.linalg.inv(basis)
        w += (code[:, None] == code) * (transformed @ matrix @ transformed.T)
    gram = q.T @ np.linalg.solve(w, q)
    residual = e - q @ np.linalg.solve(gram, q.T @ np.linalg.solve(w, e))
    rss = residual @ np.linalg.solve(w, residual)
    nu = n - (q.shape[1] if reml else 0)
    value = np.linalg.slogdet(w)[1] + nu * (1.0 + np.log(2.0 * np.pi * rss / nu))
    return value + (np.linalg.slogdet(gram)[1] if reml else 0.0)


def small_core(weighted, **settings):
    """Three factors of 30, 20 and 4 levels, two of them with slopes; arguments of the oracle."""
    data = crossed_data(260, 30, 20, seed=8)
    codes = [data[name].to_numpy(np.int32) for name in ("day", "user", "item")]
    codes[0] = (codes[0] % 4).astype(np.int32)
    x, y = data["x"].to_numpy(), data["y"].to_numpy()
    slope = np.cos(3.0 * x)
    one, column = (None, 0.0, 1.0), lambda v: ((v, 0, 1), 0.0, 1.0)
    ones = np.ones_like(x)
    weights = data["w"].to_numpy() if weighted else ones
    core = _core.IterativeReduction(
        codes,
        [4, 30, 20],
        z=[[one], [one, column(x)], [one, column(slope)]],
        x=[one, column(x)],
        y=[column(y)],
        noise=[0.0, 0.0],
        terms=[[(1, "scaled")], [(2, "orthonormal")], [(1, "scaled"), (1, "scaled")]],
        sqrt_weights=np.sqrt(weights) if weighted else None,
        tolerance=1e-13,
        **settings,
    )
    z = [ones[:, None], np.column_stack([ones, x]), np.column_stack([ones, slope])]
    return core, (codes, z, np.column_stack([ones, x]), y, weights)


G = [np.array([[0.2]]), np.array([[1.5, 0.4], [0.4, 0.6]]), np.array([[0.7, 0.0], [0.0, 0.3]])]
ENTRIES = [(0, 0, 0), (1, 0, 0), (1, 1, 0), (1, 1, 1), (2, 0, 0), (2, 1, 1)]


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("reml", [True, False])
def test_exact_traces_give_the_dense_likelihood_and_its_gradient(weighted, reml):
    core, oracle = small_core(weighted, exact=True)
    value, gradient, _, _ = core.evaluate([g[None] for g in G], [0], ENTRIES, reml, True)
    assert value[0] == pytest.approx(dense_criterion(core, *oracle, G, reml), rel=1e-12)
    for slope, (level, a, b) in zip(gradient[0], ENTRIES, strict=True):
        ends = []
        for step in (1e-5, -1e-5):
            moved = [g.copy() for g in G]
            moved[level][a, b] += step
            moved[level][b, a] = moved[level][a, b]
            ends.append(dense_criterion(core, *oracle, moved, reml))
        assert slope == pytest.approx((ends[0] - ends[1]) / 2e-5, rel=1e-6, abs=1e-6)


def test_average_information_is_the_quadratic_form_it_is_said_to_be():
    core, (codes, z, x, y, weights) = small_core(True, exact=True)
    _, _, information, _ = core.evaluate([g[None] for g in G], [0], ENTRIES, True, True)
    root = np.sqrt(weights)
    q = (root[:, None] * x) @ np.linalg.inv(core.x_factor)
    e = (root * y - q @ (q.T @ (root * y))) / core.y_scale[0]
    w, by_entry = np.eye(len(y)), []
    transformed = [
        root[:, None] * columns @ np.linalg.inv(b) for columns, b in zip(z, core.bases, strict=True)
    ]
    for code, t, g in zip(codes, transformed, G, strict=True):
        w += (code[:, None] == code) * (t @ g @ t.T)
    for level, a, b in ENTRIES:
        unit = np.zeros_like(G[level])
        unit[a, b] = unit[b, a] = 1.0
        t = transformed[level]
        by_entry.append((codes[level][:, None] == codes[level]) * (t @ unit @ t.T))
    inverse = np.linalg.inv(w)
    p = inverse - inverse @ q @ np.linalg.solve(q.T @ inverse @ q, q.T @ inverse)
    py, nu = p @ e, len(y) - q.shape[1]
    rss = e @ py
    moved = np.stack([v @ py for v in by_entry])
    first = moved @ py
    expected = nu / rss * (moved @ p @ moved.T - np.outer(first, first) / rss)
    assert information[0] == pytest.approx(expected, rel=1e-9, abs=1e-9 * np.abs(expected).max())


def test_random_probes_are_unbiased_and_know_their_error():
    """Over seeds, value and gradient scatter about the exact ones as the reported errors say."""
    exact, _ = small_core(False, exact=True)
    g = [m[None] for m in G]
    value, gradient, _, _ = exact.evaluate(g, [0], ENTRIES, True, True)
    off, errors, slopes, spread = [], [], [], []
    for seed in range(60):
        core, _ = small_core(False, probes=6, seed=seed)
        found, by_entry, _, _ = core.evaluate(g, [0], ENTRIES, True, True)
        variance, covariance, _, _ = core.monte_carlo(g, 0, ENTRIES, True)
        off.append(found[0] - value[0])
        errors.append(variance)
        slopes.append(by_entry[0] - gradient[0])
        spread.append(np.diag(covariance))
    true, said = np.var(off), np.mean(errors)
    assert said > 0
    assert abs(np.mean(off)) < 4.0 * np.sqrt(said / 60)
    assert 0.5 < true / said < 2.0
    said = np.mean(spread, axis=0)
    assert (np.abs(np.mean(slopes, axis=0)) < 4.0 * np.sqrt(said / 60) + 1e-9).all()
    known = said > 1e-18
    assert known.sum() >= 4
    ratio = np.var(slopes, axis=0)[known] / said[known]
    assert ((ratio > 0.4) & (ratio < 2.5)).all()


@pytest.mark.parametrize("case_id", CROSSED)
def test_exact_traces_reproduce_the_reference_fits(case_id):
    expect = reference(case_id)["expect"]
    fit = mlm.lmm(
        reference(case_id)["formula"], data_of(case_id), options=EXACT, **arguments_of(case_id)
    )
    assert fit.converged
    assert fit.llf == pytest.approx(expect["loglik"], rel=1e-9, abs=1e-7)
    for name, value in expect["beta"].items():
        close = tolerance(case_id, "beta")
        assert fit.params[name] == pytest.approx(value, rel=close, abs=close * fit.bse[name])
    for name, value in expect["se"].items():
        assert fit.bse[name] == pytest.approx(value, rel=tolerance(case_id, "se"))
    for group, theirs in expect.get("ranef", {}).items():
        ours = fit.ranef[group]
        size = np.abs(ours.to_numpy()).max()
        for level, effects in theirs.items():
            found = ours.loc[level].to_numpy()
            assert found == pytest.approx(np.ravel(list(effects)), abs=1e-6 * size)


@pytest.mark.parametrize(
    ("formula", "arguments"),
    [
        ("y ~ x + (1 | user) + (1 | item)", {}),
        ("y ~ x + (1 + x | user) + (1 | item) + (1 | day)", {"method": "ML"}),
        ("y ~ x + (x || user) + (1 | item)", {"weights": "w"}),
    ],
)
def test_it_agrees_with_the_factorising_engine(formula, arguments):
    data = crossed_data()
    direct = mlm.lmm(formula, data, options={"engine": "crossed"}, **arguments)
    exact = mlm.lmm(formula, data, options=EXACT, **arguments)
    assert exact.llf == pytest.approx(direct.llf, rel=1e-9)
    assert exact.certificate.engine == "iterative"
    assert exact.monte_carlo_error.llf == 0.0
    assert exact.params.to_numpy() == pytest.approx(direct.params.to_numpy(), rel=1e-6)
    assert exact.bse.to_numpy() == pytest.approx(direct.bse.to_numpy(), rel=1e-6)
    for group, matrix in direct.varcorr.items():
        scale = np.abs(matrix.to_numpy()).max()
        assert exact.varcorr[group].to_numpy() == pytest.approx(matrix.to_numpy(), abs=1e-5 * scale)
        assert exact.ranef[group].to_numpy() == pytest.approx(
            direct.ranef[group].to_numpy(), abs=1e-5
        )
    assert exact.fittedvalues.to_numpy() == pytest.approx(direct.fittedvalues.to_numpy(), abs=1e-5)
    new = data[["x", "user", "item", "day"]].head(7)
    assert exact.predict(new).to_numpy() == pytest.approx(direct.predict(new).to_numpy(), abs=1e-5)


def test_more_probes_come_closer_and_the_error_says_how_close():
    data = crossed_data()
    formula = "y ~ x + (1 | user) + (1 | item) + (1 | day)"
    exact = iterative(formula, data, options={"probes": "exact"})
    distances = []
    for probes in (4, 16, 60):
        fit = iterative(formula, data, options={"probes": probes})
        error = fit.monte_carlo_error
        assert fit.converged
        assert error.n_probes == probes
        assert abs(fit.llf - exact.llf) < 4.0 * error.llf + 1e-9
        assert abs(fit.scale - exact.scale) < 4.0 * error.sigma2 + 1e-9
        for k, matrix in enumerate(exact.varcorr.values()):
            off = np.abs(fit.varcorr[list(exact.varcorr)[k]].to_numpy() - matrix.to_numpy())
            assert (off < 4.5 * error.covariances[k] + 1e-9).all()
        distances.append(error.llf)
    assert distances[0] > distances[2] > 0


THREADS = """
from tests.reduction.test_iterative import crossed_data, iterative
fit = iterative("y ~ x + (x | user) + (1 | item) + (1 | day)", crossed_data(30000, 900, 200))
print(fit.llf.hex(), [v.hex() for v in fit.params], fit.ranef["user"].sum().iloc[0].hex())
"""


def test_a_fit_repeats_itself_for_any_number_of_threads():
    assert output_for_any_number_of_threads(THREADS)


def test_a_variance_of_zero_ends_on_the_boundary():
    data = crossed_data()
    rng = np.random.default_rng(3)
    data["useless"] = rng.integers(0, 40, len(data))
    with pytest.warns(mlm.SingularFitWarning):
        fit = iterative("y ~ x + (1 | user) + (1 | item) + (1 | useless)", data)
    assert fit.varcorr["useless"].iloc[0, 0] == 0.0
    assert fit.converged
    assert fit.monte_carlo_error.covariances[2][0, 0] == 0.0


def test_the_summary_says_that_the_likelihood_is_an_estimate():
    data = crossed_data()
    formula = "y ~ x + (1 | user) + (1 | item)"
    text = str(iterative(formula, data).summary())
    assert "estimates from 28 random probes" in text
    assert "Monte Carlo error" in text
    assert "Monte Carlo" not in str(iterative(formula, data, options={"probes": "exact"}).summary())
    assert "Monte Carlo" not in str(mlm.lmm(formula, data).summary())


def test_a_saved_fit_keeps_its_monte_carlo_errors():
    fit = iterative("y ~ x + (x | user) + (1 | item)", crossed_data())
    again = mlm.load(fit.to_json())
    assert again.monte_carlo_error.llf == fit.monte_carlo_error.llf
    assert np.array_equal(
        again.monte_carlo_error.covariances[0], fit.monte_carlo_error.covariances[0]
    )
    assert again.ranef["user"].equals(fit.ranef["user"])
    assert mlm.lmm("y ~ x + (1 | user)", crossed_data()).monte_carlo_error is None


def test_batches_are_the_fits_one_by_one():
    data = crossed_data()
    model = mlm.LMM("y ~ x + (1 | user) + (1 | item)", data)
    rng = np.random.default_rng(2)
    responses = np.column_stack([data["y"], data["y"] + rng.standard_normal(len(data))])
    batch = model.fit_many(responses, options={"engine": "iterative"})
    second = iterative("y ~ x + (1 | user) + (1 | item)", data.assign(y=responses[:, 1]))
    assert batch.llf[1] == pytest.approx(second.llf, rel=1e-12)
    assert batch.params[1] == pytest.approx(second.params.to_numpy(), rel=1e-9)


def test_conditional_covariances_are_refused_by_name():
    data = crossed_data()
    fit = iterative("y ~ x + (1 | user) + (1 | item)", data)
    with pytest.raises(ModelError, match=r"intervals around random effects .*iterative engine"):
        fit.predict(data.head(3), interval="confidence")
    direct = mlm.lmm("y ~ x + (1 | user) + (1 | item)", data, ddf="asymptotic")
    ours = fit.predict(data.head(3), interval="confidence", ranef=False)
    theirs = direct.predict(data.head(3), interval="confidence", ranef=False)
    assert ours.to_numpy() == pytest.approx(theirs.to_numpy(), rel=1e-4)
    with pytest.raises(ModelError, match=r"conditional covariances .* iterative engine"):
        _ = fit.ranef_cov["user"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"engine": "iterative", "probes": 1}, "probes is 1"),
        ({"engine": "iterative", "probes": "many"}, "probes is 'many'"),
        ({"engine": "iterative", "probes": True}, "probes is True"),
        ({"engine": "iterative", "seed": -1}, "seed of the probes is -1"),
        ({"probes": 30}, "probes are options of the iterative engine"),
        ({"engine": "crossed", "seed": 3}, "seed are options of the iterative engine"),
        ({"engine": "iterativ"}, "engine is 'iterativ'"),
    ],
)
def test_options_that_make_no_sense_are_refused(options, message):
    with pytest.raises(ModelError, match=message):
        mlm.lmm("y ~ x + (1 | user) + (1 | item)", crossed_data(), options=options)


def test_what_needs_exact_information_is_refused():
    data, formula = crossed_data(), "y ~ x + (1 | user) + (1 | item)"
    assert iterative(formula, data).ddf == "asymptotic"
    with pytest.raises(ModelError, match=r"information .* is not formed by the iterative engine"):
        _ = iterative(formula, data, ddf="satterthwaite").pvalues
    with pytest.raises(ModelError, match=r"iterative engine takes no .* hold="):
        mlm.LMM(formula, data).fit(options={"engine": "iterative"}, hold={"sigma": 1.0})


def test_a_residual_covariance_is_refused():
    data = mlm.load_sleepstudy()
    with pytest.raises(ModelError, match="iterative engine has independent residuals"):
        iterative("Reaction ~ Days", data, residual="ar1(Days | Subject)")
    with pytest.raises(ModelError, match="needs random effects"):
        iterative("Reaction ~ Days", data)


def test_collinear_random_effects_are_named():
    data = crossed_data().assign(twice=lambda d: 2.0 * d["x"])
    with pytest.raises(ModelError, match=r"'twice' is a linear combination"):
        iterative("y ~ x + (x + twice | user) + (1 | item)", data)


def test_equations_that_do_not_converge_are_an_error_that_says_what_to_do():
    core, _ = small_core(False, probes=6, max_iter=2)
    with pytest.raises(_core.NotConverged) as caught:
        core.solve([g[None] for g in G], [0])
    iterations, residual = caught.value.args
    assert iterations == 2
    assert residual > 0


def test_a_fit_whose_equations_do_not_converge_says_what_to_do(monkeypatch):
    monkeypatch.setattr(IterativeSettings, "most_iterations", 2)
    told = r"relative residual of \d.*after 2 iterations.*Use options=\{'engine': 'crossed'\}"
    with pytest.raises(ModelError, match=told):
        iterative("y ~ x + (1 | user) + (1 | item)", crossed_data())


def test_the_engine_is_chosen_by_the_memory_of_a_factorisation(monkeypatch):
    model = mlm.LMM("y ~ x + (1 + x | user) + (1 | item)", crossed_data())
    crossing = relate_factors(model.design, (1, 0))
    assert isinstance(crossing, _core.Crossing)
    assert crossing.order == 60
    size = crossed_size(model.design, crossing)
    assert size.order == 60
    assert not is_too_large(size, 1e9)
    assert is_too_large(size, 1e3)
    assert is_too_large(replace(size, operations=3e12), 1e9)
    monkeypatch.setattr("mlmfast.reduction.engines.choice.memory_left", lambda: 1e3)
    assert relate_factors(model.design, (1, 0)) == IterativeSettings()


def test_a_sparse_design_of_any_size_is_factored():
    n = 50_000
    codes = np.arange(n) % 25_000
    wide = pd.DataFrame({"y": np.sin(np.arange(n)), "a": codes, "b": (codes * 7 + 3) % 24_989})
    wide.loc[n // 2 :, "b"] = wide["b"].to_numpy()[: n // 2][::-1]
    design = mlm.LMM("y ~ 1 + (1 | a) + (1 | b)", wide).design
    crossing = relate_factors(design, (1, 0))
    assert isinstance(crossing, _core.Crossing)
    assert crossing.schur == "sparse"


def test_disconnected_parts_cost_no_accuracy():
    """Each part has a direction in which the factors are nearly confounded; they are found."""
    rng = np.random.default_rng(5)
    part = rng.integers(0, 6, 6000)
    user, item = 60 * part + rng.integers(0, 60, 6000), 15 * part + rng.integers(0, 15, 6000)
    y = 3.0 * rng.standard_normal(360)[user] + 3.0 * rng.standard_normal(90)[item]
    data = pd.DataFrame({"y": y + rng.standard_normal(6000), "user": user, "item": item})
    fit = iterative("y ~ 1 + (1 | user) + (1 | item)", data)
    direct = mlm.lmm("y ~ 1 + (1 | user) + (1 | item)", data, options={"engine": "crossed"})
    assert fit.monte_carlo_error.n_probes == 28
    assert 0 < fit.monte_carlo_error.llf < 0.05
    assert abs(fit.llf - direct.llf) < 4.0 * fit.monte_carlo_error.llf
