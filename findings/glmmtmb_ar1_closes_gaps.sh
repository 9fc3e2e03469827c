#!/usr/bin/env bash
# ar1 of glmmTMB drops visits without rows, also where the factor has a level for them
#
# R 4.2.2, glmmTMB 1.1.5 (Debian 12: r-cran-glmmtmb); glmmTMB's issue 1278, and still the default in 1.1.15
#
# One expects: in `ar1(0 + visit | id)` with `visit <- factor(visit, levels = 1:8)` nobody seen at
#   visits 3, 4 and 6, visits 2 and 5 are three steps apart. The vignette on covariance structures
#   recommends explicit levels for just this case.
# What happens: levels without rows are dropped before, so visits 1, 2, 5, 7, 8 are steps 1 to 5. The
#   log-likelihood is that of five equally spaced visits, 6.7 lower than with the levels in their
#   places (`ou()` of the numeric visits, a dense likelihood); the correlation of visits 2 and 5 is
#   0.56 where it should be 0.39. No message.
# Why it matters: visits planned unequally (0, 1, 3, 6, 12 months) are what such levels are for; the
#   covariance, and with it every standard error, is of another schedule.
#
# Output seen:
#   ar1, levels 1:8:       log-likelihood -405.66, correlation of visits 2 and 5 0.560
#   ar1, levels with rows: log-likelihood -405.66, correlation of visits 2 and 5 0.560
#   ou, numeric visits:    log-likelihood -399.01, correlation of visits 2 and 5 0.387
#   dense likelihood at ar1's estimates: five steps -405.66
#   dense likelihood at ou's estimates:  the visits -399.01
set -euo pipefail
command -v Rscript > /dev/null || { echo "needs R with glmmTMB" >&2; exit 2; }
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cat > "$folder/steps.R" <<'R'
suppressMessages(library(glmmTMB))
stopifnot(packageVersion("glmmTMB") == "1.1.5")
set.seed(5)
seen <- c(1, 2, 5, 7, 8)
data <- expand.grid(visit = 1:8, id = factor(1:60))
half <- t(chol(0.7^abs(outer(1:8, 1:8, "-"))))
data$y <- as.vector(half %*% matrix(rnorm(480), 8)) + 0.3 * rnorm(480)
data <- data[data$visit %in% seen, ]
data$declared <- factor(data$visit, levels = 1:8)
data$dropped <- factor(data$visit)
data$number <- numFactor(data$visit)
fits <- list(glmmTMB(y ~ 1 + ar1(0 + declared | id), data),
             glmmTMB(y ~ 1 + ar1(0 + dropped | id), data),
             glmmTMB(y ~ 1 + ou(0 + number | id), data))
names(fits) <- c("ar1, levels 1:8:      ", "ar1, levels with rows:", "ou, numeric visits:   ")
between <- function(fit) attr(VarCorr(fit)$cond$id, "correlation")[2, 3]
for (name in names(fits)) {
  cat(sprintf("%s log-likelihood %.2f, correlation of visits 2 and 5 %.3f\n", name,
              logLik(fits[[name]]), between(fits[[name]])))
}
# The log-likelihood of a normal distribution, subject by subject, at the estimates of a fit.
dense <- function(fit, places) {
  random <- VarCorr(fit)$cond$id
  steps <- abs(outer(places, places, "-"))
  rho <- between(fit)^(1 / steps[2, 3])
  V <- random[1, 1] * rho^steps + diag(sigma(fit)^2, 5)
  e <- matrix(data$y - fixef(fit)$cond, 5)
  -0.5 * (length(e) * log(2 * pi) + 60 * c(determinant(V)$modulus) + sum(e * solve(V, e)))
}
five <- dense(fits[[1]], 1:5)
apart <- dense(fits[[3]], seen)
cat(sprintf("dense likelihood at ar1's estimates: five steps %.2f\n", five))
cat(sprintf("dense likelihood at ou's estimates:  the visits %.2f\n", apart))
found <- sapply(fits, logLik)
same <- max(abs(c(five - found[1], apart - found[3], found[1] - found[2]))) < 1e-3
quit(status = if (same && found[3] - found[1] > 5) 0 else 1)
R
Rscript "$folder/steps.R"
