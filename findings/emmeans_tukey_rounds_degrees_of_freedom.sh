#!/usr/bin/env bash
# emmeans' Tukey p-values are of whole degrees of freedom once a comparison is not estimable
#
# R 4.2.2, emmeans 1.8.4-1, lme4 1.1-31, lmerTest 3.1-3 (Debian 12: r-cran-emmeans, r-cran-lmertest)
#
# One expects: the adjusted p-value of a comparison follows from its t ratio, its degrees of freedom
#   and the number of means, whether or not another comparison can be estimated.
# What happens: degrees of freedom that are missing become infinite, and `zapsmall`, which rounds to
#   digits of the largest of its numbers, then rounds all others to whole ones: 4.18 counts as 4
#   (and 0.4 as 0), while the table prints 4.18.
# Why it matters: Satterthwaite's and Kenward and Roger's degrees of freedom are fractions, small
#   ones in trials of few clusters, and one empty cell makes some comparisons not estimable. Here
#   p is 10 % larger; where 2.5 becomes 2 it is more, and 1.5 or 3.5 become 2 and 4: too small.
#
# Output seen:
#   a x - c x    t -5.250 df 4.185 printed 0.03549 by df 0.03229 by whole df 0.03549
#   c x - a y    t  4.272 df 4.185 printed 0.07016 by df 0.06558 by whole df 0.07016
#   zapsmall(c(2.6, 4.4)) is 2.6 4.4, zapsmall(c(2.6, 4.4, Inf)) is 3 4 Inf
set -euo pipefail
command -v Rscript > /dev/null || { echo "needs R with emmeans and lmerTest" >&2; exit 2; }
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cat > "$folder/tukey.R" <<'R'
suppressMessages({library(lmerTest); library(emmeans)})
stopifnot(packageVersion("emmeans") == "1.8.4.1")
data <- data.frame(
  site = factor(rep(1:7, each = 4)),
  arm = factor(rep(c("a", "b", "c", "a", "b", "c", "a"), each = 4)),
  half = factor(rep(c("x", "x", "y", "y"), 7)),
  y = c(5.1, 4.8, 5.9, 6.2, 6.8, 7.4, 7.1, 8.0, 8.9, 9.3, 8.2, 8.8, 4.1, 4.7, 5.2, 4.9, 8.6, 8.1,
        9.4, 9.0, 10.4, 10.9, 9.9, 10.2, 6.3, 5.8, 6.6, 7.3))
data <- data[!(data$arm == "c" & data$half == "y"), ]
fit <- suppressMessages(lmer(y ~ arm * half + (1 | site), data))
table <- as.data.frame(pairs(emmeans(fit, ~ arm * half, lmer.df = "satterthwaite")))
p <- function(row, df) ptukey(sqrt(2) * abs(row$t.ratio), 6, df, lower.tail = FALSE)
for (name in c("a x - c x", "c x - a y")) {
  row <- table[table$contrast == name, ]
  cat(sprintf("%-12s t %6.3f df %.3f printed %.5f by df %.5f by whole df %.5f\n", name,
              row$t.ratio, row$df, row$p.value, p(row, row$df), p(row, round(row$df))))
  stopifnot(abs(row$p.value - p(row, round(row$df))) < 1e-8)
  stopifnot(row$p.value > 1.05 * p(row, row$df))
}
cat("zapsmall(c(2.6, 4.4)) is", zapsmall(c(2.6, 4.4)), "\n")
cat("zapsmall(c(2.6, 4.4, Inf)) is", zapsmall(c(2.6, 4.4, Inf)), "\n")
R
Rscript "$folder/tukey.R"
