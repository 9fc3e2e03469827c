"""Degrees of freedom and adjusted covariances: reference fits, SAS listings, published rules."""

import re
import warnings

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_allclose
from scipy import stats

import mlmfast as mlm
from mlmfast.degrees_of_freedom import METHODS
from mlmfast.errors import ModelError

from ..cases import ALL, cases_with, data_of, reference, tolerance
from ..fits import arguments_of, fit_case, lmm
from ..residual_models import trial

#: Key of the reference -> ddf; `df_kr` is mmrm's with a residual structure, else pbkrtest's.
CONVENTIONS = {
    "df_satterthwaite": "satterthwaite",
    "df_kr": None,
    "df_kr_linear": "kenward-roger-linear",
    "df_kr_observed": "kenward-roger",
    "df_between_within": "between-within",
}
PAIRS = [(case_id, key) for key in CONVENTIONS for case_id in cases_with(key)]


def fit_with(case_id, key):
    name = CONVENTIONS[key]
    if name is None:
        name = "kenward-roger" if reference(case_id)["residual"] else "kenward-roger-expected"
    case = reference(case_id)
    return lmm(case["formula"], data_of(case_id), ddf=name, **arguments_of(case_id))


@pytest.mark.parametrize(("case_id", "key"), PAIRS)
def test_reference_degrees_of_freedom(case_id, key):
    expected = reference(case_id)["expect"][key]
    target = [np.inf if value is None else value for value in expected.values()]
    found = fit_with(case_id, key).df[list(expected)]
    assert_allclose(found, target, rtol=tolerance(case_id, "df"))


@pytest.mark.parametrize(
    ("case_id", "key"),
    # mmrm's covariance with second derivatives is by other parameters: 2 to 4 digits, see below.
    [
        (case_id, key)
        for case_id, key in PAIRS
        if key.replace("df", "vcov") in reference(case_id)["expect"]
        and not (key == "df_kr" and reference(case_id)["residual"])
    ],
)
def test_reference_adjusted_covariances(case_id, key):
    expect = reference(case_id)["expect"]
    target = np.array(expect[key.replace("df", "vcov")])
    fit, names = fit_with(case_id, key), list(expect["beta"])
    found = fit.cov_params(fit.ddf).loc[names, names].to_numpy()
    sd = np.sqrt(np.diag(target))
    assert np.all(np.abs(found - target) <= 2 * tolerance(case_id, "vcov_kr") * np.outer(sd, sd))
    assert_allclose(fit.bse[names] ** 2, np.diag(found), rtol=1e-12)


SAS = [case_id for case_id in ALL if case_id.startswith("fevarm_")]


@pytest.mark.parametrize("case_id", SAS)
def test_sas_listings(case_id):
    """PROC MIXED DDFM=KR and KR(LINEAR), `agreement` of the reference files.

    As close as PROC MIXED's own iteration is: the estimate itself agrees to the digits counted.
    """
    agreement = reference(case_id)["agreement"]["sas"]
    sas, digits = agreement["ARMCDTRT"], agreement["digits_of_agreement"]
    rtol = 10.0 ** -(digits["se_kr_linear"] - 0.5)
    for ddf, suffix in (("kenward-roger", "kr"), ("kenward-roger-linear", "kr_linear")):
        fit = lmm(reference(case_id)["formula"], data_of(case_id), ddf=ddf, **arguments_of(case_id))
        assert fit.bse["ARMCDTRT"] == pytest.approx(sas[f"se_{suffix}"], rel=rtol)
        df_rtol = 10.0 ** -(digits["df_kr_linear"] - 0.5)
        assert fit.df["ARMCDTRT"] == pytest.approx(sas[f"df_{suffix}"], rel=df_rtol)


def test_sas_listing_of_a_spatial_structure():
    """fevarm_sp_exp: type=sp(exp)(VISITN VISITN2), from the same repository of listings."""
    fit = mlm.lmm(
        "FEV1 ~ ARMCD",
        data_of("fevarm_us_reml"),
        residual="sp_exp(VISITN, VISITN2 | USUBJID)",
        ddf="kenward-roger",
    )
    linear = fit.cov_params("kenward-roger-linear").loc["ARMCDTRT", "ARMCDTRT"] ** 0.5
    assert fit.bse["ARMCDTRT"] == pytest.approx(0.90527620094771, rel=5e-6)
    assert linear == pytest.approx(0.90552903839818, rel=5e-6)
    assert fit.df["ARMCDTRT"] == pytest.approx(195.584197921463, rel=2e-5)


