"""One fit for each data set of many: each row is the fit of its data alone, to the bit."""

import pickle
import warnings

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
from numpy.testing import assert_array_equal

import mlmfast as mlm
from mlmfast.errors import (
    AliasedWarning,
    DataError,
    DifferentContrastsWarning,
    FormulaError,
    MlmError,
    ModelError,
    SingularFitWarning,
)
from mlmfast.many_data_sets.data_sets import Stacked

from ..threads import output_for_any_number_of_threads

pytestmark = pytest.mark.filterwarnings("ignore::mlmfast.SingularFitWarning")

MODELS = {
    "intercept": ("y ~ x + (1 | g)", {}),
    "slope": ("y ~ x * f + (x | g)", {}),
    "uncorrelated": ("y ~ x + (x || g)", {}),
    "nested": ("y ~ x + (1 | g/h)", {}),
    "crossed": ("y ~ x + (1 | g) + (1 | item)", {}),
    "structured": ("y ~ f + cs(0 + f | g)", {}),
    "least squares": ("y ~ x + f", {}),
    "bases": ("y ~ bs(x, 4) + scale(z) + (1 | g)", {}),
    "offset": ("y ~ x + offset(z) + (1 | g)", {}),
    "weights": ("y ~ x + (1 | g)", {"weights": "w"}),
    "visits": ("y ~ x", {"residual": "ar1(visit | g)"}),
    "scale": ("y ~ x + (1 | g)", {"residual_scale": "f"}),
    "dense": ("y ~ x + (1 | g)", {"options": {"engine": "dense"}}),
}


def study(seed, n_groups, n_rows):
    """Rows of one study, unbalanced."""
    rng = np.random.default_rng(seed)
    g = np.sort(rng.integers(0, n_groups, n_rows))
    x, z = rng.normal(size=(2, n_rows))
    b = rng.normal(size=(2, n_groups))
    frame = pd.DataFrame(
        {
            "g": [f"g{k:02d}" for k in g],
            "h": rng.integers(0, 3, n_rows),
            "item": rng.integers(0, 6, n_rows),
            "visit": pd.Series(g).groupby(g).cumcount().to_numpy(),
            "f": np.array(["a", "b", "c"])[rng.integers(0, 3, n_rows)],
            "x": x,
            "z": z,
            "w": rng.uniform(0.5, 2.0, n_rows),
        }
    )
    frame["y"] = 1.0 + 0.5 * x + b[0, g] + 0.5 * b[1, g] * x + rng.normal(size=n_rows)
    return frame


@pytest.fixture(scope="module")
def studies():
    """Five studies of different sizes, by the columns site and year."""
    parts = [study(k, 6 + k, 60 + 12 * k) for k in range(5)]
    for part, site, year in zip(parts, "uvuvw", [1, 1, 2, 2, 2], strict=True):
        part["site"], part["year"] = site, year
    whole = pd.concat(parts, ignore_index=True)
    return whole.sample(frac=1.0, random_state=3)


def assert_is_fit(batch, k, fit):
    """Row k of a batch is a single fit."""
    names = list(fit.params.index)
    at = [batch.names.index(name) for name in names]
    for name in ("params", "bse", "tvalues", "pvalues", "df"):
        assert_array_equal(np.asarray(getattr(batch, name))[k, at], getattr(fit, name))
    others = np.setdiff1d(np.arange(len(batch.names)), at)
    assert np.isnan(batch.params[k, others]).all()
    for name in ("llf", "deviance", "aic", "bic", "nobs", "converged", "singular"):
        assert getattr(batch, name)[k] == getattr(fit, name), name
    if fit.sigma is not None:
        assert batch.sigma[k] == fit.sigma
    for group, matrix in fit.varcorr.items():
        own = [batch.effects[group].index(name) for name in matrix.index]
        assert_array_equal(batch.varcorr[group][k][np.ix_(own, own)], matrix)
        assert batch.n_groups[group][k] == fit.n_groups[group]
    assert batch.n_evaluations[k] == fit.certificate.n_evaluations
    assert batch.newton_decrement[k] == fit.certificate.newton_decrement


@pytest.mark.parametrize(("formula", "arguments"), MODELS.values(), ids=MODELS)
def test_each_level_is_the_fit_of_its_rows(studies, formula, arguments):
    batch = mlm.fit_each(formula, studies, by=["site", "year"], **arguments)
    groups = list(studies.groupby(["site", "year"]))
    assert len(batch) == len(groups) == 5
    for k, ((site, year), rows) in enumerate(groups):
        assert (batch.by["site"][k], batch.by["year"][k]) == (site, year)
        assert batch.responses[k] == f"{site}:{year}"
        fit = mlm.lmm(formula, rows, **arguments)
        assert_is_fit(batch, k, fit)
        again = batch[k]
        assert again.llf == fit.llf
        assert_array_equal(again.params, fit.params)


