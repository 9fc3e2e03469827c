#!/usr/bin/env bash
# cooks.distance of an lmer fit is not how far the fixed effects move: lme4 has two distances
#
# R 4.2.2, lme4 1.1-31 (Debian 12: r-cran-lme4)
#
# One expects: Cook's distance of a row is the squared length of the change of the estimates when the row is
#   deleted, in units of their covariance matrix over their number, as the help page has it of groups.
# What happens: `cooks.distance(influence(fit, obs = TRUE))` is that. `cooks.distance(fit)` puts the
#   leverage of the fitted values, random effects included, into the formula of lm, and divides by the number
#   of fixed effects alone. The two go under one name and no message tells them apart.
# Why it matters: by the usual rule of 4 / n the second flags 4 of 24 rows and the first none. Deletion with
#   the covariances held, from the dense formula, agrees with the first.
#
# Output seen:
#   cooks.distance(fit):                      largest 0.661 0.412 0.268 0.201, above 4 / n: 4
#   cooks.distance(influence(fit, obs=TRUE)): largest 0.143 0.139 0.104 0.087, above 4 / n: 0
#   rows deleted, covariances held, dense:    largest 0.161 0.148 0.121 0.082, above 4 / n: 0
set -euo pipefail
command -v Rscript > /dev/null || { echo "needs R with lme4" >&2; exit 2; }
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cat > "$folder/cook.R" <<'R'
suppressMessages(library(lme4))
stopifnot(packageVersion("lme4") == "1.1.31")
set.seed(3)
data <- expand.grid(visit = 1:4, id = factor(1:6))
data$arm <- factor(c("a", "b")[as.integer(data$id) %% 2 + 1])
data$x <- rnorm(24) + 5
data$y <- 0.3 * data$x + rnorm(6)[data$id] + rnorm(24)
fit <- lmer(y ~ x + arm + (1 | id), data)
X <- getME(fit, "X")
V <- c(VarCorr(fit)$id) * tcrossprod(as.matrix(getME(fit, "Z"))) + diag(24) * sigma(fit)^2
estimates <- function(rows) {
  W <- solve(V[rows, rows])
  solve(t(X[rows, ]) %*% W %*% X[rows, ], t(X[rows, ]) %*% W %*% data$y[rows])
}
moved <- sapply(1:24, function(row) {
  change <- estimates(-row) - estimates(1:24)
  sum(change * solve(as.matrix(vcov(fit)), change)) / 3
})
of_fit <- cooks.distance(fit)
refitted <- suppressWarnings(cooks.distance(influence(fit, obs = TRUE)))
told <- function(name, distance) {
  largest <- paste(sprintf("%.3f", sort(distance, decreasing = TRUE)[1:4]), collapse = " ")
  cat(sprintf("%-41s largest %s, above 4 / n: %d\n", name, largest, sum(distance > 4 / 24)))
}
told("cooks.distance(fit):", of_fit)
told("cooks.distance(influence(fit, obs=TRUE)):", refitted)
told("rows deleted, covariances held, dense:", moved)
seen <- max(of_fit) > 2 * max(refitted) && max(of_fit) > 2 * max(moved)
quit(status = if (seen && cor(moved, refitted) > 0.9) 0 else 1)
R
Rscript "$folder/cook.R"
