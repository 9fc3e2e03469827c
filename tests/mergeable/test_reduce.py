"""Rows reduced part by part give the fit of the rows."""

from fractions import Fraction

import numpy as np
import pandas as pd
import pytest

import mlmfast as mlm
from mlmfast.errors import DataError, FormulaError, ModelError

from .data import in_parts, relative, rows

MODELS = {
    "slopes": ("y ~ f * h + t + (t | g)", {}),
    "far from 0": ("y ~ f + x + (1 | g)", {}),
    "nested": ("y ~ f + log(t + 1) + (1 | g / unit)", {}),
    "crossed": ("y ~ f + t + (1 | g) + (1 | rater)", {}),
    "weights": ("y ~ f * t + (1 | g)", {"weights": "w", "offset": "o"}),
    "no intercept": ("y ~ 0 + f + t + (0 + t | g)", {}),
    "transforms": ("y ~ f + poly(t, 2) + scale(x) + (scale(x) | g)", {}),
    "splines": ("y ~ ns(t, df=3) + bs(o, df=5) + (1 | g)", {}),
    "contrasts": ("y ~ f * t + offset(o) + (1 | g)", {"contrasts": {"f": "contr.sum"}}),
    "structure": ("y ~ t + diag(0 + f | g)", {}),
    "factors of numbers": ("y ~ factor(t) + C(f, contr.helmert) + (1 | g)", {}),
    "least squares": ("y ~ f * h + t", {}),
    "aliased": ("y ~ f + t + I(2 * t) + (1 | g)", {}),
}
#: To the last digits, so that rounding is all that fits differ by.
TO_THE_END = {"tolerance": 1e-18}

pytestmark = pytest.mark.filterwarnings("ignore::mlmfast.AliasedWarning")


@pytest.fixture(scope="module")
def data():
    return rows()


@pytest.fixture(scope="module", params=MODELS)
def pair(request, data):
    """The fit of the rows, and their reduction."""
    formula, arguments = MODELS[request.param]
    reduction = mlm.reduce(formula, in_parts(data), **arguments)
    return mlm.lmm(formula, data, **arguments, options=TO_THE_END), reduction


def test_the_fit_is_that_of_the_rows(pair):
    expected, reduction = pair
    fit = reduction.fit(options=TO_THE_END)
    assert (fit.nobs, fit.n_dropped) == (expected.nobs, expected.n_dropped)
    assert fit.nobs in {1497, 1499}
    assert fit.n_groups == expected.n_groups
    assert fit.aliased == expected.aliased
    assert list(fit.params.index) == list(expected.params.index)
    assert abs(fit.llf - expected.llf) < 1e-12 * abs(expected.llf)
    scale = float(np.nanmax(expected.bse))
    assert relative(fit.params, expected.params, scale) < 1e-12
    assert relative(fit.bse, expected.bse) < 1e-12
    assert relative(fit.df, expected.df) < 1e-11
    assert relative([fit.sigma], [expected.sigma]) < 1e-12
    for group, matrix in expected.varcorr.items():
        assert relative(fit.varcorr[group], matrix, 1e-2) < 1e-11


def test_what_follows_from_the_sums_is_that_of_the_rows(pair, data):
    expected, reduction = pair
    fit = reduction.fit(options=TO_THE_END)
    kinds = ["residual"]
    if expected.varcorr:
        kinds += ["kenward-roger", "kenward-roger-2009", "containment"]
        kinds += ["between-within"] if "rater" not in reduction.n_groups else []
        for group, effects in expected.ranef.items():
            assert list(fit.ranef[group].index) == list(effects.index)
            assert relative(fit.ranef[group], effects, 1e-1) < 1e-9
    for ddf in kinds:
        ours, theirs = (f.contrast(np.eye(len(f.params))[1], ddf=ddf) for f in (fit, expected))
        assert relative([ours.df, ours.se], [theirs.df, theirs.se]) < 1e-10
    # At a covariate of 1e6 a variance is a difference of numbers 1e10 times as large.
    digits = 1e-4 if "x" in reduction.plan.fixed.coded else 1e-9
    new = data[100:130].dropna().drop(columns="y")
    more = {"offset": "o"} if reduction.plan.offset else {}
    ours, theirs = (
        f.predict(new, ranef=False, interval="confidence", **more) for f in (fit, expected)
    )
    assert relative(ours, theirs, 1e-1) < digits
    assert relative(fit.predict(new, **more), expected.predict(new, **more), 1e-1) < 1e-9


