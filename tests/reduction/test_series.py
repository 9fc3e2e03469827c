"""Long series: against nlme, against the template over visits, against the dense covariance."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import mlmfast as mlm
from mlmfast.clusters import inner_blocks, shared_effects
from mlmfast.clusters import series_whitening as series_residuals
from mlmfast.criterion.criterion import criterion_of
from mlmfast.design.residual import read as residual_read
from mlmfast.design.residual.series import series_of
from mlmfast.errors import DataError, ModelError
from mlmfast.fitting.starts.moments import residual_start
from mlmfast.reduction.residual.series import correlations_at

from ..fits import lmm
from ..threads import output_for_any_number_of_threads

FOLDER = Path(__file__).parents[1] / "reference" / "series"
NLME = json.loads((FOLDER / "nlme.json").read_text())["fits"]
DATA = pd.read_csv(FOLDER / "series.csv")
STRUCTURES = ["ar1(day | subject)", "car1(when | subject)", "arma11(day | subject)"]
RANDOM = ["", " + (1 | subject)", " + (x | subject)", " + (1 | site)", " + (x || site/subject)"]


def with_groups(frame):
    number = frame["subject"].str[1:].astype(int)
    return frame.assign(
        site=[f"c{k % 3}" for k in number], arm=np.where(number % 2, "active", "placebo")
    )


@pytest.fixture(scope="module")
def frame():
    return with_groups(DATA)


def nlme_correlations(kind, parameters):
    """phi, theta of corARMA from SAS's rho and gamma; the correlation at distance 1 of corCAR1."""
    if kind == "ar1":
        return parameters[1:]
    if kind == "car1":
        return np.exp(-1.0 / parameters[1:])
    phi, gamma = parameters[1:]
    # gamma = (1 + phi theta) (phi + theta) / (1 + 2 phi theta + theta^2), the invertible root.
    roots = np.roots([phi - gamma, 1 + phi**2 - 2 * gamma * phi, phi - gamma]).real
    return np.array([phi, roots[np.abs(roots) < 1][0]])


@pytest.mark.parametrize("name", NLME)
def test_fits_agree_with_nlme(name, frame):
    kind, method = name.split()[0], name.split()[-1]
    time = "when" if kind == "car1" else "day"
    random = " + (1 | subject)" if "intercept" in name else ""
    fit = lmm(f"y ~ x + day{random}", frame, residual=f"{kind}({time} | subject)", method=method)
    expected = NLME[name]
    assert fit.converged
    assert fit.llf == pytest.approx(expected["llf"], abs=1e-8)
    assert fit.params.to_numpy() == pytest.approx(expected["beta"], rel=1e-5)
    if random or method == "REML":
        assert fit.bse.to_numpy() == pytest.approx(expected["se"], rel=2e-5)
    parameters = fit.residual_parameters.to_numpy()
    assert parameters[0] == pytest.approx(expected["sigma2"], rel=1e-5)
    assert nlme_correlations(kind, parameters) == pytest.approx(expected["cor"], rel=1e-5)


def few_visits(frame):
    return frame[frame["day"] < 25]


@pytest.mark.parametrize("method", ["REML", "ML"])
@pytest.mark.parametrize("random", RANDOM)
@pytest.mark.parametrize("residual", [*STRUCTURES, "sp_pow(when | subject)"])
def test_series_are_the_template_over_visits(residual, random, method, frame, monkeypatch):
    part = few_visits(frame)
    arguments = {"residual": residual, "method": method, "weights": "w"}
    fit = lmm(f"y ~ x + day{random}", part, **arguments)
    assert fit._needs_source("a test").design.residual.series is not None
    monkeypatch.setattr(residual_read, "is_series", lambda *_: False)
    template = lmm(f"y ~ x + day{random}", part, **arguments)
    assert template._needs_source("a test").design.residual.series is None
    assert fit.llf == pytest.approx(template.llf, rel=1e-10)
    assert fit.bse.to_numpy() == pytest.approx(template.bse.to_numpy(), rel=1e-7)
    assert fit.residual_parameters.to_numpy() == pytest.approx(
        template.residual_parameters.to_numpy(), rel=1e-6
    )


