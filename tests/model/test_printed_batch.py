"""What batches of fits, their tests and models print."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

import mlmfast as mlm


@pytest.fixture(scope="module")
def model() -> mlm.LMM:
    return mlm.LMM("Reaction ~ Days + (Days | Subject)", mlm.load_sleepstudy())


def responses(model: mlm.LMM, n: int) -> pd.DataFrame:
    y = np.asarray(mlm.load_sleepstudy()["Reaction"])
    return pd.DataFrame({f"y{k}": y + k for k in range(n)})


def test_a_model_names_its_formula_and_rows(model: mlm.LMM) -> None:
    assert repr(model) == "<LMM of 'Reaction ~ Days + (Days | Subject)', 180 rows; fit() fits it>"


def test_a_model_of_arrays_has_no_formula() -> None:
    data = mlm.load_sleepstudy()
    X = np.column_stack([np.ones(180), data["Days"]])
    model = mlm.LMM.from_arrays(data["Reaction"], X, groups=data["Subject"], Z=X)
    assert repr(model) == "<LMM of 180 rows; fit() fits it>"


def test_the_first_fits_stand_under_the_outcome_of_all(model: mlm.LMM) -> None:
    text = repr(model.fit_many(responses(model, 12)))
    lines = text.splitlines()
    assert lines[0] == "12 fits by REML: 12 converged; the first 5:"
    assert [line.split()[0] for line in lines[2:7]] == ["y0", "y1", "y2", "y3", "y4"]
    assert "251.4051" in lines[2]
    assert "-871.81" in lines[2]
    assert len(lines) == 8


def test_a_fit_that_is_not_there_says_why(model: mlm.LMM) -> None:
    text = repr(model.fit_many(responses(model, 2).assign(flat=3.0)))
    assert text.startswith("3 fits by REML: 2 converged, 1 no fit or errors:")
    assert "Note: flat: the response 'flat' has no residual variance" in text


def test_many_coefficients_are_counted(model: mlm.LMM) -> None:
    data = mlm.load_sleepstudy()
    wide = mlm.LMM("Reaction ~ factor(Days) + (1 | Subject)", data)
    text = repr(wide.fit_many(responses(model, 2)))
    assert "4 coefficients more in each fit" in text


def test_tests_print_rows_or_the_joint_test(model: mlm.LMM) -> None:
    batch = model.fit_many(responses(model, 7))
    one, both = repr(batch.tests("Days")), repr(batch.tests([[1, 0], [0, 1]]))
    assert one.startswith("Tests of 1 linear function in 7 fits; the first 5:")
    assert "3.26e-06" in one
    assert len(one.splitlines()) == 7
    assert "DenDF" in both
    assert "F value" in both
