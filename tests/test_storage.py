"""Saved fits: what they keep, and what is refused."""

import copy
import json
import pickle

import numpy as np
import pandas as pd
import pytest

import mlmfast as mlm
from mlmfast.errors import DataError, ModelError

from .fitting import estimates, lmm
from .problems import formula_of, nested_frame


@pytest.fixture(scope="module")
def frame():
    return nested_frame()


@pytest.fixture(scope="module")
def fit(frame):
    formula = "y ~ x * f + C(c, contr.sum) + poly(z, 2) + bs(w, df=5) + (x | a/b)"
    return lmm(formula, frame)


@pytest.fixture(scope="module")
def text(fit):
    return fit.to_json()


def test_a_loaded_fit_answers_all_but_its_rows(fit, text, frame):
    loaded = mlm.load(text)
    np.testing.assert_array_equal(estimates(loaded), estimates(fit))
    assert loaded.certificate == fit.certificate
    assert loaded.timings == fit.timings
    assert loaded.n_groups == fit.n_groups
    assert loaded.G("(x | a)").equals(fit.G("(x | a)"))
    for group, levels in fit.ranef_cov.items():
        for level, covariance in levels.items():
            pd.testing.assert_frame_equal(loaded.ranef_cov[group][level], covariance)
    pd.testing.assert_series_equal(loaded.predict(frame), fit.predict(frame))
    for ask in (
        lambda: loaded.fittedvalues,
        loaded.resid,
        loaded.simulate,
        lambda: loaded.V("a1"),
        lambda: loaded.marginal("a1"),
        loaded.predict,
    ):
        with pytest.raises(ModelError, match="loaded fit"):
            ask()


@pytest.mark.parametrize("transform", ["ns(z, df=3)", "scale(z)", "cr(z, df=4)", "log(w) + I(z^2)"])
def test_transforms_are_kept(frame, transform):
    fit = lmm(f"y ~ x + {transform}", frame)
    loaded, new = mlm.load(fit.to_json()), frame.iloc[10:20]
    pd.testing.assert_series_equal(loaded.predict(new), fit.predict(new))
    assert loaded.to_json() == fit.to_json()


def test_a_file_holds_the_text(fit, text, tmp_path):
    path = tmp_path / "fit.json"
    assert fit.to_json(path) == text
    assert path.read_text(encoding="utf-8") == text
    assert mlm.load(str(path)).to_json() == text
    assert "NaN" not in text
    assert len(text) < 50_000


def test_numbers_that_json_does_not_have(frame):
    fit = lmm("y ~ x", frame)
    assert fit.certificate.min_hessian_eigenvalue == np.inf
    assert mlm.load(fit.to_json()).certificate == fit.certificate
    json.loads(fit.to_json(), parse_constant=lambda name: pytest.fail(name))


def test_a_model_from_arrays_is_kept(frame):
    X = np.column_stack([np.ones(len(frame)), frame["x"]])
    fit = mlm.LMM.from_arrays(frame["y"], X, groups=frame["a"], Z=X).fit()
    loaded = mlm.load(fit.to_json())
    np.testing.assert_array_equal(estimates(loaded), estimates(fit))
    assert loaded.formula is None


def test_labels_of_any_text_are_kept(frame):
    names = {"a1": "NaN", "a2": 'quo"te', "a3": "µ\u2028 "}
    fit = lmm(formula_of("(1 | a)"), frame.assign(a=frame["a"].replace(names)))
    loaded = mlm.load(fit.to_json())
    assert list(loaded.ranef["a"].index) == list(fit.ranef["a"].index)


def test_pickles_are_small_and_copies_keep_their_rows(fit, text):
    data = pickle.dumps(fit)
    assert len(data) < 50_000
    assert pickle.loads(data).to_json() == text
    for other in (copy.copy(fit), copy.deepcopy(fit)):
        assert other.fittedvalues.equals(fit.fittedvalues)


def test_another_version_is_named(text):
    with pytest.raises(DataError, match=r"version 2.*reads version 1.*update"):
        mlm.load(text.replace('"version": 1', '"version": 2', 1))


@pytest.mark.parametrize("source", [b"{}", 3, None])
def test_what_is_no_path(source):
    with pytest.raises(DataError, match="path or from JSON text"):
        mlm.load(source)


def test_a_file_that_is_not_there(tmp_path):
    with pytest.raises(DataError, match=r"none\.json.*No such file"):
        mlm.load(tmp_path / "none.json")
    (tmp_path / "binary").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(DataError, match="binary"):
        mlm.load(tmp_path / "binary")


def test_damaged_text(text):
    for cut in range(1, len(text), 997):
        with pytest.raises(DataError, match=r"not a saved fit|neither a file"):
            mlm.load(text[:cut])
    with pytest.raises(DataError, match="not a saved fit"):
        mlm.load('{"a":' * 100_000)


def places(data, path=()):
    """Paths to everything in nested dicts and lists, a few entries of each list."""
    yield path
    items = data.items() if isinstance(data, dict) else enumerate(data[:2])
    for key, value in items:
        if isinstance(value, dict | list):
            yield from places(value, (*path, key))
        else:
            yield (*path, key)


def test_damage_anywhere_is_an_error_or_harmless(text):
    data = json.loads(text)
    for path in [p for p in places(data) if p]:
        for replacement in (None, "text", -7, 1e400, [], {}):
            damaged = json.loads(text)
            *way, last = path
            at = damaged
            for key in way:
                at = at[key]
            at[last] = replacement
            try:
                mlm.load(json.dumps(damaged).replace("Infinity", '"Infinity"'))
            except DataError:
                continue