@pytest.mark.parametrize("ddf", ["kenward-roger", "residual", "asymptotic", 7.0])
def test_methods_of_degrees_of_freedom(studies, ddf):
    batch = mlm.fit_each("y ~ x + (x | g)", studies, by="site", ddf=ddf)
    for k, (_, rows) in enumerate(studies.groupby("site")):
        fit = mlm.lmm("y ~ x + (x | g)", rows, ddf=ddf)
        assert_is_fit(batch, k, fit)
        tests = batch.contrast(["x", "(Intercept) = 1"])
        alone = fit.contrast(["x", "(Intercept) = 1"])
        assert_array_equal(tests.pvalue[k], alone.table["p_value"])
        assert tests.f_pvalue[k] == alone.f.pvalue


def test_method_and_form_of_the_tables(studies):
    parts = [rows for _, rows in studies.groupby("site")]
    expected = mlm.fit_each("y ~ x + f + (1 | g)", studies, by="site", method="ML")
    forms = {
        "pandas": parts,
        "polars": tuple(pl.from_pandas(part.reset_index(drop=True)) for part in parts),
        "dicts": ({name: part[name].to_numpy() for name in part} for part in parts),
    }
    for form, tables in forms.items():
        batch = mlm.fit_each("y ~ x + f + (1 | g)", tables, method="ML")
        assert batch.responses == ("0", "1", "2"), form
        assert_array_equal(batch.params, expected.params)
        assert_array_equal(batch.pvalues, expected.pvalues)
    for table in (pl.from_pandas(studies), pa.Table.from_pandas(studies)):
        batch = mlm.fit_each("y ~ x + f + (1 | g)", table, by="site", method="ML")
        assert_array_equal(batch.params, expected.params)
        assert batch.by["site"].tolist() == ["u", "v", "w"]


def test_weights_and_offsets_by_row_go_with_their_rows(studies):
    weights, offset = studies["w"], studies["z"]
    batch = mlm.fit_each("y ~ x + (1 | g)", studies, by="site", weights=weights, offset=offset)
    for k, (_, rows) in enumerate(studies.groupby("site")):
        assert_is_fit(batch, k, mlm.lmm("y ~ x + (1 | g)", rows, weights="w", offset=rows["z"]))


def test_a_failure_is_a_row_that_says_why(studies):
    rows = study(9, 6, 60)
    tables = {
        "good": rows,
        "empty": rows.iloc[:0],
        "one level": rows.assign(g="g00"),
        "no values": rows.assign(y=np.nan),
        "constant": rows.assign(y=2.0),
        "infinite": rows.assign(x=np.where(rows.index == 3, np.inf, rows["x"])),
        "lacking": rows.drop(columns="x"),
        "few rows": rows.iloc[:2],
        "text": rows.assign(y="high"),
        "not a table": 5,
        "good too": study(10, 8, 70),
    }
    batch = mlm.fit_each("y ~ x + (1 | g)", list(tables.values()))
    words = {
        "empty": "empty: 0 rows",
        "one level": "grouping factor 'g' has 1 level",
        "no values": "column 'y' has no value that is not missing",
        "constant": "the response 'y' has no residual variance",
        "infinite": "'x' has 1 infinite value",
        "lacking": "there is no column 'x'",
        "few rows": "nothing is left to estimate",
        "text": "the response 'y' is not numeric",
        "not a table": "data of type int cannot be read",
    }
    for k, (name, table) in enumerate(tables.items()):
        if name not in words:
            assert_is_fit(batch, k, mlm.lmm("y ~ x + (1 | g)", table))
            continue
        assert words[name] in batch.status[k]
        with pytest.raises(MlmError) as alone:
            mlm.lmm("y ~ x + (1 | g)", table)
        assert str(alone.value) == batch.status[k]
        with pytest.raises(MlmError):
            batch[k]
        for array in (batch.params, batch.bse, batch.pvalues, batch.df, batch.cov_params):
            assert np.isnan(array[k]).all()
        assert np.isnan(batch.llf[k])
        assert not batch.converged[k]
        assert batch.nobs[k] == 0
    glance = batch.glance()
    assert glance["status"].tolist() == batch.status.tolist()
    assert np.isfinite(glance["llf"]).sum() == 2
    tests = batch.tests("x")
    assert np.isfinite(tests.pvalue[:, 0]).tolist() == [True, *[False] * 9, True]


