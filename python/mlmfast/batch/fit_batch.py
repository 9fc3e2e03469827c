"""FitBatch: many fits as arrays."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from mlmfast.arrays import BoolArray, FloatArray, IntArray
from mlmfast.batch.rows import BatchRows, SharedRows
from mlmfast.batch.undetermined import untold_of_batch
from mlmfast.design.design import Design
from mlmfast.design.model_frame import ModelFrame
from mlmfast.errors import ModelError
from mlmfast.fitted.estimates import Estimates
from mlmfast.fitting.covariance_fit import CovarianceFit
from mlmfast.handed_out import frozen, handed_out, hands_out_copies
from mlmfast.reduction.reduced_model import ReducedModel

if TYPE_CHECKING:
    from mlmfast.batch.tests import BatchTests
    from mlmfast.result import LMMResult


class DegreesByFit(NDArray[np.float64] if TYPE_CHECKING else np.ndarray):  # type: ignore[misc]
    """Degrees of freedom, (n_fits, p); calling them with another method gives that one's."""

    _batch: FitBatch | None = None

    def __call__(self, ddf: str | float | None = None) -> FloatArray:
        """Degrees of freedom by another method."""
        from mlmfast.batch.tests import batch_df

        if self._batch is None:
            raise ModelError("a part of the degrees of freedom cannot be had by another method")
        return batch_df(self._batch, self._batch.ddf if ddf is None else ddf)


