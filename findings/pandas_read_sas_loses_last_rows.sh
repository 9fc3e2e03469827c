#!/usr/bin/env bash
# pandas.read_sas loses the last rows of a transport file (XPT) where a text is missing near its end
#
# pandas 3.1.1, pyreadstat 1.3.7
#
# One expects: as many rows as were written. A transport file is filled up with blanks to a multiple of
#   80 bytes, and a blank text is how SAS writes a missing one.
# What happens: the padding is reckoned from all eight-byte blanks among the last 80 bytes, so missing
#   texts there count as padding. Of 20 rows with one missing label among the last five 19 come back,
#   with four 18: not the rows without a label, but the last ones of the file, values and all. No
#   warning. pyreadstat reads every row.
# Why it matters: trial data are exchanged as XPT, sorted by subject; a visit or two of the last subject
#   are gone from the fit, and the number of rows is all that tells.
#
# Output seen:
#   missing in row  5:                written 20, pyreadstat 20, pandas 20, last id 20
#   missing in row  16:               written 20, pyreadstat 20, pandas 19, last id 19
#   missing in rows 16, 17, 18, 19:   written 20, pyreadstat 20, pandas 18, last id 18
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

lost = []
for rows in ([5], [16], [16, 17, 18, 19]):
    data = pd.DataFrame({"id": [float(k) for k in range(1, 21)], "site": ["northern"] * 20})
    data.loc[[row - 1 for row in rows], "site"] = ""
    pyreadstat.write_xport(data, "trial.xpt", file_format_version=5)
    other, _ = pyreadstat.read_xport("trial.xpt")
    read = pd.read_sas("trial.xpt", format="xport", encoding="utf-8")
    label = f"missing in row{'s' if len(rows) > 1 else ' '} {', '.join(map(str, rows))}:"
    print(
        f"{label:34}written {len(data)}, pyreadstat {len(other)}, "
        f"pandas {len(read)}, last id {read['id'].iloc[-1]:.0f}"
    )
    lost.append(len(data) - len(read))
    assert len(other) == len(data)
sys.exit(0 if lost == [0, 1, 2] else 1)
PY
