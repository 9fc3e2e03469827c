"""Residual covariances within subjects: against the dense oracle, and against each other."""

import functools
import pickle

import numpy as np
import pandas as pd
import pytest

import mlmfast as mlm
from mlmfast.covariance import STRUCTURES

from .. import dense
from ..fits import estimates, lmm
from ..residual_models import FIXED, KEYWORDS, residual_of, trial

# Structure -> random part, and the outermost grouping factor.
MODELS = {
    "us": ("us(visit | subject)", "", "subject"),
    "us by arm": ("us(visit | arm / subject)", "", "subject"),
    "ar1h by arm": ("ar1h(visit | arm / subject)", "", "subject"),
    "adh": ("adh(visit | subject)", "", "subject"),
    "us in sites": ("us(visit | subject)", "(1 | site)", "site"),
    "csh with slopes of sites": ("csh(visit | subject)", "(x | site)", "site"),
    "ar1 and intercepts": ("ar1(visit | subject)", "(1 | subject)", "subject"),
    "ar1 and nested intercepts": ("ar1(visit | subject)", "(1 | site/subject)", "site"),
    "sp_exp in sites": ("sp_exp(time | subject)", "(1 | site)", "site"),
    "diag and intercepts": ("diag(visit | subject)", "(1 | subject)", "subject"),
    "subjects of two columns": ("toeph(visit | site:subject)", "(1 | site)", "site"),
}
NO_RANDOM = [name for name, (_, random, _) in MODELS.items() if not random]
RANDOM = [name for name in MODELS if name not in NO_RANDOM]


@pytest.fixture(scope="module")
def frame():
    return trial(subject_sd=0.8)


@functools.cache
def plain_fit(keyword, random=""):
    """The model of a structure, fitted to `frame` as it is."""
    return lmm(FIXED + random, trial(subject_sd=0.8), residual=residual_of(keyword))


def fit_model(name, frame, **arguments):
    residual, random, _ = MODELS[name]
    return lmm(FIXED + (f" + {random}" if random else ""), frame, residual=residual, **arguments)


def clusters_of(name, frame):
    """The rows of each cluster, by label."""
    return {label: part.index for label, part in frame.groupby(MODELS[name][2])}


def assembled(matrix, name, frame):
    """The n x n matrix whose blocks `matrix(cluster)` gives, 0 elsewhere."""
    out = np.zeros((len(frame), len(frame)))
    for label, rows in clusters_of(name, frame).items():
        block = matrix(label)
        assert list(block.index) == list(rows)
        out[np.ix_(rows, rows)] = block.to_numpy()
    return out


def expected_residual_covariance(fit, frame, rows, weighted):
    """residual_cov of the visits of each subject's rows, over the roots of their weights."""
    part = frame.loc[rows]
    out = np.zeros((len(rows), len(rows)))
    for _, own in part.reset_index(drop=True).groupby("subject"):
        cov = fit.residual_cov
        cov = cov[own["arm"].iloc[0]] if isinstance(cov, dict) else cov
        at = [label for label in cov.index if label in set(own["visit"])]
        labels = list(own["visit"] if at else own["time"].map("{:g}".format))
        out[np.ix_(own.index, own.index)] = cov.loc[labels, labels].to_numpy()
    sd = np.sqrt(part["w"].to_numpy()) if weighted else np.ones(len(rows))
    return out / np.outer(sd, sd)


