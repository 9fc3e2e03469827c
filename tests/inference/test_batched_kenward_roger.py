"""Kenward and Roger's tests of many fits in one call."""

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

import mlmfast as mlm
from mlmfast.degrees_of_freedom import method_of
from mlmfast.degrees_of_freedom.kenward_roger import KenwardRoger

METHODS = [
    "kenward-roger", "kenward-roger-linear", "kenward-roger-2009", "kenward-roger-expected",
]  # fmt: skip


def data(n_fits=12, n_groups=9, n_rows=5, seed=1):
    rng = np.random.default_rng(seed)
    g = np.repeat(np.arange(n_groups), n_rows)[:-2]
    X = np.stack([np.ones((n_fits, g.size)), rng.normal(size=(n_fits, g.size))], axis=2)
    effects = 2.0 * rng.normal(size=(n_fits, n_groups, 2))
    y = X.sum(axis=2) + (X * effects[:, g]).sum(axis=2) + rng.normal(size=(n_fits, g.size))
    same = X[0].sum(axis=1) + (X[0] * effects[:, g]).sum(axis=2) + rng.normal(size=y.shape)
    return g, X, y, np.ascontiguousarray(same.T)


@pytest.mark.parametrize("ddf", METHODS)
@pytest.mark.parametrize("weighted", [False, True])
def test_tests_together_are_those_of_the_general_formulas(ddf, weighted):
    g, X, y, same = data()
    weights = np.linspace(0.5, 2.0, g.size) if weighted else None
    model = mlm.LMM.from_arrays(y[0], X[0], groups=g, Z=X[0], weights=weights)
    batch = model.fit_many(same, ddf=ddf)

    class General(type(method_of(ddf))):
        """The same without what is taken together."""

        stacks = False

    looked_at = 0
    for fit in np.flatnonzero(~batch.singular):
        basis = General().basis(batch._rows[int(fit)])
        assert_allclose(batch.bse[fit], np.sqrt(np.diag(basis.vcov)), rtol=1e-9)
        degrees = General().of_rows(basis, np.eye(2))
        assert_allclose(batch.df[fit], degrees, rtol=1e-8)
        looked_at += 1
    assert looked_at > 5


@pytest.mark.parametrize("ddf", METHODS)
def test_a_fit_has_the_same_bits_alone_and_in_a_batch(ddf):
    g, X, y, responses = data()
    model = mlm.LMM.from_arrays(y[0], X[0], groups=g, Z=X[0])
    same = model.fit_many(responses, ddf=ddf)
    own = mlm.fit_each(y=y, X=X, groups=g, Z=X, ddf=ddf)
    for batch in (same, own):
        tests = batch.tests("x1 = 1")
        for fit in range(len(y)):
            alone = batch[fit]
            for name in ("params", "bse", "df", "pvalues"):
                assert_array_equal(getattr(alone, name), getattr(batch, name)[fit], err_msg=name)
            contrast = alone.contrast("x1 = 1")
            assert contrast.table["p_value"].iloc[0] == tests.pvalue[fit, 0]


def test_standard_errors_differ_from_those_without_an_adjustment():
    g, X, y, _ = data()
    adjusted = mlm.fit_each(y=y, X=X, groups=g, Z=X, ddf="kenward-roger")
    plain = mlm.fit_each(y=y, X=X, groups=g, Z=X)
    regular = ~plain.singular
    assert (adjusted.bse[regular] > plain.bse[regular]).all()
    assert_array_equal(adjusted.params, plain.params)
    later = plain.df("kenward-roger")
    assert_array_equal(later, np.asarray(adjusted.df))


def test_by_expected_information_a_variance_of_0_counts_too():
    rng = np.random.default_rng(4)
    g = np.repeat(np.arange(8), 4)[:-1]
    X = np.column_stack([np.ones(g.size), rng.normal(size=g.size)])
    model = mlm.LMM.from_arrays(np.zeros(g.size) + X[:, 1], X, groups=g)
    batch = model.fit_many(rng.normal(size=(g.size, 12)), ddf="kenward-roger-expected")
    assert 2 < batch.singular.sum() < 10

    class General(type(method_of("kenward-roger-expected"))):
        """The same without what is taken together."""

        stacks = False

    for fit in range(12):
        basis = General().basis(batch._rows[fit])
        assert_allclose(batch.bse[fit], np.sqrt(np.diag(basis.vcov)), rtol=1e-9)
        assert_allclose(batch.df[fit], General().of_rows(basis, np.eye(2)), rtol=1e-8)


def test_other_tests_of_a_batch_by_expected_information_are_by_observed_information():
    g, X, y, responses = data()
    model = mlm.LMM.from_arrays(y[0], X[0], groups=g, Z=X[0])
    batch = model.fit_many(responses, ddf="kenward-roger-expected")
    for ddf in ("satterthwaite", "kenward-roger"):
        assert_array_equal(batch.df(ddf), model.fit_many(responses, ddf=ddf).df)
    own = mlm.fit_each(y=y, X=X, groups=g, Z=X, ddf="kenward-roger-expected")
    assert_array_equal(own.df("satterthwaite"), mlm.fit_each(y=y, X=X, groups=g, Z=X).df)
    assert KenwardRoger.adjusts
