"""A model with its true parameters: what simulation studies and power draw responses from."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
import pandas as pd

from mlmfast.arrays import FloatArray, IntArray, block_diagonal
from mlmfast.clusters.noise import noise_sd
from mlmfast.data.frame import Frame
from mlmfast.design.design import Design
from mlmfast.design.model_frame import ModelFrame
from mlmfast.errors import DataError
from mlmfast.prepared.model import PreparedModel
from mlmfast.running.cached import cached_property
from mlmfast.simulation.distributions import standardised
from mlmfast.simulation.draws import ResponseDraws
from mlmfast.simulation.rows.crossing import Crossing
from mlmfast.simulation.rows.missingness import DropoutRows, Missingness, missing_rows
from mlmfast.simulation.rows.rebuild import (
    RowColumns,
    columns_of,
    columns_read,
    design_of,
    repeated,
)
from mlmfast.simulation.streams import ByPart, Parts, Streams
from mlmfast.simulation.truth.parameters import Truth
from mlmfast.simulation.truth.residual import truth_of_rows

if TYPE_CHECKING:
    from typing_extensions import Self

#: A model as a function gives it back.
AnyModel = TypeVar("AnyModel", bound="TrueModel")


@dataclass(frozen=True)
class TrueModel:
    """Rows, a model of them and its true parameters; `StudyDesign` is what users have.

    Attributes
    ----------
    formula, residual, residual_scale
        The model, as `mlmfast.lmm` takes it.
    data
        The rows, without a response.
    """

    model: ModelFrame
    data: pd.DataFrame
    design: Design
    truth: Truth
    residual_text: str | None = None
    scale_text: str | None = None
    contrasts: Mapping[str, Any] | None = None
    crossing: Crossing | None = None
    errors: str = "normal"
    effects: str = "normal"
    missing: Missingness | None = None
    #: Of the covariates that ``data`` holds.
    row_seed: Any = 0
    #: Row and levels that take each draw, so that larger designs go on where smaller ones end.
    row_order: IntArray | None = None
    level_orders: tuple[IntArray | None, ...] = ()

    @property
    def formula(self) -> str:
        """The formula."""
        return self.model.formula.text

    @property
    def residual(self) -> str | None:
        """Structure of the residuals, as `mlmfast.lmm` takes it."""
        return self.residual_text

    @property
    def residual_scale(self) -> str | None:
        """Scale of the residuals, as `mlmfast.lmm` takes it."""
        return self.scale_text

    @property
    def arguments(self) -> dict[str, Any]:
        """What `mlmfast.LMM` takes besides the data."""
        return {
            "formula": self.formula,
            "residual": self.residual_text,
            "residual_scale": self.scale_text,
            "weights": self.model.weights,
            "contrasts": self.contrasts,
        }

    @property
    def response(self) -> str:
        """Name of the response."""
        return self.design.response

    @property
    def nobs(self) -> int:
        """Number of rows."""
        return self.design.n_obs

    @property
    def param_names(self) -> tuple[str, ...]:
        """Names of the fixed effects."""
        return self.design.x_names

    @property
    def params(self) -> pd.Series[float]:
        """True fixed effects."""
        return pd.Series(self.truth.beta, index=list(self.param_names))

    @property
    def varcorr(self) -> dict[str, pd.DataFrame]:
        """True covariances of the random effects by grouping factor, terms stacked."""
        out = {}
        for f, factor in enumerate(self.design.factors):
            own = [t for t, term in enumerate(self.design.random) if term.factor == f]
            if own:
                names = [name for t in own for name in self.design.random[t].names]
                matrix = block_diagonal([self.truth.covariances[t] for t in own])
                out[factor.name] = pd.DataFrame(matrix, index=names, columns=names)
        return out

    @property
    def sigma(self) -> float | None:
        """True residual standard deviation; None where there are several."""
        sd = noise_sd(replace(self.design, weights=None), self.truth)
        return float(sd[0]) if np.ptp(sd) <= 1e-12 * sd[0] else None

    @property
    def n_groups(self) -> dict[str, int]:
        """Levels of each grouping factor."""
        return {factor.name: factor.n_levels for factor in self.design.factors}

    @cached_property
    def X(self) -> pd.DataFrame:
        """Columns of the fixed effects."""
        return pd.DataFrame(self.design.fixed_matrix, columns=list(self.param_names))

    @property
    def redraws_rows(self) -> bool:
        """Whether `draw` gives other rows each time: covariates are drawn at random."""
        return self.crossing is not None and bool(self.crossing.covariates)

    @property
    def prepared(self) -> PreparedModel:
        """The model on these rows, for `fit_many`."""
        frame = replace(self.model, design=self.design)
        more = {"offset": None, "na_action": "drop", "absorb": False}
        return PreparedModel(self.design, frame, self.arguments | more)

    def simulate(self, n: int = 1, seed: Any = None) -> FloatArray:
        """Draw responses for these rows, shape (nobs, n), as `LMMResult.simulate` does.

        Parameters
        ----------
        n
            Number of responses; each has a stream of its own, so it is the same whatever n is.
        seed
            int, SeedSequence, or None for fresh entropy.

        Returns
        -------
        shape (nobs, n), NaN where missing.
        """
        if isinstance(n, bool) or not isinstance(n, int | np.integer) or n < 1:
            raise DataError(f"n is {n!r}; the number of responses must be an integer >= 1")
        return self.responses(Streams(seed), 0, int(n))

    def responses(self, streams: Streams, first: int, n: int) -> FloatArray:
        """Responses of n replicates from number ``first`` on, shape (nobs, n)."""
        replicates = streams.parts(first, n)
        out = self._draws.responses(replicates, n)
        if self.missing is not None:
            self._make_missing(out.T, replicates)
        return out

    @property
    def draws_together(self) -> bool:
        """Whether what differs between replicates is drawn for many at once: `drawn_columns`."""
        if not self.redraws_rows:
            return True
        plain = self.design.residual is None and self.design.weights is None
        by_scores = self.missing is not None and self.missing.kind == "mar"
        return plain and not by_scores

    def drawn_columns(self, streams: Streams, first: int, n: int) -> dict[str, FloatArray]:
        """Covariates and response of n replicates from number ``first`` on, each (n, nobs).

        The same bits as `draw` of each; the other columns are those of ``data``.
        """
        if not self.redraws_rows:
            return {self.response: self.responses(streams, first, n).T}
        assert self.crossing is not None, "it draws the covariates"
        codes = self.crossing.codes()
        replicates = streams.parts(first, n)
        drawn = self.crossing.drawn(codes, replicates)
        stacked = self.stacked(drawn, n)
        draws = replace(self._draws, row_order=None, level_orders=())
        Y = draws.responses(replicates, n, stacked).T
        if self.missing is not None:
            Y[missing_rows(self.missing, self._dropout, Y, replicates)] = np.nan
        return {**drawn, self.response: Y}

    def stacked(self, drawn: Mapping[str, FloatArray], n: int) -> RowColumns:
        """Columns of n data sets, one after the other, given their covariates (n, nobs)."""
        table: dict[str, Any] = {name: own.ravel() for name, own in drawn.items()}
        for name in columns_read(self.model):
            if name not in table:
                column = self.data[name]
                numbers = column.dtype.kind in "iuf"
                table[name] = repeated(column.to_numpy(np.float64) if numbers else column, n)
        return columns_of(self.model, Frame.from_native(table))

    def draw(self, rng: np.random.Generator) -> pd.DataFrame:
        """One data set: the rows with a response, covariates and missing values drawn anew.

        Parameters
        ----------
        rng
            Any generator; `mlmfast.simulation.streams.stream` gives one for each replicate.

        Returns
        -------
        DataFrame, the response NaN where it is missing.
        """
        parts = Parts(rng)
        here = self
        if self.redraws_rows:
            assert self.crossing is not None, "it draws the covariates"
            here = self.with_rows(self.crossing.frame(parts))
        y = here._draws.responses(parts, 1)[:, 0]
        if here.missing is not None:
            here._make_missing(y[None], parts)
        return here.data.assign(**{self.response: y})

    def with_rows(self, table: pd.DataFrame) -> Self:
        """The same model and parameters for other rows."""
        design = design_of(self.model, table)
        truth = truth_of_rows(self.truth, self.design, design)
        frame = Frame.from_native(table.assign(**{self.response: np.zeros(len(table))}))
        model = replace(self.model, used=None, frame=frame)
        return replace(
            self, model=model, data=table, design=design, truth=truth, row_order=None,
            level_orders=(),
        )  # fmt: skip

    @cached_property
    def _draws(self) -> ResponseDraws:
        errors = standardised(self.errors, "errors")
        effects = standardised(self.effects, "random_effects")
        orders = (self.row_order, self.level_orders)
        return ResponseDraws(self.design, self.truth, errors, effects, *orders)

    @cached_property
    def _dropout(self) -> DropoutRows | None:
        assert self.missing is not None, "asked where responses go missing"
        return self.missing.rows(self.data)

    @cached_property
    def _marginal_sd(self) -> FloatArray:
        """Standard deviation of each response, shape (nobs,)."""
        variance = noise_sd(self.design, self.truth) ** 2
        for term, matrix in zip(self.design.random, self.truth.covariances, strict=True):
            ones = np.ones(self.nobs)
            z = np.column_stack([ones if c is None else c for c in term.columns])
            variance = variance + np.einsum("ij,jk,ik->i", z, matrix, z)
        return np.asarray(np.sqrt(variance))

    def _make_missing(self, Y: FloatArray, replicates: ByPart) -> None:
        """Put NaN where responses (n, nobs) go missing."""
        assert self.missing is not None, "asked where responses go missing"
        scores = (Y - self._draws.mean) / self._marginal_sd if self.missing.slope else Y
        Y[missing_rows(self.missing, self._dropout, scores, replicates)] = np.nan

    def __repr__(self) -> str:
        groups = ", ".join(f"{name} {n}" for name, n in self.n_groups.items())
        lines = [f"Design of {self.nobs} rows ({groups})", f"  {self.formula}"]
        fixed = ", ".join(f"{k} = {v:g}" for k, v in self.params.items())
        lines.append(f"  fixed effects: {fixed}")
        for name, matrix in self.varcorr.items():
            sd = ", ".join(f"{e} {s:.4g}" for e, s in zip(matrix, np.sqrt(np.diag(matrix)),
                                                          strict=True))  # fmt: skip
            lines.append(f"  standard deviations by {name}: {sd}")
        if self.sigma is not None:
            lines.append(f"  residual standard deviation: {self.sigma:.4g}")
        return "\n".join(lines)
