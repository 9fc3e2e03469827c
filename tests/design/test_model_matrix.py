import json

import formulaic
import numpy as np
import pandas as pd
import polars as pl
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from mlmfast.data.frame import Frame
from mlmfast.design.columns.build_matrix import build_model_matrix
from mlmfast.design.columns.contrasts import contrast_coding
from mlmfast.design.columns.model_matrix import ModelMatrixSpec
from mlmfast.errors import DataError, FormulaError
from mlmfast.formula.terms import term_list

COLUMNS = {
    "x": [1.0, 2.0, 3.0, 4.0, 6.0, 5.0],
    "z": [0.5, 2.5, 1.5, 3.5, 0.0, 1.0],
    "f": ["a", "b", "c", "a", "b", "c"],
    "g": ["u", "v", "u", "v", "v", "u"],
    "ok": [True, False, True, True, False, False],
    "k": [1, 2, 2, 1, 3, 3],
    "my var": [1.0, 0.0, 2.0, 1.0, 3.0, 0.0],
    "größe": ["s", "m", "s", "m", "s", "m"],
    "log": [1.0, 2.0, 3.0, 4.0, 5.0, 6.0],
}
FRAME = Frame.from_native(COLUMNS)


def names(rhs, contrasts=None):
    return list(build_model_matrix(rhs, FRAME, contrasts).names)


@pytest.mark.parametrize(
    ("rhs", "expected"),
    [
        ("1", ["(Intercept)"]),
        ("0", []),
        ("x - 1", ["x"]),
        ("x + 0", ["x"]),
        ("-1 + x", ["x"]),
        ("0 + x + 1", ["(Intercept)", "x"]),
        ("f", ["(Intercept)", "fb", "fc"]),
        ("0 + f", ["fa", "fb", "fc"]),
        ("0 + f + g", ["fa", "fb", "fc", "gv"]),
        ("0 + x + f", ["x", "fa", "fb", "fc"]),
        ("x * f", ["(Intercept)", "x", "fb", "fc", "x:fb", "x:fc"]),
        ("f * x", ["(Intercept)", "fb", "fc", "x", "fb:x", "fc:x"]),
        ("f * g", ["(Intercept)", "fb", "fc", "gv", "fb:gv", "fc:gv"]),
        ("0 + f * g", ["fa", "fb", "fc", "gv", "fb:gv", "fc:gv"]),
        ("0 + f + f:x", ["fa", "fb", "fc", "fa:x", "fb:x", "fc:x"]),
        ("f:x", ["(Intercept)", "fa:x", "fb:x", "fc:x"]),
        ("f + f:g", ["(Intercept)", "fb", "fc", "fa:gv", "fb:gv", "fc:gv"]),
        (
            "f:g",
            ["(Intercept)", "fa:gu", "fb:gu", "fc:gu", "fa:gv", "fb:gv", "fc:gv"],
        ),
        ("f / x", ["(Intercept)", "fb", "fc", "fa:x", "fb:x", "fc:x"]),
        ("g / f", ["(Intercept)", "gv", "gu:fb", "gv:fb", "gu:fc", "gv:fc"]),
        ("x + f:x", ["(Intercept)", "x", "x:fb", "x:fc"]),
        ("g * x + g * f - x", ["(Intercept)", "gv", "fb", "fc", "gu:x", "gv:x", "gv:fb", "gv:fc"]),
        ("ok", ["(Intercept)", "okTRUE"]),
        ("0 + ok", ["okFALSE", "okTRUE"]),
        ("I(x > 2)", ["(Intercept)", "I(x > 2)TRUE"]),
        ("x>2", ["(Intercept)", "x > 2TRUE"]),
        ("I( x^2 )", ["(Intercept)", "I(x^2)"]),
        ("I(x**2)", ["(Intercept)", "I(x^2)"]),
        ("x^2", ["(Intercept)", "x"]),
        ("poly(x,2)", ["(Intercept)", "poly(x, 2)1", "poly(x, 2)2"]),
        ("poly(x, 1)", ["(Intercept)", "poly(x, 1)"]),
        ("g:poly(x, 2)", ["(Intercept)"] + [f"g{v}:poly(x, 2){d}" for d in (1, 2) for v in "uv"]),
        ("scale(x) + log(x)", ["(Intercept)", "scale(x)", "log(x)"]),
        ("factor(k)", ["(Intercept)", "factor(k)2", "factor(k)3"]),
        ("C(f, contr.sum)", ["(Intercept)", "C(f, contr.sum)1", "C(f, contr.sum)2"]),
        (
            "C(f, Treatment('b'))",
            ["(Intercept)", 'C(f, Treatment("b"))a', 'C(f, Treatment("b"))c'],
        ),
        ("ordered(f)", ["(Intercept)", "ordered(f).L", "ordered(f).Q"]),
        ("`my var` + `größe`", ["(Intercept)", "`my var`", "größes"]),
        ("log + log(log)", ["(Intercept)", "log", "log(log)"]),
        ("f %in% g", ["(Intercept)"] + [f"f{a}:g{b}" for b in "uv" for a in "abc"]),
        ("x:z:g", ["(Intercept)", "x:z:gu", "x:z:gv"]),
    ],
)
def test_columns_have_the_names_and_the_order_of_r(rhs, expected):
    assert names(rhs) == expected