@pytest.mark.parametrize("weights", [None, "w"])
@pytest.mark.parametrize("method", ["ML", "REML"])
@pytest.mark.parametrize("name", MODELS)
def test_estimates_are_those_of_the_dense_covariance(name, method, weights, frame):
    fit = fit_model(name, frame, method=method, weights=weights)
    V, X, y = assembled(fit.V, name, frame), fit.X().to_numpy(), frame["y"].to_numpy()
    beta, vcov = dense.gls(y, X, V)
    assert fit.llf == pytest.approx(dense.log_likelihood(y, X, V, method), rel=1e-11)
    np.testing.assert_allclose(fit.params, beta, rtol=1e-9)
    np.testing.assert_allclose(fit.cov_params(), vcov, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("weights", [None, "w"])
@pytest.mark.parametrize("name", MODELS)
def test_r_is_the_residual_covariance_of_the_visits_met(name, weights, frame):
    fit = fit_model(name, frame, weights=weights)
    for label, rows in clusters_of(name, frame).items():
        expected = expected_residual_covariance(fit, frame, rows, weights is not None)
        np.testing.assert_allclose(fit.R(label), expected, rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize("name", RANDOM)
def test_v_is_zgz_plus_r(name, frame):
    fit = fit_model(name, frame, weights="w")
    for label in list(clusters_of(name, frame))[:4]:
        total = fit.R(label).to_numpy()
        Z = fit.Z(label)
        for column in Z:
            effect, level = column.split(" | ")
            for other in Z:
                other_effect, other_level = other.split(" | ")
                if level == other_level:
                    group = next(g for g, levels in fit.ranef.items() if level in levels.index)
                    G = fit.varcorr[group].loc[effect, other_effect]
                    total = total + G * np.outer(Z[column], Z[other])
        np.testing.assert_allclose(fit.V(label), total, rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize("name", NO_RANDOM)
def test_v_is_r_without_random_effects(name, frame):
    fit = fit_model(name, frame, weights="w")
    np.testing.assert_array_equal(fit.V(), fit.R())
    assert not fit.varcorr


@pytest.mark.parametrize("name", RANDOM)
def test_random_effects_are_the_dense_conditional_means(name, frame):
    fit = fit_model(name, frame, weights="w")
    V, X, y = assembled(fit.V, name, frame), fit.X().to_numpy(), frame["y"].to_numpy()
    for group, effects in fit.ranef.items():
        labels = frame[group.split(":")].agg(":".join, axis=1).to_numpy()
        columns = [np.ones(len(frame)) if c == "(Intercept)" else frame[c] for c in effects]
        codes = np.unique(labels, return_inverse=True)[1]
        term = dense.Term(np.column_stack(columns), fit.varcorr[group].to_numpy(), codes)
        sd = np.sqrt(np.diag(term.G))
        ours = effects.loc[np.unique(labels)].to_numpy()
        np.testing.assert_allclose(ours / sd, dense.blups(term, y, X, V) / sd, atol=1e-9)
        for level, dense_cov in zip(
            np.unique(labels), dense.conditional_covariances(term, V), strict=True
        ):
            value = fit.ranef_cov[group][level].to_numpy() / np.outer(sd, sd)
            np.testing.assert_allclose(value, dense_cov / np.outer(sd, sd), atol=1e-9)


# -- structures beside each other ----------------------------------------------------------------


@pytest.fixture(scope="module", params=["ML", "REML"])
def by_structure(request, frame):
    """Fits of every structure, and of the default, by keyword."""
    fits = {
        keyword: lmm(FIXED, frame, residual=residual_of(keyword), method=request.param)
        for keyword in KEYWORDS
    }
    fits["us by arm"] = lmm(
        FIXED, frame, residual=residual_of("us", "arm / subject"), method=request.param
    )
    return fits | {None: lmm(FIXED, frame, method=request.param)}


WIDER_AND_NARROWER = [
    ("us by arm", "us"),
    ("us", "toeph"),
    ("us", "csh"),
    ("us", "adh"),
    ("us", "diag"),
    ("toeph", "toep"),
    ("toeph", "ar1h"),
    ("toeph", "csh"),
    ("adh", "ar1h"),
    ("adh", "ad"),
    ("ad", "ar1"),
    ("ar1h", "ar1"),
    ("csh", "cs"),
    ("toep", "ar1"),
    ("toep", "cs"),
    ("diag", "homdiag"),
    ("ar1", "homdiag"),
    ("cs", "homdiag"),
    ("sp_exp", "homdiag"),
    ("sp_gau", "homdiag"),
]


@pytest.mark.parametrize(("wider", "narrower"), WIDER_AND_NARROWER)
def test_a_wider_structure_fits_at_least_as_well(by_structure, wider, narrower):
    assert by_structure[wider].llf >= by_structure[narrower].llf - 1e-8


@pytest.mark.parametrize("keyword", KEYWORDS)
def test_parameters_are_counted(by_structure, keyword):
    fit = by_structure[keyword]
    n_parameters = len(fit.residual_parameters)
    aic = fit.information_criteria(count="covariance")["AIC"]
    assert aic == pytest.approx(fit.deviance + 2 * n_parameters, rel=1e-12)
    assert fit.aic == pytest.approx(fit.deviance + 2 * (n_parameters + fit.rank), rel=1e-12)


@pytest.mark.parametrize("keyword", KEYWORDS)
def test_sigma_is_that_of_homogeneous_structures(by_structure, keyword):
    fit = by_structure[keyword]
    variances = np.diag(fit.residual_cov)
    if np.ptp(variances) > 1e-6:
        assert (fit.sigma, fit.scale) == (None, None)
    else:
        np.testing.assert_allclose(variances, fit.sigma**2, rtol=1e-12)


def assert_same_fit(one, other, rtol=1e-6):
    assert one.llf == pytest.approx(other.llf, abs=1e-8)
    np.testing.assert_allclose(one.params, other.params, rtol=rtol)
    np.testing.assert_allclose(one.cov_params(), other.cov_params(), rtol=rtol, atol=1e-9)


def test_equal_independent_residuals_are_the_default(by_structure):
    fit, default = by_structure["homdiag"], by_structure[None]
    assert_same_fit(fit, default)
    assert fit.sigma == pytest.approx(default.sigma, rel=1e-7)
    assert default.residual_cov is None


def test_positive_correlation_by_lag_is_that_by_distance(by_structure):
    for keyword in ("sp_exp", "car1"):
        assert_same_fit(by_structure["ar1"], by_structure[keyword])


@pytest.mark.parametrize("random", ["", " + (1 | site)"])
@pytest.mark.parametrize("method", ["ML", "REML"])
def test_one_level_of_variances_is_the_default(frame, random, method):
    one = frame.assign(all="one")
    fit = lmm(FIXED + random, one, residual="diag(all | subject)", method=method)
    default = lmm(FIXED + random, frame, method=method)
    assert_same_fit(fit, default)
    assert fit.sigma == pytest.approx(default.sigma, rel=1e-6)


@pytest.mark.parametrize("weights", [None, "w"])
@pytest.mark.parametrize("method", ["ML", "REML"])
def test_compound_symmetry_is_a_random_intercept(frame, method, weights):
    fit = lmm(FIXED, frame, residual="cs(visit | subject)", method=method, weights=weights)
    if weights is None:
        other = lmm(FIXED + " + (1 | subject)", frame, method=method)
        between = other.varcorr["subject"].iloc[0, 0]
        assert_same_fit(fit, other)
        assert fit.residual_cov.iloc[0, 1] == pytest.approx(between, rel=1e-6)
        assert fit.scale == pytest.approx(between + other.scale, rel=1e-6)
    # Weights divide the whole residual covariance, and only the residual of the intercept model.
    else:
        with_intercept = lmm(FIXED + " + (1 | subject)", frame, method=method, weights=weights)
        assert abs(fit.llf - with_intercept.llf) > 1e-3


def test_with_two_visits_all_structures_of_a_kind_are_one(frame):
    two = frame[frame["visit"].isin(["v1", "v2"])]
    for same in (["us", "csh", "ar1h", "toeph", "adh"], ["cs", "ar1", "toep", "ad"]):
        first, *others = [lmm(FIXED, two, residual=residual_of(keyword)) for keyword in same]
        for other in others:
            assert_same_fit(first, other)
            np.testing.assert_allclose(other.residual_cov, first.residual_cov, rtol=1e-5)


def test_arms_with_parameters_of_their_own_are_fits_of_their_own(frame):
    formula = "y ~ arm * (x + visit)"
    both = lmm(formula, frame, residual="ar1h(visit | arm / subject)", method="ML")
    total = 0.0
    for arm, part in frame.groupby("arm"):
        fit = lmm("y ~ x + visit", part, residual="ar1h(visit | subject)", method="ML")
        np.testing.assert_allclose(both.residual_cov[arm], fit.residual_cov, rtol=1e-5)
        total += fit.llf
    assert both.llf == pytest.approx(total, abs=1e-8)


# -- invariance ----------------------------------------------------------------------------------


@pytest.mark.parametrize("keyword", KEYWORDS)
@pytest.mark.parametrize("random", ["", " + (1 | site)"])
def test_the_order_of_rows_does_not_matter(keyword, random, frame):
    fit = plain_fit(keyword, random)
    turned = lmm(FIXED + random, frame.iloc[::-1], residual=residual_of(keyword))
    assert_same_fit(turned, fit)
    np.testing.assert_allclose(turned.residual_cov, fit.residual_cov, rtol=1e-5, atol=1e-8)


@pytest.mark.parametrize("keyword", ["us", "cs", "csh", "diag", "homdiag"])
def test_the_order_of_visits_does_not_matter(keyword, frame):
    new = {"v1": "d", "v2": "b", "v3": "a", "v4": "c"}
    moved = frame.assign(again=frame["visit"].map(new))
    fit = lmm(FIXED, moved, residual=f"{keyword}(visit | subject)")
    relabelled = lmm(FIXED, moved, residual=f"{keyword}(again | subject)")
    assert_same_fit(relabelled, fit)
    labels = [new[label] for label in fit.residual_cov.index]
    np.testing.assert_allclose(
        relabelled.residual_cov.loc[labels, labels], fit.residual_cov, rtol=1e-5, atol=1e-8
    )


@pytest.mark.parametrize("keyword", KEYWORDS)
def test_the_names_of_subjects_do_not_matter(keyword, frame):
    renamed = frame.assign(subject=frame["subject"].map(lambda s: s[::-1] + "x"))
    assert_same_fit(lmm(FIXED, renamed, residual=residual_of(keyword)), plain_fit(keyword))


@pytest.mark.parametrize("random", ["", " + (1 | site)"])
@pytest.mark.parametrize(("shift", "scale"), [(1e4, 1.0), (0.0, 1e-6), (-3.0, 1e5)])
@pytest.mark.parametrize("keyword", KEYWORDS)
def test_estimates_follow_shift_and_scale_of_the_response(keyword, shift, scale, random, frame):
    fit = plain_fit(keyword, random)
    moved = frame.assign(y=shift + scale * frame["y"])
    other = lmm(FIXED + random, moved, residual=residual_of(keyword))
    expected = scale * fit.params
    expected["(Intercept)"] += shift
    np.testing.assert_allclose(other.params, expected, rtol=1e-6, atol=1e-7 * scale)
    np.testing.assert_allclose(other.bse, scale * fit.bse, rtol=1e-6)
    unit = scale**2 * np.sqrt(np.outer(np.diag(fit.residual_cov), np.diag(fit.residual_cov)))
    error = other.residual_cov.to_numpy() - scale**2 * fit.residual_cov.to_numpy()
    assert np.abs(error / unit).max() < 1e-5
    n_contrasts = fit.nobs - fit.rank
    assert other.llf == pytest.approx(fit.llf - n_contrasts * np.log(scale), rel=1e-8)


# -- batches and simulation ----------------------------------------------------------------------


@pytest.mark.parametrize("method", ["ML", "REML"])
@pytest.mark.parametrize("name", MODELS)
def test_a_row_of_a_batch_is_the_single_fit(name, method, frame):
    residual, random, _ = MODELS[name]
    formula = FIXED + (f" + {random}" if random else "")
    rng = np.random.default_rng(3)
    Y = frame["y"].to_numpy()[:, None] + rng.normal(0, [[0.0, 0.3, 0.6]], (len(frame), 3))
    batch = mlm.LMM(formula, frame, residual=residual, weights="w").fit_many(Y, method)
    assert len(batch) == 3
    assert batch.method == method
    for k in (0, 2):
        data = frame.assign(y=Y[:, k])
        fit = lmm(formula, data, residual=residual, weights="w", method=method)
        assert list(batch.varcorr) == list(fit.varcorr)
        np.testing.assert_array_equal(batch.params[k], fit.params)
        np.testing.assert_array_equal(batch.bse[k], fit.bse)
        np.testing.assert_array_equal(batch.cov_params[k], fit.cov_params())
        assert batch.llf[k] == fit.llf
        assert batch.converged[k] == fit.converged
        assert batch.singular[k] == fit.singular
        assert batch.newton_decrement[k] == fit.certificate.newton_decrement
        assert batch.n_evaluations[k] == fit.certificate.n_evaluations
        np.testing.assert_equal(batch.sigma[k], np.nan if fit.sigma is None else fit.sigma)
        for group, G in fit.varcorr.items():
            np.testing.assert_array_equal(batch.varcorr[group][k], G)


@pytest.mark.parametrize("name", MODELS)
def test_simulated_responses_have_the_covariance_of_the_model(name, frame):
    fit, n = fit_model(name, frame, weights="w"), 4000
    draws = fit.simulate(n, seed=8)
    V = fit.V().to_numpy()
    noise = draws - (fit.X().to_numpy() @ fit.params.to_numpy())[:, None]
    variance = np.diag(V)
    standard_error = np.sqrt((V**2 + np.outer(variance, variance)) / n)
    assert np.abs((noise @ noise.T / n - V) / standard_error).max() < 5.5
    assert np.abs(noise.mean(axis=1) / np.sqrt(variance / n)).max() < 5.0


@pytest.mark.parametrize("name", ["us", "ar1h by arm", "us in sites"])
def test_fits_of_simulated_responses_are_centred_on_the_model(name, frame):
    residual, random, _ = MODELS[name]
    formula = FIXED + (f" + {random}" if random else "")
    model = mlm.LMM(formula, frame, residual=residual)
    fit = model.fit("ML")
    batch = model.fit_many(fit.simulate(200, seed=2), "ML")
    assert batch.converged.all()
    z = (batch.params - fit.params.to_numpy()) / fit.bse.to_numpy()
    assert np.abs(z.mean(axis=0)).max() < 4 / np.sqrt(200)
    assert np.abs(z.std(axis=0) - 1).max() < 0.25


# -- residuals -----------------------------------------------------------------------------------


@pytest.mark.parametrize("name", MODELS)
def test_scaled_residuals_are_whitened_by_v(name, frame):
    fit = fit_model(name, frame, weights="w")
    marginal, scaled = fit.resid("marginal"), fit.resid("scaled")
    np.testing.assert_allclose(marginal, frame["y"] - fit.X() @ fit.params, rtol=1e-9, atol=1e-12)
    for label, rows in clusters_of(name, frame).items():
        L = np.linalg.cholesky(fit.V(label).to_numpy())
        expected = np.linalg.solve(L, marginal[rows].to_numpy())
        np.testing.assert_allclose(scaled[rows], expected, rtol=1e-9, atol=1e-11)


@pytest.mark.parametrize("name", MODELS)
def test_pearson_residuals_are_over_the_sd_of_the_visit(name, frame):
    fit = fit_model(name, frame, weights="w")
    sd = np.sqrt(np.diag(assembled(fit.R, name, frame)))
    np.testing.assert_allclose(fit.resid("pearson"), fit.resid() / sd, rtol=1e-12)


@pytest.mark.parametrize("keyword", ["us", "ar1h", "toeph"])
def test_scaled_residuals_of_a_true_model_are_white(keyword):
    frame = trial(seed=9, n_subjects=1500, site_sd=0.0, missing=0.0)
    frame = frame.sort_values(["subject", "visit"], ignore_index=True)
    fit = lmm(FIXED, frame, residual=residual_of(keyword), weights="w")
    by_subject = fit.resid("scaled").to_numpy().reshape(1500, 4)
    error = by_subject.T @ by_subject / 1500 - np.eye(4)
    assert np.abs(error).max() < 4 * np.sqrt(2 / 1500)


def test_scaled_residuals_of_a_saturated_covariance_are_exactly_white():
    frame = trial(seed=9, n_subjects=60, missing=0.0)
    frame = frame.sort_values(["subject", "visit"], ignore_index=True)
    fit = lmm("y ~ x + visit", frame, residual="us(visit | subject)", method="ML")
    by_subject = fit.resid("scaled").to_numpy().reshape(60, 4)
    np.testing.assert_allclose(by_subject.T @ by_subject / 60, np.eye(4), atol=1e-6)


# -- storage and reports -------------------------------------------------------------------------


def by_json(fit):
    return mlm.load(fit.to_json())


def by_pickle(fit):
    return pickle.loads(pickle.dumps(fit))


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize(
    "copy", [lambda f: mlm.load(f.to_json()), lambda f: pickle.loads(pickle.dumps(f))]
)
def test_a_stored_fit_keeps_the_residual_covariance(name, copy, frame):
    fit = fit_model(name, frame, weights="w")
    loaded = copy(fit)
    np.testing.assert_array_equal(known(estimates(loaded)), known(estimates(fit)))
    assert loaded.to_json() == fit.to_json()
    pd.testing.assert_series_equal(loaded.residual_parameters, fit.residual_parameters)
    if isinstance(fit.residual_cov, dict):
        assert list(loaded.residual_cov) == list(fit.residual_cov) == sorted(set(frame["arm"]))
        for arm, cov in fit.residual_cov.items():
            pd.testing.assert_frame_equal(loaded.residual_cov[arm], cov)
    else:
        pd.testing.assert_frame_equal(loaded.residual_cov, fit.residual_cov)
    new = frame.head(7)
    pd.testing.assert_series_equal(loaded.predict(new), fit.predict(new))
    pd.testing.assert_series_equal(loaded.predict(new, ranef=False), fit.predict(new, ranef=False))
    assert after_scaled_residuals(loaded) == after_scaled_residuals(fit)
    assert loaded.tidy().equals(fit.tidy())
    assert loaded.glance().equals(fit.glance())


def known(values):
    """Estimates with a number that is never one for sigma where there is none."""
    return np.nan_to_num(values, nan=-1.0)


def after_scaled_residuals(fit):
    """The summary from the estimates of the variances on; quantiles of residuals need the rows."""
    text = str(fit.summary())
    return text[min(text.find(title) for title in ("Residual ", "Random ") if title in text) :]


@pytest.mark.parametrize("name", MODELS)
def test_reports_name_the_structure(name, frame):
    fit = fit_model(name, frame)
    residual = MODELS[name][0]
    label = STRUCTURES[residual.split("(")[0]].label
    # Any space will do, and a line may end within the name.
    assert label in " ".join(str(fit.summary()).split())
    assert label in " ".join(fit._repr_html_().split())
    assert "nan" not in str(fit.summary()).lower()
    assert len(fit.glance()) == 1
    assert set(fit.params.index) <= set(fit.tidy()["term"])


@pytest.mark.parametrize("name", MODELS)
def test_residual_parameters_have_names_of_their_own(name, frame):
    fit = fit_model(name, frame)
    assert fit.residual_parameters.index.is_unique
    assert np.isfinite(fit.residual_parameters).all()


@pytest.mark.parametrize("keyword", KEYWORDS)
def test_residual_covariances_are_positive_definite(by_structure, keyword):
    cov = by_structure[keyword].residual_cov.to_numpy()
    np.testing.assert_array_equal(cov, cov.T)
    assert np.linalg.eigvalsh(cov).min() > 0


@pytest.mark.parametrize("name", MODELS)
def test_a_start_leads_to_the_same_optimum(name, frame):
    fit = fit_model(name, frame)
    start = {group: 3.0 * G.to_numpy() for group, G in fit.varcorr.items()}
    again = fit_model(name, frame, start=start)
    assert again.converged
    assert again.llf == pytest.approx(fit.llf, abs=1e-8)
