"""Predictions given the responses observed, against references and a dense conditional normal."""

import numpy as np
import pandas as pd
import polars as pl
import pytest
from scipy import stats

import mlmfast as mlm
from mlmfast.errors import DataError, ModelError

from ..cases import cases_with, data_of, reference
from ..fits import fit_case, lmm
from ..residual_models import trial

Z95 = stats.norm.ppf(0.975)
CASES = [
    case for case in cases_with("predict") if "conditional_on_observed" in
    reference(case)["expect"]["predict"]
]  # fmt: skip


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("with_response", [True, False])
def test_expected_visits_of_mmrm(case, with_response):
    fit, expected = fit_case(case), reference(case)["expect"]["predict"]
    new = pd.DataFrame(expected["newdata"]).astype({"FEV1": float})
    given = new if with_response else new.drop(columns="FEV1")
    found = fit.predict(given, conditional=True)
    np.testing.assert_allclose(found, expected["conditional_on_observed"], rtol=1e-8)


def test_without_newdata_all_rows_of_the_data():
    data, fit = data_of("fev_us_reml"), fit_case("fev_us_reml")
    found = fit.predict(conditional=True)
    assert list(found.index) == list(data.index)
    np.testing.assert_array_equal(found[data["FEV1"].notna()], data["FEV1"].dropna())
    again = fit.predict(data, conditional=True, interval="prediction")
    np.testing.assert_allclose(found, again["fit"], rtol=1e-13)
    width = again["upper"] - again["lower"]
    assert ((width == 0) == data["FEV1"].notna()).all()


def lag(t):
    return distance(t)


def distance(*columns):
    points = np.column_stack(columns)
    return np.sqrt(((points[:, None] - points[None]) ** 2).sum(axis=2))


def by_visit(fit, rows, names=("visit",), arm=None):
    """R of rows from the reported covariance of visits; other arms have their own."""
    labels = rows[list(names)].astype(str).agg(":".join, axis=1)
    out = np.zeros((len(rows), len(rows)))
    for name, cov in (fit.residual_cov if arm else {"": fit.residual_cov}).items():
        own = np.ones(len(rows), bool) if arm is None else (rows[arm] == name).to_numpy()
        at = labels[own]
        out[np.ix_(own, own)] = cov.loc[at, at]
    return out


def parameter(fit, k):
    return list(dict(fit.residual_parameters).values())[k]


def power(fit, gap):
    return parameter(fit, 0) * parameter(fit, 1) ** gap


def exponential_by_arm(fit, rows):
    values = dict(fit.residual_parameters)
    out = np.zeros((len(rows), len(rows)))
    for arm in ("active", "placebo"):
        own = (rows["arm"] == arm).to_numpy()
        gap = distance(rows["long"][own], rows["wide"][own])
        of_arm = values[f"{arm}: Variance"] * np.exp(-gap / values[f"{arm}: SP(EXP)"])
        out[np.ix_(own, own)] = of_arm
    return out


def series_by_arm(fit, rows):
    out = np.zeros((len(rows), len(rows)))
    values = list(dict(fit.residual_parameters).values())
    for k, arm in enumerate(("active", "placebo")):
        own = (rows["arm"] == arm).to_numpy()
        gap = lag(rows["time"].to_numpy()[own])
        out[np.ix_(own, own)] = values[2 * k] * values[2 * k + 1] ** gap
    return out


