"""The examples beside published and exact values: designs, tables, figures within their error."""

import importlib.util
from pathlib import Path

import numpy as np
import pytest

FOLDER = Path(__file__).parents[2] / "examples"


def _example(name):
    spec = importlib.util.spec_from_file_location(name, FOLDER / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def chu():
    return _example("chu_2011")


@pytest.fixture(scope="module")
def few():
    return _example("small_samples")


def test_trials_are_uneven_by_chance(chu):
    study = chu.study(1000)
    data = [study.data({"centres": 18, "icc": 0.2}, k) for k in range(30)]
    assert {len(one) for one in data} == {180}
    assert {one["centre"].nunique() for one in data} == {18}
    treated = np.array([one["t"].sum() for one in data])
    # 180 coins: standard deviation 6.7.
    assert 4 < treated.std() < 10
    assert abs(treated.mean() - 90) < 4
    design = chu.trial({"centres": 18, "icc": 0.2})
    assert design.varcorr["centre"].iloc[0, 0] == pytest.approx(0.25)


def test_least_squares_within_centres_is_that_with_columns(chu):
    import statsmodels.formula.api as smf

    data = chu.study(10).data({"centres": 6, "icc": 0.05}, 3)
    for own, formula in ((chu.least_squares, "y ~ t"), (chu.with_centres, "y ~ t + C(centre)")):
        estimate, se, df = own(data, {"centres": 6})["t"]
        wanted = smf.ols(formula, data).fit()
        np.testing.assert_allclose([estimate, se], [wanted.params["t"], wanted.bse["t"]], rtol=1e-9)
        assert df == wanted.df_resid


def test_tables_have_a_row_for_each_value(chu, few, tmp_path):
    table = chu.compared(chu.study(3).run(tmp_path / "chu", progress=False))
    assert len(table) == 9 * 4 * 3
    assert table.notna().all().all()
    assert table.loc[(6, 0.2, "B", "se"), "published"] == 0.152
    exact = few.compared(few.study(2).run(tmp_path / "few", progress=False))
    assert len(exact) == 20
    # Fisher's table: the F that 5 per cent exceed with 1 and 4 degrees of freedom is 7.71.
    assert exact.loc[(6, "Kenward-Roger"), "exact"] == pytest.approx(0.05)
    assert few.exact(6)["t as z, REML"] == pytest.approx(0.1216, abs=1e-4)


@pytest.mark.slow
def test_figures_are_within_monte_carlo_error(chu, few, tmp_path):
    z = chu.compared(chu.study(200).run(tmp_path / "chu", progress=False))["z"]
    assert (z**2).mean() ** 0.5 < 1.4
    exact = few.compared(few.study(300).run(tmp_path / "few", progress=False))["z"]
    assert exact.abs().max() < 3.5
