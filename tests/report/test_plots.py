"""Plots show the numbers they say they show."""

import numpy as np
import pandas as pd
import pytest
from scipy import stats

import mlmfast as mlm
from mlmfast.display.figure import series
from mlmfast.display.pictures.heat_map import heat_map
from mlmfast.display.pictures.profile_plot import profile_plot
from mlmfast.errors import DataError, ModelError
from mlmfast.plots.smooth_line import smooth_line

matplotlib = pytest.importorskip("matplotlib")
matplotlib.use("Agg")
from matplotlib import pyplot  # noqa: E402


@pytest.fixture(autouse=True)
def _close_figures():
    yield
    pyplot.close("all")


@pytest.fixture
def slopes(sleepstudy):
    return mlm.lmm("Reaction ~ Days + (Days | Subject)", sleepstudy)


def points(ax, position=0):
    line = [line for line in ax.lines if line.get_marker() == "o"][position]
    return np.column_stack(line.get_data())


def test_caterpillar_shows_ordered_blups(slopes):
    axes = slopes.plot.caterpillar()
    for ax, name in zip(axes, ("(Intercept)", "Days"), strict=True):
        np.testing.assert_allclose(points(ax)[:, 0], np.sort(slopes.ranef["Subject"][name]))
    labels = [text.get_text() for text in axes[1].get_yticklabels()]
    assert labels == list(slopes.ranef["Subject"]["Days"].sort_values().index)


def test_shrinkage_starts_at_each_subjects_own_line(slopes, sleepstudy):
    ax = slopes.plot.shrinkage()
    own = [
        np.polyfit(rows["Days"], rows["Reaction"], 1)[::-1]
        for _, rows in sleepstudy.groupby("Subject", sort=True)
    ]
    np.testing.assert_allclose(points(ax, 0), own, rtol=1e-8)
    expected = slopes.ranef["Subject"].to_numpy() + slopes.params.to_numpy()
    np.testing.assert_allclose(points(ax, 1), expected)


def test_residuals_against_fitted_values(slopes):
    ax = slopes.plot.residuals("raw")
    np.testing.assert_allclose(
        points(ax), np.column_stack([slopes.fittedvalues, slopes.resid("raw")])
    )


def test_normal_quantiles(slopes):
    _, mine = pyplot.subplots()
    ax = slopes.plot.qq(ax=mine)
    assert ax is mine
    np.testing.assert_allclose(points(ax)[:, 1], np.sort(slopes.resid("scaled")))
    np.testing.assert_allclose(points(ax)[0, 0], stats.norm.ppf(0.5 / 180))


def test_variogram_averages_half_squared_differences(slopes, sleepstudy):
    ax = slopes.plot.variogram("Days")
    residual = slopes.resid("pearson").to_numpy().reshape(18, 10)
    lag_one = 0.5 * np.mean((residual[:, 1:] - residual[:, :-1]) ** 2)
    line = ax.lines[0].get_ydata()
    assert len(line) == 9
    assert line[0] == pytest.approx(lag_one)


def test_variogram_pools_many_distances(slopes):
    ax = slopes.plot.variogram("Days", n_bins=4)
    assert 2 <= len(ax.lines[0].get_ydata()) <= 4


def test_effects_of_a_covariate_are_its_marginal_means(slopes):
    (ax,) = slopes.plot.effects()
    x, y = ax.lines[0].get_data()
    np.testing.assert_array_equal(x, np.arange(10))
    np.testing.assert_allclose(y, slopes.params["(Intercept)"] + slopes.params["Days"] * x)


def test_effects_of_an_interaction_have_a_colour_a_level(sleepstudy):
    data = sleepstudy.assign(half=np.where(sleepstudy["Days"] < 5, "first", "second"))
    fit = mlm.lmm("Reaction ~ half * Days + (1 | Subject)", data)
    (ax,) = fit.plot.effects(at={"Days": [0.0, 4.0]})
    assert [text.get_text() for text in ax.get_legend().get_texts()] == ["first", "second"]
    means = fit.emmeans(["Days", "half"], at={"Days": [0.0, 4.0]}).frame
    np.testing.assert_allclose(
        np.concatenate([line.get_ydata() for line in ax.lines]), means["emmean"]
    )
    (ax,) = fit.plot.effects("half")
    assert [text.get_text() for text in ax.get_xticklabels()] == ["first", "second"]


