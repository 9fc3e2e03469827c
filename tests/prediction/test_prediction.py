"""Predictions: containers, new levels, missing values, offsets, intervals."""

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
from scipy import stats
from scipy.linalg import block_diag

import mlmfast as mlm
from mlmfast.errors import DataError, ModelError

from .. import dense
from ..fits import lmm
from ..problems import MODELS, Oracle, effect_columns, formula_of, group_labels, nested_frame

Z95 = stats.norm.ppf(0.975)


@pytest.fixture
def frame():
    return nested_frame().copy()


@pytest.fixture
def fit(frame):
    return lmm(formula_of("(x | a/b)"), frame)


def as_dict(frame):
    return {name: frame[name].to_numpy() for name in frame}


MAKE = {
    "pandas": (lambda frame: frame, pd.Series),
    "polars": (pl.from_pandas, pl.Series),
    "pyarrow": (pa.Table.from_pandas, pa.Array),
    "dict": (as_dict, np.ndarray),
}


@pytest.mark.parametrize(("make", "kind"), MAKE.values(), ids=MAKE)
def test_predictions_come_in_the_library_of_the_data(frame, fit, make, kind):
    new = make(frame.iloc[:7])
    for ranef in (True, False):
        found = fit.predict(new, ranef=ranef)
        assert isinstance(found, kind)
        expected = fit.predict(ranef=ranef).iloc[:7]
        np.testing.assert_allclose(np.asarray(found), expected, rtol=1e-13)
    assert isinstance(lmm(formula_of("(1 | a)"), make(frame)).predict(), kind)


def test_predictions_and_residuals_have_the_index_of_the_data(frame):
    frame.index = [f"row {k}" for k in range(len(frame))]
    frame.loc[["row 3", "row 8"], "x"] = np.nan
    fit = lmm(formula_of("(1 | a)"), frame)
    used = frame.index.drop(["row 3", "row 8"])
    for found in (fit.fittedvalues, fit.predict(), fit.resid(), fit.resid("scaled")):
        assert list(found.index) == list(used)
    assert list(fit.predict(frame.tail(2)).index) == list(frame.tail(2).index)


@pytest.mark.parametrize("column", ["x", "a", "b"])
def test_a_missing_value_predicts_nan_for_its_row_only(frame, fit, column):
    new = frame.head(5).drop(columns=["y", "c", "f"])
    is_third = np.arange(5) == 2
    new[column] = new[column].mask(is_third)
    expected = fit.predict().head(5).mask(is_third)
    np.testing.assert_allclose(fit.predict(new), expected, rtol=1e-13)
    marginal = fit.predict(new, ranef=False, interval="confidence")
    assert marginal["fit"].isna().sum() == (column == "x")


def test_all_values_missing(frame, fit):
    new = frame.head(2).assign(x=np.nan)
    assert fit.predict(new).isna().all()
    assert fit.predict(new, interval="prediction").isna().all(axis=None)


def test_a_marginal_prediction_needs_no_groups(frame, fit):
    found = fit.predict(frame[["x", "z"]], ranef=False)
    np.testing.assert_allclose(found, fit.predict(ranef=False), rtol=1e-13)


def test_new_levels_are_named(frame, fit):
    new = frame.head(9).assign(a=[f"new{k}" for k in range(9)])
    with pytest.raises(DataError, match=r"'a' .*'new0'.*and 4 more.*population.*ranef=False"):
        fit.predict(new)
    found = fit.predict(new, new_levels="population")
    np.testing.assert_allclose(found, fit.predict(new, ranef=False), rtol=1e-14)


def test_levels_are_matched_by_their_text(sleepstudy):
    fit = lmm("Reaction ~ Days + (Days | Subject)", sleepstudy)
    expected = np.asarray(fit.predict({"Days": [3.0], "Subject": ["308"]}))
    for subject in (308, 308.0):
        found = fit.predict({"Days": [3.0], "Subject": [subject]})
        np.testing.assert_array_equal(found, expected)


