#!/usr/bin/env bash
# BIC of lme and of lmer differ for the same fit by REML
#
# R 4.2.2, nlme 3.1-162, lme4 1.1-31 (Debian 12: r-cran-nlme, r-cran-lme4)
#
# One expects: two packages that agree on estimates, restricted log-likelihood and number of parameters agree on
#   BIC, -2 log-likelihood + parameters * log(n).
# What happens: nlme counts n less the number of fixed effects after REML (all n after maximum likelihood),
#   lme4 counts n. AIC is the same. (PROC MIXED counts subjects.)
# Why it matters: BIC is compared between `lme` with a residual structure and `lmer` without. Of 24
#   rows and 8 fixed effects the difference is 4, more than many a difference between models.
#
# Output seen:
#   log-likelihood: lme -30.663, lmer -30.663
#   AIC:            lme 81.325, lmer 81.325
#   BIC:            lme 89.051, lmer 93.106
#   by hand, 10 parameters: n - 8 rows 89.051, n rows 93.106
set -euo pipefail
command -v Rscript > /dev/null || { echo "needs R with nlme and lme4" >&2; exit 2; }
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cat > "$folder/bic.R" <<'R'
suppressMessages({
  library(nlme)
  library(lme4)
})
stopifnot(packageVersion("nlme") == "3.1.162", packageVersion("lme4") == "1.1.31")
set.seed(1)
data <- expand.grid(visit = factor(1:4), id = factor(1:6))
data$arm <- factor(c("a", "b")[as.integer(data$id) %% 2 + 1])
data$y <- rnorm(6)[data$id] + rnorm(24)
one <- lme(y ~ arm * visit, random = ~ 1 | id, data = data)
other <- lmer(y ~ arm * visit + (1 | id), data)
told <- function(label, of) {
  cat(sprintf("%-15s lme %.3f, lmer %.3f\n", label, of(one), of(other)))
  of(one) - of(other)
}
apart <- c(told("log-likelihood:", logLik), told("AIC:", AIC), told("BIC:", BIC))
by_hand <- -2 * c(logLik(one)) + 10 * log(c(24 - 8, 24))
cat(sprintf("by hand, 10 parameters: n - 8 rows %.3f, n rows %.3f\n", by_hand[1], by_hand[2]))
seen <- max(abs(apart[1:2])) < 1e-4 && max(abs(c(BIC(one), BIC(other)) - by_hand)) < 1e-4
quit(status = if (seen && apart[3] < -3) 0 else 1)
R
Rscript "$folder/bic.R"
