"""Levels and states over parts are those of the data together."""

import numpy as np
import pandas as pd
import pytest

import mlmfast as mlm
from mlmfast.data.frame import Frame
from mlmfast.design.columns.expressions import evaluate
from mlmfast.errors import DataError, FormulaError
from mlmfast.mergeable.coding.levels import Levels, given, united
from mlmfast.mergeable.coding.transform_states import ValueCounts, states_of, transforms_in


def levels_of(values):
    return Levels.of(Frame.from_native({"f": values}).factor("f"))


@pytest.mark.parametrize(
    "parts",
    [
        (["b", "d"], ["a", "c"]),
        ([10, 2], [1, 30]),
        ([0.5, 2.0], [1.0]),
        ([True], [False, True]),
        (pd.to_datetime(["2024-03-01"]), pd.to_datetime(["2023-01-05", "2024-03-01"])),
        (pd.Categorical(["x"], ["z", "x", "y"]), pd.Categorical(["z"], ["z", "x", "y"])),
    ],
    ids=["text", "integers", "numbers", "logicals", "dates", "categories"],
)
def test_levels_stand_as_the_data_together_have_them(parts):
    found = united("f", [levels_of(part) for part in parts])
    whole = pd.concat([pd.Series(part) for part in parts], ignore_index=True)
    if isinstance(parts[0], pd.Categorical):
        whole = whole.astype(parts[0].dtype)
    expected = levels_of(whole)
    assert found.labels == expected.labels
    assert found.declared == expected.declared
    again = levels_of(found.column(len(found.labels)))
    assert again.labels == found.labels


def test_parts_of_different_types_are_refused():
    with pytest.raises(DataError, match="'f' holds integer in one part and text in another"):
        united("f", [levels_of([1]), levels_of(["a"])])


def test_levels_that_are_given_are_checked():
    with pytest.raises(DataError, match="give each level of 'f' once"):
        given("f", ["a", "a"], None)
    with pytest.raises(DataError, match="'f' has the level 'c'"):
        given("f", ["a", "b"], levels_of(["c"]))
    assert given("f", [3, 1], levels_of([1])).labels == ("3", "1")


CALLS = (
    "poly(x, 3)", "poly(x, 2, raw=TRUE)", "scale(x)", "center(x)", "scale(x, center=FALSE)",
    "bs(x, df=6)", "bs(x, knots=c(1, 2))", "ns(x, df=4)", "ns(x)", "scale(log(x))",
)  # fmt: skip


@pytest.mark.parametrize("call", CALLS)
def test_states_are_those_of_the_data_together(call):
    rng = np.random.default_rng(3)
    x = np.round(rng.gamma(3.0, size=500), 2) + 0.1
    whole = Frame.from_native({"x": x})
    calls = transforms_in([call])
    argument = np.log(x) if "log" in call else x
    parts = [ValueCounts.of(argument[a:b]) for a, b in ((0, 120), (120, 121), (121, 500))]
    (label,) = calls
    states = states_of(calls, {label: parts[0] + parts[1] + parts[2]})
    found, expected = (
        np.asarray(getattr(value, "values", value))
        for value in (evaluate(call, whole, states), evaluate(call, whole))
    )
    assert np.abs(found - expected).max() < 1e-12 * max(1.0, np.abs(expected).max())


def test_of_many_values_moments_are_kept():
    x = np.arange(100_001.0) + 1e8
    parts = ValueCounts.of(x[:70_000]) + ValueCounts.of(x[70_000:])
    assert parts.values is None
    state = of_call("scale(x)", parts)
    assert state["center"] == x.mean()
    assert abs(state["scale"] / x.std(ddof=1) - 1.0) < 1e-12
    with pytest.raises(FormulaError, match=r"poly\(x, 2\): .*more than 100,000 distinct"):
        of_call("poly(x, 2)", parts)
    with pytest.raises(FormulaError, match=r"use bs\(x, knots"):
        of_call("bs(x, df=7)", parts)


def of_call(call, found):
    """The state of one call."""
    (label,) = calls = transforms_in([call])
    return states_of(calls, {label: found})[label]


def test_transforms_that_parts_cannot_tell_are_refused():
    data = {"x": np.arange(20.0), "y": np.arange(20.0) ** 2}
    with pytest.raises(FormulaError, match="inside another needs all rows at once"):
        mlm.reduce("y ~ poly(scale(x), 2)", [data])
    with pytest.raises(FormulaError, match="cr centres its columns over all rows"):
        mlm.reduce("y ~ cr(x, df=4)", [data])
    with pytest.raises(DataError, match="all are equal"):
        mlm.reduce("y ~ scale(x)", [{"x": np.ones(9), "y": np.arange(9.0)}])
    with pytest.raises(FormulaError, match="knots lie inside the range"):
        mlm.reduce("y ~ bs(x, knots=c(50))", [data])