def test_profile_draws_the_parameters_asked_for(slopes):
    axes = slopes.plot.profile("fixed")
    assert [ax.get_xlabel() for ax in axes] == ["(Intercept)", "Days"]


def test_a_line_through_few_points_is_smooth(slopes):
    line = [line for line in slopes.plot.residuals().lines if line.get_marker() == "None"][-1]
    x, y = line.get_data()
    assert len(x) == 60
    assert np.abs(np.diff(y, 2)).max() < 0.03  # standard deviations; means by stretches: 1.1


@pytest.mark.parametrize("n", [7, 400, 5_000])
def test_the_smooth_line_keeps_a_straight_one_and_follows_a_curve(n):
    x = np.random.default_rng(1).uniform(-1.0, 3.0, n)
    at, height = smooth_line(x, 2.0 - 3.0 * x)
    np.testing.assert_allclose(height, 2.0 - 3.0 * at, atol=1e-9)
    at, height = smooth_line(x, np.sin(x), span=0.3)
    np.testing.assert_allclose(height, np.sin(at), atol=0.4 if n == 7 else 0.08)


def test_the_smooth_line_of_few_distinct_values_is_their_means():
    x, y = np.array([1.0, 2.0, 1.0, 2.0, 5.0]), np.array([1.0, 4.0, 3.0, 6.0, 7.0])
    at, height = smooth_line(x, y)
    np.testing.assert_array_equal(at, [1.0, 2.0, 5.0])
    np.testing.assert_array_equal(height, [2.0, 5.0, 7.0])


def test_spaghetti_shows_rows_own_fits_and_the_population(slopes, sleepstudy):
    ax = slopes.plot.spaghetti("Days")
    first = sleepstudy[sleepstudy["Subject"] == "308"]
    np.testing.assert_allclose(ax.lines[0].get_ydata(), first["Reaction"])
    np.testing.assert_allclose(ax.lines[1].get_ydata(), slopes.fittedvalues[:10])
    x, y = ax.lines[-1].get_data()
    np.testing.assert_allclose(y, slopes.params["(Intercept)"] + slopes.params["Days"] * x)
    assert len(ax.lines) == 2 * 18 + 1
    assert (ax.get_xlabel(), ax.get_ylabel()) == ("Days", "Reaction")


def test_spaghetti_over_visits_by_arm(sleepstudy):
    data = sleepstudy[sleepstudy["Days"] < 4].assign(
        visit=lambda d: "v" + d["Days"].astype(str),
        arm=lambda d: np.where(d["Subject"].astype(str) < "340", "a", "b"),
    )
    fit = mlm.lmm("Reaction ~ arm * visit", data, residual="us(visit | Subject)")
    ax = fit.plot.spaghetti("visit", by="arm")
    assert [text.get_text() for text in ax.get_legend().get_texts()] == ["a", "b"]
    assert [text.get_text() for text in ax.get_xticklabels()] == ["v0", "v1", "v2", "v3"]
    means = fit.emmeans(["visit", "arm"]).frame
    drawn = np.concatenate([line.get_ydata() for line in ax.lines[-2:]])
    np.testing.assert_allclose(np.sort(drawn), np.sort(means["emmean"]))
    assert len(ax.lines) == 18 + 2  # no random effects, so no fits of one's own


def test_individuals_have_a_panel_each(slopes, sleepstudy):
    axes = slopes.plot.individuals("Days", ["337", "308"])
    assert [ax.get_title() for ax in axes] == ["337", "308"]
    rows = (sleepstudy["Subject"] == "337").to_numpy()
    np.testing.assert_allclose(points(axes[0])[:, 1], sleepstudy.loc[rows, "Reaction"])
    np.testing.assert_allclose(axes[0].lines[1].get_ydata(), slopes.fittedvalues[rows])
    assert axes[0].get_ylim() == axes[1].get_ylim()
    assert len(slopes.plot.individuals("Days")) == 12


