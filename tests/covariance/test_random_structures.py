"""Structured covariances of random effects: closed parameters, fits, boundaries, equivalences."""

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_allclose
from scipy.optimize import minimize

import mlmfast as mlm
from mlmfast.covariance import STRUCTURES
from mlmfast.errors import SingularFitWarning

from .. import dense
from ..covariance.test_covariance import cases, central, entries_of, structures_that
from ..fits import estimates, lmm
from ..structured_models import STRUCTURES as TRIED
from ..structured_models import structured_model

# Banded correlations, a free smoothness and some structures are for residuals.
closed_structures = structures_that(
    lambda s: (
        s.for_random_effects
        and not (s.keyword in {"toep", "toeph"} and s.order not in {None, s.size})
        and not (s.keyword == "sp_matern" and s.nu is None)
    )
)


def closed_theta(structure, seed=0):
    closed = structure.closed()
    theta = 0.7 * np.random.default_rng(seed + closed.n_theta).standard_normal((4, closed.n_theta))
    n = getattr(closed, "n_scales", 0)
    theta[:, :n] = np.abs(theta[:, :n])
    return closed, theta


@closed_structures
def test_derivatives_match_differences(structure):
    closed, theta = closed_theta(structure)
    jacobian = closed.jacobian(theta)
    expected = central(lambda t: entries_of(closed, t), theta)
    assert_allclose(jacobian, expected, rtol=1e-6, atol=1e-8)
    weight = np.random.default_rng(1).standard_normal((4, len(closed.entries)))
    expected = central(lambda t: np.einsum("ae,aei->ai", weight, closed.jacobian(t)), theta)
    assert_allclose(closed.curvature(theta, weight), expected, rtol=1e-6, atol=1e-7)
    expected = central(closed.natural, theta)
    assert_allclose(closed.natural_jacobian(theta), expected, rtol=1e-6, atol=1e-7)


@closed_structures
def test_charts_match_moves(structure):
    closed, theta = closed_theta(structure)
    weight = np.random.default_rng(1).standard_normal((4, len(closed.entries)))
    jacobian, curvature = closed.chart(theta, weight)
    zero = np.zeros_like(theta)
    expected = central(lambda s: entries_of(closed, closed.move(theta, s)), zero)
    assert_allclose(jacobian, expected, rtol=1e-6, atol=1e-7)

    def total(step):
        return np.einsum("ae,ae->a", weight, entries_of(closed, closed.move(theta, step)))

    twice = central(lambda s: central(total, s, 1e-4), zero, 1e-4)
    assert_allclose(curvature, twice, rtol=1e-4, atol=1e-4)


@closed_structures
def test_closed_parameters_give_the_same_matrices(structure):
    closed, theta = closed_theta(structure)
    natural, matrix = closed.natural(theta), closed.matrix(theta)
    assert closed.parameter_names == structure.parameter_names
    assert np.linalg.eigvalsh(matrix).min() > -1e-12
    assert_allclose(
        structure.matrix(structure.from_natural(natural)), matrix, rtol=1e-8, atol=1e-10
    )
    assert_allclose(closed.matrix(closed.from_natural(natural)), matrix, rtol=1e-8, atol=1e-10)


@closed_structures
def test_rescaled_parameters(structure):
    closed, theta = closed_theta(structure)
    one = closed.matrix(closed.scaled(theta, np.full((4, 1), 3.0)))
    assert_allclose(one, 9.0 * closed.matrix(theta), rtol=1e-12, atol=1e-14)
    if structure.scales:
        d = np.arange(1.0, structure.size + 1)
        several = closed.matrix(closed.scaled(theta, np.tile(d, (4, 1))))
        assert_allclose(several, closed.matrix(theta) * np.outer(d, d), rtol=1e-11, atol=1e-13)


# -- against the dense oracle --------------------------------------------------------------------


def dense_parts(fit, model):
    design = model.design
    term = design.random[0]
    Z = np.column_stack(term.columns)
    return design, dense.Term(Z, fit.varcorr["g"].to_numpy(), design.factors[0].codes)


