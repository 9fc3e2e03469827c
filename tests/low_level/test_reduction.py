"""Reduction against a dense oracle written out here, differences, and `LMM.fit`."""

import numpy as np
import pandas as pd
import pytest

import mlmfast as mlm


def simulated(seed=3, n=90, weights=False):
    rng = np.random.default_rng(seed)
    a, b = rng.integers(9, size=n), rng.integers(5, size=n)
    x = rng.normal(size=n) + 4.0
    X = np.column_stack([np.ones(n), x, rng.normal(size=n)])
    y = X @ [1.0, 0.5, -1.0] + 2.0 * rng.normal(size=9)[a] + rng.normal(size=9)[a] * x
    y = y + rng.normal(size=5)[b] + rng.normal(size=n)
    return {
        "y": y, "X": X, "a": a, "b": b, "w": rng.uniform(0.5, 2.0, size=n), "o": rng.normal(size=n),
    }  # fmt: skip


def dense(y, X, parts, sigma2, weights=None, method="REML"):
    """-2 log-likelihood, beta, its covariance, the BLUPs of each part: V written out.

    ``parts`` are (codes, Z, G).
    """
    n = len(y)
    V = np.diag(np.full(n, sigma2) if weights is None else sigma2 / weights)
    blocks = []
    for codes, Z, G in parts:
        wide = np.zeros((n, (codes.max() + 1) * Z.shape[1]))
        for i in range(n):
            wide[i, codes[i] * Z.shape[1] : (codes[i] + 1) * Z.shape[1]] = Z[i]
        full = np.kron(np.eye(codes.max() + 1), G)
        V = V + wide @ full @ wide.T
        blocks.append((wide, full, Z.shape[1]))
    solve = np.linalg.inv(V)
    information = X.T @ solve @ X
    beta = np.linalg.solve(information, X.T @ solve @ y)
    r = y - X @ beta
    deviance = np.linalg.slogdet(V)[1] + r @ solve @ r
    deviance += (n - (X.shape[1] if method == "REML" else 0)) * np.log(2.0 * np.pi)
    if method == "REML":
        deviance += np.linalg.slogdet(information)[1]
    blups = [(full @ wide.T @ solve @ r).reshape(-1, q) for wide, full, q in blocks]
    return deviance, beta, np.linalg.inv(information), blups, r @ solve @ r


CASES = {
    "intercept": {"groups": "a"},
    "slopes": {"groups": "a", "Z": slice(0, 2)},
    "weights and offset": {"groups": "a", "Z": slice(0, 2), "weights": True},
    "crossed": {"groups": ("a", "b"), "Z": slice(0, 2)},
    "none": {"groups": None},
}


def case(name, rows=slice(None)):
    """A reduction, its parts for the oracle and a theta inside."""
    d, how = simulated(), CASES[name]
    factors = () if how["groups"] is None else tuple(how["groups"])
    Z = {f: d["X"][:, how.get("Z", slice(0, 1))] if f == "a" else d["X"][:, :1] for f in factors}
    more = {"weights": d["w"][rows], "offset": d["o"][rows]} if how.get("weights") else {}
    reduction = mlm.Reduction(
        d["y"][rows],
        d["X"][rows],
        groups={f: d[f][rows] for f in factors} or None,
        Z={f: z[rows] for f, z in Z.items()} or None,
        **more,
    )
    G = {"a": np.array([[3.0, -0.4], [-0.4, 0.8]]), "b": np.array([[0.7]])}
    G = {f: G[f][: Z[f].shape[1], : Z[f].shape[1]] for f in factors}
    y = d["y"] - d["o"] if more else d["y"]
    return reduction, y, d, [(d[f], Z[f], G[f]) for f in factors], G, more.get("weights")


@pytest.mark.parametrize("method", ["REML", "ML"])
@pytest.mark.parametrize("name", CASES)
def test_the_likelihood_is_that_of_v_written_out(name, method):
    rows, y, d, parts, G, weights = case(name)
    theta = rows.theta(G, 1.3)
    deviance, beta, covariance, blups, rss = dense(y, d["X"], parts, 1.3, weights, method)
    assert rows.deviance(theta, method) == pytest.approx(deviance, rel=1e-11)
    found = rows.gls(theta)
    np.testing.assert_allclose(found.beta, beta, rtol=1e-9)
    np.testing.assert_allclose(found.covariance, covariance, rtol=1e-8, atol=1e-14)
    assert found.rss == pytest.approx(rss, rel=1e-10)
    own = rows.blups(theta)
    assert list(own) == list(G)
    for expected, effects in zip(blups, own.values(), strict=True):
        np.testing.assert_allclose(effects.mean, expected, rtol=1e-7, atol=1e-9)


