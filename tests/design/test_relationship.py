"""Known relationships between levels: against dense matrices, limits, forms of input, refusals."""

import json
from functools import cache

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_allclose
from scipy import sparse

import mlmfast as mlm
from mlmfast.cli.commands import main
from mlmfast.design.factors.grouping import GroupingFactor
from mlmfast.design.factors.related_levels import relationship
from mlmfast.errors import DataError, ModelError, RelationshipWarning
from mlmfast.reduction.engines.options import CrossedSettings
from mlmfast.reduction.engines.sizes import FEW_ROWS

from .. import dense
from ..cases import REFERENCE
from ..fits import lmm
from ..general_models import animals, pedigree

MODELS = {
    "animal": ("y ~ x + (1 | animal)", {}),
    "animal and permanent environment": ("y ~ x + (1 | animal) + (1 | pe)", {"method": "ML"}),
    "slopes": ("y ~ x + (x | animal) + (1 | herd)", {"weights": "w"}),
    "repeated records": ("y ~ x + (1 | animal)", {"residual": "ar1(time | animal)"}),
    "scale by herd": ("y ~ x + (1 | animal)", {"residual_scale": "herd"}),
}


@cache
def fitted(name):
    formula, arguments = MODELS[name]
    data, a = animals(slope=0.6)
    return lmm(formula, data, cov={"animal": a}, **arguments), data, a


def random_covariance(fit, data, a):
    """sum of Z (A x G) Z', written out."""
    total = np.zeros((len(data), len(data)))
    for term in fit._record.terms:
        group = fit._record.groups[term.group].name
        z = np.column_stack(
            [np.ones(len(data)) if n == "(Intercept)" else data[n] for n in term.names]
        )
        labels = data[group]
        between = np.equal.outer(labels.to_numpy(), labels.to_numpy()).astype(float)
        if group == "animal":
            between = a.loc[labels, labels].to_numpy()
        total += between * (z @ term.covariance @ z.T)
    return total


@pytest.mark.parametrize("name", MODELS)
def test_estimates_are_those_of_the_dense_covariance(name):
    fit, data, a = fitted(name)
    V = random_covariance(fit, data, a) + fit.R().to_numpy()
    X, y = fit.X().to_numpy(), data["y"].to_numpy()
    assert_allclose(fit.V(), V, rtol=1e-12, atol=1e-13)
    beta, vcov = dense.gls(y, X, V)
    assert fit.converged
    assert fit.llf == pytest.approx(dense.log_likelihood(y, X, V, fit.method), rel=1e-11)
    assert_allclose(fit.params, beta, rtol=1e-9)
    assert_allclose(fit.cov_params(), vcov, rtol=1e-9, atol=1e-12)
    assert_allclose(
        fit.fittedvalues,
        dense.conditional_fitted(y, X, V, fit.R().to_numpy()),
        rtol=1e-8,
        atol=1e-9,
    )


@pytest.mark.parametrize("name", MODELS)
def test_effects_of_all_levels_are_the_dense_conditional_means(name):
    """Animals without records included: (A x G) Z'V^-1 r and A G - (A x G) Z'V^-1 Z (A x G)."""
    fit, data, a = fitted(name)
    V, X, y = fit.V().to_numpy(), fit.X().to_numpy(), data["y"].to_numpy()
    inverse = dense.inverse(V)
    r = y - X @ dense.gls(y, X, V)[0]
    term = fit._record.terms[0]
    z = np.column_stack([np.ones(len(data)) if n == "(Intercept)" else data[n] for n in term.names])
    assert set(fit.ranef["animal"].index) == set(a.index)
    assert len(fit.ranef["animal"]) == fit.n_groups["animal"] + 6
    for label in a.index:
        cross = a.loc[label, data["animal"]].to_numpy()[:, None] * (z @ term.covariance)
        assert_allclose(fit.ranef["animal"].loc[label], cross.T @ inverse @ r, rtol=1e-8, atol=1e-9)
        own = a.loc[label, label] * term.covariance - cross.T @ inverse @ cross
        assert_allclose(fit.ranef_cov["animal"][label], own, rtol=1e-8, atol=1e-9)


