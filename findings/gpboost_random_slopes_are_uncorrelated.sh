#!/usr/bin/env bash
# A random slope of gpboost has no covariance with the intercept
#
# Library: gpboost 1.8.0 (numpy 2.4.6, scipy 1.17.1).
#
# One expects: group_data with group_rand_coef_data to be the model (x | g) of a mixed model: a variance of the
# intercepts, one of the slopes and their covariance, which does not depend on where x has its zero.
#
# What happens: both are independent, the model (x || g). The likelihood and all variances move with the
# origin of x; nothing printed names the covariance that is held at 0.
#
# Why it matters: intercepts and slopes are correlated at all origins of x but one (near 1 here). With x
# about its mean, as one is told to have it, the likelihood lies 33 below that of (x | g), and the slopes' variance moves.
# (The variance of the intercepts is not compared: at origins where it is small gpboost ends beside the maximum.)
#
# Output seen:
#   origin 1: gpboost                  slopes 0.59, residual 1.04
#             uncorrelated, dense      slopes 0.59, residual 1.03, -log-likelihood 796.19
#             correlated, dense        slopes 0.63, residual 1.02, -log-likelihood 795.98
#   origin 3: gpboost                  slopes 0.65, residual 1.03
#             uncorrelated, dense      slopes 0.65, residual 1.03, -log-likelihood 829.12
#             correlated, dense        slopes 0.63, residual 1.02, -log-likelihood 795.98
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" -q install gpboost==1.8.0 numpy==2.4.6 scipy==1.17.1
"$folder/venv/bin/python" -W ignore - <<'PY' | grep -v "\[GPBoost\]"
import gpboost as gpb
import numpy as np
from scipy.optimize import minimize

rng = np.random.default_rng(3)
n, k = 60, 8
g = np.repeat(np.arange(n), k)
x = rng.normal(size=n * k) + 3.0
effects = rng.multivariate_normal([0.0, 0.0], [[1.0, -0.5], [-0.5, 0.5]], size=n)
y = 1.0 + 0.5 * x + effects[g, 0] + effects[g, 1] * x + rng.normal(size=n * k)


def by_gpboost(x):
    groups = {"group_data": g, "group_rand_coef_data": x, "ind_effect_group_rand_coef": [1]}
    model = gpb.GPModel(likelihood="gaussian", **groups)
    model.fit(y=y, X=np.column_stack([np.ones(n * k), x]))
    residual, intercept, slope = np.asarray(model.get_cov_pars(std_err=False)).ravel()
    return np.array([intercept, slope, residual])


def dense(x, correlated):
    """Maximum likelihood: -log-likelihood; variances of intercept, slope and residual."""
    units = np.column_stack([np.ones(n * k), x]).reshape(n, k, 2)
    own = y.reshape(n, k)

    def covariance(t):
        root = np.array([[np.exp(t[0]), 0.0], [t[3] if correlated else 0.0, np.exp(t[1])]])
        return root @ root.T

    def minus_log_likelihood(t):
        V = units @ covariance(t) @ units.transpose(0, 2, 1) + np.exp(2 * t[2]) * np.eye(k)
        W = np.linalg.inv(V)
        moved = units.transpose(0, 2, 1) @ W
        beta = np.linalg.solve((moved @ units).sum(0), np.einsum("gij,gj->i", moved, own))
        rest = own - units @ beta
        squares = np.einsum("gi,gij,gj->", rest, W, rest)
        return (n * k * np.log(2 * np.pi) + np.linalg.slogdet(V)[1].sum() + squares) / 2

    best = minimize(minus_log_likelihood, np.zeros(4 if correlated else 3), tol=1e-10)
    return best.fun, np.append(np.diag(covariance(best.x)), np.exp(2 * best.x[2]))


def told(label, variances, value=None):
    rest = "" if value is None else f", -log-likelihood {value:.2f}"
    print(f"{label:34} slopes {variances[1]:.2f}, residual {variances[2]:.2f}{rest}")


found, apart, joined = {}, {}, {}
for origin in (1.0, 3.0):
    found[origin] = by_gpboost(x - origin)
    apart[origin] = dense(x - origin, False)
    joined[origin] = dense(x - origin, True)
    told(f"origin {origin:.0f}: gpboost", found[origin])
    told("          uncorrelated, dense", apart[origin][1], apart[origin][0])
    told("          correlated, dense", joined[origin][1], joined[origin][0])
same = all(np.allclose(found[o][1:], apart[o][1][1:], rtol=0.03) for o in found)
moves = found[3.0][1] > 1.05 * found[1.0][1] and apart[3.0][0] - joined[3.0][0] > 20
fixed = abs(joined[1.0][0] - joined[3.0][0]) < 1e-3
raise SystemExit(0 if same and moves and fixed else 1)
PY
