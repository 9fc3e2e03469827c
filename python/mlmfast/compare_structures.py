"""A table of residual covariance structures fitted to one data set."""

from __future__ import annotations

import re
import warnings
from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from mlmfast.covariance import STRUCTURES, CovarianceStructure
from mlmfast.data.frame import Frame
from mlmfast.errors import (
    ConvergenceWarning,
    MlmError,
    ModelError,
    SingularFitWarning,
    SpacingWarning,
    pass_on,
)
from mlmfast.model import lmm
from mlmfast.result import LMMResult

#: Visits that count one by one, whatever they are.
_FACTOR = re.compile(r"\s*factor\((.+)\)\s*")
_FIGURES = ("llf", "deviance", "aic", "aicc", "bic")


def compare_structures(
    formula: str,
    data: object,
    visit: str | Sequence[str],
    subject: str,
    structures: Sequence[str] | None = None,
    **arguments: Any,
) -> pd.DataFrame:
    """Fit one model with several residual covariance structures and rank them by AIC.

    Parameters
    ----------
    formula, data
        As in `lmm`; all fits have the same fixed and random effects and the same rows.
    visit
        Column that tells the rows of a subject apart; several columns for coordinates. All
        structures count it in one way: numbers and dates in units of their greatest common step,
        anything else, and ``"factor(visit)"``, level by level.
    subject
        Column of the subjects, or ``"arm / subject"`` for parameters of its own for each arm.
    structures
        Keywords, such as ``("us", "toeph", "ar1")``; by default all of `structures`, the spatial
        ones where ``visit`` is numeric.
    **arguments
        What else `lmm` takes: method ("REML" by default), weights, contrasts, ...

    Returns
    -------
    DataFrame
        A row a structure, smallest AIC first: structure, n_parameters (of all covariances: random
        effects and residual), llf, deviance, aic, aicc and bic (R's convention, as
        `LMMResult.aic`), converged, and problem, which is empty or says why a structure was not
        fitted (its numbers are then missing, and it stands last) or what is wrong with its fit.

    Raises
    ------
    MlmError
        Where no structure could be fitted: the first one's error.

    Examples
    --------
    >>> import mlmfast as mlm
    >>> table = mlm.compare_structures(
    ...     "Reaction ~ Days", mlm.load_sleepstudy(), "Days", "Subject", ("cs", "ar1", "toep")
    ... )
    >>> table[["structure", "n_parameters", "deviance", "aic"]].round(2)
      structure  n_parameters  deviance      aic
    0       ar1             2   1739.21  1747.21
    1      toep            10   1730.84  1754.84
    2        cs             2   1786.47  1794.47
    """
    if "residual" in arguments:
        raise ModelError("compare_structures writes residual= itself, from visit and subject")
    listed = [visit] if isinstance(visit, str) else visit
    if not isinstance(listed, Sequence) or not all(isinstance(name, str) for name in listed):
        raise ModelError(f"visit is {visit!r}; give the name of a column, or a list of names")
    columns = (visit,) if isinstance(visit, str) else tuple(visit)
    words = _default_structures(data, columns) if structures is None else _words(structures)
    rows: list[dict[str, object]] = []
    first_error: MlmError | None = None
    said: set[type[Warning]] = set()
    for word in words:
        residual = f"{word}({', '.join(map(_quoted, columns))} | {subject})"
        try:
            fit = _quietly_fitted(formula, data, residual, arguments, said)
        except MlmError as error:
            first_error = first_error or error
            rows.append({"structure": word, "converged": False, "problem": str(error)})
        else:
            rows.append({"structure": word, **_figures(fit)})
    if first_error is not None and all("aic" not in row for row in rows):
        raise first_error
    return _table(rows)


def _words(structures: Sequence[str]) -> tuple[str, ...]:
    words = (structures,) if isinstance(structures, str) else tuple(structures)
    if not words:
        raise ModelError("structures is empty; name at least one, such as 'us'")
    return tuple(dict.fromkeys(words))


def _default_structures(data: object, columns: tuple[str, ...]) -> tuple[str, ...]:
    """Every structure that such visits can have, aliases left out."""
    frame = Frame.from_native(data)
    numeric = all(frame.has(name) and frame.is_numeric(name) for name in columns)
    needs = {"coordinates"} if numeric else set()
    if len(columns) == 1:
        needs.add("levels")
    return tuple(
        word
        for word, kind in sorted(STRUCTURES.items())
        if kind.keyword == word and kind.needs in needs and _is_compared(kind, columns)
    )


def _is_compared(kind: type[CovarianceStructure], columns: tuple[str, ...]) -> bool:
    if kind.compared == "several columns":
        return len(columns) > 1
    return kind.compared == "always"


def _quoted(name: str) -> str:
    inner = _FACTOR.fullmatch(name)
    if inner:
        return f"factor({_quoted(inner.group(1).strip())})"
    return name if name.startswith("`") or name.isidentifier() else f"`{name}`"


def _quietly_fitted(
    formula: str, data: object, residual: str, arguments: dict[str, Any], said: set[type[Warning]]
) -> LMMResult:
    """Fit; what every structure would say of the visits is said once."""
    with warnings.catch_warnings(record=True) as heard:
        warnings.simplefilter("always")
        # What these two say stands in the table.
        warnings.simplefilter("ignore", ConvergenceWarning)
        warnings.simplefilter("ignore", SingularFitWarning)
        fit = lmm(formula, data, residual=residual, **arguments)
    for message in heard:
        if message.category not in said:
            pass_on([message.message], message.category)
        if issubclass(message.category, SpacingWarning):
            said.add(message.category)
    return fit


def _figures(fit: LMMResult) -> dict[str, object]:
    criteria = fit.information_criteria()
    problem = "; ".join(fit.certificate.boundary)
    return {
        "n_parameters": fit._record.n_covariance_parameters,
        "llf": fit.llf,
        "deviance": fit.deviance,
        "aic": fit.aic,
        "aicc": float(criteria["AICc"]),
        "bic": fit.bic,
        "converged": fit.converged,
        "problem": problem if fit.converged else "not converged",
    }


def _table(rows: list[dict[str, object]]) -> pd.DataFrame:
    columns = ["structure", "n_parameters", *_FIGURES, "converged", "problem"]
    table = pd.DataFrame(rows, columns=columns).astype(dict.fromkeys(_FIGURES, np.float64))
    # Whole numbers, missing where there was no fit.
    table["n_parameters"] = table["n_parameters"].astype("Int64")
    return table.sort_values("aic", kind="stable", na_position="last", ignore_index=True)
