#!/usr/bin/env bash
# formulae (Bambi's formulas) drops the reference level's slope of x:f among random effects
#
# formulae 0.9.0 (numpy 2.4.6, pandas 2.3.3)
#
# One expects: where x does not stand by itself, `x:f` has a slope for each level of f, in random
#   effects as in fixed ones; lme4 reads `(x:f | id)` so.
# What happens: among the fixed effects there are three slopes, among the random ones two. That the
#   subjects have one slope at the reference level of f, which level that is makes another model.
# Why it matters: slopes of subjects by condition are asked for in this way. A variance is held at 0
#   that nobody held there, and the standard errors of the fixed slope of that level are too small.
#
# Output seen:
#   fixed:  x:f[a], x:f[b], x:f[c]
#   random: x:f[b], x:f[c]
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" -q install formulae==0.9.0 numpy==2.4.6 pandas==2.3.3
"$folder/venv/bin/python" -W ignore - <<'PY'
import numpy as np
import pandas as pd
from formulae import design_matrices

rows = np.arange(24.0)
data = pd.DataFrame({"y": rows, "x": rows % 5, "f": list("abc") * 8, "id": list("ppqqrrss") * 3})
matrices = design_matrices("y ~ x:f + (x:f | id)", data)
fixed = list(matrices.common.terms["x:f"].labels)
random = dict.fromkeys(name.split("|")[0] for name in matrices.group.terms["x:f|id"].labels)
print("fixed: ", ", ".join(fixed))
print("random:", ", ".join(random))
seen = fixed == ["x:f[a]", "x:f[b]", "x:f[c]"] and list(random) == ["x:f[b]", "x:f[c]"]
raise SystemExit(not seen)
PY
