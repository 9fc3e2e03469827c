#!/usr/bin/env bash
# lme-python's profile limits of a random effect's standard deviation are not where its profile is
#
# lme-python 0.2.7 (numpy 2.2.6, scipy 1.15.3, polars 1.35.2)
#
# One expects: a 95 % profile limit of a standard deviation is where the profiled deviance is 3.84
#   above its minimum, as lme4's confint has it (by maximum likelihood).
# What happens: the limits of `.sig01` lie where it is only 3.42 and 3.45 above, so the interval is
#   too short (lme4: 0.5378 to 1.4807), and it is the same after REML and after ML. The limits of
#   `.sigma` and of the coefficients are right.
# Why it matters: profile limits are chosen for variances because Wald's are poor there.
#
# Output seen:
#   .sig01 0.5540 to 1.4372: deviance 3.42 and 3.45 above its minimum
#   .sigma 0.7363 to 1.1013: deviance 3.84 and 3.84 above its minimum
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" -q install lme-python==0.2.7 numpy==2.2.6 scipy==1.15.3 polars==1.35.2
"$folder/venv/bin/python" -W ignore - <<'PY'
import lme_python
import numpy as np
import polars as pl
from scipy.optimize import minimize_scalar

i = np.arange(60)
g = i // 5
x = 2 * np.sin(1.7 * i + 0.3)
y = 1 + 0.5 * x + np.sin(2.3 * g) + 1.2 * np.sin(11.1 * i**1.3)
data = pl.DataFrame({"y": y, "x": x, "g": [f"s{k}" for k in g]})
fit = lme_python.lmer("y ~ x + (1 | g)", data, False)
limits = fit.confint(0.95, "profile", data, which="all")
X = np.column_stack([np.ones(60), x])
same = (g[:, None] == g).astype(float)


def deviance(log_sd, log_sigma):
    """-2 log-likelihood, constants left out, at the best coefficients."""
    V = np.exp(2 * log_sd) * same + np.exp(2 * log_sigma) * np.eye(60)
    solved = np.linalg.solve(V, np.column_stack([X, y]))
    r = y - X @ np.linalg.solve(X.T @ solved[:, :2], X.T @ solved[:, 2])
    return np.linalg.slogdet(V)[1] + r @ np.linalg.solve(V, r)


def over(function):
    """The smallest value of a function of one logarithm."""
    return minimize_scalar(function, bounds=(-4, 3), method="bounded", options={"xatol": 1e-9}).fun


least = over(lambda a: over(lambda b: deviance(a, b)))
drops = {}
for name, fixed in ((".sig01", lambda v: lambda b: deviance(np.log(v), b)),
                    (".sigma", lambda v: lambda a: deviance(a, np.log(v)))):
    k = limits.names.index(name)
    ends = limits.lower[k], limits.upper[k]
    drops[name] = [over(fixed(v)) - least for v in ends]
    print("{} {:.4f} to {:.4f}: deviance {:.2f} and {:.2f} above its minimum".format(
        name, *ends, *drops[name]))
short = max(drops[".sig01"]) < 3.7
right = np.abs(np.array(drops[".sigma"]) - 3.841).max() < 0.05
raise SystemExit(0 if short and right else 1)
PY
