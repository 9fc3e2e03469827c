#!/usr/bin/env bash
# After maximum likelihood summary and intervals of an lme or gls fit go by different standard errors
#
# R 4.2.2, nlme 3.1-162, lme4 1.1-31 (Debian 12: r-cran-nlme, r-cran-lme4); `adjustSigma` of the help pages
#
# One expects: the p value of a coefficient and its interval belong to one standard error, that of `vcov`,
#   which lmer has for the same fit.
# What happens: `summary` and `anova` of an lme fit with method = "ML" multiply the standard errors by
#   sqrt(N / (N - p)); `vcov`, `intervals` and all that takes `vcov` (multcomp, car) do not. Nothing is
#   printed of it. Of 24 rows and 7 coefficients the factor is 1.19.
# Why it matters: two tables of one fit disagree: here p = 0.065 beside a 95 % interval without 0. A check
#   against lme4, SAS or statsmodels by ML finds other standard errors in the one that is reported.
#
# Output seen:
#   summary of lme:     standard error 0.2155, p 0.065
#   vcov of lme:        standard error 0.1814, interval 0.042 to 0.832
#   summary of lmer:    standard error 0.1814
#   ratio 1.1882, sqrt(24 / 17) 1.1882
set -euo pipefail
command -v Rscript > /dev/null || { echo "needs R with nlme and lme4" >&2; exit 2; }
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cat > "$folder/ml.R" <<'R'
suppressMessages({
  library(nlme)
  library(lme4)
})
stopifnot(packageVersion("nlme") == "3.1.162", packageVersion("lme4") == "1.1.31")
set.seed(7)
data <- expand.grid(visit = 1:4, id = factor(1:6))
for (name in paste0("x", 1:6)) data[[name]] <- rnorm(24)
data$y <- 0.7 * data$x1 + rnorm(6)[data$id] + rnorm(24)
model <- y ~ x1 + x2 + x3 + x4 + x5 + x6
fit <- lme(model, data, ~ 1 | id, method = "ML")
other <- lmer(update(model, . ~ . + (1 | id)), data, REML = FALSE)
row <- summary(fit)$tTable["x1", ]
limits <- intervals(fit, which = "fixed")$fixed["x1", ]
plain <- sqrt(vcov(fit)["x1", "x1"])
lme4s <- sqrt(vcov(other)["x1", "x1"])
cat(sprintf("summary of lme:     standard error %.4f, p %.3f\n", row["Std.Error"], row["p-value"]))
cat(sprintf("vcov of lme:        standard error %.4f, interval %.3f to %.3f\n", plain, limits["lower"],
            limits["upper"]))
cat(sprintf("summary of lmer:    standard error %.4f\n", lme4s))
ratio <- row[["Std.Error"]] / plain
cat(sprintf("ratio %.4f, sqrt(24 / 17) %.4f\n", ratio, sqrt(24 / 17)))
apart <- row["p-value"] > 0.05 && limits["lower"] > 0
seen <- abs(ratio - sqrt(24 / 17)) < 1e-6 && abs(plain / lme4s - 1) < 1e-4 && apart
quit(status = if (seen) 0 else 1)
R
Rscript "$folder/ml.R"
