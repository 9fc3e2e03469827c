"""What the reports say: facts that must stand in the text, not the text itself."""

import dataclasses
import warnings
from functools import cache
from html.parser import HTMLParser

import numpy as np
import pandas as pd
import pytest

import mlmfast as mlm
from mlmfast.display.numbers import width
from mlmfast.display.text import WIDTH
from mlmfast.report.html import html_page
from mlmfast.report.residual_tables import residual_sentence
from mlmfast.report.varcorr import VarCorr

from ..fits import fit_case, lmm
from ..trial import VISITS, trial

CASES = [
    "sleepstudy_slope_corr_reml",
    "pastes_nested_ml",
    "sing_corr_one_a_reml",
    "sing_zero_slope_a_ml",
    "cake_rank_deficient_reml",
    "lm_longley_ml",
    "sim_weights_a_reml",
    "milk_multi_reml",
    "exact_ill_scales_ml",
    "soybean_growth_reml",
]


@pytest.fixture(params=CASES)
def fit(request):
    return fit_case(request.param)


def summary_of(case_id):
    return str(fit_case(case_id).summary())


def row_of(text, name):
    """The cells of the table row that begins with `name`."""
    return next(line for line in text.split("\n") if line.startswith(name)).split()


def test_a_summary_names_model_data_and_every_estimate(fit):
    text = str(fit.summary())
    flat = " ".join(text.split())
    assert fit.formula in flat
    assert f"({fit.method})" in text
    assert f"{fit.deviance:.3f}" in text
    for name in [*fit.params.index, *fit.n_groups, *map(str, fit.n_groups.values())]:
        assert name in text
    assert "Residual" in text


def test_a_summary_fits_80_columns(fit):
    assert max(map(width, str(fit.summary()).split("\n"))) <= WIDTH


def test_the_numbers_of_lme4_for_sleepstudy():
    text = summary_of("sleepstudy_slope_corr_reml")
    assert row_of(text, "Days") == ["Days", "10.467", "1.546", "17", "6.771", "3.26e-06"]
    assert row_of(text, "Subject ") == ["Subject", "(Intercept)", "612.09", "24.740"]
    assert row_of(text, "          Days") == ["Days", "35.07", "5.922", "0.066"]
    assert "18 (Subject), 10 rows each" in text


def test_the_certificate_is_told_in_words():
    fit = fit_case("sleepstudy_slope_corr_reml")
    flat = " ".join(str(fit.summary()).split())
    found = fit.certificate
    assert f"Converged: Newton decrement {found.newton_decrement:.1e}" in flat
    assert f"{found.n_evaluations} evaluations, {found.n_iterations} steps" in flat


def test_a_fit_without_a_certificate_says_so_first():
    options = {"max_iter": 1}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", mlm.ConvergenceWarning)
        fit = mlm.lmm(
            "Reaction ~ Days + (Days | Subject)",
            mlm.load_sleepstudy(),
            options=options,
            start={"Subject": np.diag([1e-6, 1e6])},
        )
    text = str(fit)
    assert text.index("NOT CONVERGED") < text.index("Random effects")


def test_a_boundary_is_named():
    text = summary_of("sing_zero_slope_a_ml")
    assert "Singular: variance of x by g is 0" in text
    assert row_of(text, "g         x") == ["g", "x", "0", "0"]


def test_aliased_columns_have_a_row_without_numbers():
    text = summary_of("cake_rank_deficient_reml")
    assert row_of(text, "temp ") == ["temp", "(aliased)"]
    assert "Aliased: 1 column of X depends on earlier ones" in text


def test_a_linear_model_speaks_of_no_groups():
    text = summary_of("lm_longley_ml")
    assert text.startswith("Linear model fit by maximum likelihood (ML)")
    assert "Groups" not in text
    assert "Random effects" not in text


def test_ml_and_reml_criteria_have_their_names():
    assert "-2 log-likelihood" in summary_of("pastes_nested_ml")
    assert "-2 restricted log-likelihood" in summary_of("pastes_nested_reml")