def test_tests_of_terms_and_marginal_means_are_those_of_the_rows(pair):
    expected, reduction = pair
    fit = reduction.fit(options=TO_THE_END)
    for kind in (1, 2, 3):
        ours, theirs = fit.anova(type=kind), expected.anova(type=kind)
        numbers = [c for c in theirs.columns if c not in {"Pr(>F)", "p", "pvalue"}]
        numbers = [c for c in numbers if np.issubdtype(theirs[c].dtype, np.number)]
        assert relative(ours[numbers], theirs[numbers], 1e-2) < 1e-7
    digits = 1e-4 if "x" in reduction.plan.fixed.coded else 1e-9
    factors = [name for name in ("f", "h") if name in reduction.plan.fixed.variables]
    for name in factors:
        for weights in ("equal", "proportional"):
            ours = fit.emmeans(name, weights=weights)
            theirs = expected.emmeans(name, weights=weights)
            assert relative(_numbers(ours), _numbers(theirs), 1e-1) < digits


def _numbers(means):
    return pd.DataFrame(means.to_frame()).select_dtypes("number")


def test_a_saved_fit_is_that_of_the_reduction(pair, tmp_path):
    _, reduction = pair
    fit = reduction.fit()
    path = tmp_path / "fit.json"
    fit.to_json(path)
    again = mlm.load(path)
    assert again.params.equals(fit.params)
    assert again.nobs == fit.nobs
    assert str(again.summary()).splitlines()[:3] == str(fit.summary()).splitlines()[:3]


def test_parts_and_their_order_change_nothing(data):
    formula = "y ~ f + t + (t | g)"
    expected = mlm.lmm(formula, data, options=TO_THE_END)
    shuffled = data.sample(frac=1.0, random_state=3)
    for parts in ([data], in_parts(data, 50), in_parts(shuffled, 211)[::-1]):
        fit = mlm.reduce(formula, parts).fit(options=TO_THE_END)
        assert relative(fit.bse, expected.bse) < 1e-12
        assert relative(fit.params, expected.params, 1e-1) < 1e-12


def test_few_rows_stand_for_a_cluster(data):
    reduction = mlm.reduce("y ~ t + (t | g)", in_parts(data))
    assert reduction.n_rows == 3 * 40
    assert mlm.reduce("y ~ t", in_parts(data)).n_rows == 3
    # A column that is constant in a cluster takes no row.
    of_group = data.assign(z=data.g.str.len().astype(float))
    assert mlm.reduce("y ~ z + (1 | g)", in_parts(of_group)).n_rows == 2 * 40


