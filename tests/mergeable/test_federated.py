"""Five sites that share sums only: the fit by the algebra of cluster sums, and that of all rows."""

import numpy as np
import pandas as pd
import pytest

import mlmfast as mlm

from .data import relative

FORMULA = "stay ~ age + sex + (1 + age | site)"


@pytest.fixture(scope="module")
def sites():
    """Rows of five hospitals of different sizes."""
    rng = np.random.default_rng(9)
    out = []
    for k, n in enumerate((80, 150, 40, 300, 95)):
        age = rng.normal(60.0, 12.0, n)
        sex = rng.choice(["F", "M"], n)
        effects = rng.normal(size=2) * [1.5, 0.05]
        stay = 5.0 + effects[0] + (0.03 + effects[1]) * age + 0.4 * (sex == "M")
        out.append(
            pd.DataFrame(
                {"stay": stay + rng.normal(size=n), "age": age, "sex": sex, "site": f"site {k}"}
            )
        )
    return out


def shipped(site, folder):
    """What a site sends: a file without labels."""
    reduction = mlm.reduce(
        FORMULA, [site], levels={"sex": ["F", "M"]}, labels=False, min_cluster_size=10
    )
    path = folder / f"{site.site.iloc[0]}.arrow"
    reduction.save(path)
    return path


@pytest.mark.filterwarnings("ignore::mlmfast.SingularFitWarning")
def test_sites_that_ship_files_have_the_pooled_fit(sites, tmp_path):
    paths = [shipped(site, tmp_path) for site in sites]
    merged = mlm.Reduction.merge([mlm.load_reduction(path) for path in paths])
    to_the_end = {"tolerance": 1e-18}
    pooled = mlm.lmm(FORMULA, pd.concat(sites), ddf="kenward-roger", options=to_the_end)
    fit = merged.fit(ddf="kenward-roger", options=to_the_end)
    assert relative(fit.params, pooled.params, 1e-1) < 1e-11
    assert relative(fit.bse, pooled.bse) < 1e-11
    assert relative(fit.df, pooled.df) < 1e-9
    assert relative(fit.varcorr["site"], pooled.varcorr["site"], 1e-3) < 1e-9


def test_the_likelihood_is_that_of_the_sums(sites):
    """-2 log-likelihood from sums of squares and products of each site, by Woodbury's formula."""
    merged = mlm.reduce(FORMULA, sites)
    G, sigma2 = np.array([[2.0, 0.01], [0.01, 0.003]]), 1.1
    gram, logdet, n = np.zeros((4, 4)), 0.0, 0
    for site in sites:
        Z = np.column_stack([np.ones(len(site)), site.age])
        own = np.column_stack([Z, site.sex == "M", site.stay]).astype(float)
        sums = own.T @ own
        inner = np.linalg.inv(np.linalg.inv(G) * sigma2 + sums[:2, :2])
        gram += (sums - sums[:, :2] @ inner @ sums[:2]) / sigma2
        logdet += len(site) * np.log(sigma2)
        logdet += np.linalg.slogdet(np.eye(2) + G @ sums[:2, :2] / sigma2)[1]
        n += len(site)
    beta = np.linalg.solve(gram[:3, :3], gram[:3, 3])
    rss = gram[3, 3] - beta @ gram[:3, 3]
    deviance = logdet + rss + (n - 3) * np.log(2 * np.pi) + np.linalg.slogdet(gram[:3, :3])[1]
    theta = merged.theta({"site": G}, sigma2)
    assert relative([merged.deviance(theta)], [deviance]) < 1e-10
    assert relative(merged.gls(theta).beta, beta, 1e-1) < 1e-8
