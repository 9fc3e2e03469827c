"""Square roots of covariance matrices, singular ones included, for `mlmfast.mvn`.

All ranks are judged on the correlation scale, where a change of a component's unit changes
nothing. New covariances are formed as half @ half.T, so they are symmetric and positive
semi-definite to rounding *relative to their own variances*, even when these nearly cancel.
"""

from dataclasses import dataclass

import numpy as np

from mlmfast.arrays import BoolArray, FloatArray, IntArray
from mlmfast.errors import DataError

# Eigenvalues of a correlation matrix, relative to the largest and per component, that count as 0.
RANK_TOLERANCE = 1e-13
# A more negative relative eigenvalue is not rounding: the matrix is refused.
NEGATIVE_TOLERANCE = 1e-8
# Pivots above this prove full rank without the eigenvalues.
SAFE_PIVOT = 1e-8
# An eigenvalue t that was taken for 0 still lets points lie a few sqrt(t) off the support.
SUPPORT_SLACK = 8.0
# Constant components have no standard deviation to compare with: relative to their size instead.
CONSTANT_TOLERANCE = 1e-8
# Remaining sd, relative to the sd before cancellation, that counts as 0. Rounding leaves up to
# eps / sqrt(RANK_TOLERANCE), about 1e-9; genuine remainders are at least sqrt(RANK_TOLERANCE).
CANCELLED_SD = 1e-9


@dataclass(frozen=True)
class Factor:
    """cov = D root root' D with D = diag(scale).

    Attributes
    ----------
    scale : shape (k,), standard deviations, 1 for constant components.
    root : shape (k, r), lower triangular (Cholesky) when r = k; otherwise eigenvectors times
        square roots of the eigenvalues of the correlation matrix.
    null : shape (k, k - r), orthonormal; null' D^-1 (x - mean) = 0 on the support.
    log_det : sum of the logs of the r non-zero eigenvalues of cov.
    slack : distance from the support, in standard deviations, that still counts as on it.
    """

    scale: FloatArray
    root: FloatArray
    null: FloatArray
    log_det: float
    slack: float = 0.0

    @property
    def rank(self) -> int:
        """Dimension of the support."""
        return int(self.root.shape[1])

    @property
    def is_full_rank(self) -> bool:
        """Whether cov is positive definite."""
        return self.rank == len(self.scale)

    def half(self) -> FloatArray:
        """B with cov = B B', shape (k, r)."""
        return self.scale[:, None] * self.root


def factorise(label: str, cov: FloatArray) -> Factor:
    """Factor a symmetric matrix; DataError when it is not positive semi-definite."""
    sd = np.sqrt(np.diag(cov))
    scale = np.where(sd > 0, sd, 1.0)
    correlation = cov / scale / scale[:, None]
    try:
        lower: FloatArray = np.asarray(np.linalg.cholesky(correlation), dtype=np.float64)
        if np.diag(lower).min() ** 2 > SAFE_PIVOT:
            return _full_rank(scale, lower)
    except np.linalg.LinAlgError:
        pass  # singular or indefinite: the eigenvalues tell which
    values, vectors = np.linalg.eigh(correlation)
    if values[0] < -NEGATIVE_TOLERANCE * values[-1]:
        smallest = min(float(np.linalg.eigvalsh(cov)[0]), 0.0)
        raise DataError(
            f"{label} is not positive semi-definite: its smallest eigenvalue is {smallest:.6g} "
            f"({values[0]:.6g} for the correlation matrix)"
        )
    # A negative eigenvalue shows the size of the rounding, so positive ones like it are 0 too.
    zero = max(len(values) * RANK_TOLERANCE * values[-1], -values[0])
    if values[0] > zero:
        return _full_rank(scale, np.asarray(np.linalg.cholesky(correlation), dtype=np.float64))
    keep = values > zero
    root = vectors[:, keep] * np.sqrt(values[keep])
    log_det = _log_pseudo_determinant(scale[:, None] * root)
    return Factor(scale, root, vectors[:, ~keep], log_det, SUPPORT_SLACK * float(np.sqrt(zero)))


def _full_rank(scale: FloatArray, lower: FloatArray) -> Factor:
    log_det = 2 * float(np.log(np.diag(lower)).sum() + np.log(scale).sum())
    return Factor(scale, lower, np.empty((len(scale), 0)), log_det)


