"""Power by simulation: against closed forms, simr, and what must not change it."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy import stats

import mlmfast as mlm
from mlmfast.errors import DataError
from mlmfast.power_analysis.analysis import Analysis
from mlmfast.power_analysis.binomial import exact_interval
from mlmfast.power_analysis.hypotheses import hypothesis
from mlmfast.simulation.from_fit import design_of_fit
from mlmfast.simulation.streams import Streams
from tests.power_analysis.closed_forms import DESIGNS, arms_between, power_of_f, slopes

FORMULA = "Reaction ~ Days + (Days | Subject)"


def agrees(curve, expected, errors=3.5):
    """Whether a share of replicates is within Monte Carlo errors of a probability."""
    n = int(curve["n"].iloc[0])
    error = np.sqrt(expected * (1 - expected) / n)
    return abs(float(curve["power"].iloc[0]) - expected) < errors * error


@pytest.fixture(scope="module")
def fit():
    return mlm.lmm(FORMULA, mlm.load_sleepstudy())


@pytest.mark.parametrize("case", DESIGNS, ids=lambda c: f"{c.name} {c.den}")
def test_noncentral_f(case):
    assert 0.4 < case.power < 0.9
    curve = mlm.power(case.design, case.test, n=2000, seed=11)
    assert curve["n_failed"].sum() == 0
    assert agrees(curve, case.power)


@pytest.mark.parametrize(
    "wrong",
    [
        pytest.param(lambda c: power_of_f(1, 10_000, c.noncentrality), id="normal for t"),
        pytest.param(lambda c: power_of_f(1, c.den, c.noncentrality * 4 / 3), id="size of cluster"),
        pytest.param(lambda c: power_of_f(1, 46, c.noncentrality), id="rows for clusters"),
        pytest.param(lambda c: power_of_f(1, c.den, c.noncentrality, alpha=0.1), id="one-sided"),
    ],
)
def test_a_wrong_closed_form_is_seen(wrong):
    case = arms_between(8, 6, 2.4)
    curve = mlm.power(case.design, case.test, n=2000, seed=11)
    assert agrees(curve, case.power)
    assert not agrees(curve, wrong(case))


@pytest.mark.parametrize("ddf", ["kenward-roger", 6])
def test_degrees_of_freedom_of_a_balanced_design(ddf):
    case = arms_between(8, 6, 2.4)
    curve = mlm.power(case.design, case.test, n=600, seed=3, ddf=ddf)
    same = mlm.power(case.design, case.test, n=600, seed=3)
    assert curve["power"].iloc[0] == pytest.approx(same["power"].iloc[0], abs=0.004)


def test_asymptotic_tests_are_liberal():
    case = arms_between(8, 6, 0.0)
    z = mlm.power(case.design, "armt", n=2000, seed=1, ddf="asymptotic")
    # The z test of a t statistic with 6 degrees of freedom.
    assert agrees(z, 2 * stats.t.sf(stats.norm.ppf(0.975), 6))
    assert agrees(mlm.power(case.design, "armt", n=2000, seed=1), 0.05)


def test_power_along_a_variable_is_that_of_each_design():
    curve = mlm.power(slopes(9, range(6), 7.5).design, "day", along="id", values=[6, 12, 20],
                      n=1500, seed=5)  # fmt: skip
    assert curve["value"].tolist() == [6, 12, 20]
    for k, n in enumerate([6, 12, 20]):
        assert agrees(curve.iloc[[k]], slopes(n, range(6), 7.5).power)
    by_day = mlm.power(slopes(9, range(6), 7.5).design, "day", along="day", values=[4, 5],
                       n=1500, seed=5)  # fmt: skip
    for k, n in enumerate([4, 5]):
        assert agrees(by_day.iloc[[k]], slopes(9, range(n), 7.5).power)


def test_power_within_clusters():
    curve = mlm.power(arms_between(12, 2, 1.8, between=1.0, sigma=2.0).design, "armt", within="g",
                      values=[8, 16], n=1500, seed=5)  # fmt: skip
    for k, n in enumerate([8, 16]):
        assert agrees(curve.iloc[[k]], arms_between(12, n, 1.8, between=1.0, sigma=2.0).power)


def test_parameters_set():
    """Of a design, and of a fit whose estimates they replace."""
    case = arms_between(24, 3, 1.5)
    other = arms_between(24, 3, 1.0, between=0.9, sigma=1.2)
    changes = {"armt": 1.0, "var_(Intercept)|g": 0.9, "sigma": 1.2}
    assert agrees(mlm.power(case.design, "armt", n=1500, seed=1, set=changes), other.power)
    data = case.design.draw(np.random.default_rng(4))
    fit = mlm.lmm("y ~ arm + (1 | g)", data)
    changes = {"armt": 1.0, "sd_(Intercept)|g": np.sqrt(0.9), "Residual": 1.44}
    assert agrees(mlm.power(fit, "armt", n=1500, seed=1, set=changes), other.power)


def test_a_fit_as_a_design(fit):
    design = design_of_fit(fit)
    assert design.params.tolist() == fit.params.tolist()
    assert design.sigma == pytest.approx(fit.sigma)
    assert np.allclose(design.varcorr["Subject"], fit.varcorr["Subject"])
    y = design.simulate(4000, seed=1)
    products = np.cov(y[:10]) / fit.V("308")
    assert np.abs(np.asarray(products) - 1).max() < 0.25
    more = design.along("Subject", 40)
    assert more.n_groups == {"Subject": 40}
    assert more.data["Days"].tolist() == list(range(10)) * 40


def test_the_same_for_any_batch_and_number_of_values(fit, monkeypatch):
    kwargs = {"along": "Subject", "n": 60, "set": {"Days": 4}, "seed": 3}
    whole = mlm.power(fit, "Days", values=[6, 9], **kwargs)
    alone = mlm.power(fit, "Days", values=[9], **kwargs)
    assert whole.iloc[1].tolist() == alone.iloc[0].tolist()
    monkeypatch.setattr(Analysis, "batch_size", 7)
    parts = mlm.power(fit, "Days", values=[6, 9], **kwargs)
    pd.testing.assert_frame_equal(pd.DataFrame(parts), pd.DataFrame(whole), check_exact=True)
    other = mlm.power(fit, "Days", values=[6, 9], **{**kwargs, "seed": 4})
    assert whole["mean_estimate"].tolist() != other["mean_estimate"].tolist()


def test_tests_of_a_replicate_are_those_of_its_single_fit(fit):
    """t, F by terms, contrasts: the p-values of `lmm` on the same response."""
    trial = mlm.design(
        "y ~ arm * time + (1 | id)", levels={"id": 12, "arm": ["a", "b", "c"], "time": ["0", "1"]},
        between={"arm": "id"}, params={"armb:time1": 1}, varcorr={"id": 1}, sigma=1,
    )  # fmt: skip
    streams = Streams(2)
    data = trial.draw(streams(1))
    single = mlm.lmm(trial.formula, data)
    for test, expected in {
        "armb:time1": single.pvalues["armb:time1"],
        "arm:time": single.anova()["Pr(>F)"]["arm:time"],
        "arm": single.anova()["Pr(>F)"]["arm"],
        "armb - armc = 0": single.contrast("armb - armc = 0").pvalue,
    }.items():
        found = hypothesis(Analysis(trial), test, None, 1, 0).outcome(streams, 0, 3)
        assert found.pvalue[1] == pytest.approx(expected, rel=1e-5)


def test_likelihood_ratio_of_a_replicate(fit):
    design = design_of_fit(fit).under({"Days": 3})
    streams = Streams(2)
    data = design.draw(streams(1))
    one, two = (mlm.lmm(f, data, method="ML") for f in (
        "Reaction ~ 1 + (Days | Subject)", FORMULA))  # fmt: skip
    expected = mlm.compare(one, two)["Pr(>Chisq)"].iloc[1]
    for test, how in (("Days", "lr"), ("Reaction ~ 1 + (Days | Subject)", None)):
        found = hypothesis(Analysis(design), test, how, 1, 0).outcome(streams, 0, 3)
        assert found.pvalue[1] == pytest.approx(expected, rel=1e-5)


def test_random_effects_of_a_replicate(fit):
    design = design_of_fit(fit)
    streams = Streams(2)
    data = design.draw(streams(1))
    expected = mlm.lmm(FORMULA, data).test_variance("sd_Days|Subject").pvalue
    found = hypothesis(Analysis(design), "sd_Days|Subject", None, 1, 0).outcome(streams, 0, 3)
    assert found.pvalue[1] == pytest.approx(expected, rel=1e-5)


def test_level_of_tests_of_a_random_effect():
    """A variance of 0: the exact distribution keeps the level, the mixture is below it."""
    design = mlm.design(
        "y ~ x + (1 | g)", levels={"g": 6, "x": range(5)}, varcorr={"g": 0.0}, sigma=1
    )
    exact = mlm.power(design, "sd_(Intercept)|g", n=2000, seed=1)
    assert "exact null distribution" in exact.title
    assert agrees(exact, 0.05)
    # One-way analysis of variance: the power of its F test, a scaled central F.
    some = design.under({"var_(Intercept)|g": 0.5})
    ratio = 1 + 5 * 0.5
    critical = stats.f.ppf(0.95, 5, 23)
    # The F test with x fitted has 23 degrees of freedom for the residual; equivalent to RLRT here.
    assert agrees(mlm.power(some, "(1 | g)", n=2000, seed=2), stats.f.sf(critical / ratio, 5, 23))


def test_bootstrap_keeps_the_level():
    design = arms_between(6, 3, 0.0).design
    curve = mlm.power(design, "armt", n=150, n_boot=39, seed=2, test_method="bootstrap")
    assert abs(curve["power"].iloc[0] - 0.05) < 3.5 * np.sqrt(0.05 * 0.95 / 150)
    lr = mlm.power(design, "armt", n=150, seed=2, test_method="lr")
    assert lr["power"].iloc[0] > curve["power"].iloc[0]


def test_wrong_model_fitted():
    """Without the random effect a test between clusters rejects far too often."""
    design = arms_between(24, 6, 0.0).design
    wrong = mlm.power(design, "armt", n=400, seed=1, formula="y ~ arm")
    # The estimate's variance over its estimate: F with 144 - 2 degrees of freedom, scaled.
    ratio = (2.0 + 1 / 6) / ((3.0) / 6)
    assert wrong["power"].iloc[0] == pytest.approx(
        2 * stats.norm.sf(1.96 / np.sqrt(ratio)), abs=0.1
    )


def test_missing_responses():
    gone = {"dropout": 0.5, "subject": "id", "time": "day"}
    full = mlm.design("y ~ day + (1 | id)", levels={"id": 10, "day": range(3)},
                      params={"day": 0.6}, varcorr={"id": 1}, sigma=1)  # fmt: skip
    less = full.under({"missing": gone})
    few, all_ = (mlm.power(d, "day", n=100, seed=1) for d in (less, full))
    assert few["n_failed"].iloc[0] == 0
    assert few["power"].iloc[0] < all_["power"].iloc[0]


def test_covariates_drawn_anew():
    design = mlm.design("y ~ x + (1 | g)", levels={"g": 10, "k": 3}, covariates={"x": "normal"},
                        params={"x": 0.5}, icc=0.3, sigma=1)  # fmt: skip
    curve = mlm.power(design, "x", n=60, seed=1)
    assert 0.3 < curve["power"].iloc[0] <= 1
    with pytest.raises(mlm.ModelError, match="need rows that stay the same"):
        mlm.power(design, "x", n=20, seed=1, test_method="lr")
    with pytest.raises(mlm.ModelError, match="extend along= it"):
        mlm.power(design, "x", n=20, seed=1, within="g", values=[5])


def test_what_cannot_be_tested_is_said():
    """Two of three arms of clusters, and a column that is another's multiple."""
    design = mlm.design(
        "y ~ arm + (1 | g)", levels={"g": 12, "row": 3, "arm": ["a", "b", "c"]},
        between={"arm": "g"}, varcorr={"g": 1}, sigma=1,
    )  # fmt: skip
    with pytest.raises(mlm.ModelError, match="none of 10 replicates with 2 for 'g' gave a test"):
        mlm.power(design, "armc", along="g", values=[2], n=10, seed=1)
    data = pd.DataFrame({"x": np.arange(20.0), "z": 2 * np.arange(20.0), "g": list("abcd") * 5})
    both = mlm.design("y ~ x + z + (1 | g)", data=data, varcorr={"g": 1}, sigma=1)
    with pytest.raises(mlm.ModelError, match="none of 10 replicates gave a test of 'z'"):
        mlm.power(both, "z", n=10, seed=1)


