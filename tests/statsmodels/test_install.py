"""Behind statsmodels' names: `install`, its own tests of MixedLM, and what an import costs."""

import os
import re
import subprocess
import sys
import warnings
from pathlib import Path

import numpy as np
import pytest

import mlmfast.statsmodels as smf
from mlmfast.statsmodels.classes import HAS_STATSMODELS

from .simulated import growth

needs_statsmodels = pytest.mark.skipif(not HAS_STATSMODELS, reason="statsmodels is not installed")

#: Tests of statsmodels 0.15.0 and 0.14.6 that need not pass; docs/STATSMODELS.md has the reasons.
EXPECTED = {
    "test_singular",
    "test_regularized",
    "test_vcomp_2",
    "test_compare_numdiff[False-False-False]",
    "test_compare_numdiff[False-True-False]",
    # 0.14.6 draws by NumPy's global generator, whose seed it sets.
    "test_get_distribution",
}


@needs_statsmodels
def test_statsmodels_own_tests(tmp_path):
    import statsmodels

    file = Path(statsmodels.__file__).parent / "regression" / "tests" / "test_lme.py"
    if not file.exists():
        pytest.skip("this statsmodels comes without its tests")
    (tmp_path / "with_mlmfast.py").write_text(
        "from mlmfast.statsmodels import install\n\ninstall(se='statsmodels')\n", encoding="utf-8"
    )
    package = Path(smf.__file__).parents[2]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(package), str(tmp_path)])}
    command = [sys.executable, "-m", "pytest", "-q", "-c", os.devnull, "--rootdir", str(tmp_path)]
    command += ["-p", "with_mlmfast", "-p", "no:cacheprovider", "-W", "ignore", "-rf", str(file)]
    done = subprocess.run(
        command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False
    )
    passed = re.search(r"(\d+) passed", done.stdout)
    assert passed is not None, done.stdout[-2000:]
    assert int(passed.group(1)) > 100
    failed = set(re.findall(r"^FAILED \S*?::(?:\w+::)?(\S+)", done.stdout, re.MULTILINE))
    assert failed <= EXPECTED


@needs_statsmodels
def test_install_and_uninstall():
    api = pytest.importorskip("statsmodels.formula.api")
    theirs = api.mixedlm
    data = growth()
    smf.install(se="statsmodels")
    try:
        smf.install(se="statsmodels")
        fit = api.mixedlm("y ~ x", data, groups="site").fit()
        assert isinstance(fit.model, smf.MixedLM)
        asked = fit.model.fit(se="gls")
        assert (fit.bse_fe > asked.bse_fe).all()
    finally:
        smf.uninstall()
    assert api.mixedlm == theirs
    assert smf.MixedLM.default_se == "gls"
    smf.uninstall()


@needs_statsmodels
def test_the_same_numbers_as_statsmodels():
    """Where its optimiser arrives: parameters, errors, random effects, tests, residuals."""
    api = pytest.importorskip("statsmodels.formula.api")
    from statsmodels.iolib.summary2 import summary_col

    data = growth()
    for said in ({"re_formula": "~x"}, {"vc_formula": {"part": "0 + C(part)"}, "re_formula": "1"}):
        for reml in (True, False):
            theirs = api.mixedlm("y ~ x * batch", data, groups="site", **said).fit(reml=reml)
            model = smf.mixedlm("y ~ x * batch", data, groups="site", **said)
            ours = model.fit(reml=reml, se="statsmodels")
            assert ours.llf >= theirs.llf - 1e-9
            assert ours.llf == pytest.approx(theirs.llf, abs=1e-5)
            for name in ("params", "bse", "tvalues", "fe_params", "bse_fe", "fittedvalues"):
                own, other = getattr(ours, name), getattr(theirs, name)
                assert own.index.equals(other.index), name
                np.testing.assert_allclose(own, other, rtol=2e-2, atol=2e-3, err_msg=name)
            assert ours.cov_params().columns.equals(theirs.cov_params().columns)
            assert list(ours.random_effects) == list(theirs.random_effects)
            one, other = ours.random_effects["s2"], theirs.random_effects["s2"]
            assert one.index.equals(other.index)
            np.testing.assert_allclose(one, other, atol=2e-3)
            cov, other = ours.random_effects_cov["s2"], theirs.random_effects_cov["s2"]
            assert cov.index.equals(other.index)
            np.testing.assert_allclose(cov, other, atol=2e-3)
            assert "Intercept" in str(summary_col(ours))
            joint = ours.wald_test("x = 0, x:batch[T.B] = 0", scalar=True)
            np.testing.assert_allclose(
                float(joint.statistic),
                float(theirs.wald_test("x = 0, x:batch[T.B] = 0", scalar=True).statistic),
                rtol=1e-3,
            )


def test_without_statsmodels_install_says_so(monkeypatch):
    from mlmfast.statsmodels import install as module

    with pytest.raises(ValueError, match="use 'gls' or 'statsmodels'"):
        smf.install(se="robust")
    monkeypatch.setattr(sys.modules[module.__module__], "HAS_STATSMODELS", False)
    with pytest.raises(ImportError, match=r"mlmfast\[statsmodels\]"):
        smf.install()


def test_mlmfast_alone_imports_nothing_of_it():
    code = (
        "import sys, mlmfast as mlm\n"
        "mlm.lmm('Reaction ~ Days + (1 | Subject)', mlm.load_sleepstudy())\n"
        "assert not [m for m in sys.modules if m.split('.')[0] == 'statsmodels']\n"
        "assert 'mlmfast.statsmodels' not in sys.modules\n"
    )
    package = str(Path(smf.__file__).parents[2])
    environment = {**os.environ, "PYTHONPATH": package}
    subprocess.run([sys.executable, "-c", code], check=True, env=environment)


