"""Conditional AIC: how well a fit predicts new responses of the same clusters."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from mlmfast.arrays import FloatArray
from mlmfast.criterion.criterion import Criterion, criterion_of
from mlmfast.criterion.parameters.covariance_parameter import check_engine
from mlmfast.design.design import Design
from mlmfast.errors import ModelError
from mlmfast.fitted.estimates import estimates_of
from mlmfast.fitted.random_effects import conditional_effects, fixed_part
from mlmfast.fitted.record import FitRecord
from mlmfast.reduction.reduce import reduce_design
from mlmfast.words import is_one_of

if TYPE_CHECKING:
    from mlmfast.fitted.fitted import Fitted
    from mlmfast.fitted.origin.source import FitSource

#: Singular value of moves that the data do not tell, over the largest, that is none.
_NOT_TOLD = 1e-9
METHODS = ("greven-kneib", "vaida-blanchard")


def caic(fit: Fitted, method: str = "greven-kneib") -> pd.Series[float]:
    """Conditional AIC: conditional log-likelihood ``llf``, its ``df``, and ``caic``.

    For choosing among models by how they predict new responses of the same clusters.

    With W = V / sigma^2, P the projection of generalised least squares and fitted values
    (I - P) y (rows times the roots of their weights), the degrees of freedom are

    - "vaida-blanchard": tr(I - P), as if the relative covariances were known;
    - "greven-kneib": tr(d fitted / dy), for they depend on y too. With e = P y, a_k = P W_k e,
      q_k = e'W_k e and F the Hessian of the profiled criterion of nu degrees of freedom this adds
      2 nu sum_kl (F^-1)_kl (a_k'a_l / rss - q_l a_k'e / rss^2), over the directions in which the
      estimate may move (a variance estimated as 0 stays there);

    and one more for sigma^2 either way: cAIC = -2 l(y | b) + 2 (df + 1).

    Parameters
    ----------
    method
        "greven-kneib" (covariances estimated) or "vaida-blanchard" (as if they were known).

    Raises
    ------
    ModelError
        For another method, a residual structure, parameters held, negative variances, and the
        iterative engine.

    References
    ----------
    Vaida and Blanchard (2005), Biometrika 92:351; Greven and Kneib (2010), Biometrika 97:773,
    theorem 3.

    Examples
    --------
    >>> import mlmfast as mlm
    >>> fit = mlm.lmm("Reaction ~ Days + (Days | Subject)", mlm.load_sleepstudy())
    >>> fit.caic().round(2).to_dict()
    {'llf': -824.51, 'df': 30.25, 'caic': 1711.52}
    """
    fit._needs_likelihood("caic()")
    source, record = fit._needs_source("conditional AIC"), fit._record
    _check(source, method)
    if record.certificate.negative:
        raise ModelError(
            "conditional AIC counts random effects, and with negative variances (bounded=False) "
            "there are none: only V is a covariance matrix; use aic, or fit with bounded=True"
        )
    design, criterion, theta = source.design, source.criterion, source.theta
    root = np.ones(design.n_obs) if design.weights is None else np.sqrt(design.weights)
    residual = _conditional_residual(source, record, design, theta) * root
    df = float(len(record.kept))
    if criterion.n_theta:
        df += trace_of_random_part(source)
        if method == "greven-kneib":
            df += _correction(source, record, residual, root)
    sigma2 = record.sigma2
    llf = -0.5 * (
        design.n_obs * np.log(2.0 * np.pi * sigma2)
        - 2.0 * float(np.log(root).sum())
        + float(residual @ residual) / sigma2
    )
    return pd.Series({"llf": float(llf), "df": df, "caic": float(-2.0 * llf + 2.0 * (df + 1.0))})


def _check(source: FitSource, method: str) -> None:
    if not is_one_of(method, METHODS):
        raise ModelError(f"method is {method!r}; use {' or '.join(map(repr, METHODS))}")
    if source.design.residual is not None:
        raise ModelError(
            "conditional AIC is for independent residuals; with residual= compare by AIC"
        )
    if source.parms is not None and source.parms.held:
        raise ModelError("conditional AIC is for free fits; this one holds covariance parameters")
    check_engine(source.model, "conditional AIC")


def _conditional_residual(
    source: FitSource, record: FitRecord, design: Design, theta: FloatArray
) -> FloatArray:
    """y - X beta - Z b at the covariances ``theta`` for the response of ``design``, shape (n,)."""
    model = reduce_design(design, [design.working_response])
    criterion = criterion_of(model, record.method)
    own = replace(record, beta=estimates_of(model, criterion, theta).beta[0])
    out = design.working_response - fixed_part(design, own)
    if not design.random:
        return np.asarray(out)
    effects = conditional_effects(model, criterion, theta, own)
    at = dict.fromkeys(range(len(design.factors)), 0)
    for term in design.random:
        codes, first = design.factors[term.factor].codes, at[term.factor]
        mean = effects[term.factor].mean
        for j, column in enumerate(term.columns):
            by_row = np.ascontiguousarray(mean[:, first + j])[codes]
            out -= by_row if column is None else by_row * column
        at[term.factor] = first + len(term.names)
    return np.asarray(out)


def trace_of_random_part(source: FitSource) -> float:
    """tr(I - P) - p: the sum of phi tr(P W_phi) over the entries phi of G, in which W is linear."""
    criterion, theta = source.criterion, source.theta
    g = criterion.covariances(theta)
    trace = source.model.likelihood_derivatives(g, 0, criterion.entries, True)[0]
    return float(trace[0] @ criterion.entry_values(theta)[0])


def _correction(
    source: FitSource, record: FitRecord, residual: FloatArray, root: FloatArray
) -> float:
    """What estimating the covariances adds to the trace."""
    design, criterion, theta = source.design, source.criterion, source.theta
    at = criterion(theta, np.zeros(1, dtype=np.intp))
    jacobian, _ = criterion.chain(theta, at.natural_gradient)
    size = np.abs(jacobian[0]).max(axis=0)
    moves = np.flatnonzero(size > 1e-8 * size.max(initial=0.0))
    basis = _told_moves(criterion, theta, jacobian[0][:, moves])
    entries = jacobian[0][:, moves] @ basis
    directions = [_moved(source, column, residual * root) * root for column in entries.T]
    pulled = []
    for direction in directions:
        own = replace(design, y=direction / root, offset=None)
        pulled.append(_conditional_residual(source, record, own, theta) * root)
    if not pulled:
        return 0.0
    a = np.stack(pulled)
    q = np.stack(directions) @ residual
    nu = design.n_obs - (len(record.kept) if criterion.reml else 0)
    rss = nu * record.sigma2
    inverse = np.linalg.inv(basis.T @ at.hessian[0][np.ix_(moves, moves)] @ basis)
    inner = a @ a.T / rss - np.outer(a @ residual, q) / rss**2
    return float(2.0 * nu * (inverse * inner).sum())


def _told_moves(criterion: Criterion, theta: FloatArray, jacobian: FloatArray) -> FloatArray:
    """Combinations of moves of the entries (n, k) that the criterion shows, (k, l)."""
    flat, k = criterion.flat, jacobian.shape[1]
    if flat is None:
        return np.eye(k)
    # Along with sigma^2, last, which the entries are relative to.
    first = np.zeros((len(flat.size), k + 1))
    first[: len(jacobian), :k] = jacobian
    first[:, k] = np.append(criterion.entry_values(theta)[0], 1.0)
    null = flat.among(first)[:k]
    _, values, rows = np.linalg.svd(null.T)
    return np.asarray(rows[int((values > _NOT_TOLD * values.max(initial=1e-300)).sum()) :].T)


def _moved(source: FitSource, entries: FloatArray, residual: FloatArray) -> FloatArray:
    """Z dG Z'e for a move of the entries of G, shape (n,); e times the roots of the weights."""
    model, design = source.model, source.design
    out, first = np.zeros(design.n_obs), 0
    for position, block in enumerate(source.criterion.terms):
        term = design.random[model.order[position]]
        factor = design.factors[term.factor]
        places = block.structure.entries
        own = np.zeros((len(term.names), len(term.names)))
        for (i, j), value in zip(places, entries[first : first + len(places)], strict=True):
            own[i, j] = own[j, i] = value
        first += len(places)
        k = model.effects_map(position)
        columns = [np.ones(design.n_obs) if c is None else c for c in term.columns]
        sums = np.stack(
            [np.bincount(factor.codes, c * residual, factor.n_levels) for c in columns], axis=1
        ).astype(np.float64)
        if factor.relationship is not None:
            sums = factor.relationship.times_rows(sums)
        effects = sums @ (k @ own @ k.T)
        for j, column in enumerate(columns):
            out += np.ascontiguousarray(effects[:, j])[factor.codes] * column
    return out
