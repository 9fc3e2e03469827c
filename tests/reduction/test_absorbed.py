"""A fixed factor of many levels that is eliminated: the same fit as with columns for its levels."""

import pickle
import warnings
from functools import cache

import numpy as np
import pandas as pd
import pytest

import mlmfast as mlm
from mlmfast import absorbed_result as result
from mlmfast.criterion.criterion import criterion_of
from mlmfast.design.absorbed import choice
from mlmfast.errors import DataError, ModelError
from mlmfast.inference.absorbed import terms
from mlmfast.prepared import as_columns
from mlmfast.reduction.absorbed import core
from mlmfast.reduction.engines.differences import along
from mlmfast.reduction.reduce import reduce_design

from .. import dense
from ..cases import ALL, data_of, reference
from ..fits import arguments_of, lmm
from ..threads import output_for_any_number_of_threads

FORMULAS = [
    "y ~ x + f + (1 | g)",
    "y ~ f + x + z + (1 | c)",
    "y ~ x + u + f + t + (1 | g)",
    "y ~ x + x2 + f + (t | g)",
    "y ~ f + x + u + (t || g)",
    "y ~ 0 + f + x + (1 | g) + (1 | h)",
    "y ~ k + f + x * t + (1 | inside)",
    "y ~ x + f + (0 + t | outer)",
    "y ~ f + (1 | g)",
    "y ~ x + f",
]
METHODS = [
    ("REML", "satterthwaite"),
    ("ML", "satterthwaite"),
    ("REML", "kenward-roger"),
    ("REML", "kenward-roger-linear"),
    ("REML", "kenward-roger-expected"),
    ("REML", "kenward-roger-2009"),
    ("REML", "containment"),
    ("REML", "between-within"),
    ("REML", "residual"),
    ("ML", "asymptotic"),
    ("REML", "12.5"),
]


