"""Reduced rank random effects against glmmTMB, the dense oracle and the full covariance.

`tests/reference/reduced_rank.json` is what `tests/reference/reduced_rank.R` wrote (R 4.2.2, glmmTMB
1.1.5).
"""

import json
import warnings
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_allclose

import mlmfast as mlm
from mlmfast.errors import FormulaError, ModelError

from .. import dense

FOUND = json.loads(
    (Path(__file__).parents[1] / "reference" / "reduced_rank.json").read_text("utf-8")
)
DATA = pd.DataFrame({name: FOUND[name] for name in ("f", "g", "y")})


@pytest.fixture(scope="module")
def two():
    return mlm.lmm("y ~ f + rr(0 + f | g, 2)", DATA)


@pytest.fixture(scope="module")
def one():
    return mlm.lmm("y ~ f + rr(0 + f | g, 1)", DATA, method="ML")


@pytest.mark.parametrize("rank", ["two", "one"])
def test_a_fit_is_that_of_glmmtmb(rank, request):
    fit, found = request.getfixturevalue(rank), FOUND[rank]
    assert_allclose(fit.llf, found["llf"], rtol=1e-8)
    assert_allclose(fit.params, found["beta"], rtol=1e-4)
    assert_allclose(fit.bse, found["se"], rtol=1e-3)
    assert_allclose(fit.scale, found["sigma2"], rtol=1e-4)
    assert_allclose(fit.varcorr["g"], found["vcov"], rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize(("rank", "order"), [("two", 2), ("one", 1)])
def test_the_rank_is_by_design_and_nothing_to_warn_of(rank, order, request):
    fit = request.getfixturevalue(rank)
    assert fit.converged
    assert not fit.singular
    assert fit.certificate.boundary == ()
    values = np.linalg.eigvalsh(fit.varcorr["g"])[::-1]
    assert values[order - 1] > 1e-2
    assert_allclose(values[order:], 0.0, atol=1e-12)
    n_loadings = sum(4 - k for k in range(order))
    assert len(fit.varcorr.parameters) == n_loadings
    assert fit.aic == pytest.approx(fit.deviance + 2 * (4 + n_loadings + 1))


def test_a_fit_agrees_with_the_dense_oracle(two):
    design = two._source.design
    term = dense.Term(
        np.column_stack(design.random[0].columns),
        two.varcorr["g"].to_numpy(),
        design.factors[0].codes,
    )
    X = design.fixed_matrix
    V = dense.marginal_covariance([term], dense.residual_covariance(two.sigma**2, len(DATA)))
    assert_allclose(two.llf, dense.log_likelihood(design.y, X, V, "REML"), rtol=1e-10)
    beta, vcov = dense.gls(design.y, X, V)
    assert_allclose(two.params, beta, rtol=1e-8)
    assert_allclose(two.bse, np.sqrt(np.diag(vcov)), rtol=1e-8)
    assert_allclose(two.ranef["g"], dense.blups(term, design.y, X, V), rtol=1e-6, atol=1e-8)


def test_full_rank_is_unstructured():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        full = mlm.lmm("y ~ f + rr(0 + f | g, 4)", DATA)
        plain = mlm.lmm("y ~ f + (0 + f | g)", DATA)
    assert_allclose(full.llf, plain.llf, rtol=1e-9)


def test_no_start_finds_a_better_fit(two):
    rng = np.random.default_rng(0)
    for _ in range(6):
        root = rng.standard_normal((4, 2))
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            again = mlm.lmm("y ~ f + rr(0 + f | g, 2)", DATA, start={"g": root @ root.T})
        assert again.llf <= two.llf + 1e-7


def test_a_factor_too_many_is_singular():
    rng = np.random.default_rng(8)
    b = rng.normal(0, 1, (40, 1)) @ np.array([[1.0, 0.8, -0.6, 0.5]])
    y = b[DATA["g"] - 1, DATA["f"].map("abcd".index)] + rng.normal(0, 0.05, len(DATA))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        fit = mlm.lmm("y ~ f + rr(0 + f | g, 3)", DATA.assign(y=y))
    assert fit.converged
    one = mlm.lmm("y ~ f + rr(0 + f | g, 1)", DATA.assign(y=y))
    assert fit.llf >= one.llf - 1e-7


def test_engines_agree(two):
    again = mlm.lmm("y ~ f + rr(0 + f | g, 2)", DATA, options={"engine": "dense"})
    assert_allclose(again.llf, two.llf, rtol=1e-10)


def test_beside_a_crossed_factor():
    data = DATA.assign(h=np.tile(np.arange(8), 60))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        fits = [
            mlm.lmm("y ~ f + rr(0 + f | g, 2) + (1 | h)", data, options=options)
            for options in (None, {"engine": "dense"})
        ]
    assert_allclose(fits[0].llf, fits[1].llf, rtol=1e-8)


def test_a_saved_fit_and_its_tests(two):
    again = mlm.load(two.to_json())
    assert_allclose(again.predict(DATA.iloc[:5]), two.predict(DATA.iloc[:5]), rtol=1e-12)
    table = two.contrast("fb", ddf="kenward-roger").table
    assert np.isfinite(table.to_numpy(dtype=float)).all()
    assert two.covtest().frame.shape[0] == 8


@pytest.mark.parametrize(
    ("formula", "residual", "error", "message"),
    [
        ("y ~ rr(0 + f | g, 5)", None, ModelError, "between 1 and 4"),
        ("y ~ rr(0 + f | g, 1.5)", None, FormulaError, "whole number"),
        ("y ~ rr(1 | g)", None, ModelError, "at least 2"),
        ("y ~ f", "rr(f | g, 2)", FormulaError, "is for random effects"),
    ],
)
def test_ranks_that_mean_nothing_are_refused(formula, residual, error, message):
    with pytest.raises(error, match=message):
        mlm.lmm(formula, DATA, residual=residual)
