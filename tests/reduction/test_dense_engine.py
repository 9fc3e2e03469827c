"""The general engine against dense matrices, and against the other engines on their models."""

import os
import subprocess
import sys

import numpy as np
import pytest
from numpy.testing import assert_allclose

import mlmfast as mlm
from mlmfast.errors import ModelError
from mlmfast.fitted.estimates import estimates_of
from mlmfast.prediction.rows import Needs, rows_of_fit
from mlmfast.prediction.spread import spread_of
from mlmfast.prediction.targets import RowTargets
from mlmfast.reduction.engines.dense import dense_parts
from mlmfast.reduction.engines.sizes import dense_size

from .. import dense
from ..fits import estimates, lmm, numbers
from ..general_models import animals, trials
from ..problems import nested_frame
from ..residual_models import trial
from ..threads import output_for_any_number_of_threads

DENSE = {"engine": "dense"}

# Models that only the general engine serves: formula, arguments.
GENERAL = {
    "items across ar1": ("y ~ x + (1 | item)", {"residual": "ar1(trial | subject)"}),
    "items and subjects": (
        "y ~ x + (1 | item) + (1 | subject)",
        {"residual": "toep(trial | subject, 2)"},
    ),
    "slopes of items, cs": ("y ~ x + (x | item)", {"residual": "cs(session | subject:cond)"}),
    "inside subjects": ("y ~ x + (1 | subject:session)", {"residual": "ar1(trial | subject)"}),
    "inside and around": (
        "y ~ x + (1 | subject/session)",
        {"residual": "toep(trial | subject, 3)"},
    ),
    "items across times of their own": (
        "y ~ x + (1 | item)",
        {"residual": "sp_exp(when | subject)"},
    ),
    "items across scattered points": ("y ~ x + (1 | item)", {"residual": "sp_gau(when | subject)"}),
    "items, scale by a factor": ("y ~ x + (1 | item) + (1 | subject)", {"residual_scale": "cond"}),
    "items, scale by a number": (
        "y ~ x + (1 | item) + (1 | subject)",
        {"residual_scale": "exp(x)"},
    ),
    "items across ar1, scaled": (
        "y ~ x + (1 | item)",
        {"residual": "ar1(trial | subject)", "residual_scale": "cond"},
    ),
    "items across arms": ("y ~ x + (1 | item)", {"residual": "ar1(trial | arm / subject)"}),
    "structured effects": ("y ~ x + cs(0 + cond | item)", {"residual": "ar1(trial | subject)"}),
    "items across times of their own, arms": (
        "y ~ x + (1 | item)",
        {"residual": "car1(when | arm / subject)"},
    ),
    "items across scattered points, arms": (
        "y ~ x + (1 | item)",
        {"residual": "sp_gau(when | arm / subject)"},
    ),
    "items across scattered points, arms, scaled": (
        "y ~ x + (1 | item)",
        {"residual": "sp_exp(when, x | arm / subject)", "residual_scale": "exp(x)"},
    ),
}


def trials_in_arms(**arguments):
    """Trials of subjects in two arms."""
    frame = trials(**arguments)
    return frame.assign(arm=np.where(frame.subject.str[-1].isin(list("02468")), "u", "v"))


@pytest.fixture(scope="module")
def frame():
    return trials_in_arms()


@pytest.fixture(scope="module", params=[(n, m) for n in GENERAL for m in ("ML", "REML")], ids=str)
def general(request, frame):
    name, method = request.param
    formula, arguments = GENERAL[name]
    data = frame
    if "session | subject:cond" in str(arguments):
        data = frame.drop_duplicates(["subject", "cond", "session"]).reset_index(drop=True)
    return lmm(formula, data, method=method, weights="w", **arguments), data


def test_estimates_are_those_of_the_dense_covariance(general):
    fit, data = general
    V, X, y = fit.V().to_numpy(), fit.X().to_numpy(), data["y"].to_numpy()
    beta, vcov = dense.gls(y, X, V)
    assert fit.certificate.engine.startswith("dense V")
    assert fit.converged
    assert fit.llf == pytest.approx(dense.log_likelihood(y, X, V, fit.method), rel=1e-11)
    assert_allclose(fit.params, beta, rtol=1e-9, atol=1e-11)
    assert_allclose(fit.cov_params(), vcov, rtol=1e-9, atol=1e-12)
    assert_allclose(
        fit.fittedvalues, dense.conditional_fitted(y, X, V, fit.R().to_numpy()), rtol=1e-9
    )
    assert_allclose(fit.resid("scaled"), dense.scaled_residuals(y, X, V), rtol=1e-8, atol=1e-9)


