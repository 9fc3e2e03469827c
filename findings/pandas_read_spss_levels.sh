#!/usr/bin/env bash
# pandas.read_spss sorts value labels as text; pandas.read_stata keeps the order of their codes
#
# pandas 3.1.1, pyreadstat 1.3.7
#
# Expected: a labelled variable (1 placebo, 2 low, 3 high) becomes a categorical in the order of
# its codes, as from a Stata file and in SPSS itself.
# What happens: read_spss gives high, low, placebo, and no way to ask otherwise; read_stata gives
# placebo, low, high, and marks it ordered. pyreadstat sorts as text too unless
# formats_as_ordered_category=True, which read_spss does not pass on.
# Why it matters: the first level is the reference of the contrasts. The same data sent as .dta and
# as .sav give a fit with other coefficients and signs, and an ordered factor, for which R takes
# polynomial contrasts, comes from Stata alone.
#
# Output seen:
#   read_spss  ['high', 'low', 'placebo'] ordered: False
#   read_stata ['placebo', 'low', 'high'] ordered: True
#   pyreadstat, formats_as_ordered_category=True: ['placebo', 'low', 'high']
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet pandas==3.1.1 pyreadstat==1.3.7
cd "$folder"
"$folder/venv/bin/python" - <<'PY'
import sys

import pandas as pd
import pyreadstat

labels = {1: "placebo", 2: "low", 3: "high"}
data = pd.DataFrame({"arm": [2.0, 3.0, 1.0]})
pyreadstat.write_sav(data, "trial.sav", variable_value_labels={"arm": labels})
pyreadstat.write_dta(data.astype("int32"), "trial.dta", variable_value_labels={"arm": labels})
spss, stata = pd.read_spss("trial.sav")["arm"].cat, pd.read_stata("trial.dta")["arm"].cat
asked, _ = pyreadstat.read_sav(
    "trial.sav", apply_value_formats=True, formats_as_ordered_category=True
)
print("read_spss ", spss.categories.tolist(), "ordered:", spss.ordered)
print("read_stata", stata.categories.tolist(), "ordered:", stata.ordered)
in_order = asked["arm"].cat.categories.tolist()
print("pyreadstat, formats_as_ordered_category=True:", in_order)
same = spss.categories.tolist() == sorted(labels.values()) and in_order == list(labels.values())
sys.exit(0 if same and stata.categories.tolist() == list(labels.values()) else 1)
PY
