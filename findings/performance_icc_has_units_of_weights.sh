#!/usr/bin/env bash
# ICC and R2 of performance follow the units of weights, and with lme's variance functions the first row
#
# R 4.2.2, performance 0.10.2, insight 0.19.0, lme4 1.1-31, nlme 3.1-162 (Debian 12:
# r-cran-performance, r-cran-insight, r-cran-lme4, r-cran-nlme); insight 1.5.2 takes no weights either
#
# One expects: weights w and 4 w of lmer are one model, with one likelihood, one variance of the subjects
#   and residual variances sigma^2 / w: one ICC. The order of rows is no part of a model.
# What happens: the residual variance is sigma^2, that of a row whose weight is 1. Weights times 4 make it
#   four times as large: the ICC is 0.25, 0.08 or 0.76 for weights times 1, 4 or 1 / 10. With
#   `lme(weights = varIdent(form = ~ 1 | late))` sigma^2 is the variance of the stratum that the first
#   row is of: 0.85 or 0.19 by the order of the rows. No message.
# Why it matters: weights are numbers of plants or 1 / se^2, seldom around 1, and reported repeatability
#   and R2 are then of no observation there is.
#
# Output seen:
#   lmer, weights times 1:          log-likelihood -247.361, sd of subjects 1.216, ICC 0.245, R2 0.237
#   lmer, weights times 4:          log-likelihood -247.361, sd of subjects 1.216, ICC 0.075, R2 0.087
#   lmer, weights times 0.1:        log-likelihood -247.361, sd of subjects 1.216, ICC 0.764, R2 0.492
#   lme, first a row that is early: log-likelihood -206.899, sd of subjects 1.054, ICC 0.852, R2 0.497
#   lme, first a row that is late:  log-likelihood -206.899, sd of subjects 1.054, ICC 0.194, R2 0.183
set -euo pipefail
command -v Rscript > /dev/null || { echo "needs R with performance, lme4 and nlme" >&2; exit 2; }
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cat > "$folder/icc.R" <<'R'
suppressMessages({
  library(nlme)
  library(lme4)
  library(performance)
})
stopifnot(packageVersion("performance") == "0.10.2", packageVersion("insight") == "0.19.0")
set.seed(5)
data <- expand.grid(visit = 1:4, id = factor(1:30))
data$x <- runif(120, 1, 5)
data$w <- runif(120, 0.3, 4)
data$late <- data$visit > 2
data$y <- data$x + rnorm(30)[data$id] + rnorm(120) * ifelse(data$late, 2, 0.5)
shares <- function(label, fit, subjects) {
  at <- c(icc(fit)$ICC_adjusted, r2_nakagawa(fit)$R2_marginal)
  cat(sprintf("%-31s log-likelihood %.3f, sd of subjects %.3f, ICC %.3f, R2 %.3f\n", label, logLik(fit),
              subjects, at[1], at[2]))
  c(logLik(fit), at[1])
}
weighted <- sapply(c(1, 4, 0.1), function(times) {
  data$k <- times * data$w
  fit <- lmer(y ~ x + (1 | id), data, weights = k)
  shares(sprintf("lmer, weights times %g:", times), fit, attr(VarCorr(fit)$id, "stddev"))
})
ordered <- sapply(c("early", "late"), function(first) {
  data <- data[order(data$late == (first == "early")), ]
  fit <- lme(y ~ x, data, ~ 1 | id, weights = varIdent(form = ~ 1 | late))
  shares(sprintf("lme, first a row that is %s:", first), fit, as.numeric(VarCorr(fit)[1, 2]))
})
one <- function(both) diff(range(both[1, ])) < 1e-4 && diff(range(both[2, ])) > 0.3
quit(status = if (one(weighted) && one(ordered)) 0 else 1)
R
Rscript "$folder/icc.R"