def test_nothing_but_failures():
    rows = study(9, 6, 60)
    batch = mlm.fit_each("y ~ x + (1 | g)", [rows.assign(y=1.0), rows.iloc[:0]])
    assert batch.params.shape == (2, 0)
    assert batch.tidy("fixed").empty
    assert len(batch.glance()) == 2


def test_levels_that_a_data_set_lacks(studies):
    parts = [study(k, 8, 80) for k in range(3)]
    parts[1]["f"] = parts[1]["f"].replace("c", "b")
    parts[2]["f"] = parts[2]["f"].replace("a", "b")
    with pytest.warns(DifferentContrastsWarning, match=r"'fc' is c - a in fit '0' and c - b in"):
        batch = mlm.fit_each("y ~ f + (1 | g)", parts)
    assert batch.names == ("(Intercept)", "fb", "fc")
    assert_array_equal(np.isnan(batch.params), [[0, 0, 0], [0, 0, 1], [0, 1, 0]])
    for k, part in enumerate(parts):
        assert_is_fit(batch, k, mlm.lmm("y ~ f + (1 | g)", part))
    # Means of levels need no other level.
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        cells = mlm.fit_each("y ~ 0 + f + (0 + f | g)", parts)
    assert cells.effects["g"] == ("fa", "fb", "fc")
    assert_array_equal(np.isnan(cells.varcorr["g"][1]).any(axis=0), [True, True, True])
    assert np.isfinite(cells.varcorr["g"][1][:2, :2]).all()
    with pytest.raises(ModelError, match="no fit of the batch has"):
        mlm.fit_each("y ~ f + (1 | g)", parts[1:]).tests("fb - fc")


def test_sums_to_zero_over_other_levels_are_told():
    parts = [study(k, 8, 80) for k in range(2)]
    parts[1]["f"] = parts[1]["f"].replace("c", "b")
    with pytest.warns(DifferentContrastsWarning, match=r"1 of 2 fits differ"):
        mlm.fit_each("y ~ f + (1 | g)", parts, contrasts={"f": "contr.sum"})


def test_aliased_columns_are_nan_and_named():
    parts = [study(k, 8, 80) for k in range(2)]
    parts[1]["z"] = 2.0 * parts[1]["x"]
    batch = mlm.fit_each("y ~ x + z + (1 | g)", parts)
    assert_array_equal(batch.aliased, [[False] * 3, [False, False, True]])
    assert np.isnan(batch.params[1, 2])
    with pytest.warns(AliasedWarning):
        fit = mlm.lmm("y ~ x + z + (1 | g)", parts[1])
    assert batch.llf[1] == fit.llf
    assert_array_equal(batch.df[1], fit.df)
    # 2 x and z are told apart in the first alone.
    tests = batch.tests("z")
    assert_array_equal(np.isfinite(tests.pvalue[:, 0]), [True, False])
    both = batch.tests({"x": 1.0, "z": 2.0})
    assert np.isfinite(both.pvalue).all()


def test_declared_levels_and_dates_are_those_of_the_whole_table(studies):
    dates = pd.Timestamp("2024-01-01") + pd.to_timedelta(7 * studies["visit"], unit="D")
    declared = pd.Categorical(studies["visit"], range(40), ordered=True)
    data = studies.assign(day=dates, week=declared, ok=studies["item"] > 2)
    for residual in ("ar1(week | g)", "ar1(day | g)"):
        batch = mlm.fit_each("y ~ x + ok", data, by=["site", "year"], residual=residual)
        for k, (_, rows) in enumerate(data.groupby(["site", "year"])):
            assert_is_fit(batch, k, mlm.lmm("y ~ x + ok", rows, residual=residual))


def test_rows_without_a_level_are_in_no_fit(studies):
    holes = studies.copy()
    holes.loc[holes.index[:30], "site"] = None
    batch = mlm.fit_each("y ~ x + (1 | g)", holes, by="site")
    for k, (_, rows) in enumerate(holes.groupby("site")):
        assert_is_fit(batch, k, mlm.lmm("y ~ x + (1 | g)", rows))
    with pytest.raises(DataError, match="30 missing values"):
        mlm.fit_each("y ~ x + (1 | g)", holes, by="site", na_action="raise")


