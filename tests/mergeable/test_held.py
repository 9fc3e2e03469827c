"""Models whose rows stay in parts, asked for sums at every step: the fits of all rows in memory."""

import os
import pickle
import signal
import warnings

import numpy as np
import pandas as pd
import pytest

import mlmfast as mlm
from mlmfast.errors import DataError, ModelError
from mlmfast.mergeable.held import choice
from mlmfast.mergeable.held.fit import fit_held
from mlmfast.mergeable.running import How
from mlmfast.mergeable.streaming import Asked
from mlmfast.prepared.fit_model import Wishes
from mlmfast.sources.executors.processes import worker_processes

from .data import relative

N_SUBJECTS = 60


@pytest.fixture(scope="module")
def data():
    """Subjects of sites at irregular times, by visit too, with weights; rows of subjects apart."""
    rng = np.random.default_rng(5)
    rows = []
    for k in range(N_SUBJECTS):
        times = np.sort(rng.uniform(0, 10, rng.integers(2, 7)))
        shared, slope = rng.normal(), 0.3 * rng.normal()
        noise = 0.0
        for v, t in enumerate(times):
            step = t - times[v - 1] if v else np.inf
            rho = 0.6**step
            noise = rho * noise + np.sqrt(1 - rho**2) * rng.normal()
            y = 2.0 + 0.2 * t + shared + slope * v + noise
            rows.append(
                (f"s{k:02d}", f"c{k % 7}", "ab"[k % 2], t, float(v), y, rng.uniform(0.5, 2))
            )
    data = pd.DataFrame(rows, columns=["id", "site", "arm", "t", "visit", "y", "w"])
    data["x"] = 1e4 + rng.normal(size=len(data))
    data["y"] += 0.4 * (data.x - 1e4) + (data.arm == "b") * 0.5
    data.loc[3, "y"] = np.nan
    return data


def in_parts(data, size=37):
    """Neighbours, so that subjects lie in two parts."""
    return [data[first : first + size] for first in range(0, len(data), size)]


MODELS = {
    "irregular times": ("y ~ x + t", {"residual": "sp_pow(t | id)"}),
    "times by arm": ("y ~ x + arm", {"residual": "sp_exp(t | arm / id)"}),
    "steps": ("y ~ x + t", {"residual": "ar1(visit | id)"}),
    "walked": ("y ~ x + t", {"residual": "arma11(visit | id)"}),
    "series beside effects": ("y ~ x + t + (1 | site)", {"residual": "sp_pow(t | id)"}),
    "visits and weights": ("y ~ x + arm", {"residual": "cs(visit | id)", "weights": "w"}),
    "visits beside effects": ("y ~ x + (1 | site)", {"residual": "toep(visit | id)"}),
    "visits by arm, weights": ("y ~ x", {"residual": "ar1h(visit | arm / id)", "weights": "w"}),
}


@pytest.mark.parametrize("name", MODELS)
def test_a_fit_of_parts_is_that_of_all_rows(data, name):
    formula, how = MODELS[name]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        whole = mlm.lmm(formula, data, **how)
        fit = mlm.lmm(formula, iter(in_parts(data)), memory="1GB", **how)
    assert fit.nobs == whole.nobs
    assert abs(fit.llf - whole.llf) < 1e-8 * abs(whole.llf)
    assert relative(fit.params, whole.params, 1e-3) < 1e-7
    assert relative(fit.bse, whole.bse) < 1e-7
    assert relative(fit.df, whole.df) < 1e-4
    assert relative(fit.residual_parameters, whole.residual_parameters, 1e-2) < 1e-6


def held(formula, source, how=None, ddf=None, **asked):
    """A fit of rows in parts of a model whose statistics could be merged, too."""
    asked = Asked(formula, held=True, **asked)
    return fit_held(asked, source, how or How(), "REML", None, ddf, Wishes())