# residual=, other arguments, R of some rows of one subject at weight 1
MODELS = {
    "us": ("us(visit | subject)", {}, by_visit),
    "us by arm": (
        "us(visit | arm / subject)", {}, lambda fit, rows: by_visit(fit, rows, arm="arm")
    ),
    "toeph": ("toeph(visit | subject)", {"weights": "w"}, by_visit),
    "ar1": ("ar1(time | subject)", {}, lambda fit, rows: power(fit, lag(rows["time"]))),
    "ar1 by arm": ("ar1(time | arm / subject)", {"weights": "w"}, series_by_arm),
    "ar1 of levels": ("ar1(visit | subject)", {}, by_visit),
    "sp_exp": (
        "sp_exp(long | subject)", {},
        lambda fit, rows: parameter(fit, 0) * np.exp(-lag(rows["long"]) / parameter(fit, 1)),
    ),
    "sp_gau": (
        "sp_gau(time | subject)", {},
        lambda fit, rows: parameter(fit, 0) * np.exp(-(lag(rows["time"]) / parameter(fit, 1)) ** 2),
    ),
    "scattered": (
        "sp_exp(long, wide | subject)", {"weights": "w"},
        lambda fit, rows: parameter(fit, 0)
        * np.exp(-distance(rows["long"], rows["wide"]) / parameter(fit, 1)),
    ),
    "scattered by arm": (
        "sp_exp(long, wide | arm / subject)", {"weights": "w"}, exponential_by_arm,
    ),
    "scattered by arm, scaled": (
        "sp_exp(long, wide | arm / subject)", {"residual_scale": "exp(x)"},
        lambda fit, rows: exponential_by_arm(fit, rows)
        * np.outer(*[np.exp(parameter(fit, 4) * rows["x"])] * 2),
    ),
    "product": (
        "us(outcome) @ ar1(time | subject)", {},
        lambda fit, rows: by_visit(fit, rows.astype({"time": int}), ("outcome", "time")),
    ),
    "diag": ("diag(visit | subject)", {}, by_visit),
    "scale": (
        "ar1(visit | subject)", {"residual_scale": "arm * exp(x)"},
        lambda fit, rows: by_visit(fit, rows)
        * np.outer(*[np.where(rows["arm"] == "active", 1.0, parameter(fit, 2))
                     * np.exp(parameter(fit, 3) * rows["x"])] * 2),
    ),
}  # fmt: skip


def long_trial(outcomes):
    frame = trial(seed=7, n_visits=5, missing=0.0, n_subjects=36)
    rng = np.random.default_rng(3)
    frame = frame.assign(
        long=frame["time"] + rng.uniform(0, 0.8, len(frame)), wide=rng.normal(size=len(frame))
    )
    if outcomes:
        two = [frame.assign(outcome=o, y=frame["y"] * s + s) for o, s in (("a", 1.0), ("b", 2.0))]
        frame = pd.concat(two, ignore_index=True)
        frame["y"] += 0.5 * rng.normal(size=len(frame))
    return frame


@pytest.mark.parametrize("random", ["", " + (1 + x | site)"])
@pytest.mark.parametrize("name", MODELS)
def test_conditional_normal_of_a_dense_covariance(name, random):
    residual, arguments, r_of = MODELS[name]
    frame = long_trial("outcome" in residual)
    truth, rng = frame["y"].copy(), np.random.default_rng(1)
    hidden = rng.uniform(size=len(frame)) < 0.15
    frame["y"] = frame["y"].mask(hidden)
    fit = lmm("y ~ x + time" + random, frame, residual=residual, **arguments)
    G = fit.G("site").to_numpy() if random else np.zeros((2, 2))
    found = fit.predict(frame, conditional=True, interval="prediction")
    mean = fit.predict(frame, conditional=True, interval="confidence")
    X = np.column_stack([np.ones(len(frame)), frame[["x", "time"]]])
    beta, vcov = fit.params.to_numpy(), fit.cov_params().to_numpy()
    V, Z = np.zeros((len(frame),) * 2), X[:, :2]
    for _, rows in frame.groupby("subject"):
        V[np.ix_(rows.index, rows.index)] = r_of(fit, rows)
    if arguments.get("weights"):
        V /= np.sqrt(np.outer(frame["w"], frame["w"]))
    site = frame["site"].to_numpy()
    V += np.where(site[:, None] == site, Z @ G @ Z.T, 0.0)
    o, t = np.flatnonzero(~hidden), np.flatnonzero(hidden)
    weights = np.linalg.solve(V[np.ix_(o, o)], V[np.ix_(o, t)]).T
    expected = X[t] @ beta + weights @ (truth[o] - X[o] @ beta)
    d = X[t] - weights @ X[o]
    of_mean = np.einsum("ij,jk,ik->i", d, vcov, d)
    of_response = np.diag(V[np.ix_(t, t)] - weights @ V[np.ix_(o, t)]) + of_mean
    np.testing.assert_allclose(found["fit"][t], expected, rtol=1e-9, atol=1e-9)
    np.testing.assert_allclose(
        found["upper"][t] - found["fit"][t], Z95 * np.sqrt(of_response), rtol=1e-8
    )
    np.testing.assert_allclose(mean["fit"][t] - mean["lower"][t], Z95 * np.sqrt(of_mean), rtol=1e-7)
    np.testing.assert_array_equal(found.loc[o, ["fit", "lower", "upper"]].T, [truth[o]] * 3)
    # The same from the data of the fit, and from those rows alone.
    np.testing.assert_allclose(fit.predict(conditional=True), found["fit"], rtol=1e-12)
    alone = frame.loc[t].drop(columns="y").iloc[::-1]
    np.testing.assert_allclose(
        fit.predict(alone, conditional=True), found["fit"][t][::-1], rtol=1e-10
    )


