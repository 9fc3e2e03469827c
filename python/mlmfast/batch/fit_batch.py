"""FitBatch: many fits as arrays."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from mlmfast.arrays import FloatArray
from mlmfast.batch.arrays import (
    effect_names,
    is_aliased,
    n_parameters,
    outcome,
    spread,
    stacked_terms,
)
from mlmfast.batch.batch_tests import BatchTests
from mlmfast.batch.fits import BatchFits
from mlmfast.batch.frames import glance_batch, tidy_batch
from mlmfast.batch.printed import text_of_batch
from mlmfast.batch.rows import SharedRows
from mlmfast.batch.tests import batch_df, batch_tests
from mlmfast.batch.undetermined import untold_of_batch
from mlmfast.degrees_of_freedom import Ddf
from mlmfast.design.model_frame import ModelFrame
from mlmfast.distributions import two_sided
from mlmfast.errors import ModelError
from mlmfast.fitted.estimates import Estimates
from mlmfast.fitting.covariance_fit import CovarianceFit
from mlmfast.handed_out import changed, frozen, handed_out
from mlmfast.prepared.fit_model import fit_model
from mlmfast.reduction.reduced_model import ReducedModel


class DegreesByFit(NDArray[np.float64] if TYPE_CHECKING else np.ndarray):  # type: ignore[misc]
    """Degrees of freedom, (n_fits, p); calling them with another method gives that one's."""

    _batch: FitBatch | None = None

    def __call__(self, ddf: Ddf | None = None) -> FloatArray:
        """Degrees of freedom by another method."""
        if self._batch is None:
            raise ModelError("a part of the degrees of freedom cannot be had by another method")
        return batch_df(self._batch, self._batch.ddf if ddf is None else ddf)


@dataclass(frozen=True, repr=False)
class FitBatch(BatchFits):
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
        "converged", "singular" (converged there), "not converged", or why there is no fit, or
        none of its standard errors (an adjusted covariance that is none, as a single fit says).
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

    def __repr__(self) -> str:
        return text_of_batch(self)

    def __getitem__(self, fit: int) -> Any:
        """The single fit, an `LMMResult` made again from its data.

        Raises
        ------
        MlmError
            Where there is no fit, saying why.
        """
        position = range(len(self))[fit]
        if np.isnan(self.llf[position]) and self.status[position] != "not converged":
            raise ModelError(f"fit {self.responses[position]!r}: {self.status[position]}")
        model = self._rows.model(position)
        return fit_model(model, self._make, self.method, self._options, self.ddf)

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
        return np.asarray(frozen(batch_df(self, self.ddf)))

    @handed_out
    def pvalues(self) -> FloatArray:
        """Two-sided p-values of `tvalues`, shape (n_fits, p)."""
        return np.asarray(frozen(two_sided(self.tvalues, self._degrees)))

    def tests(self, L: Any, rhs: Any = 0.0, ddf: Ddf | None = None) -> BatchTests:
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
        return batch_tests(self, L, rhs, self.ddf if ddf is None else ddf)

    def contrast(self, L: Any, rhs: Any = 0.0, ddf: Ddf | None = None) -> BatchTests:
        """See `tests`; the name is that of `LMMResult.contrast`."""
        return self.tests(L, rhs, ddf)

    def tidy(self, effects: str = "all") -> pd.DataFrame:
        """One row a parameter of each fit; ``effects``: "all", "fixed" or "random"."""
        return tidy_batch(self, effects)

    def glance(self) -> pd.DataFrame:
        """One row a fit, with what `LMMResult.glance` says of it and its status."""
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
        names: Sequence[str] | None = None,
    ) -> FitBatch:
        """Collect the parts of a batch fit; ``responses`` as in `SharedRows`, ``names`` theirs."""
        design, n = model.design, len(estimates.deviance)
        untold = untold_of_batch(model, covariance)
        vcov = untold.known(estimates.vcov)
        diagonal = np.sqrt(np.diagonal(vcov, axis1=1, axis2=2))
        return cls(
            names=design.x_names,
            params=spread(estimates.beta, model),
            bse=spread(diagonal, model),
            cov_params=vcov,
            sigma=np.sqrt(estimates.sigma2),
            varcorr=stacked_terms(design, estimates, untold.unseen),
            llf=-0.5 * estimates.deviance,
            method=method,
            kept=tuple(model.kept.tolist()),
            responses=tuple(map(str, range(n)) if names is None else names),
            nobs=np.full(n, design.n_obs, dtype=np.intp),
            effects=effect_names(design),
            n_groups={f.name: np.full(n, f.n_levels) for f in design.factors},
            n_parameters=np.full(n, n_parameters(model, covariance) - untold.n),
            undetermined=untold.messages,
            aliased=np.repeat(is_aliased(model)[None], n, axis=0),
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
        return changed(self, responses=responses)
