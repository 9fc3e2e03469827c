"""Information, Kenward-Roger and Satterthwaite against dense matrices (`dense_inference`)."""

import numpy as np
import pytest
from numpy.testing import assert_allclose

import mlmfast as mlm

from ..cases import cases_with, reference
from ..dense_inference import DenseInference
from ..fits import fit_case
from ..general_models import animals, pedigree, trials
from ..residual_models import trial

SLEEP = "Reaction ~ Days + (Days | Subject)"


def unbalanced_sleep():
    return mlm.load_sleepstudy().iloc[np.r_[0:58, 65:120, 121:170]]


def periods():
    """Three periods of 2, 3 and 5 days, with less alike columns of Z."""
    data = unbalanced_sleep()
    period = np.select([data.Days < 2, data.Days < 5], ["first", "second"], "third")
    noise = np.random.default_rng(3).normal(0, 40, len(data)) * (data.Days < 2)
    return data.assign(period=period, Reaction=data.Reaction + noise)


def spread_out():
    """Subjects with visits at times of their own: more distinct times than one template holds."""
    data = trial(n_subjects=24, n_visits=5, missing=0.1)
    rng = np.random.default_rng(8)
    return data.assign(when=data.time + rng.uniform(0, 0.8, len(data)))


MODELS = {
    "random slopes": (SLEEP, unbalanced_sleep, {}),
    "random slopes, ML": (SLEEP, unbalanced_sleep, {"method": "ML"}),
    "uncorrelated": ("Reaction ~ Days + (Days || Subject)", unbalanced_sleep, {}),
    "nested, weighted": (
        "y ~ x + visit + (x | site) + (1 | site:subject)",
        trial,
        {"weights": "w"},
    ),
    "random csh, columns of unequal size": (
        "Reaction ~ Days + csh(0 + period | Subject)",
        periods,
        {},
    ),
    "random toep": ("Reaction ~ Days + toep(0 + period | Subject)", periods, {}),
    "us": ("y ~ x + visit", trial, {"residual": "us(visit | subject)"}),
    "ar1h by arm": ("y ~ x + visit", trial, {"residual": "ar1h(visit | arm / subject)"}),
    "toep, ML": ("y ~ x", trial, {"residual": "toep(visit | subject)", "method": "ML"}),
    "cs, weighted": ("y ~ x", trial, {"residual": "cs(visit | subject)", "weights": "w"}),
    "many visits": (
        "y ~ x",
        lambda: trial(n_subjects=25, n_visits=8),
        {"residual": "ar1(visit | subject)"},
    ),
    "many visits, heterogeneous": (
        "y ~ x",
        lambda: trial(n_subjects=40, n_visits=7, missing=0.05),
        {"residual": "hf(visit | subject)"},
    ),
    "times of their own": ("y ~ x", spread_out, {"residual": "sp_exp(when | subject)"}),
    "intercept and ar1": (
        "y ~ x + (1 | site)",
        lambda: trial(n_subjects=60, site_sd=1.5),
        {"residual": "ar1(visit | subject)"},
    ),
    "items across ar1": (
        "y ~ x + (1 | item)",
        trials,
        {"residual": "ar1(trial | subject)", "weights": "w"},
    ),
    "inside subjects, toep": (
        "y ~ x + (1 | subject:session)",
        lambda: trials(seed=12),
        {"residual": "toep(trial | subject, 2)"},
    ),
    "items across times of their own": (
        "y ~ x + (1 | item)",
        lambda: trials(seed=12),
        {"residual": "sp_exp(when | subject)"},
    ),
    "animals": ("y ~ x + (x | animal)", lambda: animals(slope=1.0)[0], {"cov": True}),
    "slope and times of their own": (
        "y ~ x + (1 | site)",
        spread_out,
        {"residual": "sp_gau(when | subject)"},
    ),
}


