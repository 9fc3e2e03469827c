#!/usr/bin/env bash
# predict(frame) of linearmodels multiplies columns by coefficients by position, the response included
#
# linearmodels 7.1 (statsmodels 0.15.0, numpy 2.4.6, scipy 1.17.1, pandas 3.1.1)
#
# One expects: `RandomEffects.from_formula("y ~ 1 + x", data).fit().predict(data)` evaluates the formula, as
#   statsmodels' `predict(data)` does, or refuses columns that are not the model's.
# What happens: the first argument is `exog`, whose columns meet the coefficients in their order, by
#   whatever name. A frame with as many columns as there are coefficients, here x and y, gives x times
#   the intercept plus y times the slope. Of a fit by matrices the columns in another order give wrong
#   predictions too. `predict(data=data)` is right.
# Why it matters: predictions that use the response look good: they correlate 0.87 with it, the right
#   ones 0.19.
#
# Output seen:
#   fitted:                0.735  0.946  0.728  0.004
#   predict(data=data):    0.735  0.946  0.728  0.004
#   predict(data):         0.529  1.337 -0.296  0.856
#   x, y by coefficients:  0.529  1.337 -0.296  0.856
#   matrix, other order:   0.645  0.922  0.636 -0.315
#   correlation with y: fitted 0.19, predict(data) 0.87
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" -q install linearmodels==7.1 statsmodels==0.15.0 numpy==2.4.6 scipy==1.17.1 \
  pandas==3.1.1
"$folder/venv/bin/python" -W ignore - <<'PY'
import numpy as np
import pandas as pd
from linearmodels.panel import RandomEffects

rng = np.random.default_rng(1)
entity = np.repeat(np.arange(30), 8)
data = pd.DataFrame({"entity": entity, "time": np.tile(np.arange(8), 30)})
data["x"] = rng.normal(size=240)
data["y"] = 1 + data["x"] / 2 + rng.normal(size=30)[entity] * 2 + rng.normal(size=240)
data = data.set_index(["entity", "time"])
fit = RandomEffects.from_formula("y ~ 1 + x", data).fit()
one, slope = fit.params["Intercept"], fit.params["x"]
exog = pd.DataFrame({"one": 1.0, "x": data["x"]})
by_matrix = RandomEffects(data["y"], exog).fit()
found = {
    "fitted:": fit.fitted_values,
    "predict(data=data):": fit.predict(data=data),
    "predict(data):": fit.predict(data),
    "x, y by coefficients:": data["x"] * one + data["y"] * slope,
    "matrix, other order:": by_matrix.predict(exog[["x", "one"]]),
}
found = {name: np.ravel(values) for name, values in found.items()}
for name, values in found.items():
    print(f"{name:<21}", " ".join(f"{value:6.3f}" for value in values[:4]))
fitted, by_name, by_place, product, turned = found.values()
right, wrong = (np.corrcoef(data["y"], values)[0, 1] for values in (fitted, by_place))
print(f"correlation with y: fitted {right:.2f}, predict(data) {wrong:.2f}")
assert np.allclose(fitted, by_name)
assert np.allclose(by_place, product), "columns go by their names now"
assert np.abs(turned - fitted).max() > 0.1
PY
