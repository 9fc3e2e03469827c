"""Multiple membership against lme4 with a random-effects matrix made by hand.

`tests/reference/memberships.json` is what `tests/reference/memberships.R` wrote (R 4.2.2, lme4
1.1-31).
"""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_allclose

import mlmfast as mlm
from mlmfast.errors import DataError, FormulaError, ModelError

FOUND = json.loads(
    (Path(__file__).parents[1] / "reference" / "memberships.json").read_text("utf-8")
)
DATA = pd.DataFrame(FOUND["data"])
LABELS = [str(k) for k in range(1, 13)]


@pytest.fixture(scope="module")
def equal():
    return mlm.lmm("y ~ x + (1 | mm(a, b)) + (1 | id)", DATA)


@pytest.fixture(scope="module")
def weighted():
    data = DATA.assign(v=1 - DATA["w"])
    formula = "z ~ x + (1 + x || mm(a, b, weights=[w, v]))"
    return mlm.lmm(formula, data, method="ML")


def test_equal_weights_are_those_of_lme4_by_hand(equal):
    found = FOUND["equal"]
    assert_allclose(equal.llf, found["llf"], rtol=1e-9)
    assert_allclose(equal.params, found["beta"], rtol=1e-6)
    assert_allclose(equal.bse, found["se"], rtol=1e-5)
    parts = [equal.varcorr["id"], equal.varcorr["mm(a, b)"]]
    assert_allclose([*(part.iloc[0, 0] for part in parts), equal.scale], found["vcov"], rtol=1e-4)
    got = [*equal.ranef["id"]["(Intercept)"], *equal.ranef["mm(a, b)"]["(Intercept)"]]
    assert_allclose(got, found["b"], rtol=1e-4, atol=1e-6)


def test_weights_and_slopes_are_those_of_lme4_by_hand(weighted):
    found = FOUND["weighted"]
    assert_allclose(weighted.llf, found["llf"], rtol=1e-9)
    assert_allclose(weighted.params, found["beta"], rtol=1e-5)
    assert_allclose(weighted.bse, found["se"], rtol=1e-5)
    got = [*np.diag(weighted.varcorr["mm(a, b)"]), weighted.scale]
    assert_allclose(got, found["vcov"], rtol=1e-4)
    effects = weighted.ranef["mm(a, b)"]
    assert effects.columns.tolist() == ["(Intercept)", "x"]
    assert_allclose(effects.to_numpy().T.ravel(), found["b"], rtol=1e-3, atol=1e-6)


@pytest.mark.parametrize("weights", ["(w, v)", "c(w, v)", "cbind(w, v)"])
def test_lists_of_weights_in_other_words(weights):
    data = DATA.assign(v=1 - DATA["w"])
    fits = [
        mlm.LMM(f"z ~ x + (1 | mm(a, b, weights={text}))", data).fit()
        for text in ("[w, v]", weights)
    ]
    assert fits[0].llf == fits[1].llf


def test_members_are_levels_of_a_factor(equal):
    assert equal.n_groups == {"mm(a, b)": 12, "id": 40}
    assert equal.ranef["mm(a, b)"].index.tolist() == LABELS
    covariance = equal.ranef_cov["mm(a, b)"]["3"].iloc[0, 0]
    assert 0 < covariance < equal.varcorr["mm(a, b)"].iloc[0, 0]
    text = str(equal.summary())
    assert "mm(a, b) 12" in text
    assert "Clusters:  1, since all rows share the effects of mm(a, b)" in text


@pytest.mark.parametrize("swapped", [False, True])
def test_predictions_add_the_effects_of_all_members(equal, swapped):
    new = pd.DataFrame({"x": [0.3], "a": [3], "b": [7], "id": [5]})
    if swapped:
        new = new.rename(columns={"a": "b", "b": "a"})
    effects = equal.ranef["mm(a, b)"]["(Intercept)"]
    fixed = equal.params.iloc[0] + 0.3 * equal.params.iloc[1]
    expected = fixed + (effects["3"] + effects["7"]) / 2 + equal.ranef["id"].loc["5", "(Intercept)"]
    for fit in (equal, mlm.load(equal.to_json())):
        assert_allclose(fit.predict(new), expected, rtol=1e-10)
        assert_allclose(fit.predict(new[["x"]], ranef=False), fixed, rtol=1e-10)


