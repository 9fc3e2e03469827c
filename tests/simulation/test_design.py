"""Designs without data: their rows, their matrices, and what is drawn from them."""

import numpy as np
import pandas as pd
import pytest

import mlmfast as mlm
from mlmfast.simulation.distributions import standardised
from mlmfast.simulation.streams import Parts, Streams, stream

SLEEP = {
    "levels": {"Subject": 30, "Days": range(10)},
    "params": {"(Intercept)": 250, "Days": 10},
    "varcorr": {"Subject": [[600, 20], [20, 35]]},
    "sigma": 25,
}
FORMULA = "Reaction ~ Days + (Days | Subject)"


def sleep(**changes):
    return mlm.design(FORMULA, **{**SLEEP, **changes})


def dense(design):
    """V of a design from its definition, for random effects of one grouping factor and iid rows."""
    codes = design.design.factors[0].codes
    z = np.column_stack([np.ones(design.nobs), design.data["Days"]])
    g = design.varcorr["Subject"].to_numpy()
    return (z @ g @ z.T) * (codes[:, None] == codes) + design.sigma**2 * np.eye(design.nobs)


def whitened(design, y, v):
    """Independent standard normal numbers, if the responses are of the covariance V."""
    return np.linalg.solve(
        np.linalg.cholesky(v), y - (design.X.to_numpy() @ design.params)[:, None]
    )


def is_identity(e):
    """Whether all means, variances and correlations agree with independence, by 5 errors."""
    n = e.shape[1]
    moments = e @ e.T / n
    spread = np.where(np.eye(len(e), dtype=bool), np.sqrt(2 / n), np.sqrt(1 / n))
    return (
        np.abs(e.mean(axis=1)).max() < 5 / np.sqrt(n)
        and (np.abs(moments - np.eye(len(e))) / spread).max() < 5.5
    )


def test_rows_and_columns_of_the_crossing():
    design = sleep()
    assert design.data.shape == (300, 2)
    assert design.data["Days"].tolist() == list(range(10)) * 30
    assert design.data["Subject"].tolist() == np.repeat(np.arange(1, 31), 10).astype(str).tolist()
    assert list(design.X) == ["(Intercept)", "Days"]
    assert design.n_groups == {"Subject": 30}


def test_responses_have_the_covariance_of_the_model():
    design = sleep(levels={"Subject": 3, "Days": [0, 2, 5]})
    y = design.simulate(8_000, seed=1)
    assert is_identity(whitened(design, y, dense(design)))


def test_a_wrong_covariance_is_seen():
    design = sleep(levels={"Subject": 3, "Days": [0, 2, 5]})
    y = design.simulate(8_000, seed=1)
    assert not is_identity(whitened(design, y, dense(design.under({"sigma": 28}))))
    wrong = dense(design.under({"cov_Days.(Intercept)|Subject": -20}))
    assert not is_identity(whitened(design, y, wrong))


@pytest.mark.parametrize("structure", ["ar1", "cs", "toep"])
def test_correlated_residuals(structure):
    names = {"ar1": {"AR(1)": 0.6}, "cs": {"CS": 3.0}, "toep": {"TOEP(2)": 2.0, "TOEP(3)": 1.0}}
    sigma = {"ar1": 2.0, "cs": None, "toep": None}[structure]
    given = names[structure]
    matrix = {
        "ar1": 4.0 * 0.6 ** np.abs(np.subtract.outer(range(3), range(3))),
        "cs": np.eye(3) + 3.0,
        "toep": np.array([[4.0, 2, 1], [2, 4, 2], [1, 2, 4]]),
    }[structure]
    kwargs = {"residual_parameters": matrix} if sigma is None else {
        "sigma": sigma, "residual_parameters": given}  # fmt: skip
    design = mlm.design(
        "y ~ 1", levels={"id": 2, "visit": ["a", "b", "c"]}, params=[5.0],
        residual=f"{structure}(visit | id)", **kwargs,
    )  # fmt: skip
    y = design.simulate(8_000, seed=2)
    assert is_identity(whitened(design, y, np.kron(np.eye(2), matrix)))


def test_spatial_residuals_at_points_of_their_own():
    rng = np.random.default_rng(3)
    data = pd.DataFrame({"id": np.repeat([1, 2], 40), "t": rng.uniform(0, 9, 80)})
    design = mlm.design(
        "y ~ 1", data=data, sigma=2, params=[0.0], residual="sp_exp(t | id)",
        residual_parameters={"SP(EXP)": 3.0},
    )  # fmt: skip
    t = data["t"].to_numpy()
    v = (
        4
        * np.exp(-np.abs(t[:, None] - t) / 3.0)
        * (data["id"].to_numpy()[:, None] == data["id"].to_numpy())
    )
    assert is_identity(whitened(design, design.simulate(4_000, seed=1), v))


