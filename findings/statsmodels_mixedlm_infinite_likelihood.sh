#!/usr/bin/env bash
# MixedLM reports convergence at a variance of 0 with an infinite log-likelihood, where the optimum
# is inside, and an intercept with a standard error of millions.
#
# Library: statsmodels 0.15.0 (numpy 2.4.6, scipy 1.17.1, pandas 3.1.1); 0.14.6 alike.
#
# One expects: the largest restricted log-likelihood, -150.7394 at a variance between classes of
# 0.00057, with a standard error of 0.109 for the intercept; or a fit that says it failed.
#
# What happens: `converged` is True, `cov_re` is exactly 0, `llf` is inf and the intercept's standard
# error 6e6, since log|G| of a singular G enters as minus infinity. A warning says that the
# covariance is singular.
#
# Why it matters: a script that keeps fits by `converged`, or compares models by `llf`, prefers this
# one to any other; the test of the intercept has no power. It is what statsmodels' own test of
# singular fits ends with.
#
# Output seen:
#   converged True, llf inf, variance 0.0, standard errors [6.2e+06, 1.2e-01]
#   at a variance ratio of 0.0005: llf -150.7394
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" -q install statsmodels==0.15.0 numpy==2.4.6 scipy==1.17.1 pandas==3.1.1
"$folder/venv/bin/python" -W ignore - <<'PY'
import numpy as np
import pandas as pd
import statsmodels.formula.api as smf
from statsmodels.regression.mixed_linear_model import MixedLMParams

values = np.random.RandomState(3423).randn(100, 2)
data = pd.DataFrame(values, columns=["Y", "X"])
data["g"] = np.arange(100) % 3
model = smf.mixedlm("Y ~ X", data, groups=data["g"])
fit = model.fit()
errors = fit.bse_fe.to_numpy()
print(f"converged {fit.converged}, llf {fit.llf}, variance {fit.cov_re.iloc[0, 0]}, "
      f"standard errors {[f'{e:.1e}' for e in errors]}")
inside = MixedLMParams.from_components(np.zeros(2), cov_re=np.array([[0.0005]]))
print(f"at a variance ratio of 0.0005: llf {model.loglike(inside):.4f}")
assert fit.converged and np.isinf(fit.llf) and errors[0] > 1e3, "it has a finite likelihood now"
PY
