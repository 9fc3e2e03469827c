"""The exact null distribution of the (restricted) likelihood ratio for one variance component.

For y = X beta + Z b + e with Var b = lambda sigma^2 I, and lambda = 0 under the null hypothesis,

    RLRT = sup_lambda (n - p) log(1 + N / D) - sum_s log(1 + lambda mu_s)
    N = sum_s lambda mu_s w_s^2 / (1 + lambda mu_s)
    D = sum_s w_s^2 / (1 + lambda mu_s) + sum of n - p - K more w^2

with mu_s the K eigenvalues of Z'(I - X(X'X)^-1 X')Z and w_s independent standard normal
(Crainiceanu and Ruppert 2004, JRSS B 66:165, theorem 1). For the likelihood ratio n - p before the
logarithm is n, and the second sum has the eigenvalues of Z'Z.
"""

from __future__ import annotations

import numpy as np

from mlmfast.arrays import CodeArray, FloatArray, IntArray
from mlmfast.design.design import Design

#: Eigenvalues this close, over the largest, are one.
_SAME = 1e-10
#: Values of log lambda mu_max tried, and Newton steps from the best.
_GRID, _STEPS = np.linspace(-12.0, 14.0, 131), 8
_CHUNK = 20_000


def exact_null_distribution(
    design: Design, t: int, reml: bool, n: int, seed: np.random.SeedSequence
) -> FloatArray:
    """Draws of the statistic under the null hypothesis, shape (n,).

    Parameters
    ----------
    design
        A design whose only random effect is that of term ``t``.
    t
        Position of the term.
    reml
        Restricted likelihood ratio?
    n, seed
        Number of draws; their randomness.
    """
    x, z = _weighted(design, t)
    basis = np.linalg.qr(_independent(x))[0] if x.shape[1] else x
    if design.factors[design.random[t].factor].has_all_rows:
        within, (mu, times) = _of_columns(z, basis)
    else:
        codes = design.factors[design.random[t].factor].codes
        m = design.factors[design.random[t].factor].n_levels
        within = _sums(codes, z[:, 0] ** 2, m)
        cross = np.array([_sums(codes, z[:, 0] * q, m) for q in basis.T]).reshape(-1, m).T
        mu, times = eigenvalues(within, cross)
    degrees = design.n_obs - basis.shape[1]
    positive = mu > _SAME * max(float(mu.max(initial=0.0)), 1e-300)
    mu, times = mu[positive], times[positive]
    if reml:
        xi, xi_times, factor = mu, times, degrees
    else:
        xi, xi_times = _distinct(within[within > 0])
        factor = design.n_obs
    generator = np.random.default_rng(seed)
    rest = degrees - int(times.sum())
    parts = []
    for first in range(0, n, _CHUNK):
        count = min(_CHUNK, n - first)
        squares = generator.chisquare(times, size=(count, len(times)))
        remainder = generator.chisquare(rest, size=count) if rest > 0 else np.zeros(count)
        parts.append(_suprema(squares, remainder, mu, xi, xi_times, factor))
    return np.concatenate(parts)