def test_a_regression_has_its_residual_degrees_of_freedom():
    case_id = "lm_warpbreaks_reml"
    expected = reference(case_id)["expect"]["df_residual"]
    for ddf in ("satterthwaite", "residual", "kenward-roger", "kenward-roger-expected"):
        fit = lmm(reference(case_id)["formula"], data_of(case_id), ddf=ddf)
        assert_allclose(fit.df, expected, rtol=1e-12)


@pytest.mark.parametrize("case_id", [f"exact_smls0{k}_reml" for k in range(1, 7)])
def test_a_balanced_one_way_layout_has_its_groups_less_one(case_id):
    n = len(np.unique(data_of(case_id)["treatment"]))
    for ddf in ("satterthwaite", "kenward-roger", "kenward-roger-expected", "containment"):
        fit = lmm(reference(case_id)["formula"], data_of(case_id), ddf=ddf)
        assert_allclose(fit.df, n - 1, rtol=1e-8)
        assert_allclose(fit.bse**2, np.diag(fit.cov_params()), rtol=1e-9)


# -- rules ---------------------------------------------------------------------------------------


def split_plot():
    """4 blocks x 3 whole plots (a) x 2 subplots (b), complete."""
    rng = np.random.default_rng(3)

    grid = [(i, j, k) for i in range(4) for j in range(3) for k in range(2)]
    frame = pd.DataFrame(grid, columns=["block", "a", "b"])
    plot = rng.normal(size=(4, 3))[frame.block, frame.a]
    y = 0.9 * rng.normal(size=4)[frame.block] + plot + 0.5 * rng.normal(size=24)
    return frame.assign(
        y=y,
        block=frame.block.map("B{}".format),
        a=frame.a.map("a{}".format),
        b=frame.b.map("b{}".format),
    )


@pytest.mark.parametrize(
    "formula", ["y ~ a * b + (1 | block/a)", "y ~ a * b + (1 | block) + (1 | block:a)"]
)
def test_containment_in_a_split_plot(formula):
    """PROC MIXED: (r - 1) for the intercept, (r - 1)(a - 1) for a, n - rank[X Z] for b, a:b."""
    df = mlm.lmm(formula, split_plot(), ddf="containment").df
    assert df["(Intercept)"] == 3
    assert df["aa1"] == df["aa2"] == 6
    # 24 rows; X has rank 6, blocks add 3 and whole plots 6.
    assert df["bb1"] == df["aa1:bb1"] == 9


TERMS = {
    # The design's strata: blocks, whole plots, sub-plots.
    "cake_splitplot_reml": ("containment", [28, 210, 210]),
    "alfalfa_splitplot_reml": ("containment", [10, 45, 45]),
    # mmrm: between subjects for what does not change within them.
    "fev_us_reml": ("between-within", [192, 192, 192, 334, 334]),
    "orthodont_us_reml": ("between-within", [25, 75, 75]),
}


@pytest.mark.parametrize("kind", [1, 2, 3])
@pytest.mark.parametrize("case_id", TERMS)
def test_a_term_has_its_own_degrees_of_freedom(case_id, kind):
    """Rows of a term's hypothesis hold rounding error in other terms' columns."""
    ddf, target = TERMS[case_id]
    table = fit_case(case_id).anova(kind, ddf=ddf)
    assert table.frame["DenDF"].tolist() == target
    # With data missing, type I and II rows reach into other terms for good.
    uneven = lmm("y ~ a * b + (1 | block/a)", split_plot().drop([0, 7, 13]), ddf=ddf)
    own = [uneven.df[name] for name in ("aa1", "bb1", "aa1:bb1")]
    assert uneven.anova(kind).frame["DenDF"].tolist() == own


def test_a_contrast_ignores_rounding_error():
    fit = lmm("y ~ a * b + (1 | block/a)", split_plot(), ddf="containment")
    L = np.eye(len(fit.params))[4] + 1e-15
    assert fit.contrast(L).df == fit.df.iloc[4] == 9
    assert fit.contrast(L + 1e-3).df == 3


