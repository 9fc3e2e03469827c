#!/usr/bin/env bash
# Fixed effects that `free=` of MixedLM.fit holds are estimated all the same
#
# statsmodels 0.15.0 (numpy 2.2.6, scipy 1.15.3, pandas 2.3.1)
#
# One expects: a 0 in `free`'s fe_params keeps that coefficient at its start, as the documentation
#   of `fit` says (a 0 is fixed at its starting value) and as a 0 in cov_re does.
# What happens: the fixed effects are profiled out, so the held coefficient ends at its unrestricted
#   estimate, 0.4835 for a start of 0.9, and the log-likelihood is the unrestricted one.
# Why it matters: this is how a likelihood-ratio test or an interval of one coefficient is built by
#   hand; every such test finds no difference.
#
# Output seen:
#   held at 0.9: slope 0.4835, llf -88.6815; free: slope 0.4835, llf -88.6815
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" -q install statsmodels==0.15.0 numpy==2.2.6 scipy==1.15.3 pandas==2.3.1
"$folder/venv/bin/python" -W ignore - <<'PY'
from statsmodels.regression.mixed_linear_model import MixedLMParams

import numpy as np
import pandas as pd
import statsmodels.formula.api as smf

i = np.arange(60)
data = pd.DataFrame({"g": i // 5, "x": 2 * np.sin(1.7 * i + 0.3)})
data["y"] = 1 + 0.5 * data.x + np.sin(2.3 * data.g) + 1.2 * np.sin(11.1 * i**1.3)
model = smf.mixedlm("y ~ x", data, groups="g")
start = MixedLMParams.from_components(np.array([1.0, 0.9]), np.eye(1))
hold = MixedLMParams.from_components(np.array([1.0, 0.0]), np.eye(1))
held = model.fit(start_params=start, free=hold, reml=False)
free = model.fit(reml=False)
print(f"held at 0.9: slope {held.fe_params['x']:.4f}, llf {held.llf:.4f}; "
      f"free: slope {free.fe_params['x']:.4f}, llf {free.llf:.4f}")
moved = abs(held.fe_params["x"] - free.fe_params["x"]) < 1e-3
raise SystemExit(0 if moved and abs(held.llf - free.llf) < 1e-3 else 1)
PY