def test_columns_have_the_values_of_the_products():
    matrix = build_model_matrix("f * g", FRAME)
    column = dict(zip(matrix.names, matrix.columns, strict=True))
    f, g = np.array(COLUMNS["f"]), np.array(COLUMNS["g"])
    assert_array_equal(column["fb:gv"], (f == "b") & (g == "v"))
    assert_array_equal(column["(Intercept)"], np.ones(6))
    assert matrix.terms == ("(Intercept)", "f", "g", "f:g")
    assert matrix.term_of_column == (0, 1, 1, 2, 3, 3)


def test_terms_without_an_intercept_are_counted_from_zero():
    matrix = build_model_matrix("0 + f + x", FRAME)
    assert matrix.terms == ("f", "x")
    assert matrix.term_of_column == (0, 0, 0, 1)


def test_a_long_plain_column_is_the_memory_of_the_frame():
    x = np.arange(20_000.0)
    for native in (pd.DataFrame({"x": x}), pl.DataFrame({"x": x})):
        frame = Frame.from_native(native)
        matrix = build_model_matrix("x", frame)
        assert np.shares_memory(matrix.columns[1], frame.numeric("x"))
        assert np.shares_memory(matrix.columns[1], native["x"].to_numpy())


def test_every_column_is_contiguous_float64():
    matrix = build_model_matrix("f * poly(x, 2) + ok + C(k, contr.sum) + bs(x, 4):g", FRAME)
    assert all(column.flags.c_contiguous for column in matrix.columns)
    assert {column.dtype for column in matrix.columns} == {np.dtype(np.float64)}
    assert {column.shape for column in matrix.columns} == {(6,)}


def test_contrast_matrices_are_those_of_r():
    four = ("a", "b", "c", "d")
    assert_array_equal(
        contrast_coding("contr.sum", four[:3], "f").matrix, [[1, 0], [0, 1], [-1, -1]]
    )
    helmert = contrast_coding("contr.helmert", four, "f").matrix
    assert_array_equal(helmert, [[-1, -1, -1], [1, -1, -1], [0, 2, -1], [0, 0, 3]])
    # R: contr.poly(4)
    linear = [-0.670820393249937, -0.223606797749979, 0.223606797749979, 0.670820393249937]
    cubic = [-0.223606797749979, 0.670820393249937, -0.670820393249937, 0.223606797749979]
    poly = contrast_coding("contr.poly", four, "f")
    assert_allclose(poly.matrix.T, [linear, [0.5, -0.5, -0.5, 0.5], cubic], atol=1e-14)
    assert poly.suffixes == (".L", ".Q", ".C")
    assert contrast_coding("contr.poly", "abcde", "f").suffixes[3] == "^4"
    sas = contrast_coding("contr.SAS", four, "f")
    assert sas.suffixes == ("a", "b", "c")
    assert_array_equal(sas.matrix[3], 0)
    # R: MASS::contr.sdif(3)
    differences = contrast_coding("contr.sdif", four[:3], "f")
    assert_allclose(differences.matrix * 3, [[-2, -1], [1, -1], [1, 2]], atol=1e-15)
    assert differences.suffixes == ("b-a", "c-b")