@pytest.mark.parametrize("replicates", [21, 201, 2001])
def test_the_digits_of_a_response_far_from_zero_are_kept(replicates):
    """One-way layouts on the plan of NIST's SmLs07 to SmLs09, constant leading part 1e12.

    With n rows a group, MSB and MSW the mean squares in exact arithmetic over the doubles given:
    sigma^2 = MSW, the variance between groups (MSB - MSW) / n.
    """
    tenths = np.where(np.arange(replicates) % 2 == 0, 3, 5)
    tenths[0] = 4
    treatment = np.repeat(np.arange(9), replicates)
    shift = np.array([0, -1, 1, 2, -2, 3, 0, -1, 1])
    y = 1e12 + (np.tile(tenths, 9) + shift[treatment]) / 10.0
    exact = [Fraction(float(value)) for value in y]
    groups = [exact[k * replicates : (k + 1) * replicates] for k in range(9)]
    means = [sum(group) / replicates for group in groups]
    grand = sum(means) / 9
    msb = replicates * sum((m - grand) ** 2 for m in means) / 8
    squares = (sum((v - m) ** 2 for v in g) for g, m in zip(groups, means, strict=True))
    msw = sum(squares) / (9 * (replicates - 1))
    data = pd.DataFrame({"y": y, "treatment": treatment}).sample(frac=1.0, random_state=1)
    fit = mlm.reduce("y ~ 1 + (1 | treatment)", in_parts(data, 97)).fit(options=TO_THE_END)
    assert relative([fit.scale], [float(msw)]) < 1e-12
    between = float((msb - msw) / replicates)
    assert relative(fit.varcorr["treatment"], [[between]]) < 1e-11
    assert abs(fit.params.iloc[0] - float(grand)) <= 2.0**-13


def test_a_covariate_far_from_zero_keeps_its_digits():
    """Slope and error are those of the same rows with the covariate less 1e6, exactly."""
    rng = np.random.default_rng(4)
    near = np.round(rng.normal(size=900), 3)
    near[:] = np.ldexp(np.round(np.ldexp(near, 20)), -20)
    g = rng.integers(0, 30, 900)
    y = near + rng.normal(size=30)[g] + rng.normal(size=900)
    data = pd.DataFrame({"y": y, "near": near, "x": near + 1e6, "g": g})
    assert (data.x - 1e6 == near).all()
    a = mlm.reduce("y ~ near + (1 | g)", in_parts(data, 100)).fit(options=TO_THE_END)
    b = mlm.reduce("y ~ x + (1 | g)", in_parts(data, 100)).fit(options=TO_THE_END)
    assert relative([b.params["x"], b.bse["x"]], [a.params["near"], a.bse["near"]]) < 1e-12


# -- sources that can be read once, and what is fixed beforehand ---------------------------------


def test_an_iterator_is_read_once(data):
    formula = "y ~ t + (t | g)"
    found = mlm.reduce(formula, iter(in_parts(data)))
    assert found.nobs == 1499
    expected = mlm.lmm(formula, data, options=TO_THE_END)
    assert relative(found.fit(options=TO_THE_END).bse, expected.bse) < 1e-12
    # What a first pass must see is kept in a temporary file.
    for formula in ("y ~ f + (1 | g)", "y ~ scale(t) + (1 | g)"):
        twice = mlm.reduce(formula, iter(in_parts(data))).fit(options=TO_THE_END)
        expected = mlm.lmm(formula, data, options=TO_THE_END)
        assert relative(twice.bse, expected.bse) < 1e-12
    levels = {"f": ["a", "b", "c"]}
    fixed = mlm.reduce("y ~ f + (1 | g)", iter(in_parts(data)), levels=levels)
    expected = mlm.lmm("y ~ f + (1 | g)", data, options=TO_THE_END)
    assert relative(fixed.fit(options=TO_THE_END).bse, expected.bse) < 1e-12


def test_levels_that_are_fixed_have_their_order(data):
    found = mlm.reduce("y ~ f + (1 | g)", in_parts(data), levels={"f": ["b", "c", "a"]})
    assert list(found.fit().params.index) == ["(Intercept)", "fc", "fa"]
    ordered = data.assign(f=pd.Categorical(data.f, ["b", "c", "a"]))
    assert list(mlm.reduce("y ~ f + (1 | g)", in_parts(ordered)).fit().params.index) == [
        "(Intercept)", "fc", "fa",
    ]  # fmt: skip
    with pytest.raises(DataError, match="'f' has the level 'c'"):
        mlm.reduce("y ~ f + (1 | g)", in_parts(data), levels={"f": ["a", "b"]})


