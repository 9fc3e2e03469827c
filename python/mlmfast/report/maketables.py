"""What maketables asks of a fit by its plug-in attributes, ``__maketables_...__``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pandas as pd

from mlmfast.degrees_of_freedom import method_of
from mlmfast.formula.mixed_formula import parse_formula
from mlmfast.report.tidy import tidy

if TYPE_CHECKING:
    from mlmfast.fitted.fitted import Fitted


def coefficient_table(fit: Fitted) -> pd.DataFrame:
    """Fixed effects with the columns that maketables reads: b, se, t, p, df, ci95l, ci95u.

    Examples
    --------
    >>> import mlmfast as mlm
    >>> fit = mlm.lmm("Reaction ~ Days + (Days | Subject)", mlm.load_sleepstudy())
    >>> coefficient_table(fit)[["b", "se", "df"]].round(3)
                       b     se    df
    Coefficient
    (Intercept)  251.405  6.825  17.0
    Days          10.467  1.546  17.0
    """
    limits = fit.conf_int()
    table = pd.DataFrame(
        {
            "b": fit.params,
            "se": fit.bse,
            "t": fit.tvalues,
            "p": fit.pvalues,
            "df": fit.df,
            "ci95l": limits["lower"],
            "ci95u": limits["upper"],
        }
    )
    return table.dropna(subset="b").rename_axis("Coefficient")


def response(fit: Fitted) -> str:
    """The response as the formula writes it; "y" for a fit from arrays.

    Examples
    --------
    >>> import mlmfast as mlm
    >>> response(mlm.lmm("Reaction ~ Days + (1 | Subject)", mlm.load_sleepstudy()))
    'Reaction'
    """
    return "y" if fit.formula is None else parse_formula(fit.formula).response


def statistic(fit: Fitted, key: str) -> Any:
    """A figure of the model, by maketables' name of it or by one of `shown`; None for another."""
    return (_figures(fit) | covariances(fit)).get(key)


def shown(fit: Fitted) -> list[str]:
    """Figures that a table shows by default; those that differ between models stand last."""
    return ["N", "ll", "aic", *covariances(fit)]


def errors(fit: Fitted) -> dict[str, str]:
    """What the standard errors and their tests are."""
    return {"vcov_type": method_of(fit.ddf).label}


def no_levels(fit: Fitted) -> None:
    """No factor is taken out of the table as "fixed effects"."""


def covariances(fit: Fitted) -> dict[str, Any]:
    """Numbers of groups, SDs, correlations and residual parameters, by labels of their own.

    Labels, since a table takes those of its first model alone.

    Examples
    --------
    >>> import mlmfast as mlm
    >>> fit = mlm.lmm("Reaction ~ Days + (Days | Subject)", mlm.load_sleepstudy())
    >>> list(covariances(fit))[:3]
    ['Groups: Subject', 'SD (Intercept) | Subject', 'SD Days | Subject']
    """
    found: dict[str, Any] = {f"Groups: {name}": n for name, n in fit.n_groups.items()}
    random = tidy(fit, "random")
    rows = zip(random["term"], random["group"], random["estimate"].tolist(), strict=True)
    for term, group, estimate in rows:
        kind, _, effect = str(term).partition("__")
        words = {"sd": "SD", "cor": "Corr"}.get(kind)
        name = f"{words} {effect}" if words else str(term)
        label = "SD | Residual" if effect == "Observation" else f"{name} | {group}"
        found[label] = estimate
    return found


def _figures(fit: Fitted) -> dict[str, Any]:
    """Figures by maketables' names."""
    counts = list(fit.n_groups.values())
    return {
        "N": fit.nobs,
        "n_clusters": min(counts) if counts else None,
        "ll": fit.llf,
        "deviance": fit.deviance,
        "aic": fit.aic,
        "bic": fit.bic,
    }
