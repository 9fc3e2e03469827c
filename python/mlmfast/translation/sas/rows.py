"""Coefficients of ESTIMATE and CONTRAST over PROC MIXED's columns -> rows over ours.

PROC MIXED's X has a column for each level of each effect (SAS/STAT User's Guide,
Parameterization of Mixed Models), ours one for each contrast; both span the same space. With
X_s = Q R, a row l that is estimable is l R^+ Q'X over our columns.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from mlmfast.arrays import FloatArray
from mlmfast.data.frame import Frame
from mlmfast.design.rows import columns_at
from mlmfast.errors import FormulaError, ModelError
from mlmfast.translation.sas.statements.effects import Effect
from mlmfast.translation.sas.statements.linear import LinearRow

if TYPE_CHECKING:
    from mlmfast.result import LMMResult

#: What of a row lies outside the rows of X, below which it is rounding.
_TOLERANCE = 1e-8


class Cells:
    """The columns of one effect: its combinations of CLASS levels that occur, the last fastest.

    Attributes
    ----------
    effect, factors : the effect, and its CLASS variables in their order
    keys : shape (n_cells, n_factors), positions of the levels
    labels : of each cell, a level a factor
    codes : shape (n_rows,), the cell of each row
    """

    def __init__(self, effect: Effect, levels: Mapping[str, Sequence[str]], frame: Frame) -> None:
        self.effect = effect
        self.factors = effect.factors(levels)
        codes = np.zeros(frame.n_rows, dtype=np.int64)
        for name in self.factors:
            own, _ = frame.factor(name).recode(levels[name])
            codes = codes * len(levels[name]) + own
        cells, self.codes = np.unique(codes, return_inverse=True)
        sizes = tuple(len(levels[name]) for name in self.factors)
        self.keys = np.stack(np.unravel_index(cells, sizes), axis=1) if sizes else np.zeros((1, 0))
        self.keys = self.keys.astype(np.int64)
        self.labels = [
            tuple(levels[name][k] for name, k in zip(self.factors, key, strict=True))
            for key in self.keys.tolist()
        ]

    def columns(self, frame: Frame, classes: Mapping[str, Sequence[str]]) -> FloatArray:
        """Columns of X_s, (n_rows, n_cells)."""
        values = np.ones(frame.n_rows)
        for name in self.effect.covariates(classes):
            values = values * frame.numeric(name)
        out = np.zeros((frame.n_rows, len(self.keys)))
        out[np.arange(frame.n_rows), self.codes] = values
        return out

    def contains(self, other: Cells, classes: Mapping[str, Sequence[str]]) -> bool:
        """Whether the effect contains another: the same covariates, and more CLASS variables."""
        same = sorted(self.effect.covariates(classes)) == sorted(other.effect.covariates(classes))
        return same and set(other.factors) < set(self.factors) and bool(other.factors)


class SasRows:
    """Rows over the coefficients of a fit, from coefficients by PROC MIXED's levels.

    Parameters
    ----------
    fit
        The fit.
    effects
        Effects of the MODEL statement, the intercept among them where there is one.
    classes
        CLASS variables in their order, with their levels in the order PROC MIXED has them.
    """

    def __init__(
        self, fit: LMMResult, effects: Sequence[Effect], classes: Mapping[str, Sequence[str]]
    ) -> None:
        source = fit._needs_source("rows of an ESTIMATE")
        assert source.frame is not None, "it was fitted by a formula"
        if fit._record.absorbed is not None:
            raise ModelError("a factor was eliminated from X; fit with absorb=False")
        frame = source.frame.frame
        self.classes = classes
        self.cells = [Cells(effect, classes, frame) for effect in effects]
        over = np.concatenate([own.columns(frame, classes) for own in self.cells], axis=1)
        self.scales = np.maximum(np.sqrt((over**2).sum(axis=0)), 1e-300)
        q, r = np.linalg.qr(over / self.scales)
        self.inverse = np.linalg.pinv(r, rcond=1e-10)
        self.projector = self.inverse @ r
        x = columns_at(list(source.design.x), np.arange(source.design.n_obs))
        self.to_ours = self.inverse @ (q.T @ x)

    def __call__(self, row: LinearRow, label: str) -> FloatArray:
        """A row over all columns of our X.

        Raises
        ------
        FormulaError
            For an effect that is not in the MODEL statement.
        ModelError
            Where the function is not estimable.
        """
        own = self._coefficients(row) * (1.0 / self.scales)
        rest = own - own @ self.projector
        if np.abs(rest).max(initial=0.0) > _TOLERANCE * np.abs(own).max(initial=0.0):
            raise ModelError(
                f"{label!r} is not estimable: its coefficients are no combination of rows of X "
                "(PROC MIXED prints Non-est)"
            )
        return np.asarray(own @ self.to_ours)

    def _coefficients(self, row: LinearRow) -> FloatArray:
        given: dict[int, FloatArray] = {}
        for effect, values in row.fixed:
            position = self._position(effect)
            full = np.zeros(len(self.cells[position].keys))
            # As PROC MIXED: values too many are ignored, those too few are 0.
            taken = np.asarray(values[: len(full)])
            full[: len(taken)] = taken
            given[position] = full
        parts = [
            given[k] if k in given else self._filled(own, given) for k, own in enumerate(self.cells)
        ]
        return np.concatenate(parts)

    def effect_of(self, effect: Effect) -> Effect:
        """An effect as the MODEL statement writes it."""
        return self.cells[self._position(effect)].effect

    def _position(self, effect: Effect) -> int:
        for k, own in enumerate(self.cells):
            names = sorted((*own.effect.crossed, *own.effect.nested))
            if names == sorted((*effect.crossed, *effect.nested)):
                return k
        known = ", ".join(str(own.effect) for own in self.cells)
        raise FormulaError(f"{effect} is no effect of the MODEL statement ({known})")

    def _filled(self, cells: Cells, given: Mapping[int, FloatArray]) -> FloatArray:
        """Coefficients of an effect not named: those of effects it contains, spread evenly."""
        out = np.zeros(len(cells.keys))
        inner = [k for k in given if cells.contains(self.cells[k], self.classes)]
        largest = [
            k
            for k in inner
            if not any(self.cells[j].contains(self.cells[k], self.classes) for j in inner)
        ]
        for k in largest:
            at = [cells.factors.index(name) for name in self.cells[k].factors]
            position = {tuple(key): j for j, key in enumerate(self.cells[k].keys.tolist())}
            within = np.array([position[tuple(key)] for key in cells.keys[:, at].tolist()])
            sizes = np.bincount(within, minlength=len(given[k]))
            out += given[k][within] / sizes[within]
        return out
