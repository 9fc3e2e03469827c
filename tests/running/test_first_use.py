"""Methods of a fit that stand in modules of their own, imported when they are first used."""

from __future__ import annotations

import copy
import inspect
import pickle
import pydoc
import subprocess
import sys

import numpy as np
import pandas as pd
import pytest

import mlmfast as mlm
from mlmfast.errors import ConvergenceWarning, NonEstimableWarning
from mlmfast.inference.anova.anova import anova
from mlmfast.running.first_use import FunctionOnUse

PUBLIC = sorted(name for name in dir(mlm.LMMResult) if not name.startswith("_"))


@pytest.fixture(scope="module")
def fit():
    return mlm.lmm("Reaction ~ Days + (Days | Subject)", mlm.load_sleepstudy())


def test_a_method_is_the_function_with_its_signature_and_docstring(fit):
    assert mlm.LMMResult.anova is anova
    assert fit.anova.__func__ is anova
    assert fit.anova.__self__ is fit
    assert fit.anova.__doc__ == anova.__doc__
    own = list(inspect.signature(anova).parameters)
    assert list(inspect.signature(fit.anova).parameters) == own[1:]


@pytest.mark.parametrize("name", PUBLIC)
def test_help_has_every_public_name(name):
    found = getattr(mlm.LMMResult, name)
    assert inspect.getdoc(found)
    assert not inspect.getdoc(found).startswith("See ")
    assert inspect.getdoc(found).partition("\n")[0] in pydoc.render_doc(mlm.LMMResult)


def test_methods_are_called_as_they_are_named(fit):
    for name in PUBLIC:
        found = getattr(mlm.LMMResult, name)
        # A collector of tests would take `test_variance` for one.
        if inspect.isfunction(found) and name != "test_variance":
            assert found.__name__ == name
            assert next(iter(inspect.signature(found).parameters)) == "fit"


def test_the_import_of_the_package_leaves_out_what_a_fit_may_never_be_asked():
    code = (
        "import sys, mlmfast; "
        "print([name for name in sys.modules if name.startswith(('mlmfast.inference', "
        "'mlmfast.plots', 'mlmfast.saving', 'mlmfast.diagnostics', 'mlmfast.prediction'))])"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "[]"


def test_the_class_may_be_asked_for_docstrings_without_the_modules_but_of_what_is_asked():
    code = (
        "import sys, mlmfast; doc = mlmfast.LMMResult.plot.__doc__; "
        "assert doc.startswith('Plots of the fit'), doc; "
        "assert 'mlmfast.plots' in sys.modules and 'mlmfast.saving.storage' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_a_subclass_overrides_methods_and_reaches_those_of_the_base(fit):
    class Rounded(mlm.LMMResult):
        def conf_int(self, level=0.95, **how):
            return super().conf_int(level, **how).round(1)

    own = Rounded(fit._record, fit._source)
    expected = fit.conf_int(0.9).round(1)
    pd.testing.assert_frame_equal(own.conf_int(0.9), expected)
    # What is asked of a fit elsewhere asks the fit.
    assert own.tidy("fixed")["conf_low"].tolist() == fit.conf_int().round(1)["lower"].tolist()


def test_a_function_put_in_the_place_of_a_method_serves(fit, monkeypatch):
    monkeypatch.setattr(mlm.LMMResult, "glance", lambda self: self.nobs)
    assert fit.glance() == 180
    monkeypatch.undo()
    assert fit.glance()["nobs"].tolist() == [180]
    monkeypatch.setattr("mlmfast.report.tidy.glance", lambda fit: "another")
    assert fit.glance() == "another"


@pytest.mark.parametrize("name", ["plot", "nbytes", "varcorr", "ranef", "covariance_parameters"])
def test_what_is_computed_is_no_method_and_cannot_be_set(fit, name):
    assert not callable(getattr(fit, name))
    if name != "varcorr":
        with pytest.raises(AttributeError):
            setattr(fit, name, 1)


def test_copies_and_pickles_keep_the_methods(fit):
    for other in (copy.copy(fit), copy.deepcopy(fit), pickle.loads(pickle.dumps(fit))):
        assert other.anova().frame.equals(fit.anova().frame)
    bound = pickle.loads(pickle.dumps(fit.conf_int))
    assert bound().equals(fit.conf_int())


@pytest.mark.parametrize("copied", [copy.deepcopy, lambda one: pickle.loads(pickle.dumps(one))])
def test_a_function_that_was_used_is_still_copied_and_pickled(copied):
    function = FunctionOnUse("math", "sqrt")
    assert function(4.0) == copied(function)(4.0) == 2.0


def test_a_profile_that_finds_a_better_fit_blames_the_line_of_the_user(fit, monkeypatch):
    from mlmfast.inference.intervals.profile import profile

    follow = profile.follow

    def found_lower(curves, sides, step, reach, done):
        follow(curves, sides, step, reach, done)
        sides[0].lowest_rise = -1.0

    monkeypatch.setattr(profile, "follow", found_lower)
    for call in (lambda: fit.profile("sigma"), lambda: fit.conf_int(method="profile")):
        with pytest.warns(ConvergenceWarning, match="better fit") as said:
            call()
        assert {warning.filename for warning in said} == {__file__}
        assert said[0].lineno == inspect.getsourcelines(call)[1]


@pytest.mark.filterwarnings("ignore::mlmfast.errors.AliasedWarning")
def test_a_prediction_beside_an_absorbed_factor_blames_the_line_of_the_user():
    random = np.random.default_rng(3)
    cells = [("u", "x"), ("v", "x"), ("u", "z")] * 80
    data = pd.DataFrame(cells, columns=["a", "b"]).assign(
        f=random.integers(0, 20, 240).astype(str),
        h=(np.arange(240) // 40).astype(str),
        y=random.normal(size=240) + 3.0 * np.repeat(random.normal(size=6), 40),
    )
    fit = mlm.lmm("y ~ a * b + f + (1 | h)", data, absorb=True)
    assert fit.aliased
    new = pd.DataFrame({"a": ["v"], "b": ["z"], "f": ["0"], "h": ["0"]})
    with pytest.warns(NonEstimableWarning) as said:
        assert np.isnan(fit.predict(new)).all()
    assert said[0].filename == __file__
