#!/usr/bin/env bash
# Kenward-Roger of pbkrtest, lmerTest and emmeans leaves the weights of lmer out
#
# R 4.2.2, lme4 1.1-31, pbkrtest 0.5.2, lmerTest 3.1-3, emmeans 1.8.4-1 (Debian 12: r-cran-lme4,
# r-cran-pbkrtest, r-cran-lmertest, r-cran-emmeans)
#
# One expects: a fit with `weights = w` is the fit of sqrt(w) y on columns times sqrt(w) without
#   weights: the same likelihood, so the same tests. By Satterthwaite's method it is.
# What happens: pbkrtest takes the residual covariance as the identity times sigma^2. Standard errors
#   and degrees of freedom by Kenward and Roger are those of another covariance matrix: 14 degrees of
#   freedom instead of 10 here, a standard error of 0.537 instead of 0.524. No message.
# Why it matters: emmeans uses this method for lmer by default, so every table of means and contrasts
#   of a weighted fit (plot means of unequal size, two-stage analyses of field trials) has it.
#
# Output seen:
#   weights,     satterthwaite:   se 0.5240, df 9.98
#   transformed, satterthwaite:   se 0.5240, df 9.98
#   weights,     Kenward-Roger:   se 0.5370, df 13.85
#   transformed, Kenward-Roger:   se 0.5240, df 10.00
#   weights,     emmeans:         se 0.5370, df 13.85
set -euo pipefail
command -v Rscript > /dev/null || { echo "needs R with lme4, lmerTest and emmeans" >&2; exit 2; }
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cat > "$folder/weights.R" <<'R'
suppressMessages({library(lmerTest); library(emmeans)})
stopifnot(packageVersion("lme4") == "1.1.31", packageVersion("pbkrtest") == "0.5.2")
set.seed(1)
data <- data.frame(id = factor(rep(1:12, each = 5)), w = rep(c(1, 10), length.out = 60))
data$trt <- factor(ifelse(as.integer(data$id) %% 2 == 0, "a", "b"))
data$y <- rnorm(12)[data$id] + rnorm(60) / sqrt(data$w)
weighted <- lmer(y ~ trt + (1 | id), data, weights = w)
data <- transform(data, s = sqrt(w), sy = sqrt(w) * y, sb = sqrt(w) * (trt == "b"))
transformed <- lmer(sy ~ 0 + s + sb + (0 + s | id), data)
shown <- function(label, se, df) cat(sprintf("%-30sse %.4f, df %.2f\n", label, se, df))
row <- function(label, fit, name, ddf) {
  found <- coef(summary(fit, ddf = ddf))[name, ]
  shown(label, found["Std. Error"], found["df"])
  found
}
invisible(row("weights,     satterthwaite:", weighted, "trtb", "Satterthwaite"))
invisible(row("transformed, satterthwaite:", transformed, "sb", "Satterthwaite"))
one <- row("weights,     Kenward-Roger:", weighted, "trtb", "Kenward-Roger")
other <- row("transformed, Kenward-Roger:", transformed, "sb", "Kenward-Roger")
means <- summary(pairs(emmeans(weighted, ~ trt)))
shown("weights,     emmeans:", means$SE, means$df)
same_fit <- abs(one["Estimate"] - other["Estimate"]) < 1e-5
quit(status = if (same_fit && one["df"] > other["df"] + 2 && means$df > other["df"] + 2) 0 else 1)
R
Rscript "$folder/weights.R"