@pytest.mark.parametrize("seed", range(len(TRIED)), ids=TRIED)
def test_a_fit_agrees_with_the_dense_oracle(seed):
    case = structured_model(seed + 17 * 3)
    frame = case.data.groupby("g").head(12).query("g < 14").assign(y=lambda d: d.y / d.y.std())
    model = mlm.LMM(case.formula, frame)
    fit = lmm(case.formula, frame, method=case.method)
    design, term = dense_parts(fit, model)
    X = design.fixed_matrix
    V = dense.marginal_covariance([term], dense.residual_covariance(fit.sigma**2, len(frame)))
    llf = dense.log_likelihood(design.y, X, V, case.method)
    assert_allclose(fit.llf, llf, rtol=1e-9, atol=1e-7)
    beta, vcov = dense.gls(design.y, X, V)
    assert_allclose(fit.params, beta, rtol=1e-7, atol=1e-8)
    assert_allclose(fit.bse, np.sqrt(np.diag(vcov)), rtol=1e-7)
    blups = dense.blups(term, design.y, X, V)
    assert_allclose(fit.ranef["g"].to_numpy(), blups, rtol=1e-6, atol=1e-7)
    covariances = dense.conditional_covariances(term, V)
    found = np.stack([c.to_numpy() for c in fit.ranef_cov["g"].values()])
    assert_allclose(found, covariances, rtol=1e-6, atol=1e-7)
    level = frame["g"].iloc[0]
    own = design.factors[0].codes == design.factors[0].codes[0]
    assert_allclose(np.asarray(fit.V(level)), V[np.ix_(own, own)], rtol=1e-9, atol=1e-12)
    structure = design.random[0].structure.closed()
    with np.errstate(all="ignore"):
        natural = fit.varcorr.parameters["estimate"].to_numpy()
    if np.isfinite(natural).all():
        assert_allclose(
            structure.matrix(structure.from_natural(natural[None]))[0], term.G, rtol=1e-7, atol=1e-9
        )


