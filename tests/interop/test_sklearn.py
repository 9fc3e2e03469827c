# ruff: noqa: E402
"""MixedModelRegressor: scikit-learn's own checks, its tools, and the numbers of `mlmfast.lmm`."""

import pickle
import warnings

import numpy as np
import pandas as pd
import pytest

import mlmfast as mlm

sklearn = pytest.importorskip("sklearn", minversion="1.6", reason="scikit-learn 1.6 is needed")

from sklearn.base import clone
from sklearn.compose import ColumnTransformer
from sklearn.linear_model import LinearRegression
from sklearn.model_selection import GridSearchCV, GroupKFold, KFold, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler
from sklearn.utils.estimator_checks import parametrize_with_checks

from mlmfast.sklearn import MixedModelRegressor


@pytest.fixture
def sleep():
    return mlm.load_sleepstudy()


@pytest.fixture
def routing():
    with sklearn.config_context(enable_metadata_routing=True):
        yield


@pytest.fixture(scope="module")
def rows():
    """Three covariates, 20 sites, 8 raters across them."""
    rng = np.random.default_rng(11)
    n = 240
    site, rater = rng.integers(20, size=n), rng.integers(8, size=n)
    X = pd.DataFrame(rng.normal(size=(n, 3)), columns=["dose", "age", "bmi"])
    y = X["dose"] + rng.normal(size=20)[site] + 0.5 * rng.normal(size=8)[rater]
    y = y + rng.normal(size=20)[site] * X["dose"] + rng.normal(size=n)
    labels = pd.DataFrame({"site": [f"s{k}" for k in site], "rater": [f"r{k}" for k in rater]})
    return X, y.to_numpy(), labels


@parametrize_with_checks([MixedModelRegressor(), MixedModelRegressor(method="ML")])
def test_scikit_learns_own_checks(estimator, check):
    check(estimator)


def test_slopes_of_a_data_frame_are_those_of_the_formula(sleep):
    model = MixedModelRegressor(random="1 + Days")
    model.fit(sleep[["Days"]], sleep["Reaction"], groups=sleep["Subject"])
    fit = mlm.lmm("Reaction ~ Days + (Days | Subject)", sleep)
    assert model.coef_[0] == pytest.approx(fit.params["Days"], rel=1e-9)
    assert model.intercept_ == pytest.approx(fit.params["(Intercept)"], rel=1e-9)
    assert model.scale_ == pytest.approx(fit.scale, rel=1e-7)
    np.testing.assert_allclose(model.cov_re_["Subject"], fit.varcorr["Subject"], rtol=1e-6)
    np.testing.assert_allclose(
        model.random_effects_["Subject"], fit.ranef["Subject"], rtol=1e-6, atol=1e-8
    )
    np.testing.assert_allclose(
        model.predict(sleep[["Days"]], groups=sleep["Subject"]), fit.fittedvalues, rtol=1e-8
    )
    np.testing.assert_allclose(model.predict(sleep[["Days"]]), fit.predict(ranef=False), rtol=1e-8)
    assert model.converged_
    assert model.n_iter_ > 0
    assert model.feature_names_in_.tolist() == ["Days"]


def test_new_groups_are_predicted_as_the_population(sleep):
    model = MixedModelRegressor().fit(sleep[["Days"]], sleep["Reaction"], groups=sleep["Subject"])
    two = sleep[["Days"]].iloc[:2]
    found = model.predict(two, groups=["nobody", "308"])
    population = model.predict(two)
    assert found[0] == population[0]
    effect = float(model.random_effects_["Subject"].loc["308"].iloc[0])
    assert found[1] == pytest.approx(population[1] + effect)