@pytest.mark.parametrize("name", ["animal", "slopes"])
def test_prediction_errors_are_those_of_kriging(name):
    """For animals with and without records, levels of other factors known or not."""
    fit, data, a = fitted(name)
    V, X = fit.V().to_numpy(), fit.X().to_numpy()
    new = pd.DataFrame({"x": [0.5, -1.0, 2.0], "animal": ["a00", "a20", "a03"], "herd": "h1"})
    inverse = dense.inverse(V)
    C = dense.inverse(X.T @ inverse @ X)
    c, own = np.zeros((3, len(data))), np.zeros(3)
    for term in fit._record.terms:
        group = fit._record.groups[term.group].name
        old, at = (
            np.column_stack([np.ones(len(d)) if n == "(Intercept)" else d[n] for n in term.names])
            for d in (data, new)
        )
        between = np.equal.outer(new[group].to_numpy(), data[group].to_numpy()).astype(float)
        scale = np.ones(3)
        if group == "animal":
            between = a.loc[new[group], data[group]].to_numpy()
            scale = np.diag(a.loc[new[group], new[group]])
        c += between * (at @ term.covariance @ old.T)
        own += scale * np.diag(at @ term.covariance @ at.T)
    x = np.column_stack([np.ones(3), new["x"]])
    d = x - c @ inverse @ X
    variance = own - np.diag(c @ inverse @ c.T) + np.diag(d @ C @ d.T)
    mean = x @ fit.params.to_numpy() + c @ inverse @ (data["y"].to_numpy() - X @ fit.params)
    bands = fit.predict(new, interval="confidence")
    assert_allclose(bands["fit"], mean, rtol=1e-8)
    half = (bands["upper"] - bands["lower"]) / 2
    assert_allclose(half, 1.959963984540054 * np.sqrt(variance), rtol=1e-8)


# -- the crossed engine --------------------------------------------------------------------------

CROSSED = {
    "animal": ("y ~ x + (1 | animal)", {}),
    "permanent environment": ("y ~ x + (1 | animal) + (1 | pe) + (1 | herd)", {"method": "ML"}),
    "slopes": ("y ~ x + (x | animal) + (1 | herd)", {"weights": "w"}),
    "uncorrelated slopes": ("y ~ x + (x || animal) + (1 | pe)", {}),
}


def largest_difference(a, b):
    return float(np.abs(np.asarray(a, dtype=float) - np.asarray(b, dtype=float)).max())


@pytest.mark.parametrize("schur", ["dense", "sparse"])
@pytest.mark.parametrize("name", CROSSED)
def test_the_crossed_engine_answers_as_the_dense_one(name, schur):
    formula, arguments = CROSSED[name]
    data, a = animals(slope=0.6)
    fits = [
        lmm(formula, data, cov={"animal": a}, options=options, **arguments)
        for options in ({"engine": "crossed", "schur": schur}, {"engine": "dense"})
    ]
    fit, other = fits
    assert fit.certificate.engine == f"crossed, {schur} Schur"
    assert fit.llf == pytest.approx(other.llf, abs=1e-10)
    for attribute in ("params", "bse", "df"):
        assert_allclose(getattr(fit, attribute), getattr(other, attribute), rtol=1e-9, atol=1e-9)
    assert_allclose(fit.cov_theta(), other.cov_theta(), rtol=1e-7, atol=1e-9)
    # theta means the same in both engines: this one reduces the rows again, by the default engine.
    assert_allclose(fit.caic(), other.caic(), rtol=1e-8)
    assert_allclose(fit.resid("scaled"), other.resid("scaled"), atol=1e-8)
    assert_allclose(fit.simulate(2, seed=1), other.simulate(2, seed=1), atol=1e-8)
    new = data.iloc[:3].assign(animal=["a00", "a20", "a03"])
    bands = [f.predict(new, interval="confidence") for f in fits]
    assert_allclose(bands[0], bands[1], atol=1e-8)
    for group, effects in other.ranef.items():
        assert_allclose(fit.ranef[group], effects, atol=1e-9)
        for label, own in other.ranef_cov[group].items():
            assert_allclose(fit.ranef_cov[group][label], own, atol=1e-9)


