"""The same numbers from every form of data, for one fit or many, on one thread or two."""

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest

import mlmfast as mlm
from mlmfast.errors import DataError, SuspectValueWarning

from ..cases import data_of
from ..fits import lmm, numbers
from ..problems import INTERCEPT, effect_columns, formula_of, nested_frame
from ..threads import output_for_any_number_of_threads

FORMULA = "y ~ x + z + f + (x | a) + (1 | a:b)"

FRAMES = {
    "polars": pl.from_pandas,
    "pyarrow": lambda frame: pa.Table.from_pandas(frame, preserve_index=False),
    "dict of arrays": lambda frame: {name: frame[name].to_numpy() for name in frame},
    "pandas with any index": lambda frame: frame.set_index(
        pd.Index(range(900, 900 - len(frame), -1))
    ),
    "pandas objects": lambda frame: frame.astype(dict.fromkeys("abcf", object)),
}


@pytest.fixture
def frame():
    return nested_frame().copy()


@pytest.mark.parametrize("convert", FRAMES.values(), ids=FRAMES)
def test_every_kind_of_frame_gives_the_same_bits(frame, convert):
    np.testing.assert_array_equal(
        numbers(lmm(FORMULA, convert(frame))), numbers(lmm(FORMULA, frame))
    )


def test_categories_of_pandas_and_polars_keep_their_order(frame):
    order = ["q", "p"]
    categorical = frame.assign(f=pd.Categorical(frame["f"], categories=order))
    enum = pl.from_pandas(frame).with_columns(pl.col("f").cast(pl.Enum(order)))
    fit = lmm(FORMULA, categorical)
    assert list(fit.params.index) == [INTERCEPT, "x", "z", "fp"]
    np.testing.assert_array_equal(numbers(lmm(FORMULA, enum)), numbers(fit))


def test_strings_without_an_order_are_sorted(frame):
    assert list(lmm(FORMULA, frame).params.index) == [INTERCEPT, "x", "z", "fq"]


@pytest.mark.parametrize("dtype", ["int8", "int64", "float32", "bool"])
def test_numeric_columns_of_any_width_are_numbers(frame, dtype):
    frame["k"] = (frame["f"] == "q").astype(dtype)
    fit = lmm("y ~ k + (1 | a)", frame)
    expected = lmm("y ~ k + (1 | a)", frame.assign(k=frame["k"].astype(float)))
    np.testing.assert_array_equal(fit.params.to_numpy(), expected.params.to_numpy())


@pytest.mark.parametrize(
    ("dtype", "unit"), [("int8", 1), ("int64", 10**18), ("uint64", 2 * 10**18)]
)
def test_integer_groups_are_levels_not_numbers(frame, dtype, unit):
    frame["site"] = frame["a"].str.slice(1).astype("uint64").mul(unit).astype(dtype)
    fit, expected = lmm("y ~ x + (1 | site)", frame), lmm("y ~ x + (1 | a)", frame)
    assert len(fit.ranef["site"]) == 10
    np.testing.assert_allclose(fit.params, expected.params, rtol=1e-9)


def test_unused_categories_change_nothing(frame):
    unused = pd.Categorical(frame["a"], categories=[*sorted(set(frame["a"])), "a99"])
    fit, expected = lmm(FORMULA, frame.assign(a=unused)), lmm(FORMULA, frame)
    np.testing.assert_array_equal(fit.params.to_numpy(), expected.params.to_numpy())
    assert "a99" not in fit.ranef["a"].index


@pytest.mark.parametrize("column", ["y", "x", "a", "b", "w", "off"])
def test_rows_with_a_missing_value_in_a_used_variable_are_dropped(frame, column):
    rows = [3, 50, 117]
    holes = frame.copy()
    holes[column] = holes[column].astype(object if column in "ab" else float)
    holes.loc[rows, column] = None
    arguments = {"weights": "w", "offset": "off"}
    fit = lmm(formula_of("(1 | a/b)"), holes, **arguments)
    expected = lmm(formula_of("(1 | a/b)"), frame.drop(index=rows), **arguments)
    assert fit.nobs == len(frame) - 3
    np.testing.assert_array_equal(numbers(fit), numbers(expected))


