"""Smooth terms: their place in formulas, predictions, reports, bands, and what is refused."""

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_allclose
from scipy import stats

import mlmfast as mlm
from mlmfast.errors import DataError, FormulaError, ModelError
from mlmfast.smooths.weighted_chi2 import ratio_tail


@pytest.fixture(scope="module")
def data():
    rng = np.random.default_rng(5)
    n, g = 180, np.repeat(np.arange(18), 10)
    x = rng.uniform(-1, 2, n)
    d = pd.DataFrame({"x": x, "z": rng.normal(size=n), "g": [f"g{k}" for k in g]})
    d["f"] = np.where(g % 2 == 0, "a", "b")
    d["y"] = np.sin(3 * x) + 0.4 * (d["f"] == "b") + rng.normal(0, 0.4, 18)[g]
    d["y"] += rng.normal(0, 0.5, n)
    d["v"] = rng.normal(size=n)
    return d


@pytest.fixture(scope="module")
def fit(data):
    return mlm.lmm("y ~ f + s(x) + (1 | g)", data)


@pytest.fixture(scope="module")
def dense(data, fit):
    """Fixed effects and curve by Henderson's equations, other effects integrated out."""
    design, record = fit._source.design, fit._record
    x = design.fixed_matrix
    z = np.column_stack(design.random[1].columns)
    same = data["g"].to_numpy()[:, None] == data["g"].to_numpy()
    rest = fit.varcorr["g"].iloc[0, 0] * same + fit.scale * np.eye(len(data))
    w = np.column_stack([x, z])
    precision = np.zeros(w.shape[1])
    precision[x.shape[1] :] = 1 / record.terms[1].covariance[0, 0]
    left = w.T @ np.linalg.solve(rest, w) + np.diag(precision)
    right = w.T @ np.linalg.solve(rest, data["y"])
    return w, left, np.linalg.solve(left, right)


def test_effects_and_errors_are_those_of_the_mixed_model_equations(data, fit, dense):
    w, left, effects = dense
    got = [*fit.params, *fit.ranef["smooths"].iloc[0]]
    assert_allclose(got, effects, rtol=1e-7, atol=1e-9)
    places = [2, *range(3, 11)]
    columns = w[:, places]
    frame = fit.smooth("x").curve(data["x"])
    assert_allclose(frame["estimate"], columns @ effects[places], rtol=1e-7, atol=1e-9)
    covariance = np.linalg.inv(left)[np.ix_(places, places)]
    error = np.sqrt(np.einsum("ij,jk,ik->i", columns, covariance, columns))
    assert_allclose(frame["std_error"], error, rtol=1e-7)


def test_effective_degrees_of_freedom_are_a_trace(fit, dense):
    _, left, _ = dense
    rest = left.copy()
    precision = 1 / fit._record.terms[1].covariance[0, 0]
    rest[range(3, 11), range(3, 11)] -= precision
    influence = np.linalg.solve(left, rest)
    own = slice(2, 11)
    edf = np.trace(influence[own, own])
    squared = np.trace((influence @ influence)[own, own])
    assert_allclose(fit.smooths["edf"], edf, rtol=1e-7)
    assert_allclose(fit.smooths["ref_df"], 2 * edf - squared, rtol=1e-7)
    assert_allclose(fit.smooth().edf, edf, rtol=1e-7)


def test_curves_sum_to_zero_over_the_rows(data, fit):
    frame = fit.smooth("s(x)").curve(data["x"])
    assert abs(frame["estimate"].sum()) < 1e-8 * frame["estimate"].abs().sum()


def test_slopes_are_those_of_the_curve(fit):
    at, h = np.array([-1.3, -0.4, 0.9, 2.4]), 1e-5
    curve = fit.smooth()
    above, below = curve.curve(at + h), curve.curve(at - h)
    slope = (above["estimate"] - below["estimate"]) / (2 * h)
    assert_allclose(curve.derivative(at)["estimate"], slope, rtol=1e-6)


