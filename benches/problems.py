"""Random mixed-model problems for `convergence.py`, and a slow likelihood to check fits with.

A problem follows from (seed, index) alone. The likelihood factors the dense covariance matrix of
each cluster and shares no code with mlmfast.
"""

from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy.optimize import minimize

# Random part of the formula, and for each of its blocks of correlated effects the factor and the
# columns (0 the intercept, k the covariate xk). g: clusters; h: subgroups within them.
Block = tuple[str, tuple[int, ...]]
STRUCTURES: dict[int, dict[str, list[Block]]] = {
    1: {
        "(1 | g)": [("g", (0,))],
        "(0 + x1 | g)": [("g", (1,))],
    },
    2: {
        "(x1 | g)": [("g", (0, 1))],
        "(x1 || g)": [("g", (0,)), ("g", (1,))],
        "(1 | g/h)": [("g", (0,)), ("h", (0,))],
    },
    3: {
        "(x1 + x2 | g)": [("g", (0, 1, 2))],
        "(x1 + x2 || g)": [("g", (0,)), ("g", (1,)), ("g", (2,))],
        "(x1 | g) + (1 | g:h)": [("g", (0, 1)), ("h", (0,))],
        "(x1 || g) + (1 | g:h)": [("g", (0,)), ("g", (1,)), ("h", (0,))],
    },
    4: {
        "(x1 + x2 + x3 | g)": [("g", (0, 1, 2, 3))],
        "(x1 + x2 + x3 || g)": [("g", (k,)) for k in range(4)],
        "(x1 | g/h)": [("g", (0, 1)), ("h", (0, 1))],
        "(x1 + x2 | g) + (1 | g:h)": [("g", (0, 1, 2)), ("h", (0,))],
    },
}


@dataclass(frozen=True)
class Problem:
    """One data set and model. `frame` is in the units the model is fitted in.

    y, X (n, p) and the columns (n, 4) of the random effects are in units of order 1;
    `log_units` is what the change of units adds to -2 log-likelihood.
    """

    index: int
    random_part: str
    blocks: list[Block]
    singular_in_truth: bool
    method: str
    frame: pd.DataFrame
    formula: str
    y: np.ndarray
    X: np.ndarray
    columns: np.ndarray
    codes: dict[str, np.ndarray]
    weights: np.ndarray | None
    log_units: float

    def __str__(self) -> str:
        return (
            f"{self.formula}, {self.method}, {'weighted, ' if self.weights is not None else ''}"
            f"{len(self.y)} rows, {self.codes['g'].max() + 1} clusters, "
            f"{'singular' if self.singular_in_truth else 'regular'} in truth"
        )


def random_problem(seed: int, index: int) -> Problem:
    rng = np.random.default_rng([seed, index])
    structures = STRUCTURES[int(rng.integers(1, 5))]
    random_part = str(rng.choice(list(structures)))
    blocks = structures[random_part]
    n_slopes = max(max(columns) for _, columns in blocks)
    n_covariates = n_slopes + int(rng.integers(0, 3))
    codes = random_groups(rng, blocks, 1 + n_covariates)
    n = len(codes["g"])

    x = rng.standard_normal((n, n_covariates))
    if n_covariates > n_slopes and codes["g"].max() >= 9:  # constant within clusters
        x[:, -1] = rng.standard_normal(codes["g"].max() + 1)[codes["g"]]
    shifted = rng.random(n_covariates) < 0.3
    x += np.where(shifted, 10.0 ** rng.uniform(0, 2, n_covariates), 0.0)
    X = np.column_stack([np.ones(n), x])
    columns = X[:, : 1 + n_slopes]

    weights = np.exp(rng.standard_normal(n)) if rng.random() < 0.25 else None
    singular = bool(rng.random() < 0.5)
    noise = rng.standard_normal(n) / np.sqrt(1.0 if weights is None else weights)
    y = X @ rng.standard_normal(X.shape[1]) + noise
    for (factor, block), G_root in zip(
        blocks, covariance_roots(rng, blocks, singular), strict=True
    ):
        level = codes[factor]
        effects = rng.standard_normal((level.max() + 1, len(block))) @ G_root.T
        centred = columns[:, block] - np.where(np.array(block) > 0, columns[:, block].mean(0), 0)
        y += np.sum(centred * effects[level], axis=1)

    method = "REML" if rng.random() < 0.5 else "ML"
    y_unit = 10.0 ** rng.uniform(-8, 8)
    x_units = 10.0 ** rng.uniform(-6, 6, n_covariates)
    names = [f"x{k + 1}" for k in range(n_covariates)]
    frame = pd.DataFrame(x * x_units, columns=names).assign(y=y * y_unit, **label_columns(codes))
    if weights is not None:
        frame["w"] = weights
    n_free = n if method == "ML" else n - X.shape[1]
    log_units = 2 * n_free * np.log(y_unit)
    if method == "REML":
        log_units += 2 * np.log(x_units).sum()
    return Problem(
        index=index,
        random_part=random_part,
        blocks=blocks,
        singular_in_truth=singular,
        method=method,
        frame=frame,
        formula=f"y ~ {' + '.join(names) or '1'} + {random_part}",
        y=y,
        X=X,
        columns=columns,
        codes=codes,
        weights=weights,
        log_units=float(log_units),
    )


