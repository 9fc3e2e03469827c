"""Designs read by the text of their formula alone against those read step by step."""

import numpy as np
import pandas as pd
import polars as pl
import pytest
from numpy.testing import assert_equal

import mlmfast as mlm
from mlmfast.design import model_frame
from mlmfast.design.model_frame import build_model_frame
from mlmfast.design.plain_design import plain_formula
from mlmfast.errors import MlmError

FORMULAS = [
    "y ~ x + (x | g)",
    "y ~ 1 + (1 | g)",
    "y ~ 0 + x + (0 + x | g)",
    "y ~ x * z - x + (x + z | g)",
    "y ~ `a b`:x + (1 | k)",
    "y ~ x + (x:z | k)",
    "y ~ y2 + x + z + x:z:y2 + (1 | day)",
]


def data():
    rng = np.random.default_rng(5)
    n = 40
    columns = {name: rng.normal(size=n) for name in ("y", "the y", "z", "y2", "a b")}
    columns["x"] = rng.integers(0, 9, n)
    columns["g"] = rng.permutation(np.repeat(list("dbca"), n // 4))
    columns["k"] = rng.permutation(np.repeat([3, 1, 20, 7], n // 4))
    columns["day"] = pd.Timestamp("2024-01-01") + pd.to_timedelta(columns["k"], "D")
    frame = pd.DataFrame(columns)
    frame.loc[[3, 17], ["y", "z"]] = np.nan
    frame.loc[5, "g"] = None
    return frame


def parts(frame):
    design = frame.design
    columns = [*design.x, *(column for term in design.random for column in term.columns)]
    factor, term = design.factors[0], design.random[0]
    return {
        "columns": [design.y, *columns],
        "kinds": [column is None for column in columns],
        "names": (design.x_names, design.response, term.names, term.text, factor.name),
        "levels": (factor.labels, factor.columns, factor.codes, factor.relationship),
        "structure": term.structure,
        "specs": [spec.to_dict() for spec in (frame.fixed, *frame.random)],
        "terms": (frame.terms, frame.term_of_column, frame.variables, frame.formula),
        "rows": (design.n_dropped, frame.used, frame.weights, frame.offset_given),
        "others": (design.weights, design.offset, design.residual, design.absorbed),
    }


@pytest.mark.parametrize("library", [pd.DataFrame, pl.from_pandas, dict])
@pytest.mark.parametrize("formula", FORMULAS)
def test_both_ways_to_a_design_agree(formula, library, monkeypatch):
    assert plain_formula(formula) is not None
    given = library(data())
    found = parts(build_model_frame(formula, given))
    monkeypatch.setattr(model_frame, "plain_formula", lambda text: None)
    assert_equal(found, parts(build_model_frame(formula, given)))


REFUSED = [
    ("y ~ x + (1 | one)", {"one": "a"}),
    ("y ~ x + (1 | own)", {"own": [f"r{k}" for k in range(40)]}),
    ("y ~ x + (x | g)", {"x": 1.0}),
    ("y ~ x + (x | g)", {"x": [np.inf] + [1.0, 2.0, 3.0] * 13}),
    ("y ~ x + (x | g)", {"y": [-np.inf] + [1.0, 2.0, 3.0] * 13}),
    ("y ~ x + (x | g)", {"y": "text"}),
    ("y ~ x + (x | g)", {"y": pd.Timestamp("2024-01-01")}),
    ("y ~ x + (z | g)", {"z": pd.Timestamp("2024-01-01")}),
]


@pytest.mark.parametrize(("formula", "columns"), REFUSED)
def test_both_ways_refuse_in_the_same_words(formula, columns, monkeypatch):
    given = data().assign(**columns)
    with pytest.raises(MlmError) as plain:
        build_model_frame(formula, given)
    monkeypatch.setattr(model_frame, "plain_formula", lambda text: None)
    with pytest.raises(MlmError) as step_by_step:
        build_model_frame(formula, given)
    assert (type(plain.value), str(plain.value)) == (
        type(step_by_step.value),
        str(step_by_step.value),
    )


@pytest.mark.parametrize(
    "formula",
    [
        "log(y) ~ x + (1 | g)",
        "`the y` ~ x + (1 | g)",
        "y ~ log(x) + (1 | g)",
        "y ~ x + (poly(x, 2) | g)",
        "y ~ x + (x || g)",
        "y ~ x + (1 | g/k)",
        "y ~ x + (1 | g:k)",
        "y ~ x + csh(0 + x | g)",
        "y ~ x + offset(z) + (1 | g)",
        "y ~ s(x) + (1 | g)",
        "y ~ x + us(1 | g, by=k)",
        "y ~ x + (1 | mm(g, k))",
        "y ~ x",
    ],
)
def test_other_formulas_are_read_step_by_step(formula):
    assert plain_formula(formula) is None


def test_factors_among_the_variables_are_coded():
    names = mlm.LMM("y ~ g + x + (1 | k)", data()).design.x_names
    assert names == ("(Intercept)", "gb", "gc", "gd", "x")
