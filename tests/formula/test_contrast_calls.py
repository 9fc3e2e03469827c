"""Contrasts and quotes as patsy and formulaic write them.

Columns by patsy 1.0.3 and formulaic 1.2.2 (`dmatrix`, `model_matrix`): the first rows of each
level, intercept left out.
"""

import numpy as np
import pandas as pd
import pytest

import mlmfast as mlm
from mlmfast.data.frame import Frame
from mlmfast.design.columns.build_matrix import build_model_matrix
from mlmfast.design.columns.contrasts import contrast_coding
from mlmfast.errors import DataError, FormulaError

COLUMNS = {
    "z": [0, 1, 2, 0, 1, 2, 2],
    "k": [3, 5, 7, 3, 5, 7, 7],
    "t": list("abcabca"),
    "m p": [1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0],
    "b": [False, True, True, False, True, False, False],
    "text": list("1231231"),
}
FRAME = Frame.from_native(pd.DataFrame(COLUMNS))
FIRST = [[0, 0], [1, 0], [0, 1]]
SECOND = [[1, 0], [0, 0], [0, 1]]
LAST = [[1, 0], [0, 1], [0, 0]]
POLY = [
    [-0.6172133998483676, 0.5345224838248488],
    [-0.15430334996209188, -0.8017837257372732],
    [0.7715167498104596, 0.2672612419124244],
]


def columns(rhs, contrasts=None):
    matrix = build_model_matrix(rhs, FRAME, contrasts)
    return np.column_stack(matrix.columns[1:])[:3]


@pytest.mark.parametrize(
    ("rhs", "expected"),
    [
        # Numbers are levels where there is such a level ...
        ("C(z, Treatment(reference=2))", LAST),
        ("C(z, Treatment(reference=0))", FIRST),
        ("C(z, Treatment(1))", SECOND),
        ("C(k, Treatment(5))", SECOND),
        ("C(z, Treatment(base=2))", LAST),
        # ... and else, as in patsy, positions from 0, or from the end.
        ("C(k, Treatment(1))", SECOND),
        ("C(k, Treatment(reference=0))", FIRST),
        ("C(k, Treatment(-1))", LAST),
        ("C(t, Treatment(1))", SECOND),
        ("C(t, Treatment(0))", FIRST),
        ("C(t, Treatment(-1))", LAST),
        ("C(t, Treatment('b'))", SECOND),
        ("C(t, Treatment(reference='c'))", LAST),
        ("C(t, Treatment)", FIRST),
        ("C(t, Treatment(None))", FIRST),
        ("C(t, Sum)", [[1, 0], [0, 1], [-1, -1]]),
        ("C(t, Sum(omit='a'))", [[-1, -1], [1, 0], [0, 1]]),
        ("C(t, Sum(omit=0))", [[-1, -1], [1, 0], [0, 1]]),
        ("C(t, Sum('b'))", [[1, 0], [-1, -1], [0, 1]]),
        ("C(t, Sum(1))", [[1, 0], [-1, -1], [0, 1]]),
        ("C(k, Sum(omit=3))", [[-1, -1], [1, 0], [0, 1]]),
        ("C(t, Helmert())", [[-1, -1], [1, -1], [0, 2]]),
        ("C(t, Poly(scores=[1, 2, 4]))", POLY),
        ("C(t, Poly([1,2,4]))", POLY),
        ("C(t, contr.poly(scores = c(1, 2, 4)))", POLY),
        ("C(t, contr.poly(3, scores = c(1, 2, 4)))", POLY),
        ("C(t, Diff)", [[-2 / 3, -1 / 3], [1 / 3, -1 / 3], [1 / 3, 2 / 3]]),
        ("C(t, levels=['c','a','b'])", LAST),
        ("C(t, Treatment, levels=['c','a','b'])", LAST),
        ("C(t, Treatment('a'), levels=['c','a','b'])", [[0, 0], [0, 1], [1, 0]]),
        ("C(t, Treatment, ['c','a','b'])", LAST),
        ("C(z, levels=[2, 1, 0])", [[0, 1], [1, 0], [0, 0]]),
        ("C(t, contrast=Treatment('b'))", SECOND),
        ("C(t, contrasts=contr.treatment(base='b'))", SECOND),
        ("C(Q('t'), Treatment('b'))", SECOND),
        # R counts from 1.
        ("C(k, contr.treatment(base = 2))", SECOND),
        ("C(z, contr.treatment(3, base = 3))", LAST),
        ("C(k, contr.treatment(3, 2))", SECOND),
    ],
)
def test_columns_are_those_of_patsy_and_formulaic(rhs, expected):
    np.testing.assert_allclose(columns(rhs), expected, atol=1e-12)


def test_a_logical_has_the_reference_it_names():
    for reference, expected in (("False", [0, 1]), ("True", [1, 0]), ("1", [1, 0]), ("0", [0, 1])):
        found = columns(f"C(b, Treatment(reference={reference}))")
        np.testing.assert_array_equal(found[:2, 0], expected)


def test_contrasts_by_argument_are_read_the_same_way():
    found = columns("factor(z)", {"factor(z)": "Treatment(reference=2)"})
    np.testing.assert_array_equal(found, LAST)
    np.testing.assert_array_equal(columns("t", {"t": "Sum(omit='a')"})[0], [-1, -1])


