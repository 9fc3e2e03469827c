"""A fit is its own: what it hands out, copies of it, and its pickles."""

import contextlib
import copy
import pickle
import pickletools

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest

import mlmfast as mlm
from mlmfast.errors import DataError, MlmError, ModelError

from ..fits import lmm, numbers
from ..problems import nested_frame

MIXED = "y ~ x * f + poly(z, 2) + (x | a)"


@pytest.fixture(scope="module")
def frame():
    data = nested_frame()
    n = len(data)
    return data.assign(visit=np.arange(n) % 4, id=np.arange(n) // 4, item=np.arange(n) % 7).assign(
        arm=lambda d: np.where(d["id"] % 2, "p", "q")
    )


def arrays(frame):
    X = np.column_stack([np.ones(len(frame)), frame["x"], frame["z"]])
    return mlm.LMM.from_arrays(frame["y"], X, groups=frame["a"], Z=X[:, :2])


FITS = {
    "nested": lambda d: lmm("y ~ x + f + bs(w, df=4) + (x | a/b)", d, weights="w", offset="off"),
    "polars": lambda d: lmm(MIXED, pl.from_pandas(d)),
    "pyarrow": lambda d: lmm(MIXED, pa.Table.from_pandas(d)),
    "crossed": lambda d: lmm("y ~ x + (1 | a) + (1 | item)", d),
    "iterative": lambda d: lmm("y ~ x + (1 | a) + (1 | item)", d, options={"engine": "iterative"}),
    "dense": lambda d: lmm("y ~ x + (1 | a) + (1 | item)", d, options={"engine": "dense"}),
    "us": lambda d: lmm("y ~ x * f", d, residual="us(visit | id)"),
    "arms": lambda d: lmm(
        "y ~ x + (1 | a)", d, residual="ar1(visit | arm / id)", ddf="kenward-roger"
    ),
    "series": lambda d: lmm("y ~ x", d, residual="ar1(visit | id)"),
    "scale": lambda d: lmm("y ~ x + csh(1 + x | a)", d, residual_scale="f"),
    "points": lambda d: lmm("y ~ x", d, residual="sp_exp(visit | id)"),
    "related": lambda d: lmm("y ~ x + (1 | a)", d, cov={"a": 0.5 * np.eye(10) + 0.5}),
    "lin": lambda d: lmm("y ~ x", d, residual="lin(visit | id)", lin=[np.eye(4), np.ones((4, 4))]),
    "held": lambda d: lmm("y ~ x + (1 | a)", d, hold={"sigma": 1.0}),
    "arrays": lambda d: arrays(d).fit(ddf="between-within"),
    "least squares": lambda d: lmm("y ~ x + f", d),
}


@pytest.fixture(scope="module", params=FITS)
def fit(request, frame):
    return FITS[request.param](frame)


def bits(fit):
    return numbers(fit).tobytes() if fit.certificate.engine != "iterative" else fit.llf


def said(fit):
    """What a fit answers, as text."""
    asks = (
        lambda: fit.summary(),
        lambda: fit.anova(),
        lambda: fit.icc(),
        lambda: fit.covtest(),
        lambda: fit.emmeans("f", weights="proportional"),
        lambda: fit.robust(),
        lambda: fit.fittedvalues,
        lambda: fit.resid("scaled"),
        lambda: fit.simulate(2, seed=1),
        lambda: fit.predict(interval="prediction"),
    )
    return [answer(ask) for ask in asks]


def answer(ask):
    try:
        return str(ask())
    except MlmError as error:
        return str(error)


COPIES = {
    "pickle": lambda fit: pickle.loads(pickle.dumps(fit)),
    "protocol 5": lambda fit: pickle.loads(pickle.dumps(fit, 5)),
    "deepcopy": copy.deepcopy,
    "copy": copy.copy,
}


@pytest.mark.parametrize("kind", COPIES)
def test_a_copy_is_equal_and_another(fit, kind):
    other = COPIES[kind](fit)
    assert other is not fit
    assert bits(other) == bits(fit)
    if kind == "pickle":
        assert said(other) == said(fit)
        assert other.held == fit.held