@pytest.mark.parametrize(
    ("contrasts", "expected"),
    [
        ({"f": "contr.treatment"}, ["fb", "fc"]),
        ({"f": "contr.sum"}, ["f1", "f2"]),
        ({"f": "contr.helmert"}, ["f1", "f2"]),
        ({"f": "contr.poly"}, ["f.L", "f.Q"]),
        ({"f": "contr.SAS"}, ["fa", "fb"]),
        ({"f": "contr.treatment(base = 2)"}, ["fa", "fc"]),
        ({"f": "Treatment('c')"}, ["fa", "fb"]),
        ({"f": "Sum"}, ["f1", "f2"]),
        ({"f": np.array([[1, 0], [0, 1], [-1, -1]])}, ["f1", "f2"]),
        ({"f": [[1], [0], [-1]]}, ["f1"]),
        (None, ["fb", "fc"]),
    ],
)
def test_contrasts_are_chosen_by_factor(contrasts, expected):
    assert names("f", contrasts)[1:] == expected


def test_contrasts_reach_interactions_and_spare_indicators():
    contrasts = {"f": "contr.sum", "g": "contr.sum"}
    assert names("f * g", contrasts)[1:] == ["f1", "f2", "g1", "f1:g1", "f2:g1"]
    assert names("0 + f", {"f": "contr.sum"}) == ["fa", "fb", "fc"]
    assert names("factor(k)", {"k": "contr.sum"})[1:] == ["factor(k)1", "factor(k)2"]
    assert names("factor(k)", {"factor(k)": "contr.sum"})[1:] == ["factor(k)1", "factor(k)2"]


@pytest.mark.parametrize(
    ("rhs", "contrasts", "message"),
    [
        ("f", {"f": "contr.summ"}, "unknown contrast 'contr.summ'; did you mean contr.sum"),
        ("f", {"f": "os.system"}, "unknown contrast"),
        ("f", {"g": "contr.sum"}, "'g', which is not a factor of the model; its factors are f"),
        ("x", {"x": "contr.sum"}, "not a factor of the model; its factors are none"),
        ("f", {"f": np.ones((2, 2))}, r"shape \(2, 2\); it needs a row for each of the 3 levels"),
        ("f", {"f": np.full((3, 2), np.nan)}, "not finite"),
        ("f", {"f": [["a"], ["b"], ["c"]]}, "neither a name nor a matrix"),
        ("C(f, Treatment('z'))", None, "'z' is not a level of .* a, b, c"),
        ("C(f, contr.treatment(base = 4))", None, "4 is not a level"),
        ("C(f, contr.sum(base = 1))", None, "no meaning here"),
        ("C(f, 'contr.sum')", None, "is not a contrast"),
        ("C(f, Treatment(x))", None, "not a reference level"),
        ("1:x", None, "needs a variable on both sides"),
        ("x + (1 | f)", None, "cannot stand here"),
        ("", None, "nothing is written"),
        ("offset(x)", None, "may only be added"),
    ],
)
def test_a_side_of_a_formula_that_cannot_be_built_says_why(rhs, contrasts, message):
    with pytest.raises(FormulaError, match=message):
        build_model_matrix(rhs, FRAME, contrasts)


def test_a_factor_of_one_level_is_refused_where_it_needs_contrasts():
    frame = Frame.from_native({"f": ["a", "a"], "x": [1.0, 2.0]})
    with pytest.raises(DataError, match="'f' has one level, 'a'; contrasts need at least two"):
        build_model_matrix("f", frame)
    assert build_model_matrix("0 + f", frame).names == ("fa",)


RICH = "f * poly(x, 2) + ok + C(k, contr.helmert) + scale(z) + bs(x, 4) + ns(z, 2) + cr(x, 3)"


def test_a_saved_spec_builds_the_same_matrix():
    matrix = build_model_matrix(RICH, FRAME, {"f": "contr.sum"})
    spec = ModelMatrixSpec.from_dict(json.loads(json.dumps(matrix.spec.to_dict())))
    rebuilt = spec.build(FRAME)
    assert rebuilt.names == matrix.names
    assert rebuilt.term_of_column == matrix.term_of_column
    for new, old in zip(rebuilt.columns, matrix.columns, strict=True):
        assert_array_equal(new, old)


