"""Data sets of other rows, levels and groups than their neighbours': fitted together, as alone."""

import numpy as np
import pandas as pd
import pytest

import mlmfast as mlm
from mlmfast.studies.replicates.data_set import DataSet
from mlmfast.studies.replicates.one_table import in_one_table


def _trial(condition, rng):
    """Sites of random sizes; every sixth data set has something that ends or changes its fit."""
    sizes = rng.integers(2, 7, size=rng.integers(5, 9))
    g = np.repeat(np.arange(len(sizes)), sizes)
    arm = np.array(["a", "b", "c"])[rng.integers(0, 3, size=g.size)]
    y = rng.normal(size=len(sizes))[g] + rng.normal(size=g.size) + (arm == "b")
    case = rng.integers(0, 6)
    if case == 0:
        arm = np.where(arm == "c", "a", arm)
    elif case == 1:
        y[rng.integers(0, y.size, 4)] = np.nan
    elif case == 2 and rng.random() < 0.5:
        y[:] = 1.0
    data = {"y": y, "arm": arm, "x": rng.normal(size=g.size), "g": g}
    return pd.DataFrame(data) if condition["frames"] else data


METHODS = {
    "REML": mlm.Method("y ~ arm + x + (1 | g)"),
    "bases": mlm.Method("y ~ arm + scale(x) + (1 | g)", ddf="between-within"),
    "expression": mlm.Method("I(y + 1) ~ arm + (x | g)", method="ML"),
}


@pytest.mark.parametrize("frames", [False, True])
def test_each_says_what_it_says_alone(frames, tmp_path):
    study = mlm.Study({"frames": [frames]}, _trial, METHODS, {"armb": 1.0, "armc": 0.0}, 30, seed=3)
    rows = study.run(tmp_path / "s", progress=False).replicates
    for k in range(30):
        alone = study.rows(0, k)
        own = rows[rows["replicate"] == k].reset_index(drop=True)
        pd.testing.assert_frame_equal(own, alone.reset_index(drop=True), check_exact=True)
    told = rows["error"].dropna()
    assert 0 < (told == "armc is not estimable here").sum() < len(told) < len(rows)


@pytest.mark.filterwarnings("ignore::mlmfast.SingularFitWarning")
@pytest.mark.parametrize("missing", [{"mcar": 0.2}, {"dropout": 0.4, "subject": "g", "time": "t"}])
def test_missing_responses_with_covariates_drawn_anew(missing, tmp_path):
    design = mlm.design(
        "y ~ t + x + (1 | g)", levels={"g": 8, "t": [0, 1, 2, 3]}, covariates={"x": "normal"},
        params={"t": 0.3}, varcorr={"g": 0.5}, sigma=1, missing=missing,
    )  # fmt: skip
    method = mlm.Method("y ~ t + x + (1 | g)")
    study = mlm.Study({"sigma": [1.0]}, design, {"m": method}, ["t", "x"], 12, seed=1)
    rows = study.run(tmp_path / "s", progress=False).replicates
    for k in range(12):
        data = study.data(0, k).dropna()
        fit = mlm.lmm("y ~ t + x + (1 | g)", data)
        own = rows[rows["replicate"] == k].set_index("estimand")
        for name in ("t", "x"):
            assert own.loc[name, "estimate"] == fit.params[name]
            assert own.loc[name, "std_error"] == fit.bse[name]
            assert own.loc[name, "df"] == fit.df[name]


def test_what_differs_in_kind_is_not_joined():
    ints, floats = DataSet({"y": np.array([1, 2])}), DataSet({"y": np.array([1.0, 2.0])})
    texts = DataSet({"y": np.array(["1", "2"])}), DataSet({"y": np.array(["11"])})
    assert in_one_table([ints, floats], ["y"]) is None
    assert in_one_table([ints, ints], ["z"]) is None
    joined = in_one_table(texts, ["y"])
    assert joined.columns["y"].tolist() == ["1", "2", "11"]
    named = in_one_table([DataSet({"set": np.array([1.0])})] * 2, ["set"])
    assert (named.by, named.columns["set_"].tolist()) == ("set_", [0, 1])
    objects = DataSet({"y": np.array(["a", 1], dtype=object)})
    assert in_one_table([objects, objects], ["y"]) is None


def test_an_estimand_that_the_first_data_set_lacks_is_no_typing_error(tmp_path):
    def draw(condition, rng):
        g = np.repeat(np.arange(8), 6)
        arm = np.array(["a", "b", "c"])[rng.integers(0, 3, size=g.size)]
        if len(calls) == 0:
            arm[arm == "c"] = "a"
        calls.append(1)
        return {"y": rng.normal(size=g.size) + rng.normal(size=8)[g], "arm": arm, "g": g}

    calls = []
    method = mlm.Method("y ~ arm + (1 | g)")
    study = mlm.Study({"n": [1]}, draw, {"m": method}, {"armc": 0.0}, 5, seed=1)
    assert study.run(tmp_path / "s", progress=False).replicates["error"].isna().all()
    calls.clear()
    study = mlm.Study({"n": [1]}, draw, {"m": method}, {"armd": 0.0}, 5, seed=1)
    with pytest.raises(mlm.ModelError, match=r"'armd' is no coefficient .*; did you mean"):
        study.run(tmp_path / "t", progress=False)
