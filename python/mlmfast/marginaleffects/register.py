"""Fits handed to marginaleffects as they are."""

from __future__ import annotations

import sys
from functools import wraps
from typing import Any

from mlmfast.fitted.fitted import Fitted
from mlmfast.marginaleffects.adapter import FitModel
from mlmfast.marginaleffects.derivatives import with_own_steps
from mlmfast.marginaleffects.package import imported


def model(fit: Fitted) -> FitModel:
    """A fit as marginaleffects' functions take it; see `FitModel`.

    Parameters
    ----------
    fit
        A fit by a formula, with its data.

    Raises
    ------
    ModelError
        For a fit from arrays, without its data, or with an eliminated factor.

    Examples
    --------
    >>> import mlmfast as mlm
    >>> from marginaleffects import hypotheses
    >>> fit = mlm.lmm("Reaction ~ Days + (Days | Subject)", mlm.load_sleepstudy())
    >>> hypotheses(model(fit), hypothesis="b1 = 10")["statistic"].round(3).to_list()
    [0.302]
    """
    return FitModel(fit)


def register() -> None:
    """Let marginaleffects' functions take fits; the import does it, and once is enough.

    marginaleffects has no list of models to add to: the function by which its modules tell models
    apart is replaced by one that knows fits and leaves the rest to it, and the one that
    differentiates by one that does so for fits in steps of their own.
    """
    sanitize, uncertainty = imported("sanitize"), imported("uncertainty")
    theirs = sanitize.sanitize_model
    if getattr(theirs, "_knows_fits", False):
        return

    @wraps(theirs)
    def sanitize_model(given: Any) -> Any:
        return FitModel(given) if isinstance(given, Fitted) else theirs(given)

    sanitize_model._knows_fits = True  # type: ignore[attr-defined]
    differentiate = uncertainty.get_jacobian
    _put(theirs, sanitize_model)
    _put(differentiate, with_own_steps(differentiate, uncertainty._estimate_vector))


def _put(old: Any, new: Any) -> None:
    """Put a function in another's place in all modules of marginaleffects."""
    for name, module in list(sys.modules.items()):
        if name.partition(".")[0] == "marginaleffects":
            for place in [key for key, value in vars(module).items() if value is old]:
                setattr(module, place, new)