def test_pickles_hold_no_code_but_arrays_and_our_own(fit):
    modules = {
        argument.partition(" ")[0].partition(".")[0]
        for code, argument, _ in pickletools.genops(pickle.dumps(fit, 2))
        if code.name == "GLOBAL"
    }
    # Protocol 2 names modules in full: scipy's sparse matrices, codecs of text for NumPy's bytes.
    assert modules <= {"mlmfast", "numpy", "pandas", "scipy", "_codecs", "copy_reg", "__builtin__"}
    assert fit.nbytes > 1_000


def test_a_pickle_keeps_the_columns_that_were_read(frame):
    data = frame.assign(unused="text", region=frame["a"].isin(["a1", "a2", "a3"]))
    fit = lmm("y ~ x + (1 | a)", data)
    pickled = pickle.dumps(fit)
    assert b"unused" not in pickled
    with pytest.raises(DataError, match="pickled fit keeps the columns that were read"):
        pickle.loads(pickled).robust(cluster="region")
    assert str(copy.deepcopy(fit).robust(cluster="region")) == str(fit.robust(cluster="region"))
    again = pickle.loads(pickle.dumps(fit))
    assert str(again.robust(cluster="region")) == str(fit.robust(cluster="region"))


def test_a_deep_copy_shares_no_memory(frame):
    data = frame.copy()
    fit = lmm("y ~ x + (1 | a)", data)
    deep = copy.deepcopy(fit)
    assert not np.shares_memory(deep._source.design.y, fit._source.design.y)


def results(fit):
    """Objects that a fit hands out, each with public attributes of its own."""
    return {
        "fit": fit,
        "varcorr": fit.varcorr,
        "certificate": fit.certificate,
        "contrast": fit.contrast(["x", "fq"]),
        "anova": fit.anova(),
        "emmeans": fit.emmeans("f"),
        "pairs": fit.emmeans("f").contrast("pairwise"),
        "covtest": fit.covtest(),
        "robust": fit.robust(),
        "influence": fit.influence(),
        "one step": fit.influence().one_step(),
        "bootstrap": fit.bootstrap(10, seed=1),
        "profile": fit.profile(["x", "sigma"]),
        "variance": fit.test_variance("sd_x|a"),
        "summary": fit.summary(),
        "batch": mlm.LMM.from_design(fit._source.design).fit_many(fit.simulate(3, seed=2)),
        "tests": mlm.LMM.from_design(fit._source.design)
        .fit_many(fit.simulate(3, seed=2))
        .tests("x"),
        "marginal": fit.marginal("a1"),
        "comparison": mlm.compare(fit, fit),
        "icc": fit.icc(),
    }


@pytest.fixture(scope="module")
def handed_out(frame):
    return results(lmm(MIXED, frame))


# A table of likelihood ratios, of correlations within groups and the like are frames themselves.
NAMES = (
    "fit", "varcorr", "certificate", "contrast", "anova", "emmeans", "pairs", "covtest", "robust",
    "influence", "one step", "bootstrap", "profile", "variance", "summary", "batch", "tests",
    "marginal",
)  # fmt: skip


def attributes(item):
    """Public attributes that hold numbers: frames, series, arrays, and dicts of these."""
    out = {}
    for name in dir(item):
        # A frame's attrs are for the reader's own notes.
        if name.startswith("_") or name in {"plot", "T", "attrs"}:
            continue
        try:
            value = getattr(item, name)
        except (MlmError, AttributeError):
            continue
        if isinstance(value, pd.Series | pd.DataFrame | np.ndarray | dict):
            out[name] = value
    return out


def spoil(value):
    """Write wherever a value lets itself be written to; whether it did."""
    if isinstance(value, dict):
        written = [spoil(item) for item in list(value.values())]
        value["another"] = 1.0
        return all(written)
    if isinstance(value, pd.DataFrame):
        for k, kind in enumerate(value.dtypes):
            if kind.kind in "fi":
                value.iloc[:, k] = 999
        value["another"] = 999
    elif isinstance(value, pd.Series):
        value.iloc[:] = 999 if value.dtype.kind in "fiu" else "999"
        value["another"] = value.iloc[0]
    elif isinstance(value, np.ndarray) and value.flags.writeable:
        value[...] = 999
    return not isinstance(value, np.ndarray) or value.flags.writeable


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.filterwarnings("ignore")
def test_what_is_handed_out_can_be_spoiled_without_harm(handed_out, name):
    item = handed_out[name]
    before, shown = {k: copy.deepcopy(v) for k, v in attributes(item).items()}, repr(item)
    for value in attributes(item).values():
        spoil(value)
    for key, value in attributes(item).items():
        assert repr(value) == repr(before[key]), key
    assert repr(item) == shown


