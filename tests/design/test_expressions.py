import json

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_allclose, assert_array_equal

import mlmfast as mlm
from mlmfast.data.frame import Frame
from mlmfast.design.columns.expressions import evaluate, evaluate_numeric
from mlmfast.design.columns.values import CodedFactor
from mlmfast.errors import DataError, FormulaError
from mlmfast.formula.deparse import deparse
from mlmfast.formula.functions import variables_of
from mlmfast.formula.syntax import parse

X = np.array([1.0, 2.0, 4.0, 8.0])
FRAME = Frame.from_native(
    {"x": X, "f": ["a", "b", "a", "c"], "b": [True, False, True, True], "log": X, "a b": X + 1}
)


@pytest.mark.parametrize(
    ("expression", "expected"),
    [
        ("x", X),
        ("I(x^2)", X**2),
        ("I(x**2)", X**2),
        ("x + 1", X + 1),
        ("-x^2", -(X**2)),
        ("2^-1 * x", X / 2),
        ("2^3^0 * x", 2 * X),
        ("(x - 1) / 2", (X - 1) / 2),
        ("x %% 3", X % 3),
        ("x % 3", X % 3),
        ("x %/% 3", X // 3),
        ("x // 3", X // 3),
        ("log(x)", np.log(X)),
        ("np.log(x)", np.log(X)),
        ("log(log)", np.log(X)),
        ("log + 1", X + 1),
        ("log2(x) + log10(x) + log1p(x)", np.log2(X) + np.log10(X) + np.log1p(X)),
        ("exp(-x) + expm1(-x)", np.exp(-X) + np.expm1(-X)),
        ("sqrt(abs(-x))", np.sqrt(X)),
        ("sin(x) + cos(x) + tan(x) + tanh(x)", np.sin(X) + np.cos(X) + np.tan(X) + np.tanh(X)),
        ("floor(x / 3) + ceiling(x / 3) + ceil(x / 3)", X // 3 + 2 * np.ceil(X / 3)),
        ("round(x / 3, 1) + sign(x)", np.round(X / 3, 1) + 1),
        ("`a b` * 2", 2 * (X + 1)),
        ("b + 1", [2.0, 1.0, 2.0, 2.0]),
        ("I(x > 2) * 1", [0.0, 0.0, 1.0, 1.0]),
        ("center(x)", X - X.mean()),
        ("scale(x)", (X - X.mean()) / X.std(ddof=1)),
        ("standardize(x)", (X - X.mean()) / X.std(ddof=1)),
        ("scale(x, scale = FALSE)", X - X.mean()),
        ("log(scale(x) + 2)", np.log((X - X.mean()) / X.std(ddof=1) + 2)),
    ],
)
def test_numbers(expression, expected):
    assert_allclose(evaluate(expression, FRAME), expected, rtol=1e-14, atol=1e-15)


@pytest.mark.parametrize(
    ("expression", "expected"),
    [
        ("x > 2", [0, 0, 1, 1]),
        ("x >= 2 & f == 'a'", [0, 0, 1, 0]),
        ("f != 'a' | x == 1", [1, 1, 0, 1]),
        ("!b", [0, 1, 0, 0]),
        ("I(b & x < 5)", [1, 0, 1, 0]),
        ("'b' == f", [0, 1, 0, 0]),
    ],
)
def test_logicals_have_the_levels_false_and_true(expression, expected):
    value = evaluate(expression, FRAME)
    assert value.factor.levels == ("FALSE", "TRUE")
    assert_array_equal(value.factor.codes, expected)


@pytest.mark.parametrize(
    ("expression", "levels"),
    [
        ("f", ("a", "b", "c")),
        ("factor(x)", ("1", "2", "4", "8")),
        ("as.factor(x)", ("1", "2", "4", "8")),
        ("factor(f, levels = c('c', 'b', 'a'))", ("c", "b", "a")),
        ("factor(x, levels = c(8, 4, 2, 1))", ("8", "4", "2", "1")),
        ("relevel(f, ref = 'b')", ("b", "a", "c")),
        ("relevel(factor(x), 4)", ("4", "1", "2", "8")),
        ("factor(x > 2)", ("FALSE", "TRUE")),
        ("factor(x + 0.5)", ("1.5", "2.5", "4.5", "8.5")),
        ("C(x)", ("1", "2", "4", "8")),
        ("b", ("FALSE", "TRUE")),
    ],
)
def test_factors(expression, levels):
    value = evaluate(expression, FRAME)
    assert isinstance(value, CodedFactor)
    assert value.factor.levels == levels
    assert_array_equal(
        np.array(levels)[value.factor.codes],
        np.array(value.factor.levels)[value.factor.codes],
    )


def test_reordered_levels_keep_each_row_in_its_level():
    factor = evaluate("relevel(f, ref = 'b')", FRAME).factor
    assert [factor.levels[code] for code in factor.codes] == ["a", "b", "a", "c"]
    assert list(factor.values) == ["b", "a", "c"]


def test_poly_is_that_of_r():
    # R 4.2: poly(1:5, 2)
    expected = [
        [-0.632455532033676, 0.534522483824849],
        [-0.316227766016838, -0.267261241912424],
        [0, -0.534522483824849],
        [0.316227766016838, -0.267261241912424],
        [0.632455532033676, 0.534522483824849],
    ]
    frame = Frame.from_native({"x": np.arange(1.0, 6)})
    assert_allclose(evaluate("poly(x, 2)", frame).values, expected, atol=1e-14)


def test_poly_is_orthonormal_and_follows_its_degree_at_awkward_scales():
    x = 1e4 + np.random.default_rng(2).uniform(size=50)
    basis = evaluate("poly(x, 3)", Frame.from_native({"x": x})).values
    assert_allclose(basis.T @ basis, np.eye(3), atol=1e-14)
    assert_allclose(basis.sum(axis=0), 0, atol=1e-14)
    assert np.corrcoef(basis[:, 0], x)[0, 1] == pytest.approx(1)


def test_raw_poly_is_powers():
    values = evaluate("poly(x, 2, raw = TRUE)", FRAME).values
    assert_array_equal(values, np.stack([X, X**2], axis=1))


WOMEN = Frame.from_native({"height": np.arange(58.0, 73.0)})


def test_ns_is_that_of_r():
    # R: splines::ns(women$height, df = 5), rows 2, 3 and 5
    expected = [
        [7.592323e-03, 0.0, -8.670223e-02, 2.601067e-01, -1.734045e-01],
        [6.073858e-02, 0.0, -1.503044e-01, 4.509132e-01, -3.006088e-01],
        [4.334305e-01, 1.311953e-02, -1.324404e-01, 3.973211e-01, -2.648807e-01],
    ]
    values = evaluate("ns(height, df = 5)", WOMEN).values
    assert_allclose(values[[1, 2, 4]], expected, rtol=1e-6, atol=1e-12)


def test_bs_is_that_of_r():
    # R: splines::bs(women$height, df = 5), rows 2 and 3
    expected = [
        [4.534439e-01, 0.059857872, 0.001639942, 0.0, 0.0],
        [5.969388e-01, 0.203352770, 0.013119534, 0.0, 0.0],
    ]
    values = evaluate("bs(height, df = 5)", WOMEN).values
    assert_allclose(values[[1, 2]], expected, rtol=1e-6, atol=1e-12)


def test_ns_is_linear_beyond_its_boundary():
    states = {}
    evaluate("ns(height, 4)", WOMEN, states)
    beyond = Frame.from_native({"height": [50.0, 52.0, 54.0, 80.0, 85.0, 90.0]})
    values = evaluate("ns(height, 4)", beyond, states).values
    assert_allclose(values[0] + values[2], 2 * values[1], atol=1e-12)
    assert_allclose(values[3] + values[5], 2 * values[4], atol=1e-12)


def test_cr_and_ns_with_an_intercept_span_the_same_functions():
    cubic = evaluate("cr(height, 4)", WOMEN).values
    knots = ", ".join(map(str, np.quantile(np.arange(58.0, 73.0), [0.25, 0.5, 0.75])))
    natural = evaluate(f"ns(height, knots = c({knots}))", WOMEN).values
    both = np.column_stack([np.ones(15), cubic, natural])
    assert np.linalg.matrix_rank(both, tol=1e-9) == 5


@pytest.mark.parametrize(
    "expression",
    ["poly(x, 2)", "bs(x, 4)", "ns(x, 2)", "cr(x, 3)", "scale(x)", "center(x)", "standardize(x)"],
)
def test_a_transform_of_new_rows_uses_the_state_of_the_old_ones(expression):
    rng = np.random.default_rng(3)
    x = rng.normal(size=30)
    states = {}
    trained = evaluate(expression, Frame.from_native({"x": x}), states)
    restored = json.loads(json.dumps(states))
    new = evaluate(expression, Frame.from_native({"x": x[4:7]}), restored)
    if isinstance(trained, np.ndarray):
        assert_allclose(new, trained[4:7], rtol=1e-13)
    else:
        assert_allclose(new.values, trained.values[4:7], rtol=1e-12, atol=1e-14)
    assert restored == json.loads(json.dumps(states))


def test_missing_values_of_new_rows_stay_missing():
    states = {}
    evaluate("poly(x, 2)", FRAME, states)
    values = evaluate("poly(x, 2)", Frame.from_native({"x": [1.0, np.nan]}), states).values
    assert_array_equal(np.isnan(values), [[False, False], [True, True]])


ESCAPES = [
    "__import__('os')",
    "__import__('os').system('true')",
    "().__class__.__bases__",
    "(1).__class__",
    "x.__class__.__mro__(1)",
    "x[0]",
    "[x for x in (1, 2)]",
    "{x: 1}",
    "lambda: 1",
    "(lambda x: x)(1)",
    "eval('1')",
    "exec('1')",
    "open('/etc/passwd')",
    "getattr(x, 'dtype')",
    "globals()",
    "f'{x}'",
    "(x := 1)",
    "x if x else x",
    "np.load('x')",
    "np.fromfile('x')",
    "np.core.multiarray(x)",
    "os.system('true')",
    "x; x",
    "import os",
    "log(*x)",
    "log(**x)",
    "poly(x, degree = __import__('os'))",
    "poly(x, 2, _state = 1)",
    "scale(x, ddof = 3)",
    "bs(x, 4, extrapolation = 'na')",
    "C(x, __import__('os'))",
    "C(x, contr.__class__)",
    "log.__globals__(x)",
    "x @ x",
    "`x`.real()",
    "await_(x)",
    "not x",
    "print(x)",
    "log(x, out = x)",
    "factor(x, levels = x)",
    "poly(x, 1e9)",
    "poly(x, -1)",
    "poly(x, 1e9, raw = TRUE)",
    "bs(x, 1e9)",
    "1e999 * x",
    "x + 10^10^10",
]


@pytest.mark.parametrize("expression", ESCAPES)
def test_nothing_but_the_table_of_functions_can_be_reached(expression):
    with pytest.raises((FormulaError, DataError)):
        evaluate(expression, FRAME)


@pytest.mark.parametrize(
    ("expression", "error", "message"),
    [
        ("nosuch", DataError, "no column 'nosuch'"),
        ("f + 1", DataError, "f is text and cannot be used as a number"),
        ("log(f)", DataError, "f is text"),
        ("poly(x, 2) + 1", DataError, "several columns"),
        ("log(x - 1)", DataError, r"log\(x - 1\) is not finite in 1 rows \(first in row 0\)"),
        ("1 / (x - 2)", DataError, r"not finite in 1 rows \(first in row 1\)"),
        ("exp(1000 * x)", DataError, "not finite in 4 rows"),
        ("f < 'b'", FormulaError, "levels have no order"),
        ("f == 'z'", DataError, "'z' is not a level; known are a, b, c"),
        ("x & b", FormulaError, "x is not a logical"),
        ("3", FormulaError, "is a constant"),
        ("1 + 2", FormulaError, "is a constant"),
        ("TRUE", FormulaError, "is a constant"),
        ("center(2)", FormulaError, "2 is a constant"),
        ("factor(TRUE)", FormulaError, "TRUE is a constant"),
        ("2 > 1", FormulaError, "is a constant"),
        ("'x'", DataError, "text"),
        ("NULL", FormulaError, "cannot be used as a value"),
        ("log()", FormulaError, "log takes"),
        ("log(x, 2)", FormulaError, "log takes"),
        ("I(x, x)", FormulaError, "I takes one argument"),
        ("poly(x, 4)", DataError, "more distinct values"),
        ("poly(x, 1.5)", FormulaError, "must be a whole number, 1 to 500"),
        ("poly(x, degree = 2, degree = 2)", FormulaError, "given twice"),
        ("poly(x, order = 2)", FormulaError, "'order' is unknown; the options are degree, raw"),
        ("bs(x, 2)", FormulaError, "df"),
        ("ns(x, knots = 'a')", FormulaError, "must be numbers"),
        ("scale(x * 0)", DataError, "all are equal"),
        ("round(x, 'a')", FormulaError, "must be a number"),
        ("factor(f, levels = c('a', 'b'))", DataError, "also have the level 'c'"),
        ("relevel(f, 'z')", FormulaError, "'z' is not a level"),
        ("C(f, contr.foo)", FormulaError, "unknown contrast 'contr.foo'"),
        ("C(f, contr.sum, 2)", FormulaError, "C takes"),
        ("offset(x)", FormulaError, "may only be added"),
        ("x %in% x", FormulaError, "cannot be used in"),
        ("x:x", FormulaError, "cannot be used in"),
        ("~x", FormulaError, "only once"),
    ],
)
def test_what_cannot_be_evaluated_says_why(expression, error, message):
    with pytest.raises(error, match=message):
        evaluate(expression, FRAME)


def test_training_on_missing_values_is_refused():
    with pytest.raises(DataError, match="1 values are missing"):
        evaluate("poly(x, 1)", Frame.from_native({"x": [1.0, np.nan, 2.0]}))


def test_a_response_is_one_number_per_row():
    assert evaluate_numeric("x", FRAME, "the response") is FRAME.numeric("x")
    assert_allclose(evaluate_numeric("log(x)", FRAME, "the response"), np.log(X))
    assert_allclose(evaluate_numeric("poly(x, 1)", FRAME, "the response").sum(), 0, atol=1e-15)
    with pytest.raises(DataError, match=r"the response, factor\(x\), is a factor"):
        evaluate_numeric("factor(x)", FRAME, "the response")
    with pytest.raises(DataError, match="'f' has type"):
        evaluate_numeric("f", FRAME, "the response")


@pytest.mark.parametrize(
    ("expression", "columns"),
    [
        ("1 + Days", ("Days",)),
        ("log(log) + log", ("log",)),
        ("C(f, contr.sum):poly(x, 2)", ("f", "x")),
        ("C(f, Treatment('b')) + factor(g, levels = c('a'))", ("f", "g")),
        ("`a b` + I(x > TRUE) + `TRUE`", ("a b", "x", "TRUE")),
        ("bs(x, knots = c(1, 2), degree = 2)", ("x",)),
        ("0", ()),
    ],
)
def test_variables_of(expression, columns):
    assert variables_of(expression) == columns


@pytest.mark.parametrize(
    ("text", "printed"),
    [
        ("I( x**2 )", "I(x^2)"),
        ("a+b*c/d", "a + b * c/d"),
        ("poly(x,degree=2)", "poly(x, degree = 2)"),
        ("f=='a'", 'f == "a"'),
        ("'it\\'s \"q\"'", '"it\'s \\"q\\""'),
        ("`x`+`a b`+`if`", "x + `a b` + `if`"),
        ("100000+123456+0.10+1e-5+2L+1e300", "1e+05 + 123456 + 0.1 + 1e-05 + 2 + 1e+300"),
        ("a %in% b%%c", "a %in% b %% c"),
        ("-(x)", "-(x)"),
        ("!a&b|c", "!a & b | c"),
    ],
)
def test_expressions_print_as_r_prints_them(text, printed):
    assert deparse(parse(text)) == printed
    assert deparse(parse(printed)) == printed


def test_cubic_regression_splines_interpolate_and_are_centred():
    """They hold the natural cubic spline through any values at the knots."""
    from scipy.interpolate import CubicSpline

    x = np.random.default_rng(4).uniform(0.0, 10.0, 60)
    states: dict = {}
    columns = evaluate("cr(x, 5)", Frame.from_native({"x": x}), states).values
    assert_allclose(columns.sum(axis=0), 0.0, atol=1e-12)
    knots = np.quantile(x, np.linspace(0.0, 1.0, 6))
    at = np.sin(knots)
    through = CubicSpline(knots, at, bc_type="natural")(x)
    design = np.column_stack([np.ones(len(x)), columns])
    fitted = design @ np.linalg.lstsq(design, through, rcond=None)[0]
    assert_allclose(fitted, through, atol=1e-12)
    beyond = np.array([-2.0, -1.0, 0.0]) + x.min()
    tails = evaluate("cr(x, 5)", Frame.from_native({"x": beyond}), states).values
    assert_allclose(tails[0] - tails[1], tails[1] - tails[2], atol=1e-12)


#: By formulaic 1.2.2, whose transforms earlier versions stored: states made from x = 0, .5, 1, 2,
#: 3.5, 4, 6, 7 (poly from x - 3), and values at -1, 2.5 and 9.
STORED = {
    "bs(x, 4)": (
        {"lower_bound": 0.0, "upper_bound": 7.0, "knots": [0.0] * 4 + [2.75] + [7.0] * 4},
        [
            [-1.71784295987, 0.189576657109, -0.00742115027829, 0.0],
            [0.43633757034, 0.446955641761, 0.115955473098, 0.0],
            [-0.0384153661465, 0.543464444601, -2.68538695755, 3.1803378791],
        ],
    ),
    "cr(x, 2)": (
        {
            "lower_bound": 0.0,
            "upper_bound": 7.0,
            "constraints": [[0.2710865337870685, 0.49468100317424, 0.2342324630386914]],
            "cyclic": False,
            "knots": [0.0, 2.75, 7.0],
        },
        [
            [-1.43484144922, -0.405293181389],
            [0.479722283958, -0.247530406531],
            [-0.981117473643, 1.54389130264],
        ],
    ),
    "poly(x, 2)": (
        {
            "shift": 3.0,
            "alpha": [0.0, 0.8709677419354839],
            "norms2": [8.0, 46.5, 169.5695564516129],
        },
        [
            [-0.586588460085, 1.04987628494],
            [-0.0733235575107, -0.393722960125],
            [0.879882690128, 1.91690285856],
        ],
    ),
}


@pytest.mark.parametrize("expression", list(STORED))
def test_transforms_of_stored_states_and_of_new_ones(expression):
    state, expected = STORED[expression]
    new = Frame.from_native({"x": [-1.0, 2.5, 9.0]})
    assert_allclose(evaluate(expression, new, {expression: state}).values, expected, rtol=1e-11)
    states: dict = {}
    x = [0.0, 0.5, 1.0, 2.0, 3.5, 4.0, 6.0, 7.0]
    evaluate(expression, Frame.from_native({"x": x}), states)
    assert_allclose(evaluate(expression, new, states).values, expected, rtol=1e-11)


@pytest.mark.parametrize(
    ("expression", "message"),
    [
        ("cr(x)", "cr needs the number of its columns or its knots"),
        ("cr(x, knots = c(1, 99))", "inside the range of the values, 1 to 8; found 1, 99"),
        ("bs(x, knots = 0)", "inside the range of the values, 1 to 8; found 0"),
        ("ns(x, knots = c(2, 8))", "found 8"),
    ],
)
def test_refusals_of_splines(expression, message):
    with pytest.raises(FormulaError, match=message):
        evaluate(expression, FRAME)


def test_a_cubic_regression_spline_needs_distinct_values():
    with pytest.raises(DataError, match="needs 6 knots at distinct values; the data have 1"):
        evaluate("cr(x, 5)", Frame.from_native({"x": [2.0, 2.0, 2.0, 2.0]}))


def test_rows_are_counted_in_the_table_of_the_user():
    """A value that is refused stands in the row named, whatever rows before it were left out."""
    n = 24
    rng = np.random.default_rng(0)
    columns = {name: rng.uniform(1.0, 2.0, n) for name in ("y", "x", "z")}
    whole = pd.DataFrame({**columns, "g": np.arange(n) % 4, "t": np.arange(n) // 4 * 1.0})
    whole.loc[[0, 2, 5], "x"] = np.nan
    found = [
        ("log(y) ~ x + (1 | g)", {}, "y", -1.0),
        ("y ~ x + I(1 / z) + (1 | g)", {}, "z", 0.0),
        ("y ~ x + z + (1 | g)", {}, "z", np.inf),
        ("y ~ x + (z | g)", {}, "z", np.inf),
        ("y ~ x + s(z)", {}, "z", np.inf),
        ("y ~ x + offset(z) + (1 | g)", {}, "z", np.inf),
        ("y ~ x + (1 | g)", {"weights": "z"}, "z", np.inf),
        ("y ~ x + (1 | g)", {"residual_scale": "power(z)"}, "z", 0.0),
        ("y ~ x", {"residual": "ar1(t | g)"}, "t", np.inf),
        ("y ~ x", {"residual": "sp_exp(t | g)"}, "t", np.inf),
        ("y ~ x + (1 | g)", {}, "y", np.inf),
    ]
    for formula, arguments, column, value in found:
        data = whole.copy()
        data.loc[20, column] = value
        with pytest.raises(DataError, match="row 20"):
            mlm.lmm(formula, data, **arguments)
    fit = mlm.lmm("y ~ x + log(z) + (1 | g)", whole)
    with pytest.raises(DataError, match="row 20"):
        fit.predict(whole.assign(z=np.where(np.arange(n) == 20, -1.0, whole["z"])))
