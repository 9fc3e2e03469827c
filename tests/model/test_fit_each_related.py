"""Many data sets whose levels are related by one pedigree, precision or matrix."""

import pickle

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_array_equal

import mlmfast as mlm
from mlmfast.errors import DataError, ModelError

from ..general_models import animals
from .test_fit_each import assert_is_fit

pytestmark = pytest.mark.filterwarnings("ignore::mlmfast.SingularFitWarning")
FORMULA = "y ~ x + (1 | animal) + (1 | herd)"


def own_pedigree():
    """That of `general_models.animals`."""
    rng = np.random.default_rng(1)
    parents = np.full((40, 2), -1)
    for k in range(8, 40):
        parents[k] = rng.choice(k, 2, replace=False)
    names = np.array([*(f"a{k:02d}" for k in range(40)), None], dtype=object)
    sires, dams = names[parents].T
    return mlm.pedigree({"id": names[:-1], "sire": sires, "dam": dams})


@pytest.fixture(scope="module")
def farms():
    """Three farms, each with some of the animals."""
    parts = []
    for k in range(3):
        data, _ = animals(seed=k + 5)
        kept = np.random.default_rng(k).choice(data["animal"].unique(), 20 + 4 * k, replace=False)
        parts.append(data[data["animal"].isin(kept)].assign(farm=f"f{k}"))
    return pd.concat(parts, ignore_index=True)


KNOWN = {
    "pedigree": own_pedigree,
    "precision": lambda: mlm.precision(own_pedigree().labels, own_pedigree().inverse),
    "matrix": lambda: own_pedigree().relationship(),
}


@pytest.mark.parametrize("kind", KNOWN)
@pytest.mark.parametrize("method", ["REML", "ML"])
def test_each_row_is_the_fit_of_its_data_by_that_matrix(farms, kind, method):
    cov = {"animal": KNOWN[kind]()}
    batch = mlm.fit_each(FORMULA, farms, by="farm", method=method, cov=cov)
    tables = [own for _, own in farms.groupby("farm")]
    of_tables = mlm.fit_each(FORMULA, tables, method=method, cov=cov)
    of_outcomes = mlm.fit_each("~ x + (1 | animal) + (1 | herd)", farms, by="farm",
                               method=method, cov=cov, responses=["y", "w"])  # fmt: skip
    unrelated = mlm.fit_each(FORMULA, farms, by="farm", method=method)
    for k, own in enumerate(tables):
        fit = mlm.lmm(FORMULA, own, method=method, cov=cov)
        assert_is_fit(batch, k, fit)
        assert_is_fit(of_tables, k, fit)
        assert_is_fit(of_outcomes, k, fit)
        # Levels that the data set lacks are predicted, as alone.
        assert len(batch[k].ranef["animal"]) == 40
        pd.testing.assert_frame_equal(batch[k].ranef["animal"], fit.ranef["animal"])
        assert unrelated.llf[k] != fit.llf
    again = pickle.loads(pickle.dumps(batch))
    assert_array_equal(again[1].params, batch[1].params)


def test_arrays_and_methods_of_degrees_of_freedom(farms):
    own = farms[farms["farm"] == "f1"]
    X = np.column_stack([np.ones(len(own)), own["x"]])
    Y = np.stack([own["y"], own["y"] + own["w"], own["x"] + own["w"]])
    Y[1, 3] = np.nan
    cov = {"animal": own_pedigree()}
    batch = mlm.fit_each(y=Y, X=X, groups={"animal": own["animal"]}, cov=cov, ddf="kenward-roger")
    for k, y in enumerate(Y):
        there = ~np.isnan(y)
        groups = {"animal": own["animal"][there]}
        model = mlm.LMM.from_arrays(y[there], X[there], groups=groups, cov=cov)
        assert_is_fit(batch, k, model.fit(ddf="kenward-roger"))


def test_a_data_set_with_an_animal_that_is_not_known_says_so(farms):
    data = farms.assign(animal=farms["animal"].where(farms.index > 2, "zz"))
    batch = mlm.fit_each(FORMULA, data, by="farm", cov={"animal": own_pedigree()})
    assert "lacks 1 level(s) of the data: 'zz'" in batch.status[0]
    assert batch.status[1:].tolist() == ["singular", "converged"]


A = own_pedigree().relationship()
REFUSED = {
    "no labels": ({"animal": A.to_numpy()}, DataError, "no labels, and data sets may have diff"),
    "no such factor": ({"sire": A}, ModelError, "cov names 'sire', which is no grouping factor"),
    "no dict": (A, ModelError, "cov is a DataFrame; it must be a dict"),
    "indefinite": ({"animal": A - 2.0}, ModelError, "not positive definite"),
    "asymmetric": ({"animal": (A.index, np.tril(A))}, ModelError, "is not symmetric"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_wrong_for_all_is_refused_at_once(farms, name):
    cov, kind, message = REFUSED[name]
    with pytest.raises(kind, match=message):
        mlm.fit_each(FORMULA, farms, by="farm", cov=cov)
    Y, groups = farms[["y", "w"]].to_numpy().T, {"animal": farms["animal"]}
    with pytest.raises(kind, match=message):
        mlm.fit_each(y=Y, X=np.ones((len(farms), 1)), groups=groups, cov=cov)
