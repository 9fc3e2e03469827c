"""What is asked of the residuals of long series: covariances, draws, whitening; all O(n)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

import mlmfast._core as _core
from mlmfast.arrays import BoolArray, CodeArray, FloatArray, IntArray, SparseArray
from mlmfast.clusters.covariance import LARGEST_CLUSTER
from mlmfast.clusters.noise import noise_sd, theta_by_arm
from mlmfast.covariance.chains import MarkovChain, QuasiSeparable
from mlmfast.covariance.jet import Jet
from mlmfast.design.design import Design
from mlmfast.design.residual.design import ResidualDesign
from mlmfast.design.residual.record import ResidualRecord
from mlmfast.errors import ModelError
from mlmfast.fitted.record import FitRecord
from mlmfast.running.scipy_on_use import sparse

#: Rows of a cluster up to which a matrix is as fast.
_SMALL = 200


def series_noise(
    design: ResidualDesign, record: ResidualRecord, draw: Callable[[int], FloatArray]
) -> FloatArray:
    """Residuals of unit variance, correlated along each series, shape (n,)."""
    along = SeriesRoot.of(design, record)
    draws = draw(len(along.order))
    out = np.empty(len(along.order))
    out[along.order] = along.correlated(draws)
    return out


def runs_along(design: Design, rows: IntArray) -> bool:
    """Whether clusters (m, n) are whitened along their series: long ones.

    In data order where that is the time order; others only where no matrix could hold them. Not
    where random effects lie inside the clusters (`sequential_residuals`).
    """
    assert design.residual is not None
    assert design.residual.series is not None
    size = rows.shape[1]
    single = all(
        len(np.unique(design.factors[t.factor].codes[rows[0]])) == 1 for t in design.random
    )
    if size <= _SMALL or not single:
        return False
    if size > LARGEST_CLUSTER:
        return True
    times, units = design.residual.series.times[rows], design.residual.units[rows]
    same = units[:, 1:] == units[:, :-1]
    blocks = (~same).sum(axis=1) + 1
    together = all(len(np.unique(u)) == b for u, b in zip(units, blocks, strict=True))
    return together and bool((times[:, 1:] > times[:, :-1])[same].all())


def scaled_series_residuals(
    design: Design, record: FitRecord, marginal: FloatArray, rows: IntArray
) -> FloatArray:
    """L^-1 (y - X beta) of the rows of one cluster with V = L L', L by subject and time.

    Once the residual covariance is undone along each series, V is I + Z G Z', whose Cholesky factor
    follows row by row from the conditional distribution of the effects given the rows before.
    """
    assert design.residual is not None
    assert record.residual is not None
    sd = noise_sd(design, record)
    within = np.zeros(design.n_obs, dtype=np.bool_)
    within[rows] = True
    along = SeriesRoot.of(design.residual, record.residual).part(within)
    order = along.order
    effects = [c for term in design.random for c in term.columns]
    columns = [(1.0 if c is None else c[order]) / sd[order] for c in effects]
    white = [along.whitened(column) for column in (*columns, marginal[order] / sd[order])]
    q = len(columns)
    g, at = np.zeros((q, q)), 0
    for term_record in record.terms:
        k = len(term_record.covariance)
        g[at : at + k, at : at + k] = term_record.covariance
        at += k
    z = np.ascontiguousarray(np.column_stack(white[:-1])) if q else np.empty((len(order), 0))
    out = np.empty(design.n_obs)
    out[order] = _core.innovations(z, white[-1], g)
    return out[rows]


@dataclass(frozen=True)
class SeriesRoot:
    """Root of the residual correlations over all series, rows by subject and time.

    Attributes
    ----------
    order : shape (n,), rows by subject and time.
    starts : shape (n,), 1 where a series begins.
    first, second : shape (n,)
        Of the step that leads to a row: its correlation f and 1 - f^2 for a Markov chain, else the
        generators a and b.
    chain
        Whether series are Markov chains.
    """

    order: IntArray
    starts: CodeArray
    first: FloatArray
    second: FloatArray
    chain: bool

    @classmethod
    def of(cls, design: ResidualDesign, record: ResidualRecord) -> SeriesRoot:
        """Of the estimates."""
        assert design.series is not None, "only called for series"
        series, structure = design.series, design.structure
        order = np.lexsort((series.times, design.units))
        step = series.step[order]
        first, second = [], []
        for theta in theta_by_arm(design, record):
            if isinstance(structure, MarkovChain):
                steps = structure.step_correlations(theta[None, 1:], series.gaps)
                first.append(steps.f.value[0])
                second.append(steps.below[0] * steps.above[0])
            else:
                assert isinstance(structure, QuasiSeparable), "checked where the design was read"
                a, b = structure.generators(Jet.constant(theta[None, 1:]), series.gaps)
                first.append(a.value[0])
                second.append(b.value[0])
        at = np.maximum(step, 0)
        return cls(
            order,
            (step < 0).astype(np.int32),
            np.concatenate(first)[at],
            np.concatenate(second)[at],
            isinstance(structure, MarkovChain),
        )

    def part(self, rows: BoolArray) -> SeriesRoot:
        """The rows of whole series marked by row number."""
        own = rows[self.order]
        return SeriesRoot(
            self.order[own], self.starts[own], self.first[own], self.second[own], self.chain
        )

    def correlated(self, draws: FloatArray) -> FloatArray:
        """L z for independent z: e_i = f_i e_(i-1) + sqrt(1 - f_i^2) z_i for a Markov chain."""
        if not self.chain:
            return _core.walk_series(self.first, self.second, self.starts, draws, False)
        starts = self.starts == 1
        f, room = np.where(starts, 0.0, self.first), np.where(starts, 1.0, self.second)
        return _core.run_chain(f, np.sqrt(room) * draws)

    def inverse_root(self) -> SparseArray:
        """L^-1 of a Markov chain, bidiagonal, shape (n, n).

        Raises
        ------
        ModelError
            Where series are no Markov chains: each row's innovation depends on all before it.
        """
        if not self.chain:
            raise ModelError(
                f"this result of a series of {len(self.order):,} rows needs the inverse of its "
                "covariance row by row, which series without the Markov property (arma11) lack; "
                "resid('scaled') has none of it, and car1 or ar1 is a Markov chain"
            )
        inside = self.starts != 1
        root = np.where(inside, 1.0 / np.sqrt(np.where(inside, self.second, 1.0)), 1.0)
        at = np.arange(len(root))
        own = sparse.csr_array((root, (at, at)))
        step = inside[1:]
        before = (-self.first[1:] * root[1:])[step]
        below = sparse.csr_array((before, (at[1:][step], at[:-1][step])), shape=own.shape)
        return sparse.csr_array(own + below)

    def whitened(self, values: FloatArray) -> FloatArray:
        """L^-1 e, rows in this order."""
        if not self.chain:
            values = np.ascontiguousarray(values)
            return _core.walk_series(self.first, self.second, self.starts, values, True)
        before = np.concatenate([[0.0], values[:-1]])
        change = (values - self.first * before) / np.sqrt(self.second)
        return np.where(self.starts == 1, values, change)