@pytest.mark.parametrize("residual", ["ar1(day | arm / subject)", "arma11(day | arm / subject)"])
def test_arms_have_parameters_of_their_own(residual, frame):
    fit = lmm("y ~ arm * day", frame, residual=residual, method="ML")
    apart = [
        lmm("y ~ day", part, residual=residual.replace("arm / ", ""), method="ML")
        for _, part in frame.groupby("arm")
    ]
    assert fit.llf == pytest.approx(sum(one.llf for one in apart), rel=1e-10)
    together = np.concatenate([one.residual_parameters.to_numpy() for one in apart])
    assert fit.residual_parameters.to_numpy() == pytest.approx(together, rel=1e-6)
    sd = fit.resid("raw") / fit.resid("pearson")
    variance = {arm: fit.residual_parameters[f"{arm}: Variance"] for arm in ("active", "placebo")}
    assert (sd**2).to_numpy() == pytest.approx([variance[arm] for arm in frame["arm"]])


def dense_deviance(fit, frame, x):
    """-2 restricted log-likelihood and standard errors from V, cluster by cluster."""
    outer = fit._record.groups[fit._record.levels[0]].columns[0]
    xx, xy, yy, logdet = np.zeros((2, 2)), np.zeros(2), 0.0, 0.0
    for label, part in frame.groupby(outer):
        v = fit.V(label).to_numpy()
        design, y = x[part.index], part["y"].to_numpy()
        solved = np.linalg.solve(v, np.column_stack([design, y]))
        xx, xy = xx + design.T @ solved[:, :2], xy + design.T @ solved[:, 2]
        yy, logdet = yy + y @ solved[:, 2], logdet + np.linalg.slogdet(v)[1]
    beta = np.linalg.solve(xx, xy)
    degrees = len(frame) - 2
    deviance = degrees * np.log(2 * np.pi) + logdet + np.linalg.slogdet(xx)[1] + yy - xy @ beta
    return deviance, beta, np.sqrt(np.diag(np.linalg.inv(xx)))


@pytest.mark.parametrize("weights", [None, "w"])
@pytest.mark.parametrize("random", RANDOM)
@pytest.mark.parametrize("residual", STRUCTURES)
def test_long_series_have_the_likelihood_of_the_dense_covariance(residual, random, weights, frame):
    fit = lmm(f"y ~ x{random}", frame, residual=residual, weights=weights)
    assert len(fit._record.residual.visits) == 0
    x = np.column_stack([np.ones(len(frame)), frame["x"]])
    deviance, beta, se = dense_deviance(fit, frame, x)
    assert fit.deviance == pytest.approx(deviance, rel=1e-11)
    assert fit.params.to_numpy() == pytest.approx(beta, rel=1e-8)
    assert fit.bse.to_numpy() == pytest.approx(se, rel=1e-9)


@pytest.mark.parametrize("random", [r for r in RANDOM if "(x |" not in r or "||" in r])
@pytest.mark.parametrize("residual", [*STRUCTURES, "arma11(day | arm / subject)"])
def test_derivatives_are_those_of_differences(residual, random, frame):
    if "arm" in residual.split("|")[1] and "site" in random:
        pytest.skip("arms are within subjects only")
    model = mlm.LMM(f"y ~ x{random}", frame, residual=residual, weights="w")
    criterion = criterion_of(model._reduced(None), "REML")
    fits = np.array([0])
    theta = residual_start(model._reduced(None), criterion, fits) + 0.05
    at = criterion(theta, fits)
    scale = np.abs(np.diag(at.hessian[0])).max()
    for k in range(criterion.n_theta):
        step = np.zeros_like(theta)
        step[0, k] = 1e-5
        up, down = criterion(theta + step, fits), criterion(theta - step, fits)
        slope = (up.value - down.value)[0] / 2e-5
        assert at.gradient[0, k] == pytest.approx(slope, abs=1e-6 * scale)
        bend = (up.value - 2 * at.value + down.value)[0] / 1e-10
        assert at.hessian[0, k, k] == pytest.approx(bend, abs=2e-3 * scale)


