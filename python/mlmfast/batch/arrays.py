"""Arrays of a batch, from what came of its iterations."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mlmfast.arrays import BoolArray, FloatArray
from mlmfast.design.design import Design
from mlmfast.fitted.estimates import Estimates
from mlmfast.fitting.covariance_fit import CovarianceFit
from mlmfast.reduction.reduced_model import ReducedModel


def status_of(converged: BoolArray, singular: BoolArray) -> NDArray[np.object_]:
    """`FitBatch.status` of fits that there are."""
    words = np.array(["not converged", "converged", "singular"], dtype=object)
    return np.asarray(words[converged.astype(np.intp) * (1 + singular)])


def outcome(covariance: CovarianceFit) -> dict[str, Any]:
    """How the iterations ended, as `FitBatch` has it."""
    newton = covariance.newton
    minimum = (newton.decrement < 1e-8) & (newton.min_eigenvalue > -1e-6)
    converged = newton.converged & minimum
    singular = np.asarray(covariance.singular.any(axis=1))
    return {
        "converged": converged,
        "singular": singular,
        "newton_decrement": newton.decrement,
        "min_hessian_eigenvalue": newton.min_eigenvalue,
        "n_evaluations": covariance.n_evaluations,
        "n_iterations": newton.n_iterations,
        "status": status_of(converged, singular),
    }


def effect_names(design: Design) -> dict[str, tuple[str, ...]]:
    """Names of the random effects by grouping factor, terms stacked."""
    out: dict[str, tuple[str, ...]] = {}
    for term in design.random:
        name = design.factors[term.factor].name
        out[name] = (*out.get(name, ()), *term.names)
    return {f.name: out[f.name] for f in design.factors if f.name in out}


def n_parameters(model: ReducedModel, covariance: CovarianceFit) -> int:
    """Fixed effects, covariance parameters and the residual variance."""
    return len(model.kept) + covariance.criterion.n_theta + int(model.profiled)


def is_aliased(model: ReducedModel) -> BoolArray:
    """Which columns of X depend on others, (p,)."""
    out = np.ones(len(model.design.x), dtype=np.bool_)
    out[model.kept] = False
    return out


def spread(values: FloatArray, model: ReducedModel) -> FloatArray:
    """Values by fit over all columns of X, NaN for those left out."""
    out = np.full((len(values), len(model.design.x)), np.nan)
    out[:, model.kept] = values
    return out


def stacked_terms(
    design: Design, estimates: Estimates, unseen: Sequence[Sequence[tuple[int, int]]] = ()
) -> dict[str, FloatArray]:
    """`FitBatch.varcorr`, NaN at the entries ``unseen`` of each term, if they are listed."""
    out = {}
    told = list(estimates.covariances)
    for t, pairs in enumerate(unseen):
        if pairs:
            told[t] = told[t].copy()
            a, b = np.array(pairs).T
            told[t][:, a, b] = told[t][:, b, a] = np.nan
    for f, factor in enumerate(design.factors):
        blocks = [told[t] for t, term in enumerate(design.random) if term.factor == f]
        if not blocks:
            # Subjects of a residual covariance without random effects of their own.
            continue
        size = sum(block.shape[1] for block in blocks)
        full = np.zeros((len(estimates.sigma2), size, size))
        at = 0
        for block in blocks:
            stretch = slice(at, at + block.shape[1])
            full[:, stretch, stretch] = block
            at += block.shape[1]
        out[factor.name] = full
    return out