@pytest.fixture(scope="module", params=MODELS, ids=str)
def model(request):
    formula, data, arguments = MODELS[request.param]
    if "cov" in arguments:
        arguments = {"cov": {"animal": pedigree()}}
    fit = mlm.lmm(formula, data(), **arguments)
    assert not fit.singular
    return fit, DenseInference(fit)


def scaled_difference(found, target):
    size = np.sqrt(np.abs(np.diag(target)))
    return np.abs(found - target) / np.outer(size, size)


@pytest.mark.parametrize("kind", ["observed", "expected"])
def test_information_is_that_of_the_dense_likelihood(model, kind):
    fit, oracle = model
    found = fit.cov_theta(kind).to_numpy()
    target = np.linalg.inv(getattr(oracle, kind))
    assert scaled_difference(found, target).max() < 2e-5


def test_satterthwaite(model):
    fit, oracle = model
    W = np.linalg.inv(oracle.observed)
    target = [oracle.satterthwaite(row, W) for row in np.eye(len(oracle.phi))]
    assert_allclose(fit.df.dropna(), target, rtol=2e-5)


@pytest.mark.parametrize(
    ("ddf", "kind", "options"),
    [
        ("kenward-roger", "observed", {}),
        ("kenward-roger-linear", "observed", {"bends": False}),
        ("kenward-roger-expected", "expected", {"bends": False}),
        ("kenward-roger-2009", "observed", {"bias": True}),
    ],
)
def test_kenward_roger(model, ddf, kind, options):
    fit, oracle = model
    if fit.method == "ML":
        pytest.skip("Kenward-Roger is refused with ML")
    W = np.linalg.inv(getattr(oracle, kind))
    target = oracle.adjusted(W, **options)
    assert scaled_difference(fit.cov_params(ddf).to_numpy(), target).max() < 2e-5
    L = np.eye(len(target))[:2]
    m, scale = oracle.kenward_roger_f(L, W)
    beta = fit.params.to_numpy()
    test = fit.contrast(L, ddf=ddf).f
    assert test.df_den == pytest.approx(m, rel=2e-5)
    chi2 = (L @ beta) @ np.linalg.solve(L @ target @ L.T, L @ beta)
    assert test.statistic == pytest.approx(scale * chi2 / 2, rel=2e-5)
    assert test.chi2 == pytest.approx(chi2, rel=2e-5)


def test_second_derivatives_of_the_information_matrix(model):
    """Every pair, and the weighted sum: the core against differences of its first derivatives."""
    fit, _ = model
    source = fit._source
    core, criterion = source.model.core, source.criterion
    parameters = fit._rows.information.parameters
    g, entries = parameters.linear, criterion.entries
    n = len(entries)
    all_pairs = core.information_second_derivatives(g, 0, entries)
    weights = np.random.default_rng(2).normal(size=(n, n))
    weights = weights + weights.T
    one_sum = core.information_second_derivatives(g, 0, entries, weights)
    target = np.einsum("kl,klij->ij", weights, all_pairs)
    assert_allclose(one_sum, target, rtol=1e-10, atol=1e-10 * np.abs(target).max())
    for k, (level, a, b) in enumerate(entries):
        if g[level].ndim == 5:
            continue
        moved = []
        if level == len(g) - 1 and source.model.blocks[-1].along_rows:
            # Coordinates are theta here, which stands behind that of the random effects.
            place = criterion.n_theta - n + k
            for sign in (1, -1):
                theta = source.theta.copy()
                theta[0, place] += sign * 1e-5
                other = criterion.covariances(theta, derivatives=True)
                moved.append(core.information_derivatives(other, 0, entries))
            slope = (moved[0] - moved[1]) / 2e-5
            assert_allclose(all_pairs[k], slope, atol=1e-6 * np.abs(all_pairs).max())
            continue
        for sign in (1, -1):
            other = [matrix.copy() for matrix in g]
            step = 1e-5 * np.abs(g[level]).max()
            other[level][:, a, b] += sign * step
            if a != b:
                other[level][:, b, a] += sign * step
            moved.append(core.information_derivatives(other, 0, entries))
        slope = (moved[0] - moved[1]) / (2 * step)
        assert_allclose(all_pairs[k], slope, atol=1e-6 * np.abs(all_pairs).max())


