"""Many responses, some with missing values: each is the fit of its own rows, to the bit."""

import numpy as np
import pandas as pd
import polars as pl
import pytest
from numpy.testing import assert_array_equal

import mlmfast as mlm
from mlmfast.errors import DataError, ModelError

from ..problems import nested_frame

FORMULAS = {
    "nested": "y ~ x * f + (x | a) + (1 | a:b)",
    "crossed": "y ~ x + f + (1 | a) + (1 | c)",
    "least squares": "y ~ x + poly(z, 2)",
    "bases of the rows": "y ~ bs(z, df=4) + scale(x) + (1 | a)",
}


@pytest.fixture(scope="module")
def frame():
    return nested_frame()


@pytest.fixture(scope="module")
def responses(frame):
    """Six responses: two complete, two with the same holes, one with others, one in one row."""
    rng = np.random.default_rng(5)
    Y = frame["y"].to_numpy()[:, None] + rng.normal(size=(len(frame), 6))
    Y[[3, 17, 40], 1] = np.nan
    Y[[3, 17, 40], 3] = np.nan
    Y[60:66, 4] = np.nan
    Y[-1, 5] = np.nan
    return pd.DataFrame(Y, columns=[f"gene{k}" for k in range(6)], index=frame.index)


def alone(formula, frame, values, **arguments):
    """The fit of one response on the rows where it has a value."""
    return mlm.lmm(formula, frame.assign(y=values), **arguments)


@pytest.mark.parametrize("formula", FORMULAS.values(), ids=FORMULAS)
@pytest.mark.filterwarnings("ignore::mlmfast.SingularFitWarning")
def test_each_response_is_the_fit_of_its_rows(frame, responses, formula):
    batch = mlm.LMM(formula, frame, weights="w", offset="off").fit_many(responses)
    assert batch.responses == tuple(responses.columns)
    df = batch.df()
    for k, name in enumerate(responses.columns):
        fit = alone(formula, frame, responses[name], weights="w", offset="off")
        assert batch.nobs[k] == fit.nobs == responses[name].notna().sum()
        assert batch.llf[k] == fit.llf
        assert batch.sigma[k] == fit.sigma
        assert_array_equal(batch.params[k], fit.params)
        assert_array_equal(batch.bse[k], fit.bse)
        assert_array_equal(batch.cov_params[k], fit.cov_params())
        for group, matrix in fit.varcorr.items():
            assert_array_equal(batch.varcorr[group][k], matrix)
        np.testing.assert_allclose(df[k], fit.df, rtol=1e-12)
        assert batch.status[k] == ("singular" if fit.singular else "converged")