@pytest.mark.parametrize("kind", ["column", "array", "frame", "formula", "formula and array"])
def test_ways_to_give_groups_are_one_model(rows, kind):
    X, y, labels = rows
    whole = X.assign(site=labels["site"])
    expected = mlm.lmm("y ~ dose + age + bmi + (1 | site)", whole.assign(y=y))
    formula = "y ~ dose + age + bmi + (1 | site)" if "formula" in kind else None
    model = MixedModelRegressor(formula)
    given, groups = {
        "column": (whole, "site"),
        "array": (X, labels["site"].to_numpy()),
        "frame": (X, labels[["site"]]),
        "formula": (whole, None),
        "formula and array": (X, labels["site"].to_numpy()),
    }[kind]
    model.fit(given, y, groups=groups)
    assert model.result_.llf == pytest.approx(expected.llf, abs=1e-7)
    np.testing.assert_allclose(
        model.predict(given, groups="site" if kind == "formula" else groups),
        expected.fittedvalues,
        rtol=1e-7,
    )
    np.testing.assert_allclose(model.predict(given), expected.predict(ranef=False), rtol=1e-7)


def test_crossed_factors(rows):
    X, y, labels = rows
    model = MixedModelRegressor(random={"site": "1 + dose", "rater": "1"})
    model.fit(X, y, groups=labels)
    expected = mlm.lmm(
        "y ~ dose + age + bmi + (1 + dose | site) + (1 | rater)", X.join(labels).assign(y=y)
    )
    assert model.result_.llf == pytest.approx(expected.llf, abs=1e-6)
    np.testing.assert_allclose(
        model.predict(X, groups=labels), expected.fittedvalues, rtol=1e-5, atol=1e-6
    )


def test_columns_by_position_and_by_name(rows):
    X, y, labels = rows
    llf = {
        str(random): MixedModelRegressor(random=random).fit(X, y, groups=labels["site"]).result_.llf
        for random in ("1 + dose", ["dose"], [0], [-3])
    }
    assert len(set(llf.values())) == 1
    array = MixedModelRegressor(random="x0").fit(X.to_numpy(), y, groups=labels["site"])
    assert array.result_.llf in llf.values()


def test_repeated_rows_are_sample_weights(rows):
    X, y, labels = rows
    counts = np.random.default_rng(2).integers(0, 4, size=len(y))
    again = np.repeat(np.arange(len(y)), counts)
    weighted = MixedModelRegressor().fit(X, y, groups=labels["site"], sample_weight=counts)
    repeated = MixedModelRegressor().fit(X.iloc[again], y[again], groups=labels["site"].iloc[again])
    np.testing.assert_array_equal(weighted.coef_, repeated.coef_)
    assert weighted.scale_ == repeated.scale_
    by_formula = MixedModelRegressor("y ~ dose + age + bmi + (1 | site)")
    by_formula.fit(X.join(labels), y, sample_weight=counts)
    assert by_formula.scale_ == pytest.approx(repeated.scale_, rel=1e-8)
    with pytest.raises(ValueError, match="whole numbers"):
        MixedModelRegressor().fit(X, y, groups=labels["site"], sample_weight=counts + 0.5)


def test_precision_weights_are_those_of_lmm(rows):
    X, y, labels = rows
    weights = np.random.default_rng(3).uniform(0.5, 2.0, size=len(y))
    model = MixedModelRegressor().fit(X, y, groups=labels["site"], weights=weights)
    data = X.join(labels).assign(y=y)
    expected = mlm.lmm("y ~ dose + age + bmi + (1 | site)", data, weights=weights)
    assert model.result_.llf == pytest.approx(expected.llf, abs=1e-7)
    assert model.scale_ == pytest.approx(expected.scale, rel=1e-6)


def test_without_groups_it_is_least_squares(rows):
    X, y, _ = rows
    model = MixedModelRegressor().fit(X, y)
    expected = LinearRegression().fit(X, y)
    np.testing.assert_allclose(model.coef_, expected.coef_, rtol=1e-10)
    rss = ((y - expected.predict(X)) ** 2).sum()
    assert model.scale_ == pytest.approx(rss / (len(y) - 4), rel=1e-10)
    assert MixedModelRegressor(method="ML").fit(X, y).scale_ == pytest.approx(rss / len(y))
    assert model.result_ is None


