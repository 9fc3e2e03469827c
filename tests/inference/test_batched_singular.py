"""Tests of many singular fits together: those of each by the information of its parameters."""

import numpy as np
import pytest

import mlmfast as mlm
from mlmfast.degrees_of_freedom import method_of
from mlmfast.degrees_of_freedom.satterthwaite import gradient_of_phi, of_variances

N_FITS = 60


def one_level(z, rows=6, clusters=12, seed=3):
    """Responses on a random slope for each of `z` columns, whose variances are near 0."""
    rng = np.random.default_rng(seed)
    groups = np.repeat(np.arange(clusters), rows)
    X = np.column_stack([np.ones(groups.size), rng.normal(size=(groups.size, 2))])
    effects = rng.normal(size=(clusters, N_FITS))[groups] * 0.3
    Y = X.sum(axis=1)[:, None] + effects + rng.normal(size=(groups.size, N_FITS))
    return mlm.LMM.from_arrays(Y[:, 0], X, groups=groups, Z=X[:, :z]), Y


def nested():
    """Pupils of classes of schools; slopes by school."""
    rng = np.random.default_rng(5)
    school, classes = np.repeat(np.arange(8), 12), np.repeat(np.arange(24), 4)
    X = np.column_stack([np.ones(96), rng.normal(size=96)])
    Y = X.sum(axis=1)[:, None] + rng.normal(size=(96, N_FITS))
    Y += 0.3 * rng.normal(size=(8, N_FITS))[school] + 0.4 * rng.normal(size=(24, N_FITS))[classes]
    groups = {"school": school, "class": classes}
    return mlm.LMM.from_arrays(Y[:, 0], X, groups=groups, Z={"school": X}), Y


MODELS = {
    "intercept": one_level(1),
    "slope": one_level(2),
    "slopes": one_level(3),
    "nested": nested(),
}


def by_information(rows):
    """Satterthwaite's degrees of freedom of one fit, from the information of its parameters."""
    information = rows.information
    slopes = np.einsum("kii->ik", gradient_of_phi(information))
    return of_variances(np.diag(rows.vcov), slopes, information.covariance("observed"))


@pytest.mark.parametrize("method", ["REML", "ML"])
@pytest.mark.parametrize("name", MODELS)
def test_degrees_of_freedom_are_those_of_each_fit_by_its_information(name, method):
    model, Y = MODELS[name]
    batch = model.fit_many(Y, method)
    assert batch.singular.sum() > 10
    groups = list(batch._rows.regular(False))
    assert all(group.bases.usable.all() for group in groups)
    expected = [by_information(batch._rows[k]) for k in range(N_FITS)]
    np.testing.assert_allclose(batch.df(), expected, rtol=1e-9)


@pytest.mark.parametrize("ddf", ["kenward-roger", "kenward-roger-linear", "kenward-roger-2009"])
@pytest.mark.parametrize("name", MODELS)
def test_kenward_and_rogers_errors_are_those_of_each_fit_by_its_information(name, ddf):
    model, Y = MODELS[name]
    batch, method = model.fit_many(Y[:, :20], ddf=ddf), method_of(ddf)
    expected = np.full(batch.bse.shape, np.nan)
    for k in range(20):
        rows = batch._rows[k]
        information = method.about(rows)
        adjusted = method._adjusted(rows, information, information.covariance("observed"))
        expected[k] = np.sqrt(np.diag(adjusted))
    assert batch.singular.any()
    np.testing.assert_allclose(batch.bse, expected, rtol=1e-9)


def test_without_a_variance_the_degrees_of_freedom_are_those_of_the_residual():
    model, Y = MODELS["intercept"]
    batch = model.fit_many(Y)
    none = batch.singular
    assert none.sum() > 5
    np.testing.assert_allclose(batch.df()[none], Y.shape[0] - 3, rtol=1e-12)


@pytest.mark.parametrize("ddf", ["satterthwaite", "kenward-roger"])
@pytest.mark.parametrize("name", ["slope", "nested"])
def test_a_fit_has_the_same_bits_alone(name, ddf):
    model, Y = MODELS[name]
    batch = model.fit_many(Y, ddf=ddf)
    for k in np.flatnonzero(batch.singular)[:3]:
        alone = model.fit_many(Y[:, [k]], ddf=ddf)
        assert alone.df().tobytes() == batch.df()[[k]].tobytes()
        assert alone.bse.tobytes() == batch.bse[[k]].tobytes()