def test_v_is_zgz_plus_r(general):
    fit, _ = general
    total, Z = fit.R().to_numpy(), fit.Z()
    for term in fit._record.terms:
        group = fit._record.groups[term.group]
        names = [[f"{effect} | {level}" for effect in term.names] for level in group.labels]
        for level in names:
            z = Z[level].to_numpy()
            total = total + z @ term.covariance @ z.T
    assert_allclose(fit.V(), total, rtol=1e-12, atol=1e-14)


def test_the_estimate_is_a_stationary_point_of_the_likelihood(general):
    """Every covariance parameter moved both ways leaves less likelihood, by the fit's own V."""
    fit, _ = general
    source = fit._source
    model, criterion = source.model, source.criterion
    assert fit.deviance == pytest.approx(
        float(estimates_of(model, criterion, source.theta).deviance[0]), rel=1e-13
    )
    for k in range(criterion.n_theta):
        for step in (-0.05, 0.05):
            theta = source.theta.copy()
            theta[0, k] += step
            moved = float(estimates_of(model, criterion, theta).deviance[0])
            assert moved > fit.deviance - 1e-9


def test_random_effects_are_the_dense_conditional_means(general):
    fit, data = general
    V, X, y = fit.V().to_numpy(), fit.X().to_numpy(), data["y"].to_numpy()
    design = fit._source.design
    for term in design.random:
        factor = design.factors[term.factor]
        if len(fit._record.terms_on(term.factor)) > 1:
            continue
        z = np.column_stack([np.ones(len(y)) if c is None else c for c in term.columns])
        own = dense.Term(z, fit.varcorr[factor.name].to_numpy(), factor.codes)
        assert_allclose(fit.ranef[factor.name], dense.blups(own, y, X, V), rtol=1e-7, atol=1e-9)
        found = np.stack([fit.ranef_cov[factor.name][level].to_numpy() for level in factor.labels])
        assert_allclose(found, dense.conditional_covariances(own, V), rtol=1e-7, atol=1e-9)


def prediction_errors(fit):
    """Standard errors of the fitted values."""
    rows = rows_of_fit(fit._source.design, Needs(z=True, groups=True))
    return spread_of(fit, RowTargets(rows, fit._record), True, ddf="asymptotic").se


def test_prediction_errors_are_those_of_kriging(general):
    """Var(x'b + z'g - prediction) = z'Gz - c V^-1 c' + d C d' for the first rows, levels known."""
    fit, _ = general
    V, X = fit.V().to_numpy(), fit.X().to_numpy()
    few = slice(0, 5)
    c = V - fit.R().to_numpy()
    inverse = dense.inverse(V)
    C = dense.inverse(X.T @ inverse @ X)
    d = (X - c @ inverse @ X)[few]
    variance = np.diag(c - c @ inverse @ c)[few] + np.einsum("ij,jk,ik->i", d, C, d)
    assert_allclose(prediction_errors(fit)[few], np.sqrt(variance), rtol=1e-8)


# -- against the other engines -------------------------------------------------------------------

