"""The oracle: a linear mixed model from its dense n x n covariance, formula by formula.

    y = X beta + sum_t Z_t g_t + e,    cov(g_t) = G_t within a level of factor t,    cov(e) = R

    V = sum_t Z_t G_t Z_t' + R

Nothing is clever here: V is formed and factored whole, so keep n in the hundreds.
"""

from dataclasses import dataclass
from itertools import combinations_with_replacement

import numpy as np
from scipy.linalg import block_diag, cho_factor, cho_solve


@dataclass(frozen=True)
class Term:
    """A random term: `Z` (n x q), `G` (q x q) of one level, `codes` (n) the level of each row."""

    Z: np.ndarray
    G: np.ndarray
    codes: np.ndarray

    @property
    def same_level(self):
        return self.codes[:, None] == self.codes[None, :]

    @property
    def covariance(self):
        """Z G Z' between rows of one level, 0 between levels."""
        return np.where(self.same_level, self.Z @ self.G @ self.Z.T, 0.0)

    def with_covariance(self, G):
        return Term(self.Z, np.asarray(G, dtype=float), self.codes)


def stack(terms):
    """Several uncorrelated terms on one factor as one term with a block-diagonal G."""
    Z = np.hstack([term.Z for term in terms])
    return Term(Z, block_diag(*[term.G for term in terms]), terms[0].codes)


def residual_covariance(sigma2, n, weights=None):
    """R = sigma^2 diag(1 / w)."""
    return np.diag(sigma2 / (np.ones(n) if weights is None else np.asarray(weights, dtype=float)))


def marginal_covariance(terms, R):
    """V = sum_t Z_t G_t Z_t' + R."""
    return sum((term.covariance for term in terms), start=R)


def inverse(V):
    return cho_solve(cho_factor(V, lower=True), np.eye(len(V)))


def log_determinant(V):
    return 2.0 * np.log(np.diag(np.linalg.cholesky(V))).sum()


def gls(y, X, V):
    """beta = (X'V^-1 X)^-1 X'V^-1 y and its covariance (X'V^-1 X)^-1."""
    factor = cho_factor(V, lower=True)
    vcov = inverse(X.T @ cho_solve(factor, X))
    return vcov @ (X.T @ cho_solve(factor, y)), vcov


def log_likelihood(y, X, V, method):
    """ML: -1/2 [n log 2pi + log|V| + r'V^-1 r]; REML: n - p for n, and + log|X'V^-1 X|."""
    n, p = X.shape
    beta, vcov = gls(y, X, V)
    r = y - X @ beta
    quadratic = r @ cho_solve(cho_factor(V, lower=True), r)
    if method == "ML":
        return -0.5 * (n * np.log(2 * np.pi) + log_determinant(V) + quadratic)
    log_det_information = -log_determinant(vcov)
    constant = (n - p) * np.log(2 * np.pi)
    return -0.5 * (constant + log_determinant(V) + log_det_information + quadratic)


def blups(term, y, X, V):
    """G Z_l'V^-1 (y - X beta) by level l; shape (levels, q)."""
    beta, _ = gls(y, X, V)
    u = cho_solve(cho_factor(V, lower=True), y - X @ beta)
    return np.array([term.G @ Z.T @ u for Z in level_rows(term)])


def conditional_covariances(term, V):
    """G - G Z_l'V^-1 Z_l G by level l, beta held fixed; shape (levels, q, q)."""
    factor = cho_factor(V, lower=True)
    return np.array(
        [term.G - term.G @ Z.T @ cho_solve(factor, Z) @ term.G for Z in level_rows(term)]
    )


def level_rows(term):
    """Z with the rows of other levels set to 0, for each level in turn."""
    return [
        np.where((term.codes == level)[:, None], term.Z, 0.0) for level in np.unique(term.codes)
    ]


def marginal_fitted(y, X, V):
    """X beta."""
    return X @ gls(y, X, V)[0]


def conditional_fitted(y, X, V, R):
    """X beta + sum_t Z_t g_t = y - R V^-1 (y - X beta)."""
    r = y - marginal_fitted(y, X, V)
    return y - R @ cho_solve(cho_factor(V, lower=True), r)


def scaled_residuals(y, X, V):
    """L^-1 (y - X beta) with V = L L'."""
    return np.linalg.solve(np.linalg.cholesky(V), y - marginal_fitted(y, X, V))


def relative_covariance(terms, n, weights=None):
    """W = sum_t Z_t G_t Z_t' + diag(1 / w), with G relative to sigma^2."""
    return marginal_covariance(terms, residual_covariance(1.0, n, weights))