def test_containment_in_random_coefficients():
    """SAS's RANDOM int age / subject: the levels less the columns that X shares with them."""
    fit = lmm(
        "distance ~ age * Sex + (age | Subject)", data_of("orthodont_slope_reml"), ddf="containment"
    )
    assert fit.df.to_dict() == {"(Intercept)": 25, "age": 25, "SexFemale": 54, "age:SexFemale": 54}


def test_containment_counts_the_same_rank_by_cluster_and_dense():
    from mlmfast.degrees_of_freedom import containment

    data = trial(n_subjects=30, missing=0.3)
    fit = mlm.lmm("y ~ x * arm + (x | subject)", data, ddf="containment")
    rows = fit._rows
    effects = containment._random_effects(rows.frame, rows)
    x = rows.design.fixed_matrix
    dense = [x]
    for effect in effects:
        codes = rows.design.factors[effect.factor].codes
        for column in effect.columns:
            z = np.zeros((len(codes), codes.max() + 1))
            z[np.arange(len(codes)), codes] = 1.0 if column is None else column
            dense.append(z)
    for k in range(3):
        target = np.linalg.matrix_rank(np.hstack(dense[: k + 1]))
        assert containment._rank(rows.design, x, effects[:k]) == target


def test_between_within_of_random_effects():
    fit = lmm(
        "distance ~ age * Sex + (age | Subject)",
        data_of("orthodont_slope_reml"),
        ddf="between-within",
    )
    # 108 rows, 27 subjects; age and age:Sex change within subjects.
    assert fit.df.to_dict() == {"(Intercept)": 79, "age": 79, "SexFemale": 25, "age:SexFemale": 79}


@pytest.mark.parametrize("ddf", ["between-within", "between-within-sas"])
@pytest.mark.parametrize("scale", ["Sex", "exp(age)"])
def test_rows_with_a_scale_of_their_own_are_no_subjects(ddf, scale):
    data, formula = data_of("orthodont_slope_reml"), "distance ~ age * Sex + (1 | Subject)"
    scaled = lmm(formula, data, ddf=ddf, residual_scale=scale)
    assert scaled.df.to_dict() == lmm(formula, data, ddf=ddf).df.to_dict()
    with pytest.raises(ModelError, match="neither random effects nor a residual structure"):
        lmm("distance ~ age", data, ddf=ddf, residual_scale=scale)


def test_a_number():
    fit = mlm.lmm("Reaction ~ Days + (Days | Subject)", mlm.load_sleepstudy(), ddf=12)
    assert fit.df.to_dict() == {"(Intercept)": 12.0, "Days": 12.0}
    assert mlm.load(fit.to_json()).contrast("Days").df == 12.0


def test_asymptotic_tests_are_normal():
    fit = mlm.lmm("Reaction ~ Days + (Days | Subject)", mlm.load_sleepstudy(), ddf="asymptotic")
    assert np.isinf(fit.df).all()
    assert fit.pvalues["Days"] == pytest.approx(1.27e-11, rel=1e-2)
    joint = fit.contrast(np.eye(2)).f
    assert joint.pvalue == joint.chi2_pvalue


def test_satterthwaite_is_the_default():
    fit = mlm.lmm("Reaction ~ Days + (Days | Subject)", mlm.load_sleepstudy())
    assert fit.ddf == "satterthwaite"
    assert_allclose(fit.df, 17, rtol=1e-7)
    lower = fit.conf_int().loc["Days", "lower"]
    assert lower == pytest.approx(10.467286 - 2.1098156 * 1.545790, rel=1e-6)


def test_kenward_roger_is_in_every_report():
    fit = mlm.lmm(
        "Reaction ~ Days + (Days | Subject)", mlm.load_sleepstudy().iloc[:-7], ddf="kenward-roger"
    )
    adjusted = np.sqrt(np.diag(fit.cov_params("kenward-roger")))
    assert np.all(adjusted > np.sqrt(np.diag(fit.cov_params())))
    assert_allclose(fit.bse, adjusted, rtol=1e-12)
    assert_allclose(fit.tidy("fixed")["std_error"], adjusted, rtol=1e-12)
    assert_allclose(fit.tidy("fixed")["df"], fit.df, rtol=1e-12)
    assert "standard errors from the adjusted covariance" in str(fit.summary())
    assert "Kenward-Roger" in fit._repr_html_()


