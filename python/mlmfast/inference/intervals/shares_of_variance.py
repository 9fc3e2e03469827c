"""Tables of intraclass correlations and R2, with intervals."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pandas as pd

from mlmfast.criterion.parameters.covariance_parameter import check_engine
from mlmfast.display.printed_frame import printed
from mlmfast.errors import ModelError
from mlmfast.inference.intervals.derived import (
    bootstrap_table,
    check_request,
    delta_table,
    table_of_errors,
)
from mlmfast.inference.intervals.explained_variance import (
    FIGURES,
    figure_of_batch,
    figure_of_fit,
)
from mlmfast.inference.intervals.parameter_values import AtEstimate
from mlmfast.inference.resampling.bootstrap import bootstrap
from mlmfast.words import is_one_of

if TYPE_CHECKING:
    from mlmfast.batch.fit_batch import FitBatch
    from mlmfast.fitted.fitted import Fitted
    from mlmfast.fitted.origin.source import FitSource

_NO_CURVES = "the curves are in fit.smooths, the parts of the variance in fit.varcorr"
_NO_EFFECTS = "the model has no random effects, so no variance of theirs to explain"
_TITLES = {
    "icc": "Intraclass correlations",
    "nakagawa": "R2 (Nakagawa, Johnson and Schielzeth)",
    "rights-sterba": "R2 (Rights and Sterba)",
}


def icc(
    fit: Fitted,
    interval: str = "delta",
    level: float = 0.95,
    *,
    n: int = 1000,
    seed: Any = None,
) -> pd.DataFrame:
    """Intraclass correlations with intervals: estimate, se, lower, upper.

    "adjusted": variance of the random effects over that and the residual's; "conditional":
    over the fixed effects' too (Nakagawa, Johnson and Schielzeth 2017, J. R. Soc. Interface
    14); of random slopes the mean variance over the rows (Johnson 2014, Methods Ecol. Evol.
    5:944). With several grouping factors the share of each. Where a variance is negative
    (``bounded=False``) it is no share but the correlation of two rows of a group, which may be.

    Parameters
    ----------
    interval
        "delta" (symmetric in the logit) or "bootstrap".
    level, n, seed
        Of the intervals.

    Examples
    --------
    >>> import mlmfast as mlm
    >>> fit = mlm.lmm("Reaction ~ Days + (1 | Subject)", mlm.load_sleepstudy())
    >>> fit.icc().round(3)
                 estimate     se  lower  upper
    adjusted        0.589  0.093  0.403  0.753
    conditional     0.424  0.093  0.259  0.608
    """
    return _table(fit, "icc", interval, level, n, seed)


def r2(
    fit: Fitted,
    method: str = "nakagawa",
    interval: str = "delta",
    level: float = 0.95,
    *,
    n: int = 1000,
    seed: Any = None,
) -> pd.DataFrame:
    """Share of the variance that is explained, with intervals: estimate, se, lower, upper.

    Parameters
    ----------
    method
        "nakagawa": marginal (fixed effects) and conditional (with the random effects), random
        slopes by their mean variance over the rows (Nakagawa and Schielzeth 2013, Methods
        Ecol. Evol. 4:133; Johnson 2014). "rights-sterba": of the total, within-cluster and
        between-cluster variance, the shares of fixed effects within (f1) and between (f2)
        clusters, of random slopes by covariates within (v1) and between (v2), and of the
        clusters' means (m) (Rights and Sterba 2019, Psychol. Methods 24:309; 2021, New Dir.
        Child Adolesc. Dev. 175:65, where covariates are not centred by cluster). Of a fit with a
        negative variance (``bounded=False``) there is none.
    interval, level, n, seed
        As `icc`.

    Examples
    --------
    >>> import mlmfast as mlm
    >>> fit = mlm.lmm("Reaction ~ Days + (Days | Subject)", mlm.load_sleepstudy())
    >>> fit.r2()["estimate"].round(3).to_dict()
    {'marginal': 0.279, 'conditional': 0.799}
    """
    return _table(fit, method, interval, level, n, seed)


def _refuse_negative(negative: tuple[str, ...]) -> None:
    """Refuse shares of a total of which some part is negative."""
    if negative:
        raise ModelError(
            f"R2 is a share of variances, and here the {'; the '.join(negative)}; the correlation "
            "within groups is in fit.icc(), and a fit without bounded=False has an R2"
        )


def _table(
    fit: Fitted, figure: str, interval: str, level: float, n: int, seed: Any
) -> pd.DataFrame:
    """A table of shares of variance with intervals.

    Parameters
    ----------
    fit
        The fit.
    figure
        "icc", "nakagawa" or "rights-sterba".
    interval
        "delta" (symmetric in the logit) or "bootstrap" (percentiles).
    level, n, seed
        Of the intervals.

    Raises
    ------
    ModelError
        Without random effects, and where a figure does not serve the model.
    """
    fit._record.refuse_smooths("a share of the variance", _NO_CURVES)
    _check_figure(figure)
    if figure != "icc":
        _refuse_negative(fit.certificate.negative)
    source = fit._source
    if source is None:
        return _stored_table(fit, figure, interval, level)
    check_request(interval, level)
    _check(source, interval)
    at = AtEstimate(source, fit._record)
    found = figure_of_fit(figure, at)
    title = f"{_TITLES[figure]}, {100 * level:g} % intervals ({interval})"
    if interval == "delta":
        return printed(delta_table(at, found, level, "logit"), title)

    def statistic(batch: FitBatch) -> dict[str, Any]:
        return figure_of_batch(figure, source, batch)

    boot = bootstrap(fit, n, seed, statistic)
    values = {k: v.value for k, v in found.items()}
    return printed(bootstrap_table(values, boot.replicates, level), title)


def _check_figure(figure: str) -> None:
    if not is_one_of(figure, FIGURES):
        known = ", ".join(repr(name) for name in FIGURES if name != "icc")
        raise ModelError(f"method is {figure!r}; use {known}")


def _check(source: FitSource, interval: str) -> None:
    if interval == "profile":
        raise ModelError("these depend on fixed effects; use interval='delta' or 'bootstrap'")
    if not source.design.random:
        raise ModelError(_NO_EFFECTS)
    check_engine(source.model, "an interval for a share of variance")


def _stored_table(fit: Fitted, figure: str, interval: str, level: float) -> pd.DataFrame:
    """The same of a fit without rows.

    Raises
    ------
    ModelError
        For a bootstrap, and where the fit was saved without the figure.
    """
    check_request(interval, level)
    if not fit._record.terms:
        raise ModelError(_NO_EFFECTS)
    if interval != "delta" or figure not in fit._shares:
        fit._needs_source(f"{_TITLES.get(figure, figure)} by {interval}")
    rows = {name: list(pair) for name, pair in fit._shares[figure].items()}
    table = table_of_errors(rows, level, "logit")
    return printed(table, f"{_TITLES[figure]}, {100 * level:g} % intervals ({interval})")
