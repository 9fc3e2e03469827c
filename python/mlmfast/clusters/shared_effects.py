"""Henderson's equations of one large cluster: V^-1 from small blocks and the effects they share.

With L and the shared effects g = Lambda u, Var u = I, of `inner_blocks`, and F = L^-1 Z,

    V^-1 = L^-T (I - F C F') L^-1
    C = Var(g | y, beta) = Lambda (I + Lambda'F'F Lambda)^-1 Lambda'

(Henderson, Kempthorne, Searle and von Krosigk 1959, Biometrics 15, 192; the Lambda form, regular
for a singular G, is that of Bates et al. 2015, J. Stat. Softw. 67(1), section 3). All of it costs
what a fit costs: n q^2 for n rows and q shared effects.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from mlmfast.arrays import FloatArray, IntArray, SparseArray
from mlmfast.clusters.effect_columns import Told, effect_columns, row_sums, stretches
from mlmfast.clusters.inner_blocks import (
    Split,
    along_series,
    in_order,
    inner_root,
    residual_matrix,
    split_rows,
)
from mlmfast.clusters.noise import noise_sd
from mlmfast.covariance.correlations import covariance_root
from mlmfast.design.design import Design
from mlmfast.design.rows import columns_at
from mlmfast.errors import ModelError
from mlmfast.fitted.random_effects import fixed_part
from mlmfast.fitted.record import FitRecord
from mlmfast.running.cached import cached_property
from mlmfast.running.scipy_on_use import linalg, sparse

if TYPE_CHECKING:
    from mlmfast.clusters.series_whitening import SeriesRoot

#: Rows of a cluster up to which its V is formed.
LARGEST_DENSE = 2_000
#: Columns up to which the equations are solved by orthogonal transformations of the rows.
_FEW_COLUMNS = 64
_ROWS_AT_ONCE = 4_096
#: Numbers of a matrix that is formed dense for want of another way.
_MOST_NUMBERS = 200_000_000


@dataclass(frozen=True, eq=False)
class LargeCluster:
    """The rows of one cluster with their equations.

    Attributes
    ----------
    design, record : the data and the estimates.
    rows : shape (n,), rows of the data; by subject and time along series that are too long for a
        matrix.
    split : how they are taken apart.
    """

    design: Design
    record: FitRecord
    rows: IntArray
    split: Split

    @classmethod
    def of(
        cls,
        design: Design,
        record: FitRecord,
        rows: IntArray,
        what: str,
        sequential: bool = False,
    ) -> LargeCluster:
        """Take rows apart in the cheapest way (`split_rows`)."""
        split = split_rows(design, rows, what, sequential)
        order = in_order(design, record, rows, split)
        return cls(design, record, order, split)

    # -- columns -----------------------------------------------------------------------------------

    @cached_property
    def levels(self) -> tuple[IntArray, ...]:
        """Levels that the rows have of the factor of each shared term."""
        return tuple(
            np.unique(self.design.factors[self.design.random[t].factor].codes[self.rows])
            for t in self.split.shared
        )

    @cached_property
    def z(self) -> SparseArray:
        """Z of the shared effects, shape (n, q): by term, then level, then effect."""
        parts = [
            effect_columns(self.design, t, self.rows)[:, self._columns(k)]
            for k, t in enumerate(self.split.shared)
        ]
        return _beside(parts, len(self.rows))

    @cached_property
    def xe(self) -> FloatArray:
        """[X e]: columns of X that are not aliased, and y - X beta; shape (n, p + 1)."""
        residual = self.design.working_response - fixed_part(self.design, self.record)
        columns = [self.design.x[j] for j in self.record.kept]
        return columns_at([*columns, residual], self.rows)

    def _columns(self, k: int) -> IntArray:
        """Columns of the k-th shared term among those of all levels of its factor."""
        q = len(self.design.random[self.split.shared[k]].columns)
        return np.asarray((self.levels[k][:, None] * q + np.arange(q)).ravel())

    @cached_property
    def _lambda(self) -> SparseArray:
        """Lambda, shape (q, q): by term the root of the relationship times that of G."""
        parts = []
        for t, levels in zip(self.split.shared, self.levels, strict=True):
            own = covariance_root(self.record.terms[t].covariance)
            related = self.design.factors[self.design.random[t].factor].relationship
            root = sparse.csr_array(sparse.eye_array(len(levels)))
            if related is not None:
                root = related.root_over(levels)
            parts.append(sparse.kron(root, own))
        if not parts:
            return sparse.csr_array((0, 0))
        return sparse.csr_array(sparse.block_diag(parts, format="csr"))

    # -- equations ---------------------------------------------------------------------------------

    @cached_property
    def inner(self) -> SparseArray:
        """L^-1."""
        return inner_root(self.design, self.record, self.rows, self.split)

    @cached_property
    def _walk(self) -> SeriesRoot | None:
        """What stands for L where a series too long for a matrix is no Markov chain."""
        if not self.split.walked:
            return None
        along = along_series(self.design, self.record, self.rows)
        return None if along.chain else along

    def _whitened(self, columns: FloatArray, walk: SeriesRoot) -> FloatArray:
        values = columns / noise_sd(self.design, self.record)[self.rows][:, None]
        return np.column_stack([walk.whitened(column) for column in values.T])

    @cached_property
    def f(self) -> SparseArray:
        """F = L^-1 Z, shape (n, q)."""
        if self._walk is None or not self.z.shape[1]:
            return sparse.csr_array(self.inner @ self.z) if self.z.shape[1] else self.z
        if self.z.shape[0] * self.z.shape[1] > _MOST_NUMBERS:
            raise ModelError(
                f"{self.z.shape[1]:,} random effects inside series of {len(self.rows):,} rows that "
                "are no Markov chain (arma11) are too many for this result"
            )
        return sparse.csr_array(self._whitened(self.z.toarray(), self._walk))

    @cached_property
    def white(self) -> FloatArray:
        """L^-1 [X e], shape (n, p + 1)."""
        if self._walk is not None:
            return self._whitened(self.xe, self._walk)
        return np.asarray(self.inner @ self.xe)

    @cached_property
    def scaled(self) -> SparseArray:
        """F Lambda, shape (n, q)."""
        return sparse.csr_array(self.f @ self._lambda)

    @cached_property
    def _triangle(self) -> tuple[FloatArray, FloatArray, FloatArray]:
        """R upper triangular, R'R = I + Lambda'F'F Lambda; R^-T Lambda'F'L^-1[X e]; what is left.

        The last is [X e]'V^-1[X e].
        """
        q, width = self.scaled.shape[1], self.white.shape[1]
        if q + width <= _FEW_COLUMNS:
            r = np.hstack([np.eye(q), np.zeros((q, width))])
            for rows in stretches(len(self.rows), _ROWS_AT_ONCE):
                own = np.hstack([self.scaled[rows].toarray(), self.white[rows]])
                r = np.asarray(np.linalg.qr(np.vstack([r, own]), mode="r"))
            rest = r[q:, q:]
            return r[:q, :q], r[:q, q:], rest.T @ rest
        gram = (self.scaled.T @ self.scaled).toarray()
        gram[np.diag_indices(q)] += 1.0
        r = np.asarray(np.linalg.cholesky(gram).T, dtype=np.float64)
        right = np.asarray(self.scaled.T @ self.white)
        along = np.asarray(linalg.solve_triangular(r, right, trans="T"))
        return r, along, self.white.T @ self.white - along.T @ along

    @property
    def information(self) -> FloatArray:
        """[X e]'V^-1[X e], shape (p + 1, p + 1)."""
        return self._triangle[2]

    @cached_property
    def covariance(self) -> FloatArray:
        """C, shape (q, q): Var(g | y) with beta known."""
        r = self._triangle[0]
        half = linalg.solve_triangular(r, self._lambda.T.toarray(), trans="T")
        return np.asarray(half.T @ half)

    @cached_property
    def solved(self) -> FloatArray:
        """C Z'V_b^-1 [X e], shape (q, p + 1); the last column holds the BLUPs."""
        r, along, _ = self._triangle
        return np.asarray(self._lambda @ linalg.solve_triangular(r, along))

    # -- rows of V^-1 ------------------------------------------------------------------------------

    @cached_property
    def inverse(self) -> SparseArray:
        """V_b^-1 of all blocks, shape (n, n)."""
        return sparse.csr_array(self.inner.T @ self.inner)

    @cached_property
    def u(self) -> SparseArray:
        """V_b^-1 Z, shape (n, q)."""
        return sparse.csr_array(self.inner.T @ self.f)

    @cached_property
    def times_xe(self) -> FloatArray:
        """V^-1 [X e], shape (n, p + 1)."""
        return np.asarray(self.inner.T @ (self.white - self.f @ self.solved))

    def diagonal(self) -> FloatArray:
        """Diagonal of V^-1, shape (n,)."""
        return np.asarray(self.inverse.diagonal()) - self._quadratic(self.u, self.u)

    @cached_property
    def residual_part(self) -> tuple[FloatArray, FloatArray]:
        """Diagonal of R V^-1, shape (n,), and R V^-1 [X e], shape (n, p + 1)."""
        if self._all_shared:
            # V_b is R: R V^-1 = I - Z C Z'R^-1.
            return 1.0 - self._quadratic(self.z, self.u), self.xe - self.z @ self.solved
        own = row_sums(self._r, self.inverse)
        return own - self._quadratic(self._ru, self.u), np.asarray(self._r @ self.times_xe)

    def residual_variance(self) -> FloatArray:
        """Diagonal of R V^-1 R, shape (n,)."""
        if self._all_shared:
            variance = noise_sd(self.design, self.record)[self.rows] ** 2
            return np.asarray(variance - self._quadratic(self.z, self.z))
        own = row_sums(sparse.csr_array(self._r @ self.inverse), self._r)
        return np.asarray(own - self._quadratic(self._ru, self._ru))

    @property
    def _all_shared(self) -> bool:
        return len(self.split.shared) == len(self.design.random)

    @cached_property
    def _r(self) -> SparseArray:
        return residual_matrix(self.design, self.record, self.rows, self.split)

    @cached_property
    def _ru(self) -> SparseArray:
        return sparse.csr_array(self._r @ self.u)

    def _quadratic(self, a: SparseArray, b: SparseArray) -> FloatArray:
        """Diagonal of a C b'."""
        out = np.empty(a.shape[0])
        for rows in stretches(a.shape[0], max(1, (1 << 22) // max(a.shape[1], 1))):
            out[rows] = row_sums(b[rows], np.asarray(a[rows] @ self.covariance))
        return out

    def of_rows(self, places: IntArray) -> FloatArray:
        """What goes with some rows D: [X e]'V^-1 D (D'V^-1 D)^-1 D'V^-1 [X e], (p + 1, p + 1).

        Parameters
        ----------
        places : the rows, by their place in the cluster.
        """
        right, u = self.times_xe[places], self.u[places]
        inverse = self.inverse[places][:, places]
        n, q = u.shape
        if n <= max(q, _FEW_COLUMNS):
            dense = inverse.toarray() - u @ (u @ self.covariance).T
            return np.asarray(
                right.T @ linalg.cho_solve(linalg.cho_factor((dense + dense.T) / 2), right)
            )
        # (B - U C U')^-1 = B^-1 + B^-1 U Lambda (A - Lambda'U'B^-1 U Lambda)^-1 Lambda'U'B^-1.
        ul = (u @ self._lambda).toarray()
        both = _solve(inverse, np.hstack([right, ul]))
        own, b = both[:, : right.shape[1]], both[:, right.shape[1] :]
        r = self._triangle[0]
        left = r.T @ r - ul.T @ b
        across = ul.T @ own
        return np.asarray(
            right.T @ own
            + across.T @ linalg.cho_solve(linalg.cho_factor((left + left.T) / 2), across)
        )

    # -- what the rows tell ------------------------------------------------------------------------

    def told(self, weights: Sequence[SparseArray], noise: SparseArray | None = None) -> Told:
        """What the rows tell of m'g, or of m'g plus residuals that go with theirs.

        Parameters
        ----------
        weights : by term of the design m of k targets, (k, n_levels times effects).
        noise : covariances of the targets' residuals with those of the rows, (k, n).
        """
        shared = [weights[t][:, self._columns(k)] for k, t in enumerate(self.split.shared)]
        one = weights[0] if weights else noise
        assert one is not None, "without random effects there is residual covariance"
        m = _beside(shared, one.shape[0])
        solved = self.solved
        c = noise
        for t in range(len(self.design.random)):
            if t not in self.split.shared and weights[t].nnz:
                across = self._across(t, weights[t])
                c = across if c is None else c + across
        reduction = np.zeros(m.shape[0])
        if c is None:
            moved = np.asarray(m @ solved)
        else:
            a = sparse.csr_array(c @ self.inner.T)
            reduction = row_sums(a, a)
            m = sparse.csr_array(m - a @ self.f)
            moved = np.asarray(a @ self.white + m @ solved)
        return Told(self._quadratic(m, m) - reduction, moved[:, :-1], moved[:, -1])

    def _across(self, t: int, weights: SparseArray) -> SparseArray:
        """m'G Z' of a term that is not shared, (k, n)."""
        g = self.record.terms[t].covariance
        related = self.design.factors[self.design.random[t].factor].relationship
        n_levels = weights.shape[1] // len(g)
        between = sparse.csr_array(sparse.eye_array(n_levels))
        if related is not None:
            between = related.among_rows()
        z = effect_columns(self.design, t, self.rows, n_levels)
        return sparse.csr_array(weights @ sparse.csr_array(sparse.kron(between, g)) @ z.T)


def is_large(n_rows: int) -> bool:
    """Whether the V of a cluster is not formed."""
    return n_rows > LARGEST_DENSE


def _beside(parts: Sequence[SparseArray], n: int) -> SparseArray:
    if not parts:
        return sparse.csr_array((n, 0))
    return sparse.csr_array(sparse.hstack(parts, format="csr"))


def _solve(matrix: SparseArray, right: FloatArray) -> FloatArray:
    """Solve a sparse positive definite system of small blocks."""
    from scipy.sparse.linalg import splu

    if matrix.nnz == matrix.shape[0]:
        return np.asarray(right / matrix.diagonal()[:, None])
    factor = splu(
        matrix.tocsc(),
        permc_spec="MMD_AT_PLUS_A",
        diag_pivot_thresh=0.0,
        options={"SymmetricMode": True},
    )
    return np.asarray(factor.solve(right))