# -- the boundary --------------------------------------------------------------------------------


def test_a_variance_of_0_is_held_there():
    """As lmerTest: the model without it. pbkrtest counts it all the same."""
    case_id = "sing_zero_slope_a_reml"
    data = data_of(case_id)
    fit = lmm("y ~ x + (x || g)", data)
    without = mlm.lmm("y ~ x + (1 | g)", data)
    assert fit.singular
    assert_allclose(fit.df, without.df, rtol=1e-6)
    table = fit.covtest().table
    assert np.isnan(table.loc["Var(x) | g", ["se", "z", "p_value"]].to_numpy(dtype=float)).all()
    assert table.drop(index="Var(x) | g").notna().all().all()
    assert "variance of x by g is 0" in str(fit.covtest())
    kept = ["Var((Intercept)) | g", "Residual"]
    assert_allclose(fit.cov_theta().loc[kept, kept], without.cov_theta().loc[kept, kept], rtol=1e-5)


def test_a_correlation_of_1_stays_one():
    fit = lmm("y ~ x + (x | g)", data_of("sing_corr_one_a_reml"))
    assert fit.singular
    covariance = fit.cov_theta().iloc[:3, :3].to_numpy()
    a, b, c = fit.covariance_parameters.iloc[:3]
    # Along matrices of rank 1, a c - b^2 stays 0.
    normal = np.array([c, -2 * b, a])
    size = np.sqrt(np.diag(covariance)) @ np.abs(normal)
    assert abs(normal @ covariance @ normal) < 1e-12 * size**2


def test_parameters_that_the_data_do_not_tell_are_left_out():
    data = trial(n_subjects=30, missing=0.0)
    fit = lmm("y ~ x + (1 | subject)", data, residual="cs(visit | subject)")
    alone = mlm.lmm("y ~ x", data, residual="cs(visit | subject)")
    assert_allclose(fit.df, alone.df, rtol=1e-5)
    assert "cannot be told apart" in " ".join(fit.certificate.boundary)
    assert "cannot be told apart" in " ".join(str(fit.summary()).split())


def test_an_adjusted_covariance_that_is_none_is_refused():
    """As SAS warns of its own, second derivatives weigh too much with 4 subjects."""
    data = trial(seed=5, n_subjects=4, n_visits=4, missing=0.1)
    fit = lmm("y ~ x * visit", data, residual="csh(visit | subject)", ddf="kenward-roger")
    with pytest.raises(ModelError, match=r"not positive definite.*'kenward-roger-linear'"):
        fit.bse  # noqa: B018
    assert fit.cov_params().notna().all(axis=None)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(
    ("seed", "residual"),
    [(0, "csh"), (5, "ar1h"), (1, "us"), (2, "toep"), (4, "toep"), (6, "csh")],
)
def test_a_refused_adjustment_names_the_methods_that_this_fit_has(seed, residual):
    data = trial(seed=seed, n_subjects=4, n_visits=4, missing=0.1)
    fit = mlm.lmm("y ~ x * visit", data, residual=f"{residual}(visit | subject)")
    names = [name for name in METHODS if name.startswith("kenward-roger")]

    def advice(name):
        """What the refusal names; None where there is none."""
        try:
            fit.contrast("x", ddf=name)
        except ModelError as error:
            return re.findall(r"'([a-z0-9-]+)'", str(error).partition("; use ")[2])

    found = {name: advice(name) for name in names}
    served = {name for name, advised in found.items() if advised is None}
    assert served != set(names)
    for advised in filter(None, found.values()):
        assert set(advised) == {"satterthwaite", *served}
    assert advice("satterthwaite") is None


def test_a_nearly_singular_residual_covariance_has_tests():
    """The correlation ran to -1: natural parameters tell theta no longer apart."""
    data = trial(seed=2, n_subjects=4, n_visits=4, missing=0.1)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", mlm.ConvergenceWarning)
        fit = lmm("y ~ x * visit", data, residual="toeph(visit | subject)")
    assert fit.df.notna().all()
    assert "TOEPH" in str(fit.covtest())