@pytest.mark.parametrize(
    "formula",
    ["y ~ x + t + (t | id)", "y ~ arm * t + (1 | site / id)", "y ~ x + (1 | id) + (0 + t | id)"],
)
def test_sums_over_parts_are_those_of_the_nested_engine(data, formula):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        whole, fit = mlm.lmm(formula, data), held(formula, in_parts(data))
    theirs, ours = whole._source, fit._source
    assert abs(fit.llf - whole.llf) < 1e-9 * abs(whole.llf)
    assert relative(fit.params, whole.params, 1e-3) < 1e-8
    assert relative(fit.bse, whole.bse) < 1e-8
    assert relative(fit.df, whole.df) < 1e-6
    assert fit.n_groups == whole.n_groups
    # Derivatives at one point, by differences of the value that the parts give.
    criterion, fits = ours.criterion, np.array([0])
    theta = ours.theta + 0.1
    at = criterion(theta, fits)
    for k in range(theta.shape[1]):
        step = 1e-5 * np.eye(theta.shape[1])[[k]]
        up, down = (criterion.value(criterion.move(theta, s), fits) for s in (step, -step))
        assert abs((up - down)[0] / 2e-5 - at.gradient[0, k]) < 1e-5 * (1 + abs(at.gradient[0, k]))
    assert theirs.criterion.n_theta == ours.criterion.n_theta


def test_kenward_roger_and_tests_of_terms(data):
    formula = "y ~ arm * t + (t | id)"
    whole = mlm.lmm(formula, data, ddf="kenward-roger")
    fit = held(formula, in_parts(data), ddf="kenward-roger")
    assert relative(fit.bse, whole.bse) < 1e-8
    assert relative(fit.df, whole.df) < 1e-7
    for kind in (1, 2, 3):
        ours, theirs = fit.anova(type=kind).frame, whole.anova(type=kind).frame
        assert relative(ours.select_dtypes("number"), theirs.select_dtypes("number"), 1e-3) < 1e-6


def test_parts_pickle_as_their_rows(data):
    fit = held("y ~ x + (1 | id)", in_parts(data))
    core = fit._source.model.core
    part = core.workers._parts[0]
    again = pickle.loads(pickle.dumps(part))
    point = [np.full((1, 1, 1), 0.7)]
    for ours, theirs in zip(part.values([point])[0], again.values([point])[0], strict=True):
        np.testing.assert_array_equal(ours, theirs)


def test_what_reads_rows_again_says_so(data):
    fit = held("y ~ x + t + (1 | id)", in_parts(data))
    for ask in (
        lambda: fit.ranef,
        lambda: held("y ~ x + (1 | id)", in_parts(data), ddf="between-within"),
        lambda: held("y ~ x + (1 | id)", in_parts(data), ddf="containment"),
        lambda: fit.robust(),
        lambda: fit.ranova(),
    ):
        with pytest.raises(ModelError, match="rows of this fit stay in parts"):
            ask()
    with pytest.raises(ModelError, match="the rows themselves are needed"):
        fit.resid()
    assert np.isfinite(fit.predict(data[:3], ranef=False)).all()
    assert "x" in str(fit.summary())


def test_bad_input_is_told(data):
    how = {"residual": "sp_pow(t | id)", "memory": "1GB"}
    with pytest.raises(ModelError, match="crossed factors cannot be divided"):
        held("y ~ x + (1 | id) + (1 | visit)", in_parts(data.assign(visit=data.visit.astype(str))))
    twice = pd.concat([data, data[10:11].assign(y=0.0)])
    with pytest.raises(DataError, match="has several rows at"):
        mlm.lmm("y ~ x", [twice], **how)
    with pytest.raises(DataError, match="'s05' is in the arms"):
        mlm.lmm("y ~ x", [data.assign(arm=data.arm.where(data.index != 20, "b").where(
            data.index != 21, "a"))], residual="sp_pow(t | arm / id)", memory="1GB")  # fmt: skip
    with pytest.raises(ModelError, match="not summed over parts"):
        mlm.lmm("y ~ visit + (1 | site)", [data], residual="sp_exp(x, t | id)", memory="1GB")
    with (
        worker_processes(1) as pool,
        pytest.raises(ModelError, match="keep nothing: give a dask"),
    ):
        mlm.lmm("y ~ x", in_parts(data), residual="sp_pow(t | id)", executor=pool)


