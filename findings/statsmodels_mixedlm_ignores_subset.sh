#!/usr/bin/env bash
# mixedlm takes subset= and fits all rows.
#
# Library: statsmodels 0.15.0 (numpy 2.4.6, scipy 1.17.1, pandas 3.1.1); 0.14.6 alike.
#
# One expects: `mixedlm(formula, data, groups=..., subset=rows)` fits those rows, as its docstring
# says and as `ols` and the other formula functions do.
#
# What happens: the argument is set to None on the way. No warning; the fit is that of all rows.
#
# Why it matters: an analysis "without the outliers" or "of the women" is silently the one of
# everybody, with too small standard errors.
#
# Output seen:
#   ols: 50 rows; mixedlm: 105 rows
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" -q install statsmodels==0.15.0 numpy==2.4.6 scipy==1.17.1 pandas==3.1.1
"$folder/venv/bin/python" -W ignore - <<'PY'
import numpy as np
import pandas as pd
import statsmodels.formula.api as smf

rng = np.random.default_rng(3)
data = pd.DataFrame({"x": rng.normal(size=105), "g": np.repeat(np.arange(15), 7)})
data["y"] = data["x"] + rng.normal(size=15)[data["g"]] + rng.normal(size=105)
chosen = data["x"] > 0
one = smf.ols("y ~ x", data, subset=chosen).fit().nobs
other = smf.mixedlm("y ~ x", data, groups=data["g"], subset=chosen).fit().nobs
print(f"ols: {one:.0f} rows; mixedlm: {other} rows")
assert one == chosen.sum()
assert other == len(data), "mixedlm honours subset= now"
PY