def test_matrices_are_those_of_the_fit(slopes):
    ax = slopes.plot.matrix("V", "308")
    np.testing.assert_allclose(ax.images[0].get_array(), slopes.V("308"))
    np.testing.assert_allclose(slopes.plot.matrix("G").images[0].get_array(), slopes.G("Subject"))
    ax = slopes.plot.matrix("Z", "309")
    assert [text.get_text() for text in ax.texts[:4]] == ["1", "0", "1", "1"]
    assert [t.get_text() for t in ax.get_xticklabels()] == list(map(str, slopes.Z("309").columns))


def test_correlations(slopes, sleepstudy):
    v = slopes.V("308").to_numpy()
    sd = np.sqrt(np.diag(v))
    ax = slopes.plot.correlation("308")
    np.testing.assert_allclose(ax.images[0].get_array(), v / np.outer(sd, sd))
    assert ax.images[0].get_clim() == (-1.0, 1.0)
    fixed = slopes.plot.correlation(kind="fixed").images[0].get_array()
    assert fixed[0, 1] == pytest.approx(-0.1375, abs=1e-4)  # as lme4's summary has it: -0.138
    fit = mlm.lmm("Reaction ~ Days", sleepstudy, residual="ar1(Days | Subject)")
    drawn = fit.plot.correlation(kind="residual").images[0].get_array()
    np.testing.assert_allclose(drawn, fit.residual_corr)


def test_a_large_matrix_has_a_scale_instead_of_numbers(sleepstudy):
    pairs = sleepstudy.assign(pair=np.repeat(list("abcdefghi"), 20))
    ax = mlm.lmm("Reaction ~ Days + (1 | pair)", pairs).plot.matrix("V", "a")
    assert not ax.texts
    assert len(ax.figure.axes) == 2


