#!/usr/bin/env bash
# groups of mixedlm and gee go by position where they are a column of the frame before it was sorted
#
# statsmodels 0.15.0 (numpy 2.4.6, scipy 1.17.1, pandas 3.1.1)
#
# One expects: `mixedlm("y ~ x", data.sort_values("visit"), groups=data["id"])` matches rows by their
#   labels, as pandas does, or refuses, as MixedLM(endog, exog) does where the two have their rows in
#   another order ("The indices for endog and exog are not aligned").
# What happens: labels are dropped, and each row gets the subject that stood at its place before. The
#   variance of the subjects is 0 where it is 5.1, the standard error of the slope twice as large;
#   gee, and `cov_type="cluster"` and `weights=` of the least-squares models, do it too. No message.
# Why it matters: every example of the documentation gives groups as data["..."], and a frame is sorted
#   or shuffled between; the number of rows is the same, so nothing else tells.
#
# Output seen:
#   name of the column:      variance 5.127, se 0.112, se by gee 0.201
#   column, same order:      variance 5.127, se 0.112, se by gee 0.201
#   column, order before:    variance 0.000, se 0.236, se by gee 0.260
#   endog and exog: The indices for endog and exog are not aligned
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" -q install statsmodels==0.15.0 numpy==2.4.6 scipy==1.17.1 pandas==3.1.1
"$folder/venv/bin/python" -W ignore - 2> /dev/null <<'PY'
import sys

import numpy as np
import pandas as pd
import statsmodels.api as sm
import statsmodels.formula.api as smf

rng = np.random.default_rng(0)
data = pd.DataFrame({"id": np.repeat(np.arange(20), 6), "visit": np.tile(np.arange(6), 20)})
data["x"] = rng.normal(size=120)
data["y"] = data["x"] + 2 * rng.normal(size=20)[data["id"]] + rng.normal(size=120)
by_visit = data.sort_values("visit")


def shown(label, groups):
    fit = smf.mixedlm("y ~ x", by_visit, groups=groups).fit()
    gee = smf.gee("y ~ x", groups, by_visit).fit()
    variance, error = fit.cov_re.iloc[0, 0], fit.bse["x"]
    print(f"{label:24} variance {variance:.3f}, se {error:.3f}, se by gee {gee.bse['x']:.3f}")
    return variance, error


shown("name of the column:", "id")
right = shown("column, same order:", by_visit["id"])
wrong = shown("column, order before:", data["id"])
try:
    sm.MixedLM(by_visit["y"], data[["x"]], groups=by_visit["id"])
except ValueError as error:
    print("endog and exog:", error)
sys.exit(0 if right[0] > 3 and wrong[0] < 1 and wrong[1] > 1.5 * right[1] else 1)
PY