def test_few_clusters():
    data = mlm.load_sleepstudy()
    data = data[data.Subject.isin(data.Subject.unique()[:2])]
    fit = lmm("Reaction ~ Days + (1 | Subject)", data, ddf="kenward-roger")
    assert np.isfinite(fit.pvalues).all()
    # An intercept with one degree of freedom: an F with this denominator has no mean.
    together = fit.contrast(np.eye(2)).f
    assert np.isnan(together.statistic)
    assert "no F distribution matches" in together.note
    assert 0 < together.chi2_pvalue < 1
    assert 0 < fit.contrast(np.eye(2), ddf="satterthwaite").f.pvalue < 1


def test_aliased_columns_have_no_degrees_of_freedom():
    case_id = "cake_rank_deficient_reml"
    fit = lmm(reference(case_id)["formula"], data_of(case_id), ddf="kenward-roger")
    assert fit.aliased
    assert fit.df[list(fit.aliased)].isna().all()
    assert fit.df.drop(list(fit.aliased)).notna().all()


# -- structured random effects -------------------------------------------------------------------


def twice_seen():
    """Each subject's visits twice, so that effects of visits and residuals are told apart."""
    first = trial(n_subjects=40, missing=0.1, subject_sd=1.0)
    noise = np.random.default_rng(0).normal(size=len(first))
    return pd.concat([first, first.assign(y=first.y + noise)], ignore_index=True)


def test_compound_symmetry_of_effects_is_nested_intercepts():
    data = twice_seen()
    cs = mlm.lmm("y ~ x + cs(0 + visit | subject)", data, ddf="kenward-roger")
    nested = mlm.lmm("y ~ x + (1 | subject / visit)", data, ddf="kenward-roger")
    assert_allclose(cs.df, nested.df, rtol=1e-6)
    assert_allclose(cs.bse, nested.bse, rtol=1e-8)
    table, other = cs.covtest().table, nested.covtest().table
    assert table.loc["CS | subject", "se"] == pytest.approx(
        other.loc["Var((Intercept)) | subject", "se"], rel=1e-5
    )
    assert table.loc["Residual", "se"] == pytest.approx(other.loc["Residual", "se"], rel=1e-5)


@pytest.mark.parametrize("structure", ["ar1", "csh", "homdiag", "toeph", "hf", "un", "fa"])
def test_structured_effects_have_every_test(structure):
    fit = lmm(f"y ~ x + {structure}(0 + visit | subject)", twice_seen())
    assert np.all(fit.df > 2)
    for ddf in ("kenward-roger-linear", "kenward-roger-expected"):
        assert np.all(np.diag(fit.cov_params(ddf)) > 0)
    assert list(fit.covtest().table.index) == list(fit.covariance_parameters.index)


# -- batches -------------------------------------------------------------------------------------


def test_a_batch_tests_as_single_fits_do():
    model = mlm.LMM("Reaction ~ Days + (Days | Subject)", mlm.load_sleepstudy().iloc[:-9])
    responses = model.fit().simulate(3, seed=4)
    batch = model.fit_many(responses)
    for ddf in ("satterthwaite", "kenward-roger", "containment", 7):
        tests = batch.tests(["Days = 10", "(Intercept) = 250"], ddf=ddf)
        for k in range(3):
            data = mlm.load_sleepstudy().iloc[:-9].assign(Reaction=responses[:, k])
            single = lmm("Reaction ~ Days + (Days | Subject)", data, ddf=ddf)
            own = single.contrast(["Days = 10", "(Intercept) = 250"])
            assert_allclose(batch.df(ddf)[k], single.df, rtol=1e-6)
            assert_allclose(tests.pvalue[k], own.table["p_value"], rtol=1e-6)
            assert tests.f[k] == pytest.approx(own.f.statistic, rel=1e-6)
            assert tests.f_pvalue[k] == pytest.approx(own.f.pvalue, rel=1e-6)


# -- refusals ------------------------------------------------------------------------------------

REFUSED = {
    "Kenward-Roger with ML": ({"method": "ML", "ddf": "kenward-roger"}, "needs a REML fit"),
    "a misspelt name": ({"ddf": "satterthwait"}, "did you mean 'satterthwaite'"),
    "another word": ({"ddf": "exact"}, "is not known"),
    "a number below 0": ({"ddf": -3}, "must be positive"),
    "not a number": ({"ddf": float("nan")}, "must be positive"),
    "truth": ({"ddf": True}, "is not known"),
}