def test_residuals_of_two_scales():
    design = mlm.design(
        "y ~ sex", levels={"id": 4, "sex": ["f", "m"]}, sigma=2, residual_scale="sex",
        residual_parameters={"SD(m)/SD(f)": 3.0},
    )  # fmt: skip
    y = design.simulate(8_000, seed=1)
    v = np.diag(np.tile([4.0, 36.0], 4))
    assert is_identity(whitened(design, y, v))
    assert design.sigma is None


@pytest.mark.parametrize(
    ("name", "skewness", "kurtosis"),
    [
        ("normal", 0.0, 3.0),
        ("t(10)", 0.0, 4.0),
        ("chi2(8)", 1.0, 4.5),
        ("lognormal(0.2)", 0.6143, 3.6784),
        ("uniform", 0.0, 1.8),
        ("laplace", 0.0, 6.0),
    ],
)
def test_standardised_distributions(name, skewness, kurtosis):
    x = standardised(name, "errors")(np.random.default_rng(1), 1_000_000)
    moments = [x.mean(), (x**2).mean(), (x**3).mean(), (x**4).mean()]
    errors = [5 * np.std(x**k) / 1000 for k in (1, 2, 3, 4)]
    assert (np.abs(np.subtract(moments, [0, 1, skewness, kurtosis])) < errors).all()


@pytest.mark.parametrize("name", ["t(10)", "chi2(8)"])
def test_other_distributions_keep_the_covariance(name):
    design = sleep(levels={"Subject": 2, "Days": [0, 1]}, errors=name, random_effects=name)
    centred = (
        design.simulate(15_000, seed=1) - design.X.to_numpy() @ design.params.to_numpy()[:, None]
    )
    products = centred[:, None] * centred
    error = products.std(axis=2) / np.sqrt(15_000)
    assert (np.abs(products.mean(axis=2) - dense(design)) < 5 * error).all()


def test_a_response_is_the_same_in_any_batch_and_alone():
    design = sleep()
    many = design.simulate(40, seed=7)
    assert np.array_equal(many[:, :3], design.simulate(3, seed=7))
    assert np.array_equal(many[:, [17]], design.responses(Streams(7), 17, 1))
    again = design.draw(stream(7, 0, 17))["Reaction"].to_numpy()
    assert np.array_equal(again, many[:, 17])


def test_more_clusters_go_on_where_fewer_end():
    few, many = sleep().along("Subject", 10), sleep().along("Subject", 25)
    assert np.array_equal(few.simulate(4, seed=1), many.simulate(4, seed=1)[:100])
    fewer = sleep().along("Days", 4)
    more = sleep().along("Days", 7)
    kept = more.data["Days"].to_numpy() < 4
    assert np.array_equal(fewer.simulate(4, seed=1), more.simulate(4, seed=1)[kept])


def test_rows_within_clusters():
    design = sleep().within("Subject", 15)
    assert design.data.groupby("Subject", observed=True).size().eq(15).all()
    assert sleep().within("Subject", 4).data["Days"].tolist() == [0, 1, 2, 3] * 30
    two = sleep().within("Subject:Days", 2)
    assert two.data.groupby(["Subject", "Days"], observed=True).size().eq(2).all()
    few, many = sleep().within("Subject", 4), sleep().within("Subject", 6)
    kept = many.data["Days"].to_numpy() < 4
    assert np.array_equal(few.simulate(3, seed=1), many.simulate(3, seed=1)[kept])


def test_nested_levels_and_what_is_between_clusters():
    design = mlm.design(
        "y ~ arm + x + (1 | school/class)",
        levels={
            "school": 6, "school/class": 3, "pupil": 4, "arm": ["c", "t"], "x": [0.0, 1.0, 2.0]
        },
        between={"arm": "school", "x": "school"},
        varcorr={"school": 1, "school:class": 0.5}, sigma=1,
    )  # fmt: skip
    assert design.n_groups == {"school": 6, "school:class": 18}
    assert design.nobs == 72
    by = design.data.groupby("school", observed=True)
    assert by["arm"].nunique().eq(1).all()
    pairs = design.data.drop_duplicates("school")[["arm", "x"]].apply(tuple, axis=1)
    assert pairs.nunique() == 6
    assert design.data["class"].nunique() == 18


def test_clusters_of_unequal_sizes():
    design = sleep(sizes={"Subject": [3, 7]})
    sizes = design.data.groupby("Subject", observed=True).size()
    assert sizes.tolist() == [3, 7] * 15
    with pytest.raises(mlm.DataError, match="go up to 12, and its levels cross to 10 rows"):
        sleep(sizes={"Subject": [12]})