def test_tables_of_a_fit_are_new_ones(handed_out):
    fit = handed_out["fit"]
    shown = str(fit.summary())
    for make in (
        fit.cov_params, fit.cov_theta, fit.conf_int, fit.tidy, fit.glance, fit.resid, fit.X, fit.Z,
        fit.predict, lambda: fit.G("a"), lambda: fit.R("a1"), lambda: fit.V("a1"),
        lambda: fit.ranef["a"], lambda: fit.ranef_cov["a"]["a1"], lambda: fit.varcorr["a"],
        fit.information_criteria, fit.caic, fit.ranova, fit.icc, fit.r2,
        lambda: fit.simulate(1, seed=1),
    ):  # fmt: skip
        first = repr(make())
        assert spoil(make())
        assert repr(make()) == first
    assert str(fit.summary()) == shown
    with pytest.raises(AttributeError, match="not changed"):
        fit.params = 3


def test_the_rows_of_a_design_are_read_only(frame):
    data = frame.copy()
    model = mlm.LMM(MIXED, data)
    for values in (model.design.y, model.design.factors[0].codes):
        with pytest.raises(ValueError, match="read-only"):
            values[0] = 99
    pd.testing.assert_frame_equal(data, frame)


def unlocked(value):
    """Arrays behind a value that let themselves be made writable: itself, and its bases."""
    while isinstance(value, np.ndarray):
        with contextlib.suppress(ValueError):
            value.flags.writeable = True
        if value.flags.writeable and value.size:
            yield value
        value = value.base


def arrays_of(item):
    """Arrays among public attributes and within their dicts and tuples."""
    for name, value in attributes(item).items():
        parts = value.values() if isinstance(value, dict) else [value]
        yield from ((name, part) for part in parts if isinstance(part, np.ndarray))


@pytest.mark.parametrize("name", [*NAMES, "robust covariance"])
@pytest.mark.filterwarnings("ignore")
def test_arrays_whose_flags_are_set_again_change_nothing(handed_out, name):
    """A flag that was cleared can be set, on a view or on the array behind it."""
    item = handed_out[name] if name in NAMES else handed_out["robust"].covariance
    before, shown = {k: copy.deepcopy(v) for k, v in attributes(item).items()}, repr(item)
    for _, array in arrays_of(item):
        for part in unlocked(array):
            part.flat[0] = "x" if part.dtype.kind == "O" else not part.flat[0]
    for key, value in attributes(item).items():
        assert repr(value) == repr(before[key]), key
    assert repr(item) == shown


def test_rows_of_a_design_and_the_record_cannot_be_unlocked(frame):
    model = mlm.LMM(MIXED, frame)
    fit = model.fit()
    record, design = fit._record, model.design
    shown = repr(fit.summary())
    columns = [column for column in design.x if column is not None]
    for array in (design.y, *columns, design.factors[0].codes, record.vcov, record.beta):
        assert not list(unlocked(array))
    assert repr(model.fit().summary()) == shown


def test_everything_a_fit_hands_out_is_pickled(handed_out):
    for name, item in handed_out.items():
        again = pickle.loads(pickle.dumps(item))
        assert repr(again) == repr(item), name
        assert repr(copy.deepcopy(item)) == repr(item), name
    fit = handed_out["fit"]
    for item in (fit.ranef, fit.ranef_cov):
        assert repr(pickle.loads(pickle.dumps(item))) == repr(item)
    profile = pickle.loads(pickle.dumps(handed_out["profile"]))
    pd.testing.assert_frame_equal(profile.conf_int(), handed_out["profile"].conf_int())
    batch = pickle.loads(pickle.dumps(handed_out["batch"]))
    np.testing.assert_array_equal(batch.df(), handed_out["batch"].df())


@pytest.mark.parametrize("copied", [copy.deepcopy, lambda model: pickle.loads(pickle.dumps(model))])
def test_models_are_copied(frame, copied):
    for model in (mlm.LMM(MIXED, frame, weights="w"), arrays(frame)):
        fresh, fitted = copied(model), model.fit()
        again = copied(model)
        assert bits(fresh.fit()) == bits(again.fit()) == bits(fitted)
        Y = fitted.simulate(2, seed=4)
        Y[3, 1] = np.nan
        np.testing.assert_array_equal(again.fit_many(Y).params, model.fit_many(Y).params)


