"""Cluster-robust covariances against clubSandwich and mmrm, and by their defining properties."""

import numpy as np
import pandas as pd
import pytest

import mlmfast as mlm
from mlmfast.errors import DataError, ModelError
from mlmfast.inference.robust.covariance import KINDS, robust_covariance

from ..cases import ALL, reference
from ..fits import fit_case

CASES = [
    (case_id, kind)
    for case_id in ALL
    for kind in KINDS
    if f"vcov_{kind.lower()}" in reference(case_id)["expect"]
]


@pytest.mark.parametrize(("case_id", "kind"), CASES)
def test_covariance_and_degrees_of_freedom_are_the_references(case_id, kind):
    expect = reference(case_id)["expect"]
    robust = fit_case(case_id).robust(kind, reference(case_id).get("cluster"))
    target = np.array(expect[f"vcov_{kind.lower()}"])
    scale = np.sqrt(np.outer(np.diag(target), np.diag(target)))
    np.testing.assert_allclose(robust.covariance.covariance / scale, target / scale, atol=1e-7)
    df = expect.get(f"df_satterthwaite_{kind.lower()}")
    if df is not None:
        np.testing.assert_allclose(robust.df.dropna(), list(df.values()), rtol=1e-7)


# clubSandwich 0.5.8, Wald_test(test = "HTZ") of sex and its slope on lme4's fit of Orthodont.
HTZ = {
    "CR0": (6.7352066195615, 20.875625017857),
    "CR1": (6.4857545225407, 20.875625017857),
    "CR2": (6.1983176460940, 20.653465346534),
    "CR3": (5.7031043129314, 20.428571428571),
}


@pytest.mark.parametrize("kind", KINDS)
def test_hotelling_test_of_several_rows_is_clubsandwichs(kind):
    result = fit_case("cr_orthodont_int_reml").robust(kind).contrast(np.eye(4)[2:])
    f, df = HTZ[kind]
    assert result["F"] == pytest.approx(f, rel=1e-8)
    assert result["den_df"] == pytest.approx(df, rel=1e-8)
    assert result["num_df"] == 2


def test_one_row_of_a_contrast_is_the_coefficients_t_test():
    robust = fit_case("cr_mortality_reml").robust("CR2")
    result = robust.contrast([0.0, 1.0, 0.0], rhs=0.5)
    assert result["estimate"] == pytest.approx(robust.params.iloc[1])
    assert result["se"] == pytest.approx(robust.bse.iloc[1])
    assert result["df"] == pytest.approx(robust.df.iloc[1])
    assert result["t"] == pytest.approx((robust.params.iloc[1] - 0.5) / robust.bse.iloc[1])


def test_bias_reduced_estimate_is_unbiased_under_the_model():
    """E V_CR2 = sum M X'WA (V - XMX') A'WX M equals M when the model is right."""
    for square_root in ("cholesky", "whitened"):
        c = robust_covariance(fit_case("cr_chickweight_ml"), "CR2", None, square_root)
        lost = np.swapaxes(c.leverage, 1, 2) @ c.bread @ c.leverage
        mean = c.bread @ (c.meat - lost).sum(axis=0) @ c.bread
        np.testing.assert_allclose(mean, c.bread, rtol=1e-7, atol=1e-9 * np.abs(c.bread).max())


def test_square_roots_differ_and_agree_where_clusters_are_balanced():
    unbalanced, balanced = fit_case("cr_chickweight_ml"), fit_case("cr_sleepstudy_slope_reml")

    def bse(fit, root):
        return fit.robust("CR2", square_root=root).bse.to_numpy()

    assert np.abs(bse(unbalanced, "cholesky") / bse(unbalanced, "whitened") - 1).max() > 1e-6
    np.testing.assert_allclose(bse(balanced, "cholesky"), bse(balanced, "whitened"), rtol=1e-10)


def test_compression_of_large_clusters_changes_nothing():
    rng = np.random.default_rng(5)
    group = np.repeat(np.arange(12), rng.integers(30, 60, 12))
    x = rng.normal(size=len(group))
    effects = rng.normal(size=(12, 2, 2))
    inner = (x > 0).astype(int)
    y = 1 + x + effects[group, 0, 0] + effects[group, 1, 0] * x
    y += effects[group, 0, inner] + rng.normal(size=len(group))
    data = {"y": y, "x": x, "g": group, "class": group * 2 + (x > 0)}
    nested = mlm.lmm("y ~ x + (x | g) + (1 | g:class)", data)
    # Weights of 1 leave the model alone but rule compression out.
    weighted = mlm.lmm("y ~ x + (x | g) + (1 | g:class)", data, weights=np.ones(len(y)))
    for kind in KINDS:
        a, b = nested.robust(kind), weighted.robust(kind)
        np.testing.assert_allclose(a.covariance.covariance, b.covariance.covariance, rtol=1e-6)
        np.testing.assert_allclose(a.df, b.df, rtol=1e-6)


