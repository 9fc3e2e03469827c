"""FitBatch: many fits of one design as arrays."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from mlmfast.arrays import BoolArray, FloatArray, IntArray
from mlmfast.degrees_of_freedom import FittedRows
from mlmfast.design import Design
from mlmfast.errors import DataError
from mlmfast.fit import CovarianceFit
from mlmfast.handed_out import hands_out_copies
from mlmfast.model_frame import ModelFrame
from mlmfast.reduced_model import Estimates, ReducedModel

if TYPE_CHECKING:
    from mlmfast.batch_tests import BatchTests


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
    #: What the fits were made from, which tests need.
    rows: tuple[FittedRows, ...] | None = field(default=None, repr=False)

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
        design, newton = model.design, covariance.newton
        decrement, eigenvalue = newton.decrement, newton.min_eigenvalue
        minimum = (decrement < 1e-8) & (eigenvalue > -1e-6)
        diagonal = np.sqrt(np.diagonal(estimates.vcov, axis1=1, axis2=2))
        return cls(
            names=design.x_names,
            params=_spread(estimates.beta, model),
            bse=_spread(diagonal, model),
            cov_params=estimates.vcov,
            sigma=np.sqrt(estimates.sigma2),
            varcorr=_stack(design, estimates),
            llf=-0.5 * estimates.deviance,
            converged=newton.converged & minimum,
            singular=np.asarray(covariance.singular.any(axis=1)),
            newton_decrement=decrement,
            min_hessian_eigenvalue=eigenvalue,
            n_evaluations=covariance.n_evaluations,
            n_iterations=newton.n_iterations,
            method=method,
            rows=_fitted_rows(model, covariance, estimates, frame),
        )


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


def response_matrix(Y: Any, design: Design, used: BoolArray | None = None) -> list[FloatArray]:
    """Columns of Y, contiguous, the offset subtracted.

    Parameters
    ----------
    Y : shape (n_obs, n_fits), or with the rows that the model leaves out too.
    design
        The design.
    used : shape (all rows,), the rows that the model uses; None where it uses all.

    Raises
    ------
    DataError
        Where Y is not numeric, has another number of rows, or is not finite.
    """
    try:
        matrix = np.asarray(Y, dtype=np.float64)
    except (TypeError, ValueError):
        raise DataError("Y must be an array of numbers, one response a column") from None
    if matrix.ndim == 1:
        matrix = matrix[:, None]
    if used is not None and matrix.ndim == 2 and matrix.shape[0] == used.size:
        matrix = matrix[used]
    if matrix.ndim != 2 or matrix.shape[0] != design.n_obs or matrix.shape[1] == 0:
        raise DataError(
            f"Y has shape {matrix.shape}; ({design.n_obs}, n_fits) is needed, a row for each row "
            "the model uses"
            + ("" if used is None else f", or {used.size} rows, one for each given")
        )
    if not np.isfinite(matrix).all():
        raise DataError("Y has missing or infinite values; every response needs all rows")
    if np.iscomplexobj(Y):
        raise DataError("Y is complex; a Gaussian model needs real numbers")
    if design.offset is not None:
        matrix = matrix - design.offset[:, None]
    return [np.ascontiguousarray(matrix[:, f]) for f in range(matrix.shape[1])]


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