def test_kenward_roger_2009_does_not_depend_on_the_parameters():
    """cs has linear parameters in PROC MIXED; csh-like ones, variance and rho, bend V."""
    data = trial(n_subjects=25)
    fit = mlm.lmm("y ~ x + visit", data, residual="cs(visit | subject)")
    oracle = DenseInference(fit)
    own, common = fit.covariance_parameters

    class ByCorrelation(DenseInference):
        @property
        def psi(self):
            return np.array([own + common, common / (own + common)])

        def V(self, psi):
            variance, rho = psi
            return super().V(np.array([variance * (1 - rho), variance * rho]))

    other = ByCorrelation(fit)
    adjusted = other.adjusted(np.linalg.inv(other.observed), bias=True)
    assert scaled_difference(fit.cov_params("kenward-roger-2009").to_numpy(), adjusted).max() < 1e-5
    plain = other.adjusted(np.linalg.inv(other.observed))
    assert scaled_difference(plain, oracle.phi).max() > 1e-4
    bent = scaled_difference(plain, adjusted).max()
    assert bent > 1e-3, "the term of 1997 does depend on them"


def test_kenward_roger_2009_is_that_of_1997_where_v_is_linear():
    fit = mlm.lmm(SLEEP, unbalanced_sleep())
    assert_allclose(
        fit.cov_params("kenward-roger-2009"), fit.cov_params("kenward-roger"), rtol=1e-12
    )
    assert_allclose(
        fit.cov_params("kenward-roger-linear"), fit.cov_params("kenward-roger"), rtol=1e-12
    )


def test_observed_and_expected_information_coincide_for_balanced_data():
    fit = mlm.lmm(SLEEP, mlm.load_sleepstudy())
    observed, expected = fit.cov_theta("observed"), fit.cov_theta("expected")
    assert scaled_difference(observed.to_numpy(), expected.to_numpy()).max() < 1e-7


def test_units_of_the_response_and_of_covariates_change_nothing():
    data = unbalanced_sleep()
    fit = mlm.lmm(SLEEP, data, ddf="kenward-roger")
    other = mlm.lmm(
        "Reaction ~ t + (t | Subject)",
        data.assign(Reaction=data.Reaction * 1e-9 + 3e-6, t=data.Days * 1e4 + 1e7),
        ddf="kenward-roger",
    )
    assert other.df["t"] == pytest.approx(fit.df["Days"], rel=1e-6)
    assert other.tvalues["t"] == pytest.approx(fit.tvalues["Days"], rel=1e-6)
    ratio = other.covariance_parameters["Residual"] / fit.covariance_parameters["Residual"]
    assert ratio == pytest.approx(1e-18, rel=1e-7)


@pytest.mark.parametrize("case_id", cases_with("vcov_theta_observed"))
@pytest.mark.parametrize("kind", ["observed", "expected"])
def test_reference_covariances_of_the_parameters(case_id, kind):
    expect = reference(case_id)["expect"]
    fit = fit_case(case_id)
    names = [our_name(case_id, name) for name in expect["covariance_parameters"]]
    found = fit.cov_theta(kind).loc[names, names].to_numpy()
    assert scaled_difference(found, np.array(expect[f"vcov_theta_{kind}"])).max() < 1e-6


def our_name(case_id, name):
    """`cov((Intercept), Days)|Subject` of the reference as we call it."""
    if name == "sigma2":
        return "Residual"
    inside, group = name.removeprefix("cov(").split(")|")
    first, second = inside.split(", ")
    group = ":".join(reversed(group.split(":"))) if "/" in reference(case_id)["formula"] else group
    text = f"Var({first})" if first == second else f"Cov({first}, {second})"
    return f"{text} | {group}"
