"""What a fit can do once it exists: simulate, be saved and loaded, predict, be read as tables."""

import json
import linecache
import pickle

import numpy as np
import pandas as pd
import pytest
from scipy import stats

import mlmfast as mlm

from ..cases import data_of
from ..fits import estimates, lmm
from ..problems import MODELS, Oracle, formula_of, group_labels, nested_frame

RANDOM_PARTS = ["", "(x | a)", "(1 | a/b)", "(1 | a) + (0 + x + z | a)"]
ARGUMENTS = {"weights": "w", "offset": "off"}


@pytest.fixture(params=RANDOM_PARTS, ids=lambda part: part or "no random term")
def random_part(request):
    return request.param


@pytest.fixture
def frame():
    return nested_frame().copy()


@pytest.fixture
def fit(random_part, frame):
    return lmm(formula_of(random_part), frame, **ARGUMENTS)


def test_simulation_is_reproducible_and_depends_on_the_seed(fit):
    first = np.asarray(fit.simulate(3, seed=11))
    assert first.shape == (fit.nobs, 3)
    np.testing.assert_array_equal(first, fit.simulate(3, seed=11))
    assert not np.any(first == np.asarray(fit.simulate(3, seed=12)))


def test_simulated_responses_have_the_moments_of_the_model(fit, frame, random_part):
    oracle = Oracle(fit, frame, random_part, **ARGUMENTS)
    n_draws = 4000
    draws = (
        np.asarray(fit.simulate(n_draws, seed=5)) - np.asarray(fit.predict(ranef=False))[:, None]
    )
    z = draws.mean(axis=1) / np.sqrt(np.diag(oracle.V) / n_draws)
    assert np.abs(z).max() < 5
    # Whitened by the model's own V, the draws are independent standard normals.
    white = np.linalg.solve(np.linalg.cholesky(oracle.V), draws)
    variance = (white**2).mean(axis=1)
    assert np.abs(variance - 1).max() < 5 * np.sqrt(2 / n_draws)
    correlation = white @ white.T / n_draws
    off_diagonal = correlation[np.triu_indices(len(white), 1)]
    assert np.abs(off_diagonal).max() < 6 / np.sqrt(n_draws)
    assert stats.kstest(white.ravel(), "norm").pvalue > 1e-4


def test_simulated_responses_can_be_fitted_at_once(fit, frame, random_part):
    model = mlm.LMM(formula_of(random_part), frame, **ARGUMENTS)
    batch = model.fit_many(fit.simulate(20, seed=3))
    assert np.shape(batch.params) == (20, 3)
    assert np.all(batch.converged)
    z = (np.asarray(batch.params) - fit.params.to_numpy()) / fit.bse.to_numpy()
    assert np.abs(z.mean(axis=0)).max() < 5 / np.sqrt(20)


@pytest.fixture
def saved(fit, tmp_path):
    path = tmp_path / "fit.json"
    path.write_text(fit.to_json(), encoding="utf-8")
    return path


def test_a_saved_fit_is_json(saved):
    assert isinstance(json.loads(saved.read_text(encoding="utf-8")), dict)


def test_a_loaded_fit_has_the_same_numbers(fit, saved, frame):
    loaded = mlm.load(saved)
    np.testing.assert_array_equal(estimates(loaded), estimates(fit))
    pd.testing.assert_series_equal(loaded.params, fit.params)
    pd.testing.assert_frame_equal(loaded.cov_params(), fit.cov_params())
    assert loaded.nobs == fit.nobs
    assert loaded.singular == fit.singular
    new = frame.head(7).assign(a="a3", b="b1")
    for ranef in (True, False):
        predictions = [each.predict(new, ranef=ranef, offset="off") for each in (loaded, fit)]
        np.testing.assert_array_equal(*predictions)


def test_loading_runs_no_code(saved, monkeypatch):
    def refuse(*_args, **_kwargs):
        raise AssertionError("loading a fit must not unpickle or evaluate anything")

    expected = mlm.load(saved).llf  # first, so that no import is left for later
    for name in ("load", "loads", "Unpickler"):
        monkeypatch.setattr(pickle, name, refuse)
    monkeypatch.setattr("builtins.eval", refuse)
    monkeypatch.setattr("builtins.exec", refuse)
    loaded = mlm.load(saved).llf
    monkeypatch.undo()
    assert loaded == expected


def test_a_second_saving_is_the_same_text(fit, saved):
    assert mlm.load(saved).to_json() == fit.to_json()


def test_predictions_for_new_rows_follow_the_formula(frame):
    fit = lmm("y ~ poly(x, 2) + I(z^2) + f + (x | a)", frame)
    part = frame.iloc[[5, 60, 110]]
    expected = np.asarray(fit.predict(frame))[[5, 60, 110]]
    # Bases such as poly() keep the centring of the data they were built on.
    np.testing.assert_allclose(fit.predict(part), expected, rtol=1e-12)
    np.testing.assert_allclose(fit.fittedvalues, fit.predict(frame), rtol=1e-12)


