#!/usr/bin/env bash
# Profile limits of fixed effects are a fraction of their length once lmer has weights
#
# R 4.2.2, lme4 1.1-31 (Debian 12: r-cran-lme4); lme4's issue 192 has it since 2014
#
# One expects: `confint(fit)` of a fit with `weights = w` is that of the same fit written as
#   sqrt(w) y on columns times sqrt(w): one likelihood, so one profile.
# What happens: the limits of the standard deviations are the same, those of the coefficients are not:
#   the profiled deviance lacks the weights' determinant. The interval of the intercept is 0.12 long
#   where it should be 1.44, that of trtb 0.08 instead of 2.04. Warnings speak of non-monotonic
#   profiles; a table is printed all the same.
# Why it matters: profile limits are what `confint` gives by default, and they say that everything is
#   significant.
#
# Output seen:
#   weights:     sigma 0.779 to 1.165, intercept 0.382 to 0.500, trtb -0.264 to -0.186
#   transformed: sigma 0.779 to 1.165, intercept -0.310 to 1.125, trtb -1.276 to 0.759
set -euo pipefail
command -v Rscript > /dev/null || { echo "needs R with lme4" >&2; exit 2; }
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cat > "$folder/profile.R" <<'R'
suppressMessages(library(lme4))
stopifnot(packageVersion("lme4") == "1.1.31")
set.seed(1)
data <- data.frame(id = factor(rep(1:12, each = 5)), w = rep(c(1, 10), length.out = 60))
data$trt <- ifelse(as.integer(data$id) %% 2 == 0, "a", "b")
data$y <- rnorm(12)[data$id] + rnorm(60) / sqrt(data$w)
weighted <- lmer(y ~ trt + (1 | id), data, weights = w, REML = FALSE)
data <- transform(data, s = sqrt(w), sy = sqrt(w) * y, sb = sqrt(w) * (trt == "b"))
transformed <- lmer(sy ~ 0 + s + sb + (0 + s | id), data, REML = FALSE)
limits <- function(label, fit) {
  found <- suppressWarnings(suppressMessages(confint(fit)))
  cat(sprintf("%-12s sigma %.3f to %.3f, intercept %.3f to %.3f, trtb %.3f to %.3f\n", label,
              found[2, 1], found[2, 2], found[3, 1], found[3, 2], found[4, 1], found[4, 2]))
  found
}
one <- limits("weights:", weighted)
other <- limits("transformed:", transformed)
same_sigma <- max(abs(one[2, ] - other[2, ])) < 1e-3
quit(status = if (same_sigma && diff(one[3, ]) < 0.3 * diff(other[3, ])) 0 else 1)
R
Rscript "$folder/profile.R"