def test_contours_are_of_the_likelihood(sleepstudy):
    model = mlm.LMM("Reaction ~ Days + (1 | Subject)", sleepstudy)
    fit = model.fit()
    names = ("sd_(Intercept)|Subject", "sigma")
    ax = fit.plot.likelihood(*names, start={names[0]: 5.0, names[1]: 60.0})
    assert (ax.get_xlabel(), ax.get_ylabel()) == names
    *borders, steps, estimate = [*ax.collections, *ax.lines]
    border = borders[-1].get_paths()[2].vertices  # of the 95 % region
    for sd, sigma in border[:: len(border) // 4]:
        held = model.fit(hold=dict(zip(names, (float(sd), float(sigma)), strict=True)))
        assert held.deviance - fit.deviance == pytest.approx(stats.chi2.ppf(0.95, 2), abs=0.1)
    expected = [np.sqrt(fit.varcorr["Subject"].iloc[0, 0]), fit.sigma]
    np.testing.assert_allclose(np.ravel(estimate.get_data()), expected)
    path = np.column_stack(steps.get_data())
    assert path[0, 0] / path[0, 1] == pytest.approx(5.0 / 60.0)  # sigma is the best for the ratio
    np.testing.assert_allclose(path[-1], expected, rtol=1e-6)
    assert 3 <= len(path) <= 10


def test_others_stand_at_their_estimates_in_contours(slopes, sleepstudy):
    x, y = "sd_Days|Subject", "cor_Days.(Intercept)|Subject"
    ax = slopes.plot.likelihood(x, y)
    assert "others at their estimates" in ax.get_title()
    sd, cor = ax.collections[-1].get_paths()[1].vertices[0]
    held = {
        x: float(sd), y: float(cor), "sigma": slopes.sigma,
        "sd_(Intercept)|Subject": float(np.sqrt(slopes.varcorr["Subject"].iloc[0, 0])),
    }  # fmt: skip
    there = mlm.lmm("Reaction ~ Days + (Days | Subject)", sleepstudy, hold=held)
    rise = there.deviance - slopes.deviance
    assert rise == pytest.approx(stats.chi2.ppf(0.8, 2), abs=0.1)


def test_contours_of_a_negative_variance_and_at_the_boundary():
    y = np.random.default_rng(1).normal(size=(12, 4))
    y -= 0.9 * y.mean(axis=1, keepdims=True)
    data = {"y": y.ravel(), "g": np.repeat(list("abcdefghijkl"), 4)}
    fit = mlm.lmm("y ~ 1 + (1 | g)", data, bounded=False)
    ax = fit.plot.likelihood("var_(Intercept)|g", "sigma")
    expected = [fit.varcorr["g"].iloc[0, 0], fit.sigma]
    assert expected[0] < 0.0
    np.testing.assert_allclose(np.ravel(ax.lines[-1].get_data()), expected)
    with pytest.warns(mlm.SingularFitWarning):
        fit = mlm.lmm("y ~ 1 + (1 | g)", data)
    ax = fit.plot.likelihood("sd_(Intercept)|g", "sigma")
    np.testing.assert_allclose(np.ravel(ax.lines[-1].get_data()), [0.0, fit.sigma])
    with pytest.raises(ModelError, match="goes by the maximum of a likelihood"):
        mlm.lmm("y ~ 1 + (1 | g)", data, method="type3").plot.likelihood("sigma", "sigma")


def test_contours_stay_where_covariances_are(sleepstudy):
    fit = mlm.lmm("Reaction ~ Days", sleepstudy, residual="ar1(Days | Subject)")
    ax = fit.plot.likelihood("Variance", "AR(1)", start={"Variance": 9000.0, "AR(1)": 0.2})
    assert ax.get_xlim()[0] > 0.0
    assert -1.0 < ax.get_ylim()[0] < ax.get_ylim()[1] < 1.0
    path = np.column_stack(ax.lines[0].get_data())
    np.testing.assert_allclose(path[0], [9000.0, 0.2])
    np.testing.assert_allclose(path[-1], fit.residual_parameters, rtol=1e-6)


def test_matrices_without_clusters_are_of_all_rows(sleepstudy):
    fit = mlm.lmm("Reaction ~ Days", sleepstudy[:8])
    ax = fit.plot.matrix("V")
    assert ax.get_title() == "V = ZGZ' + R of all rows"
    np.testing.assert_allclose(ax.images[0].get_array(), fit.scale * np.eye(8))
    np.testing.assert_allclose(fit.plot.correlation().images[0].get_array(), np.eye(8))


def test_a_picture_of_an_unknown_matrix_has_no_numbers():
    ax = heat_map(pd.DataFrame([[np.nan, np.nan], [np.nan, np.nan]]), "unknown")
    assert not ax.texts


def test_influence_has_a_stick_a_cluster_and_names_the_largest(slopes):
    ax = slopes.plot.influence()
    values = slopes.influence().clusters["cooks_distance"]
    np.testing.assert_allclose(points(ax)[:, 1], values)
    assert [text.get_text() for text in ax.texts] == list(values.nlargest(3).index)
    influence = slopes.influence()
    ax = influence.plot("Days", "observations")
    np.testing.assert_allclose(points(ax)[:, 1], influence.observation_dfbetas["Days"])
    assert ax.get_ylabel() == "DFBETAS of Days"


def test_bootstrap_draws_every_sample(slopes):
    boot = slopes.bootstrap(50, seed=1)
    axes = boot.plot(["Days", "sigma"], kind="basic")
    assert [ax.get_xlabel() for ax in axes] == ["Days", "sigma"]
    assert sum(patch.get_height() for patch in axes[0].patches) == 50
    drawn = [line.get_xdata()[0] for line in axes[0].lines]
    limits = boot.conf_int(kind="basic").loc["Days"]
    np.testing.assert_allclose(drawn, [boot.estimates["Days"], *limits])
    with pytest.raises(ModelError, match="'Dayz' is no parameter of the bootstrap"):
        boot.plot("Dayz")


def test_a_profile_as_the_rise_of_the_deviance(slopes):
    (zeta,) = slopes.plot.profile("sigma")
    (rise,) = slopes.plot.profile("sigma", scale="deviance")
    np.testing.assert_allclose(rise.lines[0].get_ydata(), zeta.lines[0].get_ydata() ** 2)


def test_profiles_of_a_fit_on_the_boundary():
    generator = np.random.default_rng(1)
    y = generator.normal(size=(20, 3))
    y -= y.mean(axis=1, keepdims=True) * 0.9
    data = pd.DataFrame({"y": y.ravel(), "g": np.repeat(np.arange(20), 3)})
    with pytest.warns(mlm.SingularFitWarning):
        fit = mlm.lmm("y ~ 1 + (1 | g)", data)
    (zeta,) = fit.plot.profile("sd_(Intercept)|g")
    value, height = zeta.lines[0].get_data()
    assert value[0] == height[0] == 0.0
    # The lower limit is 0, which the curve reaches at 0.
    at_zero = [line for line in zeta.lines[2:] if list(line.get_xdata()) == [0.0, 0.0]]
    assert [list(line.get_ydata()) for line in at_zero] == [[0.0, 0.0]]
    # The deviance by its definition: equal rows a group, V = sigma^2 I + tau^2 J, over sigma.
    frame = fit.profile("sd_(Intercept)|g").frame
    tau, found = frame[["value", "zeta"]].to_numpy()[-1]

    def criterion(tau):
        between = 3 * ((y.mean(axis=1) - y.mean()) ** 2).sum()
        within = ((y - y.mean(axis=1, keepdims=True)) ** 2).sum()
        s2 = np.exp(np.linspace(-3.0, 2.0, 200001))
        whole = s2 + 3 * tau**2
        return (40 * np.log(s2) + 19 * np.log(whole) + within / s2 + between / whole).min()

    assert found**2 == pytest.approx(criterion(tau) - criterion(0.0), rel=1e-6)


#: What draws one panel, and what draws several, with their number.
ONE = {
    "shrinkage": lambda plot, ax: plot.shrinkage(ax=ax),
    "residuals": lambda plot, ax: plot.residuals(ax=ax),
    "qq": lambda plot, ax: plot.qq("pearson", ax=ax),
    "variogram": lambda plot, ax: plot.variogram("Days", ax=ax),
    "spaghetti": lambda plot, ax: plot.spaghetti("Days", ax=ax),
    "matrix": lambda plot, ax: plot.matrix("R", ax=ax),
    "correlation": lambda plot, ax: plot.correlation(ax=ax),
    "likelihood": lambda plot, ax: plot.likelihood("sd_Days|Subject", "sigma", ax=ax),
    "influence": lambda plot, ax: plot.influence(ax=ax),
}
SEVERAL = {
    "caterpillar": (2, lambda plot, ax: plot.caterpillar(ax=ax)),
    "effects": (1, lambda plot, ax: plot.effects(ax=ax)),
    "profile": (2, lambda plot, ax: plot.profile(["Days", "sigma"], ax=ax)),
    "individuals": (2, lambda plot, ax: plot.individuals("Days", ["308", "309"], ax=ax)),
}


def test_every_plot_is_drawn_where_it_is_told_to_and_labelled(slopes):
    methods = {name for name in dir(slopes.plot) if not name.startswith("_")}
    assert methods == {*ONE, *SEVERAL}
    for draw in ONE.values():
        _, ax = pyplot.subplots()
        assert draw(slopes.plot, ax) is ax
        assert ax.get_title()
        # Rows and columns of correlations have names instead.
        assert ax.get_xlabel() or ax.get_xticklabels()[0].get_text()
        assert ax.get_ylabel() or ax.get_yticklabels()[0].get_text()
    for n, draw in SEVERAL.values():
        figure, axes = pyplot.subplots(1, n)
        assert list(draw(slopes.plot, axes)) == list(np.ravel(axes))
        assert all(ax.get_title() and ax.get_xlabel() for ax in figure.axes)
        wrong = pyplot.subplots(1, 2)[1]
        with pytest.raises(ModelError, match=r"and the picture has|axes are needed"):
            draw(slopes.plot, wrong if n == 1 else wrong[0])


def test_series_differ_in_grey():
    """Neighbours differ in lightness or in their dashes, all in dashes and markers together."""
    from matplotlib.colors import to_rgb

    shown = [series(k) for k in range(8)]
    assert len({(str(s.dash), s.marker) for s in shown}) == 8
    grey = [float(np.dot(to_rgb(s.colour), [0.299, 0.587, 0.114])) for s in shown]
    for a, b, one, other in zip(grey, grey[1:], shown, shown[1:], strict=False):
        assert abs(a - b) > 0.08 or one.dash != other.dash


@pytest.mark.parametrize(
    ("draw", "error", "message"),
    [
        (lambda plot: plot.caterpillar("Subjct"), ModelError, "grouping factors: Subject"),
        (lambda plot: plot.caterpillar(level=95), ModelError, "between 0 and 1"),
        (lambda plot: plot.shrinkage(x="Days", y="Night"), ModelError, "'Night' is not both"),
        (lambda plot: plot.variogram("Night"), DataError, "no column 'Night'"),
        (lambda plot: plot.variogram("Subject"), DataError, "holds no numbers"),
        (lambda plot: plot.variogram("Days", n_bins=0), ModelError, "n_bins is 0"),
        (lambda plot: plot.effects("Dayz"), DataError, "did you mean 'Days'"),
        (lambda plot: plot.effects(["Days", "Days"]), ModelError, "name one variable, or two"),
        (lambda plot: plot.residuals("odd"), ModelError, "'odd' are not known"),
        (lambda plot: plot.residuals(ax=3), ModelError, "ax is 'int'"),
        (lambda plot: plot.spaghetti("Night"), DataError, "no column 'Night'"),
        (lambda plot: plot.spaghetti("Days", by="Night"), DataError, "no column 'Night'"),
        (lambda plot: plot.spaghetti("Days", group="Night"), ModelError, "no grouping factor"),
        (lambda plot: plot.individuals("Days", ["308", "1"]), DataError, "'1' is not among the 18"),
        (lambda plot: plot.matrix("U"), ModelError, "'U' is no matrix"),
        (lambda plot: plot.matrix("G", "308"), ModelError, "leave cluster out"),
        (lambda plot: plot.matrix("V", term="Subject"), ModelError, "goes with G"),
        (lambda plot: plot.correlation(kind="odd"), ModelError, "kind is 'odd'"),
        (lambda plot: plot.likelihood("sigma", "sigma"), ModelError, "one parameter"),
        (lambda plot: plot.likelihood("sigma", "odd"), ModelError, "no covariance parameter"),
        (lambda plot: plot.influence("odd"), ModelError, "'odd' is no statistic"),
        (lambda plot: plot.influence(by="odd"), ModelError, "by is 'odd'"),
        (lambda plot: plot.profile("sigma", scale="odd"), ModelError, "scale is 'odd'"),
    ],
)
def test_refusals(slopes, draw, error, message):
    with pytest.raises(error, match=message):
        draw(slopes.plot)


def test_models_without_what_is_plotted(sleepstudy):
    plain = mlm.lmm("Reaction ~ Days", sleepstudy)
    with pytest.raises(ModelError, match="no random effects"):
        plain.plot.caterpillar()
    with pytest.raises(ModelError, match="no clusters"):
        plain.plot.variogram("Days")
    with pytest.raises(ModelError, match="needs two random effects"):
        mlm.lmm("Reaction ~ Days + (1 | Subject)", sleepstudy).plot.shrinkage()
    with pytest.raises(ModelError, match="no grouping factor"):
        plain.plot.spaghetti("Days")
    with pytest.raises(ModelError, match="no G"):
        plain.plot.matrix("G")
    with pytest.raises(ModelError, match="no random effects, so Z has no columns"):
        plain.plot.matrix("Z")


def test_points_that_coincide_at_a_bound_are_drawn_once():
    rows = pd.DataFrame(
        {
            "parameter": "cor",
            "criterion": "REML",
            "value": [0.2, 0.6, 1.0, 1.0],
            "zeta": [-2, -1, 0, 0.1],
        }
    )
    limits = pd.DataFrame({"lower": [0.3], "upper": [1.0]}, index=["cor"])
    line = profile_plot(rows, limits, 0.95, None).axes[0].lines[0]
    assert (line.get_xdata()[0], line.get_xdata()[-1]) == (0.2, 1.0)
    assert np.isfinite(line.get_ydata()).all()