def test_an_offset_given_as_argument_is_asked_for(frame):
    fit = lmm(formula_of("(1 | a)"), frame, offset="off")
    with pytest.raises(DataError, match="offset="):
        fit.predict(frame)
    for offset in ("off", frame["off"], frame["off"].to_list()):
        np.testing.assert_allclose(fit.predict(frame, offset=offset), fit.predict(), rtol=1e-12)
    with pytest.raises(DataError, match="shape"):
        fit.predict(frame, offset=[1.0])
    with pytest.raises(DataError, match="rows used"):
        fit.predict(offset="off")
    missing = frame["off"].where(frame["x"] > 0)
    for new, offset in ((frame, missing), (frame.assign(off=missing), "off")):
        assert list(fit.predict(new, offset=offset).isna()) == list(missing.isna())


def test_an_offset_in_the_formula_is_read_from_new_data(frame):
    fit = lmm(formula_of("(1 | a)") + " + offset(2 * off)", frame)
    np.testing.assert_allclose(fit.predict(frame), fit.predict(), rtol=1e-12)
    moved = fit.predict(frame.assign(off=frame["off"] + 1))
    np.testing.assert_allclose(moved - fit.predict(), 2.0, rtol=1e-12)
    with pytest.raises(DataError, match="no offset"):
        fit.predict(frame, offset="off")


def test_aliased_columns_are_passed_over(cake):
    fit = lmm("angle ~ recipe + temperature + temp + (1 | recipe:replicate)", cake)
    np.testing.assert_allclose(fit.predict(cake), fit.fittedvalues, rtol=1e-12)
    assert np.isfinite(fit.predict(cake, interval="prediction")).all(axis=None)


WRONG = {
    "new_levels": {"new_levels": "ignore"},
    "interval": {"interval": "credible"},
    "level": {"interval": "confidence", "level": 95},
    "interval=": {"level": 0.9},
}


@pytest.mark.parametrize(("word", "arguments"), WRONG.items(), ids=WRONG)
def test_arguments_that_mean_nothing(fit, word, arguments):
    with pytest.raises(ModelError, match=word):
        fit.predict(**arguments)


def test_a_model_from_arrays_predicts_its_own_rows_only(frame):
    X = np.column_stack([np.ones(len(frame)), frame["x"]])
    fit = mlm.LMM.from_arrays(frame["y"], X, groups=frame["a"], Z=X).fit()
    assert isinstance(fit.predict(), np.ndarray)
    np.testing.assert_array_equal(fit.predict(), fit.fittedvalues)
    assert fit.predict(interval="confidence").shape == (len(frame), 3)
    with pytest.raises(ModelError, match="arrays"):
        fit.predict(frame)


def standard_errors(found):
    np.testing.assert_allclose(found["upper"] - found["fit"], found["fit"] - found["lower"])
    return (found["upper"] - found["lower"]).to_numpy() / (2 * Z95)


def mixed_model_equations(oracle):
    """Var of (beta-hat, g-hat - g), the inverse of Henderson's coefficient matrix.

    Each group has its levels, then one more that no row has.
    """
    Z, G = [], []
    for terms in oracle.terms.values():
        term = dense.stack(terms)
        Z += [*dense.level_rows(term), np.zeros_like(term.Z)]
        G += [term.G] * (len(np.unique(term.codes)) + 1)
    T = np.hstack([oracle.X, *Z])
    information = T.T @ np.linalg.solve(oracle.R, T)
    p = oracle.X.shape[1]
    information[p:, p:] += np.linalg.inv(block_diag(*G))
    return np.linalg.inv(information)


def rows_for(oracle, new):
    """The rows of (X, Z) of new data, in the columns of `mixed_model_equations`."""
    parts = [effect_columns(new, ["(Intercept)", "x", "z"])]
    for group, blocks in oracle.blocks.items():
        z = effect_columns(new, [name for names in blocks for name in names])
        labels = group_labels(new, group)
        levels = np.unique(group_labels(oracle.frame, group))
        parts += [np.where((labels == level)[:, None], z, 0.0) for level in levels]
        parts.append(np.where(~np.isin(labels, levels)[:, None], z, 0.0))
    return np.hstack(parts)


