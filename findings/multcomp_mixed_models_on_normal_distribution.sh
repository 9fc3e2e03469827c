#!/usr/bin/env bash
# glht of multcomp tests effects of an lmer fit by the normal distribution, those of lmerTest fits too
#
# R 4.2.2, multcomp 1.4-22, lmerTest 3.1-3, lme4 1.1-31 (Debian 12: r-cran-multcomp, r-cran-lmertest)
#
# One expects: `summary(glht(fit, mcp(arm = "Tukey")))` of 8 subjects to have the degrees of freedom of the fit,
#   as `glht` of `lm` and `aov` has (t and its multivariate form), and as `summary(fit)` of lmerTest does.
# What happens: a mixed model has none for `glht`, and then `df = 0` stands for the normal distribution. The
#   degrees of freedom of lmerTest are not asked for. The column is headed z, no message says why.
# Why it matters: 4 subjects an arm are compared as if there were very many. The p-value is below 0.05 where
#   the exact one of the balanced design (a t test of the subjects' means, 6 degrees of freedom) is 0.07, and
#   intervals are too short by a fifth.
#
# Output seen:
#   glht:                    p 0.0286, 95 % 0.191 to 3.458
#   lmerTest:                p 0.0712
#   t test of means:         p 0.0712, 95 % -0.215 to 3.864
#   glht(df = 6):            p 0.0712, 95 % -0.215 to 3.864
set -euo pipefail
command -v Rscript > /dev/null || { echo "needs R with multcomp and lmerTest" >&2; exit 2; }
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cat > "$folder/normal.R" <<'R'
suppressMessages({
  library(multcomp)
  library(lmerTest)
})
stopifnot(packageVersion("multcomp") == "1.4.22", packageVersion("lmerTest") == "3.1.3")
set.seed(4)
data <- expand.grid(visit = 1:4, id = factor(1:8))
data$arm <- factor(c("a", "b")[as.integer(data$id) %% 2 + 1])
data$y <- 1.6 * (data$arm == "b") + rnorm(8)[data$id] + rnorm(32) * 0.5
fit <- lmer(y ~ arm + (1 | id), data)
of_glht <- function(...) {
  found <- glht(fit, mcp(arm = "Tukey"), ...)
  c(summary(found)$test$pvalues, confint(found)$confint[1, c("lwr", "upr")])
}
means <- aggregate(y ~ id + arm, data, mean)
exact <- t.test(y ~ arm, means, var.equal = TRUE)
satterthwaite <- coef(summary(fit))["armb", "Pr(>|t|)"]
told <- function(label, p, limits = NULL) {
  rest <- if (is.null(limits)) "" else sprintf(", 95 %% %.3f to %.3f", limits[1], limits[2])
  cat(sprintf("%-24s p %.4f%s\n", label, p, rest))
}
plain <- of_glht()
with_six <- of_glht(df = 6)
limits <- -rev(exact$conf.int)
told("glht:", plain[1], plain[2:3])
told("lmerTest:", satterthwaite)
told("t test of means:", exact$p.value, limits)
told("glht(df = 6):", with_six[1], with_six[2:3])
z <- fixef(fit)[["armb"]] / sqrt(vcov(fit)["armb", "armb"])
seen <- abs(plain[1] - 2 * pnorm(-z)) < 1e-6 && abs(with_six[1] - exact$p.value) < 1e-4 &&
  abs(satterthwaite - exact$p.value) < 1e-4 && plain[1] < 0.05 && exact$p.value > 0.05
quit(status = if (seen) 0 else 1)
R
Rscript "$folder/normal.R"
