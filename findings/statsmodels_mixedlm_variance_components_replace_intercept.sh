#!/usr/bin/env bash
# vc_formula of mixedlm takes away the random intercept that it is meant to be added to
#
# statsmodels 0.15.0 (numpy 2.4.6, scipy 1.17.1, pandas 3.1.1); 0.14.6 alike
#
# One expects: re_formula's default "gives a random intercept for each group", says the documentation.
#   `groups="school"` with `vc_formula={"class": "0 + C(klass)"}` are classes within schools.
# What happens: with vc_formula the default is no random effect at all. The model has classes alone; two
#   classes of one school are independent. `re_formula="1"` brings the schools back. No message,
#   but for a line that the table does not have.
# Why it matters: the effect of what varies between schools, here the arm, has the standard error of
#   twice as many independent units as there are.
#
# Output seen:
#   groups alone:               random effects 1, components 0, arm se 0.414, log-likelihood -375.86
#   vc_formula:                 random effects 0, components 1, arm se 0.323, log-likelihood -374.55
#   vc_formula, re_formula="1": random effects 1, components 1, arm se 0.414, log-likelihood -370.23
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" -q install statsmodels==0.15.0 numpy==2.4.6 scipy==1.17.1 pandas==3.1.1
"$folder/venv/bin/python" -W ignore - <<'PY'
import sys

import numpy as np
import pandas as pd
import statsmodels.formula.api as smf

rng = np.random.default_rng(1)
school, klass = np.repeat(np.arange(20), 12), np.tile(np.repeat([0, 1], 6), 20)
data = pd.DataFrame({"school": school, "klass": klass, "arm": school % 2})
between = rng.normal(0, 1.3, 20)[school] + rng.normal(0, 0.7, 40)[2 * school + klass]
data["y"] = between + rng.normal(size=240)
parts, fits = {"class": "0 + C(klass)"}, []
for label, how in (
    ("groups alone", {}),
    ("vc_formula", {"vc_formula": parts}),
    ('vc_formula, re_formula="1"', {"vc_formula": parts, "re_formula": "1"}),
):
    fit = smf.mixedlm("y ~ arm", data, groups="school", **how).fit()
    fits.append(fit)
    print(
        f"{label + ':':27} random effects {fit.k_re}, components {fit.k_vc}, "
        f"arm se {fit.bse['arm']:.3f}, log-likelihood {fit.llf:.2f}"
    )
same = [(fit.k_re, fit.k_vc) for fit in fits] == [(1, 0), (0, 1), (1, 1)]
sys.exit(0 if same and fits[1].bse["arm"] < 0.8 * fits[2].bse["arm"] else 1)
PY