@pytest.mark.parametrize("schur", ["dense", "sparse"])
@pytest.mark.parametrize("reml", [True, False])
@pytest.mark.parametrize("size", [1.0, 1e-3, 1e-7, 0.0, "animals 0"])
def test_derivatives_of_both_engines_are_the_same(size, reml, schur):
    """Zero and tiny variances of related levels are no singularity of K0 + Lambda'K Lambda."""
    data, a = animals(slope=0.6)
    model = mlm.LMM("y ~ x + (x | animal) + (1 | pe)", data, cov={"animal": a})
    found = []
    for engine in (CrossedSettings(schur), "dense"):
        reduced = model._reduced(engine)
        rng = np.random.default_rng(3)
        g, entries, maps = [], [], []
        for level, q in enumerate(reduced.level_sizes):
            half = rng.normal(size=(q, q))
            related = reduced.design.factors[reduced.levels[level]].name == "animal"
            own = float(not related) if size == "animals 0" else size
            back = np.linalg.inv(reduced.level_map(level))
            g.append((own * reduced.response_unit * back @ half @ half.T @ back.T)[None])
            for i, j in zip(*np.tril_indices(q), strict=True):
                entry = np.zeros((q, q))
                entry[i, j] = entry[j, i] = 1.0
                entries.append((level, int(i), int(j)))
                maps.append((level, reduced.level_map(level) @ entry @ reduced.level_map(level).T))
        value, gradient, *hessians = reduced.core.evaluate(g, [0], entries, reml, True)[:4]
        # Derivatives by entries of G in the user's units.
        jacobian = np.array(
            [[m[i, j] if k == own else 0.0 for k, i, j in entries] for own, m in maps]
        )
        turned = [np.linalg.solve(jacobian, np.linalg.solve(jacobian, h[0]).T) for h in hessians]
        found.append((value[0], np.linalg.solve(jacobian, gradient[0]), *turned))
    assert found[0][0] == pytest.approx(found[1][0], abs=1e-9)
    for own, other in zip(found[0][1:], found[1][1:], strict=True):
        assert largest_difference(own, other) < 1e-9 * np.abs(other).max()


def test_many_rows_are_served_by_the_crossed_engine():
    data, a = animals(per_animal=10)
    shuffled = data.sample(frac=1, random_state=1)
    fit = lmm("y ~ x + (1 | animal) + (1 | herd)", data, cov={"animal": a})
    other = lmm("y ~ x + (1 | animal) + (1 | herd)", shuffled, cov={"animal": a})
    assert len(data) > FEW_ROWS
    assert fit.certificate.engine.startswith("crossed")
    same(other, fit)
    V, X, y = fit.V().to_numpy(), fit.X().to_numpy(), data["y"].to_numpy()
    assert fit.llf == pytest.approx(dense.log_likelihood(y, X, V, "REML"), rel=1e-11)
    assert_allclose(fit.params, dense.gls(y, X, V)[0], rtol=1e-9)
    formula, kr = "y ~ x + (1 | animal) + (1 | herd)", "kenward-roger"
    kenward_roger = lmm(formula, data, cov={"animal": a}, ddf=kr)
    general = lmm(formula, data, cov={"animal": a}, ddf=kr, options={"engine": "dense"})
    same(kenward_roger, general, rtol=1e-8)


def test_rounding_in_an_inverse_is_no_nonzero():
    _, a = animals()
    labels = tuple(a.index)
    factor = GroupingFactor("animal", np.arange(len(a), dtype=np.int32), labels, ("animal",))
    related = relationship(factor, a)
    precision = related.precision
    product = precision.toarray() @ related.matrix.toarray()
    assert_allclose(product, np.eye(len(a)), atol=1e-12)
    # The inverse joins animals with parents and mates alone.
    assert precision.nnz < 0.3 * related.matrix.nnz


def test_a_singular_matrix_stays_with_the_dense_engine():
    data, a = animals(per_animal=10)
    a.iloc[-1, :] = a.iloc[-2, :]
    a.iloc[:, -1] = a.iloc[:, -2]
    a.iloc[-1, -1] = a.iloc[-2, -2]
    with pytest.warns(RelationshipWarning, match="is singular"):
        fit = mlm.lmm("y ~ x + (1 | animal)", data, cov={"animal": a})
    assert fit.certificate.engine.startswith("dense")
    with (
        pytest.warns(RelationshipWarning, match="is singular"),
        pytest.raises(ModelError, match="singular or nearly so, and the crossed engine"),
    ):
        mlm.lmm("y ~ x + (1 | animal)", data, cov={"animal": a}, options={"engine": "crossed"})