@pytest.mark.parametrize("method", ["REML", "ML"])
@pytest.mark.parametrize("name", CASES)
def test_derivatives_are_those_of_the_deviance(name, method):
    rows, _, _, _, G, _ = case(name)
    theta = rows.theta(G, 1.3)
    n = len(theta)
    steps = 1e-5 * np.eye(n)

    def difference(function):
        return [(function(theta + s, method) - function(theta - s, method)) / 2e-5 for s in steps]

    slope, bend = difference(rows.deviance), difference(rows.gradient)
    np.testing.assert_allclose(rows.gradient(theta, method), slope, rtol=1e-6, atol=1e-6)
    np.testing.assert_allclose(rows.hessian(theta, method), bend, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("name", CASES)
def test_the_expected_hessian_is_the_trace_of_products(name):
    """tr(P V_i P V_j), with V written out."""
    rows, _, d, parts, G, weights = case(name)
    theta = rows.theta(G, 1.3)

    def covariance(values):
        matrices = list(rows.covariances(values).values())
        n = len(d["y"])
        V = np.diag(np.full(n, values[-1]) if weights is None else values[-1] / weights)
        for (codes, Z, _), own in zip(parts, matrices, strict=True):
            V = V + (Z @ own @ Z.T) * (codes[:, None] == codes[None])
        return V

    V = covariance(theta)
    inverse = np.linalg.inv(V)
    X = d["X"]
    P = inverse - inverse @ X @ np.linalg.solve(X.T @ inverse @ X, X.T @ inverse)
    moved = [covariance(theta + s) - V for s in np.eye(len(theta))]
    expected = [[np.trace(P @ a @ P @ b) for b in moved] for a in moved]
    np.testing.assert_allclose(rows.hessian(theta, expected=True), expected, rtol=1e-8)


@pytest.mark.parametrize("name", ["slopes", "weights and offset", "crossed"])
@pytest.mark.filterwarnings("ignore::mlmfast.SingularFitWarning")
def test_estimates_are_those_of_a_fit(name):
    rows, *_ = case(name)
    found, fit = rows.estimate(), rows.fit()
    assert found.deviance == fit.deviance
    assert found.converged == fit.converged
    np.testing.assert_array_equal(found.beta, fit.params)
    np.testing.assert_array_equal(found.covariance, fit.cov_params())
    for group, G in rows.covariances(found.theta).items():
        np.testing.assert_array_equal(G, fit.varcorr[group])
    assert found.theta[-1] == fit.scale
    assert rows.deviance(found.theta) == pytest.approx(fit.deviance, rel=1e-12)
    for group, effects in rows.blups(found.theta).items():
        np.testing.assert_allclose(effects.mean, fit.ranef[group], rtol=1e-8, atol=1e-10)
        assert list(effects.levels) == list(fit.ranef[group].index)
        first = fit.ranef_cov[group][effects.levels[0]]
        np.testing.assert_allclose(effects.covariance[0], first, rtol=1e-7, atol=1e-12)
    assert np.abs(rows.gradient(found.theta)).max() < 1e-5 * max(1.0, np.abs(found.deviance))


def test_at_other_coefficients():
    rows, y, d, parts, G, _ = case("intercept")
    theta, beta = rows.theta(G, 1.3), np.array([0.5, 0.1, 0.2])
    codes, _, matrix = parts[0]
    Z = (codes[:, None] == np.arange(9)[None]).astype(float)
    V = matrix[0, 0] * Z @ Z.T + 1.3 * np.eye(len(y))
    expected = matrix[0, 0] * Z.T @ np.linalg.solve(V, y - d["X"] @ beta)
    np.testing.assert_allclose(rows.blups(theta, beta)["a"].mean[:, 0], expected, rtol=1e-8)


@pytest.mark.parametrize("name", CASES)
def test_parts_add_up(name):
    """Rows in two parts, groups on both sides: the reduction of all rows, to the bit."""
    whole, _, _, _, G, _ = case(name)
    halves = [case(name, slice(0, 40))[0], case(name, slice(40, None))[0]]
    theta = whole.theta(G, 1.3)
    for merged in (halves[0] + halves[1], mlm.Reduction.merge(halves)):
        assert merged.names == whole.names
        assert merged.nobs == 90
        assert merged.deviance(theta) == whole.deviance(theta)
        np.testing.assert_array_equal(merged.hessian(theta), whole.hessian(theta))


def test_singular_covariances_are_served():
    rows, y, d, parts, _, _ = case("slopes")
    G = np.array([[1.0, 1.0], [1.0, 1.0]])
    theta = rows.theta({"a": G}, 1.3)
    codes, Z, _ = parts[0]
    expected = dense(y, d["X"], [(codes, Z, G)], 1.3)[0]
    assert rows.deviance(theta) == pytest.approx(expected, rel=1e-10)
    zero = rows.theta({"a": np.zeros((2, 2))}, 1.3)
    assert rows.deviance(zero) == pytest.approx(dense(y, d["X"], [], 1.3)[0], rel=1e-10)


def test_columns_that_depend_on_others():
    d = simulated()
    twice = np.column_stack([d["X"], 2.0 * d["X"][:, 1]])
    rows, plain = (mlm.Reduction(d["y"], X, groups=d["a"]) for X in (twice, d["X"]))
    theta = [2.0, 1.0]
    assert rows.deviance(theta, "ML") == pytest.approx(plain.deviance(theta, "ML"), rel=1e-12)
    found = rows.gls(theta)
    np.testing.assert_allclose(found.beta[:3], plain.gls(theta).beta, rtol=1e-9)
    assert np.isnan(found.beta[3])
    means = [r.blups(theta)["group"].mean for r in (rows, plain)]
    np.testing.assert_allclose(*means, rtol=1e-8)


@pytest.mark.parametrize(
    "labels",
    [
        np.array([3, 1, 2, 10]),
        np.array([-1, 5, 0, 2], dtype=np.int8),
        np.array([7, 2, 9, 2**40], dtype=np.uint64),
    ],
)
def test_groups_of_integers_are_those_of_a_frame(labels):
    """Coded without a frame; the levels and their order are those that a frame gives."""
    from mlmfast.data.frame import Frame
    from mlmfast.design.from_arrays import design_from_arrays

    groups = labels[np.random.default_rng(0).integers(4, size=60)]
    y, X = np.arange(60.0) ** 2, np.ones((60, 1))
    design = design_from_arrays(y, X, groups, None, None, None, None)
    factor = Frame.from_native({"group": groups}).factor("group")
    assert design.factors[0].labels == factor.levels
    np.testing.assert_array_equal(design.factors[0].codes, factor.codes)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda r: r.deviance([1.0]), "4 finite numbers are needed"),
        (lambda r: r.deviance([1.0, 0.0, 1.0, 0.0]), "above 0"),
        (lambda r: r.deviance([1.0, 0.0, np.nan, 1.0]), "finite"),
        (lambda r: r.gradient([1.0, 2.0, 1.0, 1.0]), "smallest eigenvalue is -1"),
        (lambda r: r.deviance([1.0, 0.0, 1.0, 1.0], "MCMC"), "use 'REML' or 'ML'"),
        (lambda r: r.theta({}, 1.0), "no covariance matrix"),
        (lambda r: r.theta({"a": [[1.0]]}, 1.0), "is needed"),
        (lambda r: r.theta({"a": [[1.0, 0.2], [0.0, 1.0]]}, 1.0), "not symmetric.*up to 0.2"),
    ],
)
def test_what_is_refused(call, message):
    with pytest.raises(mlm.ModelError, match=message):
        call(case("slopes")[0])