def test_arguments_of_optimisers_are_said_once(monkeypatch):
    fit_module = sys.modules[smf.MixedLM.fit.__module__]
    monkeypatch.setattr(fit_module, "_told", set())
    model = smf.mixedlm("y ~ x", growth(), groups="site")
    with pytest.warns(smf.IgnoredArgumentWarning, match=r"gtol, method.*said once.*MLM802"):
        model.fit(method="lbfgs", gtol=1e-6)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        model.fit(method="powell", maxiter=3)
        model.fit(disp=False, full_output=True)


@pytest.mark.parametrize(
    ("call", "kind", "words"),
    [
        (lambda m: m.fit(method="newton"), ValueError, "not available"),
        (lambda m: m.fit(method="sorcery"), ValueError, "Unknown fit method"),
        (lambda m: m.fit(start_params=[1.0, 2.0]), ValueError, "invalid start_params"),
        (lambda m: m.fit(se="hc3"), ValueError, "'gls' or 'statsmodels'"),
        (lambda m: m.fit(fe_pen=object()), NotImplementedError, "fe_pen"),
        (lambda m: m.fit(cov_pen=object()), NotImplementedError, "cov_pen"),
        (lambda m: m.fit_regularized(method="l2"), ValueError, "Invalid regularization"),
        (lambda m: m.fit_regularized(method=object()), NotImplementedError, "penalty object"),
    ],
)
def test_refusals_of_fits(call, kind, words):
    model = smf.mixedlm("y ~ x", growth(), groups="site", re_formula="~x")
    with pytest.raises(kind, match=words):
        call(model)


def test_groups_in_another_order_are_refused():
    """By position, as statsmodels goes, rows would get the groups of others."""
    data = growth()
    moved = data.sample(frac=1, random_state=1)
    right = smf.mixedlm("y ~ x", moved, groups="site").fit()
    with pytest.raises(ValueError, match=r"give groups\.loc\[data\.index\]"):
        smf.mixedlm("y ~ x", moved, groups=data["site"])
    for groups in (data["site"].loc[moved.index], moved["site"].to_numpy()):
        assert smf.mixedlm("y ~ x", moved, groups=groups).fit().llf == right.llf
    columns = moved.assign(one=1.0)[["one", "x"]]
    for other in ({"groups": data["site"]}, {"exog_re": data[["x"]]}):
        with pytest.raises(ValueError, match="labels of the data in another order"):
            smf.MixedLM(moved["y"], columns, **{"groups": moved["site"], **other})
    arrays = smf.MixedLM(moved["y"], columns, groups=moved["site"].reset_index(drop=True)).fit()
    assert abs(arrays.llf - right.llf) < 1e-8
    fit = smf.mixedlm("y ~ x", data, groups=data["site"]).fit()
    with pytest.raises(ValueError, match="groups has the row labels"):
        fit.predict(moved, random_effects=True, groups=data["site"])
    again = fit.predict(data, random_effects=True, groups=data["site"])
    np.testing.assert_allclose(again, fit.fittedvalues, rtol=1e-12)


def test_unknown_arguments_of_fit_warn_as_there():
    model = smf.mixedlm("y ~ x", growth(), groups="site")
    with pytest.warns(FutureWarning, match="Argument cov_type not used"):
        model.fit(cov_type="hc1")


@pytest.mark.parametrize(
    ("change", "kind", "words"),
    [
        ({"groups": None}, AttributeError, "'groups' is a required"),
        ({"groups": "nowhere"}, KeyError, "no column 'nowhere'"),
        ({"groups": np.ones(3)}, ValueError, "one label for each"),
        ({"missing": "perhaps"}, ValueError, "'none', 'drop' or 'raise'"),
        ({"weights": 1}, ValueError, "argument weights not permitted"),
        ({"subset": ["row1000"]}, ValueError, "rows that the data do not have"),
        ({"formula": "y ~ gone"}, ValueError, "gone"),
        ({"formula": "arm ~ x"}, ValueError, "not numeric"),
    ],
)
def test_refusals_of_models(change, kind, words):
    said = {"formula": "y ~ x", "groups": "site", **change}
    if said["groups"] is None:
        del said["groups"]
    formula = said.pop("formula")
    with pytest.raises(kind, match=words):
        smf.mixedlm(formula, growth(), **said)


@pytest.mark.parametrize(
    ("arrays", "words"),
    [
        ({"endog": np.ones((6, 2))}, "endog has shape"),
        ({"exog": np.full((6, 1), np.nan)}, "exog has 6 rows with missing"),
        ({"exog": np.full((6, 1), np.inf)}, "infinite"),
        ({"exog": np.ones((5, 1))}, "5 rows"),
        ({"exog": [["a"]] * 6}, "array of numbers"),
        ({"groups": [1, 2]}, "2 rows"),
        ({"groups": [1, 1, None, 2, 2, 2]}, "groups has 1 rows with missing"),
        ({"exog_vc": smf.VCSpec(["a"], [[["c"]]], [[np.ones((6, 1))]])}, "1 matrices for 2 groups"),
        (
            {"exog_vc": smf.VCSpec(["a"], [[["c"]] * 2], [[np.ones((2, 1))] * 2])},
            "the group has 3 rows",
        ),
    ],
)
def test_refusals_of_arrays(arrays, words):
    given = {"endog": np.arange(6.0), "exog": np.ones((6, 1)), "groups": [1, 1, 1, 2, 2, 2]}
    with pytest.raises(ValueError, match=words):
        smf.MixedLM(**{**given, **arrays}).fit()
