#!/usr/bin/env bash
# emmeans of a gam with an empty cell gives means that nobody was measured for, by the reference level
#
# R 4.2.2, mgcv 1.8-41, emmeans 1.8.4-1, lme4 1.1-31 (Debian 12: r-cran-mgcv, r-cran-emmeans, r-cran-lme4)
#
# One expects: in `arm * visit` without rows of arm a at visit 1 the mean of that cell, and of arm a over
#   all visits, cannot be estimated; emmeans says nonEst after lmer and lm.
# What happens: gam sets some coefficient of the rank-deficient design to 0 without a word, and emmeans takes
#   it for an estimate. The cell that nobody is in has a mean with a standard error, that of another
#   visit. Which one depends on the order of levels: the mean of arm a is 5.18, 5.29 or 5.09 and the
#   difference of the arms 0.55, 0.66 or 0.45, by one likelihood.
# Why it matters: `s(id, bs = "re")` is how a random intercept is written where there are smooth terms too,
#   and empty cells are usual (a dose that starts later, a site without a visit).
#
# Output seen:
#   lmer:               a at visit 1 nonEst, a nonEst
#   gam:                a at visit 1 5.41 (0.39), a 5.18, REML 101.978
#   gam, arm b first:   a at visit 1 5.88 (0.55), a 5.29, REML 101.978
#   gam, visit 4 first: a at visit 1 5.04 (0.39), a 5.09, REML 101.978
set -euo pipefail
command -v Rscript > /dev/null || { echo "needs R with mgcv, emmeans and lme4" >&2; exit 2; }
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cat > "$folder/gam.R" <<'R'
suppressMessages({
  library(mgcv)
  library(emmeans)
  library(lme4)
})
stopifnot(packageVersion("mgcv") == "1.8.41", packageVersion("emmeans") == "1.8.4.1")
set.seed(3)
data <- expand.grid(visit = factor(1:4), id = factor(1:20))
data$arm <- factor(letters[as.integer(data$id) %% 2 + 1])
data$y <- rnorm(20)[data$id] + rnorm(80) + 5
data <- data[!(data$visit == "1" & data$arm == "a"), ]
means <- function(fit, ...) {
  cells <- as.data.frame(emmeans(fit, ~ arm * visit, ...))
  arms <- as.data.frame(emmeans(fit, ~ arm, ...))
  empty <- cells[cells$arm == "a" & cells$visit == "1", ]
  c(empty$emmean, empty$SE, arms$emmean[arms$arm == "a"])
}
by_gam <- function(label, data) {
  fit <- gam(y ~ arm * visit + s(id, bs = "re"), data = data, method = "REML")
  at <- means(fit)
  cat(sprintf("%-19s a at visit 1 %.2f (%.2f), a %.2f, REML %.3f\n", label, at[1], at[2], at[3],
              fit$gcv.ubre))
  c(at, fit$gcv.ubre)
}
options(warn = 2)
right <- suppressMessages(means(lmer(y ~ arm * visit + (1 | id), data), lmer.df = "asymptotic"))
if (all(is.na(right[c(1, 3)]))) cat("lmer:               a at visit 1 nonEst, a nonEst\n")
plain <- by_gam("gam:", data)
other <- by_gam("gam, arm b first:", transform(data, arm = relevel(arm, "b")))
third <- by_gam("gam, visit 4 first:", transform(data, visit = relevel(visit, "4")))
found <- rbind(plain, other, third)
apart <- min(dist(found[, 3])) > 0.05
quit(status = if (all(is.na(right[c(1, 3)])) && apart && diff(range(found[, 4])) < 1e-4) 0 else 1)
R
Rscript "$folder/gam.R"
