"""What is asked of clusters whose V is not formed: against V by its formula, and closed forms."""

from functools import cache

import numpy as np
import pandas as pd
import pytest

import mlmfast as mlm
from mlmfast.clusters import inner_blocks, shared_effects
from mlmfast.errors import DataError, ModelError

pytestmark = pytest.mark.filterwarnings("ignore::mlmfast.errors.SingularFitWarning")

LEVELS = 12
Z_975 = 1.959963984540054


def relationship():
    rng = np.random.default_rng(3)
    half = rng.normal(size=(LEVELS, LEVELS))
    a = half @ half.T / LEVELS + 0.3 * np.eye(LEVELS)
    return a / np.sqrt(np.outer(np.diag(a), np.diag(a)))


A = relationship()
RELATED = {"cov": {"h": (list(range(LEVELS)), A)}}
MODELS = {
    "one factor": ("y ~ x + (1 | g)", {}),
    "slopes and weights": ("y ~ x + (x | g)", {"weights": "w"}),
    "crossed": ("y ~ x + (1 | h) + (1 | k)", {}),
    "three factors": ("y ~ x + (x | h) + (1 | k) + (0 + x | g)", {}),
    "nested": ("y ~ x + (1 | g / h)", {}),
    "visits": ("y ~ x + (1 | g)", {"residual": "ar1(v | s)"}),
    "visits across levels": ("y ~ x + (1 | h)", {"residual": "ar1(v | s)"}),
    "unstructured": ("y ~ x + (x | g)", {"residual": "us(v | s)", "weights": "w"}),
    "scale": ("y ~ x + (1 | g)", {"residual_scale": "exp(v)"}),
    "related": ("y ~ x + (1 | h) + (1 | k)", RELATED),
    "related slopes": ("y ~ x + (x | h)", RELATED),
}
#: How many factors, those with fewest effects first, are shared by the rows of a cluster.
CASES = [
    (name, n_shared)
    for name, (formula, _) in MODELS.items()
    for n_shared in range(formula.count("|") + formula.count("/") + 1)
]
each_way = pytest.mark.parametrize(("name", "n_shared"), CASES)


def simulated():
    rng = np.random.default_rng(1)
    n = 240
    data = pd.DataFrame({"x": rng.normal(size=n), "w": rng.uniform(0.5, 2.0, n)})
    for name, size in (("g", 3), ("h", LEVELS), ("k", 5)):
        data[name] = rng.integers(0, size, n)
    data["s"] = 100 * data["g"] + rng.integers(0, 20, n)
    data["v"] = data.groupby("s").cumcount()
    data = data[data["v"] < 4].reset_index(drop=True)
    data["y"] = rng.normal(size=len(data))
    for name in "ghk":
        effects = rng.normal(size=(LEVELS, 2))
        data["y"] += effects[data[name], 0] + 0.5 * effects[data[name], 1] * data["x"]
    return data


FRAME = simulated()


@pytest.fixture
def forced(monkeypatch):
    """Have all clusters count as large, and the factors shared be as many as asked for."""

    def force(fit, n_shared):
        terms = fit._source.design.random
        monkeypatch.setattr(shared_effects, "LARGEST_DENSE", 2)
        monkeypatch.setattr(
            inner_blocks,
            "_work_of",
            lambda way: abs(len({terms[t].factor for t in way.shared}) - n_shared),
        )
        return fit

    return force


def covariances(fit, data):
    """Z G Z' and R of rows, by the formula."""
    record, n = fit._record, len(data)
    random = np.zeros((n, n))
    for term in record.terms:
        codes = data.groupby(list(record.groups[term.group].columns)).ngroup().to_numpy()
        same = np.equal.outer(codes, codes).astype(float)
        if record.groups[term.group].related:
            same = A[np.ix_(data["h"], data["h"])]
        z = np.column_stack([np.ones(n) if c == "(Intercept)" else data[c] for c in term.names])
        random += same * (z @ term.covariance @ z.T)
    weights = data["w"] if record.weighted else np.ones(n)
    if record.residual is None:
        variance = np.full(n, record.sigma2)
        if record.residual_scale is not None:
            variance *= np.exp(2.0 * record.residual_scale.parameters[0] * data["v"])
        return random, np.diag(variance / weights)
    within = record.residual.covariances[0][np.ix_(data["v"], data["v"])]
    same = np.equal.outer(data["s"].to_numpy(), data["s"].to_numpy())
    return random, same * within / np.sqrt(np.outer(weights, weights))


