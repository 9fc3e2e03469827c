"""One-step deletions against dense matrices of the rows that are left, and against refits."""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import pytest

import mlmfast as mlm
from mlmfast.errors import ModelError, SingularFitWarning

from ..cases import data_of
from ..dense_inference import DenseInference

SLEEP, GROWTH = "sleepstudy_slope_corr_reml", "orthodont_slope_reml"
MODELS = {
    "random slopes": (SLEEP, "Reaction ~ Days + (Days | Subject)", {}),
    "ML": (SLEEP, "Reaction ~ Days + (Days | Subject)", {"method": "ML"}),
    "weights": (
        SLEEP,
        "Reaction ~ Days + (1 | Subject)",
        {"weights": np.linspace(0.5, 2.0, 180)},
    ),
    "nested": ("pastes_nested_reml", "strength ~ 1 + (1 | batch/cask)", {}),
    "unstructured": (GROWTH, "distance ~ age * Sex", {"residual": "us(age | Subject)"}),
    "by arm": (GROWTH, "distance ~ age * Sex", {"residual": "cs(age | Sex / Subject)"}),
    "ar1": (GROWTH, "distance ~ age * Sex", {"residual": "ar1(age | Subject)"}),
    "series beside effects": (
        SLEEP,
        "Reaction ~ Days + (1 | Subject)",
        {"residual": "ar1(Days | Subject)"},
    ),
}


def fitted(name):
    case_id, formula, arguments = MODELS[name]
    return mlm.lmm(formula, data_of(case_id), **arguments)


@dataclass(frozen=True)
class Remaining:
    """The criterion of the rows that are left, at the estimates of all, by n x n matrices."""

    whole: DenseInference
    rows: np.ndarray

    @cached_property
    def keep(self):
        return np.setdiff1d(np.arange(len(self.whole.y)), self.rows)

    @property
    def reml(self):
        return self.whole.fit.method == "REML"

    def cut(self, matrix):
        return matrix[np.ix_(self.keep, self.keep)]

    @cached_property
    def first(self):
        exact = exact_ar1(self.whole)
        return [self.cut(D) for D in (self.whole.first if exact is None else exact[0])]

    @cached_property
    def second(self):
        exact = exact_ar1(self.whole)
        if exact is None:
            # Linear in its parameters.
            return None
        return [[self.cut(D) for D in row] for row in exact[1]]

    @cached_property
    def step(self):
        X, y = self.whole.X[self.keep], self.whole.y[self.keep]
        inverse = np.linalg.inv(self.cut(self.whole.V0))
        half = inverse @ X
        P = inverse - half @ np.linalg.inv(X.T @ half) @ half.T
        T, Py = P if self.reml else inverse, P @ y
        g = np.array([np.sum(T * D) - Py @ D @ Py for D in self.first])
        products = [T @ D for D in self.first]
        expected = np.array([[np.sum(a * b.T) for b in products] for a in products])
        halves = np.array([D @ Py for D in self.first])
        H = -expected + 2 * halves @ P @ halves.T
        if self.second is not None:
            H += [[np.sum(T * D) - Py @ D @ Py for D in row] for row in self.second]
        return {"observed": -np.linalg.solve(H, g), "expected": -np.linalg.solve(expected, g)}


def exact_ar1(whole):
    """First and second derivatives of V by (the variance of the intercepts,) sigma^2 and rho."""
    residual = whole.fit._record.residual
    if residual is None or residual.structure != "ar1":
        return None
    data = whole.fit._source.frame.frame
    # Ages 8, 10, 12, 14 are one step apart.
    time = data.numeric("Days") if whole.fit._record.terms else data.numeric("age") / 2.0
    subject = data.factor("Subject").codes
    lag = np.abs(time[:, None] - time)
    same = subject[:, None] == subject
    variance, rho = whole.psi[-2:]
    by_variance = np.where(same, rho**lag, 0.0)
    slope = np.where(same, lag * rho ** np.maximum(lag - 1, 0), 0.0)
    bend = np.where(same, lag * (lag - 1) * rho ** np.maximum(lag - 2, 0), 0.0)
    zero = np.zeros_like(slope)
    first, second = [by_variance, variance * slope], [[zero, slope], [slope, variance * bend]]
    if whole.fit._record.terms:
        first = [np.where(same, 1.0, 0.0), *first]
        second = [[zero] * 3, *([zero, *row] for row in second)]
    return first, second


