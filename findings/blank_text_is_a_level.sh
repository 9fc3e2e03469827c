#!/usr/bin/env bash
# A label that is missing in SAS or Stata is a level of its own after reading
#
# pyreadstat 1.3.7 and pandas 2.3.3 (formulaic 1.2.2, numpy 2.4.6)
#
# One expects: text that is missing comes as a missing value, as numbers do. In SAS and Stata a blank
#   text is the missing one: PROC MIXED leaves rows out whose class variable is blank.
# What happens: pyreadstat and pandas.read_stata give an empty string, from a transport file and from
#   .dta alike, even where None was written. A formula makes it a level, the reference level even,
#   since it sorts first.
# Why it matters: a trial with one unknown treatment has "unknown" as the arm that all effects are
#   compared with, and more rows than SAS used. `data.replace("", None)` before the fit undoes it.
#
# Output seen:
#   written:           ['low', None, 'high', 'low', 'high']
#   XPT, pyreadstat:   ['low', '', 'high', 'low', 'high'], 5 rows, arm[T.high], arm[T.low]
#   Stata, pyreadstat: ['low', '', 'high', 'low', 'high'], 5 rows, arm[T.high], arm[T.low]
#   Stata, pandas:     ['low', '', 'high', 'low', 'high'], 5 rows, arm[T.high], arm[T.low]
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" -q install pyreadstat==1.3.7 formulaic==1.2.2 numpy==2.4.6 pandas==2.3.3
"$folder/venv/bin/python" -W ignore - "$folder" <<'PY'
import sys
from pathlib import Path

import formulaic
import pandas as pd
import pyreadstat

folder = Path(sys.argv[1])
written = pd.DataFrame({"arm": ["low", None, "high", "low", "high"], "y": [1.0, 2, 3, 4, 5]})
pyreadstat.write_xport(written, folder / "trial.xpt", file_format_version=5)
pyreadstat.write_dta(written, folder / "trial.dta")
read = {
    "XPT, pyreadstat": pyreadstat.read_xport(folder / "trial.xpt")[0],
    "Stata, pyreadstat": pyreadstat.read_dta(folder / "trial.dta")[0],
    "Stata, pandas": pd.read_stata(folder / "trial.dta"),
}
print("written:          ", list(written["arm"]))
columns = {}
for name, data in read.items():
    matrix = formulaic.model_matrix("arm", data)
    columns[name] = list(matrix.columns)[1:]
    print(f"{name + ':':18} {list(data['arm'])}, {len(matrix)} rows, {', '.join(columns[name])}")
raise SystemExit(any(found != ["arm[T.high]", "arm[T.low]"] for found in columns.values()))
PY