def test_a_new_inner_level_in_a_known_outer_one_uses_the_outer_effect(frame):
    fit = lmm(formula_of("(1 | a/b)"), frame)
    new = frame.head(1).assign(a="a4", b="b77")
    value = float(np.asarray(fit.predict(new, new_levels="population"))[0])
    marginal = float(np.asarray(fit.predict(new, ranef=False))[0])
    assert value - marginal == pytest.approx(fit.ranef["a"].loc["a4"].iloc[0], rel=1e-12)


def test_the_multivariate_normal_of_a_cluster_gives_its_blups(frame):
    fit = lmm(formula_of("(x | a)"), frame)
    labels = group_labels(frame, "a")
    rows = labels == "a2"
    marginal = fit.marginal("a2")
    np.testing.assert_allclose(marginal.cov, fit.V("a2"), rtol=1e-14)
    np.testing.assert_allclose(
        marginal.mean, np.asarray(fit.predict(ranef=False))[rows], rtol=1e-12
    )
    r = frame["y"].to_numpy()[rows] - marginal.mean
    blup = np.asarray(fit.G("a")) @ np.asarray(fit.Z("a2")).T @ np.linalg.solve(marginal.cov, r)
    np.testing.assert_allclose(fit.ranef["a"].loc["a2"], blup, rtol=1e-9, atol=1e-10)


def test_the_summary_names_everything_that_was_estimated(fit, random_part):
    text = str(fit.summary())
    for name in [*fit.params.index, *MODELS[random_part], "REML"]:
        assert name in text
    assert str(fit.nobs) in text
    assert "<table" in fit._repr_html_()


def test_the_coefficient_table_has_one_row_per_column_of_x(cake):
    fit = lmm("angle ~ recipe + temperature + temp + (1 | recipe:replicate)", cake)
    table = fit.tidy()
    assert table.isna().to_numpy().any()
    assert "temp" in table.astype(str).to_numpy().ravel()


def test_one_row_of_model_figures(fit):
    row = fit.glance()
    assert len(row) == 1
    found = row.select_dtypes("number").to_numpy().ravel()
    for value in (fit.llf, fit.aic, fit.bic, fit.nobs):
        assert np.any(np.isclose(found, value, rtol=1e-12))


def test_an_interaction_by_lme4s_name_has_lme4s_labels():
    data = data_of("pastes_nested_reml")
    fit = mlm.lmm("strength ~ 1 + (1 | batch/cask)", data)
    ours, theirs = fit.ranef["batch:cask"], fit.ranef["cask:batch"]
    assert ours.index[0] == "A:a"
    assert theirs.index[0] == "a:A"
    assert theirs.loc["b:C", "(Intercept)"] == ours.loc["C:b", "(Intercept)"]
    assert (
        fit.ranef_cov["cask:batch"]["b:C"].iloc[0, 0]
        == fit.ranef_cov["batch:cask"]["C:b"].iloc[0, 0]
    )


def test_responses_of_all_rows_serve_where_the_model_leaves_some_out(sleepstudy):
    data = sleepstudy.copy()
    data.loc[[3, 60], "Days"] = np.nan
    model = mlm.LMM("Reaction ~ Days + (1 | Subject)", data)
    Y = data["Reaction"].to_numpy()[:, None] * np.array([1.0, 2.0])
    used = data["Days"].notna().to_numpy()
    np.testing.assert_array_equal(model.fit_many(Y).llf, model.fit_many(Y[used]).llf)
    with pytest.raises(mlm.DataError, match=r"\(178, n_fits\) is needed.*or 180 rows"):
        model.fit_many(Y[:100])


@pytest.mark.parametrize("call", ["mlm.lmm(formula, data)", "model.fit()", "batch[0]"])
def test_a_warning_blames_the_line_that_asked_for_the_fit(call):
    x = np.arange(40.0)
    groups = np.repeat(range(8), 5)
    y = np.sin(3.0 * x) + 3.0 * np.cos(groups)
    data = {"y": y, "x": x, "twice": 2.0 * x, "g": groups}
    formula = "y ~ x + twice + (1 | g)"
    model = mlm.LMM(formula, data)
    batch = model.fit_many(y[:, None])
    asked = {
        "mlm.lmm(formula, data)": lambda: mlm.lmm(formula, data),
        "model.fit()": lambda: model.fit(),
        "batch[0]": lambda: batch[0],
    }
    with pytest.warns(mlm.AliasedWarning) as said:
        fit = asked[call]()
    assert isinstance(fit, mlm.LMMResult)
    assert fit.aliased == ("twice",)
    assert [warning.filename for warning in said] == [__file__]
    assert call in linecache.getline(__file__, said[0].lineno).partition("lambda: ")[2]
