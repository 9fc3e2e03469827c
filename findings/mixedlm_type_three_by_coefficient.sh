#!/usr/bin/env bash
# mixedlm's type III table tests coefficients one by one, at the reference level
#
# mixedlm 1.3.0 (numpy 2.2.6, scipy 1.15.3, pandas 2.3.1)
#
# One expects: `anova_type3` of `y ~ x * f + (1 | g)` has a row a term: f with two numerator degrees
#   of freedom for three levels, and x averaged over the levels of f, as SAS and lmerTest have it.
# What happens: the table is headed type III and has a row a column of the design, each F the square
#   of that coefficient's t. There is no test of f, and x is the slope in the reference level of f:
#   it changes with the level that comes first.
# Why it matters: the heading and the column NumDF say that these are the tests one reports; a factor
#   of three levels then has two p values, neither of which is of the factor.
#
# Output seen:
#   rows: x, f.1, f.2, f.1:x, f.2:x; numerator degrees of freedom: 1 1 1 1 1
#   a first: F of x 20.060; squared t of x 20.060
#   c first: F of x 21.981; squared t of x 21.981
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" -q install mixedlm==1.3.0 numpy==2.2.6 scipy==1.15.3 pandas==2.3.1
"$folder/venv/bin/python" -W ignore - <<'PY'
import mixedlm
import numpy as np
import pandas as pd

i = np.arange(120)
data = pd.DataFrame({"g": [f"s{k}" for k in i // 6], "x": 2 * np.sin(1.7 * i + 0.3)})
level = (i * 7 + i // 4) % 3
data["y"] = 1 + 0.5 * data.x + np.sin(2.3 * (i // 6)) + np.where(level == 1, 0.4 * data.x, 0)
data["y"] += 1.2 * np.sin(11.1 * i**1.3)


def of_x(first):
    """The row of x with the level `first` as the reference, and all rows."""
    letters = [first] + [letter for letter in "abc" if letter != first]
    data["f"] = pd.Categorical(np.array(list("abc"))[level], categories=letters)
    fit = mixedlm.lmer("y ~ x * f + (1 | g)", data)
    table = mixedlm.anova_type3(fit)
    t = fit.fixef()["x"] / np.sqrt(np.asarray(fit.vcov())[1, 1])
    return table, t**2


seen = None
right = True
for first in "ac":
    table, squared = of_x(first)
    rows, f = list(table.terms), float(table.f_value[list(table.terms).index("x")])
    if seen is None:
        degrees = " ".join(str(int(d)) for d in table.num_df)
        print(f"rows: {', '.join(rows)}; numerator degrees of freedom: {degrees}")
        seen = rows
    print(f"{first} first: F of x {f:.3f}; squared t of x {squared:.3f}")
    right &= len(rows) == 5 and abs(f / squared - 1) < 1e-6
raise SystemExit(0 if right else 1)
PY
