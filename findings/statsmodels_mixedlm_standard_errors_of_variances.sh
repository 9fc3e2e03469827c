#!/usr/bin/env bash
# The standard error that MixedLM prints beside a variance is in another unit than the variance
#
# statsmodels 0.15.0 (numpy 2.2.6, scipy 1.15.3, pandas 2.3.1)
#
# One expects: in `summary()`, and by `cov_re` and `bse_re`, a variance stands beside its standard
#   error, in the same squared units: their ratio does not depend on the unit of y.
# What happens: the standard error is that of the ratio to the residual variance, times the residual
#   standard deviation. With y in grams instead of kilograms the variance is 10^6 times as large and
#   the number beside it 10^3 times: their ratio, 1.58, becomes 1583.
# Why it matters: it is read, and copied into papers and Wald intervals, as the variance's standard
#   error. Those of fixed effects are not affected.
#
# Output seen:
#   y: variance 0.8551, beside it 0.5403, ratio 1.583
#   1000 y: variance 855078, beside it 540.283, ratio 1582.650
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" -q install statsmodels==0.15.0 numpy==2.2.6 scipy==1.15.3 pandas==2.3.1
"$folder/venv/bin/python" -W ignore - <<'PY'
import numpy as np
import pandas as pd
import statsmodels.formula.api as smf

i = np.arange(60)
data = pd.DataFrame({"g": i // 5, "x": 2 * np.sin(1.7 * i + 0.3)})
data["y"] = 1 + 0.5 * data.x + np.sin(2.3 * data.g) + 1.2 * np.sin(11.1 * i**1.3)
ratios = []
for factor, digits in ((1, "{:.4f}, beside it {:.4f}"), (1000, "{:.0f}, beside it {:.3f}")):
    fit = smf.mixedlm("y ~ x", data.assign(y=factor * data.y), groups="g").fit()
    variance, error = fit.cov_re.iloc[0, 0], fit.bse_re.iloc[0]
    ratios.append(variance / error)
    name = "y" if factor == 1 else f"{factor} y"
    print(f"{name}: variance {digits.format(variance, error)}, ratio {ratios[-1]:.3f}")
raise SystemExit(0 if abs(ratios[1] / ratios[0] / 1000 - 1) < 1e-3 else 1)
PY