def random_groups(
    rng: np.random.Generator, blocks: list[Block], n_fixed: int
) -> dict[str, np.ndarray]:
    """5-500 clusters of 1-50 rows, with enough rows to tell the residual from the effects.

    Without residual degrees of freedom the likelihood has no maximum.
    """
    while True:
        n_clusters = round(5 * 100 ** rng.random())
        largest = round(50 ** rng.uniform(0.2, 1.0))
        balanced = rng.random() < 0.3
        low = largest if balanced else 1
        g = np.repeat(np.arange(n_clusters), rng.integers(low, largest + 1, n_clusters))
        within = rng.integers(0, rng.integers(2, 6), len(g))
        h = np.unique(g * 10 + within, return_inverse=True)[1]
        codes = {"g": g, "h": h}
        if residual_rows(codes, blocks) >= n_fixed + 5:
            return codes


def residual_rows(codes: dict[str, np.ndarray], blocks: list[Block]) -> int:
    """Rows left when each level has taken as many as it has effects, the inner factor first."""
    width = {
        factor: sum(len(columns) for name, columns in blocks if name == factor) for factor in "gh"
    }
    left_in_h = np.maximum(np.bincount(codes["h"]) - width["h"], 0)
    cluster_of_h = codes["g"][np.unique(codes["h"], return_index=True)[1]]
    left_in_g = np.bincount(cluster_of_h, left_in_h) - width["g"]
    return int(np.maximum(left_in_g, 0).sum())


def covariance_roots(
    rng: np.random.Generator, blocks: list[Block], singular: bool
) -> list[np.ndarray]:
    """A root of G for each block, relative to a residual variance of 1.

    Singular in truth: one block, chosen at random, loses rank.
    """
    roots = []
    for _, columns in blocks:
        q = len(columns)
        root = np.tril(rng.standard_normal((q, q)))
        root *= 10.0 ** rng.uniform(-1, 0.7, (q, 1)) / np.linalg.norm(root, axis=1, keepdims=True)
        roots.append(root)
    if singular:
        root = roots[int(rng.integers(len(roots)))]
        q = len(root)
        if q > 1 and rng.random() < 0.5:
            root[:, int(rng.integers(1, q)) :] = 0.0  # correlations of +-1
        else:
            root[int(rng.integers(q))] = 0.0  # a variance of 0
    return roots