def _log_pseudo_determinant(half: FloatArray) -> float:
    # The non-zero eigenvalues of B B' are those of B'B = R'R, R from B = QR.
    triangle = np.linalg.qr(half, mode="r")
    return 2 * float(np.log(np.abs(np.diag(triangle))).sum())


def whiten(factor: Factor, deviation: FloatArray) -> FloatArray:
    """Coordinates z, shape (..., r), with deviation = D root z for deviations in the support."""
    standardised = deviation / factor.scale
    if not factor.is_full_rank:
        return np.asarray(standardised @ (factor.root / (factor.root**2).sum(axis=0)))
    flat = standardised.reshape(-1, len(factor.scale)).T
    from scipy import linalg

    solved = linalg.solve_triangular(factor.root, flat, lower=True, check_finite=False)
    return np.asarray(solved.T.reshape(deviation.shape))


def on_support(factor: Factor, deviation: FloatArray, magnitude: FloatArray) -> BoolArray:
    """Whether each deviation, shape (..., k), lies in the range of cov.

    `magnitude` is |x| + |mean|: subtracting them has left an error of that size times eps.
    """
    standardised = deviation / factor.scale
    distance = np.abs(standardised @ factor.null).max(axis=-1, initial=0.0)
    is_constant = ~factor.root.any(axis=1)
    spread = 1 + np.abs(standardised * ~is_constant).max(axis=-1)
    relative = np.where(is_constant, CONSTANT_TOLERANCE, 8 * np.finfo(float).eps)
    rounding = (relative * (magnitude + is_constant) / factor.scale).max(axis=-1)
    return np.asarray(distance <= factor.slack * spread + rounding)


def transformed_covariance(A: FloatArray, cov: FloatArray, factor: Factor) -> FloatArray:
    """Return A cov A', positive semi-definite also where terms cancel, as in x0 - x1."""
    direct = A @ cov @ A.T
    gross = np.einsum("ij,jk,ik->i", np.abs(A), np.abs(cov), np.abs(A), optimize=True)
    if (np.diag(direct) >= 0.01 * gross).all():
        return np.asarray((direct + direct.T) / 2)
    half = A @ factor.half()
    half[np.linalg.norm(half, axis=1) <= CANCELLED_SD * np.sqrt(gross)] = 0.0
    return np.asarray(half @ half.T)


@dataclass(frozen=True)
class Regression:
    """The linear regression of the rest on the given components.

    Attributes
    ----------
    coefficients : shape (k - m, m), S12 S22^-1 (pseudo-inverse when S22 is singular).
    residual_cov : shape (k - m, k - m), S11 - S12 S22^-1 S21.
    """

    coefficients: FloatArray
    residual_cov: FloatArray


def regress(cov: FloatArray, rest: IntArray, given: IntArray) -> Regression:
    """Regression of x[rest] on x[given] from a square root with `given` in its first rows."""
    order = np.concatenate([given, rest])
    factor = factorise("cov", cov[np.ix_(order, order)])
    m = len(given)
    split = _split_triangular if factor.is_full_rank else _split_singular
    slope, half = split(factor.root, m)
    scale_given, scale_rest = factor.scale[:m], factor.scale[m:]
    half = scale_rest[:, None] * half
    return Regression(scale_rest[:, None] * slope / scale_given, half @ half.T)


def _split_triangular(root: FloatArray, m: int) -> tuple[FloatArray, FloatArray]:
    # With root = [[L2, 0], [M, L1]]: S12 S22^-1 = M L2^-1, and the Schur complement is L1 L1'.
    from scipy import linalg

    slope = linalg.solve_triangular(root[:m, :m], root[m:, :m].T, lower=True, trans="T").T
    return np.asarray(slope), root[m:, m:]


def _split_singular(root: FloatArray, m: int) -> tuple[FloatArray, FloatArray]:
    # x2 = B2 z fixes z on the row space of B2, spanned by v; the rest of z stays random.
    left, s, vt = np.linalg.svd(root[:m], full_matrices=False)
    keep = s**2 > m * RANK_TOLERANCE * s.max(initial=0.0) ** 2
    v = vt[keep].T
    loading = root[m:] @ v
    half = root[m:] - loading @ v.T
    half[np.linalg.norm(half, axis=1) <= CANCELLED_SD] = 0.0
    return loading / s[keep] @ left[:, keep].T, half
