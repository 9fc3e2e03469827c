"""Permutation tests: exact enumeration by hand, closed tests of balanced data, refusals."""

from itertools import combinations, permutations, product

import numpy as np
import pandas as pd
import pytest

import mlmfast as mlm
from mlmfast.errors import DataError, ModelError
from mlmfast.inference.permutation.arrangements import Arrangements


def _clusters(sizes, seed=1, effect=1.0, spread=0.7):
    rng = np.random.default_rng(seed)
    g = np.repeat(np.arange(len(sizes)), sizes)
    arm = (np.arange(len(sizes)) % 2).astype(float)[g]
    y = effect * arm + spread * rng.normal(size=len(sizes))[g] + rng.normal(size=len(g))
    return pd.DataFrame({"y": y, "arm": arm, "g": g})


def test_whole_clusters_are_the_permutation_test_of_their_means():
    data = _clusters([5] * 8)
    found = mlm.permutation_test(mlm.lmm("y ~ arm + (1 | g)", data), "arm")
    means = data.groupby("g")["y"].mean().to_numpy()
    differences = []
    for chosen in combinations(range(8), 4):
        own = np.isin(np.arange(8), chosen)
        differences.append(abs(means[own].mean() - means[~own].mean()))
    own = np.arange(8) % 2 == 1
    observed = abs(means[own].mean() - means[~own].mean())
    assert found.exact
    assert found.n == 70
    assert found.permuted == "clusters"
    assert found.pvalue == pytest.approx(np.mean(np.array(differences) >= observed - 1e-9))
    one_sided = mlm.permutation_test(
        mlm.lmm("y ~ arm + (1 | g)", data), "arm", alternative="greater"
    )
    assert one_sided.pvalue == pytest.approx(found.pvalue / 2)


def test_labels_of_clusters_of_unequal_sizes_by_refits_of_all():
    data = _clusters([2, 5, 3, 6, 4, 3], seed=4)
    fit = mlm.lmm("y ~ arm + (1 | g)", data)
    found = mlm.permutation_test(fit, "arm")
    values = []
    for chosen in combinations(range(6), 3):
        moved = data.assign(arm=np.isin(data["g"], chosen).astype(float))
        values.append(abs(mlm.lmm("y ~ arm + (1 | g)", moved).tvalues["arm"]))
    observed = abs(fit.tvalues["arm"])
    assert (found.n, found.exact) == (20, True)
    assert found.pvalue == pytest.approx(np.mean(np.array(values) >= observed * (1 - 1e-7)))
    np.testing.assert_allclose(np.sort(found.null), np.sort(values), rtol=1e-6)


def test_pairs_within_clusters_are_the_test_of_all_signs():
    rng = np.random.default_rng(2)
    d = rng.normal(0.5, 1, size=9)
    pairs = rng.normal(size=9)
    data = pd.DataFrame(
        {
            "y": np.stack([pairs, pairs + d], 1).ravel(),
            "x": [0.0, 1.0] * 9,
            "g": np.repeat(range(9), 2),
        }
    )
    found = mlm.permutation_test(mlm.lmm("y ~ x + (1 | g)", data), "x")
    signs = np.array(list(product([-1, 1], repeat=9)))
    means = np.abs((signs * d).mean(axis=1))
    assert (found.n, found.permuted) == (512, "within")
    assert found.pvalue == pytest.approx(np.mean(means >= abs(d.mean()) - 1e-9))


def test_a_random_intercept_is_the_permutation_test_of_the_f_ratio():
    rng = np.random.default_rng(8)
    g = np.repeat([0, 1, 2], 2)
    y = np.array([-2.0, 0.0, 2.0])[g] + rng.normal(size=6)
    found = mlm.permutation_test(mlm.lmm("y ~ 1 + (1 | g)", {"y": y, "g": g}), "(1 | g)", n=800)

    def f_ratio(values):
        means = values.reshape(3, 2).mean(axis=1)
        within = ((values.reshape(3, 2) - means[:, None]) ** 2).sum() / 3
        return 2 * ((means - values.mean()) ** 2).sum() / 2 / within

    every = np.array([f_ratio(y[list(order)]) for order in permutations(range(6))])
    assert found.exact
    # Six rows in three groups of two: 6! / (2! 2! 2!).
    assert found.n == 90
    assert found.pvalue == pytest.approx(np.mean(every >= f_ratio(y) - 1e-9))
    assert found.statistic_name == "restricted likelihood ratio"


