"""What holds of every fit: the definition of the likelihood, repeatability, refusals."""

from __future__ import annotations

import os
import subprocess
import sys
import warnings
from collections.abc import Callable, Iterator

import numpy as np
import pandas as pd

from mlmfast.data.datasets import load_sleepstudy
from mlmfast.errors import MlmError
from mlmfast.model import LMM, lmm
from mlmfast.result import LMMResult, load
from mlmfast.validation.check import Check

_FORMULA = "Reaction ~ Days + (Days | Subject)"
_DIGITS = 1e-9
#: Printed by one process for each number of threads.
_SCRIPT = """
import mlmfast as mlm
data = mlm.load_sleepstudy()
fit = mlm.lmm("Reaction ~ Days + (Days | Subject)", data, residual="ar1(Days | Subject)")
many = mlm.LMM("Reaction ~ Days + (1 | Subject) + (1 | Days)", data).fit()
print(fit.llf.hex(), *[v.hex() for v in fit.bse], many.llf.hex(), *[v.hex() for v in many.bse])
"""

#: Calls that have to be refused, and why.
_REFUSED: dict[str, Callable[[pd.DataFrame], object]] = {
    "a column that is not there": lambda d: lmm("Reaction ~ Dais + (1 | Subject)", d),
    "a response of text": lambda d: lmm("Subject ~ Days", d),
    "no rows": lambda d: lmm(_FORMULA, d.iloc[:0]),
    "an infinite value": lambda d: lmm(_FORMULA, d.assign(Reaction=np.inf)),
    "negative weights": lambda d: lmm(_FORMULA, d, weights=-np.ones(len(d))),
    "a formula with code": lambda d: lmm("Reaction ~ __import__('os').getpid()", d),
    "a saved fit that is damaged": lambda d: load('{"format": {"name": "mlmfast fit"}}'),
}


def behaviour_checks() -> Iterator[Check]:
    """Requirements that no reference of another program is needed for."""
    data = load_sleepstudy()
    for method in ("ML", "REML"):
        for residual in (None, "ar1(Days | Subject)", "toep(Days | Subject)"):
            formula = _FORMULA if residual is None else "Reaction ~ Days"
            yield _by_definition(lmm(formula, data, method=method, residual=residual), residual)
    yield from _repeatable(data)
    yield _threads()
    yield from _saved(lmm(_FORMULA, data))
    for name, call in _REFUSED.items():
        yield _refused(name, call, data)
    yield _warned()


def _by_definition(fit: LMMResult, residual: str | None) -> Check:
    """-2 log-likelihood of the multivariate normal, cluster by cluster, by NumPy."""
    total, size, xvx = 0.0, 0, np.zeros((len(fit.params), len(fit.params)))
    source = fit._needs_source("the rows")
    labels, codes = source.design.factors[0].labels, source.design.factors[0].codes
    for k, label in enumerate(labels):
        V, X = fit.V(label).to_numpy(), fit.X(label).to_numpy()
        r = source.design.y[codes == k] - X @ fit.params.to_numpy()
        total += np.linalg.slogdet(V)[1] + r @ np.linalg.solve(V, r)
        xvx += X.T @ np.linalg.solve(V, X)
        size += len(r)
    if fit.method == "REML":
        total += np.linalg.slogdet(xvx)[1]
        size -= len(fit.params)
    total += size * np.log(2.0 * np.pi)
    name = f"{fit.formula}, {residual or 'independent residuals'}, {fit.method}"
    difference = abs(fit.deviance / total - 1.0)
    return Check("OQ-13", name, "-2 log-likelihood", "", difference, _DIGITS)


def _repeatable(data: pd.DataFrame) -> Iterator[Check]:
    fit = lmm(_FORMULA, data)
    again = lmm(_FORMULA, data)
    same = fit.llf == again.llf and bool((fit.bse == again.bse).all())
    yield Check("OQ-14", "the same call again", "bits", holds=same)
    mixed = lmm(_FORMULA, data.iloc[np.random.default_rng(1).permutation(len(data))])
    difference = float(np.abs(mixed.bse / fit.bse - 1.0).max())
    yield Check("OQ-14", "rows in another order", "standard errors", "", difference, 1e-7)
    Y = np.column_stack([data["Reaction"], 2.0 * data["Reaction"]])
    batch = LMM(_FORMULA, data).fit_many(Y)
    yield Check("OQ-14", "alone and in a batch", "bits", holds=bool(batch.llf[0] == fit.llf))
    frame = {name: data[name].to_numpy() for name in data}
    same = lmm(_FORMULA, frame).llf == fit.llf
    yield Check("OQ-14", "from a data frame and from a dict", "bits", holds=same)


def _threads() -> Check:
    found = []
    for threads in (1, 3):
        environment = os.environ | {"RAYON_NUM_THREADS": str(threads)}
        command = [sys.executable, "-W", "ignore", "-c", _SCRIPT]
        done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=300)
        found.append(done.stdout if done.returncode == 0 else "")
    note = "" if all(found) else "a process of its own could not be run"
    holds = bool(found[0]) and found[0] == found[1]
    return Check("OQ-14", "one thread and three", "bits", holds=holds, note=note)


def _saved(fit: LMMResult) -> Iterator[Check]:
    back = load(fit.to_json())
    same = back.llf == fit.llf and back.params.equals(fit.params) and back.df.equals(fit.df)
    yield Check("OQ-15", "saved and read again", "estimates", holds=same)
    same = back.anova().frame.equals(fit.anova().frame)
    yield Check("OQ-15", "saved and read again", "tests of terms", holds=same)
    same = back.manifest == fit.manifest
    yield Check("OQ-15", "saved and read again", "manifest", holds=same)


def _refused(name: str, call: Callable[[pd.DataFrame], object], data: pd.DataFrame) -> Check:
    try:
        call(data)
    except MlmError as error:
        text = " ".join(str(error).split())
        return Check("OQ-16", name, "refused", note=text if len(text) < 90 else f"{text[:88]}...")
    return Check("OQ-16", name, "refused", holds=False, note="it was not refused")


def _warned() -> Check:
    """A variance of 0 is said by its code."""
    frame = {"y": [1.0, 3.0, 1.5, 2.5, 2.1, 1.9], "g": list("aabbcc")}
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        fit = lmm("y ~ 1 + (1 | g)", frame)
    said = [str(item.message) for item in caught]
    holds = len(said) == 1 and "[MLM401]" in said[0] and fit.warnings.codes == ("MLM401",)
    return Check("OQ-12", "a variance of 0", "warning with its code", holds=holds)