def test_labels_keep_their_types_and_order(studies):
    levels = pd.Categorical(studies["site"], ["w", "x", "v", "u"])
    batch = mlm.fit_each("y ~ x + (1 | g)", studies.assign(site=levels), by="site")
    assert batch.by["site"].tolist() == ["w", "v", "u"]
    numbers = mlm.fit_each("y ~ x + (1 | g)", studies, by="year")
    assert numbers.by["year"].tolist() == [1, 2]
    assert numbers.tidy()["year"].dtype.kind == "i"
    logical = mlm.fit_each("y ~ x + (1 | g)", studies.assign(late=True), by="late")
    assert logical.by["late"].tolist() == [True]


def test_tidy_and_glance_are_those_of_single_fits(studies):
    batch = mlm.fit_each("y ~ x + (x | g)", studies, by="site")
    tidy, glance = batch.tidy(), batch.glance()
    for site, rows in studies.groupby("site"):
        fit = mlm.lmm("y ~ x + (x | g)", rows)
        own = tidy[tidy["site"] == site].drop(columns="site").reset_index(drop=True)
        pd.testing.assert_frame_equal(own, fit.tidy(), rtol=1e-14)
        alone = fit.glance()
        same = [name for name in alone if name in glance]
        assert len(same) >= 12
        pd.testing.assert_frame_equal(
            glance.loc[glance["site"] == site, same].reset_index(drop=True), alone[same]
        )


def test_what_concerns_all_fits_is_refused_at_once(studies):
    def fit(formula="y ~ x + (1 | g)", data=studies, by="site", **arguments):
        return mlm.fit_each(formula, data, by, **arguments)

    with pytest.raises(FormulaError):
        fit("y ~ x + (1 | ")
    with pytest.raises(FormulaError, match="contrasts are given for 'q'"):
        fit(contrasts={"q": "contr.sum"})
    with pytest.raises(DataError, match="no column 'q'"):
        fit("y ~ q + (1 | g)")
    with pytest.raises(DataError, match="no column 'place'"):
        fit(by="place")
    with pytest.raises(DataError, match=r"by is \[3\]"):
        fit(by=[3])
    with pytest.raises(DataError, match="needs by="):
        fit(by=None)
    with pytest.raises(DataError, match="empty sequence"):
        fit(data=[])
    with pytest.raises(DataError, match="empty sequence"):
        fit(data=[], by=None)
    with pytest.raises(DataError, match="no column 'q'"):
        fit("y ~ q + (1 | g)", [studies, studies], None)
    with pytest.raises(DataError, match="name of a column of each"):
        fit(data=[studies, studies], by=None, weights=studies["w"])
    with pytest.raises(DataError, match="weights has shape"):
        fit(weights=[1.0, 2.0])
    with pytest.raises(ModelError, match="method is 'MLE'"):
        fit(method="MLE")
    with pytest.raises(ModelError, match="ddf"):
        fit(ddf="kenward")
    with pytest.raises(ModelError, match="needs a REML fit"):
        fit(ddf="kenward-roger", method="ML")
    with pytest.raises(ModelError, match="unknown options"):
        fit(options={"tol": 1e-3})
    with pytest.raises(MlmError, match="structure"):
        fit(residual="uss(visit | g)")
    with pytest.raises(DataError, match="na_action"):
        fit(na_action="omit")
    with pytest.raises(DataError, match="y= goes without a formula"):
        fit(y=np.ones((2, 3)))


@pytest.fixture(scope="module")
def arrays():
    """Four data sets of one shape: y (4, n), X (4, n, 2), groups (n,), Z (4, n, 2)."""
    rng = np.random.default_rng(8)
    groups = np.repeat(np.arange(12), 6)
    X = np.stack([np.ones((4, 72)), rng.normal(size=(4, 72))], axis=2)
    effects = rng.normal(size=(4, 12, 2))[:, groups]
    y = X.sum(axis=2) + (X * effects).sum(axis=2) + rng.normal(size=(4, 72))
    return y, X, groups, X


def alone(arrays, k, **arguments):
    y, X, groups, Z = arrays
    return mlm.LMM.from_arrays(y[k], X[k], groups=groups, Z=Z[k]).fit(**arguments)


