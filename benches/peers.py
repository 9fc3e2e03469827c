"""How each package fits a workload: the shortest way that its own documentation shows.

Packages are imported inside the functions, so that this module loads without any of them.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from workloads import Workload, matrices

FitAlone = Callable[[], object]


class Unsupported(Exception):  # noqa: N818 - an answer, not an error
    """The package does not offer what was asked of it."""


@dataclass(frozen=True)
class Peer:
    """How a package fits a workload.

    `prepare` returns a function that does the fit alone; `refit` fits all columns of Y in turn.
    Both are None where the package does not let one separate them. `max_rows` spares a package
    workloads that it cannot finish in reasonable time or memory.
    """

    module: str
    distribution: str
    fit: Callable[[Workload, pd.DataFrame], Any]
    report: Callable[[Any], str]
    llf: Callable[[Any], float]
    prepare: Callable[[Workload, pd.DataFrame], FitAlone] | None = None
    refit: Callable[[Workload, pd.DataFrame, np.ndarray], object] | None = None
    max_rows: int | None = None


def one_group(workload: Workload) -> str:
    if len(workload.groups) > 1:
        raise Unsupported("one grouping factor only")
    return workload.groups[0]


# mlmfast


def mlmfast_fit(workload: Workload, frame: pd.DataFrame) -> Any:
    import mlmfast as mlm

    return mlm.lmm(workload.formula, frame)


def mlmfast_prepare(workload: Workload, frame: pd.DataFrame) -> FitAlone:
    import mlmfast as mlm

    one_group(workload)
    m = matrices(workload, frame)
    return lambda: mlm.LMM.from_arrays(m.y, m.X, groups=m.codes, Z=m.Z).fit()


def mlmfast_prepared(workload: Workload, frame: pd.DataFrame) -> FitAlone:
    import mlmfast as mlm

    return mlm.LMM(workload.formula, frame).fit


def mlmfast_refit(workload: Workload, frame: pd.DataFrame, Y: np.ndarray) -> object:
    import mlmfast as mlm

    return mlm.LMM(workload.formula, frame).fit_many(Y)


def mlmfast_phases(workload: Workload, frame: pd.DataFrame) -> dict[str, float]:
    """Seconds by phase, as the fit tells them, or seen from outside where it does not."""
    import mlmfast as mlm

    start = time.perf_counter()
    model = mlm.LMM(workload.formula, frame)
    prepared = time.perf_counter()
    fit = model.fit()
    fitted = time.perf_counter()
    str(fit.summary())
    report = time.perf_counter() - fitted
    timings = getattr(fit, "timings", None)
    if timings:
        return {**timings, "report": timings.get("report", report)}
    return {"prepare": prepared - start, "fit": fitted - prepared, "report": report}


# glmm


def glmm_fit(workload: Workload, frame: pd.DataFrame) -> Any:
    import glmm

    return glmm.fit(frame, workload.formula)


def glmm_report(fit: Any) -> str:
    return fit.summary_object().text()  # summary() also writes it to stdout


def glmm_refit(workload: Workload, frame: pd.DataFrame, Y: np.ndarray) -> None:
    import glmm

    columns = {name: frame[name].to_numpy() for name in workload.columns}
    for y in Y.T:
        glmm.fit({**columns, workload.response: np.ascontiguousarray(y)}, workload.formula)


# mixedlm-rs


def mixedlm_rs_fit(workload: Workload, frame: pd.DataFrame) -> Any:
    import mixedlm_rs

    group = one_group(workload)
    random = f"~{workload.random_formula}"
    return mixedlm_rs.mixedlm(workload.fixed_formula, frame, groups=group, re_formula=random).fit()


def mixedlm_rs_prepare(workload: Workload, frame: pd.DataFrame) -> FitAlone:
    import mixedlm_rs

    m = matrices(workload, frame)
    return lambda: mixedlm_rs.MixedLM(m.y, m.X, m.codes, exog_re=m.Z).fit()


def mixedlm_rs_refit(workload: Workload, frame: pd.DataFrame, Y: np.ndarray) -> None:
    import mixedlm_rs

    m = matrices(workload, frame)
    model = mixedlm_rs.MixedLM(m.y, m.X, m.codes, exog_re=m.Z)
    for y in Y.T:
        model.with_endog(y).fit()


# lme-python


def lme_python_fit(workload: Workload, frame: pd.DataFrame) -> Any:
    import lme_python

    return lme_python.lmer(workload.formula, frame)


def lme_python_prepare(workload: Workload, frame: pd.DataFrame) -> FitAlone:
    import lme_python

    return lme_python.prepare_lmer(workload.formula, frame).fit


def lme_python_refit(workload: Workload, frame: pd.DataFrame, Y: np.ndarray) -> None:
    import lme_python

    prepared = lme_python.prepare_lmer(workload.formula, frame)
    for y in Y.T:
        prepared.fit(y=y.tolist())


# mixedlm


def mixedlm_fit(workload: Workload, frame: pd.DataFrame) -> Any:
    import mixedlm

    return mixedlm.lmer(workload.formula, frame)


def mixedlm_prepare(workload: Workload, frame: pd.DataFrame) -> FitAlone:
    import mixedlm

    formula = mixedlm.parse_formula(workload.formula)
    return mixedlm.LmerMod(formula, frame, REML=True).fit


def mixedlm_refit(workload: Workload, frame: pd.DataFrame, Y: np.ndarray) -> None:
    fit = mixedlm_fit(workload, frame)
    for y in Y.T:
        fit.refit(y)


# statsmodels


def statsmodels_model(workload: Workload, frame: pd.DataFrame) -> Any:
    from statsmodels.regression.mixed_linear_model import MixedLM

    group = one_group(workload)
    random = f"~{workload.random_formula}"
    return MixedLM.from_formula(workload.fixed_formula, frame, groups=group, re_formula=random)


def statsmodels_fit(workload: Workload, frame: pd.DataFrame) -> Any:
    return statsmodels_model(workload, frame).fit()


def statsmodels_prepare(workload: Workload, frame: pd.DataFrame) -> FitAlone:
    return statsmodels_model(workload, frame).fit


def statsmodels_refit(workload: Workload, frame: pd.DataFrame, Y: np.ndarray) -> None:
    from statsmodels.regression.mixed_linear_model import MixedLM

    m = matrices(workload, frame)
    for y in Y.T:
        MixedLM(y, m.X, m.codes, exog_re=m.Z).fit()


def printed_summary(fit: Any) -> str:
    return str(fit.summary())


PEERS = {
    "mlmfast": Peer(
        "mlmfast",
        "mlmfast",
        mlmfast_fit,
        printed_summary,
        lambda fit: fit.llf,
        mlmfast_prepare,
        mlmfast_refit,
    ),
    "glmm": Peer("glmm", "glmm", glmm_fit, glmm_report, lambda fit: fit.loglik, refit=glmm_refit),
    "mixedlm-rs": Peer(
        "mixedlm_rs",
        "mixedlm-rs",
        mixedlm_rs_fit,
        printed_summary,
        lambda fit: fit.llf,
        mixedlm_rs_prepare,
        mixedlm_rs_refit,
    ),
    "lme-python": Peer(
        "lme_python",
        "lme-python",
        lme_python_fit,
        printed_summary,
        lambda fit: fit.log_likelihood,
        lme_python_prepare,
        lme_python_refit,
    ),
    "mixedlm": Peer(
        "mixedlm",
        "mixedlm",
        mixedlm_fit,
        printed_summary,
        lambda fit: fit.logLik().value,
        mixedlm_prepare,
        mixedlm_refit,
    ),
    "statsmodels": Peer(
        "statsmodels",
        "statsmodels",
        statsmodels_fit,
        printed_summary,
        lambda fit: fit.llf,
        statsmodels_prepare,
        statsmodels_refit,
        max_rows=100_000,
    ),
}