def test_a_formula_may_name_a_level_that_a_part_lacks(data):
    late = data.dropna().sort_values("f")
    formula = "y ~ I(f == 'b') + (1 | g)"
    expected = mlm.lmm(formula, late, options=TO_THE_END)
    fit = mlm.reduce(formula, in_parts(late, 100)).fit(options=TO_THE_END)
    assert list(fit.params.index) == list(expected.params.index)
    assert relative(fit.bse, expected.bse) < 1e-12


def test_places_far_apart_are_merged(data):
    """Each place holds its columns about constants of its own."""
    apart = data.assign(x=data.x + 5e5 * (np.arange(len(data)) >= 750))
    formula = "y ~ x + (1 | g)"
    sites = [mlm.reduce(formula, [part]) for part in (apart[:750], apart[750:])]
    expected = mlm.lmm(formula, apart, options=TO_THE_END)
    fit = (sites[0] + sites[1]).fit(options=TO_THE_END)
    assert relative(fit.bse, expected.bse) < 1e-10


def test_levels_that_few_parts_have_are_found(data):
    late = data.sort_values("f", na_position="first")
    expected = mlm.lmm("y ~ f * h + (1 | g)", data, options=TO_THE_END)
    fit = mlm.reduce("y ~ f * h + (1 | g)", in_parts(late, 100)).fit(options=TO_THE_END)
    assert relative(fit.bse, expected.bse) < 1e-12


# -- what is refused -----------------------------------------------------------------------------


def test_a_part_with_text_among_numbers_is_named_with_its_row(data):
    parts = in_parts(data, 500)
    parts[2] = parts[2].astype({"t": object})
    parts[2].iloc[33, parts[2].columns.get_loc("t")] = "n/a"
    with pytest.raises(
        DataError, match=r"'t' holds numbers in frame 1 and 'n/a' in row 33 of frame 3"
    ):
        mlm.reduce("y ~ t + (1 | g)", parts)


def test_an_infinite_value_is_named_with_its_part_and_row(data):
    parts = in_parts(data, 500)
    parts[1] = parts[1].assign(t=np.where(np.arange(500) == 7, np.inf, parts[1].t))
    with pytest.raises(DataError, match=r"frame 2: 't' is inf in row 7"):
        mlm.reduce("y ~ t + (1 | g)", parts)


def test_an_unknown_level_is_named_with_its_part(data):
    first = mlm.reduce("y ~ f + (1 | g)", in_parts(data))
    other = data[:50].assign(f="z")
    with pytest.raises(DataError, match=r"frame 1: 'f' has the level 'z'"):
        mlm.reduce("y ~ f + (1 | g)", [other], plan=first.plan)


def test_a_column_of_another_type_is_refused(data):
    parts = in_parts(data, 800)
    parts[1] = parts[1].assign(f=1.0)
    with pytest.raises(DataError, match=r"'f' holds text.*frame 1 and numbers in frame 2"):
        mlm.reduce("y ~ f + (1 | g)", parts)
    parts = in_parts(data, 800)
    parts[1] = parts[1].assign(g=2)
    with pytest.raises(DataError, match=r"'g' holds text.*frame 1 and numbers in frame 2"):
        mlm.reduce("y ~ t + (1 | g)", parts)


def test_missing_rows_can_be_refused(data):
    with pytest.raises(DataError, match=r"frame 1: column 'y' has 1 missing values.* row 5"):
        mlm.reduce("y ~ t + (1 | g)", in_parts(data), na_action="raise")


def test_empty_parts_count_nothing(data):
    empty = data[:0]
    nothing = data[:20].assign(y=np.nan)
    found = mlm.reduce("y ~ f + (1 | g)", [empty, *in_parts(data), nothing, empty])
    assert (found.nobs, found.n_dropped) == (1497, 23)
    with pytest.raises(DataError, match="no rows are left"):
        mlm.reduce("y ~ f + (1 | g)", [empty, nothing])
    with pytest.raises(DataError, match="list of data is empty"):
        mlm.reduce("y ~ f + (1 | g)", [])