SAME = {
    "random slopes": ("y ~ x + (x | subject)", trials, {}),
    "crossed, weighted": ("y ~ x + (x | item) + (1 | subject)", trials, {"weights": "w"}),
    "crossed, uncorrelated": ("y ~ x + (x || item) + (1 | subject)", trials, {"method": "ML"}),
    "nested to depth 3": ("y ~ x + (1 | a/b/c)", lambda: nested_frame(seed=4), {}),
    "us": ("y ~ x", trial, {"residual": "us(visit | subject)", "weights": "w"}),
    "toep in sites": ("y ~ x + (x | site)", trial, {"residual": "toep(visit | subject)"}),
    "series": ("y ~ x + (1 | site)", trial, {"residual": "ar1(visit | subject)"}),
    "series at times of their own": ("y ~ x", trials, {"residual": "sp_exp(when | subject)"}),
    "arma over many times": (
        "y ~ x + (1 | subject)",
        lambda: trials(seed=8, n_subjects=6, n_trials=80, n_items=20),
        {"residual": "arma11(trial | subject)"},
    ),
    "scattered points": ("y ~ x", trials, {"residual": "sp_gau(when | subject)"}),
    "series at times of their own, arms": (
        "y ~ x",
        trials_in_arms,
        {"residual": "sp_exp(when | arm / subject)"},
    ),
    "arma over many times, arms": (
        "y ~ x + (1 | subject)",
        lambda: trials_in_arms(seed=8, n_subjects=6, n_trials=80, n_items=20),
        {"residual": "arma11(trial | arm / subject)"},
    ),
    "scattered points, arms": (
        "y ~ x",
        trials_in_arms,
        {"residual": "sp_pow(when, x | arm / subject)", "weights": "w"},
    ),
    "scale": ("y ~ x + (1 | subject)", trials, {"residual_scale": "cond * exp(x)"}),
    "structured effects": ("y ~ x + ar1(0 + session | subject)", trials, {}),
    "least squares": ("y ~ x", trials, {}),
}


@pytest.fixture(scope="module", params=SAME, ids=str)
def pair(request):
    formula, data, arguments = SAME[request.param]
    data = data()
    other = lmm(formula, data, **arguments)
    return other, lmm(formula, data, options=DENSE, **arguments)


def test_fits_agree_with_the_other_engines(pair):
    other, fit = pair
    assert fit.certificate.engine.startswith("dense V")
    assert not other.certificate.engine.startswith("dense")
    assert fit.llf == pytest.approx(other.llf, abs=1e-9)
    assert_allclose(fit.params, other.params, rtol=1e-8, atol=1e-9)
    assert_allclose(fit.cov_params(), other.cov_params(), rtol=1e-6, atol=1e-12)
    for group, matrix in other.varcorr.items():
        assert_allclose(fit.varcorr[group], matrix, rtol=1e-5, atol=1e-7)


def test_the_criterion_agrees_at_the_same_point(pair):
    """Value, gradient and both Hessians of both engines at one theta: to rounding."""
    other, fit = pair
    a, b = other._source.criterion, fit._source.criterion
    if a.n_theta == 0 or len(a.entries) != len(b.entries):
        pytest.skip("nothing to compare, or the engines take other coordinates")
    theta, fits = 1.1 * other._source.theta + 0.03, np.zeros(1, dtype=np.intp)
    first, second = a(theta, fits), b(theta, fits)
    assert_allclose(second.value, first.value, rtol=1e-12)
    for part in ("gradient", "hessian", "expected"):
        x, y = getattr(first, part), getattr(second, part)
        if part != "expected" or "Series" not in type(a.terms[-1].structure).__name__:
            assert_allclose(y, x, rtol=1e-9, atol=1e-9 * np.abs(x).max())


@pytest.mark.parametrize("ddf", ["satterthwaite", "kenward-roger", "kenward-roger-expected"])
def test_inference_agrees_with_the_other_engines(pair, ddf):
    other, fit = pair
    if fit.method == "ML" and ddf != "satterthwaite":
        pytest.skip("Kenward-Roger is refused with ML")
    try:
        target = other.contrast("x = 0.1", ddf=ddf)
    except ModelError:
        pytest.skip("the other engine has no such degrees of freedom here")
    found = fit.contrast("x = 0.1", ddf=ddf)
    assert_allclose(found.table.to_numpy(float), target.table.to_numpy(float), rtol=2e-5)


def test_effects_and_predictions_agree_with_the_other_engines(pair):
    other, fit = pair
    for group, effects in other.ranef.items():
        assert_allclose(fit.ranef[group], effects, rtol=1e-5, atol=1e-6)
    assert_allclose(fit.fittedvalues, other.fittedvalues, rtol=1e-5, atol=1e-6)
    if not other.ranef or len(other._source.design.random) == 0:
        return
    a, b = (f.predict() for f in (other, fit))
    assert_allclose(b, a, rtol=1e-5, atol=1e-6)
    # Long series have no degrees of freedom for their intervals in their own engine.
    a, b = (prediction_errors(f) for f in (other, fit))
    assert_allclose(b, a, rtol=1e-5, atol=1e-6)


