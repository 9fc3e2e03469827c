"""Linear covariance: known matrices times unknown coefficients."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal

import numpy as np

from mlmfast.arrays import FloatArray
from mlmfast.covariance.base import symmetric
from mlmfast.covariance.natural_coordinates import NaturalCoordinates
from mlmfast.errors import ModelError
from mlmfast.running.cached import cached_property

#: How far a start goes from a safe combination towards the closest one, over what is possible.
_SHARE = 0.9


@dataclass(frozen=True, eq=False)
class Linear(NaturalCoordinates):
    """R = theta_1 A_1 + ... + theta_q A_q, the A_k known; theta are the natural parameters.

    Coefficients are free: where their sum is not positive definite `matrix` is not either, and the
    criterion is infinite.

    References: Anderson (1973), Annals of Statistics 1, 135-141; SAS/STAT User's Guide, The MIXED
    Procedure, REPEATED statement, TYPE=LIN(q) with LDATA=.

    Parameters
    ----------
    matrices : shape (q, K, K) or a sequence of (K, K)
        Symmetric and linearly independent; the identity and a matrix of ones by default.

    Examples
    --------
    >>> lin = Linear(2, [np.eye(2), [[0.0, 1.0], [1.0, 0.0]]])
    >>> lin.matrix(np.array([[4.0, 1.0]]))[0].tolist()
    [[4.0, 1.0], [1.0, 4.0]]
    """

    matrices: FloatArray | Sequence[object] | None = None

    keyword: ClassVar[str] = "lin"
    space: ClassVar[str] = "lin"
    label: ClassVar[str] = "linear (known matrices)"
    formula: ClassVar[str] = "theta_1 A_1[i, j] + ... + theta_q A_q[i, j], A_k known"
    parameters: ClassVar[str] = "q: a coefficient of each known matrix"
    use: ClassVar[str] = "covariances known up to a few coefficients (argument lin=[A1, A2])"
    sas: ClassVar[str | None] = "LIN(q)"
    everywhere: ClassVar[bool] = False
    takes_matrices: ClassVar[bool] = True
    from_one_series: ClassVar[bool] = True
    for_random_effects: ClassVar[bool] = False
    compared: ClassVar[Literal["always", "several columns", "never"]] = "never"

    def __post_init__(self) -> None:
        super().__post_init__()
        k = self.size
        given = (np.eye(k), np.ones((k, k))) if self.matrices is None else self.matrices
        try:
            stack = np.array([np.asarray(m, dtype=np.float64) for m in given])
        except (TypeError, ValueError):
            raise ModelError("lin: the known matrices must be square and hold numbers") from None
        if stack.ndim != 3 or stack.shape[1:] != (k, k) or not np.isfinite(stack).all():
            raise ModelError(
                f"lin: known matrices over {k} levels have shape ({k}, {k}) and finite entries; "
                f"found an array of shape {stack.shape}"
            )
        if not np.allclose(stack, stack.mT, rtol=1e-10, atol=1e-12 * np.abs(stack).max()):
            raise ModelError("lin: a known matrix is not symmetric")
        flat = stack.reshape(len(stack), -1)
        norms = np.linalg.norm(flat, axis=1, keepdims=True)
        if (norms == 0).any() or (k > 1 and np.linalg.matrix_rank(flat / norms, 1e-10) < len(flat)):
            raise ModelError("lin: the known matrices depend linearly on each other")
        object.__setattr__(self, "matrices", (stack + stack.mT) / 2)
        # Found once; refuses matrices without a positive definite combination.
        self._safe(np.ones((1, k)))

    @cached_property
    def _stack(self) -> FloatArray:
        return np.asarray(self.matrices, dtype=np.float64)

    @cached_property
    def entries(self) -> tuple[tuple[int, int], ...]:
        used = (self._stack != 0).any(axis=0)
        rows, columns = np.nonzero(np.tril(used))
        return tuple(zip(rows.tolist(), columns.tolist(), strict=True))

    @cached_property
    def _templates(self) -> FloatArray:
        """Entries of the matrices, shape (n_entries, q)."""
        rows, columns = np.array(self.entries, dtype=np.intp).T
        return np.ascontiguousarray(self._stack[:, rows, columns].T)

    @property
    def n_theta(self) -> int:
        return len(self._stack)

    def matrix(self, theta: FloatArray) -> FloatArray:
        rows, columns = np.array(self.entries, dtype=np.intp).T
        return symmetric(theta @ self._templates.T, self.size, rows, columns)

    def jacobian(self, theta: FloatArray) -> FloatArray:
        return np.repeat(self._templates[None], len(theta), axis=0)

    def curvature(self, theta: FloatArray, weight: FloatArray) -> FloatArray:
        return np.zeros((len(theta), self.n_theta, self.n_theta))

    def theta(self, matrix: FloatArray) -> FloatArray:
        closest = self._project(matrix)
        safe = self._safe(np.diagonal(matrix, axis1=1, axis2=2))
        out = np.empty_like(closest)
        for f, (end, start) in enumerate(zip(closest, safe, strict=True)):
            share = 1.0
            while share > 1e-6 and not self._is_positive(start + share * (end - start)):
                share *= 0.5
            out[f] = start + (1.0 if share == 1.0 else _SHARE * share) * (end - start)
        return out

    @property
    def parameter_names(self) -> tuple[str, ...]:
        return tuple(f"LIN({k + 1})" for k in range(self.n_theta))

    def from_natural(self, values: FloatArray) -> FloatArray:
        values = self._check_natural(values)
        for row in values:
            if not np.isfinite(row).all() or not self._is_positive(row):
                raise self._outside(row)
        return values.copy()

    def _project(self, matrix: FloatArray) -> FloatArray:
        """Coefficients of the closest combinations, whatever their sign."""
        flat = self._stack.reshape(self.n_theta, -1).T
        return np.asarray(np.linalg.lstsq(flat, matrix.reshape(len(matrix), -1).T, rcond=None)[0].T)

    def _safe(self, variances: FloatArray) -> FloatArray:
        """Positive definite combinations with variances like these."""
        diagonal = variances[:, :, None] * np.eye(self.size)
        even = variances.mean(axis=1)[:, None, None] * np.eye(self.size)
        traces = np.einsum("kii->k", self._stack)
        norms = np.linalg.norm(self._stack, axis=(1, 2))
        signed = np.where(traces != 0, np.sign(traces) / norms, 0.0) * variances.mean(1)[:, None]
        out = []
        for tried in zip(self._project(diagonal), self._project(even), signed, strict=True):
            good = [one for one in tried if self._is_positive(one)]
            if not good:
                raise ModelError(
                    "lin: no positive definite combination of the known matrices was found; add "
                    "one that is, such as the identity"
                )
            out.append(good[0])
        return np.array(out)

    def _is_positive(self, theta: FloatArray) -> bool:
        values = np.linalg.eigvalsh(self.matrix(theta[None])[0])
        return bool(values[0] > 1e-8 * values[-1])