def test_arguments_are_checked(data):
    with pytest.raises(DataError, match="na_action"):
        mlm.reduce("y ~ t", [data], na_action="ignore")
    with pytest.raises(DataError, match="weights is the name of a column"):
        mlm.reduce("y ~ t", [data], weights=np.ones(len(data)))
    plan = mlm.reduce("y ~ t", [data]).plan
    with pytest.raises(DataError, match="formula is 'y ~ f'"):
        mlm.reduce("y ~ f", [data], plan=plan)
    with pytest.raises(DataError, match="leave them out"):
        mlm.reduce("y ~ t", [data], plan=plan, levels={"f": ["a"]})


def test_logicals_beside_a_missing_one_are_those_of_other_parts(data):
    """pandas holds them as objects, and reads them from CSV so."""
    whole = data.dropna().reset_index(drop=True)
    whole["b"] = np.arange(len(whole)) % 3 == 0
    whole["y"] += 3.0 * whole["b"]
    one, two = whole[:90].astype({"b": object}), whole[90:]
    one.loc[4, "b"] = None
    for formula in ("y ~ b + t + (1 | g)", "y ~ t + (1 | g) + (1 | b)"):
        expected = mlm.lmm(formula, whole.drop(index=4))
        at_once = mlm.reduce(formula, [one, two])
        merged = mlm.reduce(formula, [one]) + mlm.reduce(formula, [two])
        for found in (at_once, merged):
            assert relative(found.fit().params, expected.params, 1e-2) < 1e-6


def test_terms_that_are_made_from_all_rows_are_refused(data):
    with pytest.raises(FormulaError, match=r"mm\(\) looks at all rows at once"):
        mlm.reduce("y ~ t + (1 | mm(f, h))", [data])
    with pytest.raises(ModelError, match="is made from all rows"):
        mlm.reduce("y ~ x + us(t | g, by=h)", [data])
    wide = pd.DataFrame({"y": np.arange(1200.0), "f": np.arange(1200) % 600})
    with pytest.raises(ModelError, match="the model has 600 columns"):
        mlm.reduce("y ~ factor(f)", [wide])


@pytest.mark.parametrize(
    "formula", ["scale(y) ~ t + (1 | g)", "y ~ t + offset(scale(x)) + (1 | g)"]
)
def test_a_response_or_offset_that_goes_by_all_rows_is_refused(data, formula):
    with pytest.raises(FormulaError, match="in the response or an offset goes by all rows"):
        mlm.reduce(formula, in_parts(data))


def test_a_term_that_is_the_residual_once_more_is_refused(data):
    one = data.dropna().drop_duplicates(["g", "f"])
    formula = "y ~ t + cs(0 + f | g)"
    for fit in (lambda: mlm.lmm(formula, one), lambda: mlm.reduce(formula, [one]).fit()):
        with pytest.raises(ModelError, match="cannot be told from the residual's"):
            fit()


def test_a_logical_response_counts_0_and_1(data):
    own = data.dropna().assign(late=lambda d: d.y > 6.0)
    expected = mlm.lmm("late ~ x + (1 | g)", own, options=TO_THE_END)
    fit = mlm.reduce("late ~ x + (1 | g)", in_parts(own)).fit(options=TO_THE_END)
    assert relative(fit.bse, expected.bse) < 1e-11
    with pytest.raises(DataError, match="column 'f' must hold numbers, and holds 'b' in row 0"):
        mlm.reduce("f ~ t + (1 | g)", in_parts(own))


# -- what needs the rows -------------------------------------------------------------------------