# -- limits --------------------------------------------------------------------------------------


def same(fit, other, rtol=1e-6):
    assert fit.llf == pytest.approx(other.llf, abs=1e-8)
    assert_allclose(fit.params, other.params, rtol=rtol)
    assert_allclose(fit.bse, other.bse, rtol=rtol)
    assert_allclose(fit.df, other.df, rtol=1e-4)


@pytest.mark.parametrize("formula", ["y ~ x + (x | animal)", "y ~ x + (1 | animal) + (1 | herd)"])
def test_unrelated_levels_are_the_plain_model(formula):
    data, a = animals()
    identity = pd.DataFrame(np.eye(len(a)), index=a.index, columns=a.columns)
    fit, plain = lmm(formula, data, cov={"animal": identity}), lmm(formula, data)
    same(fit, plain)
    assert fit.certificate.engine.startswith("dense")
    assert_allclose(fit.varcorr["animal"], plain.varcorr["animal"], rtol=1e-5)
    assert_allclose(
        fit.ranef["animal"].loc[plain.ranef["animal"].index], plain.ranef["animal"], rtol=1e-5
    )
    assert (fit.ranef["animal"].loc[["a00", "a03"]] == 0.0).all(axis=None)


def test_families_of_one_correlation_are_nested_effects():
    """A with rho within families: variances rho v between families, (1 - rho) v within."""
    data, a = animals(seed=7)
    family = {label: k % 6 for k, label in enumerate(a.index)}
    labels = a.index.to_numpy()
    same_family = np.equal.outer(*(2 * [np.array([family[v] for v in labels])]))
    data = data.assign(family=data["animal"].map(family))
    data["y"] += 1.5 * np.random.default_rng(1).normal(size=6)[data["family"]]
    nested = lmm("y ~ x + (1 | family / animal)", data, method="ML")
    between = nested.varcorr["family"].iloc[0, 0]
    within = nested.varcorr["family:animal"].iloc[0, 0]
    assert min(between, within) > 0
    rho = between / (between + within)
    related = np.where(same_family, rho, 0.0) + (1 - rho) * np.eye(len(a))
    fit = lmm("y ~ x + (1 | animal)", data, method="ML", cov={"animal": (labels, related)})
    # One parameter fewer at its best value: the same likelihood and estimates.
    assert fit.llf == pytest.approx(nested.llf, abs=1e-8)
    assert fit.varcorr["animal"].iloc[0, 0] == pytest.approx(between + within, rel=1e-6)
    assert_allclose(fit.params, nested.params, rtol=1e-7)


def test_the_unit_of_a_matrix_goes_to_its_variance():
    data, a = animals(slope=0.6)
    fit = lmm("y ~ x + (x | animal)", data, cov={"animal": a})
    other = lmm("y ~ x + (x | animal)", data, cov={"animal": 1e4 * a})
    same(other, fit)
    assert_allclose(1e4 * other.varcorr["animal"], fit.varcorr["animal"], rtol=1e-6)
    assert_allclose(other.ranef["animal"], fit.ranef["animal"], rtol=1e-5, atol=1e-8)
    assert other.certificate.n_evaluations == fit.certificate.n_evaluations


def test_forms_of_a_matrix_are_the_same_fit():
    data, a = animals()
    shuffled = a.sample(frac=1, random_state=3)
    shuffled = shuffled[list(a.columns[::-1])]
    met = sorted(data["animal"].unique())
    labels, values = list(a.index), a.to_numpy()
    forms = [
        a,
        shuffled,
        (labels, values),
        (labels, sparse.csc_array(values)),
        (labels, sparse.coo_matrix(values)),
        a.loc[met, met],
        a.loc[met, met].to_numpy(),
    ]
    fits = [lmm("y ~ x + (1 | animal)", data, cov={"animal": form}) for form in forms]
    for fit in fits[1:]:
        assert fit.llf == fits[0].llf
        assert_allclose(fit.ranef["animal"].loc[met], fits[0].ranef["animal"].loc[met], rtol=1e-12)
    assert list(fits[-1].ranef["animal"].index) == met


