"""``us(x | g, by=arm)``: a covariance of random effects at each level of a column."""

import warnings

import numpy as np
import pandas as pd
import pytest

import mlmfast as mlm
from mlmfast.errors import DataError, FormulaError, ModelError
from tests.dense import Term, log_likelihood, marginal_covariance


@pytest.fixture(scope="module")
def data():
    rng = np.random.default_rng(18)
    arm = np.array(["a", "b", "c"])[np.arange(45) % 3]
    spread = {"a": (1.0, 0.9), "b": (2.0, 0.8), "c": (0.7, 0.5)}
    effects = np.array([rng.normal(size=2) * spread[one] for one in arm])
    g, x = np.repeat(np.arange(45), 5), np.tile(np.arange(5.0) - 2.0, 45)
    y = 1.0 + effects[g, 0] + (effects[g, 1] + 0.3) * x + rng.normal(size=225)
    visit = np.tile(list("pqrst"), 45)
    return pd.DataFrame({"y": y, "g": g, "arm": arm[g], "x": x, "visit": visit})


def test_every_level_is_a_model_of_its_own(data):
    """With residual variances by arm too nothing is shared: the sum of three fits."""
    fit = mlm.lmm("y ~ arm * x + us(x | g, by=arm)", data, residual_scale="arm")
    parts = {one: mlm.lmm("y ~ x + (x | g)", data[data.arm == one]) for one in "abc"}
    assert fit.llf == pytest.approx(sum(part.llf for part in parts.values()), abs=1e-9)
    for one, part in parts.items():
        own = fit.ranef["g"].filter(like=f":arm{one}").loc[part.ranef["g"].index]
        np.testing.assert_allclose(own, part.ranef["g"], atol=1e-6)


def test_one_residual_variance_is_the_criterion_of_the_whole_matrix(data):
    fit = mlm.lmm("y ~ arm * x + diag(x | g, by=arm)", data)
    level, g, x = pd.factorize(data.arm)[0], data.g.to_numpy(), data.x.to_numpy()
    b, c = level == 1, level == 2
    X = np.column_stack([np.ones(225), b, c, x, b * x, c * x])

    def llf(variances):
        terms = [
            Term(
                np.stack([(level == k) * 1.0, (level == k) * x], axis=1),
                np.diag(variances[2 * k : 2 * k + 2]),
                g,
            )
            for k in range(3)
        ]
        V = marginal_covariance(terms, variances[6] * np.eye(225))
        return log_likelihood(data.y.to_numpy(), X, V, "REML")

    at = fit.covtest().iloc[:, 0].to_numpy()
    assert len(at) == 7
    assert llf(at) == pytest.approx(fit.llf, abs=1e-8)
    for k in range(7):
        step = np.zeros(7)
        step[k] = 1e-4 * at[k]
        assert abs(llf(at + step) - llf(at - step)) < 1e-7


def test_each_structure(data):
    twice = pd.concat([data, data.assign(y=data.y.sample(frac=1.0, random_state=2).to_numpy())])
    with pytest.raises(ModelError, match=r"residual='cs\(visit \| arm / subject\)'"):
        mlm.LMM("y ~ arm + cs(0 + visit | g, by=arm)", data)
    for word, n in (("cs", 2), ("ar1", 2), ("toep", 5), ("csh", 6)):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            fit = mlm.lmm(f"y ~ arm + {word}(0 + visit | g, by=arm)", twice)
        assert len(fit.covtest()) == 3 * n + 1, word


def test_predictions_and_saved_fits(data, tmp_path):
    fit = mlm.lmm("y ~ arm * x + us(x | g, by=arm)", data)
    fit.to_json(tmp_path / "fit.json")
    again = mlm.load(tmp_path / "fit.json")
    new = data.iloc[::7]
    np.testing.assert_allclose(fit.predict(new), fit.fittedvalues.iloc[::7], atol=1e-10)
    np.testing.assert_allclose(again.predict(new), fit.predict(new), atol=1e-12)
    other = new.assign(g=1000)
    intervals = fit.predict(other, interval="prediction", new_levels="population")
    width = (intervals.iloc[:, -1] - intervals.iloc[:, -2]).groupby(other.arm).mean()
    assert width["b"] > 1.2 * width["c"]
    with pytest.raises(DataError, match=r"level 'd'"):
        fit.predict(new.assign(arm="d"))


def test_group_of_random_in_sas(data):
    step = mlm.from_sas(
        "proc mixed; class arm g; model y = arm|x / ddfm=kr; "
        "random int x / type=un sub=g group=arm;"
    )
    assert "us(1 + x | g, by=arm)" in step.code
    fit = mlm.lmm("y ~ arm * x + us(x | g, by=arm)", data)
    assert step(data).fit.llf == pytest.approx(fit.llf, abs=1e-9)


def test_refusals(data):
    for term, said in (
        ("us(x | g, group=arm)", "no option 'group' here; there is by=column"),
        ("us(x | g, by='arm')", "by= takes the name of a column"),
        ("us(x | g, by=arm, by=g)", "by, twice|twice"),
    ):
        with pytest.raises(FormulaError, match=said):
            mlm.LMM(f"y ~ x + {term}", data)
    with pytest.raises(DataError, match=r"residual_scale='arm'.*diag"):
        mlm.lmm("y ~ x", data.assign(arm=data.visit), residual="ar1(visit | arm / g)")


def test_levels_without_rows_have_no_covariance(data):
    some = data[data.arm != "c"].assign(arm=lambda d: pd.Categorical(d.arm, list("abc")))
    assert len(mlm.lmm("y ~ x + us(x | g, by=arm)", some).covtest()) == 7