def test_simr():
    """simr's own examples, drawn by simr: the two shares agree within Monte Carlo error."""
    reference = json.loads((Path(__file__).parents[1] / "reference" / "simr.json").read_text())
    base = mlm.design(
        "y ~ x + (1 | g)", levels={"g": 3, "x": range(1, 11)},
        params={"(Intercept)": 2, "x": -0.1}, varcorr={"g": 0.5}, sigma=1,
    )  # fmt: skip
    fit = mlm.lmm("y ~ x + (1 | g)", pd.DataFrame(reference["simdata"]))
    designs = {"scratch": base, "simdata": fit}
    for case in reference["cases"]:
        curve = mlm.power(designs[case["from"]], case["test"], n=1500, seed=4, **case["call"])
        ours, n = float(curve["power"].iloc[0]), case["trials"]
        share = case["successes"] / n
        middle = (share * n + ours * 1500) / (n + 1500)
        error = np.sqrt(middle * (1 - middle) * (1 / n + 1 / 1500))
        assert abs(ours - share) < 3.5 * error, case


def test_exact_intervals():
    """Against the definition: each limit leaves half of what is outside in one tail."""
    for count, n in ((0, 20), (3, 20), (20, 20), (812, 1000)):
        low, high = exact_interval(count, n)
        if count:
            assert stats.binom.sf(count - 1, n, low) == pytest.approx(0.025)
        if count < n:
            assert stats.binom.cdf(count, n, high) == pytest.approx(0.025)