@pytest.mark.parametrize("name", ["ar1", "sp_exp", "arma11"])
def test_steps_have_the_covariance_of_the_structure(name):
    kind = mlm.covariance.STRUCTURES[name]
    times = np.array([0.0, 1.0, 3.0, 4.0, 9.0])
    lags = np.arange(10.0)
    structure = kind(10, lags) if name == "sp_exp" else kind(10)
    theta = np.random.default_rng(3).normal(size=(1, structure.n_theta))
    matrix = structure.matrix(theta)[0] / np.exp(2 * theta[0, 0])
    rows = times.astype(int)
    found = correlations_at(structure, theta, times)
    assert found == pytest.approx(matrix[np.ix_(rows, rows)], abs=1e-13)


@pytest.mark.parametrize("eta", [-12.0, -3.0, -1e-9, 0.0, 0.4, 14.0])
def test_correlations_next_to_one_keep_their_digits(eta):
    ar1 = mlm.covariance.STRUCTURES["ar1"](2)
    gaps = np.array([1.0, 2.0, 3.0, 40.0])
    steps = ar1.step_correlations(np.array([[eta]]), gaps)
    # 1 - rho = 2 / (1 + exp(2 eta)); powers by their binomial in 1 - |rho|.
    small = 2.0 / (1.0 + np.exp(2.0 * abs(eta)))
    below = -np.expm1(gaps * np.log1p(-small)) if small < 1 else np.ones(4)
    size = np.where(steps.f.value[0] < 0, steps.above[0], steps.below[0])
    assert size == pytest.approx(below, rel=1e-12)
    ahead = ar1.step_correlations(np.array([[eta + 1e-6]]), gaps).f
    behind = ar1.step_correlations(np.array([[eta - 1e-6]]), gaps).f
    slope = (ahead.value - behind.value)[0] / 2e-6
    assert steps.f.first[0, :, 0] == pytest.approx(slope, abs=1e-8)
    bend = (ahead.first - behind.first)[0, :, 0] / 2e-6
    assert steps.f.second[0, :, 0, 0] == pytest.approx(bend, abs=1e-8)


@pytest.mark.parametrize("sign", [1.0, -1.0])
def test_a_correlation_near_its_limit_is_found(sign):
    rng = np.random.default_rng(8)
    noise = rng.normal(size=(4, 400))
    e = noise[:, :1] * 30
    for i in range(1, 400):
        e = np.column_stack([e, sign * 0.9995 * e[:, -1] + noise[:, i]])
    frame = pd.DataFrame(
        {"y": e.ravel(), "t": np.tile(np.arange(400), 4), "g": np.repeat(range(4), 400)}
    )
    fit = lmm("y ~ 1", frame, residual="ar1(t | g)")
    assert fit.converged
    assert sign * fit.residual_parameters["AR(1)"] > 0.99
    x = np.column_stack([np.ones(1600), np.zeros(1600)])
    rho, variance = fit.residual_parameters["AR(1)"], fit.residual_parameters["Variance"]
    white = np.where(frame["t"] > 0, frame["y"] - rho * frame["y"].shift(1), 0.0)
    one = np.where(frame["t"] > 0, 1.0 - rho, 0.0)
    room = variance * (1 - rho) * (1 + rho)
    first = frame["t"] == 0
    white[first], one[first] = frame["y"][first], 1.0
    d = np.where(first, variance, room)
    xx, xy = (one**2 / d).sum(), (one * white / d).sum()
    deviance = (
        1599 * np.log(2 * np.pi) + np.log(d).sum() + np.log(xx) + (white**2 / d).sum() - xy**2 / xx
    )
    assert fit.deviance == pytest.approx(deviance, rel=1e-10)
    assert x.shape == (1600, 2)