def test_several_arms_by_enumeration():
    rng = np.random.default_rng(5)
    g = np.repeat(np.arange(6), 3)
    arm = np.array(list("aabbcc"))[g]
    data = pd.DataFrame({"y": rng.normal(size=18) + (arm == "c"), "arm": arm, "g": g})
    found = mlm.permutation_test(mlm.lmm("y ~ arm + (1 | g)", data), "arm")
    means = data.groupby("g")["y"].mean().to_numpy()

    def between(order):
        return ((means[list(order)].reshape(3, 2).mean(axis=1) - means.mean()) ** 2).sum()

    every = np.array([between(order) for order in permutations(range(6))])
    assert (found.n, found.statistic_name) == (90, "F")
    assert found.pvalue == pytest.approx(np.mean(every >= between(range(6)) - 1e-9))
    fit = mlm.lmm("y ~ arm + (1 | g)", data)
    assert found.statistic == pytest.approx(fit.anova().frame.loc["arm", "F value"], rel=1e-6)


def test_the_null_distribution_at_random_is_that_of_the_whole():
    data = _clusters([4] * 8, seed=3, effect=0.6)
    fit = mlm.lmm("y ~ arm + (1 | g)", data)
    exact = mlm.permutation_test(fit, "arm").pvalue
    few = mlm.permutation_test(fit, "arm", n=69, seed=1)
    assert not few.exact
    assert abs(few.pvalue - exact) < 4 * np.sqrt(exact * (1 - exact) / 69) + 1 / 70
    assert few.pvalue == mlm.permutation_test(fit, "arm", n=69, seed=1).pvalue


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::mlmfast.errors.SingularFitWarning")
@pytest.mark.parametrize("formula", ["y ~ x + (1 | g)", "y ~ x + (x | g)"])
def test_level_under_the_null(formula):
    rng = np.random.default_rng(11)
    g = np.repeat(np.arange(10), 6)
    hits = 0
    for _ in range(400):
        x = rng.normal(size=60)
        y = rng.normal(size=10)[g] + 0.5 * rng.normal(size=10)[g] * x + rng.standard_t(4, size=60)
        y = y if "(x |" in formula else rng.normal(size=10)[g] + rng.standard_t(4, size=60)
        fit = mlm.lmm(formula, {"y": y, "x": x, "g": g})
        hits += mlm.permutation_test(fit, "x", n=99, seed=int(rng.integers(1 << 30))).pvalue <= 0.05
    # Three Monte Carlo standard errors.
    assert abs(hits / 400 - 0.05) < 3 * np.sqrt(0.05 * 0.95 / 400)


def test_whitened_residuals_of_the_null_come_back():
    data = mlm.load_sleepstudy()
    fit = mlm.lmm("Reaction ~ Days + (Days | Subject)", data)
    found = mlm.permutation_test(fit, "Days", n=99, seed=1)
    assert found.permuted == "whitened"
    assert found.statistic == pytest.approx(fit.tvalues["Days"], rel=1e-6)
    assert found.pvalue < 0.05
    null = mlm.lmm("Reaction ~ 1 + (Days | Subject)", data)
    from mlmfast.inference.permutation.exchange import whitened

    exchange = whitened(fit, null)
    np.testing.assert_allclose(exchange.residuals, null.resid("scaled"), rtol=1e-8)
    np.testing.assert_allclose(exchange._response(np.arange(180)), data["Reaction"], rtol=1e-12)