def test_what_needs_rows_says_so(data):
    fit = mlm.reduce("y ~ f + t + (t | g)", in_parts(data)).fit()
    for ask in (
        lambda: fit.fittedvalues,
        lambda: fit.resid(),
        lambda: fit.predict(),
        fit.influence,
        lambda: fit.bootstrap(5, seed=1),
        lambda: fit.simulate(1, seed=1),
        lambda: fit.V("g1"),
        lambda: fit.conf_int(method="boot"),
    ):
        with pytest.raises(
            ModelError, match=r"sums over the rows; for .* the rows themselves are needed"
        ):
            ask()
    assert "Scaled residuals" not in str(fit.summary())


@pytest.mark.parametrize("formula", ["y ~ f + t + (t | g)", "y ~ f + t + (1 | g / unit)"])
def test_robust_covariances_go_by_the_sums_of_clusters(data, formula):
    ours = mlm.reduce(formula, in_parts(data)).fit(options=TO_THE_END)
    theirs = mlm.lmm(formula, data, options=TO_THE_END)
    for kind, more in (("CR0", {}), ("CR1", {}), ("CR3", {}), ("CR2", {"square_root": "whitened"})):
        own, its = (f.robust(kind, **more).cov_params() for f in (ours, theirs))
        assert relative(own, its, 1e-3) < 1e-10
    with pytest.raises(ModelError, match="Cholesky root of CR2 goes by single rows"):
        ours.robust("CR2")
    with pytest.raises(ModelError, match="clusters are those of the model"):
        ours.robust("CR0", cluster="f")


@pytest.mark.parametrize("formula", ["y ~ f + t + (t | g)", "y ~ f + t + (1 | g / unit)"])
def test_predictions_with_effects_and_shares_of_variance(data, formula):
    ours = mlm.reduce(formula, in_parts(data)).fit(options=TO_THE_END)
    theirs = mlm.lmm(formula, data, options=TO_THE_END)
    new = data[50:75].drop(columns="y").dropna()
    for interval in ("confidence", "prediction"):
        for ranef in (True, False):
            own, its = (f.predict(new, interval=interval, ranef=ranef) for f in (ours, theirs))
            assert relative(own, its, 1e-1) < 1e-10
    assert relative(ours.r2(), theirs.r2(), 1e-3) < 1e-10
    assert relative(ours.icc(), theirs.icc(), 1e-3) < 1e-10
    assert relative(ours.cov_theta(), theirs.cov_theta(), 1e-4) < 1e-9


@pytest.mark.parametrize("formula", ["y ~ t + (1 | g)", "y ~ f + t + (t | g)"])
def test_between_within_of_sas_counts_the_rows_that_were_read(data, formula):
    ours = mlm.reduce(formula, in_parts(data)).fit(ddf="between-within-sas")
    theirs = mlm.lmm(formula, data, ddf="between-within-sas")
    assert ours.df.tolist() == theirs.df.tolist()


def test_between_within_of_sas_refuses_ranks_over_factors(data):
    rows = data.dropna().assign(a=lambda d: np.arange(len(d)) % 2 == 0)
    rows["a"] = rows["a"].map({True: "u", False: "v"})
    for formula in ("y ~ f + a + (1 | g)", "y ~ f:a + (1 | g)"):
        with pytest.raises(ModelError, match="takes ranks over the rows of factors"):
            mlm.reduce(formula, in_parts(rows)).fit(ddf="between-within-sas")