def check(whole, table, number, rows, information):
    """The step, beta_U at its end, and the likelihood distance."""
    left = Remaining(whole, np.asarray(rows))
    how = table.statistics["step"].iloc[number]
    if "bounded" in how or "shortened" in how:
        return 0
    kind = "expected" if how == "scoring" else "observed"
    if information == "expected":
        assert kind == "expected"
    found = table.parameters.iloc[number].to_numpy()
    psi = whole.psi + left.step[kind]
    np.testing.assert_allclose(found, psi, rtol=1e-8, atol=1e-8 * np.abs(psi).max())
    V = whole.V(found)
    beta_u, m_u = gls(whole.X[left.keep], left.cut(V), whole.y[left.keep])
    beta, _ = gls(whole.X, whole.V0, whole.y)
    scale = np.sqrt(np.diag(m_u))
    np.testing.assert_allclose(
        table.changes.iloc[number] / scale, (beta - beta_u) / scale, rtol=1e-7, atol=1e-8
    )
    np.testing.assert_allclose(
        table.dfbetas.iloc[number], (beta - beta_u) / scale, rtol=1e-7, atol=1e-8
    )
    own = table.statistics.iloc[number]
    delta, p = beta - beta_u, len(beta)
    assert own["mdffits"] == pytest.approx(delta @ np.linalg.solve(m_u, delta) / p, abs=1e-12)
    assert own["covratio"] == pytest.approx(np.linalg.det(m_u) / np.linalg.det(whole.phi))
    assert own["rld"] == pytest.approx(distance(whole, V, beta_u), rel=1e-6, abs=1e-8)
    out = whole.y[left.rows] - whole.X[left.rows] @ beta_u
    assert own["press"] == pytest.approx(out[0] if len(out) == 1 else out @ out)
    return 1


def gls(x, v, y):
    information = x.T @ np.linalg.solve(v, x)
    return np.linalg.solve(information, x.T @ np.linalg.solve(v, y)), np.linalg.inv(information)


def distance(whole, V, beta_u):
    """2 l(theta) - 2 l(theta_U): of beta too for ML."""

    def minus_two_l(v, beta):
        r = whole.y - whole.X @ (gls(whole.X, v, whole.y)[0] if beta is None else beta)
        value = np.linalg.slogdet(v)[1] + r @ np.linalg.solve(v, r)
        return value + (
            np.linalg.slogdet(whole.X.T @ np.linalg.solve(v, whole.X))[1] if reml else 0
        )

    reml = whole.fit.method == "REML"
    return minus_two_l(V, None if reml else beta_u) - minus_two_l(whole.V0, None)


@pytest.mark.parametrize("information", ["expected", "observed"])
@pytest.mark.parametrize("name", MODELS)
def test_steps_are_those_of_dense_matrices(name, information):
    fit = fitted(name)
    influence = fit.influence()
    clusters = fit._source.design.factors[fit._record.levels[0]]
    table = influence.one_step(information=information)
    whole = DenseInference(fit)
    checked = sum(
        check(whole, table, k, np.flatnonzero(clusters.codes == k), information) for k in range(3)
    )
    table = influence.one_step("observations", information=information)
    checked += sum(check(whole, table, k, [k], information) for k in (0, 17))
    assert checked >= 2


@pytest.mark.parametrize("name", ["random slopes", "ML"])
def test_scoring_from_a_complete_design_is_the_refit(name):
    fit = fitted(name)
    table = fit.influence().one_step()
    data = data_of(SLEEP)
    for label in ("332", "309", "335"):
        rest = data[data["Subject"].astype(str) != label]
        again = mlm.lmm(MODELS[name][1], rest, method=fit.method)
        found = table.parameters.loc[label]
        np.testing.assert_allclose(found, again.covariance_parameters, rtol=1e-5, atol=1e-3)
        np.testing.assert_allclose(fit.params - table.changes.loc[label], again.params, rtol=1e-6)


@pytest.mark.parametrize("name", ["unstructured", "ar1", "by arm", "series beside effects"])
def test_one_step_is_close_to_the_refit(name):
    """Most of the way, in the metric of the information."""
    case_id, formula, arguments = MODELS[name]
    fit, data = fitted(name), data_of(case_id)
    table = fit.influence().one_step()
    J = np.linalg.inv(fit.cov_theta("expected"))
    before, after = 0.0, 0.0
    for label in table.statistics["rld"].nlargest(4).index:
        rest = data[data["Subject"].astype(str) != label]
        again = mlm.lmm(formula, rest, **arguments).covariance_parameters
        start, end = fit.covariance_parameters - again, table.parameters.loc[label] - again
        before, after = before + start @ J @ start, after + end @ J @ end
    assert after < 0.1 * before


def test_statistics_of_the_covariance_parameters():
    fit = fitted("random slopes")
    table = fit.influence().one_step()
    whole = DenseInference(fit)
    delta = (table.parameters - fit.covariance_parameters).to_numpy()
    rows = np.flatnonzero(fit._source.design.factors[0].codes == 2)
    left = Remaining(whole, rows)
    X = whole.X[left.keep]
    inverse = np.linalg.inv(left.cut(whole.V0))
    half = inverse @ X
    P = inverse - half @ np.linalg.inv(X.T @ half) @ half.T
    after = 0.5 * np.array([[np.sum((P @ a) * (P @ b).T) for b in left.first] for a in left.first])
    before, own = whole.expected, table.statistics.iloc[2]
    assert own["cooks_distance_theta"] == pytest.approx(delta[2] @ before @ delta[2], rel=1e-7)
    assert own["mdffits_theta"] == pytest.approx(delta[2] @ after @ delta[2], rel=1e-7)
    ratio = before @ np.linalg.inv(after)
    assert own["covtrace_theta"] == pytest.approx(abs(np.trace(ratio) - 4), rel=1e-7)
    assert own["covratio_theta"] == pytest.approx(np.linalg.det(ratio), rel=1e-7)


