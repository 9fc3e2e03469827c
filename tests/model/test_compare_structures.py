"""A table of structures: the numbers of the single fits in order, failures with a reason."""

import warnings

import numpy as np
import pandas as pd
import pytest

import mlmfast as mlm

from ..trial import trial

MODEL = "y ~ arm * visit"
CHOSEN = ("cs", "us", "ar1h")


@pytest.fixture(scope="module")
def data():
    return trial()


def test_the_numbers_are_those_of_the_single_fits(data):
    table = mlm.compare_structures(MODEL, data, "visit", "patient", CHOSEN, method="ML")
    assert sorted(table["structure"]) == sorted(CHOSEN)
    for row in table.itertuples():
        fit = mlm.lmm(MODEL, data, residual=f"{row.structure}(visit | patient)", method="ML")
        assert (row.llf, row.deviance, row.aic, row.bic) == (
            fit.llf,
            fit.deviance,
            fit.aic,
            fit.bic,
        )
        assert row.aicc == fit.information_criteria()["AICc"]
        assert row.n_parameters == len(fit.residual_parameters)
        assert row.converged
        assert row.problem == ""


def test_the_smallest_aic_comes_first(data):
    table = mlm.compare_structures(MODEL, data, "visit", "patient")
    assert table["aic"].is_monotonic_increasing
    assert {"us", "toeph", "ar1", "cs", "ad"} <= set(table["structure"])
    # Visits are words here: nothing spatial; every structure once, not by its other names.
    assert not table["structure"].str.startswith("sp_").any()
    assert table["structure"].is_unique


def test_numeric_visits_have_the_spatial_structures_too(sleepstudy):
    table = mlm.compare_structures("Reaction ~ Days", sleepstudy, "Days", "Subject", method="ML")
    found = table.set_index("structure")["deviance"]
    assert found["sp_exp"] == pytest.approx(found["ar1"], rel=1e-9)
    assert "car1" not in found


def test_several_coordinates_and_arms():
    rng = np.random.default_rng(5)
    frame = pd.DataFrame(
        {
            "id": np.repeat(np.arange(30), 4),
            "arm": np.repeat(["a", "b"], 60),
            "x 1": np.tile([0.0, 0.0, 1.0, 1.0], 30),
            "z": np.tile([0.0, 1.0, 0.0, 1.0], 30),
        }
    ).assign(y=lambda d: rng.normal(size=120) + np.repeat(rng.normal(size=30), 4))
    table = mlm.compare_structures("y ~ arm", frame, ("x 1", "z"), "arm / id", ("sp_exp",))
    assert table.loc[0, "n_parameters"] == 4
    assert table.loc[0, "problem"] == ""
    found = mlm.compare_structures("y ~ arm", frame, ("x 1", "z"), "id")["structure"]
    assert found.str.startswith("sp_").all()


def test_a_failure_keeps_its_place_and_says_why(data):
    chosen = ("magic", "sp_exp", "cs")
    table = mlm.compare_structures(MODEL, data, "visit", "patient", chosen)
    assert list(table["structure"]) == ["cs", "magic", "sp_exp"]
    assert "not a residual structure" in table.loc[1, "problem"]
    assert "needs numbers" in table.loc[2, "problem"]
    assert table.loc[1:, ["n_parameters", "llf", "aic", "bic"]].isna().all(axis=None)
    assert not table.loc[1:, "converged"].any()


def test_a_fit_that_did_not_converge_says_so_in_the_table_alone(data):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        table = mlm.compare_structures(
            MODEL, data, "visit", "patient", ("us", "ad"), options={"max_iter": 1}
        )
    assert list(table["problem"]) == ["not converged"] * 2
    assert not table["converged"].any()


def test_what_is_wrong_with_every_structure_is_an_error(data):
    with pytest.raises(mlm.MlmError, match="person"):
        mlm.compare_structures(MODEL, data, "visit", "person", CHOSEN)
    with pytest.raises(mlm.ModelError, match="structures is empty"):
        mlm.compare_structures(MODEL, data, "visit", "patient", ())
    with pytest.raises(mlm.ModelError, match="writes residual= itself"):
        mlm.compare_structures(MODEL, data, "visit", "patient", residual="cs(visit | patient)")