def test_parts_that_do_not_fit_together():
    d = simulated()
    y, X, a, b, w = (d[name] for name in ("y", "X", "a", "b", "w"))
    one = mlm.Reduction(y, X, groups=a)
    sloped = mlm.Reduction(y, X, groups=a, Z=X[:, :2])
    crossed = mlm.Reduction(y, X, groups={"a": a, "b": b})
    named = mlm.Reduction(y, X, groups=a, Z=pd.DataFrame(X[:, :2], columns=["one", "x"]))
    for first, second, message in (
        (
            one,
            mlm.Reduction(y, X[:, :2], groups=a),
            "columns of X: x1, x2, x3 in part 1, x1, x2 in",
        ),
        (one, mlm.Reduction(y, X), "grouping factors: group in part 1, none in part 2"),
        (one, crossed, "grouping factors: group in part 1, a, b in part 2"),
        (one, mlm.Reduction(y, X, groups={"site": a}), "group in part 1, site in part 2"),
        (one, sloped, "columns of Z for 'group': none in part 1, z1, z2 in part 2"),
        # As many effects: of the intercept, of a covariate.
        (one, mlm.Reduction(y, X, groups=a, Z=X[:, 1]), "Z for 'group': none in part 1, z1"),
        (sloped, named, "Z for 'group': z1, z2 in part 1, one, x in part 2"),
        (
            crossed,
            mlm.Reduction(y, X, groups={"a": a, "b": b}, Z={"b": X[:, 1]}),
            "Z for 'b': none in part 1, z1 in part 2",
        ),
        (one, mlm.Reduction(y, X, groups=a, weights=w), "part 2 has weights and part 1 has none"),
        (one, mlm.Reduction(y, X, groups=a, offset=w), "part 2 has offset and part 1 has none"),
    ):
        with pytest.raises(mlm.DataError, match=message):
            first + second
        with pytest.raises(mlm.DataError, match=r"part 1.*part 2|part 2.*part 1"):
            second + first
        with pytest.raises(mlm.DataError, match=r"part 3"):
            mlm.Reduction.merge([first, first, second])
    with pytest.raises(mlm.DataError, match="nothing to merge"):
        mlm.Reduction.merge([])
    with pytest.raises(TypeError):
        one + 3


