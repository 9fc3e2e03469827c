#!/usr/bin/env bash
# Rows of weight 0 count as data in lmer: other variances, and a log-likelihood of minus infinity
#
# R 4.2.2, lme4 1.1-31 (Debian 12: r-cran-lme4); lme4's issue 880, open
#
# One expects: a row of weight 0 says nothing, as in lm, whose degrees of freedom do not count such
#   rows, and in PROC MIXED, which drops them; or it is refused.
# What happens: they count in the number of rows, so the residual variance is a smaller one and, since
#   it is profiled out, the other variances and the coefficients are at another optimum: of 80 rows
#   with 20 of weight 0 the slope's standard error is 0.147 instead of 0.174. No warning; the
#   log-likelihood is -Inf, and a note inside the fit says "Gradient contains NAs".
# Why it matters: weights of 0 are how "without the outliers" or "complete cases only" is written in
#   scripts that loop over weights; p values and intervals are those of rows that were to be left out.
#
# Output seen:
#   lm, weight 0:    slope 0.213, se 0.2095, residual sd 1.410
#   lm, left out:    slope 0.213, se 0.2095, residual sd 1.410
#   lmer, weight 0:  slope 0.426, se 0.1473, residual sd 0.899, sd of subjects 0.883, log-likelihood -Inf
#   lmer, left out:  slope 0.413, se 0.1737, residual sd 1.065, sd of subjects 0.950, log-likelihood -101.42
#   note in the fit: Gradient contains NAs
set -euo pipefail
command -v Rscript > /dev/null || { echo "needs R with lme4" >&2; exit 2; }
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cat > "$folder/zero.R" <<'R'
suppressMessages(library(lme4))
stopifnot(packageVersion("lme4") == "1.1.31")
set.seed(3)
data <- expand.grid(visit = 1:4, id = factor(1:20))
data$x <- rnorm(80)
data$y <- 0.3 * data$x + rnorm(20)[data$id] + rnorm(80)
data$w <- ifelse(data$visit == 4, 0, 1)
shown <- function(label, fit, rest = "") {
  at <- coef(summary(fit))["x", ]
  cat(sprintf("%-16s slope %.3f, se %.4f, residual sd %.3f%s\n", label, at[1], at[2], sigma(fit), rest))
  at[[2]]
}
more <- function(fit) {
  sprintf(", sd of subjects %.3f, log-likelihood %.2f", attr(VarCorr(fit)$id, "stddev"), logLik(fit))
}
invisible(shown("lm, weight 0:", lm(y ~ x, data, weights = w)))
invisible(shown("lm, left out:", lm(y ~ x, data[data$w > 0, ])))
options(warn = 2)
zero <- lmer(y ~ x + (1 | id), data, weights = w)
out <- lmer(y ~ x + (1 | id), data[data$w > 0, ])
errors <- c(shown("lmer, weight 0:", zero, more(zero)), shown("lmer, left out:", out, more(out)))
cat("note in the fit:", zero@optinfo$conv$lme4$messages, "\n")
quit(status = if (logLik(zero) == -Inf && errors[1] < 0.95 * errors[2] && is.finite(logLik(out))) 0 else 1)
R
Rscript "$folder/zero.R"