def test_points_almost_at_one_place_do_no_harm(frame):
    near = frame[frame["subject"] == "s1"].sort_values("when").iloc[:20].copy()
    near["when"] += 1e-9
    near["y"] += 1e-6
    both = pd.concat([frame, near])
    fit = lmm("y ~ x", both, residual="car1(when | subject)")
    assert np.isfinite(fit.llf)
    assert fit.residual_parameters["Variance"] > 0


def test_a_time_grid_with_rounding_has_one_gap():
    codes = np.zeros(5000, dtype=np.int32)
    assert len(series_of(np.arange(5000) * 0.1, codes, codes, 1).gaps) == 1
    irregular = np.cumsum(np.random.default_rng(1).uniform(0.5, 1.5, 5000))
    assert len(series_of(irregular, codes, codes, 1).gaps) == 4999


def test_numbers_count_in_units_of_their_greatest_common_step(frame):
    weekly = frame.assign(week=frame["day"] * 7)
    by_week = lmm("y ~ x", weekly, residual="ar1(week | subject)")
    by_distance = lmm("y ~ x", weekly, residual="sp_pow(week | subject)")
    assert by_week.llf == pytest.approx(by_distance.llf, rel=1e-10)
    # One step is seven days.
    assert by_week.residual_parameters["AR(1)"] == pytest.approx(
        by_distance.residual_parameters.iloc[1] ** 7, rel=1e-6
    )
    by_day = lmm("y ~ x", weekly, residual="ar1(day | subject)")
    assert by_day.llf == pytest.approx(by_week.llf, rel=1e-10)


@pytest.mark.parametrize("residual", STRUCTURES)
def test_the_order_and_type_of_rows_do_not_matter(residual, frame):
    fit = lmm("y ~ x + (1 | subject)", frame, residual=residual)
    moved = frame.sample(frac=1.0, random_state=1).assign(day=lambda f: f["day"].astype(float))
    other = lmm("y ~ x + (1 | subject)", moved, residual=residual)
    assert other.llf == pytest.approx(fit.llf, rel=1e-12)
    assert other.resid("scaled").sort_index().to_numpy() == pytest.approx(
        fit.resid("scaled").sort_index().to_numpy(), abs=10.0
    )


@pytest.mark.parametrize("residual", STRUCTURES)
@pytest.mark.parametrize("random", ["", " + (x | subject)", " + (x || site)"])
def test_scaled_residuals_along_series_are_those_of_cholesky(residual, random, frame, monkeypatch):
    ordered = frame.sort_values(["site", "subject", "day"]).reset_index(drop=True)
    fit = lmm(f"y ~ x{random}", ordered, residual=residual, weights="w")
    dense = fit.resid("scaled")
    monkeypatch.setattr(series_residuals, "_SMALL", 0)
    along = fit.resid("scaled")
    assert along.to_numpy() == pytest.approx(dense.to_numpy(), abs=1e-9)
    assert not (along.to_numpy() == dense.to_numpy()).all()


@pytest.mark.parametrize("residual", STRUCTURES)
def test_draws_have_the_covariance_of_the_model(residual, frame):
    part = frame[frame["subject"].isin(["s1", "s2"])].reset_index(drop=True)
    fit = lmm("y ~ x", part, residual=residual)
    draws = fit.simulate(4000, seed=3) - fit.fittedvalues.to_numpy()[:, None]
    assert (fit.simulate(2, seed=3) == fit.simulate(4, seed=3)[:, :2]).all()
    rows = part.index[part["subject"] == "s1"][:12]
    expected = fit.R("s1").to_numpy()[:12, :12]
    found = np.cov(draws[rows])
    noise = np.sqrt((expected**2 + np.outer(np.diag(expected), np.diag(expected))) / 4000)
    assert (np.abs(found - expected) < 5 * noise).all()


@pytest.mark.parametrize("residual", STRUCTURES)
def test_a_row_of_a_batch_is_the_single_fit(residual, frame):
    model = mlm.LMM("y ~ x + (1 | subject)", frame, residual=residual)
    y = model.fit().simulate(3, seed=2)
    batch = model.fit_many(y)
    for k in range(3):
        single = model.fit_many(y[:, k : k + 1])
        assert single.llf[0] == batch.llf[k]
        assert (single.params[0] == batch.params[k]).all()