def label_columns(codes: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    g = np.array([f"c{code:03d}" for code in range(codes["g"].max() + 1)])[codes["g"]]
    h = np.array([f"s{code:04d}" for code in range(codes["h"].max() + 1)])[codes["h"]]
    return {"g": g, "h": h}


class DenseDeviance:
    """-2 log-likelihood of a problem, profiled over beta and sigma^2, from dense matrices.

    With relative covariances G_b = L_b L_b', the rows of cluster i have covariance
    sigma^2 W_i, W_i = I + sum_b (Z_b G_b Z_b') o [same level]. Rows are scaled by the root of
    their weight first. Clusters of equal size are factored as one stack.
    """

    def __init__(self, problem: Problem) -> None:
        self.problem = problem
        root_w = np.ones(len(problem.y)) if problem.weights is None else np.sqrt(problem.weights)
        self.log_weights = 2 * np.log(root_w).sum()
        data = np.column_stack([problem.X, problem.y]) * root_w[:, None]
        designs = [self.block_columns(columns) * root_w[:, None] for _, columns in problem.blocks]
        g = problem.codes["g"]
        sizes = np.bincount(g)
        starts = np.concatenate([[0], np.cumsum(sizes)])[:-1]
        self.stacks = []
        for size in np.unique(sizes):
            rows = starts[sizes == size][:, None] + np.arange(size)
            same = [
                problem.codes[factor][rows][:, :, None] == problem.codes[factor][rows][:, None, :]
                for factor, _ in problem.blocks
            ]
            self.stacks.append((data[rows], [Z[rows] for Z in designs], same))
        self.n_theta = sum(len(c) * (len(c) + 1) // 2 for _, c in problem.blocks)

    def block_columns(self, columns: tuple[int, ...]) -> np.ndarray:
        """Z of a block; covariates centred where an intercept makes that the same model."""
        Z = self.problem.columns[:, columns]
        if columns[0] == 0:
            Z = np.column_stack([Z[:, :1], Z[:, 1:] - Z[:, 1:].mean(0)])
        return Z

    def roots(self, theta: np.ndarray) -> list[np.ndarray]:
        """theta, cut into the lower triangles of the blocks."""
        roots, used = [], 0
        for _, columns in self.problem.blocks:
            q = len(columns)
            root = np.zeros((q, q))
            rows, cols = np.tril_indices(q)
            root[rows, cols] = theta[used : used + len(rows)]
            used += len(rows)
            roots.append(root)
        return roots

    def __call__(self, theta: np.ndarray) -> float:
        roots = self.roots(theta)
        log_det, whitened = -self.log_weights, []
        for data, designs, same in self.stacks:
            W = np.broadcast_to(np.eye(data.shape[1]), same[0].shape).copy()
            for Z, root, level in zip(designs, roots, same, strict=True):
                A = Z @ root
                W += np.where(level, A @ A.transpose(0, 2, 1), 0.0)
            L = np.linalg.cholesky(W)
            log_det += 2 * np.log(np.diagonal(L, axis1=1, axis2=2)).sum()
            whitened.append(np.linalg.solve(L, data).reshape(-1, data.shape[2]))
        R = np.linalg.qr(np.vstack(whitened), mode="r")
        n, p = self.problem.X.shape
        free = n - p if self.problem.method == "REML" else n
        if self.problem.method == "REML":
            log_det += 2 * np.log(np.abs(np.diag(R)[:p])).sum()
        return float(log_det + free * (1 + np.log(2 * np.pi * R[p, p] ** 2 / free)))

    def start(self, rng: np.random.Generator) -> np.ndarray:
        """Diagonal entries over two orders of magnitude, small ones below."""
        parts = []
        for _, columns in self.problem.blocks:
            rows, cols = np.tril_indices(len(columns))
            diagonal = 10.0 ** rng.uniform(-1.3, 0.7, len(rows))
            parts.append(np.where(rows == cols, diagonal, 0.1 * rng.standard_normal(len(rows))))
        return np.concatenate(parts)


def smallest_deviance(problem: Problem, n_starts: int = 4) -> float:
    """By quasi-Newton from several starts, the best one refined without derivatives."""
    deviance = DenseDeviance(problem)
    rng = np.random.default_rng(problem.index)
    starts = [deviance.start(rng) for _ in range(n_starts)]
    options = {"ftol": 1e-15, "gtol": 1e-7, "maxiter": 500, "maxfun": 20_000}
    runs = [
        minimize(deviance, start, jac="3-point", method="L-BFGS-B", options=options)
        for start in starts
    ]
    best = min(runs, key=lambda run: run.fun)
    options = {"xatol": 1e-7, "fatol": 1e-10, "maxfev": 400 * deviance.n_theta, "adaptive": True}
    refined = minimize(deviance, best.x, method="Nelder-Mead", options=options)
    return float(min(best.fun, refined.fun) + problem.log_units)
