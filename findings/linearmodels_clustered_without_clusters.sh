#!/usr/bin/env bash
# cov_type="clustered" of linearmodels makes a cluster of each row unless told what clusters are
#
# linearmodels 7.1 (statsmodels 0.15.0, numpy 2.4.6, scipy 1.17.1, pandas 3.1.1)
#
# One expects: `PooledOLS(...).fit(cov_type="clustered")` of data indexed by entity and time clusters by
#   entity, the only grouping there is, or asks for one, as statsmodels does without `groups`.
# What happens: without `cluster_entity=True`, `cluster_time=True` or `clusters=` each row is a cluster of
#   its own. The standard errors are those of cov_type="robust", of independent rows; the summary's
#   covariance estimator reads "Clustered".
# Why it matters: it is the table of clustered errors that protects from correlated rows. An effect between
#   30 entities has a standard error of 0.171 instead of 0.453.
#
# Output seen:
#   cov_type="robust":                         0.1706, summary says Robust
#   cov_type="clustered":                      0.1706, summary says Clustered
#   cov_type="clustered", cluster_entity=True: 0.4531, summary says Clustered
#   statsmodels, cov_type="cluster", groups:   0.4598
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" -q install linearmodels==7.1 statsmodels==0.15.0 numpy==2.4.6 scipy==1.17.1 \
  pandas==3.1.1
"$folder/venv/bin/python" -W ignore - <<'PY'
import numpy as np
import pandas as pd
import statsmodels.formula.api as smf
from linearmodels.panel import PooledOLS

rng = np.random.default_rng(1)
entity = np.repeat(np.arange(30), 8)
data = pd.DataFrame({"entity": entity, "time": np.tile(np.arange(8), 30)})
data["z"] = rng.normal(size=30)[entity]
data["y"] = 1 + rng.normal(size=30)[entity] * 2 + rng.normal(size=240)
panel = PooledOLS.from_formula("y ~ 1 + z", data.set_index(["entity", "time"]))


def error(label, **options):
    fit = panel.fit(**options)
    text = [cell for cell in str(fit.summary).split() if cell in ("Clustered", "Robust")]
    print(f"{label:<42} {fit.std_errors['z']:.4f}, summary says {text[0]}")
    return fit.std_errors["z"]


robust = error('cov_type="robust":', cov_type="robust")
plain = error('cov_type="clustered":', cov_type="clustered")
entities = error(
    'cov_type="clustered", cluster_entity=True:', cov_type="clustered", cluster_entity=True
)
other = smf.ols("y ~ z", data).fit(cov_type="cluster", cov_kwds={"groups": data["entity"]}).bse["z"]
label = 'statsmodels, cov_type="cluster", groups:'
print(f"{label:<42} {other:.4f}")
assert abs(plain / robust - 1) < 1e-9, "it has clusters now"
assert entities > 1.5 * plain
assert abs(other / entities - 1) < 0.05
PY
