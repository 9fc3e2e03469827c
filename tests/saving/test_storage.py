"""Saved fits: what they keep, and what is refused."""

import copy
import json
import pickle

import numpy as np
import pandas as pd
import pytest

import mlmfast as mlm
from mlmfast.errors import DataError, MlmError, ModelError

from ..fits import estimates, lmm
from ..problems import formula_of, nested_frame


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
    assert len(text) < 55_000


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


REPLACEMENTS = (
    None, "text", "", -7, 0, 3, 1e300, 1.5, True, [], {}, ["a"], [1.0, 2.0], "x", "(1 | a)",
    {"float": "NaN"}, {"float": "Infinity"},
)  # fmt: skip


def answers(fit, frame):
    """All that a fit without rows can be asked."""
    kept = np.eye(len(fit._record.x_names))[:2]
    new = frame.iloc[:5]
    return (
        lambda: str(fit.summary()),
        fit._repr_html_,
        fit.tidy,
        fit.glance,
        lambda: (str(fit.varcorr), fit.varcorr.tidy(), fit.varcorr.parameters),
        lambda: (fit.ranef, fit.ranef_cov),
        lambda: fit.predict(new),
        lambda: fit.predict(new, ranef=False, interval="prediction", ddf="asymptotic"),
        lambda: fit.predict(new, ranef=False, interval="confidence"),
        lambda: (fit.params, fit.bse, fit.df, fit.pvalues, fit.cov_params(), fit.conf_int()),
        lambda: fit.contrast(kept),
        lambda: (str(fit.covtest()), fit.cov_theta(), fit.cov_theta("expected")),
        lambda: (fit.covariance_parameters, fit.residual_parameters, fit.residual_corr),
        lambda: fit.residual_cov_at([0, 1, 2]),
        lambda: (fit.information_criteria(), fit.information_criteria(n="clusters")),
        lambda: fit.information_criteria(convention="sas"),
        lambda: [fit.G(term.text) for term in fit._record.terms],
        lambda: mlm.load(fit.to_json()),
        lambda: [str(fit.anova(type=k)) for k in (1, 2, 3)],
        lambda: (str(fit.emmeans("f")), fit.emmeans("pairwise ~ f", weights="proportional")),
        lambda: fit.emmeans("x", at={"x": [1, 2]}),
        lambda: (fit.icc(), fit.r2()),
        lambda: (fit.held, fit.n_groups, fit.aliased, fit.sigma, fit.singular, fit.nbytes),
        lambda: pickle.loads(pickle.dumps(fit)),
    )


def raw_error(answer):
    """What it raises besides our own errors."""
    try:
        answer()
    except MlmError:
        return None
    except Exception as error:
        return error
    return None


def ask_all_after_edits(text, frame, n_edits, seed):
    """Load edited texts and ask each for everything; return what was neither answer nor refusal."""
    ways = [way for way in places(json.loads(text)) if way]
    rng, raw = np.random.default_rng(seed), []
    for _ in range(n_edits):
        *way, last = ways[rng.integers(len(ways))]
        replacement = REPLACEMENTS[rng.integers(len(REPLACEMENTS))]
        damaged = json.loads(text)
        at = damaged
        for key in way:
            at = at[key]
        at[last] = replacement
        try:
            loaded = mlm.load(json.dumps(damaged))
        except DataError:
            continue
        for number, answer in enumerate(answers(loaded, frame)):
            error = raw_error(answer)
            if error is not None:
                raw.append(((*way, last), replacement, number, repr(error)))
    return raw


def other_fits(frame):
    data = frame.assign(visit=np.arange(len(frame)) % 4, id=np.arange(len(frame)) // 4)
    data = data.assign(arm=np.where(data["id"] % 2, "p", "q"))
    X = np.column_stack([np.ones(len(frame)), frame["x"], frame["z"]])
    return (
        lmm("y ~ x * f", data, residual="us(visit | id)"),
        lmm("y ~ x * f + (1 | a)", data, residual="ar1(visit | arm / id)", ddf="kenward-roger"),
        lmm("y ~ x + csh(1 + x | a)", data, residual_scale="f"),
        lmm("y ~ x", data, residual="sp_exp(visit | id)"),
        mlm.LMM.from_arrays(frame["y"], X, groups=frame["a"]).fit(ddf="between-within"),
    )


@pytest.mark.filterwarnings("ignore")
def test_an_edited_file_is_refused_or_answers(text, frame):
    assert ask_all_after_edits(text, frame, 100, 1) == []
    for seed, other in enumerate(other_fits(frame)):
        assert ask_all_after_edits(other.to_json(), frame, 30, seed) == []


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_thousands_of_edited_files(text, frame):
    for seed, own in enumerate((text, *(other.to_json() for other in other_fits(frame)))):
        assert ask_all_after_edits(own, frame, 1_000, 100 + seed) == []


def test_damage_anywhere_is_an_error_or_harmless(text):
    data = json.loads(text)
    replacements = (None, "text", -7, 1e400, [], {})
    for k, path in enumerate(p for p in places(data) if p):
        for replacement in (replacements[k % 6], replacements[(k + 3) % 6]):
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


def test_a_file_that_holds_the_coefficients_of_aliased_columns_alone(frame):
    """The first files' form: X_aliased = X_kept A of the columns as they are."""
    data = frame.assign(twice=3.0 * frame["x"] - 2.0)
    with pytest.warns(mlm.AliasedWarning):
        fit = mlm.lmm("y ~ x + f + twice + (1 | a)", data)
    assert fit.aliased == ("twice",)
    text = json.loads(fit.to_json())
    plain = np.zeros((len(fit._record.kept), 1))
    plain[:2, 0] = -2.0, 3.0  # twice = -2 + 3 x
    text["inference"]["aliasing"] = plain.tolist()
    loaded = mlm.load(json.dumps(text))
    names = list(fit._record.x_names)
    row = np.zeros(len(names))
    row[[names.index("(Intercept)"), names.index("x"), names.index("twice")]] = 1.0, 2.0, 4.0
    assert loaded.contrast(row).estimate == pytest.approx(fit.contrast(row).estimate, rel=1e-12)
    row[names.index("x")] = 0.0  # no x makes twice 4 then
    with pytest.raises(mlm.ModelError, match="estimable"):
        loaded.contrast(row)
