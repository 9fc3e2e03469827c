"""BatchFits: many fits as arrays, under everything that is said of them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from mlmfast.arrays import BoolArray, FloatArray, IntArray
from mlmfast.batch.rows import BatchRows
from mlmfast.degrees_of_freedom import Ddf
from mlmfast.fitted.fitted import Fitted
from mlmfast.handed_out import hands_out_copies


@hands_out_copies
@dataclass(frozen=True, repr=False)
class BatchFits:
    """The arrays of many fits, which `FitBatch` describes, and what they were made from."""

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
    ddf: Ddf = "satterthwaite"
    #: The settings of the iteration, as given.
    _options: Any = field(default=None, repr=False)
    #: What makes the result of a single fit.
    _make: Callable[..., Fitted] = field(default=Fitted, repr=False)

    def __len__(self) -> int:
        return len(self.llf)

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

    if TYPE_CHECKING:
        # Answered by `FitBatch`, from the rows.
        @property
        def df(self) -> FloatArray:
            """Degrees of freedom of each coefficient."""

        @property
        def pvalues(self) -> FloatArray:
            """Two-sided p-values of each coefficient."""
