"""Random effects of levels on covariances that no data tell: there is no BLUP of them.

Where effects a and b never meet in one level, the data of a level that has a say of its b what
their covariance makes of it, and that no data tell. With D a move of G that V does not show, the
BLUPs of a level move by D Z'V^-1 (y - X beta), and a row z of it by z'D Z'V^-1 (y - X beta): it is
determined where z'D Z' = 0. Levels without any data are another matter: their effects are 0.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from mlmfast.arrays import BoolArray, FloatArray, IntArray
from mlmfast.criterion.parameters.random_effects import entry_map
from mlmfast.design.rows import columns_at
from mlmfast.errors import NonEstimableWarning, warn
from mlmfast.fitted.random_effects import ConditionalEffects
from mlmfast.fitting.undetermined.moves import typical_parameters

if TYPE_CHECKING:
    from mlmfast.data.frame import Frame
    from mlmfast.fitted.fitted import Fitted
    from mlmfast.fitted.record import FitRecord
    from mlmfast.fitted.source import FitSource
    from mlmfast.prediction.rows import PredictionRows

#: Square of a move, over that of its parts, that is rounding.
_ROUNDING = 1e-10
#: Move of an element of G, over the largest by the size of its columns, that is rounding.
_SMALL = 1e-9
_ROWS_NAMED = 5


@dataclass(frozen=True)
class _OpenTerm:
    """How functions z of a term's effects move, by level: z'A z, and the same of absolute parts.

    ``term`` is its place in the formula; ``move`` and ``size`` have shape (n_levels, q, q).
    """

    term: int
    move: FloatArray
    size: FloatArray

    def of_rows(self, z: FloatArray, levels: IntArray) -> BoolArray:
        """Which rows z (m, q) of ``levels`` (m,) move."""
        parts = [np.einsum("ma,mab,mb->m", a, m[levels], a)
                 for a, m in ((z, self.move), (np.abs(z), self.size))]  # fmt: skip
        return np.asarray(parts[0] > _ROUNDING * parts[1])

    def of_effects(self) -> BoolArray:
        """Which effects move by themselves, (n_levels, q)."""
        own, size = (np.einsum("laa->la", part) for part in (self.move, self.size))
        return np.asarray(own > _ROUNDING * size)


def _open_terms(source: FitSource, record: FitRecord) -> list[_OpenTerm]:
    """Terms with moves of G that V does not show."""
    model, criterion, flat = source.model, source.criterion, source.criterion.flat
    if flat is None or record.undetermined is None:
        return []
    blocks = typical_parameters(model, criterion, source.theta, 0.0).blocks
    out = []
    for position, t in enumerate(model.order):
        e, term = criterion.entry_slices[position], source.design.random[t]
        factor = source.design.factors[term.factor]
        first = np.zeros((len(flat.size), blocks[position].first.shape[1]))
        first[e] = blocks[position].first
        null = flat.among(first, unseen=True)
        if factor.relationship is not None or not null.shape[1]:
            continue
        structure, k = criterion.terms[position].shared, model.effects_map(position)
        moves = entry_map(k, structure) @ first[e] @ null
        z = columns_at(term.columns, np.arange(source.design.n_obs))
        q = z.shape[1]
        unit = np.outer(*[np.sqrt((z**2).mean(axis=0))] * 2)
        both = np.zeros((2, factor.n_levels, q, q))
        for move in moves.T:
            matrix = np.zeros((q, q))
            for value, (a, b) in zip(move, structure.entries, strict=True):
                matrix[a, b] = matrix[b, a] = value
            matrix[np.abs(matrix) * unit < _SMALL * (np.abs(matrix) * unit).max()] = 0.0
            for total, rows in zip(both, (z @ matrix, np.abs(z) @ np.abs(matrix)), strict=True):
                np.add.at(total, factor.codes, rows[:, :, None] * rows[:, None, :])
        out.append(_OpenTerm(t, both[0], both[1]))
    return out


def told_effects(fit: Fitted) -> list[ConditionalEffects]:
    """Conditional effects by grouping factor, NaN where the data do not determine them."""
    effects, source = fit._effects, fit._source
    if source is None:
        return effects
    out = list(effects)
    for item in _open_terms(source, fit._record):
        own = fit._record.terms[item.term]
        before = [t for t in fit._record.terms[: item.term] if t.group == own.group]
        first = sum(len(t.names) for t in before)
        at = slice(first, first + len(own.names))
        mean = out[own.group].mean.copy()
        untold = np.zeros(mean.shape, dtype=np.bool_)
        untold[: len(item.move), at] = item.of_effects()
        mean[untold] = np.nan
        covariance = out[own.group].covariance
        if covariance is not None:
            both = untold[:, :, None] | untold[:, None, :]
            covariance = np.where(both, np.nan, covariance)
        out[own.group] = replace(out[own.group], mean=mean, covariance=covariance)
    return out


def untold_rows(fit: Fitted, rows: PredictionRows) -> BoolArray:
    """New rows of levels with data whose effects there the data do not determine, (n_rows,)."""
    out = np.zeros(rows.n_rows, dtype=np.bool_)
    if fit._source is None or not rows.codes:
        return out
    for item in _open_terms(fit._source, fit._record):
        codes = rows.codes[fit._record.terms[item.term].group].astype(np.intp)
        known = np.flatnonzero(codes < len(item.move))
        z = columns_at(rows.z[item.term], known)
        out[known] |= item.of_rows(z, codes[known])
    return out


def warn_of_effects(
    fit: Fitted, frame: Frame | None, rows: BoolArray, what: str = "random effects"
) -> None:
    """Warn of rows that are predicted as NaN for want of a covariance, naming them."""
    count = int(np.count_nonzero(rows))
    if not count:
        return
    assert frame is not None, "new rows are those of a frame"
    assert fit._record.undetermined is not None, "something is not determined"
    which = np.flatnonzero(rows)
    named = ", ".join(f"row {k}" for k in which[:_ROWS_NAMED])
    more = ", ..." if count > _ROWS_NAMED else ""
    warn(
        f"the {what} of {count} of {frame.n_rows} rows hang on covariances that no data "
        f"tell ({', '.join(fit._record.undetermined.names)}); they are predicted as NaN: {named}"
        f"{more}; ranef=False predicts the population, a structure with fewer parameters says what "
        "the covariances are (diag(): 0), and nonestimable='value' takes any that the data allow",
        NonEstimableWarning,
    )
