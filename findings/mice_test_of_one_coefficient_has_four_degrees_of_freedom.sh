#!/usr/bin/env bash
# D1 of mice tests one coefficient of five imputations on 4 degrees of freedom, whatever the data
#
# R 4.2.2, mice 3.15.0, mitml 0.4-4 (Debian 12: r-cran-mice, r-cran-mitml); mice 3.19.10 with mitml 0.4-5
# has the same formula
#
# One expects: the Wald test of one coefficient, D1, is its pooled t test: F is t squared, and the
#   denominator has the degrees of freedom by Barnard and Rubin.
# What happens: Reiter's approximation for several coefficients is used throughout. It divides by
#   k (m - 1) - 4, which is 0 for one coefficient of 5 imputations, the default of mice, and ends at 4
#   degrees of freedom by any data, also in 500 rows where no value of that covariate is missing.
# Why it matters: a single effect, also that of a treatment between two arms, is tested with far too
#   few degrees of freedom: p = 0.069 here where the table of the same pooled fits has 0.036.
#
# Output seen:
#   pooled t test of bmi:   t^2 6.101, df 9.0, p 0.0356
#   D1 of the same:         F   6.101, df 4.0, p 0.0689
#   t test, 500 rows:       t^2 7.349, df 494.3, p 0.0069
#   D1 of the same:         F   7.349, df 4.0, p 0.0535
set -euo pipefail
command -v Rscript > /dev/null || { echo "needs R with mice and mitml" >&2; exit 2; }
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cat > "$folder/one.R" <<'R'
suppressMessages({
  library(mice)
  library(mitml)
})
stopifnot(packageVersion("mice") == "3.15.0", packageVersion("mitml") == "0.4.4")
tests <- function(fits, smaller, name) {
  pooled <- summary(pool(fits))
  at <- pooled[pooled$term == name, ]
  joint <- summary(D1(fits, smaller))$comparisons
  c(at$statistic^2, at$df, at$p.value, joint$statistic, joint$df2, joint$p.value)
}
filled <- mice(nhanes2, m = 5, printFlag = FALSE, seed = 1)
small <- tests(with(filled, lm(chl ~ age + bmi)), with(filled, lm(chl ~ age)), "bmi")
set.seed(1)
rows <- data.frame(x = rnorm(500), z = rnorm(500))
rows$y <- 0.15 * rows$x + rnorm(500)
rows$z[1:100] <- NA
large <- mice(rows, m = 5, printFlag = FALSE, seed = 1)
large <- tests(with(large, lm(y ~ z + x)), with(large, lm(y ~ z)), "x")
shown <- function(label, of) {
  cat(sprintf("%-23s t^2 %.3f, df %.1f, p %.4f\n", label, of[1], of[2], of[3]))
  cat(sprintf("%-23s F   %.3f, df %.1f, p %.4f\n", "D1 of the same:", of[4], of[5], of[6]))
}
shown("pooled t test of bmi:", small)
shown("t test, 500 rows:", large)
same <- abs(small[1] / small[4] - 1) < 1e-8 && abs(large[1] / large[4] - 1) < 1e-8
fours <- abs(small[5] - 4) < 1e-6 && abs(large[5] - 4) < 1e-6
quit(status = if (same && fours && small[2] > 8 && large[2] > 100) 0 else 1)
R
Rscript "$folder/one.R"
