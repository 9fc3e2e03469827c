"""Replicate bioequivalence as the FDA's guidance words it for PROC MIXED: FA0(2), CSH, UN.

Right values: results published for the data (see `tests/reference/bioequivalence.py`), nlme's lme
with varIdent (nlme 3.1.162, R 4.2.2), and each structure against the others, whose matrices are the
same over two treatments.
"""

import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import mlmfast as mlm
from tests.dense import Term, log_likelihood, marginal_covariance
from tests.reference.bioequivalence import partial_replicate, phenytoin

STEP = """
proc mixed data=be;
  class seq subj per trt;
  model y = seq per trt / ddfm=satterth;
  random trt / type={} sub=subj g;
  repeated / grp=trt sub=subj;
  estimate 'T vs R' trt -1 1 / cl alpha=0.1;
run;"""


def _step(data, kind="fa0(2)"):
    step = mlm.from_sas(STEP.format(kind))
    assert not step.unmapped
    return step(data.assign(y=np.log(data["cmax"])))


@pytest.mark.filterwarnings("ignore::mlmfast.errors.SingularFitWarning")
def test_published_interval_of_a_partial_replicate():
    found = _step(partial_replicate())
    row = found.estimates.iloc[0]
    percent = 100 * np.exp(row[["estimate", "lower", "upper"]].astype(float))
    assert percent.round().tolist() == [137, 119, 159]
    # CV of the reference within subjects.
    assert 100 * np.sqrt(np.expm1(found.fit.scale)) == pytest.approx(61, abs=0.5)
    # lme(y ~ seq + per + trt, random = ~ 0 + trt | subj, weights = varIdent(form = ~ 1 | trt))
    assert found.fit.llf == pytest.approx(-157.11088448309, abs=1e-6)
    assert row["estimate"] == pytest.approx(0.31637018896, abs=1e-5)
    assert row["se"] == pytest.approx(0.08619093849, rel=1e-4)


@pytest.mark.filterwarnings("ignore::mlmfast.errors.SingularFitWarning")
def test_the_page(capsys):
    page = (Path(__file__).parents[2] / "docs/SAS_AND_R.md").read_text(encoding="utf-8")
    code, output = re.findall(r"```python\n(.*?)```\n\n```text\n(.*?)```", page, re.DOTALL)[-1]
    exec(code, {})
    assert capsys.readouterr().out == output


@pytest.mark.filterwarnings("ignore::mlmfast.errors.SingularFitWarning")
@pytest.mark.parametrize("kind", ["csh", "un", "fa0(2)", "unr", "chol"])
def test_words_of_the_same_model(kind):
    """Over two treatments; nlme stops at a correlation of 0.998 and a lower likelihood."""
    found, plain = _step(phenytoin(), kind), _step(phenytoin())
    assert found.fit.llf == pytest.approx(plain.fit.llf, abs=1e-8)
    assert plain.fit.llf > 37.42635573441
    columns = ["estimate", "se", "lower", "upper"]
    assert found.estimates[columns].to_numpy() == pytest.approx(
        plain.estimates[columns].to_numpy(), rel=1e-6
    )


def test_fewer_factors_than_levels():
    """Rank one: effects of all levels are multiples of one number; the oracle's maximum."""
    rng = np.random.default_rng(2)
    g, f = np.repeat(np.arange(40), 8), np.tile(np.repeat(np.arange(4), 2), 40)
    load = np.array([1.0, 1.5, 0.5, 2.0])
    y = load[f] * rng.normal(size=40)[g] + rng.normal(size=320)
    data = pd.DataFrame({"y": y, "g": g, "f": np.array(list("abcd"))[f]})
    fit = mlm.lmm("y ~ f + fa0(0 + f | g, 1)", data)
    assert fit.converged
    assert not fit.singular
    assert np.linalg.matrix_rank(fit.varcorr["g"].to_numpy(), tol=1e-8) == 1
    loads = fit.varcorr.parameters.set_index("parameter")["estimate"]
    assert list(loads.index) == ["FA(1,1)", "FA(2,1)", "FA(3,1)", "FA(4,1)"]
    # As the slopes by one random number a level: the criterion of the dense oracle is flat there.
    Z = np.eye(4)[f]
    X = np.column_stack([np.ones(320), Z[:, 1:]])

    def llf(values):
        term = Term(Z, np.outer(values[:4], values[:4]), g)
        R = values[4] * np.eye(320)
        return log_likelihood(y, X, marginal_covariance([term], R), "REML")

    at = np.append(loads.to_numpy(), fit.scale)
    assert llf(at) == pytest.approx(fit.llf, abs=1e-8)
    for k in range(5):
        step = np.zeros(5)
        step[k] = 1e-4
        assert abs(llf(at + step) - llf(at - step)) < 1e-8
    with pytest.warns(mlm.SingularFitWarning):
        full = mlm.lmm("y ~ f + (0 + f | g)", data)
    with pytest.warns(mlm.SingularFitWarning):
        alone = mlm.lmm("y ~ f + fa0(0 + f | g)", data)
    assert alone.llf == pytest.approx(full.llf, abs=1e-8)


def test_refusals():
    data = phenytoin().assign(y=1.0)
    data["y"] = np.log(data["cmax"])
    with pytest.raises(mlm.ModelError, match="number of factors must lie between 1 and 2"):
        mlm.lmm("y ~ trt + fa0(0 + trt | subj, 3)", data)
    with pytest.raises(mlm.ModelError, match="fewer factors than the 4 visits R is singular"):
        mlm.lmm("y ~ trt", data, residual="fa0(per | subj, 2)")
    full = mlm.lmm("y ~ trt + per", data, residual="fa0(per | subj)")
    assert full.llf == pytest.approx(
        mlm.lmm("y ~ trt + per", data, residual="us(per | subj)").llf, abs=1e-7
    )
