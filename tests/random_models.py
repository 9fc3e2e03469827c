"""Random mixed models in random units, half of them singular, and a slow optimiser to trust."""

from dataclasses import dataclass
from itertools import combinations_with_replacement

import numpy as np
from scipy.optimize import minimize

from . import dense


@dataclass(frozen=True)
class RandomModel:
    """y ~ x1 + .. + x(q-1) + (x1 + .. + x(q-1) | g), `q` correlated random effects."""

    data: dict
    q: int

    @property
    def formula(self):
        slopes = " + ".join(f"x{k}" for k in range(1, self.q)) or "1"
        return f"y ~ {slopes} + ({slopes} | g)"

    @property
    def matrices(self):
        """y, X = Z, and the level of each row."""
        columns = [self.data[f"x{k}"] for k in range(1, self.q)]
        X = np.column_stack([np.ones(len(self.data["y"])), *columns])
        return self.data["y"], X, np.unique(self.data["g"], return_inverse=True)[1]


def random_model(seed, max_effects=4, max_clusters=500, max_rows=50):
    """Clusters of 1 to `max_rows` rows; the covariance of the effects has full rank or less."""
    rng = np.random.default_rng(seed)
    q = int(rng.integers(1, max_effects + 1))
    m = int(np.exp(rng.uniform(np.log(5 + q), np.log(max_clusters))))
    sizes = rng.integers(1, rng.integers(3, max_rows + 1), m) + (np.arange(m) < 3) * (q + 1)
    g = rng.permutation(np.repeat(np.arange(m), sizes))
    n = len(g)
    X = np.column_stack([np.ones(n), rng.normal(size=(n, q - 1))])
    rank = q if seed % 2 else int(rng.integers(0, q))
    root = rng.normal(size=(q, rank)) * np.exp(rng.normal(0, 1, (q, 1)))
    effects = rng.normal(size=(m, rank)) @ root.T
    y = X @ rng.normal(size=q) + np.sum(X * effects[g], axis=1) + rng.normal(size=n)
    units = 10.0 ** rng.uniform(-6, 6, q)
    data = {f"x{k}": X[:, k] * units[k] for k in range(1, q)}
    return RandomModel(data | {"y": y * units[0], "g": g}, q)


def trusted_deviance(model, method, n_starts=4):
    """The least deviance that BFGS finds on the dense oracle from several starts.

    Columns are brought to unit scale and the REML deviance back to the units of the data.
    """
    y, X, codes = model.matrices
    scale_y, scale_x = y.std(), np.sqrt((X**2).mean(axis=0))
    deviance = dense_deviance(y / scale_y, X / scale_x, codes, method)
    rng = np.random.default_rng(0)
    n_parameters = model.q * (model.q + 1) // 2
    starts = [0.5 * rng.normal(size=n_parameters) for _ in range(n_starts)]
    best = min(descend(deviance, start) for start in starts)
    n_contrasts = len(y) - (model.q if method == "REML" else 0)
    units = 2 * np.log(scale_x).sum() if method == "REML" else 0.0
    return best + 2 * n_contrasts * np.log(scale_y) + units


def dense_deviance(y, X, codes, method):
    """The profiled deviance by the relative Cholesky factor of G, and its gradient."""
    q = X.shape[1]
    rows, columns = np.tril_indices(q)

    def deviance(theta):
        L = np.zeros((q, q))
        L[rows, columns] = theta
        term = dense.Term(X, L @ L.T, codes)
        value = dense.profiled_deviance(y, X, dense.relative_covariance([term], len(y)), method)
        by_entry = np.zeros((q, q))
        entries = list(combinations_with_replacement(range(q), 2))
        by_entry[tuple(zip(*entries, strict=True))] = dense.gradient(y, X, [term], method)
        # f by G_ab counts the pair (a, b) once; G = L L' moves it by the symmetric part.
        return value, ((by_entry + by_entry.T) @ L)[rows, columns]

    return deviance


def descend(deviance, start):
    options = {"gtol": 1e-9, "maxiter": 2000}
    return minimize(deviance, start, jac=True, method="BFGS", options=options).fun
