"""The main job on data that come with the package, step by step."""

from __future__ import annotations

import numpy as np
import pandas as pd

from mlmfast.data.datasets import load_sleepstudy
from mlmfast.model import lmm
from mlmfast.mvn import MVN

_CALL = """\
>>> import mlmfast as mlm
>>> data = mlm.load_sleepstudy()
>>> fit = mlm.lmm("Reaction ~ Days + (Days | Subject)", data)"""


def run_demo() -> None:
    """Fit the sleep deprivation data and print what the fit says.

    Examples
    --------
    >>> run_demo()  # doctest: +ELLIPSIS
    Reaction times (ms) of 18 subjects over ten days of sleep deprivation ...
    """
    data = load_sleepstudy()
    fit = lmm("Reaction ~ Days + (Days | Subject)", data)
    _say(
        "Reaction times (ms) of 18 subjects over ten days of sleep deprivation (Belenky et\n"
        "al., 2003). Each subject has an intercept and a slope of its own, drawn from a\n"
        "bivariate normal distribution. In Python:"
    )
    _say(f"{_CALL}\n>>> print(fit.summary())")
    _say(fit.summary())
    _say("The first subjects' own deviations (BLUPs, the conditional means given the data):")
    _say(f'>>> fit.ranef["Subject"].head(4)\n{fit.ranef["Subject"].head(4).round(3)}')
    subject = str(fit.ranef["Subject"].index[0])
    _say(
        f"Before its data are seen, the responses of subject {subject} are multivariate normal,\n"
        "N(X beta, Z G Z' + sigma^2 I); means and standard deviations by day:"
    )
    _say(f'>>> m = fit.marginal("{subject}")\n{_marginal_table(fit.marginal(subject))}')


def _marginal_table(marginal: MVN) -> str:
    rows = {"m.mean": marginal.mean, "sd": np.sqrt(np.diag(marginal.cov))}
    table = pd.DataFrame(rows).rename_axis("day").T
    return table.round(1).to_string()


def _say(text: object) -> None:
    print(text, end="\n\n")
