#!/usr/bin/env bash
# D3 of mice subtracts likelihoods from restricted likelihoods when the fits are lmer's
#
# R 4.2.2, mice 3.15.0, lme4 1.1-31, broom.mixed 0.2.9.4, mitml 0.4-4 (Debian 12: r-cran-mice,
# r-cran-lme4, r-cran-broom.mixed, r-cran-mitml)
#
# One expects: the pooled likelihood ratio test of `with(imp, lmer(...))`, which fits by REML, is one of
#   maximum likelihood, as testModels(method = "D3") of mitml has it (its anova says that it refits), or
#   is refused; F and the relative increase of variance are not negative; units do not matter.
# What happens: the log-likelihoods of the fits are restricted ones, those at the pooled coefficients come
#   from fits without fixed effects, by maximum likelihood. The difference of the two is no statistic: F
#   is -1.77 on 2.5 degrees of freedom, and p 1. With the covariate in thousandths F is another.
# Why it matters: REML is the default of lmer, and p = 1 reads as "no effect" where p is 0.02.
#
# Output seen:
#   D3 of mice, REML:                      F -1.774, df 2.5, p 1.000, riv -4.753
#   D3 of mice, REML, x in thousandths:    F -0.272, df 3.7, p 1.000, riv -25.477
#   D3 of mice, maximum likelihood:        F  5.542, df 134.6, p 0.020, riv 0.208
#   D3 of mitml, REML:                     F  5.461, df 119.2, p 0.021, riv 0.224
set -euo pipefail
command -v Rscript > /dev/null || { echo "needs R with mice, mitml, lme4 and broom.mixed" >&2; exit 2; }
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cat > "$folder/d3.R" <<'R'
suppressMessages({
  library(mice)
  library(lme4)
  library(broom.mixed)
  library(mitml)
})
stopifnot(packageVersion("mice") == "3.15.0", packageVersion("lme4") == "1.1.31")
set.seed(4)
data <- expand.grid(visit = 1:5, id = 1:40)
data$arm <- factor(data$id %% 2)
data$y <- rnorm(40)[data$id] + rnorm(200)
data$x <- rnorm(200) + data$y / 4
data$x[sample(200, 40)] <- NA
filled <- mice(data[c("id", "visit", "arm", "x", "y")], m = 5, printFlag = FALSE, seed = 1)
shown <- function(label, of) {
  cat(sprintf("%-38s F %6.3f, df %.1f, p %.3f, riv %.3f\n", label, of[1], of[2], of[3], of[4]))
  of
}
by_mice <- function(label, larger, smaller) {
  at <- summary(D3(larger, smaller))$comparisons
  shown(label, c(at$statistic, at$df2, at$p.value, at$riv))
}
larger <- with(filled, lmer(y ~ arm + x + (1 | id)))
smaller <- with(filled, lmer(y ~ arm + (1 | id)))
thousandths <- with(filled, lmer(y ~ arm + I(1000 * x) + (1 | id)))
by_ml <- with(filled, lmer(y ~ arm + x + (1 | id), REML = FALSE))
smaller_by_ml <- with(filled, lmer(y ~ arm + (1 | id), REML = FALSE))
wrong <- by_mice("D3 of mice, REML:", larger, smaller)
other <- by_mice("D3 of mice, REML, x in thousandths:", thousandths, smaller)
right <- by_mice("D3 of mice, maximum likelihood:", by_ml, smaller_by_ml)
mitmls <- testModels(as.mitml.result(larger), as.mitml.result(smaller), method = "D3")$test
mitmls <- shown("D3 of mitml, REML:", mitmls[c(1, 3, 4, 5)])
agree <- abs(right[1] / mitmls[1] - 1) < 0.05
quit(status = if (wrong[1] < 0 && abs(other[1] - wrong[1]) > 1 && agree) 0 else 1)
R
Rscript "$folder/d3.R"
