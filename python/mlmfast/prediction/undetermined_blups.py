"""Random effects that hang on covariances which no data tell: there is no BLUP of them.

Where effects a and b never meet in one level, the data of a level that has a say of its b what
their covariance makes of it, and that no data tell; where terms overlap, as (1 | g) and
(0 + f | g), how an effect splits is not told, only its sum. With D a move of the covariances of all
effects that V does not show, the BLUP of m'u moves by m'D Z'V^-1 (y - X beta): it is determined
where m'D Z' = 0. Levels without any data are another matter: their effects are 0.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np

from mlmfast.arrays import BoolArray, FloatArray, IntArray, SparseArray
from mlmfast.criterion.parameters.functions import CovarianceFunctions
from mlmfast.criterion.parameters.random_effects import entry_map
from mlmfast.design.design import Design
from mlmfast.design.rows import columns_at
from mlmfast.errors import NonEstimableWarning, warn
from mlmfast.fitted.random_effects import ConditionalEffects
from mlmfast.fitting.undetermined.moves import FlatMoves, typical_parameters
from mlmfast.running.scipy_on_use import sparse

if TYPE_CHECKING:
    from mlmfast.data.frame import Frame
    from mlmfast.fitted.fitted import Fitted
    from mlmfast.fitted.origin.source import FitSource
    from mlmfast.fitted.record import FitRecord
    from mlmfast.prediction.rows import PredictionRows

#: Square of a move, over that of its parts, that is rounding.
_ROUNDING = 1e-10
#: Move of an element of G, over the largest by the size of its columns, that is rounding.
_SMALL = 1e-9
_ROWS_NAMED = 5


@dataclass(frozen=True)
class OpenEffects:
    """How functions m of the effects of some terms move with what no data tell.

    Attributes
    ----------
    terms
        Places of the terms in the formula; their effects stand level by level, one after the other.
    n_levels, n_effects
        Levels with data of each term, and effects a level.
    move, size
        Matrices A, B over all of these effects: m'A m is the square of the move by the data's
        rows, |m|'B |m| that of its parts.
    """

    terms: tuple[int, ...]
    n_levels: tuple[int, ...]
    n_effects: tuple[int, ...]
    move: SparseArray
    size: SparseArray

    @property
    def ends(self) -> list[int]:
        """Where the effects of each term begin, and the last ends."""
        parts = [n * q for n, q in zip(self.n_levels, self.n_effects, strict=True)]
        return [0, *np.cumsum(parts).tolist()]

    def moves(self, m: SparseArray) -> BoolArray:
        """Which functions, rows of m, move."""
        move: FloatArray = np.asarray((m @ self.move).multiply(m).sum(axis=1)).ravel()
        size: FloatArray = np.asarray((abs(m) @ self.size).multiply(abs(m)).sum(axis=1)).ravel()
        return np.asarray(move > _ROUNDING * size)

    def of_effects(self) -> list[BoolArray]:
        """Which effects of each term move by themselves, (n_levels, q)."""
        moves = self.move.diagonal() > _ROUNDING * self.size.diagonal()
        shapes = zip(self.n_levels, self.n_effects, strict=True)
        ends = pairwise(self.ends)
        return [moves[a:b].reshape(s) for (a, b), s in zip(ends, shapes, strict=True)]

    def of_rows(self, z: Sequence[FloatArray], levels: Sequence[IntArray]) -> BoolArray:
        """Which rows z (m, q) of ``levels`` (m,) of each term move; levels without data do not."""
        parts = []
        for own, codes, n, q in zip(z, levels, self.n_levels, self.n_effects, strict=True):
            known = (codes >= 0) & (codes < n)
            z_known = np.where(known[:, None], own, 0.0)
            parts.append(_by_level(z_known, np.where(known, codes, 0), n))
            assert own.shape[1] == q, "the effects are the fit's"
        return self.moves(sparse.csr_array(sparse.hstack(parts)))


def _by_level(z: FloatArray, codes: IntArray, n_levels: int) -> SparseArray:
    """Rows z (m, q) at the effects of their levels, (m, n_levels q)."""
    m, q = z.shape
    columns = codes[:, None] * q + np.arange(q)
    rows = np.repeat(np.arange(m), q)
    return sparse.csr_array((z.ravel(), (rows, columns.ravel())), shape=(m, n_levels * q))


def open_effects(fit: Fitted) -> OpenEffects | None:
    """What moves with covariances that no data tell; None where no effect does."""
    found = fit.__dict__.get("_open_effects")
    if found is not None or fit._source is None or fit._record.undetermined is None:
        return found
    return fit._once("_open_effects", partial(_found, fit._source, fit._record))


def _found(source: FitSource, record: FitRecord) -> OpenEffects | None:
    moves = _term_moves(source)
    terms = tuple(moves)
    if not terms:
        return None
    design = source.design
    z = _effect_columns(design, terms)
    met, met_size = z.T @ z, abs(z).T @ abs(z)
    n_levels = tuple(design.factors[design.random[t].factor].n_levels for t in terms)
    move = size = 0.0 * met
    for k in range(len(moves[terms[0]])):
        blocks = [sparse.kron(sparse.eye_array(n), moves[t][k])
                  for t, n in zip(terms, n_levels, strict=True)]  # fmt: skip
        d = sparse.csr_array(sparse.block_diag(blocks))
        move, size = move + d @ met @ d, size + abs(d) @ met_size @ abs(d)
    n_effects = tuple(moves[t].shape[1] for t in terms)
    return OpenEffects(terms, n_levels, n_effects, sparse.csr_array(move), sparse.csr_array(size))


def _effect_columns(design: Design, terms: Sequence[int]) -> SparseArray:
    """Z of some terms side by side, (n, effects)."""
    parts = []
    for t in terms:
        factor = design.factors[design.random[t].factor]
        z = columns_at(design.random[t].columns, np.arange(design.n_obs))
        parts.append(_by_level(z, factor.codes.astype(np.intp), factor.n_levels))
    return sparse.csr_array(sparse.hstack(parts))


def _term_moves(source: FitSource) -> dict[int, FloatArray]:
    """Moves of each term's G that V does not show, (k, q, q), k those of all terms together."""
    model, criterion = source.model, source.criterion
    if criterion.flat is None:
        return {}
    parameters = typical_parameters(model, criterion, source.theta, 0.0)
    functions = CovarianceFunctions(model, criterion)
    held = tuple(source.held_values)
    null = FlatMoves.of(parameters, criterion.flat, functions, held).unseen_null
    moved = parameters.first @ null
    out = {}
    for position, t in enumerate(model.order):
        term = source.design.random[t]
        if source.design.factors[term.factor].relationship is not None:
            continue
        structure = criterion.terms[position].shared
        entries = entry_map(model.effects_map(position), structure)
        matrices = _matrices(entries @ moved[criterion.entry_slices[position]], structure.entries)
        z = columns_at(term.columns, np.arange(source.design.n_obs))
        unit = np.sqrt((z**2).mean(axis=0))
        sizes = np.abs(matrices) * np.outer(unit, unit)
        out[t] = np.where(sizes < _SMALL * sizes.max(initial=0.0), 0.0, matrices)
    return {t: out[t] for t in sorted(out) if out[t].any()}


