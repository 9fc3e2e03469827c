#!/usr/bin/env bash
# predict() of a MixedLM fit is not its fittedvalues: the random effects are in one and not in the other
#
# statsmodels 0.15.0 (numpy 2.4.6, scipy 1.17.1, pandas 3.1.1); 0.14.6 alike
#
# One expects: `fit.predict()`, the in-sample prediction, is `fit.fittedvalues`, and `fit.predict(data)` of
#   the same rows too, as of ols, glm and gee, and as lmer and lme have it.
# What happens: `fittedvalues` and `resid` are given the random effects, `predict` is of the fixed part
#   alone, also for groups that were fitted, and takes no argument that would add them. Its docstring,
#   that of all models, does not say so.
# Why it matters: predictions for known subjects have squared errors of 6.0 where the model has 0.8, and
#   residuals y - predict() are not `resid`.
#
# Output seen:
#   ols:     largest difference of predict() and fittedvalues 0.0000
#   mixedlm: largest difference of predict() and fittedvalues 5.6913
#   mean squared error: fittedvalues 0.80, predict() 6.05
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" -q install statsmodels==0.15.0 numpy==2.4.6 scipy==1.17.1 pandas==3.1.1
"$folder/venv/bin/python" -W ignore - <<'PY'
import numpy as np
import pandas as pd
import statsmodels.formula.api as smf

rng = np.random.default_rng(4)
data = pd.DataFrame({"x": rng.normal(size=120), "g": np.repeat(np.arange(20), 6)})
data["y"] = data["x"] + 2 * rng.normal(size=20)[data["g"]] + rng.normal(size=120)
fits = {
    "ols:": smf.ols("y ~ x", data).fit(),
    "mixedlm:": smf.mixedlm("y ~ x", data, groups="g").fit(),
}
apart = {
    name: float(np.abs(np.asarray(fit.predict()) - np.asarray(fit.fittedvalues)).max())
    for name, fit in fits.items()
}
for name, difference in apart.items():
    print(f"{name:<8} largest difference of predict() and fittedvalues {difference:.4f}")
mixed = fits["mixedlm:"]
errors = [float(np.mean((data["y"] - values) ** 2)) for values in (mixed.fittedvalues, mixed.predict())]
print(f"mean squared error: fittedvalues {errors[0]:.2f}, predict() {errors[1]:.2f}")
assert apart["ols:"] < 1e-10
assert apart["mixedlm:"] > 1, "predict has the random effects now"
assert np.allclose(mixed.predict(), mixed.predict(data))
PY