@pytest.mark.parametrize("method", ["REML", "ML"])
def test_arrays_with_a_leading_axis(arrays, method):
    y, X, groups, Z = arrays
    batch = mlm.fit_each(y=y, X=X, groups=groups, Z=Z, method=method)
    assert batch.names == ("x1", "x2")
    for k in range(4):
        fit = alone(arrays, k, method=method)
        assert_is_fit(batch, k, fit)
        assert batch[k].llf == fit.llf
    every = np.repeat(groups[None], 4, axis=0)
    for other in (
        mlm.fit_each(y=list(y), X=list(X), groups=[groups] * 4, Z=list(Z), method=method),
        mlm.fit_each(y=y, X=X, groups={"group": every}, Z={"group": Z}, method=method),
    ):
        assert_array_equal(other.params, batch.params)
        assert_array_equal(other.pvalues, batch.pvalues)


def test_shared_arrays_and_intercepts(arrays):
    y, X, groups, _ = arrays
    shared = mlm.fit_each(y=y, X=X[0], groups=groups, names=["one", "t"])
    many = mlm.LMM.from_arrays(y[0], X[0], groups=groups, names=["one", "t"]).fit_many(y.T)
    assert shared.names == ("one", "t")
    assert_array_equal(shared.params, many.params)
    assert_array_equal(shared.bse, many.bse)
    assert_array_equal(shared.llf, many.llf)
    assert_array_equal(shared.df, many.df)
    weights = np.linspace(0.5, 2.0, 72)
    weighted = mlm.fit_each(y=y, X=X, groups=groups, weights=weights, offset=X[:, :, 1])
    fit = mlm.LMM.from_arrays(
        y[2], X[2], groups=groups, weights=weights, offset=X[2, :, 1].copy()
    ).fit()
    assert_is_fit(weighted, 2, fit)


def test_arrays_of_different_shapes_and_with_holes(arrays):
    y, X, groups, _ = arrays
    sizes = [72, 50, 61, 3]
    parts = {
        "y": [y[k, :n] for k, n in enumerate(sizes)],
        "X": [X[k, :n] for k, n in enumerate(sizes)],
        "groups": [groups[:n] for n in sizes],
    }
    batch = mlm.fit_each(**parts)
    for k, n in enumerate(sizes[:3]):
        fit = mlm.LMM.from_arrays(y[k, :n], X[k, :n], groups=groups[:n]).fit()
        assert_is_fit(batch, k, fit)
    assert "1 level" in batch.status[3]
    holes = y.copy()
    holes[1, 4:9] = np.nan
    holes[2] = np.nan
    batch = mlm.fit_each(y=holes, X=X, groups=groups)
    rows = ~np.isnan(holes[1])
    assert_is_fit(batch, 1, mlm.LMM.from_arrays(y[1][rows], X[1][rows], groups=groups[rows]).fit())
    assert batch.status[2] == "the response has no value that is not missing"


def test_arrays_that_make_no_batch(arrays):
    y, X, groups, _ = arrays
    with pytest.raises(DataError, match=r"y has shape \(72,\)"):
        mlm.fit_each(y=y[0], X=X[0], groups=groups)
    with pytest.raises(DataError, match="by= goes with a formula"):
        mlm.fit_each(y=y, X=X, groups=groups, by="site")
    with pytest.raises(DataError, match=r"X has shape \(3, 72, 2\) for 4 fits"):
        mlm.fit_each(y=y, X=X[:3], groups=groups)
    with pytest.raises(DataError, match="X has 70 rows a fit and y 72"):
        mlm.fit_each(y=y, X=X[:, :70], groups=groups)
    with pytest.raises(DataError, match="groups has 4 rows a fit"):
        mlm.fit_each(y=y, X=X, groups=groups[:4])
    with pytest.raises(DataError, match="X= is needed"):
        mlm.fit_each(y=y, groups=groups)


def test_a_batch_in_any_order_and_company_is_the_same(studies):
    parts = [rows for _, rows in studies.groupby(["site", "year"])]
    batch = mlm.fit_each("y ~ x + (x | g)", parts)
    order = [3, 0, 4, 1, 2]
    again = mlm.fit_each("y ~ x + (x | g)", [parts[k] for k in order])
    for name in ("params", "bse", "llf", "sigma", "df", "pvalues", "n_evaluations"):
        assert_array_equal(getattr(again, name), np.asarray(getattr(batch, name))[order])


BATCH = """
import numpy as np, mlmfast as mlm
rng = np.random.default_rng(3)
g = np.repeat(np.arange(20), 5)
X = np.stack([np.ones((300, 100)), rng.normal(size=(300, 100))], axis=2)
y = X.sum(axis=2) + rng.normal(size=(300, 20))[:, g] + rng.normal(size=(300, 100))
batch = mlm.fit_each(y=y, X=X, groups=g, Z=X)
for array in (batch.params, batch.bse, batch.pvalues, batch.varcorr["group"], batch.llf):
    print(array.tobytes().hex())
"""