@pytest.mark.parametrize(
    ("kwargs", "message"),
    [
        ({"test": "days"}, "'days' is no coefficient, term or .* did you mean 'Days'"),
        ({"test": "Days", "along": "subject", "values": [3]}, "did you mean 'Subject'"),
        ({"test": "Days", "within": "subject", "values": [3]}, "did you mean 'Subject'"),
        ({"test": "Days", "along": "Reaction", "values": [3]}, "is the response"),
        ({"test": "Days", "along": "Subject", "values": [0]}, "no number of levels"),
        ({"test": "Days", "along": "Subject", "values": [2.5]}, "no number of levels"),
        ({"test": "Days", "along": "Subject", "values": []}, "values is empty"),
        ({"test": "Days", "values": [3]}, "values are numbers of levels of along="),
        ({"test": "Days", "along": "Subject", "within": "Subject"}, "not both"),
        ({"test": "Days", "set": {"Day": 3}}, "did you mean 'Days'"),
        ({"test": "Days", "set": {"sd_Days|subject": 3}}, "did you mean 'sd_Days|Subject'"),
        ({"test": "Days", "set": {"cor_Days.(Intercept)|Subject": 2}}, "between -1 and 1"),
        ({"test": "Days", "set": {"cov_Days.(Intercept)|Subject": 900}}, "smallest eigenvalue"),
        ({"test": "Days", "set": {"sigma": 0}}, "a positive number is needed"),
        ({"test": "Days", "n": 0}, "n is 0; a whole number from 1"),
        ({"test": "Days", "alpha": 5}, "alpha is 5; a number between 0 and 1"),
        ({"test": "Days", "ddf": "kenward"}, "kenward"),
        ({"test": "Days", "test_method": "F"}, "test_method is 'F'"),
        ({"test": "Days", "test_method": "exact"}, "is for random effects"),
        ({"test": "sd_days|Subject"}, "did you mean 'sd_Days|Subject'"),
        ({"test": "Days", "along": "Days", "values": [1]}, "along='Days', 1"),
        ({"test": "Reaction ~ Day + (1|Subject)"}, "there is no column 'Day'"),
        ({"test": "Days", "seed": np.random.default_rng(1)}, "can be drawn again"),
    ],
)  # fmt: skip
def test_refusals(fit, kwargs, message):
    with pytest.raises(mlm.MlmError, match=message):
        mlm.power(fit, **{"n": 10, "seed": 1, **kwargs})