def alike(merged, whole):
    """The same reduction, to the bit."""
    assert merged.names == whole.names
    theta = np.eye(len(whole.names))[-1] * 1.3
    for name in whole.names:
        theta[whole.names.index(name)] += 0.7 * name.startswith("var")
    assert merged.deviance(theta) == whole.deviance(theta)
    for ours, theirs in zip(merged.blups(theta).values(), whole.blups(theta).values(), strict=True):
        assert ours.levels == theirs.levels
        np.testing.assert_array_equal(ours.mean, theirs.mean)


def test_merged_parts_keep_names_and_the_order_of_rows():
    """Labelled rows in another order in X and groups than in y, as one Reduction takes them."""
    d = simulated()
    index = pd.Index([f"r{i}" for i in range(90)])
    mixed = np.random.default_rng(4).permutation(90)
    y = pd.Series(d["y"], index=index)
    X = pd.DataFrame(d["X"], index=index, columns=["(Intercept)", "x", "v"]).iloc[mixed]
    site = pd.Series(d["a"], index=index, name="site").iloc[mixed]
    weights = pd.Series(d["w"], index=index).iloc[mixed]

    def rows(which):
        own = index[which]
        return mlm.Reduction(
            y.loc[own],
            X.loc[[r for r in X.index if r in own]],
            groups=site.loc[[r for r in site.index if r in own]],
            Z=X.loc[[r for r in X.index if r in own], ["(Intercept)", "x"]],
            weights=weights.loc[[r for r in X.index if r in own]],
        )

    whole, parts = rows(slice(None)), [rows(slice(0, 40)), rows(slice(40, 70)), rows(slice(70, 90))]
    assert whole.names[0] == "var_(Intercept)|site"
    alike(parts[0] + parts[1] + parts[2], whole)
    alike(mlm.Reduction.merge(parts), whole)


def test_factors_of_parts_go_by_name():
    d = simulated()

    def rows(which, *names):
        Z = {"a": d["X"][which, :2]}
        return mlm.Reduction(
            d["y"][which], d["X"][which], groups={f: d[f][which] for f in names}, Z=Z
        )

    merged = rows(slice(0, 40), "a", "b") + rows(slice(40, None), "b", "a")
    alike(merged, rows(slice(None), "a", "b"))


def test_a_column_may_be_constant_in_one_part():
    """An arm of which one part has all rows: 1 there, and no intercept of the whole."""
    d = simulated()
    treated = (np.arange(90) < 40) | (np.arange(90) % 3 == 0)
    Z = np.column_stack([np.ones(90), treated])

    def rows(which):
        return mlm.Reduction(d["y"][which], d["X"][which], groups=d["a"][which], Z=Z[which])

    whole = rows(slice(None))
    assert whole.names[2] == "var_z2|group"
    alike(rows(slice(0, 40)) + rows(slice(40, None)), whole)


def test_columns_of_z_for_no_factor_are_refused():
    d = simulated()
    with pytest.raises(mlm.DataError, match="no grouping factor"):
        mlm.Reduction(d["y"], d["X"], groups={"a": d["a"]}, Z={"b": d["X"]})