def test_one_and_two_threads_give_the_same_bits():
    assert len(output_for_any_number_of_threads(BATCH)) > 300 * 16


def test_many_regular_data_sets_beside_irregular_ones():
    rng = np.random.default_rng(4)
    g = np.repeat(np.arange(10), 4)
    X = np.stack([np.ones((40, 40)), rng.normal(size=(40, 40))], axis=2)
    y = X.sum(axis=2) + rng.normal(size=(40, 10))[:, g] + rng.normal(size=(40, 40))
    X[3, :, 1], y[5], y[7, 2], y[9] = 1.0, 2.0, np.nan, np.inf
    batch = mlm.fit_each(y=y, X=X, groups=g)
    for k in (*range(3), 4, 6, 8, *range(10, 40)):
        assert_is_fit(batch, k, mlm.LMM.from_arrays(y[k], X[k], groups=g).fit())
    assert batch.aliased[3].tolist() == [False, True]
    assert "no residual variance" in batch.status[5]
    assert batch.nobs[7] == 39
    assert "infinite" in batch.status[9]
    few = mlm.fit_each(y=y[:3], X=X[:3], groups=g)
    assert_array_equal(few.params, batch.params[:3])
    assert_array_equal(few.pvalues, batch.pvalues[:3])


def test_a_pickled_batch_answers_as_before(studies):
    tables = [rows for _, rows in studies.groupby("site")]
    for batch in (
        mlm.fit_each("y ~ x + (x | g)", studies, by="site"),
        mlm.fit_each("y ~ x + (x | g)", tables),
    ):
        again = pickle.loads(pickle.dumps(batch))
        assert_array_equal(again.pvalues, batch.pvalues)
        assert_array_equal(again.tests("x").df, batch.tests("x").df)
        assert again[1].llf == batch[1].llf


def test_singular_fits_are_rows_of_that_status():
    part = study(3, 8, 80)
    part["y"] -= part.groupby("g")["y"].transform("mean")
    batch = mlm.fit_each("y ~ x + (1 | g)", [part])
    with pytest.warns(SingularFitWarning):
        fit = mlm.lmm("y ~ x + (1 | g)", part)
    assert batch.status[0] == "singular"
    assert_is_fit(batch, 0, fit)


@pytest.mark.parametrize("slopes", [True, False])
def test_responses_with_holes_of_their_own_are_fitted_together(slopes, monkeypatch):
    rng = np.random.default_rng(1)
    n, g = 24, np.repeat(np.arange(12), 6)
    X = np.stack([np.ones((n, g.size)), rng.normal(size=(n, g.size))], axis=2)
    effects = rng.normal(size=(n, 12, 2))
    Y = X.sum(axis=2) + (X * effects[:, g]).sum(axis=2) + rng.normal(size=(n, g.size))
    Y[rng.random(Y.shape) < 0.15] = np.nan
    Y[4, g == 3] = np.nan  # a group less
    Y[5] = 1.0 + rng.normal(size=g.size)  # complete
    irregular = [3, 7, 9, 11]
    Y[3, 3], Y[7], Y[9, 5:], Y[11] = np.inf, np.nan, np.nan, 1.0
    seen = []
    one = Stacked.model
    monkeypatch.setattr(Stacked, "model", lambda data, k: seen.append(k) or one(data, k))
    Z = X if slopes else None
    batch = mlm.fit_each(y=Y, X=X, groups=g, Z=Z)
    assert set(seen) == {0, 5, *irregular}, "an example of each kind, and what has a tale to tell"
    for k in range(n):
        if k in irregular:
            assert np.isnan(batch.llf[k])
            assert batch.status[k] not in {"converged", "singular", "not converged"}
            continue
        rows = ~np.isnan(Y[k])
        own = None if Z is None else Z[k][rows]
        fit = mlm.LMM.from_arrays(Y[k][rows], X[k][rows], groups=g[rows], Z=own).fit()
        assert batch.llf[k] == fit.llf
        assert_array_equal(batch.params[k], fit.params)
        assert_array_equal(batch.bse[k], fit.bse)
        np.testing.assert_allclose(batch.df[k], fit.df, rtol=1e-10)
        assert batch.nobs[k] == rows.sum()
        assert batch.n_groups["group"][k] == len(set(g[rows]))