def test_omitted_levels_leave_columns_named_by_the_others():
    names = build_model_matrix("C(t, Sum(omit='a'))", FRAME).names
    assert names[1:] == ('C(t, Sum(omit = "a"))b', 'C(t, Sum(omit = "a"))c')
    assert build_model_matrix("C(t, Sum)", FRAME).names[1:] == ("C(t, Sum)1", "C(t, Sum)2")


def test_q_quotes_a_name_as_backticks_do():
    assert build_model_matrix("Q('m p')", FRAME).names == ("(Intercept)", "`m p`")
    assert build_model_matrix('Q("z") + `m p`', FRAME).names == ("(Intercept)", "z", "`m p`")
    data = pd.DataFrame(COLUMNS).assign(y=[1.0, 13.0, 32.0, 2.5, 14.0, 27.0, 26.0])
    quoted = mlm.lmm("Q('y') ~ Q('m p') + (1 | Q('z'))", data)
    assert quoted.llf == mlm.lmm("y ~ `m p` + (1 | z)", data).llf


def test_polynomials_of_many_levels_are_orthogonal_polynomials():
    levels = [str(k) for k in range(60)]
    matrix = contrast_coding("contr.poly", levels, "f").matrix
    np.testing.assert_allclose(matrix.T @ matrix, np.eye(59), atol=1e-12)
    # Gram's polynomials: P_k changes sign k times over equal steps, up to half the points.
    for degree in range(1, 10):
        signs = np.sign(matrix[:, degree - 1][np.abs(matrix[:, degree - 1]) > 1e-12])
        assert np.count_nonzero(np.diff(signs)) == degree
    x = np.arange(60) - 29.5
    np.testing.assert_allclose(matrix[:, 2:].T @ np.column_stack([x**2, x]), 0, atol=1e-9)


@pytest.mark.parametrize(
    ("rhs", "error", "message"),
    [
        ("C(t, Treatment(9))", FormulaError, "9 is neither a level of .* from 0 to 2; .* a, b, c"),
        ("C(k, Treatment(-4))", FormulaError, "-4 is neither a level of .* levels are 3, 5, 7"),
        ("C(t, Treatment(1.5))", FormulaError, "1.5 is neither a level"),
        ("C(t, Treatment('z'))", FormulaError, "'z' is not a level of .* levels are a, b, c"),
        ("C(t, Sum(omit='z'))", FormulaError, "'z' is not a level of .* levels are a, b, c"),
        ("C(text, Treatment(1))", FormulaError, "the level '1', which is text, or the level '2'"),
        ("C(t, contr.treatment(base = 4))", FormulaError, "4 is not a level .* a, b, c"),
        ("C(t, contr.treatment(5))", FormulaError, "5, is the number of levels.* has 3"),
        ("C(t, Poly([1, 2]))", FormulaError, "2 scores for the 3 levels .*a, b, c"),
        ("C(t, Poly(['a', 2, 3]))", FormulaError, "scores are different numbers"),
        ("C(t, Poly([1, 1, 3]))", FormulaError, "scores are different numbers"),
        ("C(t, Helmert(2))", FormulaError, "no meaning here; Helmert takes no arguments"),
        ("C(t, Treatment(omit='a'))", FormulaError, "no meaning here; Treatment takes reference="),
        ("C(t, Sum('a', omit='b'))", FormulaError, "no meaning here; Sum takes omit="),
        ("C(t, levels=['a', 'b'])", DataError, "also have the level 'c'.*data: a, b, c"),
        ("C(t, levels=['a', 'b', 'c', 'a'])", FormulaError, "'a' is written twice"),
        ("C(t, levels='a')", FormulaError, "levels is a list such as"),
        ("C(t, contr=Sum, contrast=Sum)", FormulaError, "given twice"),
        ("Q(t)", FormulaError, "Q takes a column's name in quotes"),
        ("Q('nowhere')", DataError, "nowhere"),
        ("C(t, levels=['a', 'b', 'c')", FormulaError, r"an operator or '\]' is"),
        ("C(t, levels=['a', 'b'", FormulaError, r"this '\[' is not closed"),
        ("t[1]", FormulaError, r"the character '\[' opens a list of constants"),
        ("t]", FormulaError, r"this '\]' has no '\[' before it"),
    ],
)
def test_what_has_no_meaning_is_refused_with_what_there_is(rhs, error, message):
    with pytest.raises(error, match=message):
        columns(rhs)


def test_a_saved_fit_predicts_with_the_reference_it_was_given():
    data = pd.DataFrame(COLUMNS).assign(y=[1.0, 3.0, 2.0, 5.0, 4.0, 7.0, 6.0])
    fit = mlm.lmm("y ~ C(z, Treatment(reference=2), levels=[1, 2, 0])", data)
    means = data.groupby("z")["y"].mean()
    np.testing.assert_allclose(fit.params["(Intercept)"], means[2])
    loaded = mlm.load(fit.to_json())
    np.testing.assert_allclose(loaded.predict({"z": [0, 1, 2]}), means.to_numpy())
    np.testing.assert_allclose(fit.emmeans("z").frame["emmean"], means[[1, 2, 0]])