def test_one_level_twice_has_its_effect_once(equal):
    new = pd.DataFrame({"x": [0.0], "a": [3], "b": [3], "id": [5]})
    effect = equal.ranef["mm(a, b)"].loc["3"] + equal.ranef["id"].loc["5"]
    assert_allclose(equal.predict(new), equal.params.iloc[0] + effect, rtol=1e-10)


def test_rows_have_the_covariance_of_shared_members(equal):
    v = equal.V().to_numpy()
    share = np.zeros((len(DATA), 12))
    np.add.at(share, (np.arange(240), DATA["a"] - 1), 0.5)
    np.add.at(share, (np.arange(240), DATA["b"] - 1), 0.5)
    same = DATA["id"].to_numpy()[:, None] == DATA["id"].to_numpy()
    expected = equal.varcorr["mm(a, b)"].iloc[0, 0] * share @ share.T
    expected += equal.varcorr["id"].iloc[0, 0] * same + equal.scale * np.eye(240)
    assert_allclose(v, expected, rtol=1e-8, atol=1e-10)


def test_an_interval_of_a_new_response_is_marginal_without_members(equal):
    new = pd.DataFrame({"x": [0.0], "a": [1], "b": [2], "id": [1]})
    got = equal.predict(new, ranef=False, interval="prediction", ddf="asymptotic")
    half = (got["upper"] - got["lower"]).iloc[0] / (2 * 1.959963984540054)
    variance = equal.bse.iloc[0] ** 2 + equal.scale + equal.varcorr["id"].iloc[0, 0]
    assert_allclose(half**2, variance + equal.varcorr["mm(a, b)"].iloc[0, 0] / 2, rtol=1e-8)


def test_beside_a_smooth(equal):
    fit = mlm.lmm("y ~ s(x, k=6) + (1 | mm(a, b)) + (1 | id)", DATA)
    assert list(fit.varcorr) == ["mm(a, b)", "id", "smooths"]
    assert fit.llf > equal.llf - 3


def test_responses_are_drawn(equal):
    assert equal.simulate(2, seed=1).shape == (240, 2)


@pytest.mark.parametrize(
    ("term", "error", "message"),
    [
        ("(1 | mm(a))", FormulaError, "two or more different columns"),
        ("(1 | mm(a, a))", FormulaError, "two or more different columns"),
        ("(1 | mm(a, log(b)))", FormulaError, "two or more different columns"),
        ("(1 | mm(a, b, weights=[w]))", FormulaError, "for each of 2 columns"),
        ("(1 | mm(a, b, weights=(w, v, w)))", FormulaError, "for each of 2 columns"),
        ("(1 | mm(a, b, weights=w))", FormulaError, "for each of 2 columns"),
        ("(1 | mm(a, b, scale=TRUE))", FormulaError, "takes columns and weights="),
        ("(x | mm(a, b))", FormulaError, "has a term of its own"),
        ("cs(1 | mm(a, b))", FormulaError, "takes no covariance structure"),
        ("(0 + f | mm(a, b))", ModelError, "dummy\\(f, 'level'\\)"),
        ("mm(a, b)", FormulaError, "stands in the fixed part"),
        ("(1 | mm(one, one2))", DataError, "has 1 level"),
        ("(1 | mm(a, b)) + (1 | mm(a, b))", ModelError, "cannot be told apart"),
    ],
)
def test_memberships_that_mean_nothing_are_refused(term, error, message):
    data = DATA.assign(one="p", one2="p", f=np.where(DATA["x"] > 0, "u", "v"))
    with pytest.raises(error, match=message):
        mlm.lmm(f"y ~ x + {term}", data)


def test_members_that_the_fit_did_not_see_are_refused(equal):
    new = pd.DataFrame({"x": [0.0], "a": [1], "b": [99], "id": [1]})
    for how in ({}, {"new_levels": "population"}):
        with pytest.raises(DataError, match="'99'; new_levels= is not for members"):
            equal.predict(new, **how)
    assert np.isfinite(equal.predict(new, ranef=False)).all()