@pytest.mark.parametrize("residual", ["us(visit | subject)", "ar1(time | subject)"])
def test_a_new_subject_is_predicted_from_its_own_responses(residual):
    frame = trial(seed=2)
    fit = lmm("y ~ x + time", frame, residual=residual)
    old = frame[frame["subject"] == "s01"].sort_values("time")
    unseen = old.assign(subject="new", y=old["y"].where(old["time"] < 2))
    found = fit.predict(unseen, conditional=True)
    V = fit.R("s01").loc[old.index, old.index].to_numpy()
    o = (old["time"] < 2).to_numpy()
    mean = fit.predict(unseen, ranef=False).to_numpy()
    change = V[np.ix_(~o, o)] @ np.linalg.solve(V[np.ix_(o, o)], (old["y"] - mean)[o])
    np.testing.assert_allclose(found[~o], mean[~o] + change, rtol=1e-10)
    np.testing.assert_array_equal(found[o], old["y"][o])
    nothing = fit.predict(unseen.drop(columns="y"), conditional=True, interval="prediction")
    np.testing.assert_allclose(nothing["fit"], mean, rtol=1e-12)
    columns = np.column_stack([np.ones(len(unseen)), unseen[["x", "time"]]])
    variance = np.diag(V) + np.einsum("ij,jk,ik->i", columns, fit.cov_params(), columns)
    np.testing.assert_allclose(nothing["upper"] - mean, Z95 * np.sqrt(variance), rtol=1e-9)


@pytest.mark.parametrize("formula", ["y ~ x + (1 + x | site)", "y ~ x + (1 | site) + (1 | visit)"])
def test_with_independent_residuals_it_is_the_blup(formula):
    frame = trial(seed=4)
    fit = lmm(formula, frame)
    new = frame.assign(x=frame["x"] + 1)
    np.testing.assert_allclose(fit.predict(new, conditional=True), fit.predict(new), rtol=1e-9)
    np.testing.assert_array_equal(fit.predict(conditional=True), frame["y"])


def test_levels_that_the_fit_did_not_see():
    frame = trial(seed=4)
    fit = lmm("y ~ x + (1 | site)", frame, residual="ar1(time | subject)")
    new = frame.head(3).assign(site="elsewhere", subject="nobody", time=[0.0, 1.0, 2.0])
    with pytest.raises(DataError, match="new levels"):
        fit.predict(new, conditional=True)
    empty = new.drop(columns="y")
    found = fit.predict(empty, conditional=True, new_levels="population")
    np.testing.assert_allclose(found, fit.predict(empty, ranef=False), rtol=1e-12)
    # Its own responses tell of its random effect too.
    new.loc[new.index[2], "y"] = np.nan
    s2, rho = (parameter(fit, k) for k in (0, 1))
    V = s2 * rho ** lag(np.arange(3.0)) + fit.G("site").to_numpy()[0, 0]
    mean = fit.predict(new, ranef=False).to_numpy()
    expected = mean[2] + V[2, :2] @ np.linalg.solve(V[:2, :2], (new["y"] - mean).to_numpy()[:2])
    found = fit.predict(new, conditional=True, new_levels="population")
    np.testing.assert_allclose(found.iloc[2], expected, rtol=1e-10)