@hands_out_copies
@dataclass(frozen=True)
class FitBatch:
    """Many fits; arrays have a leading axis of length n_fits.

    ``batch[i]`` is the single fit, made again from its data.

    Attributes
    ----------
    names
        Columns of X; of all fits where they differ, NaN standing where a fit has none.
    params, bse : shape (n_fits, p), NaN for aliased columns.
    cov_params : shape (n_fits, rank, rank), of the columns that are not aliased.
    sigma : shape (n_fits,)
    varcorr, effects
        Dicts from grouping factor to covariances (n_fits, q, q), terms stacked, and to the names of
        the effects.
    llf : shape (n_fits,)
    converged, singular : shape (n_fits,)
    newton_decrement, min_hessian_eigenvalue : shape (n_fits,)
    n_evaluations, n_iterations : shape (n_fits,)
    method
        "REML" or "ML".
    kept
        Positions of the columns of X that `cov_params` is over.
    responses
        Names of the fits: of their responses, or of the level of ``by``.
    by
        Values of the columns of ``by`` for each fit.
    ddf
        Method of the degrees of freedom.
    nobs : shape (n_fits,), rows used.
    n_groups
        Dict from grouping factor to numbers of levels, (n_fits,).
    n_parameters : shape (n_fits,), all that were estimated, as AIC counts them.
    aliased : shape (n_fits, p), columns of X left out because they depend on others.
    status : shape (n_fits,)
        "converged", "singular" (converged there), "not converged", or why there is no fit.
    undetermined : shape (n_fits,)
        Covariance parameters that the data do not determine, as a single fit warns of them; empty
        for none. Standard errors that depend on them are NaN. The iterative engine does not look.

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
    kept: tuple[int, ...]
    responses: tuple[str, ...]
    nobs: IntArray
    status: NDArray[np.object_]
    effects: dict[str, tuple[str, ...]]
    n_groups: dict[str, IntArray]
    n_parameters: IntArray
    aliased: BoolArray
    #: What the data do not determine of each fit, as a single fit warns of it; empty for nothing.
    undetermined: NDArray[np.object_]
    #: What the fits were made from, which tests and single fits need.
    _rows: BatchRows = field(repr=False)
    by: dict[str, NDArray[Any]] = field(default_factory=dict)
    ddf: str | float = "satterthwaite"
    #: The settings of the iteration, as given.
    _options: Any = field(default=None, repr=False)

    def __len__(self) -> int:
        return len(self.llf)

    def __getitem__(self, fit: int) -> LMMResult:
        """The single fit, made again from its data.

        Raises
        ------
        MlmError
            Where there is no fit, saying why.
        """
        position = range(len(self))[fit]
        if np.isnan(self.llf[position]) and self.status[position] != "not converged":
            raise ModelError(f"fit {self.responses[position]!r}: {self.status[position]}")
        model = self._rows.model(position)
        return model.fit(self.method, options=self._options, ddf=self.ddf)

    @property
    def deviance(self) -> FloatArray:
        """-2 llf, shape (n_fits,)."""
        return -2.0 * self.llf

    @property
    def aic(self) -> FloatArray:
        """Deviance + 2 k, as `LMMResult.aic`, shape (n_fits,)."""
        return self.deviance + 2.0 * self.n_parameters

    @property
    def bic(self) -> FloatArray:
        """Deviance + k log n, as `LMMResult.bic`, shape (n_fits,)."""
        with np.errstate(divide="ignore", invalid="ignore"):
            penalty = np.where(self.nobs > 0, self.n_parameters * np.log(self.nobs), np.nan)
        return np.asarray(self.deviance + penalty)

    @property
    def tvalues(self) -> FloatArray:
        """Estimates over standard errors, shape (n_fits, p)."""
        return self.params / self.bse

    @property
    def df(self) -> DegreesByFit:
        """Degrees of freedom of each coefficient, (n_fits, p); NaN where aliased or not fitted.

        ``batch.df("kenward-roger")`` are those by another method.

        Examples
        --------
        >>> import mlmfast as mlm
        >>> model = mlm.LMM("Reaction ~ Days + (1 | Subject)", mlm.load_sleepstudy())
        >>> batch = model.fit_many(model.fit().simulate(2, seed=1))
        >>> batch.df.round(0)[:, 1].tolist(), batch.df("residual")[:, 1].tolist()
        ([161.0, 161.0], [178.0, 178.0])
        """
        found = cast(DegreesByFit, self._degrees.view(DegreesByFit))
        found._batch = self
        return found

    @handed_out
    def _degrees(self) -> FloatArray:
        from mlmfast.batch.tests import batch_df

        return np.asarray(frozen(batch_df(self, self.ddf)))

    @handed_out
    def pvalues(self) -> FloatArray:
        """Two-sided p-values of `tvalues`, shape (n_fits, p)."""
        from mlmfast.distributions import two_sided

        return np.asarray(frozen(two_sided(self.tvalues, self._degrees)))

    def tests(self, L: Any, rhs: Any = 0.0, ddf: str | float | None = None) -> BatchTests:
        """t tests of each row of L, and the F test of all, in every fit.

        Parameters
        ----------
        L : as `LMMResult.contrast` takes.
        rhs : values under the hypotheses.
        ddf : method of degrees of freedom; the batch's own by default.

        Examples
        --------
        >>> import mlmfast as mlm
        >>> model = mlm.LMM("Reaction ~ Days + (1 | Subject)", mlm.load_sleepstudy())
        >>> batch = model.fit_many(model.fit().simulate(2, seed=1))
        >>> batch.tests("Days = 10").pvalue.shape
        (2, 1)
        """
        from mlmfast.batch.tests import batch_tests

        return batch_tests(self, L, rhs, self.ddf if ddf is None else ddf)

    def contrast(self, L: Any, rhs: Any = 0.0, ddf: str | float | None = None) -> BatchTests:
        """See `tests`; the name is that of `LMMResult.contrast`."""
        return self.tests(L, rhs, ddf)

    def tidy(self, effects: str = "all") -> pd.DataFrame:
        """One row a parameter of each fit; ``effects``: "all", "fixed" or "random"."""
        from mlmfast.batch.frames import tidy_batch

        return tidy_batch(self, effects)

    def glance(self) -> pd.DataFrame:
        """One row a fit, with what `LMMResult.glance` says of it and its status."""
        from mlmfast.batch.frames import glance_batch

        return glance_batch(self)

    @classmethod
    def from_fit(
        cls,
        model: ReducedModel,
        covariance: CovarianceFit,
        estimates: Estimates,
        method: str,
        frame: ModelFrame | None = None,
        responses: FloatArray | None = None,
    ) -> FitBatch:
        """Collect the parts of a batch fit; ``responses`` as in `SharedRows`."""
        design, n = model.design, len(estimates.deviance)
        untold = untold_of_batch(model, covariance)
        vcov = untold.known(estimates.vcov)
        diagonal = np.sqrt(np.diagonal(vcov, axis1=1, axis2=2))
        return cls(
            names=design.x_names,
            params=_spread(estimates.beta, model),
            bse=_spread(diagonal, model),
            cov_params=vcov,
            sigma=np.sqrt(estimates.sigma2),
            varcorr=stacked_terms(design, estimates),
            llf=-0.5 * estimates.deviance,
            method=method,
            kept=tuple(model.kept.tolist()),
            responses=tuple(map(str, range(n))),
            nobs=np.full(n, design.n_obs, dtype=np.intp),
            effects=effect_names(design),
            n_groups={f.name: np.full(n, f.n_levels) for f in design.factors},
            n_parameters=np.full(n, n_parameters(model, covariance) - untold.n),
            undetermined=untold.messages,
            aliased=np.repeat(_is_aliased(model)[None], n, axis=0),
            _rows=SharedRows(
                model,
                covariance.criterion,
                covariance.theta,
                covariance.singular,
                estimates.beta,
                estimates.vcov,
                frame,
                responses,
            ),
            **outcome(covariance),
        )

    def named(self, responses: tuple[str, ...]) -> FitBatch:
        """The same with names of the responses."""
        return replace(self, responses=responses)


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


def _is_aliased(model: ReducedModel) -> BoolArray:
    out = np.ones(len(model.design.x), dtype=np.bool_)
    out[model.kept] = False
    return out


def _spread(values: FloatArray, model: ReducedModel) -> FloatArray:
    out = np.full((len(values), len(model.design.x)), np.nan)
    out[:, model.kept] = values
    return out


def stacked_terms(design: Design, estimates: Estimates) -> dict[str, FloatArray]:
    """`FitBatch.varcorr`."""
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