@cache
def frame(n=500, levels=12, groups=25):
    """Rows of a factor `f`, with factors across (`g`, `h`), inside and around (`outer`) it."""
    rng = np.random.default_rng(5)
    f, g, h = (rng.integers(0, k, n) for k in (levels, groups, 6))
    f[:levels] = np.arange(levels)
    x, t, z = rng.normal(size=(3, n))
    u = rng.normal(size=levels)[f]
    y = x + rng.normal(size=levels)[f] + rng.normal(size=groups)[g] + rng.normal(size=n)
    y += 0.5 * t * rng.normal(size=groups)[g] + rng.normal(size=6)[h]
    y += 0.7 * rng.normal(size=3)[f // 4] * t
    return pd.DataFrame(
        {
            "y": y,
            "x": x + 0.1 * f,
            "t": t,
            "z": z,
            "u": u,
            "x2": 2 * (x + 0.1 * f) + u,
            "w": rng.uniform(0.5, 2.0, n),
            "f": [f"l{code:02d}" for code in f],
            "g": [f"g{code:02d}" for code in g],
            "h": [f"h{code}" for code in h],
            "k": [f"k{code}" for code in rng.integers(0, 3, n)],
            "inside": [f"{a}.{b}" for a, b in zip(f, g % 4, strict=True)],
            "outer": [f"o{code // 4}" for code in f],
            "c": [f"c{code}" for code in rng.integers(0, 5, n)],
        }
    )


def both(formula, **arguments):
    """The fit with the factor's levels as columns, and eliminated."""
    return [lmm(formula, frame(), absorb=absorb, **arguments) for absorb in (False, True)]


def close(found, target, tolerance=1e-9):
    """Equal to a share of each number, or of the largest where that is small; NaN alike."""
    found, target = (np.asarray(v, dtype=float) for v in (found, target))
    assert found.shape == target.shape
    scale = np.nanmax(np.abs(np.where(np.isinf(target), np.nan, target)), initial=1e-300)
    np.testing.assert_allclose(found, target, rtol=tolerance, atol=1e-3 * tolerance * scale)


@pytest.mark.parametrize(("method", "ddf"), METHODS)
@pytest.mark.parametrize("formula", FORMULAS)
def test_every_coefficient_is_that_of_the_columns(formula, method, ddf):
    try:
        columns, eliminated = both(formula, method=method, ddf=ddf, weights="w", offset="z")
    except ModelError as error:
        # Without random effects, or with crossed ones, some methods have nothing to go by.
        with pytest.raises(ModelError, match=str(error)[:30].replace("(", r"\(")):
            lmm(formula, frame(), absorb=True, method=method, ddf=ddf, weights="w", offset="z")
        return
    assert list(eliminated.params.index) == list(columns.params.index)
    assert eliminated.aliased == columns.aliased
    assert eliminated.rank == columns.rank
    for name in ("params", "bse", "df", "pvalues", "tvalues"):
        close(getattr(eliminated, name), getattr(columns, name), 1e-8)
    close(eliminated.conf_int(), columns.conf_int(), 1e-8)
    close([eliminated.llf, eliminated.aic, eliminated.bic], [columns.llf, columns.aic, columns.bic])
    close(eliminated.cov_params(), columns.cov_params(), 1e-8)


@pytest.mark.parametrize("method", ["REML", "ML"])
@pytest.mark.parametrize("formula", FORMULAS)
def test_variances_random_effects_and_rows(formula, method):
    columns, eliminated = both(formula, method=method, weights="w")
    assert eliminated.converged
    close(eliminated.scale, columns.scale)
    for group in columns.ranef:
        close(eliminated.varcorr[group], columns.varcorr[group], 1e-8)
        close(eliminated.ranef[group], columns.ranef[group], 1e-8)
        for level, covariance in columns.ranef_cov[group].items():
            close(eliminated.ranef_cov[group][level], covariance, 1e-8)
    close(eliminated.fittedvalues, columns.fittedvalues)
    for kind in ("raw", "pearson", "marginal", "scaled"):
        close(eliminated.resid(kind), columns.resid(kind), 1e-8)
    if columns.ranef:
        close(eliminated.cov_theta(), columns.cov_theta(), 1e-8)


@pytest.mark.parametrize("case_id", ALL)
def test_reference_fits_of_other_programs(case_id):
    case, data = reference(case_id), data_of(case_id)
    arguments = arguments_of(case_id)
    if "residual" in arguments or "residual_scale" in arguments:
        with pytest.raises(ModelError, match="absorb=True goes with independent residuals"):
            lmm(case["formula"], data, absorb=True, **arguments)
        return
    try:
        fit = lmm(case["formula"], data, absorb=True, **arguments)
    except ModelError as error:
        assert "absorb=True needs a factor" in str(error)  # noqa: PT017 - of those without one
        return
    expect = case["expect"]
    assert fit.llf == pytest.approx(expect["loglik"], abs=1e-6)
    for name, value in expect["beta"].items():
        assert fit.params[name] == pytest.approx(value, rel=1e-5, abs=1e-6)
        assert fit.bse[name] == pytest.approx(expect["se"][name], rel=1e-5)
    for name, value in expect.get("df_satterthwaite", {}).items():
        assert fit.df[name] == pytest.approx(value, rel=1e-5)


def test_deviance_and_coefficients_of_the_dense_oracle():
    fit = lmm("y ~ x + f + (t | g)", frame(), absorb=True, weights="w")
    data = frame()
    codes = pd.factorize(data.g, sort=True)[0]
    term = dense.Term(np.column_stack([np.ones(len(data)), data.t]), fit.varcorr["g"], codes)
    V = dense.marginal_covariance(
        [term.with_covariance(fit.varcorr["g"])],
        dense.residual_covariance(fit.scale, len(data), data.w),
    )
    dummies = pd.get_dummies(data.f, drop_first=True).to_numpy(dtype=float)
    X = np.column_stack([np.ones(len(data)), data.x, dummies])
    inverse = np.linalg.inv(V)
    phi = np.linalg.inv(X.T @ inverse @ X)
    close(fit.params, phi @ X.T @ inverse @ data.y, 1e-8)
    close(fit.cov_params(), phi, 1e-8)
    assert fit.llf == pytest.approx(dense.log_likelihood(data.y, X, V, "REML"), abs=1e-8)


@pytest.mark.parametrize("method", ["REML", "ML"])
@pytest.mark.parametrize("formula", ["y ~ x + f + (t | g)", "y ~ x + f + (0 + t | outer)"])
def test_derivatives_of_the_criterion(formula, method):
    design = mlm.LMM(formula, frame(), absorb=True).design
    criterion = criterion_of(reduce_design(design), method)
    theta = np.full((1, criterion.n_theta), 0.7)
    first = np.zeros(1, dtype=np.intp)
    at = criterion(theta, first)
    h = 1e-4
    for k in range(criterion.n_theta):
        step = np.zeros_like(theta)
        step[0, k] = h
        ahead, behind = (criterion.move(theta, s * step) for s in (1, -1))
        slope = (criterion.value(ahead, first) - criterion.value(behind, first)) / (2 * h)
        assert at.gradient[0, k] == pytest.approx(slope[0], rel=1e-5, abs=1e-5)
        bend = criterion.value(ahead, first) + criterion.value(behind, first) - 2 * at.value
        assert at.hessian[0, k, k] == pytest.approx(bend[0] / h**2, rel=1e-3, abs=1e-3)


@pytest.mark.parametrize("ddf", ["kenward-roger", "kenward-roger-linear", "satterthwaite"])
@pytest.mark.parametrize("structure", ["cs", "ar1", "csh"])
def test_covariances_not_linear_in_their_parameters(structure, ddf):
    columns, eliminated = both(f"y ~ x + f + {structure}(0 + k | g)", ddf=ddf)
    close(eliminated.bse, columns.bse, 1e-7)
    close(eliminated.df, columns.df, 1e-7)
    if structure != "cs":
        with pytest.raises(ModelError, match="linear in their parameters"):
            eliminated.contrast("fl03", ddf="kenward-roger-2009")


@pytest.mark.parametrize("ddf", ["kenward-roger", "satterthwaite"])
def test_singular_covariances(ddf):
    data = frame().assign(y=lambda d: d.y - d.groupby("g").y.transform("mean") * (1 + 0.3 * d.t))
    fits = [lmm("y ~ x + f + (t + z | g)", data, ddf=ddf, absorb=a) for a in (False, True)]
    assert fits[0].singular
    assert fits[1].singular
    for name in ("bse", "df"):
        close(getattr(fits[1], name), getattr(fits[0], name), 1e-6)


def test_second_derivatives_where_their_matrices_would_be_too_large(monkeypatch):
    exact = [lmm(formula, frame(), absorb=True, method=m).df for formula, m in _TWO]
    monkeypatch.setattr(core, "LARGEST_EXACT", 0)
    for (formula, method), df in zip(_TWO, exact, strict=True):
        close(lmm(formula, frame(), absorb=True, method=method).df, df)


_TWO = [("y ~ x + f + (t | g)", "REML"), ("y ~ x + f + (1 | g) + (1 | h)", "ML")]


def test_balanced_layout_has_the_exact_analysis_of_variance():
    # Every level of f once in every level of g: differences have variance 2 MS / m.
    levels, m = 2_000, 5
    rng = np.random.default_rng(3)
    f, g = (part.ravel() for part in np.meshgrid(np.arange(levels), np.arange(m), indexing="ij"))
    y = rng.normal(size=levels)[f] + 2 * rng.normal(size=m)[g] + rng.normal(size=len(f))
    fit = mlm.lmm("y ~ f + (1 | g)", pd.DataFrame({"y": y, "f": f.astype(str), "g": g.astype(str)}))
    table = y.reshape(levels, m)
    left = table - table.mean(axis=1, keepdims=True) - table.mean(axis=0) + table.mean()
    square = (left**2).sum() / ((levels - 1) * (m - 1))
    assert fit.scale == pytest.approx(square, rel=1e-10)
    names = [f"f{k}" for k in sorted(map(str, range(levels)))]
    means = pd.Series(table.mean(axis=1), index=[f"f{k}" for k in range(levels)])
    close(fit.params[names[1:]], means[names[1:]] - means[names[0]])
    close(fit.bse[names[1:]], np.full(levels - 1, np.sqrt(2 * square / m)))
    close(fit.df[names[1:]], np.full(levels - 1, (levels - 1.0) * (m - 1)))
    between = m * ((table.mean(axis=1) - table.mean()) ** 2).sum() / (levels - 1)
    row = fit.anova(ddf="residual").frame.loc["f"]
    assert row["NumDF"] == levels - 1
    assert row["F value"] == pytest.approx(between / square, rel=1e-9)


def test_dense_and_sparse_factors():
    formula = "y ~ x + f + (1 | inside) + (1 | g)"
    fits = [
        lmm(formula, frame(), absorb=True, options={"engine": "crossed", "schur": schur})
        for schur in ("dense", "sparse")
    ]
    assert "dense Schur" in fits[0].certificate.engine
    assert "sparse Schur" in fits[1].certificate.engine
    for name in ("params", "bse", "df"):
        close(getattr(fits[1], name), getattr(fits[0], name))


@pytest.mark.parametrize("ddf", ["satterthwaite", "kenward-roger", "residual", "asymptotic"])
def test_terms_and_contrasts(ddf):
    columns, eliminated = both("y ~ x + k + f + (t | g)", ddf=ddf)
    target = columns.anova(chisq=True).frame
    close(eliminated.anova(chisq=True).frame.loc[target.index], target, 1e-7)
    L = {"levels": "fl03 - fl05", "mean": "(Intercept) + 0.5 * fl04 + x", "slope": "x"}
    close(eliminated.contrast(L).table, columns.contrast(L).table, 1e-7)
    found, expected = eliminated.contrast(L).f, columns.contrast(L).f
    close([found.statistic, found.df_den], [expected.statistic, expected.df_den], 1e-7)
    doubled = ["fl03", "2 * fl03", "fl04"]
    close(eliminated.contrast(doubled).f.df_num, 2)
    close(eliminated.contrast(doubled).f.statistic, columns.contrast(doubled).f.statistic, 1e-7)


@pytest.mark.parametrize(
    "ddf", ["kenward-roger", "kenward-roger-linear", "kenward-roger-expected", "kenward-roger-2009"]
)
def test_contrasts_that_depend_on_each_other(ddf):
    columns, eliminated = both("y ~ x + k + f + (t | g)", ddf=ddf)
    L = ["fl03", "3 * fl03", "fl04", "-0.7 * fl04", "fl03 + 1e-3 * fl04", "fl05 - fl03"]
    found, expected = eliminated.contrast(L).f, columns.contrast(L).f
    assert found.df_num == expected.df_num == 3
    close([found.statistic, found.df_den], [expected.statistic, expected.df_den], 1e-7)


def test_a_hypothesis_too_large_for_its_matrices(monkeypatch):
    fit = lmm("y ~ x + f + (1 | g)", frame(), absorb=True)
    exact = fit.anova(chisq=True).frame.loc["f"]
    monkeypatch.setattr(terms, "LARGEST_HYPOTHESIS", 3)
    table = fit.anova()
    row = table.frame.loc["f"]
    assert np.isnan(row["DenDF"])
    close([row["F value"], row["Chisq"]], [exact["F value"], exact["Chisq"]], 1e-8)
    assert "take matrices of that order" in " ".join(str(table).split())
    residual = fit.anova(ddf="residual").frame.loc["f"]
    assert residual["DenDF"] == fit.nobs - fit.rank


@pytest.mark.parametrize(("method", "ddf"), [("REML", "kenward-roger"), ("ML", "satterthwaite")])
@pytest.mark.parametrize("interval", [None, "confidence", "prediction"])
@pytest.mark.parametrize("ranef", [True, False])
def test_predictions(method, ddf, interval, ranef):
    columns, eliminated = both("y ~ x + f + (t | g)", method=method, ddf=ddf, offset="z")
    new = frame().iloc[::40]
    for rows, how in ((None, {}), (new, {"offset": "z"})):
        found = eliminated.predict(rows, interval=interval, ranef=ranef, **how)
        close(found, columns.predict(rows, interval=interval, ranef=ranef, **how), 1e-7)
    with pytest.raises(DataError, match="which the data of the fit did not have"):
        eliminated.predict(new.assign(f="none"), offset="z")


def test_profiles_holds_and_many_responses():
    models = [mlm.LMM("y ~ x + f + (1 | g)", frame(), absorb=absorb) for absorb in (False, True)]
    Y = np.column_stack([frame().y, frame().y + frame().z, frame().t])
    for method in ("REML", "ML"):
        columns, eliminated = (model.fit_many(Y, method) for model in models)
        close(eliminated.llf, columns.llf)
        close(eliminated.params[:, 0], columns.params[:, 1], 1e-8)
        columns, eliminated = (model.fit(method, hold={"Residual": 1.5}) for model in models)
        close(eliminated.bse, columns.bse, 1e-8)
        close(eliminated.df, columns.df, 1e-7)
    columns, eliminated = (model.fit().profile("covariance").conf_int() for model in models)
    close(eliminated, columns, 1e-6)


def test_what_needs_all_columns_forms_them():
    columns, eliminated = both("y ~ x + f + (1 | g)")
    close(eliminated.emmeans("f").frame["SE"], columns.emmeans("f").frame["SE"], 1e-8)
    close(eliminated.robust().bse, columns.robust().bse, 1e-8)
    close(eliminated.caic(), columns.caic(), 1e-7)
    close(mlm.load(_json(eliminated)).params, columns.params, 1e-8)


def test_pickles_copies_and_fits_without_rows():
    fit = lmm("y ~ x + f + (t | g)", frame(), absorb=True)
    again = pickle.loads(pickle.dumps(fit))
    assert type(again) is type(fit)
    for name in ("params", "bse", "df", "fittedvalues"):
        np.testing.assert_array_equal(getattr(again, name), getattr(fit, name))
    for name in ("params", "bse", "df", "pvalues"):
        handed = getattr(fit, name)
        handed.iloc[0] = 999.0
        assert getattr(fit, name).iloc[0] != 999.0
    expected = fit.params
    fit.remove_data()
    close(fit.params, expected, 1e-8)
    found = [f.contrast("fl03 - fl05").table["se"] for f in (fit, again)]
    close(found[0], found[1], 1e-8)
    with pytest.raises(ModelError, match="a loaded fit holds no rows"):
        fit.resid()


def test_responses_with_missing_values():
    data = frame()
    Y = np.column_stack([data.y, np.where(np.arange(len(data)) % 9 == 0, np.nan, data.y)])
    columns, eliminated = (
        mlm.LMM("y ~ x + f + (1 | g)", data, absorb=absorb).fit_many(Y) for absorb in (False, True)
    )
    close(eliminated.llf, columns.llf)
    close(eliminated.params[:, 0], columns.params[:, 1], 1e-8)


def _json(fit):
    return fit.to_json()


def test_likelihood_ratios_with_other_fits():
    small = mlm.lmm("y ~ x + (1 | g)", frame(), method="ML")
    columns, eliminated = both("y ~ x + f + (1 | g)", method="ML")
    close(mlm.compare(small, eliminated)["Chisq"], mlm.compare(small, columns)["Chisq"])
    other = lmm("y ~ x + f + (t | g)", frame(), absorb=True)
    assert mlm.compare(lmm("y ~ x + f + (1 | g)", frame(), absorb=True), other)["Df"].iloc[1] == 2


def test_factors_of_many_levels_are_eliminated_by_default():
    rng = np.random.default_rng(0)
    for levels in (choice.MANY_LEVELS - 1, choice.MANY_LEVELS):
        f = np.repeat(np.arange(levels), 4)
        data = {"y": rng.normal(size=len(f)), "f": f.astype(str), "g": np.arange(len(f)) % 7}
        model = mlm.LMM("y ~ f + (1 | g)", pd.DataFrame(data).astype({"g": str}))
        assert (model.design.absorbed is None) == (levels < choice.MANY_LEVELS)


@pytest.mark.parametrize("engine", ["nested", "dense", "crossed"])
def test_an_engine_asked_for_has_the_columns_it_needs(engine, monkeypatch):
    monkeypatch.setattr(choice, "MANY_LEVELS", 5)
    model = mlm.LMM("y ~ x + f + (1 | g)", frame())
    assert model.design.absorbed is not None
    fit = model.fit(options={"engine": engine})
    assert ("eliminated" in fit.certificate.engine) == (engine == "crossed")
    close(fit.bse, model.fit().bse, 1e-8)
    batch = model.fit_many(frame()[["y"]].to_numpy(), options={"engine": engine})
    assert batch.llf[0] == pytest.approx(fit.llf, abs=1e-8)


def test_report_shows_the_first_levels():
    rng = np.random.default_rng(0)
    f = np.repeat(np.arange(400), 4)
    data = pd.DataFrame({"y": rng.normal(size=1600), "x": rng.normal(size=1600), "f": f})
    fit = lmm(
        "y ~ x + f + (1 | g)", data.assign(f=f.astype(str), g=(np.arange(1600) % 7).astype(str))
    )
    text = str(fit.summary())
    assert "389 of 399 levels of f are not shown" in text
    assert "Eliminated: 400 levels of f (fixed)" in " ".join(text.split())
    assert len(text.splitlines()) < 60
    assert "389 of 399" in fit._repr_html_()
    assert len(fit.tidy("fixed")) == 401
    with pytest.raises(ModelError, match=r"no coefficient 'f999'.*\.\.\. 401 in all") as caught:
        fit.contrast("f999")
    assert len(str(caught.value)) < 500


SPANNED = [
    "(1 | outer)",
    "(t | outer)",
    "(t || outer)",
    "(1 | f)",
    "(1 | outer / f)",
    "(0 + u | outer)",
    "(x | f)",
    "(1 | outer) + (1 | g)",
]


@pytest.mark.parametrize("most", [core.LARGEST_EXACT, 0])
@pytest.mark.parametrize("method", ["REML", "ML"])
@pytest.mark.parametrize("term", SPANNED)
def test_random_effects_in_the_span_of_the_factor(term, method, most, monkeypatch):
    """The restricted likelihood says nothing of their variances: named, and held at 0."""
    monkeypatch.setattr(core, "LARGEST_EXACT", most)
    fits, warned = [], []
    for absorb in (False, True):
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            formula = f"y ~ x + f + {term}"
            fits.append(mlm.lmm(formula, frame(), absorb=absorb, method=method))
        warned.append([str(w.message) for w in caught])
    columns, eliminated = fits
    assert warned[1] == warned[0]
    assert ("restricted likelihood does not depend on" in warned[0][0]) is (method == "REML")
    close([eliminated.llf, eliminated.aic], [columns.llf, columns.aic])
    for name in ("params", "bse", "df"):
        close(getattr(eliminated, name), getattr(columns, name), 1e-7)
    for group in columns.varcorr:
        close(eliminated.varcorr[group], columns.varcorr[group], 1e-6)
        close(eliminated.ranef[group], columns.ranef[group], 1e-6)
    close(eliminated.cov_theta(), columns.cov_theta(), 1e-6)


@pytest.mark.parametrize("method", ["REML", "ML"])
@pytest.mark.parametrize("kind", ["zero", "rank one"])
@pytest.mark.parametrize("formula", ["y ~ x + f + (t | g)", "y ~ x + f + (1 | g) + (1 | h)"])
def test_second_derivatives_at_a_singular_covariance_by_differences(
    formula, kind, method, monkeypatch
):
    """Those of a large system, where the covariances have no second side."""
    criterion = criterion_of(reduce_design(mlm.LMM(formula, frame(), absorb=True).design), method)
    g = [
        np.full((1, q, q), 0.0 if kind == "zero" or q == 1 else 0.3) for q in criterion.level_sizes
    ]
    found = []
    for most in (core.LARGEST_EXACT, 0):
        monkeypatch.setattr(core, "LARGEST_EXACT", most)
        parts = criterion.reduction.likelihood_derivatives(
            g, [0], criterion.entries, criterion.reml
        )
        found.append(parts[1][0])
    np.testing.assert_allclose(found[1], found[0], rtol=1e-9, atol=1e-9 * np.abs(found[0]).max())


def test_a_variance_of_zero_beside_very_many_levels():
    """More equations than second derivatives are formed of: the errors of least squares."""
    rng = np.random.default_rng(0)
    levels = 9_000
    f = np.repeat(np.arange(levels), 4)
    part = 2 * f + np.tile([0, 0, 1, 1], levels)
    x = rng.normal(size=len(f))
    within = rng.normal(size=(levels, 4))
    # Parts of a level are nearer to each other than chance: the variance between them is 0.
    within -= 0.9 * np.repeat(within.reshape(levels, 2, 2).mean(axis=2), 2, axis=1)
    data = pd.DataFrame({"y": x + within.ravel(), "x": x, "f": f.astype(str), "part": part})
    model = mlm.LMM("y ~ x + f + (1 | part)", data)
    assert not reduce_design(model.design).core.is_exact
    with pytest.warns(mlm.SingularFitWarning, match="variance of .* is 0"):
        fit = model.fit(ddf="satterthwaite")
    assert float(fit.varcorr["part"].iloc[0, 0]) == 0.0
    means = data.groupby("f")[["x", "y"]].transform("mean")
    a, b = data.x - means.x, data.y - means.y
    slope = float(a @ b / (a @ a))
    spread = float(((b - slope * a) ** 2).sum() / (len(f) - levels - 1) / (a @ a)) ** 0.5
    assert fit.params["x"] == pytest.approx(slope, rel=1e-9)
    assert fit.bse["x"] == pytest.approx(spread, rel=1e-9)
    assert fit.df["x"] == pytest.approx(len(f) - levels - 1, rel=1e-6)


def test_an_iteration_stays_where_the_restricted_likelihood_is_flat():
    """The common covariance of a structure, which the levels take up whatever it is."""
    data = frame()
    fits = [
        lmm("y ~ x + f + cs(0 + k | f)", data, weights="w", absorb=absorb)
        for absorb in (False, True)
    ]
    codes = pd.factorize(data.f, sort=True)[0]
    k = pd.get_dummies(data.k).to_numpy(dtype=float)
    X = np.column_stack([np.ones(len(data)), data.x, pd.get_dummies(data.f, drop_first=True)])
    X = X.astype(float)
    for fit in fits:
        assert fit.converged
        G = fit.varcorr["f"].to_numpy()
        assert np.abs(G).max() < 1.0
        term = dense.Term(k, G, codes)
        V = dense.marginal_covariance(
            [term.with_covariance(G)], dense.residual_covariance(fit.scale, len(data), data.w)
        )
        assert fit.llf == pytest.approx(
            dense.log_likelihood(data.y.to_numpy(), X, V, "REML"), abs=1e-7
        )
    assert fits[1].llf == pytest.approx(fits[0].llf, abs=1e-8)
    assert fits[1].bse["x"] == pytest.approx(fits[0].bse["x"], rel=1e-7)


def test_what_is_refused():
    data = frame()
    with pytest.raises(ModelError, match="absorb=True needs a factor"):
        mlm.lmm("y ~ x + (1 | g)", data, absorb=True)
    with pytest.raises(ModelError, match="absorb=True needs a factor"):
        mlm.lmm("y ~ f * x + (1 | g)", data, absorb=True)
    with pytest.raises(ModelError, match="absorb=True needs a factor"):
        mlm.lmm("y ~ f + (1 | g)", data, absorb=True, contrasts={"f": "contr.sum"})
    model = mlm.LMM("y ~ x + f + (1 | g)", data, absorb=True)
    for engine in ("nested", "dense", "iterative"):
        with pytest.raises(ModelError, match="is eliminated by the crossed engine"):
            model.fit(options={"engine": engine})
    with pytest.raises(ModelError, match="absorb is 'f'; use True"):
        mlm.lmm("y ~ f + (1 | g)", data, absorb="f")
    fit = model.fit()
    with pytest.raises(ModelError, match="leave type= and definition= out"):
        fit.anova(type=1)
    with pytest.raises(ModelError, match="nothing to estimate"):
        fit.contrast({"x": 0.0})
    inner = lmm("y ~ x * k + f + (1 | g)", data, absorb=True)
    with pytest.raises(ModelError, match="is contained in 'x:k'"):
        inner.anova()
    aliased = lmm("y ~ f + u + (1 | g)", data, absorb=True)
    with pytest.raises(ModelError, match=r"is not estimable: .* do not tell u apart"):
        aliased.contrast("u")


@pytest.mark.parametrize("formula", ["y ~ x + f:x", "y ~ f + i", "y ~ C(f, contr.sum)"])
def test_columns_that_no_memory_holds_are_refused_with_their_size(formula):
    levels = np.arange(400_000).astype(str)
    data = {"y": np.ones(len(levels)), "x": np.ones(len(levels)), "f": levels, "i": levels}
    with pytest.raises(ModelError, match=r"columns of .* over 400,000 rows.* GB, more than"):
        mlm.LMM(formula, data)


def test_matrices_of_all_levels_are_refused(monkeypatch):
    fit = lmm("y ~ x + f + (1 | g)", frame(), absorb=True)
    monkeypatch.setattr(result, "LARGEST_MATRIX", 5)
    with pytest.raises(ModelError, match="bse has the standard errors of all"):
        fit.cov_params()
    monkeypatch.setattr(as_columns, "MOST_LEVELS", 5)
    with pytest.raises(ModelError, match=r"robust\(\) needs all columns of X"):
        fit.robust()


def test_derivatives_along_paths():
    # Of tr(A G) det(I + G) where G has rank 1: to both sides there is no line.
    a = np.array([[2.0, 0.3], [0.3, 1.0]])
    g = [np.array([[[1.0, 2.0], [2.0, 4.0]]])]
    m = np.array([0.3, -0.2])
    way = np.outer(m, [1.0, 2.0])
    way = way + way.T

    def function(at):
        return np.trace(a @ at[0][0]) * np.linalg.det(np.eye(2) + at[0][0])

    h = 1e-4
    f = [function([g[0] + s * h * way]) for s in (-1, 0, 1)]
    first, second = along(function, g, [way], np.asarray(f[1]))
    assert first == pytest.approx((f[2] - f[0]) / (2 * h), rel=1e-6)
    assert second == pytest.approx((f[2] - 2 * f[1] + f[0]) / h**2, rel=1e-5)


_BITS = """
import numpy as np, pandas as pd, mlmfast as mlm
rng = np.random.default_rng(2)
n = 30_000
f, g = rng.integers(0, 900, n), rng.integers(0, 150, n)
y = rng.normal(size=n) + rng.normal(size=900)[f] + rng.normal(size=150)[g]
d = pd.DataFrame({"y": y, "x": rng.normal(size=n), "f": f.astype(str), "g": g.astype(str)})
fit = mlm.lmm("y ~ x + f + (1 | g)", d)
print(fit.params.to_numpy().tobytes().hex(), fit.bse.to_numpy().tobytes().hex(), fit.llf.hex())
"""


def test_same_bits_for_any_number_of_threads():
    assert output_for_any_number_of_threads(_BITS)


def aliased_frame():
    rng = np.random.default_rng(7)
    f = np.repeat(np.arange(20), 4)
    data = pd.DataFrame({"f": f, "t": np.tile(list("pqrs"), 20), "g": rng.integers(0, 8, 80)})
    data["x"], data["y"] = rng.normal(size=(2, 80))
    data["around"] = [f"r{k % 5}" for k in f]
    data["z"] = data.groupby("f").x.transform("mean")
    data["xc"] = data.x - data.z
    data["tz"] = (data.t == "p") + data.z
    return data.drop(index=[3, 17, 50]).astype({"f": str})


@pytest.mark.parametrize(
    "formula",
    [
        "y ~ f + t + around + z + (1 | g)",
        "y ~ around + z + t + f + (1 | g)",
        "y ~ around + f + x + xc + z + t + (1 | g)",
        "y ~ f + x + xc + t + (1 | g)",
        "y ~ tz + f + t + (1 | g)",
        "y ~ t + tz + f + x + (1 | g)",
        "y ~ 0 + f + t + (1 | g)",
        "y ~ 0 + t + f + (1 | g)",
        "y ~ f + around + z",
    ],
)
@pytest.mark.parametrize("ddf", ["satterthwaite", "residual"])
def test_terms_beside_aliased_columns_are_those_of_all_columns(formula, ddf):
    eliminated, columns = (
        lmm(formula, aliased_frame(), absorb=absorb, ddf=ddf) for absorb in (True, False)
    )
    for kind in (2, 3):
        found, target = eliminated.anova(type=kind), columns.anova(type=kind)
        assert list(found.frame.index) == list(target.frame.index)
        close(found.frame, target.frame, 1e-6)
        assert set(found.notes) == set(target.notes)


@pytest.mark.parametrize(
    "formula",
    [
        "y ~ f + x + h + x2 + (1 | g)",
        "y ~ f + z + x + q + (1 | g)",
        "y ~ f + x + q + q1 + (1 | g)",
        "y ~ h + f + h1 + (1 | g)",
        "y ~ f + z + x + h + h1 + (1 + x | g)",
        "y ~ C(q, contr.sum) + f + x + (1 | g)",
        "y ~ f + x + x2 + C(h, contr.helmert) + C(q, contr.sum) + q1 + (1 | g)",
        "y ~ 0 + q + f + x + x2 + (1 | g)",
        "y ~ 0 + f + C(q, contr.sum) + q1 + (1 | g)",
        "y ~ f + C(h, contr.sum):C(q, contr.sum) + q1 + (1 | g)",
        "y ~ f + C(h, contr.sum):x + z + (1 | g)",
    ],
)
@pytest.mark.parametrize("weights", ["w", None])
@pytest.mark.parametrize("ddf", ["satterthwaite", "kenward-roger"])
def test_joint_tests_beside_aliased_columns_in_unbalanced_data(formula, weights, ddf):
    """Satterthwaite's degrees of freedom go by the rows of a hypothesis: they are the same rows."""
    rng = np.random.default_rng(0)
    f, g, h, q = (rng.integers(0, n, 150) for n in (12, 25, 3, 5))
    data = pd.DataFrame({"f": f, "g": g, "h": h, "q": q}).astype(str)
    data["x"], data["w"] = rng.normal(size=150), rng.uniform(0.2, 5.0, 150)
    data = data.assign(z=1.0 * f, x2=2 * data.x, h1=1.0 * (h == 1), q1=(q == 1) + 2.0 * (q == 3))
    data["y"] = data.x + rng.normal(size=25)[g] + rng.normal(size=150) / np.sqrt(data.w)
    eliminated, columns = (
        lmm(formula, data, absorb=absorb, weights=weights, ddf=ddf) for absorb in (True, False)
    )
    found, target = eliminated.anova().frame, columns.anova().frame
    assert list(found.index) == list(target.index)
    close(found, target, 1e-6)


@pytest.mark.parametrize(
    "formula",
    [
        "y ~ f + t + around + z + (1 | g)",
        "y ~ around + f + x + xc + z + t + (1 | g)",
        "y ~ 0 + f + t + z + (1 | g)",
        "y ~ tz + f + t + (1 | g)",
    ],
)
def test_functions_beside_aliased_columns_are_estimable_where_they_are_with_all_columns(formula):
    """A column whose twin is left out says nothing alone; differences of rows of X do."""
    eliminated, columns = (
        lmm(formula, aliased_frame(), absorb=absorb, ddf="residual") for absorb in (True, False)
    )
    design = columns._source.design
    X = np.column_stack([np.ones(design.n_obs) if c is None else c for c in design.x])
    rows = np.vstack([np.eye(X.shape[1]), X[:5] - X[5:10], X[:2]])
    estimable = 0
    for row in rows:
        found, target = said_of(eliminated, row), said_of(columns, row)
        if isinstance(target, str):
            assert "is not estimable: X has rank" in target
            assert found == target
        else:
            close(found, target, 1e-6)
            estimable += 1
    assert 7 <= estimable < len(rows)


def said_of(fit, row):
    """The test of a function, or why there is none."""
    try:
        return fit.contrast(row).table
    except ModelError as error:
        return str(error)


def levels_that_share():
    """Slopes and levels of `f` whose covariance its fixed levels take up in part."""
    data = frame().copy()
    f, k = (data[name].str[1:].astype(int) for name in ("f", "k"))
    data["y"] += np.random.default_rng(3).normal(size=(12, 3))[f, k]
    return data


@pytest.mark.parametrize(
    "formula",
    [
        "y ~ x + f + us(0 + k | f)",
        "y ~ x + f + (0 + k || f)",
        "y ~ x + k + f + csh(0 + k | f)",
        "y ~ x + f + cs(0 + k | f)",
        "y ~ x + f + (1 | f)",
    ],
)
@pytest.mark.parametrize("ddf", ["satterthwaite", "residual"])
@pytest.mark.filterwarnings("ignore::mlmfast.errors.SingularFitWarning")
def test_what_hangs_on_undetermined_covariances_has_no_errors(formula, ddf):
    eliminated, columns = (
        mlm.lmm(formula, levels_that_share(), absorb=absorb, ddf=ddf) for absorb in (True, False)
    )
    np.testing.assert_allclose(eliminated.cov_params(), columns.cov_params(), 1e-5, 1e-8)
    np.testing.assert_allclose(eliminated.df, columns.df, 1e-4)
    L = {"levels": "fl03 - fl05", "x": "x", "mean": "(Intercept) + x"}
    found, target = eliminated.contrast(L), columns.contrast(L)
    np.testing.assert_allclose(found.table, target.table, 1e-4)
    np.testing.assert_allclose(found.f.pvalue, target.f.pvalue, 1e-4)
    target = columns.anova().frame
    np.testing.assert_allclose(eliminated.anova().frame.loc[target.index], target, 1e-4)
    if "cs(" not in formula and "(1" not in formula:
        assert found.table["se"].isna().tolist() == [True, False, True]


def test_a_factor_of_many_levels_counts_what_others_leave_of_it(monkeypatch):
    formula = "y ~ f + t + around + z + (1 | g)"
    target = lmm(formula, aliased_frame(), absorb=False, ddf="residual").anova().frame
    monkeypatch.setattr(terms, "LARGEST_HYPOTHESIS", 2)
    found = lmm(formula, aliased_frame(), absorb=True, ddf="residual").anova().frame
    close(found, target, 1e-6)


def test_the_advice_where_kenward_roger_2009_is_not_offered_works():
    """Beside an eliminated factor it is for covariances that are linear in their parameters."""
    formula, data = "y ~ x + f + ar1(0 + k | g)", frame()
    with pytest.raises(ModelError, match="use 'kenward-roger', or absorb=False"):
        _ = lmm(formula, data, absorb=True, ddf="kenward-roger-2009").df
    linear, columns = (
        lmm(formula, data, absorb=absorb, ddf="kenward-roger").df for absorb in (True, False)
    )
    close(linear, columns, 1e-5)
    assert np.isfinite(lmm(formula, data, absorb=False, ddf="kenward-roger-2009").df).all()
