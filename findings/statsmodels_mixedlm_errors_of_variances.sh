#!/usr/bin/env bash
# The standard errors that MixedLM prints beside variances are not in units of a variance.
#
# Library: statsmodels 0.15.0 (numpy 2.4.6, scipy 1.17.1, pandas 3.1.1); 0.14.6 alike.
#
# One expects: with a response in millimetres instead of centimetres every variance is 100 times as
# large, and its standard error too.
#
# What happens: the variances are 100 times as large and their standard errors 10 times. `summary()`
# and `bse_re` give the standard error of the ratio of a variance to the residual variance, times
# the residual standard deviation. For lme4's sleepstudy with random slopes, in milliseconds, the
# table has a variance of 612.1 with 11.9 beside it, where the inverse information gives 288.8.
#
# Why it matters: the table is read as estimate and standard error, and an ICC or a variance
# component is reported with it. In small units the error is too small, in large units too large.
#
# Output seen:
#   y: variance 3.4343, bse_re 0.5178, summary 3.434 +- 0.518
#   10 y: variance 343.4323, bse_re 5.1782, summary 343.432 +- 5.178
#   ratio of variances 100.0, of their standard errors 10.0
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" -q install statsmodels==0.15.0 numpy==2.4.6 scipy==1.17.1 pandas==3.1.1
"$folder/venv/bin/python" -W ignore - <<'PY'
import numpy as np
import pandas as pd
import statsmodels.formula.api as smf

rng = np.random.default_rng(1)
group = np.repeat(np.arange(18), 10)
x = np.tile(np.arange(10.0), 18)
y = 25.0 + x + rng.normal(0.0, 3.7, 18)[group] + rng.normal(0.0, 3.1, 180)
found = {}
for name, factor in (("y", 1.0), ("10 y", 10.0)):
    data = pd.DataFrame({"y": factor * y, "x": x, "g": group})
    fit = smf.mixedlm("y ~ x", data, groups="g").fit()
    printed = fit.summary().tables[1].loc["g Var"]
    found[name] = float(fit.cov_re.iloc[0, 0]), float(fit.bse_re.iloc[0])
    print(f"{name}: variance {found[name][0]:.4f}, bse_re {found[name][1]:.4f}, summary "
          f"{printed['Coef.']} +- {printed['Std.Err.']}")
variances, errors = (found["10 y"][k] / found["y"][k] for k in (0, 1))
print(f"ratio of variances {variances:.1f}, of their standard errors {errors:.1f}")
assert abs(variances - 100.0) < 0.1
assert abs(errors - 10.0) < 0.1, "the standard errors have the units of a variance now"
PY