def test_visits_beyond_those_of_the_fit():
    frame = trial(seed=4)
    fit = lmm("y ~ x + time", frame, residual="ar1(time | subject)")
    new = pd.DataFrame({"x": 0.0, "time": [9.0, 30.0], "subject": "s01"})
    found = fit.predict(new, conditional=True)
    own = frame[frame["subject"] == "s01"].sort_values("time").iloc[-1]
    marginal = fit.predict(new, ranef=False)
    last = own["y"] - fit.predict(frame.loc[[own.name]], ranef=False).iloc[0]
    change = last * parameter(fit, 1) ** (new["time"] - own["time"])
    np.testing.assert_allclose(found, marginal + change, rtol=1e-10)
    fit = lmm("y ~ x + time", frame, residual="us(time | subject)")
    with pytest.raises(DataError, match="time = '9' was not seen by the fit"):
        fit.predict(new, conditional=True)


def test_containers_and_missing_values():
    frame = trial(seed=4)
    fit = lmm("y ~ x", frame, residual="cs(visit | subject)")
    new = frame.head(4).assign(y=np.nan, x=[np.nan, 1.0, 2.0, 3.0])
    new.loc[new.index[1], "subject"] = None
    new.loc[new.index[2], "visit"] = None
    found = fit.predict(new, conditional=True, interval="prediction")
    assert found.isna().all(axis=1).tolist() == [True, True, True, False]
    assert isinstance(fit.predict(pl.from_pandas(new), conditional=True), pl.Series)
    assert fit.predict(new.head(2), conditional=True).isna().all()


def test_what_cannot_be_predicted_says_why():
    frame = trial(seed=4)
    fit = lmm("y ~ x", frame, residual="cs(visit | subject)", weights=frame["w"].to_numpy())
    with pytest.raises(ModelError, match="pass weights="):
        fit.predict(frame, conditional=True)
    named = lmm("y ~ x", frame, residual="cs(visit | subject)", weights="w")
    unseen = frame.head(5).assign(y=np.nan, subject="new")
    np.testing.assert_allclose(
        fit.predict(unseen, conditional=True, weights="w", interval="prediction"),
        named.predict(unseen, conditional=True, interval="prediction"),
        rtol=1e-10,
    )
    with pytest.raises(ModelError, match="leave ranef=False out"):
        named.predict(frame, conditional=True, ranef=False)
    with pytest.raises(ModelError, match="under conditional=True"):
        named.predict(frame, weights="w")
    changed = frame.assign(y=frame["y"] + 1.0)
    with pytest.raises(DataError, match=r"y is .* at subject = 's\d+', visit = 'v\d'"):
        named.predict(changed, conditional=True)
    plain = lmm("y ~ x", frame, residual="cs(visit | subject)")
    with pytest.raises(DataError, match="the fit had none"):
        plain.predict(frame, conditional=True, weights="w")
    with pytest.raises(DataError, match="are for newdata"):
        plain.predict(conditional=True, weights="w")
    with pytest.raises(ModelError, match="loaded"):
        mlm.load(plain.to_json()).predict(frame, conditional=True)
    arms = lmm("y ~ x", frame, residual="cs(visit | arm / subject)")
    with pytest.raises(DataError, match="several levels of 'arm'"):
        arms.predict(frame.head(3).assign(subject="s01", arm=["active", "placebo", "active"],
                                          y=np.nan), conditional=True)  # fmt: skip
    sites = lmm("y ~ x + (1 | site)", frame, residual="cs(visit | subject)")
    with pytest.raises(DataError, match="a subject belongs to one group"):
        sites.predict(frame.head(1).assign(subject="s01", site="c3", y=np.nan), conditional=True)