THREADS = """
import numpy as np, pandas as pd, mlmfast as mlm
rng = np.random.default_rng(1)
d = pd.DataFrame({"y": rng.normal(size=40000), "x": rng.normal(size=40000),
                  "t": np.tile(np.cumsum(rng.uniform(1, 2, 20)), 2000)})
d["g"] = np.repeat(np.arange(2000), 20)
fit = mlm.lmm("y ~ x + (x | g)", d, residual="car1(t | g)")
print(fit.llf.hex(), fit.bse.iloc[1].hex())
"""


def test_the_number_of_threads_does_not_matter():
    assert output_for_any_number_of_threads(THREADS)


@pytest.mark.parametrize("residual", ["ar1(t | g)", "car1(u | g)", "arma11(t | g)"])
def test_a_series_of_100_000_rows_is_fitted_and_answers(residual):
    rng = np.random.default_rng(5)
    n = 100_000
    e = np.zeros(n)
    draws = rng.normal(size=n)
    for i in range(1, n):
        e[i] = 0.7 * e[i - 1] + draws[i]
    frame = pd.DataFrame(
        {
            "x": rng.normal(size=n),
            "t": np.arange(n),
            "u": np.arange(n) + rng.uniform(0, 0.1, n),
            "g": np.arange(n) // (n // 2),
        }
    )
    frame["b"] = np.sin(frame["t"] / 5000)
    frame["y"] = 1 + 0.5 * frame["x"] + frame["b"] * np.where(frame["g"], 2.0, -1.0) + e
    fit = lmm("y ~ x + (0 + b | g)", frame, residual=residual)
    assert fit.converged
    assert fit.params["x"] == pytest.approx(0.5, abs=0.02)
    assert fit.residual_parameters.iloc[0] == pytest.approx(1 / 0.51, rel=0.05)
    scaled = fit.resid("scaled")
    assert scaled.std() == pytest.approx(1.0, abs=1e-3)
    assert np.corrcoef(scaled[1:50_000], scaled[:49_999])[0, 1] == pytest.approx(0.0, abs=0.03)
    again = lmm(
        "y ~ x + (0 + b | g)", frame.assign(y=fit.simulate(1, seed=4)[:, 0]), residual=residual
    )
    assert again.residual_parameters.to_numpy() == pytest.approx(
        fit.residual_parameters.to_numpy(), rel=0.1
    )
    assert fit.predict(frame.head(3)).shape == (3,)
    assert "subjects" in str(fit.summary()).replace("\N{NO-BREAK SPACE}", " ")
    with pytest.raises(ModelError, match="50,000 rows of one cluster"):
        fit.R(0)
    with pytest.raises(ModelError, match="too many points or times for one matrix"):
        _ = fit.residual_cov


def test_a_stored_fit_of_series_is_read_back(frame, tmp_path):
    fit = lmm("y ~ x", frame, residual="ar1(day | subject)")
    fit.to_json(tmp_path / "fit.json")
    again = mlm.load(tmp_path / "fit.json")
    assert again.llf == fit.llf
    assert again.residual_parameters.equals(fit.residual_parameters)


def test_many_complete_subjects_under_cs_are_a_random_intercept():
    """Equal columns leave rounding errors of errors, whose squares underflow."""
    rng = np.random.default_rng(1)
    n, k = 2000, 20
    frame = pd.DataFrame(
        {
            "x": rng.normal(size=n * k),
            "t": np.tile(np.arange(k), n),
            "g": np.repeat(np.arange(n), k),
            "y": np.repeat(rng.normal(size=n), k) + rng.normal(size=n * k),
        }
    )
    by_template = lmm("y ~ x + t", frame, residual="cs(t | g)")
    assert by_template.llf == pytest.approx(lmm("y ~ x + t + (1 | g)", frame).llf, rel=1e-12)