@pytest.mark.parametrize(("arguments", "message"), REFUSED.values(), ids=REFUSED)
def test_refusals(arguments, message):
    with pytest.raises(ModelError, match=message):
        mlm.lmm("Reaction ~ Days + (1 | Subject)", mlm.load_sleepstudy(), **arguments)


def test_methods_that_a_model_cannot_offer():
    data = mlm.load_sleepstudy()
    with pytest.raises(ModelError, match="needs random effects"):
        mlm.lmm("Reaction ~ Days", data, ddf="containment")
    with pytest.raises(ModelError, match="needs subjects"):
        mlm.lmm("Reaction ~ Days", data, ddf="between-within")
    X = np.column_stack([np.ones(180), data.Days])
    model = mlm.LMM.from_arrays(data.Reaction, X, groups=data.Subject)
    with pytest.raises(ModelError, match="made from arrays"):
        model.fit(ddf="containment")
    with pytest.raises(ModelError, match="too few for the coefficients"):
        mlm.lmm("Reaction ~ Subject + (1 | Subject)", data, ddf="between-within")
    rng = np.random.default_rng(1)
    crossed = data.assign(item=rng.integers(0, 12, len(data)).astype(str))
    with pytest.raises(ModelError, match=r"'item' and 'Subject' are crossed"):
        mlm.lmm("Reaction ~ Days + (1 | Subject) + (1 | item)", crossed, ddf="between-within")
    with pytest.raises(ModelError, match="degrees of freedom for"):
        mlm.lmm("Reaction ~ Subject + (1 | Subject)", data, ddf="containment")
    with pytest.raises(ModelError, match="did you mean 'kenward-roger'"):
        model.fit().cov_params("kenward-rodger")
    with pytest.raises(ModelError, match="needs a REML fit"):
        model.fit("ML").cov_params("kenward-roger")


def test_a_loaded_fit_tests_as_before_and_says_what_it_lacks():
    data = mlm.load_sleepstudy().iloc[:-7]
    fit = mlm.lmm("Reaction ~ Days + (Days | Subject)", data, ddf="kenward-roger")
    loaded = mlm.load(fit.to_json())
    assert_allclose(loaded.df, fit.df, rtol=1e-14)
    assert_allclose(loaded.pvalues, fit.pvalues, rtol=1e-12)
    assert str(loaded.contrast(np.eye(2))) == str(fit.contrast(np.eye(2)))
    assert str(loaded.covtest()) == str(fit.covtest())
    assert_allclose(loaded.cov_theta("expected"), fit.cov_theta("expected"), rtol=1e-14)
    again, before = (f.contrast("Days", ddf="satterthwaite") for f in (loaded, fit))
    assert_allclose([again.df, again.pvalue], [before.df, before.pvalue], rtol=1e-10)
    with pytest.raises(ModelError, match="need the rows of the data"):
        loaded.contrast("Days", ddf="kenward-roger-2009")
    assert np.isinf(loaded.contrast("Days", ddf="asymptotic").df)
    assert loaded.contrast("Days", ddf="residual").df == len(data) - 2


FORMS = (
    "kenward-roger",
    "kenward-roger-linear",
    "kenward-roger-expected",
    "kenward-roger-2009",
)


def complete_visits(n, k, seed, lost=()):
    """n subjects at k visits, correlated, without the rows at ``lost``."""
    rng = np.random.default_rng(seed)
    y = rng.normal(size=(n, k)) + rng.normal(size=(n, 1)) + np.arange(k)
    rows = [(f"s{i:02}", f"v{j}", y[i, j]) for i in range(n) for j in range(k)]
    data = pd.DataFrame(rows, columns=["id", "visit", "y"])
    data["x"] = rng.normal(size=len(data))
    return y, data.drop(index=list(lost))


@pytest.mark.parametrize("ddf", FORMS)
@pytest.mark.parametrize(("n", "k"), [(3, 2), (4, 3), (5, 3), (5, 4), (6, 4), (9, 4)])
def test_kenward_roger_is_hotelling_in_complete_data(ddf, n, k):
    """With 1, 2 and more denominator degrees of freedom: 0/0 at two."""
    y, data = complete_visits(n, k, seed=10 * n + k)
    test = mlm.lmm("y ~ visit", data, residual="us(visit | id)", ddf=ddf)
    differences = y[:, 1:] - y[:, :1]
    mean = differences.mean(axis=0)
    t2 = n * mean @ np.linalg.solve(np.atleast_2d(np.cov(differences.T)), mean)
    size = k - 1
    row = test.anova().frame.loc["visit"]
    assert row["NumDF"] == size
    assert row["DenDF"] == pytest.approx(n - size, rel=1e-6)
    assert row["F value"] == pytest.approx(t2 * (n - size) / (size * (n - 1)), rel=1e-6)