@pytest.fixture(params=["(1 | a)", "(x || a)", "(x | a) + (1 | a:b)", "(1 | a/b/c)"])
def oracle(request, frame):
    random_part, arguments = request.param, {"weights": "w"}
    assert random_part in MODELS
    # Normal quantiles: these tests read the standard errors off the intervals.
    fit = lmm(formula_of(random_part), frame, ddf="asymptotic", **arguments)
    return Oracle(fit, frame, random_part, **arguments)


def test_conditional_intervals_are_those_of_the_mixed_model_equations(oracle):
    variance = mixed_model_equations(oracle)
    frame = oracle.frame
    new = pd.concat(
        [frame.head(20), frame.head(4).assign(a="new"), frame.iloc[4:8].assign(b="new")],
        ignore_index=True,
    )
    rows = rows_for(oracle, new)
    expected = np.sqrt(np.einsum("ij,jk,ik->i", rows, variance, rows))
    found = oracle.fit.predict(new, new_levels="population", interval="confidence")
    np.testing.assert_allclose(standard_errors(found), expected, rtol=1e-8)
    own = oracle.fit.predict(interval="prediction")
    total = np.sqrt(expected[:20] ** 2 + np.diag(oracle.R)[:20])
    np.testing.assert_allclose(standard_errors(own)[:20], total, rtol=1e-8)
    np.testing.assert_array_equal(own["fit"], oracle.fit.fittedvalues)


def test_marginal_intervals_are_those_of_a_new_cluster(oracle):
    fit, X = oracle.fit, oracle.X
    mean = np.einsum("ij,jk,ik->i", X, fit.cov_params().to_numpy(), X)
    confidence = fit.predict(ranef=False, interval="confidence")
    np.testing.assert_allclose(standard_errors(confidence), np.sqrt(mean), rtol=1e-9)
    found = fit.predict(ranef=False, interval="prediction")
    np.testing.assert_allclose(standard_errors(found), np.sqrt(mean + np.diag(oracle.V)), rtol=1e-9)
    confidence = fit.predict(oracle.frame, ranef=False, interval="confidence", level=0.5)
    half = stats.norm.ppf(0.75) * np.sqrt(mean)
    np.testing.assert_allclose(confidence["upper"] - confidence["fit"], half, rtol=1e-9)


def test_intervals_of_new_rows_need_their_weights(oracle):
    fit, frame = oracle.fit, oracle.frame
    own = fit.predict(interval="prediction")
    for weights in (None, "w", frame["w"].to_numpy()):
        found = fit.predict(frame, interval="prediction", weights=weights)
        pd.testing.assert_frame_equal(found, own, rtol=1e-9)
    other = frame.assign(w=frame["w"] * 4.0)
    variance = standard_errors(fit.predict(other, interval="prediction")) ** 2
    rest = standard_errors(own) ** 2 - 0.75 * np.diag(oracle.R)
    np.testing.assert_allclose(variance, rest, rtol=1e-9)
    with pytest.raises(ModelError, match="depends on the weights of new rows"):
        fit.predict(frame.drop(columns="w"), interval="prediction")
    with pytest.raises(ModelError, match="for interval='prediction'"):
        fit.predict(frame, interval="confidence", weights="w")
    with pytest.raises(DataError, match="weights must be positive"):
        fit.predict(frame.assign(w=0.0), interval="prediction")
    some = fit.predict(frame.assign(w=frame["w"].where(frame.index != 3)), interval="prediction")
    assert some["lower"].isna().sum() == 1


