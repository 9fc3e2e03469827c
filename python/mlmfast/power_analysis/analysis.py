"""What is fitted to each replicate: a model by a method, in batches."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from mlmfast.arrays import FloatArray
from mlmfast.batch.fit_batch import FitBatch
from mlmfast.degrees_of_freedom import Ddf
from mlmfast.errors import AliasedWarning, ModelError
from mlmfast.formula.row_wise import is_row_wise
from mlmfast.many_data_sets.fit_each import fit_each
from mlmfast.model import LMM
from mlmfast.prepared.model import PreparedModel
from mlmfast.running.cached import cached_property
from mlmfast.simulation.streams import Streams
from mlmfast.simulation.study_design import StudyDesign

#: Numbers in one batch of responses, and responses at most.
_NUMBERS, _MOST = 20_000_000, 1024
#: Data sets at most where each has rows of its own.
_MOST_FRAMES = 200


@dataclass(frozen=True)
class Analysis:
    """The fits of the replicates of one design.

    Attributes
    ----------
    design
        What replicates are drawn from.
    method, ddf
        As `mlmfast.lmm` takes them.
    formula
        The model that is fitted; that of the design by default.
    """

    design: StudyDesign
    method: str = "REML"
    ddf: Ddf = "satterthwaite"
    formula: str | None = None

    @property
    def batch_size(self) -> int:
        """Replicates that are fitted together."""
        if self.design.redraws_rows and not self._stacks:
            return _MOST_FRAMES
        residual = self.design.design.residual
        numbers = self.design.nobs * (1 if residual is None else min(residual.order, 64))
        return max(1, min(_MOST, _NUMBERS // numbers))

    @property
    def fitted_formula(self) -> str:
        """The formula of the model that is fitted."""
        return self.design.formula if self.formula is None else self.formula

    @cached_property
    def model(self) -> PreparedModel:
        """The model that is fitted, on the rows of the design."""
        if self.formula is None:
            return self.design.prepared
        return self.model_of(self.formula)

    def model_of(self, formula: str) -> PreparedModel:
        """Another model on the rows of the design.

        Raises
        ------
        FormulaError, DataError, ModelError
            Where it cannot be read from them, or is of another response.
        """
        table = self.design.data.assign(**{self.design.response: np.zeros(self.design.nobs)})
        arguments = {**self.design.arguments, "formula": formula}
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            model = LMM(arguments.pop("formula"), table, absorb=False, **arguments)
        if model.design.response != self.design.response:
            raise ModelError(
                f"{formula!r} has the response {model.design.response!r}, and the design draws "
                f"{self.design.response!r}"
            )
        return self._as_bounded(model)

    def _as_bounded(self, model: PreparedModel) -> PreparedModel:
        """A model whose variances have the bounds that those of the design's model have."""
        own = self.design.design
        if own.is_bounded:
            return model
        free = {(own.factors[t.factor].name, t.names) for t in own.random if not t.bounded}
        every, factors = all(not t.bounded for t in own.random), model.design.factors
        terms = [
            k
            for k, t in enumerate(model.design.random)
            if every or (factors[t.factor].name, t.names) in free
        ]
        return model._without_bounds(terms)

    def responses(self, streams: Streams, first: int, n: int) -> FloatArray:
        """Responses of replicates from number ``first`` on, (nobs, n)."""
        return self.design.responses(streams, first, n)

    def fits(self, Y: FloatArray, model: PreparedModel | None = None, ml: bool = False) -> FitBatch:
        """Fits of responses by a model on the rows of the design, its own by default."""
        from mlmfast.batch.fit_many import fit_many
        from mlmfast.model import result_of

        chosen = self.model if model is None else model
        method, ddf = (self.method, self.ddf) if model is None else (self.method, "asymptotic")
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", AliasedWarning)
            if ml:
                return fit_many(chosen, result_of, Y, "ML", ddf="asymptotic")
            return fit_many(chosen, result_of, Y, method, ddf=ddf)

    def drawn_fits(self, streams: Streams, first: int, n: int) -> FitBatch:
        """Fits of replicates whose rows are drawn anew."""
        if self._stacks:
            return self._stacked_fits(streams, first, n)
        frames = [self.design.draw(streams(first + i)) for i in range(n)]
        arguments = self.design.arguments
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return fit_each(
                self.fitted_formula,
                frames,
                method=self.method,
                ddf=self.ddf,
                residual=arguments["residual"],
                residual_scale=arguments["residual_scale"],
                weights=arguments["weights"],
                contrasts=arguments["contrasts"],
            )

    @property
    def _stacks(self) -> bool:
        """Whether rows drawn anew make matrices of one shape, without a frame for each."""
        design = self.design
        row_wise = self.formula is None and is_row_wise(design.model.formula)
        return row_wise and design.draws_together and design.missing is None

    def _stacked_fits(self, streams: Streams, first: int, n: int) -> FitBatch:
        """As `drawn_fits`, of matrices with a leading axis: no frame a replicate."""
        columns = self.design.drawn_columns(streams, first, n)
        y = columns.pop(self.design.response)
        stacked, nobs = self.design.stacked(columns, n), self.design.nobs
        factors = self.design.design.factors
        return fit_each(
            y=np.ascontiguousarray(y),
            X=_matrices(stacked.x, n, nobs),
            groups={factor.name: factor.codes.astype(np.intp) for factor in factors},
            Z={
                factors[term.factor].name: _matrices(columns, n, nobs)
                for term, columns in zip(self.design.design.random, stacked.z, strict=True)
                # A random intercept alone has no matrix.
                if columns != (None,)
            },
            names=list(stacked.x_names),
            method=self.method,
            ddf=self.ddf,
        )

    def of(self, design: StudyDesign) -> Analysis:
        """The same analysis of another design."""
        return replace(self, design=design)


def _matrices(columns: Sequence[FloatArray | None], n: int, nobs: int) -> FloatArray:
    """Columns of stacked data sets as matrices, (n, nobs, number of columns)."""
    out = np.empty((n, nobs, len(columns)))
    for j, column in enumerate(columns):
        out[:, :, j] = 1.0 if column is None else column.reshape(n, nobs)
    return out
