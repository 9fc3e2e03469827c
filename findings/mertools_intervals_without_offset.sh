#!/usr/bin/env bash
# predictInterval of merTools leaves the offset out
#
# R 4.2.2, merTools 0.5.2, lme4 1.1-31 (Debian 12: r-cran-mertools, r-cran-lme4); 1.0.0 computes the offset
# and does not use it either
#
# One expects: the middle of `predictInterval(fit, newdata)` is `predict(fit, newdata)`, which has the
#   offset(baseline) of the formula, and the interval holds about 95 % of the responses.
# What happens: middle and limits are those of the change from baseline. `predict` says 56.2, the
#   interval is -1.9 to 2.5; none of 120 responses is inside. No message.
# Why it matters: prediction intervals of lmer are what the package is for; where offsets are small beside
#   the spread the intervals look right.
#
# Output seen:
#   offset(baseline): predict 56.2, interval -1.9 to 2.5 around 0.2, of 120 responses inside 0 %
#   change:           predict 0.2, interval -1.9 to 2.5 around 0.2, of 120 responses inside 95 %
set -euo pipefail
command -v Rscript > /dev/null || { echo "needs R with merTools and lme4" >&2; exit 2; }
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cat > "$folder/interval.R" <<'R'
suppressWarnings(suppressMessages({
  library(lme4)
  library(merTools)
}))
stopifnot(packageVersion("merTools") == "0.5.2", packageVersion("lme4") == "1.1.31")
set.seed(9)
data <- expand.grid(row = 1:6, id = factor(1:20))
data$x <- rnorm(120)
data$baseline <- rnorm(120, 50, 5)
data$y <- data$baseline + rnorm(20)[data$id] + 0.4 * data$x + rnorm(120)
data$change <- data$y - data$baseline
inside <- sapply(c("offset(baseline)", "change"), function(kind) {
  change <- kind == "change"
  fit <- if (change) lmer(change ~ x + (1 | id), data) else lmer(y ~ x + offset(baseline) + (1 | id), data)
  limits <- suppressWarnings(predictInterval(fit, data, n.sims = 1000, seed = 1, level = 0.95))
  seen <- if (change) data$change else data$y
  share <- mean(seen > limits$lwr & seen < limits$upr)
  cat(sprintf("%-17s predict %.1f, interval %.1f to %.1f around %.1f, of 120 responses inside %.0f %%\n",
              paste0(kind, ":"), predict(fit, data[1, ]), limits$lwr[1], limits$upr[1], limits$fit[1],
              100 * share))
  share
})
quit(status = if (inside[1] == 0 && inside[2] > 0.9) 0 else 1)
R
Rscript "$folder/interval.R"