def test_folds_of_whole_groups(rows, routing):
    """Each fold by hand: fitted on the other groups, scored as the population."""
    X, y, labels = rows
    site = labels["site"].to_numpy()
    scores = cross_val_score(MixedModelRegressor(), X, y, cv=GroupKFold(4), params={"groups": site})
    by_hand = []
    for train, test in GroupKFold(4).split(X, y, site):
        own = MixedModelRegressor().fit(X.iloc[train], y[train], groups=site[train])
        by_hand.append(own.score(X.iloc[test], y[test]))
    np.testing.assert_allclose(scores, by_hand)


def test_groups_in_scores(rows, routing):
    X, y, labels = rows
    site = labels["site"].to_numpy()
    model = MixedModelRegressor().set_fit_request(groups=True).set_score_request(groups=True)
    folds = KFold(3, shuffle=True, random_state=0)
    within = cross_val_score(model, X, y, cv=folds, params={"groups": site})
    outside = cross_val_score(
        model.set_score_request(groups=False), X, y, cv=folds, params={"groups": site}
    )
    assert within.mean() > outside.mean() + 0.05


def test_pipelines_and_searches(rows, routing):
    X, y, labels = rows
    site = labels["site"].to_numpy()
    regressor = MixedModelRegressor().set_fit_request(groups=True)
    pipeline = make_pipeline(StandardScaler(), regressor.set_predict_request(groups=True))
    pipeline.fit(X, y, groups=site)
    plain = MixedModelRegressor().fit(X, y, groups=site)
    np.testing.assert_allclose(pipeline.predict(X), plain.predict(X), rtol=1e-6)
    np.testing.assert_allclose(
        pipeline.predict(X, groups=site), plain.predict(X, groups=site), rtol=1e-6
    )
    search = GridSearchCV(regressor, {"random": ["1", "1 + dose"]}, cv=GroupKFold(3))
    search.fit(X, y, groups=site)
    assert search.best_params_["random"] in {"1", "1 + dose"}


def test_after_an_encoder(rows):
    X, y, labels = rows
    arm = np.where(X["bmi"] > 0, "a", "b")
    encode = ColumnTransformer(
        [("arm", OneHotEncoder(drop="first"), ["arm"])], remainder="passthrough"
    )
    pipeline = make_pipeline(encode, MixedModelRegressor())
    given = X[["dose"]].assign(arm=arm)
    pipeline.fit(given, y, mixedmodelregressor__groups=labels["site"])
    expected = mlm.lmm("y ~ arm + dose + (1 | site)", given.assign(y=y, site=labels["site"]))
    np.testing.assert_allclose(pipeline[-1].coef_, expected.params.iloc[1:], rtol=1e-7)


def test_clones_and_pickles(rows):
    X, y, labels = rows
    model = MixedModelRegressor(random="1 + dose", method="ML")
    copy = clone(model)
    assert copy.get_params() == model.get_params()
    model.fit(X, y, groups=labels["site"])
    again = pickle.loads(pickle.dumps(model))
    np.testing.assert_array_equal(
        again.predict(X, groups=labels["site"]), model.predict(X, groups=labels["site"])
    )


def test_columns_that_depend_on_others_have_no_coefficient(rows):
    X, y, labels = rows
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", mlm.AliasedWarning)
        model = MixedModelRegressor().fit(X.assign(twice=2.0 * X["dose"]), y, groups=labels["site"])
    plain = MixedModelRegressor().fit(X, y, groups=labels["site"])
    np.testing.assert_allclose(model.coef_, [*plain.coef_, 0.0], rtol=1e-8)


def test_polars_frames(rows):
    polars = pytest.importorskip("polars")
    X, y, labels = rows
    frame = polars.DataFrame({name: X[name].to_numpy() for name in X}).with_columns(
        site=polars.Series(labels["site"].tolist())
    )
    model = MixedModelRegressor().fit(frame, y, groups="site")
    expected = MixedModelRegressor().fit(X, y, groups=labels["site"])
    np.testing.assert_allclose(model.coef_, expected.coef_, rtol=1e-9)
    np.testing.assert_allclose(
        model.predict(frame, groups="site"), expected.predict(X, groups=labels["site"]), rtol=1e-8
    )


