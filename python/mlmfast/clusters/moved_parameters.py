"""V of chosen rows at covariance parameters a step away from the estimates."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from mlmfast.arrays import FloatArray, IntArray
from mlmfast.clusters.by_parameters import RowCovariances
from mlmfast.covariance import CovarianceStructure
from mlmfast.covariance.base import floor_eigenvalues
from mlmfast.covariance.natural_chart import natural_chart
from mlmfast.criterion.parameters.random_effects import STILL
from mlmfast.errors import ModelError
from mlmfast.reduction.blocks import TermBlock, structure_of

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
class MovedCovariances(RowCovariances):
    """V of rows of a fit by its free covariance parameters, and away from their estimates."""

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
            sizes = moves.max(axis=0, initial=0.0)
            full = np.zeros((1, structure.n_theta))
            full[0, sizes > STILL * sizes.max(initial=0.0)] = step
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