def test_clusters_are_named_by_group_column_or_labels(pastes):
    fit = mlm.lmm("strength ~ 1 + (1 | batch/cask)", pastes)
    expected = fit.robust("CR2").bse.iloc[0]
    assert fit.robust("CR2", "batch").bse.iloc[0] == expected
    assert fit.robust("CR2", pastes["batch"].to_numpy()).bse.iloc[0] == expected
    assert fit.cov_params("CR2", cluster="batch").iloc[0, 0] == pytest.approx(expected**2)


def test_without_random_effects_clusters_are_the_heteroscedastic_sandwich(sleepstudy):
    """Each row a cluster: CR0 is White's HC0, CR2 his HC2, CR3 HC3."""
    fit = mlm.lmm("Reaction ~ Days", sleepstudy)
    x, e = np.asarray(fit.X(None)), fit.resid().to_numpy()
    bread = np.linalg.inv(x.T @ x)
    h = np.einsum("ia,ab,ib->i", x, bread, x)
    for kind, power in (("CR0", 0), ("CR2", 1), ("CR3", 2)):
        meat = x.T @ (x * (e**2 / (1 - h) ** power)[:, None])
        expected = bread @ meat @ bread
        labels = np.arange(len(e))
        np.testing.assert_allclose(fit.cov_params(kind, cluster=labels), expected, rtol=1e-8)


def test_table_prints_and_is_tidy():
    robust = fit_case("cr_mortality_reml").robust("CR2")
    assert str(robust).startswith("CR2 standard errors")
    tidy = robust.tidy()
    assert list(tidy["term"]) == list(robust.params.index)
    assert (tidy["conf_low"] < tidy["estimate"]).all()
    assert (robust.conf_int(0.99)["upper"] > tidy["conf_high"].to_numpy()).all()


def test_aliased_columns_stay_missing(cake):
    with pytest.warns(mlm.errors.AliasedWarning):
        fit = mlm.lmm("angle ~ temp + temperature + (1 | replicate)", cake)
    robust = fit.robust("CR1")
    assert pd.isna(robust.bse).sum() == len(fit.aliased)
    assert pd.isna(robust.pvalues).sum() == len(fit.aliased)


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        (("CR5",), ModelError, "use one of CR0, CR1, CR2, CR3"),
        (("CR2", "Subjct"), DataError, "did you mean 'Subject'"),
        (("CR2", "Days"), ModelError, "the model correlates them"),
        (("CR2", [1, 2]), DataError, "one label for each of the 180 rows"),
        (("CR2", np.full(180, np.nan)), DataError, "missing values"),
        (("CR2", np.zeros(180)), ModelError, "a single cluster"),
        (("CR2", None, "symmetric"), ModelError, "'cholesky' or 'whitened'"),
    ],
)
def test_refusals(sleepstudy, arguments, error, message):
    fit = mlm.lmm("Reaction ~ Days + (Days | Subject)", sleepstudy)
    with pytest.raises(error, match=message):
        fit.robust(*arguments)


def test_contrast_refusals():
    robust = fit_case("cr_mortality_reml").robust()
    with pytest.raises(ModelError, match="rows of 3 finite numbers"):
        robust.contrast([1.0, 0.0])
    with pytest.raises(ModelError, match="depend on each other"):
        robust.contrast([[0.0, 1.0, 0.0], [0.0, 2.0, 0.0]])
    with pytest.raises(ModelError, match="between 0 and 1"):
        robust.conf_int(95)


def test_no_clusters_without_a_grouping_factor(sleepstudy):
    with pytest.raises(ModelError, match="no grouping factor to cluster by"):
        mlm.lmm("Reaction ~ Days", sleepstudy).robust()


@pytest.mark.parametrize("kind", KINDS)
def test_an_offset_is_out_of_the_residuals(kind):
    """A fit with offset(baseline) is that of the change; clubSandwich 0.5.8 keeps the offset in."""
    rng = np.random.default_rng(4)
    data = pd.DataFrame({"id": np.repeat(np.arange(12), 5), "x": rng.normal(size=60)})
    data["baseline"] = rng.normal(50.0, 5.0, 60)
    data["change"] = rng.normal(size=12)[data["id"]] + rng.normal(size=60)
    data["y"] = data["baseline"] + data["change"]
    fits = [
        mlm.lmm(f"{formula} + (1 | id)", data)
        for formula in ("y ~ x + offset(baseline)", "change ~ x")
    ]
    given, change = (fit.robust(kind) for fit in fits)
    np.testing.assert_allclose(given.covariance.covariance, change.covariance.covariance, rtol=1e-7)
    np.testing.assert_allclose(given.df, change.df, rtol=1e-6)
    limits = [fit.predict(data.head(4), interval="prediction").to_numpy() for fit in fits]
    moved = limits[1] + data[["baseline"]].head(4).to_numpy()
    np.testing.assert_allclose(limits[0], moved, rtol=1e-8)
