#!/usr/bin/env bash
# Autoregressive of statsmodels' GEE takes rows for neighbours, whatever the times given
#
# statsmodels 0.15.0 (numpy 2.4.6, scipy 1.17.1, pandas 3.1.1)
#
# One expects: with `time=` the correlation of two rows of a cluster is `dep_params` to the power of their
#   distance in time, as the documentation of Autoregressive says, and rows may stand in any order.
# What happens: with `grid=False` the parameter is estimated by distances in time; the estimating equations
#   are then solved with powers of the difference of row numbers within the cluster. Weeks 3 and 24 are one
#   step apart, and a frame in another order gives other coefficients. No message.
# Why it matters: visits at weeks 1, 2, 3, 12 and 24 are the usual schedule. Here the standard error of a
#   slope is 0.038 where the documented correlations give 0.023 (a dense solution in NumPy, which with powers
#   of row numbers agrees with statsmodels).
#
# Output seen:
#   statsmodels:              dep_params 0.9148, x 0.5168, standard error 0.0383
#   its rows in other order:  dep_params 0.9152, x 0.4585, standard error 0.0595
#   dense, powers of rows:    dep_params 0.9148, x 0.5168, standard error 0.0383
#   dense, powers of weeks:   dep_params 0.9148, x 0.5468, standard error 0.0233
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" -q install statsmodels==0.15.0 numpy==2.4.6 scipy==1.17.1 pandas==3.1.1
"$folder/venv/bin/python" -W error - <<'PY'
import numpy as np
import pandas as pd
import statsmodels.api as sm

rng = np.random.default_rng(2)
weeks = np.array([1, 2, 3, 12, 24])
chain = np.linalg.cholesky(0.9 ** np.abs(np.subtract.outer(weeks, weeks)))
data = pd.DataFrame({"id": np.repeat(np.arange(60), 5), "week": np.tile(weeks, 60)})
data["x"] = rng.normal(size=300)
data["y"] = 0.5 * data["x"] + (rng.normal(size=(60, 5)) @ chain.T).ravel()


def told(label, dependence, slope, error):
    print(f"{label:<25} dep_params {dependence:.4f}, x {slope:.4f}, standard error {error:.4f}")
    return dependence, slope, error


def by_statsmodels(label, frame):
    fit = sm.GEE.from_formula(
        "y ~ x",
        "id",
        frame,
        time=frame["week"].to_numpy(),
        cov_struct=sm.cov_struct.Autoregressive(grid=False),
    ).fit()
    return told(label, fit.cov_struct.dep_params, fit.params["x"], fit.bse["x"])


def dense(label, dependence, place):
    parts = []
    for _, rows in data.groupby("id"):
        distance = np.abs(np.subtract.outer(place(rows), place(rows)))
        X = np.column_stack([np.ones(len(rows)), rows["x"]])
        parts.append((X, np.linalg.solve(dependence**distance, X), rows["y"].to_numpy()))
    bread = np.linalg.inv(sum(X.T @ W for X, W, _ in parts))
    beta = bread @ sum(W.T @ y for _, W, y in parts)
    scores = np.array([W.T @ (y - X @ beta) for X, W, y in parts])
    return told(label, dependence, beta[1], np.sqrt((bread @ scores.T @ scores @ bread)[1, 1]))


fitted = by_statsmodels("statsmodels:", data)
other = by_statsmodels("its rows in other order:", data.sample(frac=1, random_state=2))
by_rows = dense("dense, powers of rows:", fitted[0], lambda rows: np.arange(len(rows)))
by_weeks = dense("dense, powers of weeks:", fitted[0], lambda rows: rows["week"].to_numpy())
assert np.allclose(fitted, by_rows, rtol=1e-4), "rows are not what counts any more"
assert fitted[2] > 1.2 * by_weeks[2]
assert abs(other[1] - fitted[1]) > 0.01
PY