# -- limits --------------------------------------------------------------------------------------


def test_items_without_variance_leave_the_model_without_them():
    rng = np.random.default_rng(0)
    frame = trials(seed=5)
    # Items in an order of their own: they explain less than chance would.
    shuffled = frame.assign(item=rng.permutation(frame["item"].to_numpy()))
    subjects = {"residual": "ar1(trial | subject)"}
    plain = lmm("y ~ x + (1 | subject)", shuffled, **subjects)
    fit = lmm("y ~ x + (1 | subject) + (1 | item)", shuffled, **subjects)
    assert fit.varcorr["item"].iloc[0, 0] == 0.0
    assert fit.llf == pytest.approx(plain.llf, abs=1e-9)
    assert_allclose(fit.params, plain.params, rtol=1e-6)


def test_an_effect_of_each_row_beside_ar1_is_a_nugget():
    """ar1 plus white noise by row is arma11 with the same autocovariance."""
    frame = trials(seed=11, n_subjects=40, n_trials=12, missing=0.0)
    frame = frame.assign(row=[f"r{k:04d}" for k in range(len(frame))])
    nugget = lmm("y ~ x + (1 | row)", frame, residual="ar1(trial | subject)")
    arma = lmm("y ~ x", frame, residual="arma11(trial | subject)")
    assert nugget.llf == pytest.approx(arma.llf, abs=1e-6)
    assert_allclose(nugget.V("s03"), arma.V("s03"), rtol=1e-3)


def test_a_nugget_that_the_residual_holds_already_is_named():
    frame = trials(seed=5)
    with pytest.warns(mlm.SingularFitWarning, match="cannot be told apart"):
        fit = mlm.lmm("y ~ x + (1 | subject:trial)", frame, residual="toep(trial | subject)")
    plain = mlm.lmm("y ~ x", frame, residual="toep(trial | subject)")
    assert fit.llf == pytest.approx(plain.llf, abs=1e-8)


# -- batches, threads, storage -------------------------------------------------------------------


def test_a_batch_row_is_the_single_fit(frame):
    formula, arguments = GENERAL["items across ar1"]
    model = mlm.LMM(formula, frame, **arguments)
    Y = model.fit().simulate(3, seed=1)
    batch = model.fit_many(Y)
    for k in range(3):
        single = mlm.lmm(formula, frame.assign(y=Y[:, k]), **arguments)
        assert batch.llf[k] == single.llf
        assert (batch.params[k] == single.params.to_numpy()).all()


THREADS = """
import numpy as np
import mlmfast as mlm
from tests.general_models import trials
frame = trials(seed=2, n_subjects=40, n_trials=12, n_items=15)
for residual in ("ar1(trial | subject)", "us(session | subject:cond)"):
    data = frame if "ar1" in residual else frame.drop_duplicates(["subject", "cond", "session"])
    fit = mlm.lmm("y ~ x + (x | item)", data, residual=residual, ddf="kenward-roger")
    print(fit._source.model.core.size)
    for value in [fit.llf, *fit.params, *fit.bse, *fit.df, *np.ravel(fit.ranef["item"])]:
        print(float(value).hex())
"""


def test_the_number_of_threads_changes_no_bit():
    assert "(1, 4" in output_for_any_number_of_threads(THREADS)


def test_a_saved_fit_answers_as_before(frame):
    formula, arguments = GENERAL["items across ar1"]
    fit = mlm.lmm(formula, frame, **arguments)
    loaded = mlm.load(fit.to_json())
    assert_allclose(estimates(loaded), estimates(fit), rtol=0)
    assert loaded.summary()


def test_profile_and_bootstrap_work(frame):
    formula, arguments = GENERAL["items across ar1"]
    fit = mlm.lmm(formula, frame, **arguments)
    bounds = fit.conf_int(method="profile")
    assert (bounds["lower"] < bounds["upper"]).all()
    assert np.isfinite(numbers(fit)).all()
    assert len(fit.bootstrap(5, seed=1).estimates) == 5