def test_missing_values_in_an_unused_variable_drop_nothing(frame):
    frame.loc[[1, 2], "w"] = np.nan
    assert lmm(formula_of("(1 | a)"), frame).nobs == len(frame)


def test_missing_values_can_be_refused(frame):
    frame.loc[[1, 2], "x"] = np.nan
    with pytest.raises(DataError, match=r"\bx\b"):
        mlm.lmm(formula_of("(1 | a)"), frame, na_action="raise")


def test_names_with_spaces_accents_and_dots(frame):
    renamed = frame.rename(columns={"x": "größe in cm", "a": "site id", "z": "z.score", "y": "y"})
    fit = lmm("y ~ `größe in cm` + z.score + (`größe in cm` | `site id`)", renamed)
    expected = lmm("y ~ x + z + (x | a)", frame)
    np.testing.assert_array_equal(fit.params.to_numpy(), expected.params.to_numpy())
    assert list(fit.varcorr) == ["site id"]
    assert "größe in cm" in fit.params.index[1]


def test_a_column_may_be_named_like_a_function(frame):
    renamed = frame.rename(columns={"x": "log", "a": "poly"})
    fit = lmm("y ~ log + z + (1 | poly)", renamed)
    expected = lmm("y ~ x + z + (1 | a)", frame)
    np.testing.assert_array_equal(fit.params.to_numpy(), expected.params.to_numpy())


def arrays(frame):
    """y, X, Z and the groups of `y ~ x + z + (x | a)`."""
    return (
        frame["y"].to_numpy(),
        effect_columns(frame, [INTERCEPT, "x", "z"]),
        effect_columns(frame, [INTERCEPT, "x"]),
        frame["a"].to_numpy(),
    )


def fit_arrays(y, X, Z, groups):
    return mlm.LMM.from_arrays(y, X, groups=groups, Z=Z, names=[INTERCEPT, "x", "z"]).fit()


def test_arrays_give_the_fit_of_the_formula(frame):
    fit, expected = fit_arrays(*arrays(frame)), lmm("y ~ x + z + (x | a)", frame)
    assert list(fit.params.index) == [INTERCEPT, "x", "z"]
    assert fit.llf == pytest.approx(expected.llf, rel=1e-12)
    np.testing.assert_allclose(fit.params, expected.params, rtol=1e-9)
    (G,), (effects,) = fit.varcorr.values(), fit.ranef.values()
    np.testing.assert_allclose(G, expected.varcorr["a"], rtol=1e-7)
    np.testing.assert_allclose(effects, expected.ranef["a"], rtol=1e-7, atol=1e-9)


def strided(array):
    """The same values, every second element of a larger array."""
    wide = np.repeat(array, 2, axis=0)
    return wide[::2]


def read_only(array):
    copy = array.copy()
    copy.flags.writeable = False
    return copy


LAYOUTS = {
    "fortran": np.asfortranarray,
    "strided": strided,
    "reversed twice": lambda array: array[::-1].copy()[::-1],
    "read-only": read_only,
    "big-endian": lambda array: array.astype(">f8") if array.dtype.kind == "f" else array,
}


@pytest.mark.parametrize("layout", LAYOUTS.values(), ids=LAYOUTS)
def test_memory_layout_does_not_matter(frame, layout):
    y, X, Z, groups = arrays(frame)
    fit, expected = fit_arrays(layout(y), layout(X), layout(Z), groups), fit_arrays(y, X, Z, groups)
    np.testing.assert_array_equal(numbers(fit), numbers(expected))


def test_inputs_are_left_as_they_were(frame):
    before = frame.copy(deep=True)
    lmm(FORMULA, frame, weights="w", offset="off")
    pd.testing.assert_frame_equal(frame, before)


