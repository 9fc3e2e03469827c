#!/usr/bin/env bash
# A formula of linearmodels has no intercept unless it says 1
#
# linearmodels 7.1, statsmodels 0.15.0 (formulaic 1.2.2, numpy 2.4.6, scipy 1.17.1, pandas 3.1.1)
#
# One expects: `y ~ x` has an intercept, as in R, statsmodels, patsy and formulaic, which linearmodels
#   parses its formulas with.
# What happens: the intercept is taken out before formulaic is called; only `1 + x` has one. With a factor
#   that brings the means of its levels back, with covariates alone the line goes through the origin. The
#   docstring says so; the fit does not, except that "Intercept" is missing from the table.
# Why it matters: a random-effects fit translated from lme4 or Stata has another slope, here 1.40 instead of
#   0.44, and an R2 that is not about the mean.
#
# Output seen:
#   mixedlm,       y ~ x:     Intercept 4.984, x 0.442 (0.070)
#   RandomEffects, y ~ 1 + x: Intercept 4.984, x 0.443 (0.070)
#   RandomEffects, y ~ x:     x 1.401 (0.072)
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" -q install linearmodels==7.1 statsmodels==0.15.0 formulaic==1.2.2 numpy==2.4.6 \
  scipy==1.17.1 pandas==3.1.1
"$folder/venv/bin/python" -W ignore - <<'PY'
import numpy as np
import pandas as pd
import statsmodels.formula.api as smf
from linearmodels.panel import RandomEffects

rng = np.random.default_rng(1)
entity = np.repeat(np.arange(30), 8)
data = pd.DataFrame({"entity": entity, "time": np.tile(np.arange(8), 30)})
data["x"] = rng.normal(size=240) + 3
data["y"] = 5 + data["x"] / 2 + rng.normal(size=30)[entity] + rng.normal(size=240)
panel = data.set_index(["entity", "time"])


def shown(label, params, error):
    listing = ", ".join(f"{name} {value:.3f}" for name, value in params.items())
    print(f"{label:<25} {listing} ({error:.3f})")
    return params


mixed = smf.mixedlm("y ~ x", data, groups="entity").fit()
usual = shown("mixedlm,       y ~ x:", mixed.fe_params, mixed.bse["x"])
fits = [RandomEffects.from_formula(f"y ~ {right}", panel).fit() for right in ("1 + x", "x")]
one, none = (
    shown(f"RandomEffects, y ~ {right}:", fit.params, fit.std_errors["x"])
    for right, fit in zip(("1 + x", "x"), fits, strict=True)
)
assert abs(one["x"] - usual["x"]) < 0.01
assert list(none.index) == ["x"], "the intercept is implied now"
assert abs(none["x"] - one["x"]) > 0.3
PY