def dense(fit):
    """X, Z G Z', R, V^-1, residuals y - X beta, P and M of all rows."""
    random, r = covariances(fit, FRAME)
    x = np.column_stack([np.ones(len(FRAME)), FRAME["x"]])
    inverse = np.linalg.inv(random + r)
    m = np.linalg.inv(x.T @ inverse @ x)
    e = FRAME["y"].to_numpy() - x @ fit.params.to_numpy()
    return x, random, r, inverse, e, inverse - inverse @ x @ m @ x.T @ inverse, m


@cache
def fitted(name):
    formula, arguments = MODELS[name]
    return mlm.lmm(formula, FRAME, **arguments)


@each_way
def test_scaled_residuals_are_those_of_the_cholesky_factor_in_data_order(name, n_shared, forced):
    fit = forced(fitted(name), n_shared)
    _, random, r, _, e, _, _ = dense(fit)
    expected = np.linalg.solve(np.linalg.cholesky(random + r), e)
    np.testing.assert_allclose(fit.resid("scaled"), expected, rtol=1e-9, atol=1e-10)


@each_way
def test_studentised_residuals_have_their_variances(name, n_shared, forced):
    fit = forced(fitted(name), n_shared)
    x, random, r, _, e, p, m = dense(fit)
    conditional = (r @ p @ e) / np.sqrt(np.diag(r @ p @ r))
    marginal = e / np.sqrt(np.diag(random + r - x @ m @ x.T))
    np.testing.assert_allclose(fit.resid("studentised"), conditional, rtol=1e-8, atol=1e-9)
    np.testing.assert_allclose(fit.resid("studentised-marginal"), marginal, rtol=1e-9)


@each_way
@pytest.mark.parametrize("cluster", ["g", "k", "s"])
def test_influence_is_that_of_deletion(name, n_shared, cluster, forced):
    fit = forced(fitted(name), n_shared)
    x, random, r, inverse, e, p, m = dense(fit)
    found = fit.influence(FRAME[cluster])
    rows = found.observations
    np.testing.assert_allclose(rows["leverage"], 1.0 - np.diag(r @ p), rtol=1e-8, atol=1e-10)
    np.testing.assert_allclose(
        rows["leverage_fixed"], np.diag(x @ m @ x.T @ inverse), rtol=1e-7, atol=1e-11
    )
    studentised = (p @ e) / np.sqrt(np.diag(p))
    np.testing.assert_allclose(rows["studentised"], studentised, rtol=1e-8, atol=1e-9)
    v, codes = random + r, FRAME[cluster].to_numpy()
    for row in (0, 17, 101):
        check_deletion(found.observation_changes, rows, row, [row], (x, v, e, m))
    for label in np.unique(codes)[[0, 1, -1]]:
        gone = np.flatnonzero(codes == label)
        check_deletion(found.cluster_changes, found.clusters, str(label), gone, (x, v, e, m))


def check_deletion(changes, statistics, label, gone, dense):
    x, v, e, m = dense
    kept = np.setdiff1d(np.arange(len(e)), gone)
    white = np.linalg.solve(v[np.ix_(kept, kept)], np.column_stack([x[kept], e[kept]]))
    m_u = np.linalg.inv(x[kept].T @ white[:, :-1])
    change = -m_u @ (x[kept].T @ white[:, -1])
    np.testing.assert_allclose(changes.loc[label], change, rtol=1e-7, atol=1e-10)
    row = statistics.loc[label]
    assert row["covratio"] == pytest.approx(np.linalg.det(m_u) / np.linalg.det(m), rel=1e-8)
    cook = change @ np.linalg.solve(m, change) / len(m)
    assert row["cooks_distance"] == pytest.approx(cook, rel=1e-7, abs=1e-14)


@pytest.mark.parametrize(("kind", "root"), [("CR0", None), ("CR2", "whitened"), ("CR3", None)])
@pytest.mark.parametrize("name", ["one factor", "slopes and weights", "nested", "visits", "scale"])
def test_robust_covariances_are_sums_over_clusters(name, kind, root, forced):
    fit = forced(fitted(name), 1)
    x, random, r, _, e, _, m = dense(fit)
    v, meat = random + r, np.zeros_like(m)
    for level in range(3):
        own = np.flatnonzero(FRAME["g"] == level)
        lower = np.linalg.cholesky(v[np.ix_(own, own)])
        white, residual = np.linalg.solve(lower, x[own]), np.linalg.solve(lower, e[own])
        sizes, vectors = np.linalg.eigh(np.eye(len(own)) - white @ m @ white.T)
        power = {"CR0": 0.0, "CR2": -0.5, "CR3": -1.0}[kind]
        score = white.T @ (vectors * sizes**power) @ vectors.T @ residual
        meat += np.outer(score, score)
    found = fit.robust(kind, cluster="g", square_root=root).cov_params()
    np.testing.assert_allclose(found, m @ meat @ m, rtol=1e-7)


