#!/usr/bin/env bash
# ICC of psych gives intervals and tests of incomplete ratings as if none were missing
#
# R 4.2.2, psych 2.2.9, lme4 1.1-31 (Debian 12: r-cran-psych, r-cran-lme4)
#
# One expects: where a third of the ratings is missing, `ICC(ratings)` has wider limits and fewer degrees of
#   freedom than of a whole table (55 ratings of 20 subjects by 4 raters leave 55 - 20 - 3 = 32 of the residuals).
# What happens: variances are by lmer from the ratings there are (the default), and mean squares are then made of
#   them as of a whole table, 4 ratings a subject. F has 57 degrees of freedom for 32, limits go by them.
# Why it matters: missing ratings are the reason to use `ICC` with lmer at all. Its interval for one fixed
#   rater, said to hold 95 %, holds the truth in 83 % of 150 drawn tables with 40 % missing.
#
# Output seen:
#   ICC of 55 ratings: F on 19 and 57; analysis of variance of these: 19 and 32
#   intervals of 95 % that hold the truth: 96 % of whole tables, 83 % with 40 % missing
set -euo pipefail
command -v Rscript > /dev/null || { echo "needs R with psych and lme4" >&2; exit 2; }
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cat > "$folder/icc.R" <<'R'
suppressMessages(library(psych))
stopifnot(packageVersion("psych") == "2.2.9")
set.seed(3)
quiet <- function(x) suppressMessages(suppressWarnings(x))
drawn <- function(n_missing) {
  ratings <- matrix(rnorm(20), 20, 4) + matrix(rnorm(80), 20)
  ratings[sample(80, n_missing)] <- NA
  ratings
}
of_one <- function(ratings) quiet(ICC(ratings))$results["Single_fixed_raters", ]
ratings <- drawn(25)
found <- of_one(ratings)
long <- data.frame(y = c(ratings), subject = gl(20, 1, 80), rater = gl(4, 20))
by_rows <- anova(lm(y ~ rater + subject, long))
cat(sprintf("ICC of 55 ratings: F on %d and %d; analysis of variance of these: %d and %d\n",
            as.integer(found$df1), as.integer(found$df2), by_rows["subject", "Df"], by_rows["Residuals", "Df"]))
# Subjects and rows have variances of 1 each: 0.5 is the truth.
holds <- function(n_missing) {
  found <- of_one(drawn(n_missing))
  found[["lower bound"]] <= 0.5 && 0.5 <= found[["upper bound"]]
}
held <- replicate(150, holds(32))
whole <- replicate(150, holds(0))
cat(sprintf("intervals of 95 %% that hold the truth: %.0f %% of whole tables, %.0f %% with 40 %% missing\n",
            100 * mean(whole), 100 * mean(held)))
seen <- found$df2 == 57 && by_rows["Residuals", "Df"] < 40 && mean(held) < 0.92 && mean(whole) > 0.92
quit(status = if (seen) 0 else 1)
R
Rscript "$folder/icc.R"