@pytest.mark.filterwarnings("ignore")
def test_a_cluster_that_loses_a_worker_gives_the_same_numbers(data, tmp_path, monkeypatch):
    distributed = pytest.importorskip("distributed")
    for k, own in enumerate(in_parts(data, 100)):
        own.to_parquet(tmp_path / f"{k}.parquet")
    source, formula = str(tmp_path / "*.parquet"), "y ~ t"
    cluster = distributed.LocalCluster(
        2, threads_per_worker=1, processes=True, dashboard_address=":0", memory_limit=0
    )
    with cluster, distributed.Client(cluster) as client:
        how = {"residual": "sp_pow(t | id)"}
        fit = mlm.lmm(formula, source, executor=client, **how)
        whole = mlm.lmm(formula, data, **how)
        assert abs(fit.llf - whole.llf) < 1e-10 * abs(whole.llf)
        assert relative(fit.params, whole.params, 1e-3) < 1e-8
        # The parts of a worker that dies are read and reduced again where they are asked for.
        criterion, theta = fit._source.criterion, fit._source.theta
        before = criterion(theta, np.array([0]))
        os.kill(next(iter(client.run(os.getpid).values())), signal.SIGKILL)
        after = criterion(theta, np.array([0]))
        np.testing.assert_array_equal(after.value, before.value)
        np.testing.assert_array_equal(after.hessian, before.hessian)
        # Statistics of so many clusters that no memory would hold them stay with the workers too.
        monkeypatch.setattr(choice, "COPIES", 1e9)
        many = mlm.lmm("y ~ x + (1 | id)", source, executor=client, memory="1GB")
        assert many._source.design.is_in_parts
        assert abs(many.llf - mlm.lmm("y ~ x + (1 | id)", data).llf) < 1e-8
        frame = pytest.importorskip("dask.dataframe").from_pandas(data, npartitions=2)
        partitions = mlm.lmm("y ~ t + (1 | id)", frame, executor=client, memory="1GB")
        assert abs(partitions.llf - mlm.lmm("y ~ t + (1 | id)", data).llf) < 1e-8


def test_a_singular_end_is_that_of_all_rows():
    # Residuals that are the same at all visits: the residual covariance becomes singular.
    rng = np.random.default_rng(1)
    n = 40
    data = pd.DataFrame({"id": np.repeat(np.arange(n), 3), "visit": np.tile([0, 1, 2], n)})
    data["site"] = data.id % 5
    data["y"] = rng.normal(size=n)[data.id] + 1e-3 * rng.normal(size=3 * n)
    how = {"residual": "cs(visit | id)"}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        whole = mlm.lmm("y ~ visit + (1 | site)", data, **how)
        fit = mlm.lmm("y ~ visit + (1 | site)", in_parts(data, 40), memory="1GB", **how)
    assert abs(fit.llf - whole.llf) < 1e-7 * abs(whole.llf)
    assert relative(fit.params, whole.params, 1e-3) < 1e-6


@pytest.mark.filterwarnings("ignore::mlmfast.errors.SingularFitWarning")
@pytest.mark.parametrize("name", ["series beside effects", "visits beside effects"])
def test_intervals_of_new_responses_are_right_or_refused(data, name):
    # Residual variances go by visit: without the rows there are no degrees of freedom of theirs.
    formula, how = MODELS[name]
    whole = mlm.lmm(formula, data, **how)
    fit = mlm.lmm(formula, in_parts(data), memory="1GB", **how)
    ask = {"ranef": False, "interval": "prediction"}
    with pytest.raises(ModelError, match="degrees of freedom of an interval of new responses"):
        fit.predict(data[5:9], **ask)
    for ddf in ("asymptotic", "residual"):
        ours, theirs = (own.predict(data[5:9], ddf=ddf, **ask) for own in (fit, whole))
        assert relative(ours, theirs) < 1e-7