def _matrices(entries: FloatArray, places: Sequence[tuple[int, int]]) -> FloatArray:
    """Symmetric matrices (k, q, q) from entries (n, k) at their places."""
    q = max(a for a, _ in places) + 1
    out = np.zeros((entries.shape[1], q, q))
    for values, (a, b) in zip(entries, places, strict=True):
        out[:, a, b] = out[:, b, a] = values
    return out


def told_effects(fit: Fitted) -> list[ConditionalEffects]:
    """Conditional effects by grouping factor, NaN where the data do not determine them."""
    effects, found = fit._effects, open_effects(fit)
    if found is None:
        return effects
    out = list(effects)
    for t, moves in zip(found.terms, found.of_effects(), strict=True):
        own = fit._record.terms[t]
        before = [other for other in fit._record.terms[:t] if other.group == own.group]
        first = sum(len(other.names) for other in before)
        mean = out[own.group].mean.copy()
        untold = np.zeros(mean.shape, dtype=np.bool_)
        untold[: len(moves), first : first + len(own.names)] = moves
        mean[untold] = np.nan
        covariance = out[own.group].covariance
        if covariance is not None:
            both = untold[:, :, None] | untold[:, None, :]
            covariance = np.where(both, np.nan, covariance)
        out[own.group] = replace(out[own.group], mean=mean, spread=covariance)
    return out


def untold_rows(fit: Fitted, rows: PredictionRows) -> BoolArray:
    """New rows of levels with data whose effects there the data do not determine, (n_rows,)."""
    out = np.zeros(rows.n_rows, dtype=np.bool_)
    found = open_effects(fit)
    if found is None or not rows.codes:
        return out
    every = np.arange(rows.n_rows)
    z = [columns_at(rows.z[t], every) for t in found.terms]
    codes = [rows.codes[fit._record.terms[t].group].astype(np.intp) for t in found.terms]
    return found.of_rows(z, codes)


def is_untold(fit: Fitted, weights: Sequence[FloatArray]) -> bool:
    """Whether a function of effects, weights (1, n_levels, q) by term, is not determined."""
    found = open_effects(fit)
    if found is None:
        return False
    parts = [weights[t][0, :n].ravel() for t, n in zip(found.terms, found.n_levels, strict=True)]
    return bool(found.moves(sparse.csr_array(np.concatenate(parts)[None]))[0])


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
        "MLM502",
    )
