#!/usr/bin/env bash
# pairwise_tests of pingouin makes one subject of all that share a number in different groups
#
# pingouin 0.7.0 (numpy 2.4.6, scipy 1.17.1, pandas 3.1.1)
#
# One expects: with `between="arm"` subject 1 of arm a and subject 1 of arm b are two, or the call is
#   refused: `mixed_anova`, whose follow-up this is, refuses just these data ("Subject IDs cannot
#   overlap between groups").
# What happens: the comparisons of visits average over the arms' subjects of one number. Of 21
#   subjects 9 are left, 8 degrees of freedom instead of 20, and p = 0.013 where the paired t test
#   of the 21 has 0.022. The comparisons of arms are right.
# Why it matters: subjects numbered within arms or centres are how trials number them (SAS nests them
#   by `subject=id(arm)`); which p values are off is not to be seen in the table.
#
# Output seen:
#   mixed_anova, numbers within arms: ValueError
#   numbers within arms: t0 - t1 t -3.174 on 8 degrees of freedom, p 0.0131
#   numbers unique:      t0 - t1 t -2.484 on 20 degrees of freedom, p 0.0220
#   scipy's ttest_rel of the 21:   t -2.484, p 0.0220
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" -q install pingouin==0.7.0 numpy==2.4.6 scipy==1.17.1 pandas==3.1.1
"$folder/venv/bin/python" -W ignore - <<'PY'
import numpy as np
import pandas as pd
import pingouin as pg
from scipy.stats import ttest_rel

rng = np.random.default_rng(5)
rows = []
for a, arm in enumerate("abc"):
    for number in range((5, 9, 7)[a]):
        subject = rng.normal()
        for t in range(3):
            y = subject + 0.5 * a * t + 0.3 * t + rng.normal()
            rows.append((arm, number, f"{arm}{number}", f"t{t}", y))
data = pd.DataFrame(rows, columns=["arm", "number", "id", "visit", "y"])
design = {"dv": "y", "within": "visit", "between": "arm"}
try:
    pg.mixed_anova(data, subject="number", **design)
    refused = "no error"
except ValueError:
    refused = "ValueError"
print("mixed_anova, numbers within arms:", refused)
dof = []
for name, subject in (("within arms:", "number"), ("unique:     ", "id")):
    row = pg.pairwise_tests(data, subject=subject, **design).iloc[0]
    dof.append(row["dof"])
    print(f"numbers {name} {row['A']} - {row['B']} t {row['T']:.3f} on {row['dof']:.0f} degrees of "
          f"freedom, p {row['p_unc']:.4f}")
wide = data.pivot(index="id", columns="visit", values="y")
test = ttest_rel(wide["t0"], wide["t1"])
print(f"scipy's ttest_rel of the 21:   t {test.statistic:.3f}, p {test.pvalue:.4f}")
raise SystemExit(0 if refused == "ValueError" and dof == [8, 20] else 1)
PY
