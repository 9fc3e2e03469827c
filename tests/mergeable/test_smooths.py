"""Smooth terms over parts of the rows: the same basis, and the same fit, as of all rows at once."""

import numpy as np
import pandas as pd
import pytest

import mlmfast as mlm
from mlmfast.errors import FormulaError, ModelError

from .data import relative

N, N_GROUPS = 600, 25


@pytest.fixture(scope="module")
def data():
    rng = np.random.default_rng(3)
    g, x = rng.integers(0, N_GROUPS, N), np.round(rng.uniform(0, 10, N), 2)
    data = pd.DataFrame({"x": x, "z": rng.normal(size=N), "f": rng.choice(["a", "b"], N)})
    data["g"] = [f"g{k}" for k in g]
    data["y"] = np.sin(x) + (data.f == "b") * np.cos(x) + 0.3 * data.z + rng.normal(size=N)
    data["y"] += 0.5 * rng.normal(size=N_GROUPS)[g]
    return data


FORMULAS = ["y ~ z + s(x) + (1 | g)", "y ~ f + s(x, by=f, k=6) + (1 | g)", "y ~ s(x, k=7)"]


@pytest.mark.parametrize("formula", FORMULAS)
def test_a_fit_of_parts_is_that_of_all_rows(data, formula, tmp_path):
    # In the order of x: no part has the range of all rows, nor their mean.
    ordered = data.sort_values("x", kind="stable")
    parts = [ordered[:100], ordered[100:450], ordered[450:]]
    whole, found = mlm.lmm(formula, ordered), mlm.reduce(formula, parts)
    fit = found.fit()
    assert found.n_rows < N
    assert abs(fit.llf - whole.llf) < 1e-9
    assert relative(fit.params, whole.params, 1e-3) < 1e-9
    assert relative(fit.bse, whole.bse) < 1e-9
    assert relative(fit.df, whole.df) < 1e-6
    new = data[:7]
    assert relative(fit.predict(new), whole.predict(new), 1e-3) < 1e-9
    found.save(tmp_path / "smooth.arrow")
    assert mlm.load_reduction(tmp_path / "smooth.arrow").fit().llf == fit.llf


def test_reductions_of_parts_with_one_basis_are_merged(data):
    first = mlm.reduce(FORMULAS[0], [data])
    parts = [mlm.reduce(FORMULAS[0], [own], plan=first.plan) for own in (data[:200], data[200:])]
    fit = mlm.Reduction.merge(parts).fit()
    assert abs(fit.llf - mlm.lmm(FORMULAS[0], data).llf) < 1e-9


def test_what_no_parts_tell_is_refused(data):
    with pytest.raises(FormulaError, match="a curve times numbers"):
        mlm.reduce("y ~ s(x, by=z) + (1 | g)", [data])
    with pytest.raises(ModelError, match=r"s\(\) is made from all rows"):
        mlm.reduce("y ~ s(x)", [data], residual="us(f | g)")
    few = data.assign(x=np.round(data.x / 5))
    with pytest.raises(mlm.DataError, match=r"s\(x\).*distinct values"):
        mlm.reduce("y ~ s(x)", [few])
