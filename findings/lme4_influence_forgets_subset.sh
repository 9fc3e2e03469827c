#!/usr/bin/env bash
# influence() of an lmer fit with subset = deletes groups from all rows of the frame
#
# R 4.2.2, lme4 1.1-31 (Debian 12: r-cran-lme4); lme4 2.1-0 has the same code
#
# One expects: `lmer(..., subset = visit > 2)` is the fit of those rows, so `influence(fit, "id")` refits
#   those rows without one subject at a time, as `dfbeta(lm(..., subset = ))` does, and agrees with
#   influence of `lmer(..., data = d[d$visit > 2, ])`, the same fit.
# What happens: each refit passes its own `subset`, which takes the place of the fit's. The estimates
#   "without a subject" are those of all visits without it, and are compared with a fit of the later
#   visits: every subject seems influential. No message.
# Why it matters: Cook's distances and dfbetas are how one decides which subjects to look at or to leave
#   out; here the most influential subject is 5 instead of 1.
#
# Output seen:
#   fit of later visits:           slope 0.955
#   subset =, without subject 1:   slope 0.972; most influential is subject 5, Cook's distance 0.25
#   data =, without subject 1:     slope 0.858; most influential is subject 1, Cook's distance 0.13
#   refit by hand, late visits:    slope 0.858
#   refit by hand, all visits:     slope 0.972
set -euo pipefail
command -v Rscript > /dev/null || { echo "needs R with lme4" >&2; exit 2; }
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cat > "$folder/influence.R" <<'R'
suppressMessages(library(lme4))
stopifnot(packageVersion("lme4") == "1.1.31")
set.seed(2)
data <- expand.grid(visit = 1:5, id = factor(1:20))
data$x <- rnorm(100)
data$y <- data$x + rnorm(20)[data$id] + rnorm(100)
late <- data[data$visit > 2, ]
by_subset <- lmer(y ~ x + (1 | id), data, subset = visit > 2)
by_data <- lmer(y ~ x + (1 | id), late)
without <- function(label, fit) {
  found <- influence(fit, "id")
  slope <- found[["fixed.effects[-id]"]]["1", "x"]
  cook <- cooks.distance(found)
  cat(sprintf("%-30s slope %.3f; most influential is subject %s, Cook's distance %.2f\n", label, slope,
              levels(late$id)[which.max(cook)], max(cook)))
  slope
}
by_hand <- function(label, rows) {
  slope <- fixef(lmer(y ~ x + (1 | id), rows[rows$id != "1", ]))[["x"]]
  cat(sprintf("%-30s slope %.3f\n", label, slope))
  slope
}
cat(sprintf("%-30s slope %.3f\n", "fit of later visits:", fixef(by_subset)[["x"]]))
seen <- without("subset =, without subject 1:", by_subset)
right <- without("data =, without subject 1:", by_data)
of_late <- by_hand("refit by hand, late visits:", late)
of_all <- by_hand("refit by hand, all visits:", data)
near <- function(a, b) abs(a - b) < 1e-4
quit(status = if (near(seen, of_all) && near(right, of_late) && !near(seen, right)) 0 else 1)
R
Rscript "$folder/influence.R"
