"""Parameters of a model as statsmodels packs them, and its variance components."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import numpy as np

from mlmfast.arrays import FloatArray, IntArray


class VCSpec:
    """Variance components of a model made from arrays.

    Parameters
    ----------
    names
        ``names[k]`` is the name of component k.
    colnames
        ``colnames[k][i]`` are the names of the columns of ``mats[k][i]``.
    mats
        ``mats[k][i]`` is the matrix of component k in group i, groups in sorted order: its columns
        have independent effects of one variance.

    Examples
    --------
    >>> import numpy as np
    >>> VCSpec(["class"], [[["a", "b"]]], [[np.eye(2)]]).names
    ['class']
    """

    def __init__(self, names: Any, colnames: Any, mats: Any) -> None:
        self.names, self.colnames, self.mats = names, colnames, mats


class MixedLMParams:
    """Fixed effects, and covariances of random effects over the residual variance.

    Parameters
    ----------
    k_fe, k_re, k_vc
        Numbers of fixed effects, of correlated random effects and of variance components.

    Attributes
    ----------
    fe_params : shape (k_fe,)
    cov_re : shape (k_re, k_re), the covariance of the random effects over the residual variance.
    vcomp : shape (k_vc,), variance components over the residual variance.

    Examples
    --------
    >>> start = MixedLMParams.from_components([1.0], cov_re=[[4.0, 2.0], [2.0, 5.0]])
    >>> start.get_packed(use_sqrt=True).tolist()
    [2.0, 1.0, 2.0]
    """

    fe_params: Any
    cov_re: Any
    vcomp: Any

    def __init__(self, k_fe: int, k_re: int, k_vc: int) -> None:
        self.k_fe, self.k_re, self.k_vc = k_fe, k_re, k_vc
        self.k_re2 = k_re * (k_re + 1) // 2
        self.k_tot = self.k_fe + self.k_re2 + self.k_vc
        self._ix = lower_places(k_re)

    @staticmethod
    def from_packed(
        params: Any, k_fe: int, k_re: int, use_sqrt: bool, has_fe: bool
    ) -> MixedLMParams:
        """Read a vector: fixed effects if ``has_fe``, a lower triangle, variance components.

        With ``use_sqrt`` the triangle is the Cholesky factor's, and the components' square roots
        follow.
        """
        packed = np.asarray(params, dtype=np.float64)
        k_re2 = k_re * (k_re + 1) // 2
        first = k_fe if has_fe else 0
        out = MixedLMParams(k_fe, k_re, len(packed) - first - k_re2)
        out.fe_params = packed[:first] if has_fe else np.zeros(k_fe)
        triangle = np.zeros((k_re, k_re))
        triangle[out._ix] = packed[first : first + k_re2]
        rest = packed[first + k_re2 :]
        if use_sqrt:
            out.cov_re, out.vcomp = triangle @ triangle.T, rest**2
        else:
            out.cov_re, out.vcomp = triangle + np.tril(triangle, -1).T, rest
        return out

    @staticmethod
    def from_components(
        fe_params: Any = None, cov_re: Any = None, cov_re_sqrt: Any = None, vcomp: Any = None
    ) -> MixedLMParams:
        """Put components together; those left out have length 0."""
        fixed = np.empty(0) if fe_params is None else np.asarray(fe_params)
        components = np.empty(0) if vcomp is None else np.asarray(vcomp)
        if cov_re_sqrt is not None:
            root = np.asarray(cov_re_sqrt)
            matrix = root @ root.T
        else:
            matrix = np.empty((0, 0)) if cov_re is None else np.asarray(cov_re)
        out = MixedLMParams(len(fixed), len(matrix), len(components))
        out.fe_params, out.cov_re, out.vcomp = fixed, matrix, components
        return out

    def copy(self) -> MixedLMParams:
        """A copy that shares nothing."""
        out = MixedLMParams(self.k_fe, self.k_re, self.k_vc)
        out.fe_params, out.cov_re = np.array(self.fe_params), np.array(self.cov_re)
        out.vcomp = np.array(self.vcomp)
        return out

    def get_packed(self, use_sqrt: bool, has_fe: bool = False) -> FloatArray:
        """The parameters as one vector: what `from_packed` reads."""
        triangle = np.asarray(self.cov_re, dtype=np.float64)
        components = np.asarray(self.vcomp, dtype=np.float64)
        if use_sqrt:
            triangle, components = lower_root(triangle), np.sqrt(components)
        parts: Sequence[Any] = (triangle[lower_places(self.k_re)], components)
        return np.concatenate([self.fe_params, *parts] if has_fe else parts)


def lower_root(matrix: FloatArray) -> FloatArray:
    """The lower triangular L of a positive semidefinite L L', singular ones too.

    Examples
    --------
    >>> lower_root(np.array([[4.0, 2.0], [2.0, 1.0]])).tolist()
    [[2.0, 0.0], [1.0, 0.0]]
    """
    k = len(matrix)
    root = np.zeros((k, k))
    for j in range(k):
        rest = matrix[j:, j] - root[j:, :j] @ root[j, :j]
        if rest[0] > 1e-14 * max(abs(float(matrix[j, j])), 1e-300):
            root[j:, j] = rest / np.sqrt(rest[0])
    return root


def chain_to_root(params: MixedLMParams, by_u: FloatArray, root: FloatArray) -> FloatArray:
    """Derivatives by u -> derivatives by the roots that `get_packed(use_sqrt=True)` gives."""
    k = params.k_re
    by_g = np.zeros((k, k))
    by_g[lower_places(k)] = by_u[: params.k_re2]
    # dG = dL L' + L dL', and u has each covariance once.
    both = by_g + by_g.T
    by_l = both @ root
    components = 2.0 * np.sqrt(params.vcomp) * by_u[params.k_re2 :]
    return np.concatenate([by_l[lower_places(k)], components])


def by_root(params: Any, by_u: FloatArray) -> FloatArray:
    """Derivatives by the root of the covariance and the roots of the components."""
    read = MixedLMParams.from_components(params.fe_params, cov_re=params.cov_re, vcomp=params.vcomp)
    return chain_to_root(read, by_u, lower_root(np.asarray(params.cov_re, dtype=np.float64)))


@lru_cache(maxsize=64)
def lower_places(k: int) -> tuple[IntArray, IntArray]:
    """Rows and columns of the lower triangle of a matrix of order k, row by row."""
    rows, columns = np.tril_indices(k)
    rows.flags.writeable = columns.flags.writeable = False
    return rows, columns


def is_definite(params: Any, tol: float = 1e-10) -> bool:
    """Whether the covariances of the random effects have an inverse."""
    values = np.linalg.eigvalsh(params.cov_re) if len(params.cov_re) else np.ones(1)
    return bool(values.min() >= tol and (np.asarray(params.vcomp) >= tol).all())
