"""What clusters of rows contribute to the criterion's derivatives, whole or with rows left out.

Everything is whitened, V = L L', in a basis of X where X'V^-1 X = I at the estimates:
Y = L^-1 [X e], G_k = L^-1 V_k L^-T. Without the rows U the inverse of what is left of V is
L^-T Pi L^-1, Pi = I - Q Q' with Q an orthonormal basis of L^-1 D, D the unit columns of U: their
deletion costs products with Q alone.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from mlmfast.arrays import FloatArray
from mlmfast.clusters.by_parameters import Bends
from mlmfast.clusters.covariance import cholesky_factors, solve_lower
from mlmfast.running.cached import cached_property


@dataclass(frozen=True)
class Contribution:
    """Contributions of m sets of rows, r covariance parameters, p fixed effects.

    Attributes
    ----------
    first : shape (m, r, p+1, n), Y'G_k.
    crossed : shape (m, p+1, p+1), Y'Y.
    slopes : shape (m, r, p+1, p+1), Y'G_k Y.
    traces : shape (m, r), tr G_k.
    products : shape (m, r, r), tr G_k G_l.
    bends, bend_traces
        Y'B_kl Y and tr B_kl for pairs with second derivatives B_kl = L^-1 V_kl L^-T.
    """

    first: FloatArray
    crossed: FloatArray
    slopes: FloatArray
    traces: FloatArray
    products: FloatArray
    bends: Bends
    bend_traces: Bends

    def second(self, weights: FloatArray) -> FloatArray:
        """tr(F'Y'G_k G_l Y F) for each pair, (m, r, r); F of shape (m, p+1, columns)."""
        m, r = self.traces.shape
        part = (np.swapaxes(weights, 1, 2)[:, None] @ self.first).reshape(m, r, -1)
        return np.asarray(part @ np.swapaxes(part, 1, 2))

    def all_seconds(self) -> FloatArray:
        """Sum over the sets of Y'G_k G_l Y, (r, r, p+1, p+1)."""
        return np.asarray(np.einsum("mkan,mlbn->klab", self.first, self.first, optimize=True))


@dataclass(frozen=True)
class WhiteBlocks:
    """m clusters of n rows each, whitened.

    Attributes
    ----------
    y : shape (m, n, p+1)
    g : shape (m, r, n, n)
    b : second derivatives by pair.
    inverse : shape (m, n, n), L^-1.
    """

    y: FloatArray
    g: FloatArray
    b: Bends
    inverse: FloatArray

    @classmethod
    def of(cls, v: FloatArray, xe: FloatArray, first: FloatArray, bends: Bends) -> WhiteBlocks:
        """From V (m, n, n), [X e] (m, n, p+1), and the derivatives of V."""
        identity = np.broadcast_to(np.eye(v.shape[1]), v.shape)
        inverse = solve_lower(cholesky_factors(v), identity)
        back = np.swapaxes(inverse, 1, 2)
        g = inverse[:, None] @ first @ back[:, None]
        b = {pair: inverse @ curve @ back for pair, curve in bends.items()}
        return cls(inverse @ xe, g, b, inverse)

    @cached_property
    def _gy(self) -> FloatArray:
        return self.g @ self.y[:, None]

    @cached_property
    def _traces(self) -> tuple[FloatArray, FloatArray, Bends]:
        m, r, n, _ = self.g.shape
        flat = self.g.reshape(m, r, n * n)
        bends = {pair: np.einsum("mnn->m", b) for pair, b in self.b.items()}
        return np.einsum("mknn->mk", self.g), flat @ np.swapaxes(flat, 1, 2), bends

    def whole(self) -> Contribution:
        """What the clusters contribute with all their rows."""
        return self._contribution(self.y, self._gy, self._gy, self._traces)

    def without(self, q: FloatArray) -> Contribution:
        """What they contribute without the rows whose Q is ``q``, (m, n, columns)."""
        m, r, _, _ = self.g.shape
        across = np.swapaxes(q, 1, 2)
        of_y = across @ self.y
        gq = self.g @ q[:, None]
        gy = self._gy - gq @ of_y[:, None]
        inner = across[:, None] @ gq
        outer, own = gq.reshape(m, r, -1), inner.reshape(m, r, -1)
        traces, products, bends = self._traces
        products = products - 2.0 * (outer @ np.swapaxes(outer, 1, 2))
        of_g = (
            traces - np.einsum("mkcc->mk", inner),
            products + own @ np.swapaxes(own, 1, 2),
            {pair: bends[pair] - np.einsum("mnc,mnc->m", q, b @ q) for pair, b in self.b.items()},
        )
        projected = gy - q[:, None] @ (across[:, None] @ gy)
        return self._contribution(self.y - q @ of_y, gy, projected, of_g)

    def basis(self, rows: list[int]) -> FloatArray:
        """Q of rows, by their places in the clusters, (m, n, columns)."""
        return np.linalg.qr(self.inverse[:, :, rows])[0]

    def _contribution(
        self,
        y: FloatArray,
        gy: FloatArray,
        projected: FloatArray,
        traces: tuple[FloatArray, FloatArray, Bends],
    ) -> Contribution:
        """From Pi Y, G Pi Y and Pi G Pi Y."""
        across = np.swapaxes(y, 1, 2)
        return Contribution(
            np.swapaxes(projected, 2, 3),
            across @ y,
            across[:, None] @ gy,
            traces[0],
            traces[1],
            {pair: across @ b @ y for pair, b in self.b.items()},
            traces[2],
        )
