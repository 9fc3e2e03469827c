"""MIVQUE0: quadratic unbiased estimates of least variance where all variances but one are 0.

With M the projection off X and V_r = Z_r Z_r', the estimates solve S s = q for
S_rs = tr(M V_r M V_s), q_r = y'M V_r M y, the residual's V_e = I (Hartley, Rao and LaMotte 1978,
Biometrics 34:233; SAS/STAT User's Guide, PROC VARCOMP).
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import numpy as np

from mlmfast.arrays import CodeArray, FloatArray
from mlmfast.errors import ModelError

_SINGULAR = 1e-12


def mivque0(
    x: FloatArray, codes: Sequence[CodeArray], y: FloatArray
) -> tuple[FloatArray, FloatArray]:
    """Variances of intercepts by factors, the residual's last, and the estimators' covariance.

    Parameters
    ----------
    x : shape (n, p), orthonormal columns that span X.
    codes
        Level of each row by random term.
    y : shape (n,)

    Raises
    ------
    ModelError
        Where the forms do not tell the variances apart.

    Examples
    --------
    >>> one = np.full((4, 1), 0.5)
    >>> codes = np.array([0, 0, 1, 1], dtype=np.int32)
    >>> mivque0(one, [codes], np.array([1.0, 2.0, 5.0, 6.0]))[0].tolist()
    [7.75, 0.5]
    """
    n, k = len(y), len(codes)
    sizes = [int(own.max()) + 1 for own in codes]
    ends = np.cumsum([0, *sizes])
    z = np.zeros((n, int(ends[-1])))
    for own, first in zip(codes, ends[:-1], strict=True):
        z[np.arange(n), first + own] = 1.0
    z -= x @ (x.T @ z)
    rest = y - x @ (x.T @ y)
    blocks = [slice(a, b) for a, b in pairwise(ends.tolist())]
    f, along = z.T @ z, z.T @ rest
    s, q = np.zeros((k + 1, k + 1)), np.zeros(k + 1)
    for i, a in enumerate(blocks):
        for j, b in enumerate(blocks):
            s[i, j] = (f[a, b] ** 2).sum()
        s[i, k] = s[k, i] = np.trace(f[a, a])
        q[i] = along[a] @ along[a]
    s[k, k], q[k] = n - x.shape[1], rest @ rest
    scale = 1.0 / np.sqrt(np.maximum(np.diag(s), 1e-300))
    if np.linalg.eigvalsh(s * scale[:, None] * scale)[0] < _SINGULAR:
        raise ModelError(
            "method='mivque0': the random effects, beside the fixed ones, do not tell their "
            "variances and the residual's apart; leave one of them out"
        )
    inverse = np.linalg.inv(s)
    variances = inverse @ q
    return variances, inverse @ _covariance(f, blocks, variances, int(s[k, k])) @ inverse.T


def _covariance(
    f: FloatArray, blocks: Sequence[slice], variances: FloatArray, degrees: int
) -> FloatArray:
    """Covariance of the forms q where y is normal with these variances."""
    k, e = len(blocks), float(variances[-1])
    d = np.concatenate(
        [np.full(b.stop - b.start, v) for b, v in zip(blocks, variances, strict=False)]
    )
    fd = f * d
    h = fd @ f + e * f
    both = fd @ h + e * h
    out = np.zeros((k + 1, k + 1))
    for i, a in enumerate(blocks):
        for j, b in enumerate(blocks):
            out[i, j] = 2.0 * (h[a, b] ** 2).sum()
        out[i, k] = out[k, i] = 2.0 * np.trace(both[a, a])
    whole = (fd * fd.T).sum() + 2.0 * e * np.trace(fd) + e * e * degrees
    out[k, k] = 2.0 * whole
    return out