def test_new_rows_use_the_levels_and_states_of_the_fit():
    matrix = build_model_matrix(RICH, FRAME)
    rows = [4, 1]
    new = Frame.from_native({name: [values[r] for r in rows] for name, values in COLUMNS.items()})
    rebuilt = matrix.spec.build(new)
    assert rebuilt.names == matrix.names
    for fresh, old in zip(rebuilt.columns, matrix.columns, strict=True):
        assert_allclose(fresh, old[rows], rtol=1e-12, atol=1e-14)


def test_new_rows_may_name_levels_in_another_type():
    spec = build_model_matrix("factor(k) + ok + g", FRAME).spec
    grid = {"k": ["2", "3"], "ok": ["TRUE", "FALSE"], "g": pd.Categorical(["v", "u"])}
    columns = spec.build(Frame.from_native(grid)).columns
    assert_array_equal(np.array(columns), [[1, 1], [1, 0], [0, 1], [1, 0], [1, 0]])


def test_a_level_that_the_fit_did_not_have_is_refused():
    spec = build_model_matrix("f", FRAME).spec
    with pytest.raises(DataError, match=r"'f' has the level 'z'.* known are a, b, c"):
        spec.build(Frame.from_native({"f": ["a", "z"]}))


def test_a_variable_of_another_kind_is_refused():
    spec = build_model_matrix("x + poly(z, 2)", FRAME).spec
    with pytest.raises(DataError, match="numeric in the data of the fit"):
        spec.build(Frame.from_native({"x": ["a"], "z": [1.0]}))


def test_a_missing_level_gives_missing_columns():
    for contrast in ("contr.treatment", "contr.sum"):
        spec = build_model_matrix("f", FRAME, {"f": contrast}).spec
        columns = spec.build(Frame.from_native({"f": ["b", None]})).columns
        assert_array_equal(np.isnan(columns[1]), [False, True])


def test_the_spec_knows_its_variables_factors_and_levels():
    spec = build_model_matrix("f * log(x) + C(k, contr.sum)", FRAME).spec
    assert spec.variables == ("f", "x", "k")
    assert spec.factors == {
        "f": ("f",),
        "log(x)": ("log(x)",),
        "C(k, contr.sum)": ("C(k, contr.sum)",),
        "f:log(x)": ("f", "log(x)"),
    }
    assert spec.levels == {"f": ("a", "b", "c"), "C(k, contr.sum)": ("1", "2", "3")}


def test_building_again_does_not_change_the_spec():
    spec = build_model_matrix("poly(x, 2)", FRAME).spec
    before = json.dumps(spec.to_dict())
    spec.build(Frame.from_native({"x": [9.0, 7.0]}))
    assert json.dumps(spec.to_dict()) == before


def test_something_else_is_no_saved_spec():
    with pytest.raises(DataError, match="not a saved model matrix"):
        ModelMatrixSpec.from_dict({"rhs": 1, "coded": {}, "states": {}})


@pytest.mark.parametrize(
    "rhs",
    [
        "a * b * c",
        "(a + b + c)^2",
        "(a + b + c)^3 - a:b",
        "a / b / c",
        "(a + b) / c",
        "a * b + c - a",
        "a:b + b:a + c",
        "a + b - 1",
        "0 + a:b:c + b",
        "c + (a + b)^2 - c",
        "a * b - b + c:a",
    ],
)
def test_terms_are_those_of_formulaic(rhs):
    ours = term_list(rhs)
    theirs = [str(term) for term in formulaic.Formula(rhs)]
    assert ours.intercept == ("1" in theirs)
    expected = [frozenset(term.split(":")) for term in theirs if term != "1"]
    assert [frozenset(label.split(":")) for label in ours.labels] == expected


@pytest.mark.parametrize("rhs", ["f * x", "0 + f + f:x", "f * g - f:g", "0 + f * g", "x:f + x"])
def test_spaces_spanned_are_those_of_formulaic(rhs):
    rng = np.random.default_rng(5)
    data = pd.DataFrame(
        {
            "x": rng.normal(size=40),
            "f": rng.choice(list("abc"), 40),
            "g": rng.choice(["u", "v"], 40),
        }
    )
    ours = np.column_stack(build_model_matrix(rhs, Frame.from_native(data)).columns)
    theirs = formulaic.model_matrix(rhs, data).to_numpy()
    both = np.column_stack([ours, theirs])
    rank = np.linalg.matrix_rank
    assert rank(ours) == rank(theirs) == rank(both) == ours.shape[1]