def test_beyond_the_data_curves_are_straight(data, fit):
    low = data["x"].min()
    values = fit.smooth().curve(low - np.array([0.5, 1.0, 1.5]))["estimate"]
    assert_allclose(np.diff(values, 2), 0.0, atol=1e-10)


def test_the_simultaneous_band_holds_for_the_whole_curve(fit):
    # Draws of the curve about its estimate, which the band covers as often as it says.
    curve = fit.smooth()
    frame = curve.curve(level=0.9)
    columns = curve._curve.columns(frame["x"].to_numpy())
    rng = np.random.default_rng(0)
    root = np.linalg.cholesky(curve._covariance)
    draws = (columns @ root) @ rng.standard_normal((root.shape[1], 20_000))
    scale = np.sqrt(rng.chisquare(curve.df, 20_000) / curve.df)
    largest = (np.abs(draws) / frame["std_error"].to_numpy()[:, None]).max(axis=0) / scale
    half = (frame["upper_simultaneous"] - frame["estimate"]) / frame["std_error"]
    assert_allclose((largest <= half.iloc[0]).mean(), 0.9, atol=0.01)
    pointwise = (frame["upper"] - frame["estimate"]) / frame["std_error"]
    assert_allclose(pointwise, stats.t.ppf(0.95, curve.df), rtol=1e-10)


def test_population_predictions_have_the_curve_and_no_groups(data, fit):
    new = data[["x", "f"]].iloc[:5]
    curve = fit.smooth().curve(new["x"])["estimate"].to_numpy()
    expected = fit.params["(Intercept)"] + fit.params["fb"] * (new["f"] == "b") + curve
    for one in (fit, mlm.load(fit.to_json())):
        assert_allclose(one.predict(new, ranef=False), expected, rtol=1e-9)
    assert_allclose(fit.predict(ranef=False)[:5], expected, rtol=1e-9)
    unseen = data.iloc[:5].assign(g="new")
    got = fit.predict(unseen, new_levels="population")
    assert_allclose(got, expected, rtol=1e-9)


def test_an_interval_of_new_responses_knows_the_curve(data, fit):
    new = data.iloc[:4].assign(g="new")
    how = {"ranef": False, "ddf": "asymptotic"}
    mean = fit.predict(new, interval="confidence", **how)
    response = fit.predict(new, interval="prediction", **how)
    z2 = (2 * 1.959963984540054) ** 2
    added = (
        (response["upper"] - response["lower"]) ** 2 - (mean["upper"] - mean["lower"]) ** 2
    ) / z2
    assert_allclose(added, fit.scale + fit.varcorr["g"].iloc[0, 0], rtol=1e-8)


@pytest.mark.parametrize("other", ["crossed", "dense"])
def test_engines_agree(data, fit, other):
    again = mlm.lmm("y ~ f + s(x) + (1 | g)", data, options={"engine": other})
    assert_allclose(again.llf, fit.llf, rtol=1e-10)
    frames = [one.smooth().curve([-0.5, 0.5, 1.5]) for one in (fit, again)]
    assert_allclose(frames[0], frames[1], rtol=1e-5)
    assert_allclose(again.smooths["edf"], fit.smooths["edf"], rtol=1e-5)


def test_beside_crossed_factors(data):
    crossed = data.assign(h=np.tile(np.arange(10), 18))
    fit = mlm.lmm("y ~ f + s(x) + (1 | g) + (1 | h)", crossed)
    dense = mlm.lmm("y ~ f + s(x) + (1 | g) + (1 | h)", crossed, options={"engine": "dense"})
    assert_allclose(fit.llf, dense.llf, rtol=1e-9)
    assert_allclose(fit.smooths["edf"], dense.smooths["edf"], rtol=1e-4)


