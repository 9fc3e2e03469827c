"""Covariances of the fixed effects by name."""

from __future__ import annotations

from difflib import get_close_matches
from typing import TYPE_CHECKING

import pandas as pd

from mlmfast.arrays import FloatArray
from mlmfast.degrees_of_freedom import METHODS, KenwardRoger, known_name
from mlmfast.errors import ModelError
from mlmfast.inference.robust.covariance import KINDS, robust_covariance
from mlmfast.information.undetermined_effects import known_entries
from mlmfast.words import is_one_of

if TYPE_CHECKING:
    from mlmfast.fitted.fitted import Fitted


def cov_params(fit: Fitted, kind: str | None = None, *, cluster: object = None) -> pd.DataFrame:
    """Covariance of the fixed effects, (X'V^-1 X)^-1, as SAS and lme4 report it.

    Parameters
    ----------
    kind
        None or "model"; one of the names "kenward-roger...", for the covariance adjusted for
        the estimation of V; "CR0", "CR1", "CR2" or "CR3" for a cluster-robust one (`robust`).
    cluster
        The clusters of a cluster-robust covariance.

    Raises
    ------
    ModelError
        For a kind that is not available.

    Examples
    --------
    >>> import mlmfast as mlm
    >>> fit = mlm.lmm("Reaction ~ Days + (Days | Subject)", mlm.load_sleepstudy())
    >>> fit.cov_params().loc["Days"].round(3).to_dict()
    {'(Intercept)': -1.451, 'Days': 2.389}
    """
    return fit._square(_of_kind(fit, kind, cluster))


def _of_kind(fit: Fitted, kind: str | None, cluster: object) -> FloatArray:
    """Covariance of the coefficients kept, (rank, rank)."""
    if is_one_of(kind, KINDS):
        return robust_covariance(fit, str(kind), cluster).covariance
    if cluster is not None:
        raise ModelError(f"cluster= is for kind {', '.join(KINDS)}; kind is {kind!r}")
    if kind is None or is_one_of(kind, ("model",)):
        return known_entries(_moves(fit), fit._record.vcov)
    adjusted = [name for name, method in METHODS.items() if issubclass(method, KenwardRoger)]
    name = known_name(kind)
    if is_one_of(name, adjusted):
        basis = fit._basis(name)
        return known_entries(basis.moves, basis.vcov)
    known = ["model", *adjusted, *KINDS]
    near = get_close_matches(str(kind), known, n=1, cutoff=0.5)
    hint = f"; did you mean {near[0]!r}?" if near else ""
    raise ModelError(
        f"cov_params(kind={kind!r}) is not known{hint} (available: {', '.join(known)})"
    )


def _moves(fit: Fitted) -> FloatArray | None:
    """How the covariance moves with what is not determined, of a loaded fit as its tests say."""
    if fit._rows is not None:
        return fit._rows.moves
    return next((basis.moves for basis in fit._bases.values()), None)
