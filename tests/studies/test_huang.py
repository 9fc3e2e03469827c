"""The published study of the examples."""

import importlib.util
from pathlib import Path

import numpy as np
import pytest

FILE = Path(__file__).parents[2] / "examples" / "huang_2018.py"


@pytest.fixture(scope="module")
def huang():
    spec = importlib.util.spec_from_file_location("huang_2018", FILE)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_data_are_as_the_article_draws_them(huang):
    """Sizes, removed rows, and the means and variances of the model."""
    study = huang.study(1000)
    condition = {"groups": 20, "size": 30, "icc": 0.2}
    drawn = [study.data(condition, replicate) for replicate in range(40)]
    assert {len(data) for data in drawn} == {600}
    assert {data["group"].nunique() for data in drawn} == {20}
    assert all(data.groupby("group")["t"].nunique().eq(1).all() for data in drawn)
    # Rows in the middle go missing more often.
    sizes = np.mean([data["group"].value_counts().sort_index() for data in drawn], axis=0)
    assert sizes[9:11].mean() < 28.5 < 31.5 < sizes[[0, 19]].mean() < 33
    rest = [data["y"] - 0.3 * data["t"] - 0.3 * data["w"] - 0.8 * data["x"] for data in drawn]
    within = [r.groupby(d["group"]).var().mean() for r, d in zip(rest, drawn, strict=True)]
    between = [r.groupby(d["group"]).mean().var() for r, d in zip(rest, drawn, strict=True)]
    assert np.mean(within) == pytest.approx(1.5**2, rel=0.02)
    # Standard error of the mean of 40 variances of 19 degrees of freedom: 5 per cent.
    assert np.mean(between) == pytest.approx(0.79**2 + 1.5**2 / 30, rel=0.2)


def test_the_table_has_a_row_for_each_published_value(huang, tmp_path):
    table = huang.compared(huang.study(2).run(tmp_path / "s", progress=False))
    assert len(table) == 72
    assert table.notna().all().all()
    row = table.loc[(30, 50, 0.30, "OLS")]
    assert row["published"] == -0.4


@pytest.mark.slow
def test_published_values_are_within_monte_carlo_error(huang, tmp_path):
    table = huang.compared(huang.study(150).run(tmp_path / "s", progress=False))
    assert (table["z"] ** 2).mean() ** 0.5 < 1.5
    assert table["z"].abs().max() < 4