def test_a_level_may_lie_in_a_part_of_the_range(data):
    # Some of its basis functions have no rows: their effects are as the prior has them.
    half = data.assign(f=np.where(data["x"] < 0.2, "low", "high"))
    fit = mlm.lmm("y ~ f + s(x, by=f) + (1 | g)", half)
    dense = mlm.lmm("y ~ f + s(x, by=f) + (1 | g)", half, options={"engine": "dense"})
    assert_allclose(fit.llf, dense.llf, rtol=1e-9)
    new = pd.DataFrame({"x": [0.0, 1.8], "f": "low"})
    widths = []
    for one in (fit, dense):
        got = one.predict(new, ranef=False, interval="confidence", ddf="asymptotic")
        widths.append(got["upper"] - got["lower"])
    assert_allclose(widths[0], widths[1], rtol=1e-5)
    assert widths[0].iloc[1] > 5 * widths[0].iloc[0]


def test_many_basis_functions_are_no_trouble(data):
    fit = mlm.lmm("y ~ s(x, k=120)", data)
    few = mlm.lmm("y ~ s(x, k=30)", data)
    assert_allclose(fit.fittedvalues, few.fittedvalues, atol=0.1)
    dense = mlm.lmm("y ~ s(x, k=120)", data, options={"engine": "dense"})
    assert_allclose(fit.llf, dense.llf, rtol=1e-9)


def test_shifts_and_units_of_the_variable_change_nothing(data, fit):
    far = mlm.lmm("y ~ f + s(x) + (1 | g)", data.assign(x=1e6 + 1e3 * data["x"]))
    assert_allclose(far.smooths["edf"], fit.smooths["edf"], rtol=1e-6)
    at = np.array([-0.5, 0.0, 1.2])
    got = far.smooth().curve(1e6 + 1e3 * at)["estimate"]
    assert_allclose(got, fit.smooth().curve(at)["estimate"], rtol=1e-6)


def test_a_curve_without_variance_is_a_line_and_no_warning(data):
    fit = mlm.lmm("z ~ s(x)", data.assign(z=2 * data["x"] + 0.1 * data["z"]))
    line = mlm.lmm("z ~ x", data.assign(z=2 * data["x"] + 0.1 * data["z"]))
    if fit.varcorr["smooths"].iloc[0, 0] > 0:
        pytest.skip("the draw has some curvature")
    assert_allclose(fit.predict(), line.predict(), rtol=1e-10)
    assert_allclose(fit.smooths["edf"], 1.0, rtol=1e-10)
    f = (line.params["x"] / line.bse["x"]) ** 2
    assert_allclose(fit.smooths[["F", "df"]].iloc[0], [f, 178], rtol=1e-8)
    assert "variance of s(x) is 0: the curve is a straight line" in str(fit.summary())


def test_weights_are_repeated_rows(data):
    times = np.random.default_rng(1).integers(1, 4, len(data))
    weighted = mlm.lmm("y ~ s(x, k=8)", data, weights=times.astype(float))
    state = weighted._record.terms[0].spec.states["s(x, k = 8)"]
    assert state["center"] == pytest.approx(data["x"].mean())
    design = weighted._source.design
    z = np.column_stack(design.random[0].columns)
    v = weighted._record.terms[0].covariance[0, 0] * z @ z.T + np.diag(weighted.scale / times)
    x = design.fixed_matrix
    beta = np.linalg.solve(x.T @ np.linalg.solve(v, x), x.T @ np.linalg.solve(v, data["y"]))
    assert_allclose(weighted.params, beta, rtol=1e-8)


def test_rows_with_missing_values_are_left_out(data):
    holes = data.assign(x=data["x"].where(data.index != 7), f=data["f"].where(data.index != 9))
    fit = mlm.lmm("y ~ f + s(x, by=f, k=6)", holes)
    assert fit.n_dropped == 2
    assert fit.llf == mlm.lmm("y ~ f + s(x, by=f, k=6)", data.drop(index=[7, 9])).llf


def test_a_saved_fit_predicts_the_same(data):
    fit = mlm.lmm("y ~ f + s(x, by=f, k=7) + s(z, by=v, k=5) + (1 | g)", data)
    again = mlm.load(fit.to_json())
    assert_allclose(again.predict(data), fit.predict(data), rtol=1e-12)


