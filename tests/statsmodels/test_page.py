"""Every line of the page for users of statsmodels runs, and shows what the page says."""

import re
import warnings
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import mlmfast as mlm
import mlmfast.statsmodels as smf

from .simulated import growth

PAGE = (Path(__file__).parents[2] / "docs/STATSMODELS.md").read_text(encoding="utf-8")
ROW = re.compile(r"^\| ([^|]+) \|.*\| `([^`]+)` \|$", re.MULTILINE)
LINES = dict(ROW.findall(PAGE))
BLOCKS = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)


@pytest.fixture
def namespace():
    data = growth().rename(columns={"a b": "a_b"})
    data["C"] = 0.0
    balanced = np.tile([-1.0, 1.0, 0.0, 2.0, -2.0, 1.5, -1.5], 15)
    data["y0"] = balanced
    data["never"] = pd.Categorical(data["arm"], categories=["a", "b", "c", "d"])
    holes = data.assign(one=1.0)
    holes.loc["row3", "x"] = np.nan
    model = smf.mixedlm("y ~ x + C(arm)", data, groups=data["site"], re_formula="~x")
    held = smf.MixedLMParams.from_components(np.array([1.0, 1.0, 1.0, 0.0]), cov_re=np.ones((2, 2)))
    slope = smf.MixedLMParams.from_components(np.array([0.0, 0.0, 0.0, 2.0]), cov_re=np.eye(2))
    return {
        "smf": smf,
        "np": np,
        "d": data,
        "holes": holes,
        "twice": data.set_axis(np.arange(len(data)) // 2),
        "model": model,
        "fit": model.fit(),
        "start": smf.MixedLMParams.from_components(np.zeros(4), cov_re=np.eye(2)),
        "held_slope": held,
        "slope_of_two": slope,
        "nested": smf.mixedlm(
            "y ~ x", data, groups="site", re_formula="1", vc_formula={"part": "0 + C(part)"}
        ).fit(),
    }


def value(namespace, row):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", smf.IgnoredArgumentWarning)
        warnings.simplefilter("ignore", smf.SingularMatrixWarning)
        return eval(LINES[row], {}, namespace)


REFUSED = {
    "nothing to estimate": mlm.ModelError,
    "`groups` of a frame in another order": ValueError,
}


@pytest.mark.parametrize("row", LINES)
def test_line(namespace, row):
    if row in REFUSED:
        with pytest.raises(REFUSED[row]):
            value(namespace, row)
    else:
        assert value(namespace, row) is not None


def test_the_page_has_its_lines():
    assert len(LINES) > 15
    assert len(BLOCKS) == 3


@pytest.mark.parametrize("block", [0, 2])
def test_block(namespace, block):
    for line in BLOCKS[block].splitlines():
        exec(line.partition("  #")[0], namespace)


def test_what_the_lines_show(namespace):
    d, fit = namespace["d"], namespace["fit"]
    assert all(
        float(v.iloc[0]) == 0.0
        for v in value(namespace, "variance of 0, correlation of 1").values()
    )
    joint = value(namespace, "standard errors of fixed effects")
    assert (joint >= fit.bse_fe * (1.0 - 1e-9)).all()
    assert len(value(namespace, "`bse_re` with `vc_formula`")) == 2
    some = value(namespace, "`subset=`")
    assert some.nobs == int((d["x"] > 0).sum())
    holes = value(namespace, "rows with missing values, arrays")
    assert holes.nobs == len(d) - 1
    assert len(holes.groups) == holes.nobs
    never = value(namespace, "categories that no row has")
    assert "never[T.d]" not in never.params
    dependent = value(namespace, "columns of X that depend on each other")
    with pytest.raises(np.linalg.LinAlgError, match=r"I\(2 \* x\)"):
        dependent.fit()
    conditional = value(namespace, "`predict`")
    np.testing.assert_allclose(conditional, fit.fittedvalues.iloc[:3])
    kr = value(namespace, "small samples")
    own = mlm.lmm("y ~ arm + x + (x | site)", d, ddf="kenward-roger")
    assert float(np.squeeze(kr.pvalue)) == pytest.approx(float(own.pvalues["armb"]), rel=1e-6)


def test_components_alone_have_no_random_intercept(namespace):
    """As in statsmodels, whatever its documentation calls the default."""
    how = {"groups": "site", "vc_formula": {"part": "0 + C(part)"}}
    alone = smf.mixedlm("y ~ x", namespace["d"], **how)
    assert (alone.k_re, alone.k_vc) == (0, 1)
    assert (namespace["nested"].k_re, namespace["nested"].k_vc) == (1, 1)
    assert alone.fit().llf < namespace["nested"].llf