@pytest.mark.filterwarnings("ignore::mlmfast.errors.SingularFitWarning")
@pytest.mark.parametrize("name", ["irregular times", "visits beside effects"])
def test_fits_of_parts_are_saved_and_pickled_without_their_rows(data, name):
    formula, how = MODELS[name]
    fit = mlm.lmm(formula, in_parts(data), memory="1GB", **how)
    for kept in (mlm.load(fit.to_json()), pickle.loads(pickle.dumps(fit))):
        assert relative(kept.bse, fit.bse) < 1e-14
        assert relative(kept.df, fit.df) < 1e-12
        ours, theirs = (own.anova().frame.select_dtypes("number") for own in (kept, fit))
        assert relative(ours, theirs, 1e-3) < 1e-12
        assert relative(kept.conf_int(), fit.conf_int(), 1e-3) < 1e-12
    with pytest.raises(ModelError):
        _ = mlm.load(fit.to_json()).ranef
    nested = held("y ~ x + (t | id)", in_parts(data))
    nested.remove_data()
    whole = mlm.lmm("y ~ x + (t | id)", data)
    ask = {"ranef": False, "interval": "prediction"}
    assert relative(nested.predict(data[5:9], **ask), whole.predict(data[5:9], **ask)) < 1e-7


@pytest.mark.parametrize("asked", [{"hold": {"AR(1)": 0.3}}, {"ddf": "kenward-roger"}])
def test_what_needs_matrices_along_series_is_refused_before_the_steps(data, asked):
    with pytest.raises(ModelError, match="stay in parts; use ddf='satterthwaite'"):
        mlm.lmm("y ~ x", in_parts(data), memory="1GB", residual="ar1(visit | id)", **asked)


@pytest.mark.parametrize("structure", ["sp_exp(t | arm / id)", "arma11(visit | arm / id)"])
def test_parts_may_have_rows_of_one_arm_or_single_rows(data, structure):
    single = data.id.drop_duplicates()[::15]
    data = data[~data.id.isin(single) | ~data.duplicated("id")]
    one, arm = data.id.isin(single), data.arm == "b"
    parts = [data[one], data[~one & arm], data[~one & ~arm]]
    whole = mlm.lmm("y ~ x", data, residual=structure)
    fit = mlm.lmm("y ~ x", parts, residual=structure, memory="1GB")
    assert abs(fit.llf - whole.llf) < 1e-8 * abs(whole.llf)
    assert relative(fit.bse, whole.bse) < 1e-6


def test_series_without_a_step_are_refused(data):
    single = data[(data.arm == "a") | ~data.duplicated("id")]
    with pytest.raises(ModelError, match="no subject of b has more than one row"):
        mlm.lmm("y ~ x", in_parts(single), residual="sp_exp(t | arm / id)", memory="1GB")
    with pytest.raises(ModelError, match="no subject has more than one row"):
        mlm.lmm("y ~ x", [data.drop_duplicates("id")], residual="sp_pow(t | id)", memory="1GB")


@pytest.mark.filterwarnings("ignore::mlmfast.errors.SingularFitWarning")
def test_residuals_that_become_singular_beside_effects_are_refused():
    # In memory 122 degrees of freedom of the slope, by V; by sums over parts it was 249,306.
    rng, n = np.random.default_rng(1), 40
    data = pd.DataFrame({"id": np.repeat(np.arange(n), 4), "visit": np.tile(np.arange(4), n)})
    data["site"] = data.id % 5
    data["y"], data["w"] = rng.normal(size=4 * n), rng.uniform(0.5, 2, 4 * n)
    # One visit without noise: its residual variance is 0.
    data["u"] = rng.normal(size=n)[data.id] + (data.visit > 0) * rng.normal(size=4 * n)
    for y, how in (
        ("y", {"residual": "cs(visit | id)", "weights": "w"}),
        ("u", {"residual": "csh(visit | id)"}),
    ):
        with pytest.raises(ModelError, match="singular beside the random effects"):
            mlm.lmm(f"{y} ~ visit + (1 | id)", in_parts(data, 50), memory="1GB", **how)
