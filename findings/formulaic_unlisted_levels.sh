#!/usr/bin/env bash
# A level that formulaic does not know is coded as the reference level
#
# formulaic 1.2.2, pandas 2.3.3
#
# One expects: a row whose level is not among `levels=[...]`, or was not in the data that a model
#   specification was made from, is refused (as patsy and R do) or becomes missing, as formulaic's
#   own warning says ("They are being cast to nan").
# What happens: the row stays, with 0 in every column of the factor: it is a row of the reference
#   level. `na_action` drops nothing.
# Why it matters: a mixed model fitted to such a matrix estimates the mean of the reference level
#   (the control arm, say) from rows of other levels, and a prediction for an unseen level (a new
#   drug, a misspelt one) is the reference level's mean. Only a DataMismatchWarning tells, and it
#   says something else.
#
# Output seen:
#   levels=['a', 'b'] of a, b, c:
#      Intercept  C(t, levels=['a', 'b'])[T.b]
#   0        1.0                             0
#   1        1.0                             1
#   2        1.0                             0
#   new data with the unseen level z:
#      Intercept  t[T.b]
#   0        1.0       0
#   1        1.0       0
#   rows of an unknown level are rows of the reference level: True True
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet formulaic==1.2.2 pandas==2.3.3
"$folder/venv/bin/python" -W ignore - <<'PYTHON'
import sys

import numpy as np
import pandas as pd
from formulaic import model_matrix

data = pd.DataFrame({"t": ["a", "b", "c"]})
listed = model_matrix("C(t, levels=['a', 'b'])", data)
print("levels=['a', 'b'] of a, b, c:")
print(listed)

spec = model_matrix("t", pd.DataFrame({"t": ["a", "b"]})).model_spec
new = spec.get_model_matrix(pd.DataFrame({"t": ["a", "z"]}))
print("new data with the unseen level z:")
print(new)

same = [
    len(listed) == 3 and np.array_equal(listed.iloc[0], listed.iloc[2]),
    len(new) == 2 and np.array_equal(new.iloc[0], new.iloc[1]),
]
print("rows of an unknown level are rows of the reference level:", *same)
sys.exit(0 if all(same) else 1)
PYTHON
