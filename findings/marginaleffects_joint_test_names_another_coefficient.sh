#!/usr/bin/env bash
# marginaleffects tests another coefficient than the one named once the model has a factor
#
# marginaleffects 0.6.0 with statsmodels 0.14.5, formulaic 1.2.2, polars 1.35.2, pandas 2.3.1
#
# One expects: `hypotheses(fit, joint="x")` and `joint=["x"]` test the coefficient of x.
# What happens: names are matched in a list that has one entry for a whole factor, and the position
#   found there is used in the coefficients. In `y ~ x + f` with three levels of f the test called
#   "x" is the squared t of the intercept, and the one called "f" has one degree of freedom.
#   Without factors the tests are right.
# Why it matters: any package that hands its fits to marginaleffects inherits this: a significant
#   joint test of a treatment can be the test of the intercept. Tests by contrast of the fit itself,
#   or with all coefficients numeric, are not affected.
#
# Output seen:
#   y ~ x + w: x named F 12.548, squared t of x 12.548
#   y ~ x + f: x named F 36.296, squared t of x 12.702, of the intercept 36.296
#   y ~ x + f: f named, 1 numerator degree of freedom
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" -q install marginaleffects==0.6.0 statsmodels==0.14.5 formulaic==1.2.2 \
  polars==1.35.2 pandas==2.3.1
"$folder/venv/bin/python" -W ignore - <<'PY'
import numpy as np
import pandas as pd
import statsmodels.formula.api as smf
from marginaleffects import hypotheses

i = np.arange(60)
data = pd.DataFrame({"x": 2 * np.sin(1.7 * i + 0.3), "w": np.cos(2.9 * i)})
data["f"] = pd.Categorical(np.array(list("abc"))[(i * 7 + i // 4) % 3])
data["y"] = 1 + 0.3 * data.x + 0.2 * (data.f == "b") + 1.2 * np.sin(11.1 * i**1.3)


def named(fit, name):
    """The joint test of one name: F and its numerator degrees of freedom."""
    row = hypotheses(fit, joint=name).to_dicts()[0]
    return row["statistic"], row["df1"]


plain = smf.ols("y ~ x + w", data).fit()
f, _ = named(plain, "x")
t2 = plain.tvalues["x"] ** 2
print(f"y ~ x + w: x named F {f:.3f}, squared t of x {t2:.3f}")
right = abs(f / t2 - 1) < 1e-6
factor = smf.ols("y ~ x + f", data).fit()
f, _ = named(factor, "x")
t2, other = factor.tvalues["x"] ** 2, factor.tvalues["Intercept"] ** 2
print(f"y ~ x + f: x named F {f:.3f}, squared t of x {t2:.3f}, of the intercept {other:.3f}")
_, degrees = named(factor, "f")
print(f"y ~ x + f: f named, {degrees} numerator degree of freedom")
raise SystemExit(0 if right and abs(f / other - 1) < 1e-6 and degrees == 1 else 1)
PY
