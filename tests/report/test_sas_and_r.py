"""Every line of the page for users of SAS and R runs and gives a result."""

import re
import warnings
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import mlmfast as mlm

PAGE = (Path(__file__).parents[2] / "docs/SAS_AND_R.md").read_text(encoding="utf-8")
ROW = re.compile(r"^\|.*\| `(.+)` \|$", re.MULTILINE)
SNIPPETS = [code.replace("\\|", "|") for code in ROW.findall(PAGE)]


@pytest.fixture(scope="module")
def namespace():
    pytest.importorskip("matplotlib").use("Agg")
    rng = np.random.default_rng(5)
    ids = np.repeat(np.arange(60), 4)
    d = pd.DataFrame(
        {
            "id": [f"i{k}" for k in ids],
            "site": [f"s{k // 6}" for k in ids],
            "item": [f"t{k}" for k in rng.integers(0, 7, 240)],
            "arm": np.array(["a", "b", "c"])[ids % 3],
            "visit": np.tile(["v1", "v2", "v3", "v4"], 60),
            "time": np.tile([0.0, 1.0, 2.0, 3.0], 60),
            "x": rng.normal(size=240),
            "w": rng.uniform(0.5, 2.0, 240),
        }
    )
    y = rng.normal(0, 1.5, 60)[ids] + rng.normal(0, 0.6, 60)[ids] * d["time"]
    y += rng.normal(0, 1, 10)[ids // 6] + rng.normal(0, 1, 7)[d["item"].str[1:].astype(int)]
    y += rng.normal(0, 0.7, (10, 3))[ids // 6, ids % 3]
    d["y"] = y + rng.normal(size=240)
    return {
        "mlm": mlm,
        "d": d,
        "A": related(d["id"].unique()),
        "fit": mlm.lmm("y ~ x + arm + (1 | id)", d),
        "smaller": mlm.lmm("y ~ x + arm", d),
        "p": {
            "id": d["id"].unique(),
            "sire": np.zeros(d["id"].nunique()),
            "dam": np.zeros(d["id"].nunique()),
        },
        "labels": d["id"].unique(),
        "Q": np.eye(d["id"].nunique()),
        "visits": mlm.lmm("y ~ arm * visit", d, residual="us(visit | id)"),
        "missing": d.assign(y=d["y"].where(~((d["visit"] == "v4") & (ids % 4 == 0)))),
    }


def related(labels):
    """Neighbours in the list share half."""
    gap = np.abs(np.subtract.outer(np.arange(len(labels)), np.arange(len(labels))))
    return pd.DataFrame(0.5**gap, index=labels, columns=labels)


def test_the_page_has_its_lines():
    assert len(SNIPPETS) > 40


@pytest.mark.parametrize("code", SNIPPETS)
def test_line(namespace, code):
    with warnings.catch_warnings():
        # A simulated variance may be 0, which a model says by a warning.
        warnings.simplefilter("ignore", mlm.SingularFitWarning)
        result = eval(code, dict(namespace))
    fits = result if isinstance(result, list) else [result]
    for fit in fits:
        if isinstance(fit, mlm.LMMResult):
            assert fit.converged
            assert np.isfinite(fit.bse).all()
        else:
            assert str(fit)