def test_the_likelihood_ratio_and_residual_structures():
    data = mlm.load_sleepstudy()
    fit = mlm.lmm("Reaction ~ Days", data, residual="ar1(Days | Subject)")
    found = mlm.permutation_test(fit, "Days", n=50, seed=1, statistic="lr")
    full = mlm.lmm("Reaction ~ Days", data, residual="ar1(Days | Subject)", method="ML")
    null = mlm.lmm("Reaction ~ 1", data, residual="ar1(Days | Subject)", method="ML")
    assert found.statistic == pytest.approx(null.deviance - full.deviance, rel=1e-6)
    assert found.permuted == "whitened"
    assert "Permutation test of Days: likelihood ratio" in repr(found)


def test_what_is_exchanged_by_default():
    rng = np.random.default_rng(6)
    data = pd.DataFrame(
        {"a": np.repeat(np.arange(8), 12), "b": np.tile(np.repeat([0, 1, 2], 4), 8)}
    )
    data["arm"], data["part"] = data["a"] % 2.0, (data["b"] == 1) * 1.0
    data["x"] = rng.normal(size=96)
    b = data["a"] * 3 + data["b"]
    data["y"] = rng.normal(size=8)[data["a"]] + rng.normal(size=24)[b] + rng.normal(size=96)
    nested = mlm.lmm("y ~ arm + part + x + (1 | a/b)", data)
    found = {
        name: mlm.permutation_test(nested, name, n=9, seed=1).permuted
        for name in ("arm", "part", "x")
    }
    # A part of a cluster is constant in its rows, and varies among the parts.
    assert found == {"arm": "clusters", "part": "whitened", "x": "within"}
    crossed = mlm.lmm("y ~ x + (1 | a) + (1 | b)", data)
    assert mlm.permutation_test(crossed, "x", n=9, seed=1).permuted == "whitened"


def _collinear(order):
    """Clusters of unequal sizes, a covariate of theirs, and fits of every arrangement of arm."""
    data = _clusters([2, 5, 3, 6, 4, 3], seed=4, spread=1.0)
    data["z"] = np.array([1.0, 1.0, 0.0, 0.0, 1.0, 0.0])[data["g"]]
    formula = f"y ~ {order} + (1 | g)"
    values = []
    for chosen in combinations(range(6), 3):
        moved = data.assign(arm=np.isin(data["g"], chosen).astype(float))
        # arm = z and arm = 1 - z, which say nothing of arm.
        if abs(np.corrcoef(moved["arm"], moved["z"])[0, 1]) < 0.999:
            values.append(abs(mlm.lmm(formula, moved).tvalues["arm"]))
    return mlm.lmm(formula, data), np.array(values)


@pytest.mark.parametrize("order", ["z + arm", "arm + z"])
def test_an_arrangement_that_equals_a_covariate_has_no_statistic(order):
    fit, values = _collinear(order)
    found = mlm.permutation_test(fit, "arm")
    extreme = values >= abs(fit.tvalues["arm"]) * (1 - 1e-7)
    assert (len(values), found.n, found.n_failed) == (18, 18, 2)
    assert found.pvalue == pytest.approx(extreme.mean())
    np.testing.assert_allclose(np.sort(found.null), np.sort(values), rtol=1e-6)
    assert not found.exact
    assert not found.at_random
    assert np.isnan(found.standard_error)
    assert found.bounds == pytest.approx((extreme.sum() / 20, (extreme.sum() + 2) / 20))
    assert "all 20 arrangements, of which 2 failed and are left out" in repr(found)
    some = mlm.permutation_test(fit, "arm", n=19, seed=3)
    low, high = some.bounds
    assert some.n + some.n_failed == 19
    assert some.at_random
    assert low <= some.pvalue <= high
    assert (high - low) * 20 == pytest.approx(some.n_failed)
    # The ratio of likelihoods is there: models that coincide have 1.
    ratio = mlm.permutation_test(fit, "arm", statistic="lr")
    assert (ratio.n, ratio.exact, ratio.bounds) == (20, True, (ratio.pvalue, ratio.pvalue))
    assert np.sum(ratio.null < 1e-8) >= 2