def test_levels_of_a_crossed_factor_by_name():
    formula = "logDens ~ sample + (1 | Block:sample) + (1 | dilut)"
    fit = mlm.lmm(formula, data_of("assay_crossed_reml"))
    influence = fit.influence("dilut")
    clusters = fit._source.design.factors[[g.name for g in fit._record.groups].index("dilut")]
    table, whole = influence.one_step(), DenseInference(fit)
    X, V, y = whole.X, whole.V0, whole.y
    assert list(table.statistics.index) == list(clusters.labels)
    for k in range(3):
        rows = np.flatnonzero(clusters.codes == k)
        assert check(whole, table, k, rows, "expected")
        keep = np.setdiff1d(np.arange(len(y)), rows)
        beta_u, _ = gls(X[keep], V[np.ix_(keep, keep)], y[keep])
        assert influence.cluster_changes.iloc[k, 0] == pytest.approx(
            fit.params.iloc[0] - beta_u[0], rel=1e-6
        )
    each = influence.one_step("observations", information="observed")
    assert all(check(whole, each, k, [k], "observed") for k in (0, 11))


def test_clusters_inside_several_independent_blocks():
    """Casks are correlated within their batch, of which there are ten of one size."""
    fit = mlm.lmm("strength ~ 1 + (1 | batch/cask)", data_of("pastes_nested_reml"))
    influence = fit.influence("batch:cask")
    clusters = fit._source.design.factors[[g.name for g in fit._record.groups].index("batch:cask")]
    table, whole = influence.one_step(), DenseInference(fit)
    X, V, y = whole.X, whole.V0, whole.y
    assert len(table.statistics) == 30
    for k in (0, 7, 29):
        rows = np.flatnonzero(clusters.codes == k)
        assert check(whole, table, k, rows, "expected")
        keep = np.setdiff1d(np.arange(len(y)), rows)
        beta_u, _ = gls(X[keep], V[np.ix_(keep, keep)], y[keep])
        assert influence.cluster_changes.iloc[k, 0] == pytest.approx(
            fit.params.iloc[0] - beta_u[0], rel=1e-6, abs=1e-9
        )


def test_a_variance_of_0_stays_there(sleepstudy):
    rng = np.random.default_rng(1)
    data = sleepstudy.assign(y=rng.standard_normal(180))
    with pytest.warns(SingularFitWarning):
        fit = mlm.lmm("y ~ Days + (1 | Subject)", data)
    table = fit.influence().one_step()
    assert (table.parameters["Var((Intercept)) | Subject"] == 0.0).all()
    rest = data[data["Subject"].astype(str) != "309"]
    ols = mlm.lmm("y ~ Days", rest)
    assert table.parameters.loc["309", "Residual"] == pytest.approx(ols.scale, rel=1e-9)


def test_a_step_out_of_the_covariances_is_brought_back():
    fit = fitted("nested")
    table = fit.influence().one_step(information="observed")
    bounded = table.statistics["step"].str.contains("bounded")
    assert bounded.any()
    assert (table.parameters.to_numpy() >= 0.0).all()


def test_what_cannot_be_left_out_is_missing():
    data = {
        "y": [1.0, 2.0, 2.5, 4.0, 3.0, 5.0, 1.5, 2.0, 3.0, 1.0],
        "only": [1.0, 1.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0],
        "g": list("aabbccddee"),
    }
    table = mlm.lmm("y ~ only + (1 | g)", data).influence().one_step()
    assert list(table.statistics["rld"].isna()) == [True, False, False, False, False]
    assert table.parameters.iloc[0].isna().all()


def test_refusals(sleepstudy):
    fit = mlm.lmm("Reaction ~ Days + (Days | Subject)", sleepstudy)
    with pytest.raises(ModelError, match="use 'clusters' or 'observations'"):
        fit.influence().one_step("rows")
    with pytest.raises(ModelError, match="use 'expected' or 'observed'"):
        fit.influence().one_step(information="average")


@pytest.mark.parametrize("seed", [1, 3, 7])
@pytest.mark.parametrize("by", ["clusters", "observations"])
def test_a_correlation_of_1_stays_one(by, seed):
    """Of four groups of three rows: steps are among the matrices of the same rank."""
    rng = np.random.default_rng(seed)
    data = {"g": np.repeat(range(4), 3), "v": np.tile(range(3), 4)}
    data["y"] = rng.normal(size=12) + np.repeat(rng.normal(size=4), 3)
    with pytest.warns(SingularFitWarning):
        fit = mlm.lmm("y ~ 1 + (v | g)", data)
    assert fit.certificate.boundary == ("correlation is +-1 for (Intercept), v by g",)
    intercept, both, slope, residual = fit.influence().one_step(by).parameters.to_numpy().T
    assert np.isfinite(residual).all()
    np.testing.assert_allclose(both**2, intercept * slope, rtol=1e-6)
    assert np.ptp(slope) > 0.0