def test_levels_that_are_in_no_cluster_of_their_own(frame):
    # Known b levels in an outer level that the fit did not see, and in the wrong one.
    frame["b"] = frame["a"] + frame["b"]
    fit = lmm("y ~ x + z + (1 | a) + (1 | b)", frame, ddf="asymptotic")
    new = frame.head(3).assign(a=["new", frame["a"][5], "new"])
    found = fit.predict(new, new_levels="population", interval="confidence")
    a = fit.ranef["a"]["(Intercept)"].reindex(new["a"]).fillna(0.0).to_numpy()
    b = fit.ranef["b"]["(Intercept)"].reindex(new["b"]).to_numpy()
    marginal = fit.predict(new, ranef=False)
    np.testing.assert_allclose(found["fit"], marginal + a + b, rtol=1e-12)
    labels = {"a": frame["a"].to_numpy(), "b": frame["b"].to_numpy()}
    V = fit.scale * np.eye(len(frame))
    c = np.zeros((3, len(frame)))
    for group, own in labels.items():
        G = fit.varcorr[group].iloc[0, 0]
        V += G * (own[:, None] == own)
        c += G * (new[group].to_numpy()[:, None] == own)
    X, x = (effect_columns(rows, ["(Intercept)", "x", "z"]) for rows in (frame, new))
    d = x - c @ np.linalg.solve(V, X)
    variance = sum(fit.varcorr[g].iloc[0, 0] for g in labels)
    variance = variance - np.diag(c @ np.linalg.solve(V, c.T))
    variance = variance + np.diag(d @ dense.gls(frame["y"].to_numpy(), X, V)[1] @ d.T)
    np.testing.assert_allclose(standard_errors(found), np.sqrt(variance), rtol=1e-9)


def test_a_linear_model_has_the_intervals_of_the_textbook(frame):
    fit = lmm("y ~ x + z", frame)
    X = effect_columns(frame, ["(Intercept)", "x", "z"])
    leverage = np.einsum("ij,jk,ik->i", X, np.linalg.inv(X.T @ X), X)
    for interval, extra in (("confidence", 0.0), ("prediction", 1.0)):
        found = fit.predict(frame, interval=interval)
        half = stats.t.ppf(0.975, len(frame) - 3) * fit.sigma * np.sqrt(leverage + extra)
        np.testing.assert_allclose(found["upper"] - found["fit"], half, rtol=1e-10)


def test_a_loaded_fit_has_marginal_intervals_only(frame, fit):
    loaded = mlm.load(fit.to_json())
    pd.testing.assert_frame_equal(
        loaded.predict(frame, ranef=False, interval="confidence"),
        fit.predict(frame, ranef=False, interval="confidence"),
    )
    pd.testing.assert_frame_equal(
        loaded.predict(frame, ranef=False, interval="prediction"),
        fit.predict(frame, ranef=False, interval="prediction"),
        rtol=1e-10,
    )
    with pytest.raises(ModelError, match="loaded fit holds none"):
        loaded.predict(frame, ranef=False, interval="prediction", ddf="kenward-roger")
    normal = lmm(formula_of("(x | a/b)"), frame, ddf="asymptotic")
    pd.testing.assert_frame_equal(
        mlm.load(normal.to_json()).predict(frame, ranef=False, interval="prediction"),
        normal.predict(frame, ranef=False, interval="prediction"),
    )
    with pytest.raises(ModelError, match="loaded"):
        loaded.predict(frame, interval="confidence")
    with pytest.raises(ModelError, match="loaded"):
        loaded.predict()


def test_subjects_of_a_residual_structure_alone_are_not_asked_for():
    data = mlm.load_sleepstudy()
    fit = mlm.lmm("Reaction ~ Days", data, residual="ar1(Days | Subject)")
    new = {"Days": [3, 10], "Subject": ["somebody", "308"]}
    at_population = fit.params["(Intercept)"] + fit.params["Days"] * np.array([3, 10])
    np.testing.assert_allclose(fit.predict({"Days": [3, 10]}), at_population, rtol=1e-12)
    np.testing.assert_allclose(fit.predict(new), at_population, rtol=1e-12)
    for interval in ("confidence", "prediction"):
        pd.testing.assert_frame_equal(
            pd.DataFrame(fit.predict(new, interval=interval)),
            pd.DataFrame(fit.predict(new, ranef=False, interval=interval)),
        )


@pytest.mark.parametrize("value", [np.inf, -np.inf, 1e200])
@pytest.mark.parametrize("how", [{}, {"ranef": False}, {"interval": "prediction"}])
def test_values_of_which_no_prediction_comes_are_refused_by_name(value, how):
    fit = mlm.lmm("Reaction ~ Days + (Days | Subject)", mlm.load_sleepstudy())
    new = {"Days": [np.nan, 1.0, value, value], "Subject": ["308"] * 4}
    with pytest.raises(DataError, match=r"'Days' of newdata is .* in row 2 \(2 such row\(s\)\)"):
        fit.predict(new, **how)