REFUSED = {
    "a time met twice": ("ar1(twice | subject)", DataError, r"'s1' has several rows at twice"),
    "a point met twice": ("car1(twice | subject)", DataError, r"'s1' has several rows at twice"),
    "no numbers": ("car1(subject | site)", DataError, r"car1 needs numbers.*'subject' holds none"),
    "one row a subject": ("ar1(day | row)", ModelError, r"no subject with more than one row"),
    "a subject in two arms": ("ar1(day | row / subject)", DataError, r"several levels of 'row'"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_series_that_cannot_be_fitted_are_refused(case, frame):
    residual, error, message = REFUSED[case]
    changed = frame.assign(twice=frame["day"] // 2, row=[f"r{k}" for k in range(len(frame))])
    with pytest.raises(error, match=message):
        mlm.lmm("y ~ x", changed, residual=residual)


def test_visits_of_a_template_that_memory_does_not_hold_are_refused(frame, monkeypatch):
    monkeypatch.setattr("mlmfast.design.residual.checks.memory_left", lambda: 2e9)
    with pytest.raises(ModelError, match=r"121 distinct visits.* 3\.5 GB \(1\.9 are left\)"):
        mlm.lmm("y ~ x", frame, residual="toeph(day | subject)")


@pytest.mark.parametrize("residual", STRUCTURES)
def test_series_too_long_for_a_matrix_are_whitened_by_subject_and_time(
    residual, frame, monkeypatch
):
    """Random effects inside long series: V of the rows by subject and time, factored whole."""
    mixed = frame.sample(frac=1.0, random_state=1).reset_index(drop=True)
    fit = lmm("y ~ x + (1 | site) + (1 | subject)", mixed, residual=residual)
    monkeypatch.setattr(inner_blocks, "LARGEST_CLUSTER", 20)
    monkeypatch.setattr(shared_effects, "LARGEST_DENSE", 5)
    time = "when" if residual.startswith("car1") else "day"
    expected, found = np.full(len(mixed), np.nan), fit.resid("scaled").to_numpy()
    for site in sorted(set(mixed["site"])):
        rows = np.lexsort((mixed[time], mixed["subject"]))
        rows = rows[(mixed["site"] == site).to_numpy()[rows]]
        v = fit.V(site).loc[rows, rows].to_numpy()
        e = fit.resid("marginal").to_numpy()[rows]
        expected[rows] = np.linalg.solve(np.linalg.cholesky(v), e)
    np.testing.assert_allclose(found, expected, rtol=1e-8, atol=1e-9)


@pytest.mark.parametrize("residual", STRUCTURES[:2])
def test_influence_in_series_too_long_for_a_matrix(residual, frame, monkeypatch):
    fit = lmm("y ~ x + (x | site) + (1 | subject)", frame, residual=residual)
    whole = fit.influence("subject")
    monkeypatch.setattr(inner_blocks, "LARGEST_CLUSTER", 20)
    monkeypatch.setattr(inner_blocks, "_work_of", lambda way: -len(way.shared))
    monkeypatch.setattr(shared_effects, "LARGEST_DENSE", 5)
    walked = fit.influence("subject")
    for name in ("clusters", "observations", "cluster_dfbetas", "observation_dfbetas"):
        expected = getattr(whole, name)
        np.testing.assert_allclose(getattr(walked, name), expected, rtol=1e-7, atol=1e-10)


def test_rows_of_the_inverse_that_a_long_series_lacks_are_refused(frame, monkeypatch):
    fit = lmm("y ~ x + (1 | site)", frame, residual="arma11(day | subject)")
    monkeypatch.setattr(inner_blocks, "LARGEST_CLUSTER", 20)
    monkeypatch.setattr(inner_blocks, "_work_of", lambda way: -len(way.shared))
    monkeypatch.setattr(shared_effects, "LARGEST_DENSE", 5)
    with pytest.raises(ModelError, match=r"without the Markov property.*resid\('scaled'\)"):
        fit.influence()