def test_names_of_parameters_and_terms(data):
    fit = mlm.lmm("y ~ f + s(x, by=f, k=7) + s(z, by=v, k=5)", data)
    names = ["(Intercept)", "fb", "s(x):fa", "s(x):fb", "s(z):v1", "s(z):v2"]
    assert fit.params.index.tolist() == names
    assert fit.covariance_parameters.index.tolist() == [
        "Variance | s(x):fa",
        "Variance | s(x):fb",
        "Variance | s(z):v",
        "Residual",
    ]
    assert fit.varcorr["smooths"].index.tolist() == ["s(x):fa", "s(x):fb", "s(z):v"]
    assert fit.n_groups == {}
    profiled = fit.profile("Variance | s(x):fa").conf_int()
    assert profiled.index.tolist() == ["Variance | s(x):fa"]


def test_two_terms_of_one_factor_have_profiles_of_their_own():
    rng = np.random.default_rng(0)
    d = {"g": rng.integers(0, 20, 400), "a": rng.choice(["p", "q"], 400)}
    d["b"] = rng.choice(["u", "v"], 400)
    effects = rng.normal(size=(20, 2)), rng.normal(size=(20, 2))
    y = effects[0][d["g"], (d["a"] == "q") * 1] + effects[1][d["g"], (d["b"] == "v") * 1]
    fit = mlm.lmm(
        "y ~ 1 + homdiag(0 + a | g) + homdiag(0 + b | g)", {**d, "y": y + rng.normal(size=400)}
    )
    names = ["Variance | homdiag(0 + a | g)", "Variance | homdiag(0 + b | g)"]
    assert fit.covariance_parameters.index.tolist() == [*names, "Residual"]
    intervals = fit.conf_int(method="profile")
    for name in names:
        low, high = intervals.loc[name]
        assert low < fit.covariance_parameters[name] < high


def test_reports_list_the_curves(fit):
    text = str(fit.summary())
    assert "Clusters:  1, since all rows share the effects of smooths" in text
    assert "Smooth terms:\n" in text
    assert "Smooth terms" in fit._repr_html_()
    assert "Smooth terms, tested in fit.smooths: s(x)" in str(fit.anova())
    assert list(fit.anova().frame.index) == ["f"]


def test_a_picture_has_the_curve_and_its_bands(fit):
    matplotlib = pytest.importorskip("matplotlib")
    matplotlib.use("agg")
    axes = fit.smooth().plot()
    assert len(axes.lines) == 3
    assert axes.get_xlabel() == "x"
    assert axes.get_ylabel() == "s(x)"


def test_weighted_sums_over_chi_squared_by_simulation():
    weights, df = np.array([1.0, 1.0, 0.93, 0.21]), 40
    rng = np.random.default_rng(2)
    draws = (rng.standard_normal((200_000, 4)) ** 2) @ weights
    ratio = draws / (rng.chisquare(df, 200_000) / df)
    for at in (1.0, 9.0):
        expected = (ratio > at).mean()
        assert_allclose(ratio_tail(weights, at, df), expected, atol=0.003)
    assert_allclose(ratio_tail(np.ones(3), 6.0, 12.0), stats.f.sf(2.0, 3, 12), rtol=1e-12)
    assert_allclose(ratio_tail(np.full(2, 0.5), 5.0, np.inf), stats.chi2.sf(10.0, 2), rtol=1e-12)
    assert_allclose(ratio_tail(np.array([1.0, 1e-3]), 80.0, 30.0), stats.f.sf(80, 1, 30), rtol=0.01)