def test_a_model_from_arrays_takes_relationships():
    data, a = animals()
    X = np.column_stack([np.ones(len(data)), data["x"]])
    model = mlm.LMM.from_arrays(data["y"], X, groups={"animal": data["animal"]}, cov={"animal": a})
    assert model.fit().llf == pytest.approx(fitted("animal")[0].llf, abs=20)
    assert model.fit().llf == pytest.approx(
        lmm("y ~ x + (1 | animal)", data, cov={"animal": a}).llf, abs=1e-9
    )


def test_numbers_as_labels_match_whatever_their_type():
    data, a = animals()
    number = {label: k for k, label in enumerate(a.index)}
    data = data.assign(animal=data["animal"].map(number).astype(float))
    fit = lmm("y ~ x + (1 | animal)", data, cov={"animal": (list(range(len(a))), a.to_numpy())})
    assert fit.ranef["animal"].index[0] == "6"


def test_independent_families_are_separate_components():
    data, a = animals()
    blocks = a.to_numpy() * np.equal.outer(*(2 * [np.arange(len(a)) % 4]))
    blocks = blocks + 0.01 * np.eye(len(a))
    fit = lmm(
        "y ~ x + (1 | animal)", data, cov={"animal": (list(a.index), sparse.csr_array(blocks))}
    )
    assert fit._source.model.core.size[0] >= 4
    X, y = fit.X().to_numpy(), data["y"].to_numpy()
    assert fit.llf == pytest.approx(
        dense.log_likelihood(y, X, fit.V().to_numpy(), "REML"), rel=1e-11
    )
    with pytest.raises(ModelError, match="correlates them"):
        fit.robust("CR0")
    part = [int(label[1:]) % 4 for label in data["animal"]]
    assert np.isfinite(fit.robust("CR0", cluster=part).bse).all()


# -- what a fit answers --------------------------------------------------------------------------


def test_a_fit_answers_everything():
    fit, _data, a = fitted("animal")
    text = str(fit.summary())
    assert "by a known matrix with 6 levels without rows" in text
    assert fit.n_groups["animal"] == len(a) - 6
    loaded = mlm.load(fit.to_json())
    assert_allclose(loaded.ranef["animal"], fit.ranef["animal"], rtol=0)
    assert loaded.n_groups == fit.n_groups
    assert str(loaded.summary())
    for values in (fit.resid("scaled"), fit.resid("studentised"), fit.fittedvalues):
        assert np.isfinite(values).all()
    bounds = fit.conf_int(method="profile")
    assert (bounds["lower"] < bounds["upper"]).all()
    assert fit.test_variance("sd_(Intercept)|animal").method == "mixture"
    with pytest.raises(ModelError, match="related levels"):
        fit.test_variance("sd_(Intercept)|animal", method="exact")
    assert 0 < fit.r2().loc["conditional", "estimate"] < 1
    assert np.isfinite(fit.caic()).all()


def test_simulated_responses_have_the_covariance_of_the_model():
    fit, _, _ = fitted("animal")
    V = fit.V().to_numpy()
    Y = fit.simulate(4000, seed=3)
    root = np.linalg.cholesky(V)
    white = np.linalg.solve(root, Y - (fit.X().to_numpy() @ fit.params.to_numpy())[:, None])
    covariance = white @ white.T / Y.shape[1]
    # 4000 draws: entries of a sample covariance of white noise have standard deviation 0.016.
    assert np.abs(covariance - np.eye(len(V))).max() < 0.1
    assert np.abs(covariance.mean() * len(V) - 1.0) < 0.12


def test_a_conditional_aic_agrees_with_refitted_derivatives():
    """Vaida and Blanchard's degrees of freedom: tr(I - R V^-1 (I - H)) written out."""
    fit, _, _ = fitted("animal")
    V, X, R = fit.V().to_numpy(), fit.X().to_numpy(), fit.R().to_numpy()
    inverse = dense.inverse(V)
    P = inverse - inverse @ X @ dense.inverse(X.T @ inverse @ X) @ X.T @ inverse
    found = fit.caic("vaida-blanchard")["df"]
    assert found == pytest.approx(len(V) - np.trace(R @ P), rel=1e-8)


# -- bad input -----------------------------------------------------------------------------------


def broken(change):
    def make():
        _, a = animals()
        return change(a)

    return make