@pytest.mark.parametrize("ddf", FORMS)
@pytest.mark.parametrize(("blocks", "treatments"), [(2, 2), (2, 3), (3, 2), (2, 4), (3, 4)])
def test_kenward_roger_is_the_analysis_of_variance_of_blocks(ddf, blocks, treatments):
    """Denominators of 1, 2, 3 and 6 degrees of freedom."""
    rng = np.random.default_rng(blocks + 7 * treatments)
    y = rng.normal(size=(blocks, treatments)) + 5.0 * np.arange(blocks)[:, None]
    rows = [(f"b{i}", f"t{j}", y[i, j]) for i in range(blocks) for j in range(treatments)]
    data = pd.DataFrame(rows, columns=["block", "treatment", "y"])
    row = mlm.lmm("y ~ treatment + (1 | block)", data, ddf=ddf).anova().frame.loc["treatment"]
    den = (blocks - 1) * (treatments - 1)
    rest = y - y.mean(axis=0) - y.mean(axis=1)[:, None] + y.mean()
    between = blocks * ((y.mean(axis=0) - y.mean()) ** 2).sum() / (treatments - 1)
    statistic = between / ((rest**2).sum() / den)
    assert row["DenDF"] == pytest.approx(den, rel=1e-6)
    assert row["F value"] == pytest.approx(statistic, rel=1e-6)
    assert row["Pr(>F)"] == pytest.approx(stats.f.sf(statistic, treatments - 1, den), rel=1e-6)


def test_kenward_roger_never_gives_a_negative_f():
    """Small incomplete data, where the formulas taken as they stand give F below 0 at times."""
    missing = 0
    for seed in range(60):
        rng = np.random.default_rng(seed)
        n = int(rng.integers(4, 7))
        lost = rng.choice(3 * n, 2, replace=False)
        _, data = complete_visits(n, 3, seed, lost)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            fit = mlm.lmm("y ~ visit + x", data, residual="us(visit | id)", ddf="asymptotic")
        if not fit.converged:
            continue
        try:
            table = fit.anova(ddf="kenward-roger-linear")
        except ModelError:
            continue  # no adjusted covariance, which is said elsewhere
        row = table.frame.loc["visit"]
        if np.isnan(row["F value"]):
            missing += 1
            assert np.isnan(row["Pr(>F)"])
            assert "No F for visit: no F distribution matches" in str(table)
            assert "F: no F distribution matches" in str(
                fit.contrast(np.eye(4)[1:3], ddf="kenward-roger-linear")
            )
            assert "No F for visit" in str(mlm.joint_tests(fit, ddf="kenward-roger-linear"))
        else:
            assert row["F value"] >= 0.0
            assert row["DenDF"] > 0.0
            assert 0.0 <= row["Pr(>F)"] <= 1.0
    assert missing > 0


@pytest.mark.parametrize("ddf", ["between-within", "between-within-sas"])
def test_rows_that_share_effects_are_no_subject(ddf):
    """Smooths leave the subjects as they are; memberships leave none."""
    rng = np.random.default_rng(2)
    data = pd.DataFrame(
        {
            "y": rng.normal(size=60),
            "x": np.repeat(np.arange(10.0) % 2, 6),
            "t": np.tile(np.arange(6.0), 10),
            "g": np.repeat(list("abcdefghij"), 6),
            "h": np.tile(list("bcdefghija"), 6),
        }
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        smooth = mlm.lmm("y ~ x + s(t, k=5) + (1 | g)", data)
        members = mlm.lmm("y ~ x + (1 | mm(g, h))", data)
    # Ten subjects less the intercept and x.
    assert smooth.anova(ddf=ddf).frame.loc["x", "DenDF"] == 8.0
    with pytest.raises(ModelError, match="all rows share the effects of"):
        members.contrast("x = 0", ddf=ddf)