def eigenvalues(diagonal: FloatArray, cross: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Distinct eigenvalues of diag(d) - C C' and how often each occurs.

    Within the levels of one d, directions orthogonal to C's columns keep d: what is left is small.

    Examples
    --------
    >>> values, times = eigenvalues(np.array([2.0, 2.0, 2.0]), np.full((3, 1), np.sqrt(2 / 3)))
    >>> values.round(9).tolist(), times.tolist()
    ([0.0, 2.0], [1.0, 2.0])
    """
    values, inverse = _rounded_unique(diagonal)
    kept: list[FloatArray] = []
    found, counts = [], []
    small_diagonal: list[float] = []
    for k, d in enumerate(values):
        rows = np.flatnonzero(inverse == k)
        u, s, _ = np.linalg.svd(cross[rows], full_matrices=False)
        rank = int((s > 1e-12 * max(float(s.max(initial=0.0)), 1e-300)).sum())
        kept.append(u[:, :rank].T @ cross[rows])
        small_diagonal += [float(d)] * rank
        if len(rows) > rank:
            found.append(float(d))
            counts.append(float(len(rows) - rank))
    small = np.concatenate(kept) if kept else np.zeros((0, cross.shape[1]))
    inner = np.linalg.eigvalsh(np.diag(small_diagonal) - small @ small.T)
    every = np.concatenate([found, np.maximum(inner, 0.0)])
    times = np.concatenate([counts, np.ones(len(inner))])
    merged, place = _rounded_unique(every)
    return merged, np.bincount(place, weights=times).astype(np.float64)


def _suprema(
    squares: FloatArray,
    remainder: FloatArray,
    mu: FloatArray,
    xi: FloatArray,
    xi_times: FloatArray,
    factor: int,
) -> FloatArray:
    """The supremum over lambda of each draw: best of a grid, then Newton's steps in log lambda."""
    total = squares.sum(axis=1) + remainder
    largest = float(max(mu.max(initial=0.0), 1e-300))
    grid = np.exp(_GRID) / largest
    shrunk = 1.0 / (1.0 + np.outer(mu, grid))
    residual = squares @ shrunk + remainder[:, None]
    penalty = xi_times @ np.log1p(np.outer(xi, grid))
    values = factor * (np.log(total)[:, None] - np.log(residual)) - penalty
    best = np.argmax(values, axis=1)
    top = values[np.arange(len(best)), best]
    x, step = np.log(grid[best]), float(_GRID[1] - _GRID[0])
    low, high = x - step, x + step
    for _ in range(_STEPS):
        value, slope, bend = _at(np.exp(x), squares, remainder, total, mu, xi, xi_times, factor)
        top = np.maximum(top, value)
        with np.errstate(divide="ignore", invalid="ignore"):
            newton = np.where(bend < 0, -slope / bend, np.sign(slope) * 0.25 * step)
        x = np.clip(x + newton, low, high)
    return np.asarray(np.maximum(top, 0.0))


def _at(
    scale: FloatArray,
    squares: FloatArray,
    remainder: FloatArray,
    total: FloatArray,
    mu: FloatArray,
    xi: FloatArray,
    xi_times: FloatArray,
    factor: int,
) -> tuple[FloatArray, FloatArray, FloatArray]:
    """The statistic at each draw's own lambda, with two derivatives by log lambda."""
    shrunk = 1.0 / (1.0 + scale[:, None] * mu)
    share = 1.0 - shrunk
    d = (squares * shrunk).sum(axis=1) + remainder
    d1 = -(squares * shrunk * share).sum(axis=1)
    d2 = -(squares * shrunk * share * (shrunk - share)).sum(axis=1)
    other = 1.0 / (1.0 + scale[:, None] * xi)
    value = factor * np.log(total / d) + np.log(other) @ xi_times
    slope = -factor * d1 / d - (1.0 - other) @ xi_times
    bend = -factor * (d2 / d - (d1 / d) ** 2) - (other * (1.0 - other)) @ xi_times
    return value, slope, bend


def _sums(codes: CodeArray, values: FloatArray, n_levels: int) -> FloatArray:
    """Sums by level."""
    return np.bincount(codes, weights=values, minlength=n_levels).astype(np.float64)


def _weighted(design: Design, t: int) -> tuple[FloatArray, FloatArray]:
    """X and the columns of Z, rows times the roots of their weights."""
    root = np.ones(design.n_obs) if design.weights is None else np.sqrt(design.weights)
    columns = [root if column is None else root * column for column in design.random[t].columns]
    return design.fixed_matrix * root[:, None], np.column_stack(columns)


def _of_columns(
    z: FloatArray, basis: FloatArray
) -> tuple[FloatArray, tuple[FloatArray, FloatArray]]:
    """Eigenvalues of Z'Z, and distinct ones of Z'(I - Q Q')Z with how often each occurs.

    From singular values, so that those of 0 are no roots of rounding.
    """
    left = z - basis @ (basis.T @ z)
    left -= basis @ (basis.T @ left)
    squares = [np.asarray(np.linalg.svd(part, compute_uv=False) ** 2) for part in (z, left)]
    return squares[0], _distinct(squares[1])


def _independent(x: FloatArray) -> FloatArray:
    """An orthonormal basis of X's columns."""
    scale = np.sqrt((x * x).sum(axis=0))
    u, s, _ = np.linalg.svd(x / np.where(scale > 0, scale, 1.0), full_matrices=False)
    return np.asarray(u[:, s > 1e-10 * s.max(initial=0.0)])


def _distinct(values: FloatArray) -> tuple[FloatArray, FloatArray]:
    merged, place = _rounded_unique(values)
    return merged, np.bincount(place).astype(np.float64)


def _rounded_unique(values: FloatArray) -> tuple[FloatArray, IntArray]:
    """Distinct values, rounding aside, and the position of each among them."""
    size = float(np.abs(values).max(initial=0.0)) or 1.0
    _, first, place = np.unique(
        np.round(values / size / _SAME), return_index=True, return_inverse=True
    )
    return values[first], place