def profiled_deviance(y, X, W, method):
    """-2 log-likelihood with beta and sigma^2 at their optimum for V = sigma^2 W."""
    n, p = X.shape
    beta, vcov = gls(y, X, W)
    nu = n if method == "ML" else n - p
    rss = y @ cho_solve(cho_factor(W, lower=True), y - X @ beta)
    restriction = 0.0 if method == "ML" else -log_determinant(vcov)
    return log_determinant(W) + restriction + nu * (1 + np.log(2 * np.pi * rss / nu))


def covariance_entries(terms):
    """(term, row, column) of each distinct entry of the matrices G."""
    return [
        (t, a, b)
        for t, term in enumerate(terms)
        for a, b in combinations_with_replacement(range(len(term.G)), 2)
    ]


def covariance_derivatives(terms):
    """dW/dG_ab = (z_a z_b' + z_b z_a') within levels, half of that on the diagonal."""
    derivatives = []
    for t, a, b in covariance_entries(terms):
        term = terms[t]
        outer = np.outer(term.Z[:, a], term.Z[:, b])
        full = outer if a == b else outer + outer.T
        derivatives.append(np.where(term.same_level, full, 0.0))
    return derivatives


def gradient_hessian(y, X, terms, method, weights=None):
    """First and second derivatives of the profiled deviance by the entries of the relative G.

    With P = W^-1 - W^-1 X (X'W^-1 X)^-1 X'W^-1, rss = y'P y, W_k = dW/dphi_k, q_k = y'P W_k P y:

        f_k  = tr(P W_k) - nu q_k / rss
        f_kl = -tr(P W_k P W_l) + nu (2 y'P W_k P W_l P y / rss - q_k q_l / rss^2)

    and W^-1 for P in the traces under ML.
    """
    P, Q, nu = projections(X, terms, method, weights)
    Py, rss = P @ y, y @ P @ y
    W_k = covariance_derivatives(terms)
    q = np.array([Py @ D @ Py for D in W_k])
    trace2 = np.array([[np.sum((Q @ D) * (Q @ E).T) for E in W_k] for D in W_k])
    q2 = np.array([[Py @ D @ P @ E @ Py for E in W_k] for D in W_k])
    hessian = -trace2 + nu * (2 * q2 / rss - np.outer(q, q) / rss**2)
    return gradient(y, X, terms, method, weights), hessian


def gradient(y, X, terms, method, weights=None):
    """f_k = tr(P W_k) - nu y'P W_k P y / rss; see `gradient_hessian`."""
    P, Q, nu = projections(X, terms, method, weights)
    Py = P @ y
    return np.array(
        [np.sum(Q * D) - nu * (Py @ D @ Py) / (y @ Py) for D in covariance_derivatives(terms)]
    )


def projections(X, terms, method, weights=None):
    """P, the matrix of the traces (P for REML, W^-1 for ML), and nu."""
    n, p = X.shape
    W_inv = inverse(relative_covariance(terms, n, weights))
    P = W_inv - W_inv @ X @ inverse(X.T @ W_inv @ X) @ X.T @ W_inv
    return (P, W_inv, n) if method == "ML" else (P, P, n - p)


def with_entries(terms, phi):
    """The terms with their matrices G filled from `phi`, in the order of `covariance_entries`."""
    matrices = [np.zeros_like(term.G, dtype=float) for term in terms]
    for (t, a, b), value in zip(covariance_entries(terms), phi, strict=True):
        matrices[t][a, b] = matrices[t][b, a] = value
    return [term.with_covariance(G) for term, G in zip(terms, matrices, strict=True)]


def entries(terms):
    """The distinct entries of the matrices G, in the order of `covariance_entries`."""
    return np.array([terms[t].G[a, b] for t, a, b in covariance_entries(terms)])


def deviance_at(phi, y, X, terms, method, weights=None):
    """The profiled deviance as a function of the entries of the relative G."""
    W = relative_covariance(with_entries(terms, phi), len(y), weights)
    return profiled_deviance(y, X, W, method)


def finite_difference(function, x, step):
    """Central differences of a scalar or vector function; the last axis runs over x."""
    columns = []
    for k, h in enumerate(step * np.maximum(1.0, np.abs(x))):
        e = np.zeros_like(x)
        e[k] = h
        columns.append((function(x + e) - function(x - e)) / (2 * h))
    return np.stack(columns, axis=-1)