def test_residual_structures_and_relationships_go_by_the_rows_left(frame):
    data = frame.assign(visit=np.arange(len(frame)) % 4, id=np.arange(len(frame)) // 4)
    Y = np.column_stack([data["y"], data["y"]])
    Y[5:7, 1] = np.nan
    related = pd.DataFrame(0.5 * np.eye(10) + 0.5, *[sorted(set(data["a"]))] * 2)
    cases = [
        ("y ~ x", {"residual": "us(visit | id)"}),
        ("y ~ x + (1 | a)", {"residual_scale": "f"}),
        ("y ~ x + (1 | a)", {"cov": {"a": related}}),
    ]
    for formula, arguments in cases:
        batch = mlm.LMM(formula, data, **arguments).fit_many(Y)
        fit = alone(formula, data, Y[:, 1], **arguments)
        assert batch.llf[1] == fit.llf
        assert_array_equal(batch.params[1], fit.params)


def test_models_from_arrays_drop_rows_too(frame, responses):
    X = np.column_stack([np.ones(len(frame)), frame["x"], frame["z"]])

    def model(rows):
        return mlm.LMM.from_arrays(
            frame["y"][rows],
            X[rows],
            groups=frame["a"][rows],
            Z=X[rows, :2],
            weights=frame["w"][rows],
        )

    batch = model(np.ones(len(frame), dtype=bool)).fit_many(responses)
    for k, name in enumerate(responses.columns):
        rows = responses[name].notna().to_numpy()
        single = model(rows).fit_many(responses[name].to_numpy()[rows])
        assert batch.llf[k] == single.llf[0]
        assert_array_equal(batch.params[k], single.params[0])


def test_responses_that_share_their_rows_are_reduced_once(frame, monkeypatch):
    from mlmfast.batch import fit_many as batch_patterns

    calls = []
    reduce = batch_patterns.reduce_design
    monkeypatch.setattr(
        batch_patterns, "reduce_design", lambda *args: calls.append(1) or reduce(*args)
    )
    Y = frame["y"].to_numpy()[:, None] + np.random.default_rng(8).normal(size=(len(frame), 20))
    Y[[3, 17, 40], :9] = np.nan
    Y[60:66, 9] = np.nan
    batch = mlm.LMM(FORMULAS["nested"], frame).fit_many(Y)
    assert len(calls) == 3, "those with the same holes, the one with others, and the complete"
    assert batch.converged.all()


@pytest.mark.parametrize("ddf", ["satterthwaite", "kenward-roger"])
@pytest.mark.parametrize("made_from", ["formula", "arrays"])
def test_responses_with_holes_of_their_own_are_fitted_together(frame, monkeypatch, made_from, ddf):
    from mlmfast.batch import fit_many as batch_patterns

    rng = np.random.default_rng(9)
    Y = frame["y"].to_numpy()[:, None] + rng.normal(size=(len(frame), 12))
    Y[rng.random(Y.shape) < 0.2] = np.nan
    Y[(frame["a"] == "a3").to_numpy(), 2] = np.nan  # a group less
    Y[10:, 5] = np.nan  # too few rows for much
    formula = "y ~ x * f + (x | a)"
    whole = mlm.LMM(formula, frame)

    def model(rows):
        if made_from == "formula":
            return mlm.LMM(formula, frame[rows])
        X = np.stack(whole.design.x[1:], axis=1)[rows]
        X = np.column_stack([np.ones(len(X)), X])
        return mlm.LMM.from_arrays(frame["y"][rows], X, groups=frame["a"][rows], Z=X[:, :2])

    monkeypatch.setattr(batch_patterns, "reduce_design", None)
    others = np.arange(12) != 5
    batch = model(np.ones(len(frame), dtype=np.bool_)).fit_many(Y[:, others], ddf=ddf)
    monkeypatch.undo()
    for k, y in enumerate(Y[:, others].T):
        rows = ~np.isnan(y)
        fit = model(rows).fit_many(y[rows], ddf=ddf)
        assert batch.nobs[k] == rows.sum()
        assert batch.n_groups["a"][k] == len(set(frame["a"][rows]))
        for name in ("llf", "params", "bse", "cov_params", "sigma", "n_evaluations"):
            assert_array_equal(getattr(batch, name)[k], getattr(fit, name)[0])
        np.testing.assert_allclose(batch.df[k], fit.df[0], rtol=1e-10)
        assert batch[k].llf == batch.llf[k]
    with_few = whole.fit_many(Y, ddf=ddf)
    assert with_few.status[5] not in {"converged", "singular"}


@pytest.mark.parametrize("library", ["pandas", "nullable", "polars", "pyarrow", "masked", "numpy"])
def test_responses_of_every_kind(frame, responses, library):
    model = mlm.LMM(FORMULAS["nested"], frame)
    values = responses.to_numpy()
    forms = {
        "pandas": lambda: responses.iloc[::-1],  # by its labels
        "nullable": lambda: responses.convert_dtypes(),
        "polars": lambda: pl.from_pandas(responses, nan_to_null=True),
        "pyarrow": lambda: pl.from_pandas(responses, nan_to_null=True).to_arrow(),
        "masked": lambda: np.ma.array(np.nan_to_num(values, nan=1e6), mask=np.isnan(values)),
        "numpy": lambda: values,
    }
    batch, expected = model.fit_many(forms[library]()), model.fit_many(values)
    assert_array_equal(batch.params, expected.params)
    assert_array_equal(batch.nobs, expected.nobs)
    if library not in {"masked", "numpy"}:
        assert batch.responses == tuple(responses.columns)


def test_rows_the_model_leaves_out(frame, responses):
    holes = frame.assign(x=frame["x"].where(np.arange(len(frame)) != 50))
    model = mlm.LMM(FORMULAS["nested"], holes)
    batch = model.fit_many(responses)
    used = np.arange(len(frame)) != 50
    assert_array_equal(batch.params, model.fit_many(responses[used]).params)
    assert batch.nobs.tolist() == (responses[used].notna().sum()).tolist()
    assert batch.llf[4] == alone(FORMULAS["nested"], holes, responses["gene4"]).llf


def test_a_failure_is_a_row_that_says_why(frame, responses):
    Y = responses.assign(nothing=np.nan, few=np.nan, infinite=frame["y"])
    Y.loc[:2, "few"] = [1.0, 2.0, 4.0]
    Y.loc[7, "infinite"] = np.inf
    batch = mlm.LMM("y ~ x + f + (1 | a)", frame).fit_many(Y)
    single = mlm.LMM("y ~ x + f + (1 | a)", frame).fit_many(responses)
    assert_array_equal(batch.params[:6], single.params)
    assert batch.status[6] == "response 'nothing' has no value that is not missing"
    assert batch.status[8] == "response 'infinite' has 1 infinite value(s), first in row 7"
    assert batch.status[7]
    assert batch.status[7] not in {"converged", "singular", "not converged"}
    for k in (6, 7, 8):
        assert not batch.converged[k]
        assert np.isnan(batch.params[k]).all()
        assert np.isnan(batch.llf[k])
        assert np.isnan(batch.varcorr["a"][k]).all()
    assert np.isnan(batch.df()[6:]).all()
    tests = batch.tests("x")
    assert_array_equal(tests.pvalue[:6], single.tests("x").pvalue)
    assert np.isnan(tests.pvalue[6:]).all()
    only = mlm.LMM("y ~ x + f + (1 | a)", frame).fit_many(Y[["nothing"]])
    assert only.params.shape == (1, 3)
    assert only.status[0] == batch.status[6]


def test_levels_that_no_row_left_has(frame):
    data = frame.assign(arm=np.array(["a", "b", "c"])[np.arange(len(frame)) % 3])
    formula = "y ~ x + arm + (1 | a)"
    Y = np.column_stack([data["y"]] * 3)
    Y[(data["arm"] == "c").to_numpy(), 1] = np.nan
    Y[(data["arm"] == "a").to_numpy(), 2] = np.nan
    batch = mlm.LMM(formula, data).fit_many(Y)
    fit = alone(formula, data, Y[:, 1])
    assert list(fit.params.index) == ["(Intercept)", "x", "armb"]
    assert_array_equal(batch.params[1], [*fit.params, np.nan])
    assert_array_equal(batch.cov_params[1][:3, :3], fit.cov_params())
    assert batch.llf[1] == fit.llf
    # Without the reference "armc" would be c - b under the name of c - a.
    assert np.isnan(batch.params[2]).all()
    assert "mean something else" in batch.status[2]
    assert_array_equal(np.isfinite(batch.tests("armc").pvalue[:, 0]), [True, False, False])
    assert_array_equal(np.isfinite(batch.tests("armb").pvalue[:, 0]), [True, True, False])
    assert batch.tests("armb").pvalue[1, 0] == fit.contrast("armb").pvalue


def test_what_is_no_matrix_of_responses(frame):
    model = mlm.LMM("y ~ x + (1 | a)", frame)
    with pytest.raises(DataError, match="Y is complex"):
        model.fit_many(np.ones((len(frame), 2)) * 1j)
    with pytest.raises(DataError, match="Y must be an array of numbers"):
        model.fit_many(np.array([["a"]] * len(frame)))
    with pytest.raises(DataError, match="Y and the data have different row labels"):
        model.fit_many(pd.DataFrame({"g": frame["y"].to_numpy()}, index=frame.index + 5))


def test_a_contrast_that_no_response_can_estimate_is_refused(frame):
    doubled = mlm.LMM("y ~ x + I(2 * x) + (1 | a)", frame)
    batch = doubled.fit_many(np.column_stack([frame["y"]] * 2))
    with pytest.raises(ModelError, match="not estimable"):
        batch.tests([[0, 0, 1]])


def test_a_response_with_one_level_of_a_factor_left(frame):
    data = frame.assign(arm=np.where(np.arange(len(frame)) % 2, "b", "a"))
    Y = np.column_stack([data["y"], data["y"].where(data["arm"] == "a")])
    batch = mlm.LMM("y ~ arm + (1 | a)", data).fit_many(Y)
    assert batch.status[0] == "converged"
    assert "'arm'" in batch.status[1]
    assert np.isnan(batch.tests("armb").pvalue[1, 0])
