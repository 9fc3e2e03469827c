"""Random problems with crossed grouping factors for `convergence.py --crossed`.

A problem follows from (seed, index) alone: 2 or 3 factors of 3-120 levels met at random (all cells,
few cells, or disconnected parts), intercepts and slopes, correlated or not, some of them nested in
another factor; half of the true covariances singular, a quarter of the problems weighted, units of
response and covariates random over many orders of magnitude.
"""

import numpy as np
import pandas as pd
from problems import Problem, covariance_roots

# As in `problems.STRUCTURES`; b and c cross g, h is nested in g.
CROSSED = {
    "(1 | g) + (1 | b)": [("g", (0,)), ("b", (0,))],
    "(x1 | g) + (1 | b)": [("g", (0, 1)), ("b", (0,))],
    "(x1 | g) + (x1 | b)": [("g", (0, 1)), ("b", (0, 1))],
    "(x1 || g) + (x1 | b)": [("g", (0,)), ("g", (1,)), ("b", (0, 1))],
    "(1 | g) + (1 | b) + (1 | c)": [("g", (0,)), ("b", (0,)), ("c", (0,))],
    "(x1 | g) + (1 | b) + (0 + x1 | c)": [("g", (0, 1)), ("b", (0,)), ("c", (1,))],
    "(1 | g/h) + (1 | b)": [("g", (0,)), ("h", (0,)), ("b", (0,))],
    "(x1 + x2 | g) + (x1 + x2 | b)": [("g", (0, 1, 2)), ("b", (0, 1, 2))],
    "(1 | g) + (x1 | b) + (1 | g:b)": [("g", (0,)), ("b", (0, 1)), ("gb", (0,))],
}


def random_crossed_problem(seed: int, index: int) -> Problem:
    rng = np.random.default_rng([seed, index, 4])
    random_part = str(rng.choice(list(CROSSED)))
    blocks = CROSSED[random_part]
    n_covariates = max(max(columns) for _, columns in blocks) + int(rng.integers(0, 3))
    codes = _codes(rng, blocks, n_covariates)
    n = len(codes["g"])
    x = rng.standard_normal((n, n_covariates))
    x += np.where(rng.random(n_covariates) < 0.3, 10.0 ** rng.uniform(0, 2, n_covariates), 0.0)
    X = np.column_stack([np.ones(n), x])
    weights = np.exp(rng.standard_normal(n)) if rng.random() < 0.25 else None
    singular = bool(rng.random() < 0.5)
    y = X @ rng.standard_normal(X.shape[1])
    y += rng.standard_normal(n) / np.sqrt(1.0 if weights is None else weights)
    roots = covariance_roots(rng, blocks, singular)
    for (factor, columns), root in zip(blocks, roots, strict=True):
        effects = rng.standard_normal((codes[factor].max() + 1, len(columns))) @ root.T
        centred = X[:, columns] - np.where(np.array(columns) > 0, X[:, columns].mean(0), 0)
        y += np.sum(centred * effects[codes[factor]], axis=1)
    method = "REML" if rng.random() < 0.5 else "ML"
    names = [f"x{k + 1}" for k in range(n_covariates)]
    frame = pd.DataFrame(x * 10.0 ** rng.uniform(-6, 6, n_covariates), columns=names)
    frame["y"] = y * 10.0 ** rng.uniform(-8, 8)
    frame = frame.assign(**{f: [f"{f}{k}" for k in codes[f]] for f in "gbch" if f in codes})
    if weights is not None:
        frame["w"] = weights
    formula = f"y ~ {' + '.join(names) or '1'} + {random_part}"
    return Problem(
        index, random_part, blocks, singular, method, frame, formula, y, X, X, codes, weights, 0.0
    )


def _codes(
    rng: np.random.Generator, blocks: list[tuple[str, tuple[int, ...]]], n_covariates: int
) -> dict[str, np.ndarray]:
    """Levels of each row, renumbered; more rows than twice the effects of the largest factor."""
    used = {factor for factor, _ in blocks}
    while True:
        sizes = {f: round(np.exp(rng.uniform(np.log(3), np.log(120)))) for f in "gbc"}
        n = round(np.exp(rng.uniform(np.log(60), np.log(2500))))
        codes = {f: rng.integers(0, size, n) for f, size in sizes.items()}
        if rng.random() < 0.1:  # two parts that share no level
            part = rng.integers(0, 2, n)
            codes = {f: 2 * (code // 2) + part for f, code in codes.items()}
        codes["h"] = codes["g"] * 3 + rng.integers(0, 3, n)
        codes["gb"] = codes["g"] * (codes["b"].max() + 1) + codes["b"]
        codes = {f: np.unique(code, return_inverse=True)[1] for f, code in codes.items()}
        effects = [sum(len(c) for f, c in blocks if f == factor) for factor in used]
        levels = [codes[factor].max() + 1 for factor in used]
        largest = sum(q * m for q, m in zip(effects, levels, strict=True)) + n_covariates
        if min(levels) >= 3 and n > 2 * largest:
            return {f: code for f, code in codes.items() if f in used | {"g", "b"}}
