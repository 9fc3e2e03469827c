"""Batches over different columns, levels and effects as one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from mlmfast.arrays import FloatArray, IntArray
from mlmfast.batch.arrays import effect_names
from mlmfast.batch.fit_batch import FitBatch
from mlmfast.batch.names import places, united
from mlmfast.batch.rows import JoinedRows, NoRows
from mlmfast.design.design import Design
from mlmfast.handed_out import changed

#: Arrays with an entry a fit whose other axes, if any, are over columns of X, and what stands for
#: a fit or a column that there is not.
_BY_FIT: dict[str, Any] = {
    "params": np.nan,
    "bse": np.nan,
    "aliased": False,
    "sigma": np.nan,
    "llf": np.nan,
    "converged": False,
    "singular": False,
    "newton_decrement": np.nan,
    "min_hessian_eigenvalue": np.nan,
    "n_evaluations": 0,
    "n_iterations": 0,
    "nobs": 0,
    "n_parameters": 0,
    "undetermined": "",
}
_OVER_COLUMNS = ("params", "bse", "aliased")


@dataclass(frozen=True)
class Layout:
    """What the arrays of a batch are over.

    Attributes
    ----------
    names
        Columns of X.
    kept
        Positions of those that some fit keeps.
    effects
        Names of the random effects by grouping factor.
    groups
        Grouping factors.
    """

    names: tuple[str, ...]
    kept: tuple[int, ...]
    effects: dict[str, tuple[str, ...]]
    groups: tuple[str, ...]

    @classmethod
    def of(cls, batches: Sequence[FitBatch], design: Design | None = None) -> Layout:
        """The union over batches, whose columns come after those of ``design``."""
        every = [batch.names for batch in batches]
        effects = [batch.effects for batch in batches]
        groups = [tuple(batch.n_groups) for batch in batches]
        if design is not None:
            every, effects = [design.x_names, *every], [effect_names(design), *effects]
            groups = [tuple(factor.name for factor in design.factors), *groups]
        names = united(every)
        kept: set[int] = set()
        for own_names, own_kept in {(batch.names, batch.kept): None for batch in batches}:
            at = places(own_names, names)
            kept |= {at[k] for k in own_kept}
        by_group: dict[str, list[tuple[str, ...]]] = {}
        for own in effects:
            for group, members in own.items():
                by_group.setdefault(group, []).append(members)
        return cls(
            names,
            tuple(sorted(kept)),
            {group: united(members) for group, members in by_group.items()},
            united(groups),
        )


def merged(batches: Sequence[FitBatch], order: IntArray, layout: Layout) -> FitBatch:
    """Batches as one, whose fit k is the ``order[k]``-th of all theirs; what one lacks is NaN."""
    wide = [_widened(batch, layout) for batch in batches]
    if len(wide) == 1 and np.array_equal(order, np.arange(len(wide[0]))):
        return wide[0]
    out: dict[str, Any] = {
        name: np.concatenate([getattr(batch, name) for batch in wide])[order]
        for name in (*_BY_FIT, "cov_params", "status")
    }
    for name, keys in (("varcorr", layout.effects), ("n_groups", layout.groups)):
        out[name] = {
            group: np.concatenate([getattr(batch, name)[group] for batch in wide])[order]
            for group in keys
        }
    responses = [name for batch in wide for name in batch.responses]
    return changed(
        wide[0],
        _rows=JoinedRows.of([batch._rows for batch in batches], order),
        responses=tuple(responses[k] for k in order.tolist()),
        **out,
    )


def failed(layout: Layout, n: int, method: str, problem: str) -> FitBatch:
    """Fits that there are not."""
    p, rank = len(layout.names), len(layout.kept)
    arrays: dict[str, Any] = {
        name: np.full(
            (n, p) if name in _OVER_COLUMNS else n, empty, object if empty == "" else None
        )
        for name, empty in _BY_FIT.items()
    }
    sizes = {group: len(names) for group, names in layout.effects.items()}
    return FitBatch(
        names=layout.names,
        cov_params=np.full((n, rank, rank), np.nan),
        varcorr={group: np.full((n, q, q), np.nan) for group, q in sizes.items()},
        method=method,
        kept=layout.kept,
        responses=tuple(map(str, range(n))),
        status=np.full(n, problem, dtype=object),
        effects=layout.effects,
        n_groups={group: np.zeros(n, dtype=np.intp) for group in layout.groups},
        _rows=NoRows(n, problem),
        **arrays,
    )


def _widened(batch: FitBatch, layout: Layout) -> FitBatch:
    """The batch over the columns, effects and grouping factors of a layout."""
    own = Layout(batch.names, batch.kept, batch.effects, tuple(batch.n_groups))
    if own == layout:
        return batch
    n, columns = len(batch), places(batch.names, layout.names)
    out: dict[str, Any] = {}
    for name in _OVER_COLUMNS:
        out[name] = np.full((n, len(layout.names)), _BY_FIT[name])
        out[name][:, columns] = getattr(batch, name)
    kept = [layout.kept.index(columns[k]) for k in batch.kept]
    empty = np.zeros(n, dtype=np.intp)
    return changed(
        batch,
        names=layout.names,
        kept=layout.kept,
        effects=layout.effects,
        cov_params=_placed(batch.cov_params, kept, len(layout.kept)),
        varcorr={group: _effects(batch, group, names) for group, names in layout.effects.items()},
        n_groups={group: batch.n_groups.get(group, empty) for group in layout.groups},
        **out,
    )


def _effects(batch: FitBatch, group: str, names: tuple[str, ...]) -> FloatArray:
    if batch.effects.get(group) == names:
        return batch.varcorr[group]
    own = batch.varcorr.get(group, np.empty((len(batch), 0, 0)))
    return _placed(own, places(batch.effects.get(group, ()), names), len(names))


def _placed(matrices: FloatArray, at: Sequence[int], size: int) -> FloatArray:
    """Matrices (n, k, k) within larger ones of NaN."""
    out = np.full((len(matrices), size, size), np.nan)
    out[np.ix_(range(len(matrices)), at, at)] = matrices
    return out
