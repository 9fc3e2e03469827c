#!/usr/bin/env bash
# marginaleffects' standard errors of slopes are noise where predictions are large
#
# marginaleffects 0.6.0 with statsmodels 0.14.5, formulaic 1.2.2, polars 1.44.2, pandas 2.3.1
#
# One expects: the average slope of x in `y ~ x` by least squares is the coefficient, and its standard
#   error that of the coefficient.
# What happens: the slope is a difference of predictions over 1e-4 of the range of x, and its
#   derivatives by the coefficients are forward differences by 1.5e-8 of each coefficient: of the
#   digits of a prediction little is left. With y around 1e3 the error is off by 1 %,
#   with y around 1e6 it is nothing but rounding. No warning; `eps_vcov=` larger is right again.
# Why it matters: responses far from 0 (reaction times in milliseconds, cell counts, weights in grams)
#   are what mixed models are fitted to, and any package that hands its fits to marginaleffects
#   inherits these errors.
#
# Output seen:
#   mean of y 0: 0.999979 of the standard error of the coefficient
#   mean of y 1000: 1.009632 of the standard error of the coefficient
#   mean of y 1000000: 23.766973 of the standard error of the coefficient
#   mean of y 1000000, eps_vcov=1: 1.000000 of the standard error of the coefficient
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" -q install marginaleffects==0.6.0 statsmodels==0.14.5 formulaic==1.2.2 \
  polars==1.44.2 pandas==2.3.1
"$folder/venv/bin/python" -W ignore - <<'PY'
import numpy as np
import pandas as pd
import statsmodels.formula.api as smf
from marginaleffects import avg_slopes

i = np.arange(80)
x = np.sin(1.7 * i) + 2.0
noise = np.cos(2.3 * i**1.2)


def share(mean, **how):
    """The standard error of the average slope over that of the coefficient."""
    fit = smf.ols("y ~ x", pd.DataFrame({"x": x, "y": mean + 0.5 * x + noise})).fit()
    return float(avg_slopes(fit, variables="x", **how)["std_error"][0] / fit.bse["x"])


found = {mean: share(mean) for mean in (0, 1_000, 1_000_000)}
for mean, ratio in found.items():
    print(f"mean of y {mean}: {ratio:.6f} of the standard error of the coefficient")
wide = share(1_000_000, eps_vcov=1.0)
print(f"mean of y 1000000, eps_vcov=1: {wide:.6f} of the standard error of the coefficient")
off = abs(found[1_000_000] - 1.0) > 0.1
raise SystemExit(0 if off and abs(found[0] - 1.0) < 1e-3 and abs(wide - 1.0) < 1e-3 else 1)
PY
