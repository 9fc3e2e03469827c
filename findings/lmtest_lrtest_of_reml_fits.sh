#!/usr/bin/env bash
# lrtest of lmtest compares restricted likelihoods of different fixed effects; its test has units
#
# R 4.2.2, lmtest 0.9-40, lme4 1.1-31, nlme 3.1-162 (Debian 12: r-cran-lmtest, r-cran-lme4, r-cran-nlme)
#
# One expects: what `anova` of the same two fits does: lme4 fits both anew by maximum likelihood, nlme warns
#   that REML comparisons are not meaningful.
# What happens: twice the absolute difference of the restricted log-likelihoods is compared with a
#   chi-squared distribution, of lmer's and of lme's fits, without a message. The restricted likelihood has
#   the determinant of X'V^-1 X: a time in hours, minutes or days gives three statistics.
# Why it matters: lmer and lme fit by REML unless told otherwise. Here an effect that is not there
#   (p = 0.53) has p = 0.005 in minutes and 0.01 in days.
#
# Output seen:
#   time in hours:   lrtest, lmer:   0.20, p 0.6525; lme:   0.20; anova by ML 0.40, p 0.53; by REML 0.20
#   time in minutes: lrtest, lmer:   7.99, p 0.0047; lme:   7.99; anova by ML 0.40, p 0.53; by REML -7.99
#   time in days:    lrtest, lmer:   6.56, p 0.0104; lme:   6.56; anova by ML 0.40, p 0.53; by REML 6.56
set -euo pipefail
command -v Rscript > /dev/null || { echo "needs R with lmtest, lme4 and nlme" >&2; exit 2; }
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cat > "$folder/ratio.R" <<'R'
suppressMessages({
  library(lmtest)
  library(nlme)
  library(lme4)
})
stopifnot(packageVersion("lmtest") == "0.9.40", packageVersion("lme4") == "1.1.31")
set.seed(4)
data <- expand.grid(visit = 1:5, id = factor(1:20))
data$hour <- runif(100)
data$y <- rnorm(20)[data$id] + rnorm(100)
tests <- sapply(c(hours = 1, minutes = 60, days = 1 / 24), function(unit) {
  data$time <- data$hour * unit
  small <- lmer(y ~ 1 + (1 | id), data)
  large <- lmer(y ~ time + (1 | id), data)
  other <- lrtest(lme(y ~ 1, data, ~ 1 | id), lme(y ~ time, data, ~ 1 | id))[2, ]
  one <- lrtest(small, large)[2, ]
  by_ml <- suppressMessages(anova(small, large))[2, ]
  c(one$Chisq, one[["Pr(>Chisq)"]], other$Chisq, by_ml$Chisq, by_ml[["Pr(>Chisq)"]],
    2 * c(logLik(large) - logLik(small)))
})
for (unit in colnames(tests)) {
  at <- tests[, unit]
  cat(sprintf("time in %-8s lrtest, lmer: %6.2f, p %.4f; lme: %6.2f; anova by ML %.2f, p %.2f; by REML %.2f\n",
              paste0(unit, ":"), at[1], at[2], at[3], at[4], at[5], at[6]))
}
seen <- diff(range(tests[1, ])) > 1 && diff(range(tests[4, ])) < 1e-4
quit(status = if (seen && max(abs(tests[1, ] - tests[3, ])) < 0.01 && min(tests[2, ]) < 0.02) 0 else 1)
R
Rscript "$folder/ratio.R"
