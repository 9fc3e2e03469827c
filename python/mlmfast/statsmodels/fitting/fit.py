"""`MixedLM.fit`: the arguments read, the fit by mlmfast or with parameters held, the results."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from mlmfast.arrays import FloatArray, IntArray
from mlmfast.errors import warn
from mlmfast.model import LMM, result_of
from mlmfast.prepared.fit_model import fit_model
from mlmfast.result import LMMResult
from mlmfast.statsmodels.errors import (
    ConvergenceWarning,
    IgnoredArgumentWarning,
    SingularDesignError,
    SingularMatrixWarning,
)
from mlmfast.statsmodels.fitting.constrained import evaluation, optimum
from mlmfast.statsmodels.fitting.estimates import Estimates
from mlmfast.statsmodels.fitting.held_effects import HeldEffects
from mlmfast.statsmodels.model.arrays import ModelArrays
from mlmfast.statsmodels.model.build import design_of
from mlmfast.statsmodels.parameters import MixedLMParams, is_definite, lower_places

#: What statsmodels' optimisers take.
_OPTIMISERS = frozenset(["gtol", "maxiter", "eps", "maxcor", "ftol", "tol", "maxls"])
_METHODS = frozenset(["nm", "bfgs", "lbfgs", "powell", "cg", "basinhopping", "minimize"])
_told: set[str] = set()


def fit(
    self: ModelArrays,
    start_params: Any = None,
    reml: bool = True,
    niter_sa: int = 0,
    do_cg: bool = True,
    fe_pen: Any = None,
    cov_pen: Any = None,
    free: Any = None,
    full_output: bool = False,
    method: Any = None,
    *,
    se: str | None = None,
    **fit_kwargs: Any,
) -> Any:
    """Fit by REML or ML, at a proven optimum.

    Parameters
    ----------
    start_params
        `MixedLMParams` or packed parameters: where held parameters are held, and where the results
        are of with ``do_cg=False``; Newton's method needs no start.
    reml
        REML, or ML.
    do_cg
        Whether to fit; else results are those at ``start_params``.
    free
        `MixedLMParams` of ones, and zeros for entries of ``cov_re`` and ``vcomp``, or of
        ``fe_params``, that are held at ``start_params``. The identity as ``cov_re`` means
        independent random effects. With fixed effects held, the rest is the fit of the response
        less what they say, by REML of the columns that are left.
    full_output
        Whether ``hist`` has the iteration's summary.
    se
        Standard errors of the fixed effects: "gls", (X'V^-1 X)^-1 as SAS and lme4 have them, or
        "statsmodels", from the joint Hessian with the covariances; "gls" unless `install` said
        otherwise.
    niter_sa, method, fit_kwargs
        Of statsmodels' optimisers: read, and without effect; one warning a session says so.
    fe_pen, cov_pen
        Penalties, which are refused.

    Returns
    -------
    MixedLMResultsWrapper

    Raises
    ------
    NotImplementedError
        For a penalty, and for fixed effects held beside single covariances.
    numpy.linalg.LinAlgError
        Where columns of the fixed part depend on each other.

    Warns
    -----
    ConvergenceWarning, SingularMatrixWarning
    """
    se = self.default_se if se is None else se
    if se not in ("gls", "statsmodels"):
        raise ValueError(f"se is {se!r}; use 'gls' or 'statsmodels'")
    for name, penalty in (("fe_pen", fe_pen), ("cov_pen", cov_pen)):
        if penalty is not None:
            raise NotImplementedError(
                f"{name} is not offered: penalised fits have no standard errors that hold, and "
                "statsmodels leaves the fixed effects unpenalised there; fit_regularized has the "
                "lasso"
            )
    _read_optimisers(method, niter_sa, fit_kwargs)
    start = _start(self, start_params)
    self.reml, self._freepat = bool(reml), free
    held = None if free is None else _held_effects(self, free, start)
    free = None if free is None else _mask(self, free)
    blocks = None if free is None else _blocks(self, free, start)
    joint = held is not None and se == "statsmodels" and reml
    if do_cg and not joint and (free is None or blocks is not None):
        return self._results_of(_fitted(self, blocks, held), self, se, full_output)
    if joint:
        raise NotImplementedError(
            "the joint Hessian by REML is of all fixed effects; use se='gls', or reml=False"
        )
    if held is not None:
        raise NotImplementedError(
            "fixed effects are held beside a fit of the covariances, and not beside single "
            "covariances held or do_cg=False; subtract X b of what is held from endog"
        )
    return self._results_of(_held(self, free, start, do_cg), self, se, full_output)


def _fitted(
    model: ModelArrays, blocks: list[IntArray] | None, held: HeldEffects | None
) -> Estimates:
    plain = blocks is None and held is None
    prepared = model._prepared if plain else None
    if prepared is None:
        design = design_of(model, blocks)
        prepared = LMM.from_design(design if held is None else held.offset_from(design))
    if plain:
        # The rows are reduced once for all fits of a model.
        model._prepared = prepared
    method = "REML" if model.reml else "ML"
    found = fit_model(prepared, result_of, method, None, "asymptotic", tell=_say_nothing)
    assert isinstance(found, LMMResult)
    if found.aliased:
        raise SingularDesignError(
            f"Singular matrix: columns of the fixed part depend on earlier ones: "
            f"{', '.join(found.aliased)}; leave them out"
        )
    _warn_of(found)
    record = found._record
    scale = record.sigma2
    blocks = [np.arange(model.k_re)] if blocks is None else blocks
    n_blocks = len(blocks) if model.k_re else 0
    cov_re = np.zeros((model.k_re, model.k_re))
    for block, term in zip(blocks, record.terms[:n_blocks], strict=False):
        cov_re[np.ix_(block, block)] = term.covariance
    vcomp = np.array([term.covariance[0, 0] for term in record.terms[n_blocks:]])
    beta = record.beta if held is None else held.whole(record.beta)
    params = MixedLMParams.from_components(beta, cov_re=cov_re / scale, vcomp=vcomp / scale)
    layout, free = _layout(model, blocks[:n_blocks])
    certificate = record.certificate
    convergence = (record.converged, certificate.n_iterations)
    fe_free = None if held is None else held.free
    return Estimates(params, scale, found.llf, convergence, free, found, layout, fe_free)


def _say_nothing(_: Any) -> None:
    """Warnings are given by their names here."""


def _layout(model: ModelArrays, blocks: Sequence[IntArray]) -> tuple[list[list[int]], FloatArray]:
    """For each term of the design the positions of its parameters among the packed ones."""
    places = {(a, b): k for k, (a, b) in enumerate(zip(*lower_places(model.k_re), strict=True))}
    layout: list[list[int]] = []
    free = np.zeros(model.k_re2 + model.k_vc)
    for block in blocks:
        own = [
            places[max(block[i], block[j]), min(block[i], block[j])]
            for i in range(len(block))
            for j in range(i + 1)
        ]
        layout.append(own)
    layout += [[model.k_re2 + k] for k in range(model.k_vc)]
    free[[k for own in layout for k in own]] = 1.0
    return layout, free


def _held(
    model: ModelArrays, free: FloatArray | None, start: MixedLMParams, do_cg: bool
) -> Estimates:
    """A fit with entries held at the start, or none of them free."""
    k = model.k_re2 + model.k_vc
    mask = np.zeros(k) if not do_cg else np.ones(k) if free is None else free
    evaluate = evaluation(model._likelihood, model.k_fe, model.k_re, model.use_sqrt)
    packed = start.get_packed(use_sqrt=model.use_sqrt)
    point = optimum(packed, mask.astype(bool), evaluate)
    params = MixedLMParams.from_packed(
        point.packed, model.k_fe, model.k_re, model.use_sqrt, has_fe=False
    )
    at = model._likelihood(params)
    params.fe_params = at.beta
    converged = point.converged and do_cg
    if do_cg and not converged:
        what = "the fit with parameters held did not reach an optimum"
        warn(what, ConvergenceWarning, "MLM804")
    if not is_definite(params):
        what = f"{_SINGULAR}: some of what is held or estimated is 0"
        warn(what, SingularMatrixWarning, "MLM806")
    return Estimates(
        params, at.scale(at.beta), at.value(at.beta), (converged, point.iterations), mask
    )


_SINGULAR = "The random effects covariance matrix is singular"


def _warn_of(found: LMMResult) -> None:
    boundary = "; ".join(found.certificate.boundary).replace("|groups", "").replace("| groups", "")
    if not found.converged:
        warn(
            "the fit did not reach a certified optimum (decrement "
            f"{found.certificate.newton_decrement:.1e}); use fewer random effects",
            ConvergenceWarning,
            "MLM805",
        )
    elif found.singular:
        warn(
            f"{_SINGULAR}: {boundary}. Fixed effects and their standard errors are valid",
            SingularMatrixWarning,
            "MLM806",
        )


def _read_optimisers(method: Any, niter_sa: int, fit_kwargs: dict[str, Any]) -> None:
    for name in [method] if isinstance(method, str) else method or []:
        if str(name).lower() in ("newton", "ncg"):
            raise ValueError(f"method {name} not available for MixedLM")
        if str(name).lower() not in _METHODS:
            raise ValueError(
                f"Unknown fit method {name!r}; statsmodels has {', '.join(sorted(_METHODS))}, and "
                "none has an effect here"
            )
    unknown = sorted(set(fit_kwargs) - _OPTIMISERS - {"disp"})
    if unknown:
        plural = "s" if len(unknown) > 1 else ""
        warn(
            f"Argument{plural} {', '.join(unknown)} not used by MixedLM.fit. Future versions will "
            "raise on these arguments.",
            FutureWarning,
            "MLM803",
        )
    meaningless = sorted(set(fit_kwargs) & _OPTIMISERS)
    meaningless += ["method"] * (method is not None) + ["niter_sa"] * (niter_sa > 0)
    if meaningless and not _told:
        _told.add("optimisers")
        warn(
            f"{', '.join(meaningless)}: of statsmodels' optimisers, without effect here, where "
            "Newton's method goes to a proven optimum (said once)",
            IgnoredArgumentWarning,
            "MLM802",
        )


def _start(model: ModelArrays, start_params: Any) -> MixedLMParams:
    k = model.k_re2 + model.k_vc
    if start_params is None:
        return MixedLMParams.from_components(
            np.zeros(model.k_fe), cov_re=np.eye(model.k_re), vcomp=np.ones(model.k_vc)
        )
    if hasattr(start_params, "cov_re"):
        return MixedLMParams.from_components(
            start_params.fe_params, cov_re=start_params.cov_re, vcomp=start_params.vcomp
        )
    if len(start_params) not in (k, k + model.k_fe):
        raise ValueError("invalid start_params")
    has_fe = len(start_params) != k
    return MixedLMParams.from_packed(
        start_params, model.k_fe, model.k_re, model.use_sqrt, has_fe=has_fe
    )


def _held_effects(model: ModelArrays, free: Any, start: MixedLMParams) -> HeldEffects | None:
    """The fixed effects that ``free`` holds, at the start's values; None where it holds none."""
    mask = np.asarray(free.fe_params, dtype=np.float64) != 0.0
    if mask.shape != (model.k_fe,):
        raise ValueError(f"free has fe_params of shape {mask.shape}; ({model.k_fe},) is needed")
    return None if mask.all() else HeldEffects(mask, np.asarray(start.fe_params, dtype=np.float64))


def _mask(model: ModelArrays, free: Any) -> FloatArray:
    shapes = np.shape(free.cov_re), np.shape(free.vcomp)
    if shapes != ((model.k_re, model.k_re), (model.k_vc,)):
        raise ValueError(
            f"free has cov_re and vcomp of shapes {shapes[0]} and {shapes[1]}; "
            f"({model.k_re}, {model.k_re}) and ({model.k_vc},) are needed"
        )
    triangle = np.asarray(free.cov_re)[lower_places(model.k_re)]
    return np.asarray(np.concatenate([triangle, free.vcomp]) != 0, dtype=np.float64)


def _blocks(model: ModelArrays, free: FloatArray, start: MixedLMParams) -> list[IntArray] | None:
    """Blocks of correlated effects that a mask says; None where it holds anything else."""
    k = model.k_re
    pattern = np.zeros((k, k), dtype=bool)
    pattern[lower_places(k)] = free[: model.k_re2] != 0
    pattern |= pattern.T
    if not (free[model.k_re2 :] != 0).all() or not np.diag(pattern).all():
        return None
    rows = {row.tobytes(): np.flatnonzero(row) for row in pattern}
    blocks = sorted(rows.values(), key=lambda block: int(block[0]))
    covered = np.concatenate(blocks) if blocks else np.empty(0, dtype=int)
    held = np.asarray(start.cov_re)[~pattern]
    return blocks if len(covered) == k and not held.any() else None
