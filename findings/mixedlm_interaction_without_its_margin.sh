#!/usr/bin/env bash
# mixedlm drops the reference level's slope when x:f stands without x
#
# mixedlm 1.3.0 beside patsy 1.0.1 (numpy 2.2.6, scipy 1.15.3, pandas 2.3.1)
#
# One expects: `y ~ x:f + (1 | g)` has a slope for each of the three levels of f, as in R and patsy:
#   where x is not in the model, f is coded in full.
# What happens: f is coded by contrasts in every case. There are two slopes; the model says that the
#   slope of the reference level is 0, and which level that is changes the log-likelihood.
# Why it matters: `x:f` is how one asks for the slopes themselves, `f:time` how constrained
#   longitudinal models (a common baseline) are written. All estimates are then of another model.
#
# Output seen:
#   mixedlm: (Intercept), x:f.1, x:f.2
#   patsy: Intercept, x:f[a], x:f[b], x:f[c]
#   log-likelihood with a first -183.1068, with c first -184.4643
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" -q install mixedlm==1.3.0 patsy==1.0.1 numpy==2.2.6 scipy==1.15.3 \
  pandas==2.3.1
"$folder/venv/bin/python" -W ignore - <<'PY'
import mixedlm
import numpy as np
import pandas as pd
from patsy import dmatrix

i = np.arange(120)
data = pd.DataFrame({"g": [f"s{k}" for k in i // 6], "x": 2 * np.sin(1.7 * i + 0.3)})
level = np.array(list("abc"))[(i * 7 + i // 4) % 3]
data["y"] = 1 + 0.5 * data.x + np.sin(2.3 * (i // 6)) + 1.2 * np.sin(11.1 * i**1.3)
llf = {}
for order in ("abc", "cab"):
    data["f"] = pd.Categorical(level, categories=list(order))
    fit = mixedlm.lmer("y ~ x:f + (1 | g)", data)
    llf[order] = float(fit.logLik().value)
    if order == "abc":
        names = list(fit.fixef())
        columns = dmatrix("x:f", data).design_info.column_names
        print("mixedlm:", ", ".join(names))
        print("patsy:", ", ".join(columns))
print("log-likelihood with a first {abc:.4f}, with c first {cab:.4f}".format(**llf))
apart = abs(llf["abc"] - llf["cab"]) > 0.1
raise SystemExit(0 if len(names) == 3 and len(columns) == 4 and apart else 1)
PY