@pytest.mark.parametrize("method", ["ML", "REML"])
@pytest.mark.parametrize("random_part", ["", "(1 | a)", "(x | a)", "(1 | a/b)"])
def test_a_batch_gives_each_fit_bit_for_bit(frame, random_part, method):
    noise = np.random.default_rng(4).normal(size=(len(frame), 6))
    Y = frame["y"].to_numpy()[:, None] * [1, 1, 1, 0, 0, 1e6] + noise
    model = mlm.LMM(formula_of(random_part), frame)
    batch = model.fit_many(Y, method=method)
    for k in range(Y.shape[1]):
        single = lmm(formula_of(random_part), frame.assign(y=Y[:, k]), method=method)
        assert batch.llf[k] == single.llf
        assert batch.sigma[k] == single.sigma
        np.testing.assert_array_equal(np.asarray(batch.params)[k], single.params)
        np.testing.assert_array_equal(np.asarray(batch.bse)[k], single.bse)


def test_a_model_fits_again_and_again_with_the_same_bits(frame):
    model = mlm.LMM(FORMULA, frame)
    first, second = model.fit(), model.fit()
    np.testing.assert_array_equal(numbers(first), numbers(second))
    assert model.fit(method="ML").llf != first.llf
    np.testing.assert_array_equal(numbers(model.fit()), numbers(lmm(FORMULA, frame)))


LARGE_FIT = """
import numpy as np, mlmfast as mlm
rng = np.random.default_rng(0)
n, m = 200_000, 5_000
g = rng.integers(0, m, n)
x = rng.normal(size=n)
y = 1 + x + rng.normal(size=m)[g] + 0.5 * rng.normal(size=m)[g] * x + rng.normal(size=n)
fit = mlm.lmm("y ~ x + (x | g)", {"y": y, "x": x, "g": g})
values = [fit.llf, fit.sigma, *fit.params, *fit.bse, *np.ravel(fit.varcorr["g"])]
values += [*np.ravel(fit.ranef["g"]), *fit.fittedvalues]
print(np.array(values).tobytes().hex())
"""


def test_one_and_two_threads_give_the_same_bits():
    assert len(output_for_any_number_of_threads(LARGE_FIT)) > 16 * 200_000


def test_data_with_categories_in_another_order_refit_the_same_model():
    frame = data_of("pastes_nested_reml")
    reversed_order = frame["batch"].cat.categories[::-1]
    other = frame.assign(batch=frame["batch"].cat.reorder_categories(reversed_order))
    formula = "strength ~ 1 + (1 | batch/cask)"
    fit, again = lmm(formula, frame), lmm(formula, other)
    assert list(again.ranef["batch"].index) == list(reversed_order)
    np.testing.assert_allclose(
        again.ranef["batch"].loc[fit.ranef["batch"].index], fit.ranef["batch"]
    )


def test_numbers_and_text_among_the_levels_are_levels_and_said():
    # pandas.read_stata makes such a column of a covariate of which one code has a label.
    data = pd.DataFrame({"g": np.repeat(np.arange(8), 6), "t": np.tile(np.arange(6.0), 8)})
    data["y"] = data["t"] + np.sin(data.index) + data["g"] % 3
    data["f"] = pd.Categorical(data["t"].astype(object).replace({5.0: "refused"}))
    with pytest.warns(SuspectValueWarning, match=r"levels of 'f'.*convert_categoricals.*MLM104"):
        fit = mlm.lmm("y ~ f + (1 | g)", data)
    as_text = mlm.lmm("y ~ f + (1 | g)", data.assign(f=[str(f).removesuffix(".0") for f in data.f]))
    means = as_text.emmeans("f")
    assert fit.params.to_dict() == as_text.params.to_dict()
    for found in (fit, mlm.load(fit.to_json())):
        pd.testing.assert_frame_equal(found.emmeans("f").frame, means.frame)
        np.testing.assert_array_equal(found.predict(data), as_text.predict())
