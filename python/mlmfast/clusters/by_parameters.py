"""V of chosen rows as a function of the covariance parameters: derivatives at the estimates.

The parameters are the free ones of `CovarianceParameters`; V is in the user's units. Rows of one
set, (m, n), are m sets of n rows that need no other row.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np

from mlmfast.arrays import BoolArray, CodeArray, FloatArray, IntArray
from mlmfast.criterion.parameters.random_effects import entry_map
from mlmfast.design.residual.design import ResidualDesign
from mlmfast.design.rows import columns_at
from mlmfast.information.information import Information
from mlmfast.reduction.blocks import TermBlock
from mlmfast.reduction.parameter_block import ParameterBlock
from mlmfast.reduction.residual.by_unit import within_unit_positions
from mlmfast.running.cached import cached_property

#: Pairs (k, l), k >= l, of parameters with a second derivative of V that is not 0, (m, n, n).
Bends: TypeAlias = dict[tuple[int, int], FloatArray]
_Spread: TypeAlias = Callable[[FloatArray], FloatArray]


@dataclass(frozen=True)
class RowCovariances:
    """V of rows of a fit by its free covariance parameters.

    Attributes
    ----------
    about
        Information of the fit, over covariance matrices (`Information.with_covariances`).
    """

    about: Information

    def derivatives(self, rows: IntArray) -> tuple[FloatArray, Bends]:
        """First derivatives of V, (m, r, n, n), and second ones; ``rows`` of shape (m, n)."""
        m, n = rows.shape
        first = np.zeros((m, self.about.parameters.first.shape[1], n, n))
        bends: Bends = {}
        at = 0
        for b, block in enumerate(self.about.parameters.blocks):
            r = block.first.shape[1]
            own = slice(at, at + r)
            if b < len(self.about.model.order):
                slopes, curves = self._of_term(b, block)
                spread = self._spread_term(b, rows)
            elif self.about.model.profiled:
                first[:, own] = self._identity(rows)[:, None]
                at += r
                continue
            else:
                slopes, curves = self._of_residual(b, block)
                spread = self._spread_residual(rows)
            for k in range(r):
                first[:, at + k] = spread(slopes[k])
            for (k, el), curve in curves.items():
                bends[at + k, at + el] = spread(curve)
            at += r
        return first, bends

    def noise(self) -> tuple[FloatArray, FloatArray]:
        """Derivatives of each row's residual variance, (n, r), and the variances, (n,)."""
        about = self.about
        rows = np.arange(about.model.design.n_obs)[:, None]
        slopes = np.zeros((len(rows), about.parameters.first.shape[1]))
        at = 0
        for b, block in enumerate(about.parameters.blocks):
            r = block.first.shape[1]
            if b >= len(about.model.order):
                slopes[:, at : at + r] = self._noise_slopes(b, block, rows)
            at += r
        if about.model.profiled:
            values = about.scale * self._unit * self._identity(rows)
        else:
            stack = about.criterion.covariances(about.theta)[-1][0]
            matrices = stack[None] if stack.ndim == 2 else stack[0]
            values = self._unit * self._spread_residual(rows)(matrices)
        return slopes, values[:, 0, 0]

    def _noise_slopes(self, b: int, block: ParameterBlock, rows: IntArray) -> FloatArray:
        """Derivatives of the variance of rows (n, 1) by the parameters of a block, (n, r)."""
        if self.about.model.profiled:
            return self._identity(rows)[:, 0]
        spread = self._spread_residual(rows)
        return np.stack([spread(own)[:, 0, 0] for own in self._residual_slopes(b, block)], axis=1)

    def effect_slopes(self) -> list[list[FloatArray]]:
        """Derivatives of every term's G, terms in the formula's order, by each parameter."""
        about = self.about
        zero = [np.zeros((len(term.names),) * 2) for term in about.model.design.random]
        out = []
        for b, block in enumerate(about.parameters.blocks):
            is_term = b < len(about.model.order)
            slopes = _slopes(block, self._whole_term(b)) if is_term else None
            for k in range(block.first.shape[1]):
                own = list(zero)
                if slopes is not None:
                    own[about.model.order[b]] = slopes[k]
                out.append(own)
        return out

    def _of_term(self, b: int, block: ParameterBlock) -> tuple[FloatArray, Bends]:
        """Derivatives of a term's G by its free parameters."""
        whole = self._whole_term(b)
        return _slopes(block, whole), _curves(block, whole)

    def _whole_term(self, b: int) -> _Spread:
        """Map from the coordinates of a term's G to the matrix in the user's units."""
        structure = self.about.criterion.terms[b].shared
        to_user = self._unit * entry_map(self.about.model.effects_map(b), structure)
        rows, columns = np.array(structure.entries).T
        size = structure.size

        def whole(entries: FloatArray) -> FloatArray:
            out = np.zeros((size, size))
            out[rows, columns] = out[columns, rows] = to_user @ entries
            return out

        return whole

    def _of_residual(self, b: int, block: ParameterBlock) -> tuple[FloatArray, Bends]:
        """Derivatives of the residual's matrices, (1 or units, K, K) each, by free parameters."""
        term: TermBlock = self.about.criterion.terms[b]
        if term.by_theta:
            stack = self._unit * self.about.parameters.bent[-1][0]
            t = term.structure.n_theta
            moves = np.eye(t) if block.moves is None else block.moves
            i, j = np.tril_indices(t)
            second = np.zeros((t, t, *stack.shape[1:]))
            second[i, j] = second[j, i] = stack[1 + t :]
            second = np.einsum("ki,lj,kl...->ij...", moves, moves, second)
            pairs = zip(*np.tril_indices(moves.shape[1]), strict=True)
            curves = {(int(k), int(el)): second[k, el] for k, el in pairs if second[k, el].any()}
            return self._residual_slopes(b, block), curves
        return self._residual_slopes(b, block), _curves(block, self._whole_residual(term))

    def _residual_slopes(self, b: int, block: ParameterBlock) -> FloatArray:
        """First derivatives alone: second ones of many visits are many matrices."""
        term: TermBlock = self.about.criterion.terms[b]
        if term.by_theta:
            t = term.structure.n_theta
            slopes = self._unit * self.about.parameters.bent[-1][0][1 : 1 + t]
            # What stands at an end of its range or in a corner does not move.
            return slopes if block.moves is None else np.tensordot(block.moves.T, slopes, axes=1)
        return _slopes(block, self._whole_residual(term))

    def _whole_residual(self, term: TermBlock) -> _Spread:
        """Map from coordinates to the matrix over visits, (1, K, K), in the user's units."""
        structure = term.shared
        rows, columns = np.array(structure.entries).T + term.first
        order = self.about.model.level_sizes[-1]

        def whole(entries: FloatArray) -> FloatArray:
            out = np.zeros((1, order, order))
            out[0, rows, columns] = out[0, columns, rows] = self._unit * entries
            return out

        return whole

    @property
    def _unit(self) -> float:
        return self.about.model.response_unit

    # -- from matrices of levels and visits to rows ------------------------------------------------

    def _spread_term(self, b: int, rows: IntArray) -> _Spread:
        """Map from a G, or one for each set (m, q, q), to Z G Z' of rows."""
        design = self.about.model.design
        effects = design.random[self.about.model.order[b]]
        factor = design.factors[effects.factor]
        assert factor.relationship is None, "callers refuse related levels"
        codes = factor.codes[rows]
        same = codes[:, :, None] == codes[:, None, :]
        z = columns_at(effects.columns, rows)

        def spread(g: FloatArray) -> FloatArray:
            block = z @ g @ np.swapaxes(z, 1, 2)
            return np.where(same, (block + np.swapaxes(block, 1, 2)) / 2, 0.0)

        return spread

    def _spread_residual(self, rows: IntArray) -> _Spread:
        """Map from matrices over visits (1 or units, K, K), or one a set, to R of rows."""
        design = self.about.model.design
        residual = design.residual
        assert residual is not None, "the caller looked"
        units = residual.units[rows]
        same = units[:, :, None] == units[:, None, :]
        positions = self._positions(residual)[rows]
        weights = self._root_weights(rows)
        of_core = self._core_units

        def spread(matrices: FloatArray) -> FloatArray:
            which = 0 if len(matrices) == 1 else of_core[units][:, :, None]
            return self._weighted(
                matrices[which, positions[:, :, None], positions[:, None, :]], same, weights
            )

        return spread

    def _positions(self, residual: ResidualDesign) -> CodeArray:
        """Row of each observation in the matrix of its unit."""
        if residual.series is not None and residual.points is not None:
            return within_unit_positions(residual)
        return residual.positions if residual.by_unit else residual.core_positions

    @staticmethod
    def _weighted(values: FloatArray, same: BoolArray, root: FloatArray | None) -> FloatArray:
        out = np.where(same, values, 0.0)
        return out if root is None else out / (root[:, :, None] * root[:, None, :])

    def _root_weights(self, rows: IntArray) -> FloatArray | None:
        weights = self.about.model.design.weights
        return None if weights is None else np.sqrt(weights[rows])

    @cached_property
    def _core_units(self) -> IntArray:
        """Position of each unit, by its code, among the core's."""
        model = self.about.model
        order = model.nesting.codes(len(model.levels))  # type: ignore[union-attr]
        out = np.empty(len(order), dtype=np.intp)
        out[order] = np.arange(len(order))
        return out

    def _identity(self, rows: IntArray) -> FloatArray:
        weights = self.about.model.design.weights
        diagonal = np.ones(rows.shape) if weights is None else 1.0 / weights[rows]
        return np.asarray(diagonal[:, :, None] * np.eye(rows.shape[1]))


def _slopes(block: ParameterBlock, whole: _Spread) -> FloatArray:
    """Matrices of the derivatives of coordinates by each parameter."""
    return np.array([whole(column) for column in block.first.T])


def _curves(block: ParameterBlock, whole: _Spread) -> Bends:
    """Matrices of the derivatives of coordinates by pairs of parameters."""
    curves: Bends = {}
    if block.second is not None:
        for k, el in zip(*np.tril_indices(block.first.shape[1]), strict=True):
            if block.second[:, k, el].any():
                curves[int(k), int(el)] = whole(block.second[:, k, el])
    return curves