def test_residual_structures(sleep):
    model = MixedModelRegressor("Reaction ~ Days", residual="ar1(Days | Subject)")
    model.fit(sleep[["Days", "Subject"]], sleep["Reaction"])
    expected = mlm.lmm("Reaction ~ Days", sleep, residual="ar1(Days | Subject)")
    assert model.result_.llf == expected.llf
    assert model.predict(sleep[["Days"]].assign(Subject="308")).shape == (180,)


@pytest.mark.parametrize(
    ("parameters", "call", "message"),
    [
        ({"random": "(1 | site)"}, {}, "has a bar"),
        ({"random": "1 + nothing"}, {}, "no feature"),
        ({"random": "0"}, {}, "no random effects"),
        ({"random": [7]}, {}, "names column 7"),
        ({"random": 3}, {}, "random is 3"),
        ({"random": {"rater": "1"}}, {}, "no entry for the grouping factor 'site'"),
        ({"method": "MCMC"}, {}, "use 'REML' or 'ML'"),
        ({"residual": "ar1(t | id)"}, {}, "goes with formula="),
        ({}, {"groups": "nowhere"}, "no column of X"),
        ({}, {"groups": ["a", "b"]}, "one label for each"),
        ({"formula": "log(y) ~ dose + (1 | site)"}, {}, "is an expression"),
        ({"formula": "y ~ dose + (1 | a) + (1 | b)"}, {}, "leave 2"),
    ],
)
def test_what_is_refused(rows, parameters, call, message):
    X, y, labels = rows
    groups = labels["site"] if "formula" not in parameters else labels["site"].to_numpy()
    with pytest.raises(ValueError, match=message):
        MixedModelRegressor(**parameters).fit(X, y, **{"groups": groups, **call})


@pytest.mark.parametrize("random", ["1 + dose", ["dose"], {"site": "1"}, "nonsense", None, 3, ""])
def test_random_is_not_ignored_beside_a_formula(rows, random):
    X, y, labels = rows
    model = MixedModelRegressor("y ~ dose + (1 | site)", random=random)
    with pytest.raises(ValueError, match=r"goes without formula="):
        model.fit(X.join(labels), y)


@pytest.mark.parametrize(
    ("random", "message"),
    [
        ("(1 | site)", "has a bar"),
        ("1 + nothing", "no feature"),
        ("0", "no random effects"),
        ("", "is empty"),
        ("1 +", "nothing beside"),
        ([7], "names column 7"),
        (3, "random is 3"),
        (None, "random is None"),
        ({"site": "1 + nothing"}, "no feature"),
        ({}, "no entry"),
        ("1 + dose", "there are none"),
        (["dose"], "there are none"),
        ({"site": "1"}, "there are none"),
    ],
)
def test_random_is_not_ignored_without_groups(rows, random, message):
    X, y, _ = rows
    with pytest.raises(ValueError, match=message):
        MixedModelRegressor(random=random).fit(X, y)


def test_every_entry_of_random_is_used(rows):
    X, y, labels = rows
    random = {"site": "1", "rater": "1 + dose"}
    with pytest.raises(ValueError, match="'rater', which is no grouping factor"):
        MixedModelRegressor(random=random).fit(X, y, groups=labels["site"])
    once, twice = (
        MixedModelRegressor(random=own).fit(X, y, groups=labels["site"]).result_.llf
        for own in (["dose"], ["dose", 0])
    )
    assert once == twice


def test_predictions_that_are_refused(rows):
    X, y, labels = rows
    plain = MixedModelRegressor().fit(X, y)
    with pytest.raises(ValueError, match="without groups"):
        plain.predict(X, groups=labels["site"])
    model = MixedModelRegressor().fit(X, y, groups=labels["site"])
    with pytest.raises(ValueError, match="'rater'"):
        model.predict(X, groups=labels["rater"])
    with pytest.raises(ValueError, match="array"):
        MixedModelRegressor().fit(X.to_numpy(), y, groups="site")
