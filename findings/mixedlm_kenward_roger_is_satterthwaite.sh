#!/usr/bin/env bash
# mixedlm's Kenward-Roger degrees of freedom are Satterthwaite's under another name
#
# mixedlm 1.3.0 (numpy 2.2.6, scipy 1.15.3, pandas 2.3.1)
#
# One expects: `ddf_method="Kenward-Roger"` enlarges the standard errors and changes the degrees of
#   freedom of a small unbalanced design; its documentation speaks of an adjusted covariance matrix.
# What happens: F, degrees of freedom and p values equal those of "Satterthwaite" to the last bit;
#   only the heading of the table changes. R's lmerTest with pbkrtest gives the slope here
#   F 5.975 on 6.924 degrees of freedom.
# Why it matters: who asks for Kenward-Roger asks for it because the sample is small, and reports it.
#
# Output seen:
#   Satterthwaite: F 6.027 on 6.975 degrees of freedom, p 0.04391
#   Kenward-Roger: F 6.027 on 6.975 degrees of freedom, p 0.04391
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" -q install mixedlm==1.3.0 numpy==2.2.6 scipy==1.15.3 pandas==2.3.1
"$folder/venv/bin/python" -W ignore - <<'PY'
import mixedlm
import numpy as np
import pandas as pd

i = np.arange(44)
g = np.searchsorted(np.array([4, 7, 13, 16, 24, 28, 33, 44]), i, side="right")
x = 2 * np.sin(1.7 * i + 0.3)
y = 1 + 0.5 * x + np.sin(2.3 * g) + 0.6 * np.cos(4.1 * g) * x + 0.8 * np.sin(11.1 * i**1.3)
fit = mixedlm.lmer("y ~ x + (x | g)", pd.DataFrame({"y": y, "x": x, "g": [f"s{k}" for k in g]}))
rows = {}
for method in ("Satterthwaite", "Kenward-Roger"):
    table = mixedlm.anova_type3(fit, method)
    rows[method] = (table.f_value[0], table.den_df[0], table.p_value[0])
    print("{}: F {:.3f} on {:.3f} degrees of freedom, p {:.5f}".format(method, *rows[method]))
raise SystemExit(0 if rows["Satterthwaite"] == rows["Kenward-Roger"] else 1)
PY