def not_symmetric(a):
    a = a.copy()
    a.iloc[2, 5] += 0.1
    return a


def indefinite(a):
    a = a.copy()
    a.iloc[10, 11] = a.iloc[11, 10] = 3.0
    return a


def with_nan(a):
    a = a.copy()
    a.iloc[0, 0] = np.nan
    return a


BAD = {
    "missing levels": (
        broken(lambda a: a.iloc[:-3, :-3]),
        DataError,
        r"lacks 3 level.*'a37', 'a38'",
    ),
    "wrong order": (broken(lambda a: a.to_numpy()[:5, :5]), DataError, "5 rows and no labels.*34"),
    "not square": (broken(lambda a: (list(a.index), a.to_numpy()[:, :5])), DataError, r"\(40, 5\)"),
    "labels too few": (broken(lambda a: (list(a.index[:3]), a.to_numpy())), DataError, "3 labels"),
    "label twice": (
        broken(lambda a: (["a01", *a.index[1:]], a.to_numpy())),
        DataError,
        "'a01' twice",
    ),
    "other columns": (
        broken(lambda a: a.rename(columns={"a01": "b01"})),
        DataError,
        "other labels on its rows",
    ),
    "not symmetric": (
        broken(not_symmetric),
        ModelError,
        r"not symmetric.*'a02', 'a05'|'a05', 'a02'",
    ),
    "not definite": (broken(indefinite), ModelError, r"not positive definite.*eigenvalue -\d"),
    "an inverse of nothing": (broken(lambda a: 0.0 * a), ModelError, "not positive definite"),
    "missing entries": (broken(with_nan), DataError, "missing or infinite"),
    "text": (broken(lambda a: (list(a.index), [["x"] * 40] * 40)), DataError, "matrix of numbers"),
    "three parts": (broken(lambda a: (1, 2, 3)), DataError, "pair"),
    "a vector": (broken(lambda a: np.ones(34)), DataError, "1 dimension"),
}


@pytest.mark.parametrize("name", BAD)
def test_a_bad_matrix_says_what_is_wrong(name):
    make, kind, message = BAD[name]
    data, _ = animals()
    with pytest.raises(kind, match=message):
        mlm.lmm("y ~ x + (1 | animal)", data, cov={"animal": make()})


def test_bad_requests_are_refused():
    data, a = animals()
    with pytest.raises(ModelError, match=r"names 'anmial'.*'animal'"):
        mlm.lmm("y ~ x + (1 | animal)", data, cov={"anmial": a})
    with pytest.raises(ModelError, match="must be a dict"):
        mlm.lmm("y ~ x + (1 | animal)", data, cov=a.to_numpy())
    with pytest.raises(ModelError, match="no relationship matrices"):
        mlm.lmm("y ~ x + (1 | animal)", data, cov={"animal": a}, options={"engine": "nested"})
    with pytest.raises(ModelError, match="no relationship matrices beside residual="):
        mlm.lmm(
            "y ~ x + (1 | animal)",
            data,
            cov={"animal": a},
            residual="ar1(time | animal)",
            options={"engine": "crossed"},
        )
    with pytest.raises(ModelError, match="'animal' and 'pe' are the same"):
        mlm.lmm("y ~ x + (1 | animal) + (1 | pe)", data, cov={"animal": a, "pe": a})


def test_twins_in_a_matrix_are_a_named_warning():
    data, a = animals()
    a = a.copy()
    # The last two animals become one genotype.
    twin = a.index[-2]
    a.loc[a.index[-1], :] = a.loc[twin, :]
    a.loc[:, a.index[-1]] = a.loc[:, twin]
    a.iloc[-1, -1] = a.loc[twin, twin]
    with pytest.warns(RelationshipWarning, match="is singular"):
        fit = mlm.lmm("y ~ x + (1 | animal)", data, cov={"animal": a})
    effects = fit.ranef["animal"].iloc[:, 0]
    assert effects[a.index[-1]] == pytest.approx(effects[twin], rel=1e-9)
    X, y = fit.X().to_numpy(), data["y"].to_numpy()
    assert fit.llf == pytest.approx(
        dense.log_likelihood(y, X, fit.V().to_numpy(), "REML"), rel=1e-11
    )
    assert np.isfinite(fit.simulate(1, seed=1)).all()


