#!/usr/bin/env bash
# Types II and III of lmerTest's anova depend on the order of levels where columns are aliased
#
# R 4.2.2, lme4 1.1-31, lmerTest 3.1-3 (Debian 12: r-cran-lme4, r-cran-lmertest)
#
# One expects: a type II or III test does not depend on which level of another factor comes first.
#   In a crossover with carry-over the first period is aliased with "no treatment before", so one
#   comparison of periods (of the later two) can be told from carry-over: 1 numerator degree of
#   freedom by SAS's definition of estimable functions.
# What happens: lmer drops the last aliased column of the order at hand, and the test of `per` is of
#   the coefficients that are left: 2 degrees of freedom always, and F = 4.87 or 9.06 (p = 0.019 or
#   0.0017) by the order of the levels of `carry`, which the model does not depend on.
# Why it matters: every crossover trial with carry-over is such a design, and the message on dropped
#   columns does not say that tests of other terms changed.
#
# Output seen:
#   none first: per   NumDF 2, F 4.8733, p 0.0193
#   high first: per   NumDF 2, F 9.0641, p 0.0017
#   largest difference of fitted values: below 1e-6
set -euo pipefail
command -v Rscript > /dev/null || { echo "needs R with lme4 and lmerTest" >&2; exit 2; }
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cat > "$folder/carry.R" <<'R'
suppressMessages(library(lmerTest))
stopifnot(packageVersion("lmerTest") == "3.1.3")
sequences <- rep(c("high low placebo", "low placebo high", "placebo high low",
                   "placebo low high", "high placebo low", "low high placebo"), 2)
data <- do.call(rbind, lapply(seq_along(sequences), function(i) {
  trt <- strsplit(sequences[i], " ")[[1]]
  data.frame(id = factor(i), per = factor(0:2), trt = trt, carry = c("none", trt[1:2]))
}))
data$y <- c(0.3, 0.9, 1.9, -1.3, -0.3, 0.9, -0.5, 0.6, 0.4, 0.3, 0, 0.9, -0.7, 0.8, -0.5, 0.6, 0.3,
            -0.1, -0.8, 0.5, 0, 0.4, -0.3, 1.1, -0.3, 1.3, 2.5, -1.5, 0.4, 0, -1.9, 0.7, 0.6, 0.1,
            0.2, 2.2)
test <- function(first) {
  levels <- c(first, setdiff(c("none", "high", "low", "placebo"), first))
  data$carry <- factor(data$carry, levels = levels)
  fit <- suppressMessages(lmer(y ~ per + trt + carry + (1 | id), data))
  row <- anova(fit, type = 3)["per", ]
  cat(sprintf("%s first: per   NumDF %d, F %.4f, p %.4f\n", first, row$NumDF, row$`F value`,
              row$`Pr(>F)`))
  list(row = row, fitted = fitted(fit))
}
one <- test("none")
other <- test("high")
gap <- max(abs(one$fitted - other$fitted))
cat("largest difference of fitted values:", if (gap < 1e-6) "below 1e-6" else gap, "\n")
changed <- abs(one$row$`F value` / other$row$`F value` - 1) > 0.1
quit(status = if (changed && gap < 1e-6 && one$row$NumDF == 2) 0 else 1)
R
Rscript "$folder/carry.R"
