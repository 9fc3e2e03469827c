#!/usr/bin/env bash
# MERF takes the residual variance from the rows its forest was grown on, and finds a sixth of it
#
# merf 1.0 (scikit-learn 1.9.1, numpy 2.4.6, pandas 3.1.1)
#
# One expects: the residual variance of a mixed-effects forest is that about the forest's predictions of rows
#   that it has not seen: Hajjem, Bellavance and Larocque (2014) take its out-of-bag predictions for that.
# What happens: each step of the EM predicts the training rows by the forest that they were grown into. Such
#   predictions follow the noise, and the last of `sigma2_hat_history` is far too small, so that random
#   effects are shrunk too little. No message, and no argument for it.
# Why it matters: the two variances are what the model adds to a forest: the share between clusters is
#   reported from them. Of rows with both variances 1 the share is 0.85 instead of 0.5; a linear regression
#   in place of the forest, in the same class, has 0.47.
#
# Output seen:
#   random forest:     residual variance 0.16, of clusters 0.94, share 0.85
#   linear regression: residual variance 1.00, of clusters 0.89, share 0.47
#   about out-of-bag predictions of the same forest: 1.04; simulated: both 1.00
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" -q install merf==1.0 scikit-learn==1.9.1 numpy==2.4.6 pandas==3.1.1
"$folder/venv/bin/python" -W ignore - <<'PY'
import logging

import numpy as np
import pandas as pd
from merf import MERF
from sklearn.ensemble import RandomForestRegressor
from sklearn.linear_model import LinearRegression

logging.disable(logging.INFO)
rng = np.random.default_rng(1)
clusters = np.repeat(np.arange(60), 8)
X = rng.normal(size=(480, 3))
level = rng.normal(size=60)
y = X[:, 0] + level[clusters] + rng.normal(size=480)


def variances(label, regression):
    fit = MERF(regression, max_iterations=20)
    fit.fit(pd.DataFrame(X, columns=list("abc")), np.ones((480, 1)), pd.Series(clusters), y)
    within, between = float(fit.sigma2_hat_history[-1]), float(np.squeeze(fit.D_hat_history[-1]))
    share = between / (between + within)
    print(f"{label:<18} residual variance {within:.2f}, of clusters {between:.2f}, share {share:.2f}")
    return fit, within


forest = RandomForestRegressor(n_estimators=100, n_jobs=1, random_state=1, oob_score=True)
fit, within = variances("random forest:", forest)
_, linear = variances("linear regression:", LinearRegression())
effects = fit.trained_b.loc[clusters, 0].to_numpy()
unseen = np.mean((y - effects - fit.trained_fe_model.oob_prediction_) ** 2)
print(f"about out-of-bag predictions of the same forest: {unseen:.2f}; simulated: both 1.00")
assert within < 0.3, "the residual variance is not of the training rows any more"
assert abs(linear - 1) < 0.15
assert unseen > 0.9
PY
