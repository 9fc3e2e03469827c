"""V of chosen rows as a function of the covariance parameters: derivatives, and values elsewhere.

The parameters are the free ones of `CovarianceParameters`; V is in the user's units. Rows of one
set, (m, n), are m sets of n rows that need no other row.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np

from mlmfast.arrays import BoolArray, CodeArray, FloatArray, IntArray
from mlmfast.cached import cached_property
from mlmfast.clusters.covariance import columns_at
from mlmfast.covariance import CovarianceStructure
from mlmfast.covariance.base import floor_eigenvalues
from mlmfast.covariance.natural_chart import natural_chart
from mlmfast.criterion.random_parameters import entry_map
from mlmfast.design.residual.design import ResidualDesign
from mlmfast.errors import ModelError
from mlmfast.information.information import Information
from mlmfast.reduction.blocks import TermBlock, structure_of
from mlmfast.reduction.parameter_block import ParameterBlock
from mlmfast.reduction.residual.by_unit import within_unit_positions

#: Pairs (k, l), k >= l, of parameters with a second derivative of V that is not 0, (m, n, n).
Bends: TypeAlias = dict[tuple[int, int], FloatArray]
_Spread: TypeAlias = Callable[[FloatArray], FloatArray]

_HALVINGS = 8


@dataclass(frozen=True)
class Moved:
    """Parameters a step away from the estimates.

    Attributes
    ----------
    theta : shape (n_theta,)
    sigma2
        Residual variance of the scaled response, 1 where it is not profiled out.
    share
        Part of the step that stays inside the parameter space.
    bounded
        Whether a G was brought back to the nearest covariance matrix.
    """

    theta: FloatArray
    sigma2: float
    share: float
    bounded: bool


@dataclass(frozen=True)
class RowCovariances:
    """V of rows of a fit by its free covariance parameters.

    Attributes
    ----------
    about
        Information of the fit, over covariance matrices (`Information.with_covariances`).
    """

    about: Information

    # -- derivatives -----------------------------------------------------------------------------

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
                for k in range(r):
                    slopes[:, at + k] = self._noise_slope(b, block, k, rows)
            at += r
        if about.model.profiled:
            values = about.scale * self._unit * self._identity(rows)
        else:
            stack = about.criterion.covariances(about.theta)[-1][0]
            matrices = stack[None] if stack.ndim == 2 else stack[0]
            values = self._unit * self._spread_residual(rows)(matrices)
        return slopes, values[:, 0, 0]

    def _noise_slope(self, b: int, block: ParameterBlock, k: int, rows: IntArray) -> FloatArray:
        if self.about.model.profiled:
            return self._identity(rows)[:, 0, 0]
        return self._spread_residual(rows)(self._of_residual(b, block)[0][k])[:, 0, 0]

    def effect_slopes(self) -> list[list[FloatArray]]:
        """Derivatives of every term's G, terms in the formula's order, by each parameter."""
        about = self.about
        zero = [np.zeros((len(term.names),) * 2) for term in about.model.design.random]
        out = []
        for b, block in enumerate(about.parameters.blocks):
            for k in range(block.first.shape[1]):
                own = list(zero)
                if b < len(about.model.order):
                    own[about.model.order[b]] = self._of_term(b, block)[0][k]
                out.append(own)
        return out

    def _of_term(self, b: int, block: ParameterBlock) -> tuple[FloatArray, Bends]:
        """Derivatives of a term's G by its free parameters."""
        structure = self.about.criterion.terms[b].shared
        to_user = self._unit * entry_map(self.about.model.effects_map(b), structure)
        rows, columns = np.array(structure.entries).T
        size = structure.size

        def whole(entries: FloatArray) -> FloatArray:
            out = np.zeros((size, size))
            out[rows, columns] = out[columns, rows] = to_user @ entries
            return out

        return _derivatives(block, whole)

    def _of_residual(self, b: int, block: ParameterBlock) -> tuple[FloatArray, Bends]:
        """Derivatives of the residual's matrices, (1 or units, K, K) each, by free parameters."""
        term: TermBlock = self.about.criterion.terms[b]
        if term.directions is not None:
            stack = self._unit * self.about.parameters.bent[-1][0]
            t = term.directions.n_theta
            i, j = np.tril_indices(t)
            curves = {
                (int(k), int(el)): matrix
                for k, el, matrix in zip(i, j, stack[1 + t :], strict=True)
                if matrix.any()
            }
            return stack[1 : 1 + t], curves
        structure = term.shared
        rows, columns = np.array(structure.entries).T + term.first
        order = self.about.model.level_sizes[-1]

        def whole(entries: FloatArray) -> FloatArray:
            out = np.zeros((1, order, order))
            out[0, rows, columns] = out[0, columns, rows] = self._unit * entries
            return out

        return _derivatives(block, whole)

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

    # -- elsewhere ---------------------------------------------------------------------------------

    def moved(self, step: FloatArray) -> Moved | None:
        """The parameters ``step`` (r,) away, the step halved until it stays inside their space.

        None where no part of it does.
        """
        share = 1.0
        for _ in range(_HALVINGS):
            try:
                found = self._moved(share * step)
            except ModelError:
                found = None
            if found is not None:
                return Moved(found[0], found[1], share, found[2])
            share /= 2.0
        return None

    def _moved(self, step: FloatArray) -> tuple[FloatArray, float, bool] | None:
        about, at, bounded = self.about, 0, False
        theta = about.theta[0].copy()
        sigma2 = about.scale
        if about.model.profiled:
            # The residual variance comes last, and in the user's units.
            sigma2 = about.scale + float(step[-1]) / self._unit
            if sigma2 <= 0.0:
                return None
        arms = list(zip(about.criterion.terms, about.criterion.theta_slices, strict=True))
        for b, (term, s) in enumerate(arms):
            block = about.parameters.blocks[b]
            own = block.whole(step[at : at + block.first.shape[1]])
            at += block.first.shape[1]
            if term.is_residual:
                moved = _moved_arms(structure_of(term), about.theta[:, s], own)
            else:
                moved, outside = self._moved_term(b, term, about.theta[:, s], own, sigma2)
                bounded |= outside
            if not np.isfinite(moved).all():
                return None
            theta[s] = moved[0]
        return theta, sigma2, bounded

    def _moved_term(
        self, b: int, term: TermBlock, theta: FloatArray, step: FloatArray, sigma2: float
    ) -> tuple[FloatArray, bool]:
        """Parameters of a moved G over a moved residual variance; whether it was brought back."""
        block, structure = self.about.parameters.blocks[b], term.shared
        before = self.about.scale
        if block.singular:
            moves = np.abs(structure.chart(theta, np.zeros((1, len(structure.entries))))[0])[0]
            full = np.zeros((1, structure.n_theta))
            full[0, moves.max(axis=0, initial=0.0) > 0.0] = step
            ratio = np.full((1, 1), np.sqrt(before / sigma2))
            return structure.scaled(structure.move(theta, full), ratio), False
        if structure.natural_entries:
            rows, columns = np.array(structure.entries).T
            matrix = before * structure.matrix(theta)
            matrix[0, rows, columns] += step
            matrix[0, columns, rows] = matrix[0, rows, columns]
            outside = bool(np.linalg.eigvalsh(matrix)[0, 0] < 0.0)
            inside = floor_eigenvalues(matrix, 0.0, 0.0) if outside else matrix
            return structure.theta(inside / sigma2), outside
        diagonal = np.sqrt(self._unit) * np.diag(self.about.model.effects_map(b))[None]
        diagonal = diagonal if structure.scales else diagonal[:, :1]
        user = structure.scaled(theta, np.sqrt(before) * diagonal)
        return structure.scaled(
            _moved_natural(structure, user, step), 1.0 / (np.sqrt(sigma2) * diagonal)
        ), False

    def elsewhere(self, thetas: FloatArray, sigma2: FloatArray, rows: IntArray) -> FloatArray:
        """V of m sets of rows, each at parameters of its own, (m, n, n).

        Parameters
        ----------
        thetas : shape (m, n_theta)
        sigma2 : shape (m,), as in `Moved`.
        rows : shape (m, n)
        """
        model = self.about.model
        g = self.about.criterion.covariances(thetas)
        scale = (sigma2 * self._unit)[:, None, None]
        if model.profiled:
            out = scale * self._identity(rows)
        else:
            out = self._unit * self._residual_at(g[-1], rows)
        for b in range(len(model.order)):
            term, k = self.about.criterion.terms[b], model.effects_map(b)
            own = g[term.level][:, term.stretch, term.stretch]
            out = out + self._spread_term(b, rows)(scale * (k @ own @ k.T))
        return out

    def _residual_at(self, matrices: FloatArray, rows: IntArray) -> FloatArray:
        """R of rows, set by set, from (m, K, K) or (m, 1, units or 1, K, K)."""
        out = np.empty((*rows.shape, rows.shape[1]))
        for i, own in enumerate(matrices):
            stack = own[None] if own.ndim == 2 else own[0]
            out[i] = self._spread_residual(rows[i : i + 1])(stack)[0]
        return out