@pytest.mark.parametrize("order", ["z + arm", "arm + z"])
@pytest.mark.filterwarnings("ignore::mlmfast.errors.SingularFitWarning")
def test_several_arms_of_which_one_equals_a_covariate(order):
    rng = np.random.default_rng(1)
    g = np.repeat(np.arange(6), [2, 5, 3, 6, 4, 3])
    data = pd.DataFrame({"g": g, "y": rng.normal(size=6)[g] + rng.normal(size=len(g))})
    data["z"], data["arm"] = np.array([1.0, 1, 0, 0, 0, 0])[g], np.array(list("abcabc"))[g]
    fit = mlm.lmm(f"y ~ {order} + (1 | g)", data)
    found = mlm.permutation_test(fit, "arm")
    # z is one of the arms where both its clusters are of one: 3 arms, 4! / (2! 2!) ways each.
    assert (found.n, found.n_failed, found.exact) == (90 - 18, 18, False)
    values = []
    for arms in sorted(set(permutations("aabbcc"))):
        if arms[0] != arms[1]:
            moved = mlm.lmm(f"y ~ {order} + (1 | g)", data.assign(arm=np.array(list(arms))[g]))
            own = [name for name in moved.params.index if name.startswith("arm")]
            b, v = moved.params[own].to_numpy(), moved.cov_params().loc[own, own].to_numpy()
            values.append(b @ np.linalg.solve(v, b) / 2)
    np.testing.assert_allclose(np.sort(found.null), np.sort(values), rtol=1e-5, atol=1e-9)
    observed = fit.anova().frame.loc["arm", "F value"]
    assert found.pvalue == pytest.approx(np.mean(np.array(values) >= observed * (1 - 1e-6)))


@pytest.mark.filterwarnings("ignore::mlmfast.errors.AliasedWarning")
def test_what_the_data_do_not_tell_is_refused():
    data = _clusters([2, 5, 3, 6, 4, 3], seed=4)
    data["z"] = data["arm"]
    for order in ("z + arm", "arm + z"):
        fit = mlm.lmm(f"y ~ {order} + (1 | g)", data)
        for permute in ("clusters", "whitened"):
            with pytest.raises(ModelError, match=r"aliased|not estimable"):
                mlm.permutation_test(fit, "arm", permute=permute, n=9)


def test_functions_that_say_the_same_twice():
    data = _clusters([5] * 6)
    fit = mlm.lmm("y ~ arm + (1 | g)", data)
    once = mlm.permutation_test(fit, "arm")
    twice = mlm.permutation_test(fit, ["arm = 0", "2 * arm = 0"])
    assert twice.pvalue == once.pvalue
    assert twice.statistic == pytest.approx(once.statistic)


@pytest.mark.filterwarnings("ignore::mlmfast.errors.SingularFitWarning")
def test_another_indicator_is_no_level_of_what_is_tested():
    data = _clusters([2, 5, 3, 6, 4, 3, 2], seed=4)
    # In none of the clusters of the arm, 1, 3 and 5.
    data["z2"] = np.isin(data["g"], [0, 6]).astype(float)
    formula = "y ~ arm + z2 + (1 | g)"
    fit = mlm.lmm(formula, data)
    found = mlm.permutation_test(fit, "arm")
    values = []
    for chosen in combinations(range(7), 3):
        moved = data.assign(arm=np.isin(data["g"], chosen).astype(float))
        values.append(abs(mlm.lmm(formula, moved).tvalues["arm"]))
    assert (found.n, found.exact) == (35, True)
    assert found.pvalue == pytest.approx(
        np.mean(np.array(values) >= abs(fit.tvalues["arm"]) * (1 - 1e-7))
    )


def test_a_level_is_not_moved_without_the_others():
    data = _clusters([2, 5, 3, 6, 4, 3], seed=4)
    data["three"] = np.array(list("abcabc"))[data["g"]]
    fit = mlm.lmm("y ~ three + (1 | g)", data)
    name = fit.params.index[1]
    with pytest.raises(ModelError, match="of the same term as what is tested"):
        mlm.permutation_test(fit, name)
    X = np.column_stack([np.ones(len(data)), data["three"] == "b", data["three"] == "c"])
    arrays = mlm.LMM.from_arrays(
        data["y"].to_numpy(), X.astype(float), groups=data["g"].to_numpy(), names=["one", "b", "c"]
    ).fit()
    with pytest.raises(ModelError, match="may be another level"):
        mlm.permutation_test(arrays, "b")
    both = mlm.permutation_test(arrays, ["b = 0", "c = 0"])
    assert both.pvalue == mlm.permutation_test(fit, "three").pvalue


