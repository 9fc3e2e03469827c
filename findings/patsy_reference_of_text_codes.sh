#!/usr/bin/env bash
# Treatment(1) of levels "1", "2", "3" is level "2" in patsy, and refused by formulaic
#
# patsy 1.0.3, formulaic 1.2.2, pandas 2.3.3
#
# One expects: `C(arm, Treatment(1))` has the level printed as 1 for its reference, whether the
#   column holds numbers or their text (codes read from Parquet, Arrow dictionaries, SPSS labels or
#   `dtype=str` are text).
# What happens: patsy looks for the number 1 among the levels, and where they are text counts
#   positions from 0 instead, without a word: the reference is "2". formulaic, written to be
#   compatible, raises an error.
# Why it matters: the formula of one mixed model, run on the same data stored another way, changes
#   which arm all treatment effects are compared with. statsmodels' mixedlm reads formulas by patsy.
#
# Output seen:
#   patsy, numbers: ['Intercept', 'C(arm, Treatment(1))[T.2]', 'C(arm, Treatment(1))[T.3]']
#   patsy, text:    ['Intercept', 'C(arm, Treatment(1))[T.1]', 'C(arm, Treatment(1))[T.3]']
#   formulaic, text: ValueError: Value `1` for `TreatmentContrasts.base` is not among the provided levels.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet patsy==1.0.3 formulaic==1.2.2 pandas==2.3.3
"$folder/venv/bin/python" -W ignore - <<'PYTHON'
import sys

import pandas as pd
from formulaic import model_matrix
from patsy import dmatrix

numbers = pd.DataFrame({"arm": [1, 2, 3, 1, 2, 3]})
text = numbers.astype(str)
formula = "C(arm, Treatment(1))"
by_number = dmatrix(formula, numbers).design_info.column_names
by_text = dmatrix(formula, text).design_info.column_names
print("patsy, numbers:", by_number)
print("patsy, text:   ", by_text)
refused = False
try:
    model_matrix(formula, text)
except ValueError as error:
    refused = True
    print("formulaic, text: ValueError:", error)
left_out = [not any(name.endswith(f"[T.{k}]") for name in names) for k, names in ((1, by_number), (2, by_text))]
sys.exit(0 if all(left_out) and refused else 1)
PYTHON