def _moved_arms(structure: CovarianceStructure, theta: FloatArray, step: FloatArray) -> FloatArray:
    """The same of a structure, or of that of several arms one after the other."""
    n = structure.n_theta
    arms = [slice(at, at + n) for at in range(0, len(step), n)]
    parts = [_moved_natural(structure, theta[:, own], step[own]) for own in arms]
    return np.concatenate(parts, axis=1)


def _moved_natural(
    structure: CovarianceStructure, theta: FloatArray, step: FloatArray
) -> FloatArray:
    """theta where the free parameters of a structure, most often its natural ones, moved."""
    free = None if structure.natural_entries else natural_chart(structure, theta)[2]
    if free is not None and not np.array_equal(free, np.eye(len(free))):
        return np.asarray(theta + step)
    return structure.from_natural(structure.natural(theta) + step)


def _derivatives(
    block: ParameterBlock, whole: Callable[[FloatArray], FloatArray]
) -> tuple[FloatArray, Bends]:
    """Matrices of the derivatives of coordinates, by one and by pairs of parameters."""
    slopes = np.array([whole(column) for column in block.first.T])
    curves: Bends = {}
    if block.second is not None:
        for k, el in zip(*np.tril_indices(block.first.shape[1]), strict=True):
            if block.second[:, k, el].any():
                curves[int(k), int(el)] = whole(block.second[:, k, el])
    return slopes, curves
