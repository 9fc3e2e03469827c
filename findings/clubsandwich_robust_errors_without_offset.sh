#!/usr/bin/env bash
# Cluster-robust standard errors of clubSandwich leave the offset of lmer out of the residuals
#
# R 4.2.2, clubSandwich 0.5.8, lme4 1.1-31 (Debian 12: r-cran-clubsandwich, r-cran-lme4); 0.6.0 has the
# same code
#
# One expects: a fit with `offset(baseline)` is the fit of the change from baseline: the same likelihood,
#   coefficients and residuals, so the same robust standard errors. Prior weights, which are not
#   provided for either, are refused.
# What happens: the residuals are y - X beta, offset and all. The standard error of x is 1.03 where it
#   is 0.127, its p value 0.74 instead of 0.014; that of the intercept is 50 times too large. No
#   message.
# Why it matters: baselines and known parts of a mean are given as offsets, and `coef_test` of clubSandwich
#   is how robust tests with few clusters (CR2, Satterthwaite) are made for lmer.
#
# Output seen:
#   offset(baseline): log-likelihood -189.854, x 0.351, se by model 0.102, CR2 1.034 on 15.2 df, p 0.739
#   y - baseline:     log-likelihood -189.854, x 0.351, se by model 0.102, CR2 0.127 on 15.2 df, p 0.014
#   intercepts: CR2 11.38 and 0.23
set -euo pipefail
command -v Rscript > /dev/null || { echo "needs R with clubSandwich and lme4" >&2; exit 2; }
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cat > "$folder/robust.R" <<'R'
suppressMessages({
  library(lme4)
  library(clubSandwich)
})
stopifnot(packageVersion("clubSandwich") == "0.5.8", packageVersion("lme4") == "1.1.31")
set.seed(9)
data <- expand.grid(row = 1:6, id = factor(1:20))
data$x <- rnorm(120)
data$baseline <- rnorm(120, 50, 5)
data$y <- data$baseline + rnorm(20)[data$id] + 0.4 * data$x + rnorm(120)
fits <- list("offset(baseline):" = lmer(y ~ x + offset(baseline) + (1 | id), data),
             "y - baseline:" = lmer(I(y - baseline) ~ x + (1 | id), data))
tests <- lapply(names(fits), function(label) {
  test <- coef_test(fits[[label]], "CR2")
  cat(sprintf("%-17s log-likelihood %.3f, x %.3f, se by model %.3f, CR2 %.3f on %.1f df, p %.3f\n", label,
              logLik(fits[[label]]), test$beta[2], coef(summary(fits[[label]]))["x", 2], test$SE[2],
              test$df[2], test$p_Satt[2]))
  test
})
cat(sprintf("intercepts: CR2 %.2f and %.2f\n", tests[[1]]$SE[1], tests[[2]]$SE[1]))
one <- abs(logLik(fits[[1]]) - logLik(fits[[2]])) < 1e-6
quit(status = if (one && tests[[1]]$SE[2] > 3 * tests[[2]]$SE[2]) 0 else 1)
R
Rscript "$folder/robust.R"
