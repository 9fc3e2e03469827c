#!/usr/bin/env bash
# exactRLRT of RLRsim compares a fit with an offset or weights to one without
#
# R 4.2.2, RLRsim 3.1-8, lme4 1.1-31 (Debian 12: r-cran-rlrsim, r-cran-lme4)
#
# One expects: the statistic of `exactRLRT(lmer(...))` is twice the difference of the restricted
#   log-likelihoods of that fit and of the one without the random effect, and 0 where the variance is
#   estimated as 0. Where it cannot take a model ("i.i.d. errors", the help page says), it refuses.
# What happens: the model without the random effect is fitted to the response and the design alone.
#   With an offset the statistic is of the offset: 375 at an estimated variance of 0. With weights it
#   is the difference of two unlike models: 73 instead of 0.37. Both have p = 0, without a message.
# Why it matters: this is R's exact test of a variance component, where a likelihood ratio is at its
#   boundary; baselines are given as offsets, precisions of means as weights.
#
# Output seen:
#   change of y:     variance 0.000, exactRLRT 0.00 (p 1.0000), twice the difference 0.00
#   offset baseline: variance 0.000, exactRLRT 375.15 (p 0.0000), twice the difference 0.00
#   weights:         variance 0.027, exactRLRT 73.42 (p 0.0000), twice the difference 0.37
set -euo pipefail
command -v Rscript > /dev/null || { echo "needs R with lme4 and RLRsim" >&2; exit 2; }
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cat > "$folder/exact.R" <<'R'
suppressMessages({
  library(lme4)
  library(RLRsim)
})
stopifnot(packageVersion("RLRsim") == "3.1.8", packageVersion("lme4") == "1.1.31")
set.seed(8)
data <- expand.grid(row = 1:6, g = factor(1:12))
data$baseline <- 5 * as.integer(data$g) + rnorm(72)
data$change <- rnorm(72)
data$y <- data$baseline + data$change
data$w <- rep(c(1, 30), 36)
data$weighted <- rnorm(12, 0, 0.3)[data$g] + rnorm(72, 0, 3) / sqrt(data$w)
told <- function(name, fit, null) {
  exact <- suppressMessages(exactRLRT(fit, seed = 1))
  ratio <- c(2 * (logLik(fit) - logLik(null, REML = TRUE)))
  cat(sprintf("%s variance %.3f, exactRLRT %.2f (p %.4f), twice the difference %.2f\n", name,
              VarCorr(fit)$g[1], exact$statistic, exact$p.value, abs(ratio)))
  c(exact$statistic, ratio)
}
plain <- told("change of y:    ", lmer(change ~ 1 + (1 | g), data), lm(change ~ 1, data))
offset <- told("offset baseline:", lmer(y ~ 1 + (1 | g), data, offset = baseline),
               lm(y ~ 1, data, offset = baseline))
weights <- told("weights:        ", lmer(weighted ~ 1 + (1 | g), data, weights = w),
                lm(weighted ~ 1, data, weights = w))
right <- abs(diff(plain)) < 0.01
quit(status = if (right && abs(diff(offset)) > 100 && abs(diff(weights)) > 3) 0 else 1)
R
Rscript "$folder/exact.R"