def test_new_levels_of_a_fixed_factor_are_refused():
    data = pd.DataFrame({"f": list("abc") * 6, "g": np.repeat(np.arange(6), 3)})
    design = mlm.design("y ~ f + (1 | g)", data=data, varcorr={"g": 1}, sigma=1)
    with pytest.raises(mlm.ModelError, match="no effect of further levels is known"):
        mlm.power(design, "f", along="f", values=[5], n=10)


ONE = "Reaction ~ Days + (1 | Subject)"
CALLS = {
    "power": lambda fit, **more: mlm.power(fit, "Days", n=20, seed=1, **more),
    "sample_size": lambda fit, **more: mlm.sample_size(
        fit, "Days", along="Subject", n=20, seed=1, **more
    ),
    "detectable_effect": lambda fit, **more: mlm.detectable_effect(
        fit, "Days", n=20, seed=1, **more
    ),
}


@pytest.mark.parametrize("call", CALLS)
def test_replicates_are_fitted_as_the_fit_was_or_by_what_is_said(call):
    data = mlm.load_sleepstudy()
    by_moments = mlm.lmm(ONE, data, method="type3")
    with pytest.raises(mlm.ModelError, match="by method='type3': give method='REML' or 'ML'"):
        CALLS[call](by_moments)
    # Balanced data: these moments are the REML estimates.
    found, same = CALLS[call](by_moments, method="REML"), CALLS[call](mlm.lmm(ONE, data))
    assert repr(found) == repr(same)
    with pytest.raises(mlm.ModelError, match=r"this fit holds or bounds sigma: .* set="):
        CALLS[call](mlm.lmm(ONE, data, hold={"sigma": 30.0}))
    # Bounds that the fit does not reach are reached in some replicate.
    with pytest.raises(mlm.ModelError, match=r"this fit holds or bounds sigma: .* set="):
        CALLS[call](mlm.lmm(ONE, data, bounds={"sigma": (1.0, None)}))


def test_what_is_no_fit():
    with pytest.raises(mlm.DataError, match="power is of a fit or a design, not of int"):
        mlm.power(3, "Days")


def test_a_picture(fit):
    matplotlib = pytest.importorskip("matplotlib")
    matplotlib.use("Agg")
    curve = mlm.power(fit, "Days", along="Subject", values=[4, 8], n=20, seed=1)
    axes = curve.plot()
    assert axes.get_xlabel() == "levels of Subject"
    assert len(axes.containers) == 1


@pytest.mark.parametrize("progress", [True, 3, "yes"])
@pytest.mark.parametrize("ask", [mlm.power, mlm.sample_size, mlm.detectable_effect])
def test_progress_that_cannot_be_told_is_refused(fit, ask, progress):
    arguments = {"along": "Subject"} if ask is mlm.sample_size else {}
    with pytest.raises(DataError, match=r"progress is .*; give a function of two numbers"):
        ask(fit, "Days", n=2, seed=1, progress=progress, **arguments)
