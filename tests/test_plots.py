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


@pytest.mark.parametrize(
    ("draw", "error", "message"),
    [
        (lambda plot: plot.caterpillar("Subjct"), ModelError, "grouping factors: Subject"),
        (lambda plot: plot.caterpillar(level=95), ModelError, "between 0 and 1"),
        (lambda plot: plot.shrinkage(x="Days", y="Night"), ModelError, "'Night' is not both"),
        (lambda plot: plot.variogram("Night"), DataError, "no column 'Night'"),
        (lambda plot: plot.variogram("Subject"), DataError, "holds no numbers"),
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
