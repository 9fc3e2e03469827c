#!/usr/bin/env bash
# The log-likelihood of lme-python's lmer_weighted changes with the units of the weights
#
# lme-python 0.2.7 (numpy 2.2.6, scipy 1.15.3, polars 1.35.2)
#
# One expects: weights w and 4 w are one model, with one likelihood: the residual variances sigma^2 / w are
#   the same. lme4 has it so, and its AIC of fits with and without weights can be compared.
# What happens: half the sum of the logarithms of the weights is left out, though the residual sum of squares
#   has the weights. The estimates are lme4's; log-likelihood, AIC and BIC are of no density of y, and
#   weights times 4 lower the log-likelihood of 120 rows by 83.
# Why it matters: AIC is how one decides between weights and none. These rows have the variances that the
#   weights say, 32 in log-likelihood for them; by weights times 4 it is 79 against them.
#
# Output seen:
#   weights times 1:   x 0.9630, log-likelihood -183.370, with the weights' logarithms -155.941
#   weights times 4:   x 0.9630, log-likelihood -266.547, with the weights' logarithms -155.941
#   no weights:        x 0.9469, log-likelihood -187.466, with the weights' logarithms -187.466
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" -q install lme-python==0.2.7 numpy==2.2.6 scipy==1.15.3 polars==1.35.2
"$folder/venv/bin/python" -W ignore - <<'PY'
import lme_python
import numpy as np
import polars as pl

rng = np.random.default_rng(5)
subject = np.repeat(np.arange(20), 6)
data = pl.DataFrame({"g": [f"s{k}" for k in subject], "x": rng.normal(size=120)})
weights = rng.uniform(0.2, 4.0, size=120)
y = data["x"].to_numpy() + rng.normal(size=20)[subject] + rng.normal(size=120) / np.sqrt(weights)
data = data.with_columns(y=pl.Series(y))


def fitted(label, fit, weights):
    slope = fit.coefficients[list(fit.fixed_names).index("x")]
    whole = fit.log_likelihood + np.log(weights).sum() / 2
    print(f"{label:<18} x {slope:.4f}, log-likelihood {fit.log_likelihood:.3f},"
          f" with the weights' logarithms {whole:.3f}")
    return fit.log_likelihood, whole


found = [
    fitted(
        f"weights times {times}:",
        lme_python.lmer_weighted("y ~ x + (1|g)", data, True, (times * weights).tolist()),
        times * weights,
    )
    for times in (1, 4)
]
fitted("no weights:", lme_python.lmer("y ~ x + (1|g)", data), np.ones(120))
assert abs(found[0][0] - found[1][0]) > 50, "the likelihood has no units now"
assert abs(found[0][1] - found[1][1]) < 1e-3
PY