def test_dropped_rows_and_weights_are_told(sleepstudy):
    frame = sleepstudy.assign(w=2.0)
    frame.loc[[3, 5], "Reaction"] = np.nan
    text = str(lmm("Reaction ~ Days + (1 | Subject)", frame, weights="w"))
    assert "178 (2 dropped: missing values)" in text
    assert "sigma^2 / weight" in text
    assert "8 to 10 rows, median 10" in text


def test_coefficients_of_any_scale_keep_their_digits():
    text = summary_of("exact_ill_scales_ml")
    for name, estimate in fit_case("exact_ill_scales_ml").params.items():
        assert float(row_of(text, f"{name} ")[1]) == pytest.approx(estimate, rel=2e-3)


@pytest.fixture
def forty_long_names():
    rng = np.random.default_rng(4)
    names = [
        f"biomarker_{j}_measured_at_the_third_visit_in_the_laboratory_of_zürich_{j}"
        for j in range(40)
    ]
    columns = {name: rng.normal(size=300) for name in names}
    frame = pd.DataFrame({**columns, "y": rng.normal(size=300), "g": np.arange(300) // 10})
    return lmm("y ~ " + " + ".join(f"`{name}`" for name in names) + " + (1 | g)", frame)


def test_forty_long_names_are_all_there_in_80_columns(forty_long_names):
    text = str(forty_long_names)
    assert all(name in text for name in forty_long_names.params.index)
    table = text[text.index("Fixed effects") :]
    assert max(map(width, table.split("\n"))) <= WIDTH


def test_wide_characters_do_not_shift_the_columns():
    frame = pd.DataFrame({"身長": [1.0, 2, 3, 4, 6], "y": [1.0, 3, 2, 5, 4]})
    text = str(lmm("y ~ 身長", frame))
    lines = text[text.index("Fixed effects") :].split("\n")[1:4]
    assert len({width(line) for line in lines}) == 1


def test_a_name_cannot_move_the_cursor():
    frame = pd.DataFrame({"f": ["a", "b\n\x1b[2J"] * 4, "y": np.arange(8.0) ** 2})
    text = str(lmm("y ~ f", frame))
    assert "\x1b" not in text
    assert "fb\\n\\x1b[2J" in text


def test_many_correlations_get_a_table_of_their_own():
    fit = fit_case("sleepstudy_slope_corr_reml")
    term = fit._record.terms[0]
    q = 9
    wide = dataclasses.replace(
        term, names=tuple(f"effect_{j}" for j in range(q)), covariance=np.eye(q) + 0.5
    )
    text = repr(VarCorr(dataclasses.replace(fit._record, terms=(wide,))))
    assert "Correlations by Subject" in text
    assert text.count("0.333") == q * (q - 1) // 2
    assert max(map(width, text.split("\n"))) <= WIDTH


class _Page(HTMLParser):
    """Tags that are open, and all that were met."""

    VOID = frozenset({"meta", "br"})

    def __init__(self, text):
        super().__init__()
        self.open, self.met, self.words = [], set(), []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag, attrs):
        self.met.add(tag)
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.words.append(data)


def test_the_page_is_well_formed_and_says_what_the_summary_says(fit):
    page = _Page(html_page(fit))
    assert page.open == []
    words = "".join(page.words)
    for name in [*fit.params.index, *fit.n_groups, f"{fit.deviance:.3f}", fit.formula]:
        assert name in words
    assert ("(aliased)" in words) == bool(fit.aliased)


def test_names_cannot_inject_html():
    evil = "<script>alert('x')</script><img src=x onerror=alert(1)>&amp;\""
    rng = np.random.default_rng(2)
    frame = pd.DataFrame(
        {"f": ["a", evil] * 20, evil: rng.normal(size=40), "g": np.arange(40) // 4}
    ).assign(y=rng.normal(size=40))
    fit = lmm(f"y ~ f + `{evil}` + (1 | g)", frame)
    for text in (html_page(fit), fit._repr_html_(), fit.summary()._repr_html_()):
        page = _Page(text)
        assert page.met.isdisjoint({"script", "img"})
        assert evil in "".join(page.words)


def test_the_page_needs_nothing_from_elsewhere(fit):
    text = html_page(fit)
    assert "http:" not in text
    assert "https:" not in text
    assert "src=" not in text


def test_tables_of_a_notebook_share_a_style_that_breaks_no_word():
    """`overflow-wrap: anywhere` lets a narrow screen break names letter by letter."""
    fit = fit_case("sleepstudy_slope_corr_reml")
    tests = [fit.contrast(["Days", "(Intercept)"]), fit.covtest(), fit.anova(), fit.icc()]
    for text in (fit._repr_html_(), *(test._repr_html_() for test in tests)):
        assert text.startswith('<div class="mlmfast">')
        assert "<style>" in text
        assert "anywhere" not in text
        assert '<div class="scroll"><table>' in text
        assert _Page(text).open == []


def test_tidy_has_the_rows_of_broom_mixed():
    fit = fit_case("sleepstudy_slope_corr_reml")
    table = fit.tidy()
    assert list(table["effect"]) == ["fixed"] * 2 + ["ran_pars"] * 4
    assert list(table["term"][2:]) == [
        "sd__(Intercept)",
        "sd__Days",
        "cor__(Intercept).Days",
        "sd__Observation",
    ]
    interval = fit.conf_int()
    np.testing.assert_array_equal(table["conf_low"][:2], interval["lower"])
    assert table["estimate"].iloc[-1] == fit.sigma
    pd.testing.assert_frame_equal(fit.tidy("fixed"), table[:2])
    assert len(fit.tidy("random")) == 4


def test_tidy_refuses_an_unknown_word():
    with pytest.raises(mlm.ModelError, match="effects is 'ran_vals'; use 'all'"):
        fit_case("rail_reml").tidy("ran_vals")


def test_uncorrelated_effects_have_no_correlation_row():
    terms = fit_case("hsb82_uncorr_reml").tidy("random")["term"]
    assert not terms.str.startswith("cor__").any()


def test_glance_is_one_row_with_a_count_for_each_factor():
    fit = fit_case("pastes_nested_ml")
    row = fit.glance().iloc[0]
    assert (row["n_groups_batch"], row["n_groups_batch:cask"]) == (10, 30)
    assert row["llf"] == fit.llf
    assert bool(row["converged"])


@pytest.fixture
def large():
    n, rng = 60_000, np.random.default_rng(0)
    groups = np.arange(n) // 20
    return lmm(
        "y ~ 1 + (1 | g)", {"g": groups, "y": rng.normal(size=n) + rng.normal(size=n // 20)[groups]}
    )


def test_a_large_fit_prints_without_a_pass_over_its_residuals(large, monkeypatch):
    monkeypatch.setattr(type(large), "resid", None)
    assert "3000 (g), 20 rows each" in str(large)


def test_a_loaded_fit_prints_what_its_record_holds():
    fit = fit_case("sleepstudy_slope_corr_reml")
    text = str(mlm.load(fit.to_json()))
    assert "Scaled residuals" not in text
    assert str(fit)[str(fit).index("Random effects") :] in text


@cache
def trial_fit(residual, formula="y ~ arm * visit", **arguments):
    return lmm(formula, trial(), residual=residual, **arguments)


RESIDUALS = [
    "us(visit | patient)",
    "us(visit | arm / patient)",
    "toeph(visit | patient)",
    "diag(visit | patient)",
    "ar1(visit | patient)",
    "cs(visit | arm / patient)",
    "sp_exp(week | patient)",
]


@pytest.fixture(params=RESIDUALS)
def visits_fit(request):
    return trial_fit(request.param)


def table_of(text, title):
    """The lines under a title, up to the next empty one."""
    return text.split(f"{title}:\n")[1].split("\n\n")[0].split("\n")


def test_a_residual_structure_is_named_with_its_subjects_and_visits(visits_fit):
    text = str(visits_fit.summary())
    flat = " ".join(text.split())
    assert text.startswith("Linear mixed model fit by restricted")
    assert max(map(width, text.split("\n"))) <= WIDTH
    assert "within patient (80 subjects, 4 " in flat
    assert "Clusters: 80 (patient), 1 to 4 rows" in flat
    assert "Residual covariance" in text
    # Subjects are no grouping factor of random effects, and there is no single residual variance.
    assert "Groups" not in text
    assert "Residual variance" not in text
    assert f"{visits_fit._record.n_parameters} parameters counted" in flat


def test_the_criteria_count_all_parameters(visits_fit):
    k = len(visits_fit.params) + len(visits_fit.residual_parameters)
    assert visits_fit.aic == pytest.approx(visits_fit.deviance + 2 * k, rel=1e-14)
    assert f"AIC {visits_fit.aic:.3f}" in str(visits_fit)


def test_unstructured_visits_have_variances_and_correlations():
    fit = trial_fit("us(visit | patient)")
    lines = table_of(str(fit), "Residual covariance")
    assert lines[0].split() == ["visit", "Variance", "SD", "Corr"]
    covariance = fit.residual_cov.to_numpy()
    sd = np.sqrt(np.diag(covariance))
    for i, (name, line) in enumerate(zip(VISITS, lines[1:], strict=True)):
        assert line.startswith(name)
        cells = [float(cell) for cell in line.removeprefix(name).split()]
        expected = [sd[i] ** 2, sd[i], *(covariance[i, :i] / (sd[i] * sd[:i]))]
        np.testing.assert_allclose(cells, expected, rtol=5e-4, atol=5e-4)


def test_each_arm_has_its_table():
    text = str(trial_fit("us(visit | arm / patient)"))
    assert "separate for 2 levels of arm" in " ".join(text.split())
    for arm, covariance in trial_fit("us(visit | arm / patient)").residual_cov.items():
        first = table_of(text, f"Residual covariance, arm = {arm}")[1]
        variance = float(first.removeprefix(VISITS[0]).split()[0])
        assert variance == pytest.approx(covariance.iloc[0, 0], rel=5e-4)


def test_few_parameters_stand_instead_of_the_matrix():
    fit = trial_fit("ar1(visit | patient)")
    lines = table_of(str(fit), "Residual covariance")
    assert [line.split()[0] for line in lines[1:3]] == ["Variance", "AR(1)"]
    for line, value in zip(lines[1:3], fit.residual_parameters, strict=True):
        assert float(line.split()[1]) == pytest.approx(value, rel=2e-3)
    grouped = table_of(str(trial_fit("cs(visit | arm / patient)")), "Residual covariance")
    assert grouped[0].split() == ["arm", "Parameter", "Estimate"]
    assert [line.split()[0] for line in grouped[1:5]] == ["active", "CS", "placebo", "CS"]


def test_uncorrelated_visits_have_no_correlations():
    text = str(trial_fit("diag(visit | patient)"))
    assert table_of(text, "Residual covariance")[0].split() == ["visit", "Variance", "SD"]
    assert "orrelation" not in text.split("Fixed effects")[0]


def test_random_effects_stand_beside_a_structured_residual(sleepstudy):
    fit = lmm("Reaction ~ Days + (1 | Subject)", sleepstudy, residual="ar1(Days | Subject)")
    text = str(fit)
    assert "Groups:     Subject 18" in text
    random = table_of(text, "Random effects")
    assert [line.split()[0] for line in random] == ["Group", "Subject"]
    assert repr(fit.varcorr).startswith("Group")
    assert "AR(1)" in repr(fit.varcorr)


def many_visits(structure, n_visits):
    rng = np.random.default_rng(3)
    visit = np.tile(np.arange(n_visits), 60)
    subject = np.repeat(np.arange(60), n_visits)
    frame = {"y": rng.normal(size=visit.size), "visit": visit, "id": subject}
    return lmm("y ~ 1", frame, residual=f"{structure}(visit | id)")


def test_a_matrix_too_wide_for_the_page_is_printed_in_two_tables():
    text = str(many_visits("us", 10))
    assert max(map(width, text.split("\n"))) <= WIDTH
    assert table_of(text, "Residual covariance")[0].split() == ["visit", "Variance", "SD"]
    assert len(table_of(text, "Residual correlations")) == 11


def test_more_visits_leave_the_correlations_to_the_fit():
    text = str(many_visits("us", 12))
    lines = table_of(text, "Residual covariance")
    assert len(lines) == 14
    assert "fit.residual_cov" in lines[-1]
    assert "Residual correlation" not in text
    assert "ARH(1)" in table_of(str(many_visits("ar1h", 12)), "Residual correlation")[1]


def test_weights_scale_the_residual_covariance():
    text = str(trial_fit("us(visit | patient)", weights="w"))
    assert "R_ij / sqrt(weight_i weight_j)" in text


def test_tidy_and_glance_of_a_structured_residual(visits_fit):
    rows = visits_fit.tidy("random")
    assert set(rows["group"]) == {"Residual"}
    assert list(rows["term"]) == list(visits_fit.residual_parameters.index)
    np.testing.assert_array_equal(rows["estimate"], visits_fit.residual_parameters)
    row = visits_fit.glance().iloc[0]
    assert row["residual"] == visits_fit._record.residual.text
    sigma = visits_fit.sigma
    assert np.isnan(row["sigma"]) if sigma is None else row["sigma"] == sigma


def test_varcorr_lists_the_pairs_of_visits():
    table = trial_fit("us(visit | arm / patient)").varcorr.tidy()
    assert list(table["group"].unique()) == ["Residual: active", "Residual: placebo"]
    assert len(table) == 2 * 10
    covariance = trial_fit("us(visit | patient)").residual_cov
    rows = trial_fit("us(visit | patient)").varcorr.tidy()
    pair = rows[(rows["effect1"] == VISITS[0]) & (rows["effect2"] == VISITS[2])]
    assert pair["vcov"].item() == covariance.iloc[2, 0]
    assert len(trial_fit("diag(visit | patient)").varcorr.tidy()) == 4


def test_the_page_has_the_residual_covariance(visits_fit):
    page = _Page(html_page(visits_fit))
    assert page.open == []
    words = "".join(page.words)
    assert "Residual covariance" in words
    assert "Residual variance" not in words
    assert "80\N{NO-BREAK SPACE}subjects" in words


def test_visits_are_named_in_their_order():
    """All of a few, the first and last of many; points have an order of their own."""
    residual = trial_fit("us(visit | patient)")._record.residual
    assert f": {', '.join(residual.visits)})" in residual_sentence(residual)
    many = dataclasses.replace(residual, visits=tuple("abcdefgh"))
    assert ": a, b, ..., h)" in residual_sentence(many)
    points = trial_fit("sp_exp(week | patient)")._record.residual
    assert "points)" in residual_sentence(points)


def test_a_loaded_structured_fit_prints_the_same(visits_fit):
    loaded = mlm.load(visits_fit.to_json())
    assert repr(loaded.varcorr) == repr(visits_fit.varcorr)
    assert dict(loaded.ranef) == dict(visits_fit.ranef) == {}
    assert "within patient" in str(loaded)


def test_points_too_many_for_a_matrix_leave_the_parameters():
    fit = trial_fit("sp_exp(week | patient)")
    residual = dataclasses.replace(fit._record.residual, visits=(), covariances=np.zeros((1, 0, 0)))
    varcorr = VarCorr(dataclasses.replace(fit._record, residual=residual))
    assert "SP(EXP)" in repr(varcorr)
    assert list(varcorr.tidy()["effect1"]) == ["Variance", "SP(EXP)"]
    assert "(80\N{NO-BREAK SPACE}subjects)" in residual_sentence(residual)