@pytest.mark.filterwarnings("ignore::mlmfast.errors.SingularFitWarning")
def test_the_likelihood_ratio_of_a_difference_by_labels():
    rng = np.random.default_rng(1)
    g = np.repeat(np.arange(5), [2, 5, 3, 6, 4])
    data = pd.DataFrame({"g": g, "y": rng.normal(size=5)[g] + rng.normal(size=len(g))})

    def ratio(arms):
        moved = data.assign(arm=np.array(list(arms))[g])
        merged = moved.assign(arm=moved["arm"].replace("c", "b"))
        full, null = (mlm.lmm("y ~ arm + (1 | g)", d, method="ML") for d in (moved, merged))
        return null.deviance - full.deviance

    fit = mlm.lmm("y ~ arm + (1 | g)", data.assign(arm=np.array(list("abcab"))[g]))
    b, c = fit.params.index[1:]
    found = mlm.permutation_test(fit, f"{b} - {c} = 0", statistic="lr")
    values = np.array([ratio(arms) for arms in sorted(set(permutations("abcab")))])
    assert (found.n, found.exact) == (30, True)
    np.testing.assert_allclose(np.sort(found.null), np.sort(values), atol=1e-6)
    assert found.pvalue == pytest.approx(np.mean(values >= ratio("abcab") * (1 - 1e-6)))


def test_more_things_than_calls_may_be_nested():
    classes = np.zeros(1100, dtype=int)
    classes[7] = 1
    many = Arrangements((np.arange(1100),), classes)
    # Which thing comes to the one place of its class.
    found = [int(order[7]) for order in many.every()]
    assert found[0] == 7
    assert sorted(found) == list(range(1100))
    assert many.count == 1100


def test_arrangements():
    three = Arrangements((np.array([0, 2]), np.array([1, 3, 4])), np.array([0, 0, 1, 1, 0]))
    every = [tuple(order) for order in three.every()]
    assert len(every) == len(set(every)) == three.count == 2 * 3
    assert every[0] == (0, 1, 2, 3, 4)
    [one] = three.some(1, np.random.default_rng(1))
    assert set(one[[0, 2]]) == {0, 2}


def test_refusals():
    data = _clusters([4] * 6)
    data["x"] = np.arange(24.0)
    fit = mlm.lmm("y ~ arm + x + (1 | g)", data)
    with pytest.raises(ModelError, match="did you mean 'arm'"):
        mlm.permutation_test(fit, "amr")
    with pytest.raises(ModelError, match="'within', 'clusters' or 'whitened'"):
        mlm.permutation_test(fit, "arm", permute="rows")
    with pytest.raises(ModelError, match="constant within clusters"):
        mlm.permutation_test(fit, "arm", permute="within")
    with pytest.raises(ModelError, match="subtract the value by an offset"):
        mlm.permutation_test(fit, "arm = 1")
    with pytest.raises(DataError, match="integer >= 1"):
        mlm.permutation_test(fit, "arm", n=0)
    with pytest.raises(ModelError, match="no random effect"):
        mlm.permutation_test(fit, "(1 | h)")
    with pytest.raises(ModelError, match="a variance has no sign"):
        mlm.permutation_test(fit, "(1 | g)", alternative="less")
    with pytest.raises(ModelError, match=r"mlm\.lmm"):
        mlm.permutation_test(data, "arm")
    slopes = mlm.lmm("y ~ x + (x | g)", data)
    with pytest.raises(ModelError, match="random slopes"):
        mlm.permutation_test(slopes, "x", permute="within")
    uneven = mlm.lmm("y ~ arm + x + (1 | g)", data.iloc[1:])
    with pytest.raises(ModelError, match="the tested columns vary"):
        mlm.permutation_test(uneven, "x", permute="clusters")
