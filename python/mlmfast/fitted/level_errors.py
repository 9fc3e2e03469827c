"""Error of x'beta + z'g at the levels of one grouping factor, without any rows."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from mlmfast.arrays import CodeArray, FloatArray


@dataclass(frozen=True)
class LevelErrors:
    """Quadratic forms in (z, x), for each level of the only grouping factor.

    What a saved fit keeps for intervals around its random effects. The first form is the error
    variance, the second what estimating the covariance parameters adds to it, then come its
    derivatives by r of these.

    Attributes
    ----------
    method : name of the method of degrees of freedom.
    covariance : shape (r, r), of the parameters.
    by_level : shape (n_levels, 2 + r, q, q + rank), the rows of the forms that belong to z.
    of_beta : shape (2 + r, rank, rank), what belongs to x alone.
    """

    method: str
    covariance: FloatArray
    by_level: FloatArray
    of_beta: FloatArray

    def __call__(self, z: FloatArray, x: FloatArray, codes: CodeArray) -> FloatArray:
        """All forms of rows, (n, 2 + r), with z (n, q), x (n, rank), levels (n,) that are known.

        Examples
        --------
        >>> level = np.array([[[[2.0, 0.5]]]])
        >>> own = LevelErrors("asymptotic", np.empty((0, 0)), level, np.array([[[3.0]]]))
        >>> own(np.ones((1, 1)), np.ones((1, 1)), np.zeros(1, dtype=np.int32)).tolist()
        [[6.0]]
        """
        q = z.shape[1]
        own = self.by_level[codes]
        out = np.einsum("np,kpq,nq->nk", x, self.of_beta, x, optimize=True)
        out += np.einsum("ni,nkij,nj->nk", z, own[..., :q], z, optimize=True)
        out += 2.0 * np.einsum("ni,nkip,np->nk", z, own[..., q:], x, optimize=True)
        return np.asarray(out)
