"""Correlations by distance, with and without a nugget, against nlme's gls.

nlme 3.1.162, R 4.2.2: ``gls(y ~ x, d, correlation = corExp(form = ~ t | id, nugget = TRUE))``;
range and nugget are those of ``coef(fit$modelStruct$corStruct, unconstrained = FALSE)``.
"""

import numpy as np
import pandas as pd
import pytest

import mlmfast as mlm
from mlmfast.errors import FormulaError
from tests.dense import log_likelihood, marginal_covariance


@pytest.fixture(scope="module")
def data():
    """240 rows in steps of half a unit of time, 8 a subject."""
    rng = np.random.default_rng(21)
    rows = []
    for i in range(30):
        t = np.sort(rng.choice(np.arange(24), size=8, replace=False)) / 2.0
        V = np.exp(-np.abs(t[:, None] - t[None]) / 2.0) * 4 * 0.8 + 0.8 * np.eye(8)
        e = np.linalg.cholesky(V) @ rng.normal(size=8)
        v = np.round(rng.uniform(0.5, 6, 8), 2)
        for k in range(8):
            x, spread = round(rng.normal(), 2), (1 + 0.25 * v[k]) * (1.3 if i % 2 else 1)
            rows.append((i, t[k], x, v[k], "ab"[i % 2], round(3 + 0.5 * x + e[k] * spread, 3)))
    return pd.DataFrame(rows, columns=["id", "t", "x", "v", "arm", "y"])


#: REML log-likelihood, standard deviation of a row, range, share of the nugget.
NLME = {
    "sp_ratio(t | id)": (-680.05976711384, 4.34714288888, 0.50435625442, 0.0),
    "sp_exp(t | id, nugget)": (-671.66603683072, 4.39172836687, 2.30614841117, 0.32466587149),
    "ou(t | id, nugget=True)": (-671.66603683072, 4.39172836687, 2.30614841117, 0.32466587149),
    "sp_gau(t | id, nugget)": (-670.3818789421, 4.3979851315, 2.6111097662, 0.4462824214),
    "sp_ratio(t | id, nugget)": (-671.29743276686, 4.4232576494, 2.1403337006, 0.42464036455),
    "sp_sph(t | id, nugget)": (-670.79107108163, 4.41063573935, 6.29677883762, 0.39297731518),
}


@pytest.mark.parametrize("residual", NLME)
def test_nlme(data, residual):
    llf, sd, length, share = NLME[residual]
    fit = mlm.lmm("y ~ x", data, residual=residual)
    assert fit.converged
    assert fit.llf == pytest.approx(llf, abs=1e-8)
    expected = [sd**2 * (1 - share), length, sd**2 * share][: 3 if share else 2]
    assert fit.covtest().iloc[:, 0].to_numpy() == pytest.approx(expected, rel=1e-5)


#: nlme stops at lower maxima: the criterion has a kink at each distance.
LINES = {
    "sp_lin(t | id)": (-697.68070451753, 5.83868688546, 2.82440507367, 0.0),
    "sp_lin(t | id, nugget)": (-671.62045095864, 4.47074909918, 5.93414707809, 0.43315565521),
}


@pytest.mark.parametrize("residual", LINES)
def test_a_line_ends_at_a_higher_maximum_than_nlme(data, residual):
    llf, sd, length, share = LINES[residual]
    fit = mlm.lmm("y ~ x", data, residual=residual)
    assert fit.llf > llf + 1
    t, g = data.t.to_numpy(), data.id.to_numpy()
    gap = np.abs(t[:, None] - t[None])
    same, row = g[:, None] == g[None], np.eye(len(t))
    X = np.column_stack([np.ones(len(t)), data.x])

    def oracle(variance, rho, nugget=0.0):
        R = same * variance * np.maximum(1 - rho * gap, 0.0) + nugget * row
        return log_likelihood(data.y.to_numpy(), X, marginal_covariance([], R), "REML")

    theirs = oracle(sd**2 * (1 - share), 1 / length, sd**2 * share)
    assert theirs == pytest.approx(llf, abs=1e-6)
    assert oracle(*fit.covtest().iloc[:, 0]) == pytest.approx(fit.llf, abs=1e-8)


def test_the_same_by_powers(data):
    """rho^d is exp(-d / range)."""
    by_range = mlm.lmm("y ~ x", data, residual="sp_exp(t | id, nugget)")
    by_power = mlm.lmm("y ~ x", data, residual="sp_pow(t | id, nugget)")
    along = mlm.lmm("y ~ x", data, residual="sp_powa(t | id, nugget)")
    rho = np.exp(-1 / by_range.covtest().iloc[1, 0])
    assert by_power.covtest().iloc[1, 0] == pytest.approx(rho, rel=1e-5)
    for other in (by_power, along):
        assert other.llf == pytest.approx(by_range.llf, abs=1e-9)
        assert other.bse.to_numpy() == pytest.approx(by_range.bse.to_numpy(), rel=1e-5)
        assert other.df.to_numpy() == pytest.approx(by_range.df.to_numpy(), rel=1e-4)


