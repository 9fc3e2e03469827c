"""FitBatch: many fits of one design as arrays."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from mlmfast.arrays import BoolArray, FloatArray, IntArray
from mlmfast.degrees_of_freedom import FittedRows
from mlmfast.design import Design
from mlmfast.fit import CovarianceFit
from mlmfast.handed_out import hands_out_copies
from mlmfast.model_frame import ModelFrame
from mlmfast.reduced_model import Estimates, ReducedModel

if TYPE_CHECKING:
    from mlmfast.batch_tests import BatchTests

#: Arrays with an entry a fit.
_BY_FIT = (
    "params",
    "bse",
    "cov_params",
    "sigma",
    "llf",
    "converged",
    "singular",
    "newton_decrement",
    "min_hessian_eigenvalue",
    "n_evaluations",
    "n_iterations",
    "nobs",
    "status",
)


@hands_out_copies
@dataclass(frozen=True)
class FitBatch:
    """Fits of many responses on one design; arrays have a leading axis of length n_fits.

    Attributes
    ----------
    names
        Columns of X.
    params, bse : shape (n_fits, p), NaN for aliased columns.
    cov_params : shape (n_fits, rank, rank), of the columns that are not aliased.
    sigma : shape (n_fits,)
    varcorr : dict from grouping factor to covariances (n_fits, q, q), terms stacked.
    llf : shape (n_fits,)
    converged, singular : shape (n_fits,)
    newton_decrement, min_hessian_eigenvalue : shape (n_fits,)
    n_evaluations, n_iterations : shape (n_fits,)
    method
        "REML" or "ML".
    kept
        Positions of the columns of X that `cov_params` is over.
    responses
        Names of the responses.
    nobs : shape (n_fits,), rows used.
    status : shape (n_fits,)
        "converged", "singular" (converged there), "not converged", or why there is no fit.

    Examples
    --------
    >>> import mlmfast as mlm
    >>> model = mlm.LMM("Reaction ~ Days + (Days | Subject)", mlm.load_sleepstudy())
    >>> batch = model.fit_many(model.fit().simulate(3, seed=1))
    >>> batch.params.shape, bool(batch.converged.all())
    ((3, 2), True)
    """

    names: tuple[str, ...]
    params: FloatArray
    bse: FloatArray
    cov_params: FloatArray
    sigma: FloatArray
    varcorr: dict[str, FloatArray]
    llf: FloatArray
    converged: BoolArray
    singular: BoolArray
    newton_decrement: FloatArray
    min_hessian_eigenvalue: FloatArray
    n_evaluations: IntArray
    n_iterations: IntArray
    method: str
    #: What the fits were made from, which tests need; None for a response without a fit.
    rows: tuple[FittedRows | None, ...] | None = field(default=None, repr=False)
    kept: tuple[int, ...] = ()
    responses: tuple[str, ...] = ()
    nobs: IntArray = field(default_factory=lambda: np.zeros(0, dtype=np.intp))
    status: NDArray[np.object_] = field(default_factory=lambda: np.zeros(0, dtype=object))

    def __len__(self) -> int:
        return len(self.llf)

    @property
    def deviance(self) -> FloatArray:
        """-2 llf, shape (n_fits,)."""
        return -2.0 * self.llf

    def df(self, ddf: str | float = "satterthwaite") -> FloatArray:
        """Degrees of freedom of each coefficient, (n_fits, p); NaN where aliased or not fitted.

        Examples
        --------
        >>> import mlmfast as mlm
        >>> model = mlm.LMM("Reaction ~ Days + (1 | Subject)", mlm.load_sleepstudy())
        >>> batch = model.fit_many(model.fit().simulate(2, seed=1))
        >>> batch.df().round(0)[:, 1].tolist()
        [161.0, 161.0]
        """
        from mlmfast.batch_tests import batch_df

        return batch_df(self, ddf)

    def tests(self, L: Any, rhs: Any = 0.0, ddf: str | float = "satterthwaite") -> BatchTests:
        """t tests of each row of L, and the F test of all, in every fit.

        Parameters
        ----------
        L : as `LMMResult.contrast` takes.
        rhs : values under the hypotheses.
        ddf : method of degrees of freedom.

        Examples
        --------
        >>> import mlmfast as mlm
        >>> model = mlm.LMM("Reaction ~ Days + (1 | Subject)", mlm.load_sleepstudy())
        >>> batch = model.fit_many(model.fit().simulate(2, seed=1))
        >>> batch.tests("Days = 10").pvalue.shape
        (2, 1)
        """
        from mlmfast.batch_tests import batch_tests

        return batch_tests(self, L, rhs, ddf)

    @classmethod
    def from_fit(
        cls,
        model: ReducedModel,
        covariance: CovarianceFit,
        estimates: Estimates,
        method: str,
        frame: ModelFrame | None = None,
    ) -> FitBatch:
        """Collect the parts of a batch fit."""
        design, newton, n = model.design, covariance.newton, len(estimates.deviance)
        decrement, eigenvalue = newton.decrement, newton.min_eigenvalue
        minimum = (decrement < 1e-8) & (eigenvalue > -1e-6)
        diagonal = np.sqrt(np.diagonal(estimates.vcov, axis1=1, axis2=2))
        converged = newton.converged & minimum
        singular = np.asarray(covariance.singular.any(axis=1))
        return cls(
            names=design.x_names,
            params=_spread(estimates.beta, model),
            bse=_spread(diagonal, model),
            cov_params=estimates.vcov,
            sigma=np.sqrt(estimates.sigma2),
            varcorr=_stack(design, estimates),
            llf=-0.5 * estimates.deviance,
            converged=converged,
            singular=singular,
            newton_decrement=decrement,
            min_hessian_eigenvalue=eigenvalue,
            n_evaluations=covariance.n_evaluations,
            n_iterations=newton.n_iterations,
            method=method,
            rows=_fitted_rows(model, covariance, estimates, frame),
            kept=tuple(model.kept.tolist()),
            responses=tuple(map(str, range(n))),
            nobs=np.full(n, design.n_obs, dtype=np.intp),
            status=_status(converged, singular),
        )

    def named(self, responses: tuple[str, ...]) -> FitBatch:
        """The same with names of the responses."""
        return replace(self, responses=responses)


def joined(batches: Sequence[FitBatch], order: IntArray) -> FitBatch:
    """Batches over the same columns as one, whose fit k is the ``order[k]``-th of all theirs."""
    first, out = batches[0], dict[str, Any]()
    for name in _BY_FIT:
        out[name] = np.concatenate([getattr(batch, name) for batch in batches])[order]
    out["varcorr"] = {
        group: np.concatenate([batch.varcorr[group] for batch in batches])[order]
        for group in first.varcorr
    }
    rows = [row for batch in batches for row in batch.rows or (None,) * len(batch)]
    return replace(first, rows=tuple(rows[k] for k in order.tolist()), **out)


def _status(converged: BoolArray, singular: BoolArray) -> NDArray[np.object_]:
    words = np.array(["not converged", "converged", "singular"], dtype=object)
    return np.asarray(words[converged.astype(np.intp) * (1 + singular)])


def _fitted_rows(
    model: ReducedModel,
    covariance: CovarianceFit,
    estimates: Estimates,
    frame: ModelFrame | None,
) -> tuple[FittedRows, ...]:
    return tuple(
        FittedRows(
            model,
            covariance.criterion,
            covariance.theta[fit : fit + 1],
            tuple(bool(flag) for flag in covariance.singular[fit]),
            estimates.beta[fit],
            estimates.vcov[fit],
            frame,
            fit,
        )
        for fit in range(len(estimates.beta))
    )


def _spread(values: FloatArray, model: ReducedModel) -> FloatArray:
    out = np.full((len(values), len(model.design.x)), np.nan)
    out[:, model.kept] = values
    return out


def _stack(design: Design, estimates: Estimates) -> dict[str, FloatArray]:
    out = {}
    for f, factor in enumerate(design.factors):
        blocks = [
            estimates.covariances[t] for t, term in enumerate(design.random) if term.factor == f
        ]
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