def test_one_record_an_animal_is_no_residual():
    data, a = animals(per_animal=1, without_rows=0)
    fit = lmm("y ~ x + (1 | animal)", data, cov={"animal": a})
    assert fit.nobs == fit.n_groups["animal"] == len(a)
    X, y = fit.X().to_numpy(), data["y"].to_numpy()
    assert fit.llf == pytest.approx(
        dense.log_likelihood(y, X, fit.V().to_numpy(), "REML"), rel=1e-11
    )


def test_the_command_line_reads_a_matrix(tmp_path, capsys):
    data, a = animals()
    data.to_csv(tmp_path / "data.csv", index=False)
    a.to_csv(tmp_path / "a.csv")
    given = ["fit", str(tmp_path / "data.csv"), "y ~ x + (1 | animal)"]
    assert main([*given, "--cov", f"animal={tmp_path / 'a.csv'}"]) == 0
    assert "by a known matrix" in capsys.readouterr().out
    assert main([*given, "--cov", "animal"]) == 2
    assert "FACTOR=FILE" in capsys.readouterr().err


# -- reference -----------------------------------------------------------------------------------


@pytest.mark.parametrize("method", ["REML", "ML"])
@pytest.mark.parametrize(
    ("name", "formula", "arguments"),
    [
        ("items across ar1", "y ~ x + (1 | item)", {"residual": "ar1(trial | subject)"}),
        (
            "sessions and items",
            "y ~ x + (1 | item) + (1 | subject:session)",
            {"residual": "ar1(trial | subject)"},
        ),
        ("related items", "y ~ x + (1 | subject) + (1 | item)", {"cov": "item"}),
    ],
)
def test_fits_are_those_of_glmmtmb(name, formula, arguments, method):
    expected = json.loads((REFERENCE / "general.json").read_text(encoding="utf-8"))
    expected = expected[f"{name} {method}"]
    data = pd.read_csv(REFERENCE / "data" / "general_trials.csv")
    if "cov" in arguments:
        a = pd.read_csv(REFERENCE / "data" / "general_relationship.csv", index_col=0)
        arguments = {"cov": {"item": a}}
    fit = lmm(formula, data, method=method, **arguments)
    assert fit.llf == pytest.approx(expected["llf"], abs=1e-5)
    for key in ("(Intercept)", "x"):
        assert fit.params[key] == pytest.approx(expected["params"][key], rel=1e-4)
        # Under ML glmmTMB's standard errors take in the covariance parameters'.
        if method == "REML":
            assert fit.bse[key] == pytest.approx(expected["se"][key], rel=1e-3)
    for group in ("item", "subject", "subject:session"):
        if group in expected:
            assert fit.varcorr[group].iloc[0, 0] == pytest.approx(expected[group], rel=1e-3)
    if "rho" in expected:
        assert fit.residual_parameters["AR(1)"] == pytest.approx(expected["rho"], rel=1e-3)
        assert fit.residual_parameters["Variance"] == pytest.approx(
            expected["residual_variance"], rel=1e-3
        )
    else:
        assert fit.sigma == pytest.approx(expected["sigma"], rel=1e-4)


def test_the_pedigree_is_one():
    """Parents and offspring share half, full cousins less: the oracle of these tests itself."""
    a = pedigree().to_numpy()
    assert np.linalg.eigvalsh(a)[0] > 0
    assert_allclose(np.diag(a)[:8], 1.0)


def test_influence_of_related_animals_is_that_of_deletion():
    data, a = animals()
    fit = mlm.lmm("y ~ x + (1 | animal)", data, cov={"animal": a})
    influence = fit.influence()
    X, V, y = fit.X().to_numpy(), fit.V().to_numpy(), data["y"].to_numpy()
    for animal in ("a07", "a31"):
        keep = np.flatnonzero(data["animal"] != animal)
        inverse = np.linalg.inv(V[np.ix_(keep, keep)])
        left = np.linalg.solve(X[keep].T @ inverse @ X[keep], X[keep].T @ inverse @ y[keep])
        found = influence.cluster_changes.loc[animal]
        assert_allclose(found, fit.params.to_numpy() - left, rtol=1e-6, atol=1e-9)
    with pytest.raises(ModelError, match=r"'animal' are related \(cov=\)"):
        influence.one_step()