@pytest.mark.filterwarnings("ignore::mlmfast.errors.SingularFitWarning")
def test_beside_random_effects_by_arm_and_saved(data, tmp_path):
    fit = mlm.lmm("y ~ x + (1 | id)", data, residual="sp_gau(t | id, nugget)")
    t, g = data.t.to_numpy(), data.id.to_numpy()
    same, gap = (g[:, None] == g[None]) * 1.0, t[:, None] - t[None]
    X = np.column_stack([np.ones(len(t)), data.x])
    effect, variance, length, nugget = fit.covtest().iloc[:, 0]
    R = same * (effect + variance * np.exp(-((gap / length) ** 2))) + nugget * np.eye(len(t))
    assert log_likelihood(data.y.to_numpy(), X, R, "REML") == pytest.approx(fit.llf, abs=1e-8)
    fit.to_json(tmp_path / "fit.json")
    again = mlm.load(tmp_path / "fit.json")
    assert again.predict(data).to_numpy() == pytest.approx(fit.predict(data).to_numpy(), abs=1e-10)

    arms = mlm.lmm("y ~ x * arm", data, residual="sp_exp(t | arm / id, nugget)")
    parts = [
        mlm.lmm("y ~ x", data[data.arm == arm], residual="sp_exp(t | id, nugget)") for arm in "ab"
    ]
    assert arms.llf == pytest.approx(sum(part.llf for part in parts), abs=1e-8)


def test_translations(data):
    here = mlm.lmm("y ~ x", data, residual="sp_exp(t | id, nugget)").llf
    call = mlm.from_r("gls(y ~ x, d, correlation = corExp(form = ~ t | id, nugget = TRUE))")
    step = mlm.from_sas(
        "proc mixed; class id; model y = x; repeated / type=sp(exp)(t) sub=id local;"
    )
    assert not call.unmapped + step.unmapped
    assert call(data).llf == step(data).fit.llf == here
    for r, sas in (("corRatio", ""), ("corLin", "lin")):
        call = mlm.from_r(f"gls(y ~ x, d, correlation = {r}(form = ~ t | id))")
        assert not call.unmapped
        if sas:
            step = mlm.from_sas(
                f"proc mixed; class id; model y = x; repeated / type=sp({sas})(t) sub=id;"
            )
            assert step(data).fit.llf == call(data).llf


def test_refusals(data):
    with pytest.raises(FormulaError, match="a nugget goes with structures over distances"):
        mlm.LMM("y ~ x", data, residual="ar1(t | id, nugget)")
    with pytest.raises(FormulaError, match="write nugget, or nugget=True"):
        mlm.LMM("y ~ x", data, residual="sp_exp(t | id, nugget=False)")
    with pytest.raises(FormulaError, match=r"AR\(1\) beside a nugget write sp_pow\(time"):
        mlm.LMM("y ~ x", data, residual="ar1(t | id, local)")
    with pytest.raises(FormulaError, match=r"are written before the subject, ar1\(visit \| arm /"):
        mlm.LMM("y ~ x", data, residual="ar1(t | id, by=arm)")


def test_a_nugget_over_two_columns_and_by_the_word_of_sas(data):
    plane = data.assign(u=np.random.default_rng(4).random(len(data)))
    fit = mlm.lmm("y ~ x", plane, residual="sp_exp(t, u | id, nugget)")
    assert fit.llf == mlm.lmm("y ~ x", plane, residual="sp_exp(t, u | id, local)").llf
    variance, reach, nugget = fit.residual_parameters
    at, id = plane[["t", "u"]].to_numpy(), plane["id"].to_numpy()
    gap = np.sqrt(((at[:, None] - at[None]) ** 2).sum(axis=2))
    same = id[:, None] == id
    R = np.where(same, variance * np.exp(-gap / reach), 0.0) + nugget * np.eye(len(plane))
    X = np.column_stack([np.ones(len(plane)), plane["x"]])
    assert log_likelihood(plane.y.to_numpy(), X, R, "REML") == pytest.approx(fit.llf, abs=1e-8)


def test_a_structure_is_a_special_case_of_itself_with_a_nugget(data):
    fits = [mlm.lmm("y ~ x", data, residual=f"sp_exp(t | id{more})") for more in ("", ", nugget")]
    tests = mlm.compare(*fits)
    small, large = (fit.llf for fit in fits)
    table = tests.table if hasattr(tests, "table") else tests
    assert table["Chisq"].iloc[1] == pytest.approx(2 * (large - small))
    assert "a nugget that" in str(tests)


def test_a_product_of_scales(data):
    """nlme's varComb(varIdent(form = ~ 1 | arm), varPower(form = ~ v)): sigma, ratio, power."""
    call = mlm.from_r(
        "gls(y ~ x, d, weights = varComb(varIdent(form = ~ 1 | arm), varPower(form = ~ v)))"
    )
    fit = call(data)
    assert fit.llf == pytest.approx(-679.49879882715, abs=1e-8)
    expected = [2.54595968144**2, 1.38708431363, 0.33205288676]
    assert fit.covtest().iloc[:, 0].to_numpy() == pytest.approx(expected, rel=1e-5)


def test_profiles_that_end_at_no_range_and_at_no_nugget_are_silent():
    """Trials there have a range of 0 and a logit without bound; warnings are errors here."""
    rng = np.random.default_rng(5)
    walk = rng.normal(size=(6, 1)) + 0.5 * np.cumsum(rng.normal(size=(6, 3)), axis=1)
    rows = {"id": np.repeat(range(6), 3), "t": np.tile(range(3), 6)}
    y = walk.ravel() + 0.3 * rng.normal(size=18)
    fit = mlm.lmm("y ~ 1", rows | {"y": y}, residual="sp_exp(t | id, nugget)")
    limits = fit.profile(["SP(EXP)", "Nugget"]).conf_int()
    assert (limits["lower"] <= fit.residual_parameters.loc[limits.index]).all()
    assert limits.loc["SP(EXP)", "lower"] > 1.0