def test_comparisons_profiles_and_variances_go_by_the_sums(data):
    small, large = "y ~ t + (1 | g)", "y ~ f + t + (t | g)"
    parts = in_parts(data.dropna())
    ours = [mlm.reduce(formula, parts).fit("ML", options=TO_THE_END) for formula in (small, large)]
    theirs = [mlm.lmm(f, data.dropna(), method="ML", options=TO_THE_END) for f in (small, large)]
    found, expected = mlm.compare(*ours), mlm.compare(*theirs)
    ours_table, theirs_table = (c.to_frame().select_dtypes("number") for c in (found, expected))
    assert relative(ours_table, theirs_table, 1e-2) < 1e-9
    limits = [f.conf_int(method="profile") for f in (ours[0], theirs[0])]
    assert relative(*limits, 1e-2) < 1e-6
    assert relative(ours[1].ranova(), theirs[1].ranova(), 1e-3) < 1e-8
    own = [f.test_variance("sd_t|g") for f in (ours[1], theirs[1])]
    assert relative([own[0].statistic], [own[1].statistic]) < 1e-8
    with pytest.raises(ModelError, match="needs the rows"):
        ours[0].test_variance("sd_(Intercept)|g", method="bootstrap")
    assert relative(ours[1].r2(), theirs[1].r2(), 1e-3) < 1e-9


@pytest.mark.parametrize(
    "formula", ["y ~ t + (1 | g)", "y ~ c * t + (t | g)", "y ~ c * f + (1 | g)", "y ~ c + (1 | g)"]
)
def test_between_within_by_terms_counts_the_rows_that_were_read(data, formula):
    own = data.assign(c=np.where(data["g"].astype(str).str[-1].isin(list("13579")), "odd", "even"))
    expected = mlm.lmm(formula, own).anova(ddf="between-within-sas")
    found = mlm.reduce(formula, in_parts(own)).fit().anova(ddf="between-within-sas")
    assert found["DenDF"].tolist() == expected["DenDF"].tolist()


def test_clusters_given_as_an_array_are_refused(data):
    fit = mlm.reduce("y ~ t + (1 | g)", in_parts(data)).fit()
    with pytest.raises(ModelError, match="clusters are those of the model"):
        fit.robust("CR3", cluster=np.arange(fit.nobs))


def test_between_within_of_several_factors_within_subjects_needs_the_rows(data):
    fit = mlm.reduce("y ~ f + h + (1 | g)", in_parts(data)).fit()
    with pytest.raises(ModelError, match="takes ranks over the rows of factors"):
        fit.anova(ddf="between-within-sas")


@pytest.mark.parametrize("change", ["response", "offset", "rows"])
def test_reductions_of_other_data_are_not_compared(data, change):
    known = data.dropna()
    other, own = known.copy(), {}
    if change == "response":
        other["y"] = 1.001 * other["y"]
    elif change == "offset":
        own = {"offset": "o"}
    else:
        other.loc[other.index[0], "y"] += 1.0
    first = mlm.reduce("y ~ t + (1 | g)", in_parts(known)).fit()
    second = mlm.reduce("y ~ t + (t | g)", in_parts(other), **own).fit()
    whole = mlm.lmm("y ~ t + (t | g)", other, **own)
    for fit in (second, whole):
        with pytest.raises(mlm.ComparisonError, match="other values, or other rows"):
            mlm.compare(first, fit)


def test_tests_of_terms_with_weights_go_by_the_rows_without_them(data, tmp_path):
    """Merged, kept in a file; type I in an unbalanced design depends on how often rows occur."""
    formula = "y ~ f * t + h + (1 | g)"
    expected = mlm.lmm(formula, data, weights="w", options=TO_THE_END)
    levels = {"f": ["a", "b", "c"], "h": ["u", "v"]}
    sites = [mlm.reduce(formula, [s], weights="w", levels=levels) for s in in_parts(data, 500)]
    mlm.Reduction.merge(sites).save(tmp_path / "weighted.arrow")
    fit = mlm.load_reduction(tmp_path / "weighted.arrow").fit(options=TO_THE_END)
    for kind in (1, 2, 3):
        ours, theirs = fit.anova(type=kind), expected.anova(type=kind)
        assert relative(ours.iloc[:, :4], theirs.iloc[:, :4], 1e-2) < 1e-7
    withheld = mlm.reduce(formula, in_parts(data), weights="w", min_cluster_size=35)
    with pytest.raises(ModelError, match="rows were withheld by min_cluster_size"):
        withheld.fit().anova()
