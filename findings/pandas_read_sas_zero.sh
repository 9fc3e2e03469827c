#!/usr/bin/env bash
# pandas.read_sas reads a zero of a SAS transport file (XPT) as 16^-65
#
# pandas 3.1.1 (written by pyreadstat 1.3.7, which reads the same file right)
#
# Expected: dose 0, 1, 0, 5 comes back as 0.0, 1.0, 0.0, 5.0. An IBM floating point zero is eight
# zero bytes.
# What happens: the zeros are 5.397605346934028e-79. `dose == 0` is False, log(dose) is -180 and
# not minus infinity, and as levels of a factor they read "5.397605346934028e-79".
# Why it matters: trial data are exchanged as XPT. A model `y ~ factor(dose) + (1 | id)` has a
# reference level of that name, and new data with dose 0 are a level the fit has not seen.
#
# Output seen:
#   pandas     [5.397605346934028e-79, 1.0, 5.397605346934028e-79, 5.0]
#   pyreadstat [0.0, 1.0, 0.0, 5.0]
#   rows with dose == 0: 0
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

data = pd.DataFrame({"dose": [0.0, 1.0, 0.0, 5.0]})
pyreadstat.write_xport(data, "trial.xpt", table_name="TRIAL", file_format_version=5)
dose = pd.read_sas("trial.xpt")["dose"]
right, _ = pyreadstat.read_xport("trial.xpt")
print("pandas    ", dose.tolist())
print("pyreadstat", right["dose"].tolist())
print("rows with dose == 0:", int((dose == 0).sum()))
sys.exit(0 if (dose == 0).sum() == 0 and dose[0] == 16.0**-65 else 1)
PY