def test_rows_can_be_let_go(frame):
    fit, loaded = lmm(MIXED, frame), mlm.load(lmm(MIXED, frame).to_json())
    large = fit.nbytes
    fit.remove_data()
    assert abs(fit.nbytes / len(pickle.dumps(fit)) - 1) < 0.05
    assert fit.nbytes < large
    assert str(fit.anova()) == str(loaded.anova())
    fit.remove_data()
    again = pickle.loads(pickle.dumps(fit))
    assert str(again.emmeans("f")) == str(loaded.emmeans("f"))
    with pytest.raises(ModelError, match="holds no rows"):
        again.resid()


LOADED = {
    "anova": lambda fit: fit.anova(),
    "type I": lambda fit: fit.anova(type=1),
    "type II, SAS": lambda fit: fit.anova(type=2, definition="SAS", chisq=True),
    "type II, car": lambda fit: fit.anova(type=2, definition="car"),
    "emmeans": lambda fit: fit.emmeans("f"),
    "proportional": lambda fit: fit.emmeans("f", weights="proportional"),
    "outer": lambda fit: fit.emmeans("g", weights="outer"),
    "cells": lambda fit: fit.emmeans("g", weights="cells"),
    "flat": lambda fit: fit.emmeans("f", weights="flat"),
    "some levels": lambda fit: fit.emmeans("g", at={"f": ["q"]}, weights="cells"),
    "numbers as levels": lambda fit: fit.emmeans("dose"),
    "a covariate": lambda fit: fit.emmeans("x", at={"x": [0, 1]}),
    "pairs": lambda fit: fit.emmeans("pairwise ~ f | g", adjust="tukey"),
    "joint tests": lambda fit: mlm.joint_tests(fit),
    "icc": lambda fit: fit.icc(level=0.9),
    "r2": lambda fit: fit.r2(),
    "rights-sterba": lambda fit: fit.r2("rights-sterba"),
    "contrast": lambda fit: fit.contrast(["x", "fq"]),
    "held": lambda fit: fit.held,
    "criteria": lambda fit: fit.information_criteria(convention="sas"),
    "marginal intervals": lambda fit: fit.predict(NEW, ranef=False, interval="confidence"),
}
NEW = pd.DataFrame(
    {"x": [0.0], "f": ["p"], "g": ["u"], "dose": [2.0], "z": [0.1], "a": ["a1"], "off": [0.3]}
)


@pytest.fixture(scope="module")
def live(frame):
    data = frame.assign(
        g=np.array(["u", "v", "w"])[np.arange(len(frame)) % 3],
        dose=np.array([0.5, 2.0])[np.arange(len(frame)) % 2],
    )
    formula = "y ~ x + f * g + C(dose) + offset(off) + poly(z, 2) + (x | a)"
    return lmm(formula, data)


@pytest.mark.parametrize("what", LOADED)
def test_a_loaded_fit_answers_what_needs_no_rows(live, what):
    loaded = mlm.load(live.to_json())
    assert answer(lambda: LOADED[what](loaded)) == answer(lambda: LOADED[what](live))
    assert loaded.to_json() == live.to_json()


def test_a_loaded_fit_of_arrays_has_its_tests(frame):
    fit = arrays(frame).fit()
    assert str(mlm.load(fit.to_json()).anova()) == str(fit.anova())


def test_what_a_loaded_fit_lacks_is_named(live):
    loaded = mlm.load(live.to_json())
    for ask in (
        lambda: loaded.icc(interval="bootstrap", n=10),
        lambda: loaded.anova(ddf="kenward-roger-2009"),
        lambda: loaded.predict(NEW, conditional=True),
    ):
        with pytest.raises(ModelError, match="loaded fit holds no"):
            ask()


def test_the_manifest_of_a_loaded_fit_can_be_spoiled_without_harm():
    loaded = mlm.load(mlm.lmm("Reaction ~ Days", mlm.load_sleepstudy()).to_json())
    before = copy.deepcopy(loaded.manifest)
    spoil(loaded.manifest)
    assert loaded.manifest == before