@each_way
def test_intervals_around_random_effects_are_those_of_the_best_predictor(name, n_shared, forced):
    fit = forced(fitted(name), n_shared)
    x, random, _, inverse, e, _, m = dense(fit)
    d = x - random @ inverse @ x
    mean = x @ fit.params.to_numpy() + random @ inverse @ e
    error = np.diag(random - random @ inverse @ random + d @ m @ d.T)
    found = fit.predict(interval="confidence", ddf="asymptotic").to_numpy()
    np.testing.assert_allclose(found[:, 0], mean, rtol=1e-9, atol=1e-10)
    np.testing.assert_allclose(found[:, 2] - found[:, 1], 2.0 * Z_975 * np.sqrt(error), rtol=1e-9)


@each_way
def test_estimates_of_effects_have_the_error_of_the_best_predictor(name, n_shared, forced):
    fit = forced(fitted(name), n_shared)
    x, _, _, inverse, _, _, m = dense(fit)
    term, group = fit._record.terms[0], fit._record.groups[fit._record.terms[0].group]
    codes = FRAME.groupby(list(group.columns)).ngroup().to_numpy()
    a = A if group.related else np.eye(group.n_levels)
    weights = np.zeros(group.n_levels)
    weights[[0, 2]] = 1.0, -0.5
    z = np.column_stack([np.ones(len(x)) if c == "(Intercept)" else x[:, 1] for c in term.names])
    c = (a[codes] @ weights) * (z @ term.covariance[:, 0])
    d = np.array([0.0, 1.0]) - x.T @ inverse @ c
    variance = term.covariance[0, 0] * weights @ a @ weights - c @ inverse @ c + d @ m @ d
    effects = {group.labels[k]: {term.names[0]: weights[k]} for k in (0, 2)}
    found = fit.estimate({"x": 1.0}, random={group.name: effects}, ddf="asymptotic")
    assert found.table["se"].iloc[0] == pytest.approx(np.sqrt(variance), rel=1e-9)


@pytest.mark.parametrize(
    ("name", "n_shared"),
    # Rows of a level, or of a subject's level, may all lack their response there.
    [case for case in CASES if case[0] not in {"nested", "visits across levels"}],
)
def test_missing_responses_are_predicted_from_those_observed(name, n_shared, forced):
    formula, arguments = MODELS[name]
    t, o = np.arange(0, len(FRAME), 7), np.setdiff1d(np.arange(len(FRAME)), np.arange(0, 999, 7))
    part = FRAME.assign(y=FRAME["y"].where(FRAME.index.isin(o)))
    fit = forced(mlm.lmm(formula, part, **arguments), n_shared)
    random, r = covariances(fit, FRAME)
    v, x = random + r, np.column_stack([np.ones(len(FRAME)), FRAME["x"]])
    c = v[np.ix_(t, o)] @ np.linalg.inv(v[np.ix_(o, o)])
    m = np.linalg.inv(x[o].T @ np.linalg.solve(v[np.ix_(o, o)], x[o]))
    beta, d = fit.params.to_numpy(), x[t] - c @ x[o]
    mean = x[t] @ beta + c @ (FRAME["y"].to_numpy()[o] - x[o] @ beta)
    of_mean = np.diag(d @ m @ d.T)
    variance = np.diag(v)[t] - np.einsum("ij,ji->i", c, v[np.ix_(o, t)]) + of_mean
    for kind, expected in (("confidence", of_mean), ("prediction", variance)):
        found = fit.predict(conditional=True, interval=kind).to_numpy()[t]
        np.testing.assert_allclose(found[:, 0], mean, rtol=1e-8, atol=1e-9)
        np.testing.assert_allclose(
            found[:, 2] - found[:, 1], 2.0 * Z_975 * np.sqrt(expected), rtol=1e-7
        )


# -- at size, by closed forms ----------------------------------------------------------------------

SIZE = 15_000


