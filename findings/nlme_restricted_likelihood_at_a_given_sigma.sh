#!/usr/bin/env bash
# REML of nlme's lme with a given residual variance is at the maximum of something else
#
# R 4.2.2, nlme 3.1-162 (Debian 12: r-cran-nlme); described by J. Pustejovsky and W. Viechtbauer in
# 2016, and still so
#
# One expects: `lme(y ~ 1, random = ~ 1 | study, weights = varFixed(~ v), control =
#   lmeControl(sigma = 1))` is the meta-analysis of effects with known variances v, its variance
#   between studies where the restricted likelihood is largest.
# What happens: by maximum likelihood it is, by REML it is not: 0.314 where the restricted likelihood
#   has its maximum at 0.285, and the standard error of the mean goes with it. The log-likelihood
#   printed is not that of its estimate. By ML, summary() gives a standard error that is larger than
#   that of vcov() by n / (n - p), as if sigma had been estimated.
# Why it matters: a given residual variance is how meta-analyses, small area models and two-stage
#   analyses are written as mixed models, and REML is the default.
#
# Output seen:
#   ML:   variance 0.2710, likelihood largest at 0.2710; vcov 0.1170, summary 0.1185
#   REML: variance 0.3138, likelihood largest at 0.2848; se 0.1218, there 0.1186
#   restricted log-likelihood: printed -46.2184, at that variance -46.0713, at its maximum -45.9837
set -euo pipefail
command -v Rscript > /dev/null || { echo "needs R with nlme" >&2; exit 2; }
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cat > "$folder/sigma.R" <<'R'
library(nlme)
stopifnot(packageVersion("nlme") == "3.1.162")
set.seed(4)
n <- 40
v <- runif(n, 0.05, 0.5)
data <- data.frame(y = rnorm(n, 1, 0.5) + rnorm(n, 0, sqrt(v)), v = v, study = factor(1:n))
log_likelihood <- function(t2, reml) {
  w <- 1 / (data$v + t2)
  rest <- data$y - sum(w * data$y) / sum(w)
  -0.5 * (-sum(log(w)) + sum(w * rest^2) + reml * log(sum(w)) + (n - reml) * log(2 * pi))
}
largest <- function(reml) {
  optimize(log_likelihood, c(0, 5), reml = reml, maximum = TRUE, tol = 1e-10)$maximum
}
fitted_by <- function(method) {
  lme(y ~ 1, data, random = ~ 1 | study, weights = varFixed(~ v), method = method,
      control = lmeControl(sigma = 1, opt = "optim"))
}
variance <- function(fit) as.numeric(VarCorr(fit)[1, 1])
ml <- fitted_by("ML")
reml <- fitted_by("REML")
cat(sprintf("ML:   variance %.4f, likelihood largest at %.4f; vcov %.4f, summary %.4f\n",
            variance(ml), largest(FALSE), sqrt(vcov(ml)), summary(ml)$tTable[1, 2]))
best <- largest(TRUE)
cat(sprintf("REML: variance %.4f, likelihood largest at %.4f; se %.4f, there %.4f\n",
            variance(reml), best, sqrt(vcov(reml)), 1 / sqrt(sum(1 / (data$v + best)))))
cat(sprintf("restricted log-likelihood: printed %.4f, at that variance %.4f, at its maximum %.4f\n",
            logLik(reml), log_likelihood(variance(reml), TRUE), log_likelihood(best, TRUE)))
as_seen <- abs(variance(ml) / largest(FALSE) - 1) < 1e-4 && variance(reml) / best > 1.05
quit(status = if (as_seen) 0 else 1)
R
Rscript "$folder/sigma.R"
