"""A column `fb` and the level `b` of a factor `f` have one name: what asks by name refuses it."""

import numpy as np
import pandas as pd
import pytest

import mlmfast as mlm
from mlmfast.errors import ModelError


def data():
    random = np.random.default_rng(8)
    f = np.tile(list("abc"), 20)
    group = np.arange(60) // 6
    return pd.DataFrame(
        {
            "f": f,
            "fb": random.normal(size=60),
            "g": group.astype(str),
            "y": random.normal(size=60) + 2 * random.normal(size=10)[group] + 3 * (f == "b"),
        }
    )


def fits():
    """The fit with the name twice, and the same one with the column renamed."""
    return (
        mlm.lmm("y ~ fb + f + (1 | g)", data()),
        mlm.lmm("y ~ z + f + (1 | g)", data().rename(columns={"fb": "z"})),
    )


@pytest.mark.parametrize(
    "L", ["fb", "fc - fb = 1", {"fb": 1}, {"both": "2 * fb"}, [{"fc": 1}, {"fb": 1}]]
)
def test_a_name_of_two_coefficients_is_refused(L):
    fit, _ = fits()
    with pytest.raises(ModelError, match=r"2 coefficients are named 'fb'.*rename the column"):
        fit.contrast(L)
    with pytest.raises(ModelError, match="2 coefficients are named 'fb'"):
        fit.estimate(L if isinstance(L, str) else "fb")


def test_other_names_and_arrays_mean_what_they_did():
    fit, renamed = fits()
    assert fit.estimate("fc").estimate == renamed.estimate("fc").estimate
    rows = np.array([[0.0, 1.0, 0.0, 0.0], [0.0, 0.0, 1.0, -1.0]])
    pd.testing.assert_frame_equal(
        fit.contrast(rows).table.reset_index(drop=True),
        renamed.contrast(rows).table.reset_index(drop=True),
    )


def test_labels_of_all_coefficients_count_by_position():
    fit, renamed = fits()
    hypotheses = fit.anova().hypotheses
    for term, expected in zip(("fb", "f"), renamed.anova()["F value"], strict=True):
        found = fit.contrast(hypotheses[term])
        f = found.f.statistic if found.f is not None else found.statistic**2
        assert f == pytest.approx(expected, rel=1e-10)
    row = pd.Series([0.0, 0.0, 1.0, 0.0], index=fit.params.index)
    assert fit.contrast(row).estimate == fit.params.iloc[2]
    with pytest.raises(ModelError, match="the label 'fb' twice"):
        fit.contrast(row.iloc[1:])


def test_matrices_by_name_hold_both():
    fit, renamed = fits()
    np.testing.assert_array_equal(fit.cov_params(), renamed.cov_params())
    assert list(fit.cov_params().columns) == ["(Intercept)", "fb", "fb", "fc"]
    robust, other = fit.robust("CR0"), renamed.robust("CR0")
    np.testing.assert_array_equal(robust.bse, other.bse)
    np.testing.assert_array_equal(robust.cov_params(), other.cov_params())
    row = [0.0, 0.0, 1.0, 0.0]
    np.testing.assert_array_equal(robust.contrast(row), other.contrast(row))
    np.testing.assert_array_equal(fit.conf_int(), renamed.conf_int())
    assert str(fit.summary()).count("fb ") >= 2


def test_profiles_and_functions_of_parameters_by_name_are_refused():
    fit, _ = fits()
    with pytest.raises(ModelError, match="2 coefficients are named 'fb'"):
        fit.profile("fb")
    with pytest.raises(ModelError, match="2 coefficients are named 'fb'"):
        fit.derived(lambda p: p["fc"])


def test_one_name_of_two_columns_is_no_nested_model():
    frame = data()
    covariate = mlm.lmm("y ~ fb + (1 | g)", frame, method="ML")
    level = mlm.lmm("y ~ f + (1 | g)", frame, method="ML")
    table = mlm.compare(covariate, level)
    assert pd.DataFrame(table).filter(like="Pr").isna().all().all()
