#!/usr/bin/env bash
# MixedLM gives standard errors that depend on the start where a random effect lies in the span of
# the fixed effects.
#
# Library: statsmodels 0.14.5 (numpy 2.2.6, scipy 1.15.3, pandas 2.3.1), MixedLM with REML.
#
# One expects: with `y ~ site` and a random intercept by site the restricted likelihood does not
# depend on the variance between sites. A program refuses the model, or holds that variance at 0 and
# reports the least-squares standard error of the difference between sites, 0.580.
#
# What happens: the fit says that it converged, reports the variance that it started from, and a
# standard error that follows from it: 1.922 by default, 0.503 and 9.181 from other starts, at the
# same log-likelihood. Some of the starts warn that the Hessian is not positive
# definite; nothing says which parameter is meant or that the tests of the fixed effects are void.
#
# Why it matters: centres of a trial are often a fixed factor and, by habit, a random one too. The
# p value of the comparison between centres is then whatever the start makes it.
#
# Output seen:
#   least squares: se 0.580
#   default start: converged True, llf -32.508257, variance 1.679185, se 1.922
#   start 0.1: converged True, llf -32.508257, variance 0.167919, se 0.503
#   start 25: converged True, llf -32.508257, variance 41.979632, se 9.181
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" -q install statsmodels==0.14.5 numpy==2.2.6 scipy==1.15.3 pandas==2.3.1
"$folder/venv/bin/python" -W ignore - <<'PY'
import numpy as np
import pandas as pd
import statsmodels.formula.api as smf
from statsmodels.regression.mixed_linear_model import MixedLMParams

data = pd.DataFrame(
    {"site": np.repeat(["a", "b"], 10), "y": np.random.default_rng(3).normal(size=20)}
)
right = smf.ols("y ~ site", data).fit().bse["site[T.b]"]
print(f"least squares: se {right:.3f}")
model = smf.mixedlm("y ~ site", data, groups="site")
first = model.fit(reml=True)
fits = {"default start": first}
for start in (0.1, 25):
    begin = MixedLMParams.from_components(
        fe_params=first.fe_params.to_numpy(), cov_re=np.array([[float(start)]])
    )
    fits[f"start {start}"] = model.fit(reml=True, start_params=begin)
errors = []
for name, fit in fits.items():
    errors.append(fit.bse_fe["site[T.b]"])
    variance = fit.cov_re.to_numpy()[0, 0]
    print(f"{name}: converged {fit.converged}, llf {fit.llf:.6f}, variance {variance:.6f}, "
          f"se {errors[-1]:.3f}")
same = np.ptp([fit.llf for fit in fits.values()]) < 1e-6
assert same and all(fit.converged for fit in fits.values())
assert max(errors) > 5 * min(errors), "the standard errors agree now"
assert min(abs(e - right) for e in errors) > 0.05, "the standard error is that of least squares now"
PY