@pytest.fixture(scope="module")
def large():
    """Two clusters of 15,000 rows each, interleaved."""
    rng = np.random.default_rng(7)
    g = rng.permutation(np.repeat([0, 1], SIZE))
    data = pd.DataFrame({"g": g, "y": rng.normal(size=2 * SIZE) + np.array([0.0, 2.0])[g]})
    return mlm.lmm("y ~ 1 + (1 | g)", data), data


def test_scaled_residuals_of_a_large_cluster_follow_from_running_sums(large):
    fit, data = large
    g, s = fit._record.terms[0].covariance[0, 0], fit._record.sigma2
    for level in range(2):
        own = np.flatnonzero(data["g"] == level)
        e = (data["y"].to_numpy() - fit.params.iloc[0])[own]
        before = np.arange(SIZE)
        mean = g / (s + before * g) * np.concatenate([[0.0], np.cumsum(e)[:-1]])
        expected = (e - mean) / np.sqrt(s + s * g / (s + before * g))
        found = fit.resid("scaled").to_numpy()[own]
        np.testing.assert_allclose(found, expected, rtol=1e-9, atol=1e-10)


def test_intervals_and_influence_of_large_clusters_follow_from_the_inverse_of_v(large):
    """V^-1 = (I - g / (s + n g) 1 1') / s in each of two clusters of one size n."""
    fit, data = large
    g, s = fit._record.terms[0].covariance[0, 0], fit._record.sigma2
    total = s + SIZE * g
    # X'V^-1X is 2 n / total, so M = total / 2n; the row d = 1 - n g / total = s / total.
    half = Z_975 * np.sqrt(g * s / total + (s / total) ** 2 * total / (2 * SIZE))
    found = fit.predict({"g": [0, 1]}, interval="confidence", ddf="asymptotic")
    np.testing.assert_allclose((found["upper"] - found["lower"]) / 2, half, rtol=1e-9)
    p = (1.0 - g / total) / s - (1.0 / total) ** 2 * total / (2 * SIZE)
    influence = fit.influence()
    np.testing.assert_allclose(influence.observations["leverage"], 1.0 - s * p, rtol=1e-9)
    means = data.groupby("g")["y"].mean().to_numpy()
    # Without a cluster the mean is that of the other.
    expected = fit.params.iloc[0] - means[::-1]
    np.testing.assert_allclose(influence.cluster_changes["(Intercept)"], expected, rtol=1e-9)


def test_a_large_cluster_without_matrices_shows_some_of_its_rows(large):
    fit, _ = large
    g, s = fit._record.terms[0].covariance[0, 0], fit._record.sigma2
    with pytest.raises(ModelError, match=r"15,000 rows of one cluster.*rows=range\(100\)"):
        fit.V("0")
    np.testing.assert_allclose(fit.V("0", rows=[3, 500]), g + s * np.eye(2))
    np.testing.assert_allclose(fit.R("0", rows=range(2)), s * np.eye(2))
    assert fit.marginal("0", rows=[0, 7]).mean.shape == (2,)
    for wrong in ([SIZE], [-1], [0.5], 3):
        with pytest.raises(DataError, match="whole numbers from 0 to 14999"):
            fit.V("0", rows=wrong)


def test_the_square_root_that_takes_v_itself_is_refused_with_the_way_out(large):
    _, data = large
    data = data.assign(w=np.linspace(0.5, 1.5, len(data)))
    fit = mlm.lmm("y ~ 1 + (1 | g)", data, weights="w")
    with pytest.raises(ModelError, match=r"square_root='whitened', or kind='CR3'"):
        fit.robust("CR2")
    assert np.isfinite(fit.robust("CR2", square_root="whitened").bse).all()


def test_what_no_memory_holds_is_refused_with_its_size(monkeypatch, forced):
    fit = fitted("crossed")
    monkeypatch.setattr(shared_effects, "LARGEST_DENSE", 2)
    monkeypatch.setattr(inner_blocks, "memory_left", lambda: 1e3)
    with pytest.raises(ModelError, match=r"correlated rows needs matrices of .* fit a sample"):
        fit.influence()


def test_scaled_residuals_that_cost_too_much_are_refused_with_the_way_out(monkeypatch, forced):
    from mlmfast.diagnostics import sequential_residuals

    fit = forced(fitted("crossed"), 2)
    monkeypatch.setattr(sequential_residuals, "_MOST_OPERATIONS", 1e3)
    with pytest.raises(ModelError, match=r"share 17 random effects.*resid\('studentised'\)"):
        fit.resid("scaled")
