"""Plots show the numbers they say they show."""

import numpy as np
import pytest
from scipy import stats

import mlmfast as mlm
from mlmfast.errors import DataError, ModelError

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


@pytest.mark.parametrize(
    ("draw", "error", "message"),
    [
        (lambda plot: plot.caterpillar("Subjct"), ModelError, "grouping factors: Subject"),
        (lambda plot: plot.caterpillar(level=95), ModelError, "between 0 and 1"),
        (lambda plot: plot.shrinkage(x="Days", y="Night"), ModelError, "'Night' is not both"),
        (lambda plot: plot.variogram("Night"), DataError, "no column 'Night'"),
        (lambda plot: plot.variogram("Subject"), DataError, "holds no numbers"),
        (lambda plot: plot.effects("Dayz"), DataError, "did you mean 'Days'"),
        (lambda plot: plot.effects(["Days", "Days"]), ModelError, "name one variable, or two"),
        (lambda plot: plot.residuals("odd"), ModelError, "'odd' are not known"),
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