def test_covariates_are_drawn_anew_and_within_clusters():
    design = mlm.design(
        "y ~ age + x + (1 | g)", levels={"g": 8, "k": 5}, between={"age": "g"},
        covariates={"age": "normal(50, 10)", "x": "binary(0.3)"}, icc=0.2, sigma=1,
    )  # fmt: skip
    assert design.redraws_rows
    first, second = design.draw(stream(1)), design.draw(stream(1, 0, 1))
    assert first.groupby("g", observed=True)["age"].nunique().eq(1).all()
    assert not np.array_equal(first["age"], second["age"])
    pd.testing.assert_frame_equal(first, design.draw(stream(1)))
    assert set(first["x"]) <= {0.0, 1.0}
    ages = np.concatenate([design.draw(stream(2, 0, k))["age"][::5] for k in range(300)])
    assert abs(ages.mean() - 50) < 1
    assert abs(ages.std() - 10) < 1


def test_missing_responses():
    design = sleep(missing={"mcar": 0.2})
    share = np.isnan(design.simulate(200, seed=1)).mean()
    assert abs(share - 0.2) < 5 * np.sqrt(0.16 / 60_000)
    gone = {"dropout": 0.3, "subject": "Subject", "time": "Days"}
    by_day = np.isnan(sleep(missing=gone).simulate(500, seed=1)).reshape(30, 10, 500)
    assert not by_day[:, 0].any()
    assert (np.diff(by_day.astype(int), axis=1) >= 0).all()
    assert abs(by_day[:, 9].mean() - 0.3) < 5 * np.sqrt(0.21 / 15_000)
    expected = 1 - 0.7 ** (4 / 9)
    assert abs(by_day[:, 4].mean() - expected) < 5 * np.sqrt(expected * (1 - expected) / 15_000)


def test_dropout_after_what_was_seen():
    given = {"mar": 0.4, "slope": 1.5, "subject": "Subject", "time": "Days"}
    y = sleep(missing=given).simulate(800, seed=1).reshape(30, 10, 800)
    full = sleep().simulate(800, seed=1).reshape(30, 10, 800)
    seen = ~np.isnan(y)
    assert np.array_equal(y[seen], full[seen])
    # log odds of going at day 1 by the score of day 0, from a logistic fit by Newton's method
    score = (full[:, 0].ravel() - 250) / np.sqrt(600 + 625)
    gone = np.isnan(y[:, 1]).ravel().astype(float)
    x, b = np.column_stack([np.ones(score.size), score]), np.zeros(2)
    for _ in range(25):
        p = 1 / (1 + np.exp(-x @ b))
        h = (x * (p * (1 - p))[:, None]).T @ x
        b += np.linalg.solve(h, x.T @ (gone - p))
    error = np.sqrt(np.diag(np.linalg.inv(h)))
    hazard = 1 - 0.6 ** (1 / 9)
    truth = np.array([np.log(hazard / (1 - hazard)), 1.5])
    assert (np.abs(b - truth) < 4 * error).all()


def test_parts_of_a_replicate_do_not_depend_on_each_other():
    parts = Parts(stream(1))
    first = parts(3).standard_normal(5)
    parts(2).standard_normal(100)
    assert np.array_equal(parts(3).standard_normal(5), first)
    draws = np.array(
        [Parts(stream(1, 0, k))(j).standard_normal() for k in range(500) for j in range(4)]
    )
    correlations = np.corrcoef(draws.reshape(500, 4).T)
    assert np.abs(correlations - np.eye(4)).max() < 5 / np.sqrt(500)