@pytest.mark.parametrize(
    ("formula", "error", "message"),
    [
        ("y ~ s(x) * f", FormulaError, r"f \+ s\(x, by=f\)"),
        ("y ~ log(s(x))", FormulaError, "may only be added"),
        ("y ~ (s(x) | g)", FormulaError, "may only be added"),
        ("s(y) ~ x", FormulaError, "stands in the response"),
        ("y ~ x + offset(s(x))", FormulaError, "may only be added"),
        ("y ~ s(x, z)", FormulaError, "of one variable"),
        ("y ~ s(x, k=3)", FormulaError, "from 4 to 500"),
        ("y ~ s(x, k=4.5)", FormulaError, "from 4 to 500"),
        ("y ~ s(x, bs='tp')", FormulaError, "leave bs out"),
        ("y ~ s(x, m=1)", FormulaError, "leave m out"),
        ("y ~ s(x, fx=TRUE)", FormulaError, "the option 'fx' of a smooth is unknown"),
        ("y ~ s(x, part=TRUE)", FormulaError, "the option 'part' of a smooth is unknown"),
        ("y ~ s(x) + s(x, k=5)", FormulaError, "stands twice with other options"),
        ("y ~ s(x) + s(x, by=f)", FormulaError, "leave one of them out"),
        ("y ~ s(one)", DataError, "has 1 distinct value, too few for a curve"),
        ("y ~ s(few)", DataError, "write k=6, or less"),
        ("y ~ s(f)", DataError, "cannot be used as a number"),
        ("y ~ s(x, by=flag)", DataError, r"write by=factor\(flag\)"),
        ("y ~ s(x, by=zero)", DataError, "is 0 in every row"),
        ("y ~ s(x, by=C(f, Sum))", FormulaError, "takes no contrast"),
        ("y ~ s(wide)", DataError, "missing or infinite in 1 rows"),
        ("y ~ s(x) + (1 | smooths)", FormulaError, "rename the column"),
        ("y ~ s(nothing)", DataError, "no column 'nothing'"),
    ],
)
def test_smooths_that_mean_nothing_are_refused(data, formula, error, message):
    d = data.assign(one=1.0, few=np.arange(180) % 6, flag=data["x"] > 0, zero=0.0, smooths="a")
    d["wide"] = data["x"].where(data.index != 3, np.inf)
    with pytest.raises(error, match=message):
        mlm.lmm(formula, d)


@pytest.mark.parametrize(
    ("ask", "error", "message"),
    [
        (lambda fit: mlm.joint_tests(fit), ModelError, "no place for the smooth term s"),
        (lambda fit: fit.icc(), ModelError, "no place for the smooth term s"),
        (lambda fit: fit.r2(), ModelError, "no place for the smooth term s"),
        (lambda fit: fit.influence(), ModelError, "share the effects of smooths"),
        (lambda fit: fit.robust("CR2"), ModelError, "share the effects of smooths"),
        (lambda fit: fit.smooth("q"), ModelError, r"has the curves s\(x\); 'q' is none"),
        (lambda fit: fit.smooth().curve("a"), DataError, "numbers"),
        (lambda fit: fit.smooth().curve([np.nan]), DataError, "finite"),
        (lambda fit: mlm.load(fit.to_json()).smooths, ModelError, "a loaded fit"),
    ],
)
def test_what_has_no_meaning_is_refused(fit, ask, error, message):
    with pytest.raises(error, match=message):
        ask(fit)


def test_models_without_curves_have_none(data):
    with pytest.raises(ModelError, match="no smooth term"):
        mlm.lmm("y ~ x + (1 | g)", data).smooths  # noqa: B018


@pytest.mark.filterwarnings("ignore::mlmfast.errors.AliasedWarning")
def test_a_curve_beside_its_own_variable_is_not_determined(data):
    fit = mlm.lmm("y ~ x + s(x)", data)
    with pytest.raises(ModelError, match="depends on other columns"):
        fit.smooth()


def test_new_levels_of_by_are_refused(data):
    fit = mlm.lmm("y ~ s(x, by=f, k=6)", data)
    with pytest.raises(DataError, match="'c', which the data of the fit"):
        fit.predict({"x": [0.0], "f": ["c"]})