@pytest.mark.parametrize("seed", range(2, 340, 25))
def test_no_optimiser_finds_a_better_optimum(seed):
    # A single random start of BFGS on the dense criterion: small data have several minima.
    case = structured_model(seed)
    if len(case.data) > 120:
        frame = case.data[case.data.g < max(3, 120 * case.data.g.nunique() // len(case.data))]
    else:
        frame = case.data
    frame = frame.assign(y=frame.y / frame.y.std())
    model = mlm.LMM(case.formula, frame)
    fit = lmm(case.formula, frame, method=case.method)
    design, term = dense_parts(fit, model)
    structure = design.random[0].structure.closed()
    start = structure.theta(np.eye(structure.size)[None])[0]

    def deviance(theta):
        n = getattr(structure, "n_scales", 0)
        theta = np.concatenate([np.abs(theta[:n]), theta[n:]])
        W = dense.relative_covariance(
            [term.with_covariance(structure.matrix(theta[None])[0])], len(frame)
        )
        return dense.profiled_deviance(design.y, design.fixed_matrix, W, case.method)

    best = minimize(deviance, start, method="BFGS", options={"gtol": 1e-5, "maxiter": 200}).fun
    assert fit.deviance <= best + 1e-5


# -- singular fits -------------------------------------------------------------------------------


def fits_of(seeds):
    out = []
    for seed in seeds:
        case = structured_model(seed)
        out.append((seed, lmm(case.formula, case.data, method=case.method)))
    return out


def names_a_singular_effect(fit):
    # A residual variance that goes to 0 beside random effects leaves these regular.
    return any("residual variance goes to 0" not in text for text in fit.certificate.boundary)


def check_trial(fits):
    assert [seed for seed, fit in fits if not fit.converged] == []
    assert [seed for seed, fit in fits if fit.singular != bool(fit.certificate.boundary)] == []
    assert [seed for seed, fit in fits if names_a_singular_effect(fit) != lacks_rank(fit)] == []
    share = np.mean([fit.singular for _, fit in fits])
    assert 0.25 < share < 0.65


def lacks_rank(fit):
    G = fit.varcorr["g"].to_numpy()
    return bool(np.linalg.eigvalsh(G)[0] <= 1e-9 * fit.sigma**2)


def test_every_fit_of_a_trial_is_certified():
    check_trial(fits_of(range(170)))


def test_a_step_beyond_the_covariances_is_brought_back():
    # Three scoring steps at once lead out of the positive definite matrices here.
    assert fits_of([309])[0][1].converged


def test_a_singular_matrix_that_no_parameter_of_0_makes_is_named():
    """An eigenvalue of 6e-12 sigma^2 in `un`, one root of which is small and another not."""
    ((_, fit),) = fits_of([327])
    assert fit.converged
    assert fit.singular
    assert lacks_rank(fit)
    assert "covariance matrix is singular" in fit.certificate.boundary[0]


@pytest.mark.slow
def test_every_fit_of_a_long_trial_is_certified():
    check_trial(fits_of(range(1020)))


def structured_data(m=40, k=4, r=2, seed=0, rho=0.5, sd=1.0):
    rng = np.random.default_rng(seed)
    g, f = np.repeat(np.arange(m), k * r), np.tile(np.repeat(np.arange(k), r), m)
    lags = np.abs(np.subtract.outer(np.arange(k), np.arange(k)))
    values, vectors = np.linalg.eigh(rho**lags)
    root = sd * vectors * np.sqrt(np.maximum(values, 0))
    y = (rng.standard_normal((m, k)) @ root.T)[g, f] + rng.standard_normal(len(g)) + 0.3 * f
    return pd.DataFrame({"y": y, "g": g, "f": np.array(list("abcdef"))[f], "t": f + 1})


NO_EFFECT = ("cs", "ar1", "toep", "csh", "ar1h", "adh", "hf", "sp_exp", "homdiag", "un", "fa")


@pytest.mark.parametrize("structure", NO_EFFECT)
def test_a_variance_of_zero_is_said(structure):
    data = structured_data()
    # Within a group the levels balance out: no covariance is better than none.
    data["y"] = np.random.default_rng(3).standard_normal(len(data))
    data["y"] -= data.groupby(["g", "f"])["y"].transform("mean") * 0.99
    left = "0 + factor(t)" if structure == "sp_exp" else "0 + f"
    with pytest.warns(SingularFitWarning, match="is 0"):
        fit = mlm.lmm(f"y ~ 1 + {structure}({left} | g)", data)
    assert fit.converged
    assert not fit.varcorr["g"].to_numpy().any()
    assert_allclose(fit.llf, lmm("y ~ 1", data).llf, rtol=1e-12)
    assert f"variance of {structure}({left} | g) is 0" in fit.certificate.boundary[0]
    mlm.load(fit.to_json()).summary()


# -- equivalent models ---------------------------------------------------------------------------


@pytest.mark.parametrize("method", ["ML", "REML"])
def test_compound_symmetry_is_two_random_intercepts(method):
    data = structured_data()
    one = lmm("y ~ f + cs(0 + f | g)", data, method=method)
    two = lmm("y ~ f + (1 | g) + (1 | g:f)", data, method=method)
    assert_allclose(one.llf, two.llf, rtol=1e-11)
    assert_allclose(one.bse, two.bse, rtol=1e-8)
    own, shared = one.varcorr.parameters["estimate"]
    assert_allclose(own, two.varcorr["g:f"].iloc[0, 0], rtol=1e-6)
    assert_allclose(shared, two.varcorr["g"].iloc[0, 0], rtol=1e-6)


def test_compound_symmetry_may_be_negative():
    data = structured_data(seed=4)
    data["y"] -= 0.95 * data.groupby("g")["y"].transform("mean")
    fit = lmm("y ~ f + cs(0 + f | g)", data)
    assert fit.converged
    assert fit.varcorr.parameters["estimate"][1] < 0


EQUAL = {
    "homdiag is an interaction": ("homdiag(0 + f | g)", "(1 | g:f)"),
    "un over all bands is us": ("un(0 + f | g, 4)", "us(0 + f | g)"),
    "un over one band is diag": ("un(0 + f | g, 1)", "diag(0 + f | g)"),
    "exponential is ar1": ("sp_exp(0 + factor(t) | g)", "ar1(0 + f | g)"),
    "power is exponential": ("sp_pow(0 + factor(t) | g)", "sp_exp(0 + factor(t) | g)"),
    "car1 is exponential": ("car1(0 + factor(t) | g)", "sp_exp(0 + factor(t) | g)"),
    "matern of 1/2 is exponential": (
        "sp_matern(0 + factor(t) | g, 0.5)",
        "sp_exp(0 + factor(t) | g)",
    ),
    "two levels: csh is us": ("csh(1 + t | g)", "us(1 + t | g)"),
    "a factor by its label": ("toep(0 + f | g)", "toep(0 + factor(t) | g)"),
}


@pytest.mark.parametrize(("one", "two"), EQUAL.values(), ids=EQUAL)
def test_equivalent_structures(one, two):
    data = structured_data()
    assert_allclose(lmm(f"y ~ t + {one}", data).llf, lmm(f"y ~ t + {two}", data).llf, rtol=1e-9)


@pytest.mark.parametrize("structure", TRIED)
def test_units_do_not_matter(structure):
    data = structured_data()
    left = "0 + factor(t)" if structure.startswith("sp_") else "0 + f"
    right = "g, 2" if structure == "un" else "g"
    formula = f"y ~ t + {structure}({left} | {right})"
    fit = lmm(formula, data)
    other = lmm(formula, data.assign(y=1e6 * data.y, g=data.g.map(lambda g: f"group {g}")))
    G = fit.varcorr["g"].to_numpy()
    assert_allclose(other.varcorr["g"].to_numpy() / 1e12, G, rtol=1e-6, atol=1e-9 * G.max())
    assert_allclose(other.bse / 1e6, fit.bse, rtol=1e-7)


@pytest.mark.parametrize("structure", ["csh", "un", "fa"])
def test_covariates_in_other_units(structure):
    rng = np.random.default_rng(1)
    data = structured_data().assign(x=lambda d: rng.standard_normal(len(d)))
    formula = f"y ~ x + {structure}(1 + x | g)"
    fit, other = lmm(formula, data), lmm(formula, data.assign(x=1e-3 * data.x))
    d = np.array([1.0, 1e3])
    G = fit.varcorr["g"].to_numpy() * np.outer(d, d)
    assert_allclose(other.varcorr["g"].to_numpy(), G, rtol=1e-6, atol=1e-9 * G.max())


# -- other packages ------------------------------------------------------------------------------

# sleepstudy with days in pairs; nlme 3.1 (pdCompSymm, pdIdent): llf, slope, SE of the intercept.
NLME = {
    ("cs(0 + pair | Subject)", "ML"): (-882.37931868, 10.6538012, 9.8646267),
    ("cs(0 + pair | Subject)", "REML"): (-878.35744092, 10.6566729, 10.1041159),
    ("homdiag(0 + pair | Subject)", "ML"): (-905.25336175, 10.9924985, 8.1939169),
    ("homdiag(0 + pair | Subject)", "REML"): (-901.45473180, 11.0010201, 8.2659381),
}
# glmmTMB 1.1: slope, first variance, correlation of the first two, residual variance. (Its standard
# errors allow for the covariance parameters.)
GLMMTMB = {
    ("csh(0 + pair | Subject)", "ML"): (
        *(-872.18602104, 10.4108852, 608.755928, 0.7866889, 476.72549),
    ),
    ("ar1(0 + pair | Subject)", "ML"): (
        *(-876.75382086, 10.8385299, 1842.39567, 0.8416811, 466.753719),
    ),
    ("ar1(0 + pair | Subject)", "REML"): (
        *(-872.45644245, 10.8473647, 1947.482458, 0.8473397, 466.754654),
    ),
    ("sp_exp(0 + pair | Subject)", "ML"): (
        *(-876.75382086, 10.8385122, 1842.400299, 0.8416806, 466.750468),
    ),
    ("sp_gau(0 + pair | Subject)", "ML"): (
        *(-879.05789603, 10.8614946, 1728.180726, 0.9294299, 584.728550),
    ),
    ("sp_gau(0 + pair | Subject)", "REML"): (
        *(-874.68553243, 10.8764581, 1833.542044, 0.9310310, 585.246813),
    ),
    ("csh(1 + Days | Subject)", "REML"): (
        *(-871.81413598, 10.4672860, 612.090002, 0.0655506, 654.941433),
    ),
}


def in_pairs():
    return mlm.load_sleepstudy().assign(pair=lambda d: (d.Days // 2).astype(str))


@pytest.mark.parametrize(("term", "method"), NLME, ids=lambda value: value)
def test_agreement_with_nlme(term, method):
    fit = lmm(f"Reaction ~ Days + {term}", in_pairs(), method=method)
    llf, slope, se = NLME[term, method]
    assert_allclose(fit.llf, llf, rtol=0, atol=5e-8)
    # nlme's variances have six digits or so: the log-likelihood is flat where it stops.
    assert_allclose(fit.params["Days"], slope, rtol=1e-6)
    assert_allclose(fit.bse["(Intercept)"], se, rtol=5e-6)


@pytest.mark.parametrize(("term", "method"), GLMMTMB, ids=lambda value: value)
def test_agreement_with_glmmtmb(term, method):
    fit = lmm(f"Reaction ~ Days + {term}", in_pairs(), method=method)
    llf, *others = GLMMTMB[term, method]
    G = fit.varcorr["Subject"].to_numpy()
    found = fit.params["Days"], G[0, 0], G[0, 1] / np.sqrt(G[0, 0] * G[1, 1]), fit.sigma**2
    assert_allclose(fit.llf, llf, rtol=0, atol=5e-8)
    # It stops where a step changes the log-likelihood by 1e-8 or so: half the digits are left.
    assert_allclose(found, others, rtol=3e-5)


# -- all that a fit offers -----------------------------------------------------------------------


@pytest.mark.parametrize("structure", TRIED)
def test_a_batch_gives_the_bits_of_single_fits(structure):
    data = structured_data(m=20)
    left = "0 + factor(t)" if structure.startswith("sp_") else "0 + f"
    right = "g, 2" if structure == "un" else "g"
    model = mlm.LMM(f"y ~ t + {structure}({left} | {right})", data)
    rng = np.random.default_rng(0)
    Y = np.column_stack([data.y, rng.standard_normal((len(data), 3)), 2 * data.y + data.t])
    batch = model.fit_many(Y)
    for i in range(Y.shape[1]):
        one = model.fit_many(Y[:, i])
        np.testing.assert_array_equal(one.llf[0], batch.llf[i])
        np.testing.assert_array_equal(one.params[0], batch.params[i])
        np.testing.assert_array_equal(one.varcorr["g"][0], batch.varcorr["g"][i])
    assert batch.converged.all()


@pytest.mark.parametrize("structure", ["cs", "ar1", "toeph", "fa", "hf"])
def test_saved_started_weighted_and_predicted(structure):
    data = structured_data().assign(w=lambda d: 1.0 + d.t / 3)
    formula = f"y ~ t + {structure}(0 + f | g)"
    fit = lmm(formula, data, weights="w")
    loaded = mlm.load(fit.to_json())
    np.testing.assert_array_equal(estimates(loaded), estimates(fit))
    pd.testing.assert_frame_equal(loaded.varcorr.parameters, fit.varcorr.parameters)
    assert "Parameters of random effects" in str(loaded.summary())
    again = lmm(formula, data, weights="w", start={"g": fit.varcorr["g"]})
    assert_allclose(again.llf, fit.llf, rtol=1e-11)
    assert_allclose(fit.predict(data), fit.fittedvalues, rtol=1e-9)
    doubled = lmm(formula, pd.concat([data, data.assign(g=data.g + 1000)]), method="ML")
    assert_allclose(doubled.llf, 2 * lmm(formula, data, method="ML").llf, rtol=1e-9)


def test_parameters_stand_in_the_summary():
    fit = lmm("y ~ t + ar1(0 + f | g)", structured_data())
    text = str(fit.summary())
    assert "Parameters of random effects" in text
    assert "AR(1)" in text
    assert "AR(1)" in fit._repr_html_()
    assert fit.varcorr.parameters["parameter"].tolist() == ["Variance", "AR(1)"]


def test_beside_a_residual_covariance():
    # Sites with a structured term, subjects within them with a residual covariance.
    rng = np.random.default_rng(5)
    site, subject, visit = (a.ravel() for a in np.indices((15, 6, 3)))
    effects = rng.multivariate_normal(np.zeros(3), [[2, 1, 1], [1, 2, 1], [1, 1, 2]], 15)
    frame = pd.DataFrame(
        {
            "y": effects[site, visit] + rng.standard_normal(site.size),
            "site": site,
            "subject": 6 * site + subject,
            "visit": np.array(list("abc"))[visit],
        }
    )
    fit = lmm("y ~ visit + cs(0 + visit | site)", frame, residual="ar1(visit | subject)")
    assert fit.converged
    G, R = fit.varcorr["site"].to_numpy(), np.asarray(fit.residual_cov)
    assert_allclose(G, G[0, 1] + (G[0, 0] - G[0, 1]) * np.eye(3), rtol=1e-10)
    y, codes = frame.y.to_numpy(), frame.subject.to_numpy()
    Z = (frame.visit.to_numpy()[:, None] == np.array(list("abc"))).astype(float)
    V = dense.Term(Z, G, frame.site.to_numpy()).covariance + dense.Term(Z, R, codes).covariance
    X = np.column_stack([np.ones(len(y)), Z[:, 1:]])
    assert_allclose(fit.llf, dense.log_likelihood(y, X, V, "REML"), rtol=1e-10)


def test_the_registry_is_covered():
    assert set(TRIED) <= set(STRUCTURES)
    assert {case.values[0].keyword for case in cases()} >= set(TRIED)
