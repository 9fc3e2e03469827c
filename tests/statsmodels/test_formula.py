"""Formulas: patsy's terms, columns, order and names, and no code run."""

import importlib.util

import numpy as np
import pandas as pd
import pytest

from mlmfast.data.frame import Frame
from mlmfast.statsmodels import MissingDataError, PatsyFormulaError, mixedlm
from mlmfast.statsmodels.formula.matrix import build_matrix, columns_used
from mlmfast.statsmodels.formula.terms import read_formula

from .simulated import growth

HAS_PATSY = importlib.util.find_spec("patsy") is not None

#: Names as patsy 1.0.3 gives them.
NAMES = {
    "y ~ x": ["Intercept", "x"],
    "y ~ x + arm": ["Intercept", "arm[T.b]", "arm[T.c]", "x"],
    "y ~ 0 + arm": ["arm[a]", "arm[b]", "arm[c]"],
    "y ~ x - 1": ["x"],
    "y ~ x * batch": ["Intercept", "batch[T.B]", "x", "x:batch[T.B]"],
    "y ~ x:batch": ["Intercept", "x:batch[A]", "x:batch[B]"],
    "y ~ arm:batch": [
        *("Intercept", "batch[T.B]", "arm[T.b]:batch[A]", "arm[T.c]:batch[A]"),
        *("arm[T.b]:batch[B]", "arm[T.c]:batch[B]"),
    ],
    "y ~ C(batch, Treatment('B'))": ["Intercept", "C(batch, Treatment('B'))[T.A]"],
    "y ~ C(Q('batch'), Treatment)": ["Intercept", "C(Q('batch'), Treatment)[T.B]"],
    "y ~ C(arm,Sum)": ["Intercept", "C(arm, Sum)[S.a]", "C(arm, Sum)[S.b]"],
    'y ~ Q("a b")': ["Intercept", 'Q("a b")'],
    "y ~ Q('f.1')+np.log( z )": ["Intercept", "Q('f.1')", "np.log(z)"],
    "y ~ I(x**2)": ["Intercept", "I(x ** 2)"],
    "y ~ I(-x)": ["Intercept", "I(-x)"],
    "y ~ x > 0": ["Intercept", "x > 0[T.True]"],
    "y ~ (x + z) ** 2": ["Intercept", "x", "z", "x:z"],
    "y ~ batch / x": ["Intercept", "batch[T.B]", "batch[A]:x", "batch[B]:x"],
    "y ~ bs(x, df=4)": ["Intercept", *(f"bs(x, df=4)[{k}]" for k in range(4))],
}


@pytest.mark.parametrize("formula", NAMES)
def test_names_are_patsys(formula):
    frame = Frame.from_native(growth())
    assert list(build_matrix(read_formula(formula)[1], frame).names) == NAMES[formula]


PIECES = [
    *("x", "z", "arm", "batch", 'Q("a b")', "C(arm, Sum)", "C(arm, Helmert)", "C(part)"),
    *("C(arm, Treatment('b'))", "np.log(z)", "bs(x, df=5)", "center(x)", "standardize(z)"),
    *("x > 0", "C(arm, Poly)", "I(x * z)"),
]


@pytest.mark.skipif(not HAS_PATSY, reason="patsy is not installed")
def test_columns_are_patsys():
    patsy = pytest.importorskip("patsy")
    data, rng = growth(), np.random.default_rng(8)
    frame = Frame.from_native(data)
    for _ in range(150):
        parts = [str(rng.choice(PIECES))]
        for _ in range(rng.integers(0, 4)):
            parts += [str(rng.choice(["+", "+", "*", ":", "/"])), str(rng.choice(PIECES))]
        right = str(rng.choice(["", "0 + "])) + " ".join(parts)
        theirs = patsy.dmatrix(right, data)
        ours = build_matrix(read_formula("~" + right)[1], frame)
        assert list(ours.names) == theirs.design_info.column_names, right
        np.testing.assert_allclose(np.column_stack(ours.columns), theirs, atol=1e-9, err_msg=right)


def test_a_factor_of_one_level_has_no_column_beside_the_intercept():
    data = growth().assign(arm="a")
    built = build_matrix(read_formula("~ arm + x + arm:x")[1], _frame(data))
    assert built.names == ("Intercept", "x")
    assert built.spec.columns_of_terms == {"Intercept": 1, "arm": 0, "x": 1, "arm:x": 0}
    alone = build_matrix(read_formula("~ 0 + arm")[1], _frame(data))
    assert alone.names == ("arm[a]",)


def test_new_rows_are_coded_as_those_of_the_fit():
    data = growth()
    built = build_matrix(read_formula("~ arm * standardize(z) + bs(x, df=4)")[1], _frame(data))
    names, columns = built.spec.build(_frame(data.iloc[5:9]))
    assert tuple(names) == built.names
    for ours, whole in zip(columns, built.columns, strict=True):
        np.testing.assert_allclose(ours, whole[5:9], atol=1e-12)


def _frame(data):
    return Frame.from_native(data)


@pytest.mark.parametrize(
    ("formula", "words"),
    [
        ("y ~ __import__('os').getcwd()", "operator is missing before '.getcwd'"),
        ("y ~ x + open('f')", "unknown function"),
        ("y ~ times_two(x)", "unknown function"),
        ("y ~ [k for k in x]", "operator or ']' is"),
        ("y ~ x +", "missing at the end"),
        ("y ~", "nothing stands right"),
        ("y ~ x ~ z", "only once"),
        ("y ~ (x", "not closed"),
        ("y ~ x)", "not expected|closes nothing"),
        ("y ~ 2", "no term"),
        ("y ~ x ** z", "whole number"),
        ("y ~ (1 + x):z", "cannot interact"),
        ("y + z ~ x", "one response"),
        ("x", "response is missing"),
        ("y ~ cr(x, df=4)", "not offered"),
        ("y ~ scale(x, 2)", "no options"),
        ("y ~ nothere", "nothere"),
        ("y ~ 0", "no column"),
        ("y ~ 'x", "quote"),
    ],
)
def test_refusals(formula, words):
    with pytest.raises(PatsyFormulaError, match=words) as caught:
        mixedlm(formula, growth(), groups="site")
    assert isinstance(caught.value, ValueError)
    if HAS_PATSY:
        assert isinstance(caught.value, __import__("patsy").PatsyError)


def test_no_formula_is_run(tmp_path):
    mark = tmp_path / "ran"
    for text in (f"open({str(mark)!r}, 'w')", f"__import__('pathlib').Path({str(mark)!r}).touch()"):
        with pytest.raises(ValueError, match=r"unknown function|operator is missing"):
            columns_used(read_formula(f"y ~ {text}")[1].factors)
    assert not mark.exists()


def test_missing_values_in_a_factor_of_new_rows():
    data = growth()
    spec = build_matrix(read_formula("~ arm")[1], _frame(data)).spec
    new = pd.DataFrame({"arm": ["a", None]})
    with pytest.raises(MissingDataError, match="arm"):
        spec.build(_frame(new))
    with pytest.raises(ValueError, match="does not know the level 'q'"):
        spec.build(_frame(pd.DataFrame({"arm": ["a", "q"]})))
