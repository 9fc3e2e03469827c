#!/usr/bin/env bash
# gpboost makes one group of all rows whose group is missing
#
# gpboost 1.8.0 (numpy 2.4.6, scipy 1.17.1, pandas 3.1.1)
#
# One expects: rows with a missing group are left out, as lmer, lme and PROC MIXED do, or refused, as
#   a missing response or covariate is by gpboost itself.
# What happens: NaN in `group_data` is a level as any other. Rows of unknown subjects are fitted as the
#   repeated measures of one subject, to the last digit as if they were labelled so; with None
#   among text labels alike.
# Why it matters: unknown litters, dams or centres are not one. All estimates change, here the
#   residual variance from 0.29 to 0.37 where 24 of 120 rows have no group.
#
# Output seen:
#   missing:            residual 0.3693, groups 2.0984
#   missing, text:      residual 0.3693, groups 2.0984
#   labelled as one:    residual 0.3693, groups 2.0984
#   rows left out:      residual 0.2941, groups 2.2835
#   a group each:       residual 0.2861, groups 1.1715
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" -q install gpboost==1.8.0 numpy==2.4.6 scipy==1.17.1 pandas==3.1.1
"$folder/venv/bin/python" -W ignore - <<'PY' | grep -v "\[GPBoost\]"
import gpboost as gpb
import numpy as np
import pandas as pd

rng = np.random.default_rng(3)
known = np.repeat(np.arange(12), 8)
unknown = np.arange(12, 36)
y = 1.0 + np.concatenate([rng.normal(size=12)[known], rng.normal(size=24)])
y += 0.5 * rng.normal(size=y.size)
numbers = np.concatenate([known, np.full(24, np.nan)])
text = pd.Series([f"s{k:.0f}" for k in numbers], dtype=object).where(np.isfinite(numbers), None)


def variances(name, groups, rows=slice(None)):
    model = gpb.GPModel(group_data=groups[rows], likelihood="gaussian")
    model.fit(y=y[rows], X=np.ones((y[rows].size, 1)))
    found = np.asarray(model.get_cov_pars(std_err=False)).ravel()
    print(f"{name} residual {found[0]:.4f}, groups {found[1]:.4f}")
    return found


missing = variances("missing:           ", numbers)
of_text = variances("missing, text:     ", text.to_numpy())
one = variances("labelled as one:   ", np.nan_to_num(numbers, nan=99.0))
out = variances("rows left out:     ", numbers, slice(0, 96))
own = variances("a group each:      ", np.concatenate([known, unknown]))
same = np.allclose(missing, one, rtol=1e-6) and np.allclose(of_text, one, rtol=1e-6)
raise SystemExit(0 if same and not np.allclose(missing, out, rtol=0.05) else 1)
PY