# -- matrices and refusals -----------------------------------------------------------------------


def test_matrices_by_subject_and_by_item(frame):
    fit = mlm.lmm("y ~ x + (1 | item)", frame, residual="ar1(trial | subject)")
    assert len(fit.V("s03")) == (frame["subject"] == "s03").sum()
    assert len(fit.V("i3")) == (frame["item"] == "i3").sum()
    assert np.count_nonzero(fit.R("s03").to_numpy()) > len(fit.R("s03"))


def test_subjects_are_no_clusters_where_items_join_them(frame):
    fit = mlm.lmm("y ~ x + (1 | item)", frame, residual="ar1(trial | subject)")
    with pytest.raises(ModelError, match="correlates them"):
        fit.robust("CR0", cluster="subject")
    with pytest.raises(ModelError, match="crossed"):
        fit.information_criteria(n="clusters")


def test_a_model_too_large_says_how_large(frame, monkeypatch):
    design = mlm.LMM("y ~ x + (1 | item)", frame, residual="ar1(trial | subject)").design
    parts = dense_parts(design, (0,))
    assert parts.n_components == 1
    size = dense_size(design, (0,), parts.components)
    assert size.n_rows == len(frame)
    monkeypatch.setattr("mlmfast.reduction.engines.dense.LARGEST_WORK", 1e3)
    with pytest.raises(ModelError, match=rf"correlates {len(frame)} rows.*1e\+03 are done; leave"):
        dense_parts(design, (0,))


PEAK = """
import numpy as np
import mlmfast as mlm
from mlmfast.criterion.criterion import criterion_of
from mlmfast.reduction.engines.dense import dense_parts
from mlmfast.reduction.engines.sizes import dense_size
from mlmfast.reduction.reduce import reduce_design
from tests.general_models import trials

def status(key):
    line = next(line for line in open("/proc/self/status") if line.startswith(key))
    return 1024 * int(line.split()[1])

frame = trials(seed=2, n_subjects=120, n_trials=20, n_items=40, missing=0.0)
model = mlm.LMM("y ~ x + (1 | item)", frame, residual="ar1(trial | subject)")
parts = dense_parts(model.design, (0,))
theta = mlm.lmm("y ~ x + (1 | item)", trials(), residual="ar1(trial | subject)")._source.theta
criterion = criterion_of(reduce_design(model.design), "REML")
open("/proc/self/clear_refs", "w").write("5")
before = status("VmRSS")
criterion(theta, np.zeros(1, dtype=np.intp))
print(status("VmHWM") - before, dense_size(model.design, (0,), parts.components).memory)
"""


@pytest.mark.slow
@pytest.mark.skipif(not os.path.exists("/proc/self/clear_refs"), reason="needs Linux")
def test_an_evaluation_takes_the_memory_that_was_estimated():
    command = [sys.executable, "-W", "ignore", "-c", PEAK]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=300)
    used, estimated = map(float, done.stdout.split())
    assert 0.4 * estimated < used < 1.05 * estimated


def test_animals_are_a_model_of_this_engine():
    data, a = animals()
    fit = lmm("y ~ x + (1 | animal)", data, cov={"animal": a})
    assert fit.certificate.engine == "dense V, crossed"


@pytest.mark.parametrize("seed", [14, 20, 38])
def test_effects_inside_subjects_are_fitted_from_several_starts(seed):
    """Sessions or autocorrelation explain the same data: the better explanation is found."""
    rng = np.random.default_rng(seed)
    n_trials, n_subjects, n_items = (
        int(rng.integers(a, b)) for a, b in ((5, 13), (8, 25), (4, 12))
    )
    rho, missing = rng.uniform(-0.5, 0.95), rng.uniform(0, 0.3)
    data = trials(1000 + seed, n_subjects, n_trials, n_items, rho, missing)
    formula = "y ~ x + (1 | item) + (1 | subject:session)"
    fit = lmm(formula, data, residual="ar1(trial | subject)")
    for start in (-0.6, 0.1, 0.9):
        other = lmm(formula, data, residual="ar1(trial | subject)", start={"AR(1)": start})
        assert fit.llf > other.llf - 1e-6
