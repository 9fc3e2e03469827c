#!/usr/bin/env bash
# statsmodels' mixedlm takes subset= and fits all rows
#
# statsmodels 0.15.0 (numpy 2.2.6, scipy 1.15.3, pandas 2.3.1)
#
# One expects: `mixedlm(formula, data, groups="g", subset=data.x > 0)` fits those rows, as the
#   argument's documentation says and as `ols` with the same argument does.
# What happens: the argument is read and has no effect: 60 of 60 rows are fitted, without a word.
# Why it matters: an analysis of a subgroup is the analysis of everybody.
#
# Output seen:
#   ols: 32 rows with subset
#   mixedlm: 60 rows with subset, slope 0.4819; those rows given alone: 32 rows, slope 0.5694
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
some = data.x > 0
print(f"ols: {int(smf.ols('y ~ x', data, subset=some).fit().nobs)} rows with subset")
asked = smf.mixedlm("y ~ x", data, groups="g", subset=some).fit()
alone = smf.mixedlm("y ~ x", data[some], groups="g").fit()
print(f"mixedlm: {int(asked.nobs)} rows with subset, slope {asked.fe_params['x']:.4f}; those rows "
      f"given alone: {int(alone.nobs)} rows, slope {alone.fe_params['x']:.4f}")
raise SystemExit(0 if asked.nobs == 60 and alone.nobs == 32 else 1)
PY
