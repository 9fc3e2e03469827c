#!/usr/bin/env bash
# drop1 of glmmTMB compares restricted likelihoods of different fixed effects; its test has units
#
# R 4.2.2, glmmTMB 1.1.5, lme4 1.1-31 (Debian 12: r-cran-glmmtmb, r-cran-lme4); 1.1.15 has the same code
#
# One expects: after `REML = TRUE` the models are fitted anew by maximum likelihood, as drop1 of lmer
#   does, or the call is refused, as anova of glmmTMB does ("Can't compare REML fits with different
#   fixed-effect components").
# What happens: the table is made of restricted log-likelihoods, which of two models are of different
#   data. The statistic of x changes with the units of x: it is 0.7 in metres, 14.5 in
#   kilometres and -13.1 in millimetres; by maximum likelihood it is 3.4. No message.
# Why it matters: REML is chosen for its variances, and drop1 is the usual way to tests and AIC of the
#   fixed effects; which terms stay in the model is decided by their units.
#
# Output seen:
#   metres       lmer  3.36 (p 0.067), glmmTMB by ML  3.36 (p 0.067), by REML   0.70 (p 0.4)
#   kilometres   lmer  3.36 (p 0.067), glmmTMB by ML  3.36 (p 0.067), by REML  14.52 (p 0.00014)
#   millimetres  lmer  3.36 (p 0.067), glmmTMB by ML  3.36 (p 0.067), by REML -13.11 (p 1)
#   anova: Can't compare REML fits with different fixed-effect components
set -euo pipefail
command -v Rscript > /dev/null || { echo "needs R with glmmTMB and lme4" >&2; exit 2; }
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cat > "$folder/drop1.R" <<'R'
suppressMessages({
  library(lme4)
  library(glmmTMB)
})
stopifnot(packageVersion("glmmTMB") == "1.1.5")
set.seed(2)
data <- expand.grid(visit = 1:6, id = factor(1:15))
data$metres <- rnorm(90)
data$y <- 0.2 * data$metres + rnorm(15)[data$id] + rnorm(90)
statistics <- sapply(c(metres = 1, kilometres = 1e-3, millimetres = 1e3), function(unit) {
  data$x <- unit * data$metres
  at <- function(fit, column) {
    table <- drop1(fit, test = "Chisq")
    c(table[2, column], table[2, ncol(table)])
  }
  c(at(lmer(y ~ x + (1 | id), data), "LRT"), at(glmmTMB(y ~ x + (1 | id), data), "LRT"),
    at(glmmTMB(y ~ x + (1 | id), data, REML = TRUE), "LRT"))
})
for (unit in colnames(statistics)) {
  cat(sprintf("%-12s lmer %5.2f (p %.3f), glmmTMB by ML %5.2f (p %.3f), by REML %6.2f (p %.2g)\n", unit,
              statistics[1, unit], statistics[2, unit], statistics[3, unit], statistics[4, unit],
              statistics[5, unit], statistics[6, unit]))
}
small <- glmmTMB(y ~ 1 + (1 | id), data, REML = TRUE)
large <- glmmTMB(y ~ metres + (1 | id), data, REML = TRUE)
cat("anova:", tryCatch({anova(small, large); "a table"}, error = conditionMessage), "\n")
spread <- function(row) diff(range(statistics[row, ]))
quit(status = if (spread(1) < 0.01 && spread(3) < 0.01 && spread(5) > 20) 0 else 1)
R
Rscript "$folder/drop1.R"