def test_streams_are_pinned():
    """The numbers of NumPy's own PCG64DXSM and SeedSequence, in any version."""
    sequence = np.random.SeedSequence(5, spawn_key=(2, 3))
    expected = np.random.Generator(np.random.PCG64DXSM(sequence)).random(3)
    assert np.array_equal(stream(5, 2, 3).random(3), expected)
    jumped = np.random.Generator(np.random.PCG64DXSM(sequence).jumped()).random(3)
    assert np.array_equal(Parts(stream(5, 2, 3))(1).random(3), jumped)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"params": {"days": 1}}, "'days' is no fixed effect of this model; did you mean 'Days'"),
        ({"params": {"Days": "a"}}, "'Days' is 'a'; a finite number is needed"),
        ({"params": {"Days": np.nan}}, "a finite number is needed"),
        ({"varcorr": {"Subject": [[600, 200], [200, 35]]}}, "smallest eigenvalue is -"),
        ({"varcorr": {"Subject": [[600, 1], [2, 35]]}}, "is not symmetric"),
        ({"varcorr": {"subject": 1}}, "did you mean 'Subject'"),
        ({"varcorr": None}, "varcorr has no covariance of 'Subject'"),
        ({"varcorr": {"Subject": 600}}, r"take finite numbers of shape \(2, 2\)"),
        ({"varcorr": {"Subject": {"sd": [1, 2], "cor": 1.5}}}, "one correlation from -1 to 1"),
        ({"sigma": None}, "sigma, the residual standard deviation, is not given"),
        ({"sigma": -1}, "a positive number is needed"),
        ({"levels": None}, "give levels= or data="),
        ({"levels": {}}, "give a dict from variables to their levels"),
        ({"levels": {"Subject": 0, "Days": range(3)}}, "at least 1 is needed"),
        ({"levels": {"Subject": 5, "Days": []}}, "the list is empty"),
        ({"levels": {"Subject": 5, "Day": range(4)}}, "there is no column 'Days'"),
        ({"levels": {"Subject": 5, "Days": range(4), "Reaction": 2}}, "has the response"),
        ({"between": {"arm": "Subject"}}, "'arm' is no variable of the design"),
        ({"sizes": {"subject": [2]}}, "did you mean 'Subject'"),
        ({"missing": {"mcra": 0.1}}, "did you mean 'mcar'"),
        ({"missing": {"dropout": 0.1}}, "lacks 'subject'"),
        ({"missing": {"dropout": 1.5, "subject": "Subject", "time": "Days"}}, "from 0 to below 1"),
        ({"errors": "t(2)"}, "must exceed 2"),
        ({"errors": "norml"}, "did you mean 'normal'"),
        ({"icc": 0.1}, "give varcorr or icc"),
        ({"residual_parameters": {"AR(1)": 0.5}}, "the design has none"),
    ],
)  # fmt: skip
def test_refusals(changes, message):
    with pytest.raises(mlm.MlmError, match=message):
        sleep(**changes)


def test_a_response_that_is_no_name_is_refused():
    with pytest.raises(mlm.FormulaError, match="is not the name of a column"):
        mlm.design("log(y) ~ x", levels={"x": range(4)}, sigma=1)


def test_conditions_by_name():
    design = mlm.design(
        "y ~ x + (1 | g)", levels={"g": 10, "x": range(4)}, icc=0.1, sigma=2, params={"x": 1}
    )
    other = design.under({"n_groups": 20, "icc": 0.5, "sigma": 1, "x": 3, "errors": "t(5)"})
    assert (other.nobs, other.sigma, other.errors) == (80, 1.0, "t(5)")
    assert other.varcorr["g"].iloc[0, 0] == pytest.approx(1.0)
    assert design.under({"sizes": [2, 4]}).nobs == 30
    assert design.under({"n_x": 6}).data["x"].max() == 5
    assert design.under({"sd_(Intercept)|g": 3}).varcorr["g"].iloc[0, 0] == 9.0
    with pytest.raises(mlm.ModelError, match="did you mean 'n_groups'"):
        design.under({"n_group": 20})


def test_the_package_of_designs_is_still_one():
    from mlmfast.design import Design

    assert mlm.design.Design is Design
    assert "levels" in str(__import__("inspect").signature(mlm.design))


def test_a_trial_extended_by_subjects_keeps_its_arms():
    """Sorted by arm, as trials' data are: the first half is one arm."""
    data = pd.DataFrame({"id": np.repeat(np.arange(20), 3), "visit": list("abc") * 20})
    data["arm"] = np.where(data["id"] < 10, "c", "t")
    design = mlm.design("y ~ arm + visit + (1 | id)", data=data, varcorr={"id": 1}, sigma=1)
    for n in (6, 10, 20, 33):
        found = design.along("id", n).data.drop_duplicates("id")["arm"].value_counts()
        assert abs(found["c"] - found["t"]) <= 1
        assert found.sum() == n


def test_residual_parameters_of_other_visits():
    us = np.array([[4.0, 1, 0.5], [1, 3, 1], [0.5, 1, 2]])
    design = mlm.design(
        "y ~ factor(visit)", levels={"id": 9, "visit": [1, 2, 3]}, residual="us(visit | id)",
        residual_parameters=us,
    )  # fmt: skip
    few = design.along("visit", 2)
    assert few.truth.residual.covariances[0] == pytest.approx(us[:2, :2])
    ar1 = mlm.design("y ~ visit", levels={"id": 9, "visit": [1, 2, 3]}, sigma=2,
                     residual="ar1(visit | id)", residual_parameters={"AR(1)": 0.5})  # fmt: skip
    more = ar1.along("visit", 5).truth.residual
    assert more.covariances[0][0].tolist() == pytest.approx([4, 2, 1, 0.5, 0.25])
