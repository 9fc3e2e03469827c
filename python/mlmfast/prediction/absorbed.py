"""Predictions with intervals beside an absorbed factor."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from mlmfast.arrays import FloatArray
from mlmfast.degrees_of_freedom import Ddf, ddf_text
from mlmfast.degrees_of_freedom.satterthwaite import of_variances
from mlmfast.design.rows import columns_at
from mlmfast.distributions import quantile
from mlmfast.errors import ModelError
from mlmfast.fitted.absorbed.functions import core_of
from mlmfast.inference.absorbed.degrees import by_coefficient
from mlmfast.inference.absorbed.uncertainty import uncertainty
from mlmfast.prediction.rows import PredictionRows

if TYPE_CHECKING:
    from mlmfast.fitted.fitted import Fitted
    from mlmfast.reduction.reduced_model import ReducedModel


@dataclass(frozen=True)
class RowVariances:
    """Error variances over sigma^2 of x'b + a_l + z'g, and of new responses, (n,).

    Attributes
    ----------
    model, kept
        The reduced design, and its columns of X that b belongs to.
    rows
        The rows.
    conditional
        Whether the random effects are those of the fit; new ones otherwise, where rows have
        columns of Z.
    noise : shape (n,), variances of new residuals over sigma^2; 0 for means.
    """

    model: ReducedModel
    kept: tuple[int, ...]
    rows: PredictionRows
    conditional: bool
    noise: FloatArray

    def __call__(self, g: list[FloatArray]) -> FloatArray:
        """See `FunctionOfCovariances`."""
        model, rows, core = self.model, self.rows, core_of(self.model)
        assert rows.absorbed is not None, "rows of such a fit have a level"
        n, everything = rows.n_rows, np.arange(rows.n_rows)
        z = [np.zeros((n, q)) for q in model.level_sizes]
        for term, block in zip(model.order, model.blocks, strict=False):
            if rows.z:
                z[block.level][:, block.stretch] = columns_at(rows.z[term], everything)
        own = [np.ascontiguousarray(part @ model.level_map(k)) for k, part in enumerate(z)]
        nowhere = np.full(n, -1, dtype=np.int32)
        codes = [rows.codes[f] if self.conditional else nowhere for f in model.levels]
        codes = [np.ascontiguousarray(c, dtype=np.int32) for c in (*codes, rows.absorbed)]
        scale = np.full((n, 1), 1.0 / core.level_scale)
        found = core.core.prediction_error(core.whole(g, 1), 0, codes, [*own, scale])
        assert found is not None, "a covariance G = L L' always gives a positive definite W"
        variance, shift = found
        k = model.fixed_map
        d = columns_at([rows.x[j] for j in self.kept], everything)
        d = d - model.coefficient_map.means[rows.absorbed] - np.linalg.solve(k.T, shift.T).T
        c = core.core.solve(core.whole(g, 1), [0])[1][0]
        spread = ((d @ (k @ c @ k.T)) * d).sum(axis=1)
        return np.asarray(variance + spread + self.noise)


def half_width_within(
    fit: Fitted,
    rows: PredictionRows,
    noise: FloatArray | float,
    level: float,
    ddf: Ddf | None,
) -> FloatArray:
    """Half the width of each row's interval.

    Raises
    ------
    ModelError
        For a method whose degrees of freedom go by coefficients and differ among them.
    """
    source, record = fit._needs_source("an interval"), fit._record
    method_text = fit.ddf if ddf is None else ddf_text(ddf)
    own = np.broadcast_to(np.asarray(noise) / record.sigma2, rows.n_rows)
    function = RowVariances(source.model, record.kept, rows, bool(rows.codes), own)
    fitted = fit._rows
    assert fitted is not None, "it has its source"
    found = uncertainty(fitted, method_text, function)
    if found.slopes is None:
        by = by_coefficient(fitted, record, method_text)
        if (by != by[0]).any():
            raise ModelError(
                f"intervals by ddf={method_text!r} would need each row's columns of X, which are "
                "not formed where a fixed factor is eliminated; use 'satterthwaite' or 'residual'"
            )
        degrees = np.full(rows.n_rows, by[0])
    else:
        # Kenward and Roger's degrees of freedom of x'beta alone go by the variance not adjusted.
        alone = not rows.z and not function.noise.any()
        variance = found.value if alone else found.adjusted
        degrees = of_variances(variance, found.slopes.T, np.eye(len(found.slopes)))
    return np.asarray(quantile(degrees, level) * np.sqrt(found.adjusted))
