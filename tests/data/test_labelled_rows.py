"""Pandas objects given beside the data, or instead of a frame, are matched by their labels."""

import numpy as np
import pandas as pd
import pytest

import mlmfast as mlm
from mlmfast.errors import DataError, ModelError

F = "Reaction ~ Days + (Days | Subject)"


@pytest.fixture(scope="module")
def sleep():
    data = mlm.load_sleepstudy()
    return data.set_axis([f"r{i}" for i in range(len(data))])


@pytest.fixture(scope="module")
def w(sleep):
    return pd.Series(np.arange(len(sleep)) + 1.0, index=sleep.index)


@pytest.mark.parametrize("role", ["weights", "offset"])
def test_series_go_by_label(role, sleep, w):
    by_array = mlm.lmm(F, sleep, **{role: w.to_numpy()})
    for given in (w, w.iloc[::-1], w.sample(frac=1, random_state=1)):
        assert mlm.lmm(F, sleep, **{role: given}).llf == by_array.llf
    assert mlm.lmm(F, sleep.iloc[::-1], **{role: w}).llf == pytest.approx(by_array.llf, abs=1e-9)


@pytest.mark.parametrize("role", ["weights", "offset"])
def test_other_labels_are_refused(role, sleep, w):
    with pytest.raises(DataError, match=f"{role} and the data have different row labels.*'r0'"):
        mlm.lmm(F, sleep, **{role: w.reset_index(drop=True)})
    twice = w.rename({"r1": "r0"})
    with pytest.raises(DataError, match="different row labels"):
        mlm.lmm(F, sleep, **{role: twice})


def test_repeated_labels_in_the_same_order_are_the_same_rows(sleep, w):
    data, own = sleep.rename({"r1": "r0"}), w.rename({"r1": "r0"})
    assert mlm.lmm(F, data, weights=own).llf == mlm.lmm(F, sleep, weights=w).llf
    with pytest.raises(DataError, match="labels that repeat in another order"):
        mlm.lmm(F, data, weights=own.iloc[::-1])


def test_rows_dropped_for_missing_values_keep_their_weights(sleep, w):
    data = sleep.copy()
    data.loc["r7", "Reaction"] = np.nan
    fit = mlm.lmm(F, data, weights=w.iloc[::-1])
    assert fit.llf == mlm.lmm(F, sleep.drop("r7"), weights=w.drop("r7")).llf


def test_a_dict_of_series(sleep):
    target = mlm.lmm(F, sleep)
    columns = {name: sleep[name] for name in ("Reaction", "Days", "Subject")}
    mixed = columns | {"Days": sleep.Days.sample(frac=1, random_state=0)}
    assert mlm.lmm(F, mixed).llf == target.llf
    assert mlm.lmm(F, columns | {"Days": sleep.Days.to_numpy()}).llf == target.llf
    with pytest.raises(DataError, match="column 'Days' and the data have different row labels"):
        mlm.lmm(F, columns | {"Days": sleep.Days.reset_index(drop=True)})


def test_arrays_of_a_model_without_formula(sleep):
    X = pd.DataFrame({"(Intercept)": 1.0, "Days": sleep.Days})
    target = mlm.LMM.from_arrays(sleep.Reaction, X, groups=sleep.Subject).fit().llf
    mixed = X.sample(frac=1, random_state=2)
    found = mlm.LMM.from_arrays(sleep.Reaction, mixed, groups=sleep.Subject.iloc[::-1]).fit().llf
    assert found == target
    with pytest.raises(DataError, match="groups and the data have different row labels"):
        mlm.LMM.from_arrays(sleep.Reaction, X, groups=sleep.Subject.reset_index(drop=True))


def test_clusters_of_robust_errors(sleep):
    fit = mlm.lmm(F, sleep)
    own = fit.robust(cluster=sleep.Subject.iloc[::-1])
    assert str(own) == str(fit.robust(cluster=sleep.Subject))


@pytest.mark.parametrize("word", ["marginal", "no", ["Subject"], None, 1])
def test_ranef_of_predict_is_true_or_false(word, sleep):
    with pytest.raises(ModelError, match=r"use True .* or False"):
        mlm.lmm(F, sleep).predict(ranef=word)
