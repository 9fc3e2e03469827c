#!/usr/bin/env bash
# rma.mv of metafor makes a correlation matrix of a relationship matrix, unless told otherwise
#
# R 4.2.2, metafor 3.8-1 (Debian 12: r-cran-metafor)
#
# One expects: `rma.mv(y, v, random = ~ 1 | animal, R = list(animal = A))` to be the model with the
#   covariance sigma2 * A, as relationship matrices enter elsewhere: its diagonal is 1 + the inbreeding of an
#   animal, and sigma2 the variance of a base population.
# What happens: the default is `Rscale = "cor"`: A is divided by the roots of its diagonal before the fit.
#   No warning, nothing in `print` or `summary`. A matrix with a diagonal of 1 is left as it is.
# Why it matters: where animals or lines are inbred (selfed lines: 2) it is another model. Variance, likelihood,
#   the mean and its standard error differ from those of the matrix that was given.
#
# Output seen:
#   as called:            sigma2 3.288, log-likelihood -66.747, mean 0.509 (0.863)
#   Rscale = "none":      sigma2 2.618, log-likelihood -66.573, mean 0.519 (0.827)
#   A as given, dense:    sigma2 2.618, log-likelihood -66.573, mean 0.519 (0.827)
#   A as correlations:    sigma2 3.288, log-likelihood -66.747, mean 0.509 (0.863)
set -euo pipefail
command -v Rscript > /dev/null || { echo "needs R with metafor" >&2; exit 2; }
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cat > "$folder/scale.R" <<'R'
suppressMessages(library(metafor))
stopifnot(packageVersion("metafor") == "3.8.1")
set.seed(1)
A <- diag(c(1, 1, 1.25, 1.5, 1.1, 1.3))
related <- rbind(c(1, 3, 0.5), c(2, 3, 0.5), c(3, 4, 0.75), c(1, 5, 0.5))
A[related[, 1:2]] <- A[related[, 2:1]] <- related[, 3]
dimnames(A) <- list(1:6, 1:6)
data <- data.frame(animal = factor(rep(1:6, each = 8)), v = 1)
data$y <- c(t(chol(A)) %*% rnorm(6) * 1.5)[data$animal] + rnorm(48)
fit <- function(...) {
  found <- rma.mv(y, v, random = ~ 1 | animal, R = list(animal = A), data = data, ...)
  c(found$sigma2, logLik(found), coef(found), found$se)
}
# The restricted likelihood of a mean from V itself.
dense <- function(K) {
  Z <- model.matrix(~ animal - 1, data)
  at <- function(sigma2) {
    W <- solve(sigma2 * Z %*% K %*% t(Z) + diag(48))
    total <- sum(W)
    mean <- sum(W %*% data$y) / total
    rest <- data$y - mean
    logdet <- -determinant(W)$modulus
    value <- -(47 * log(2 * pi) - log(48) + logdet + log(total) + c(t(rest) %*% W %*% rest)) / 2
    c(sigma2, value, mean, 1 / sqrt(total))
  }
  at(optimize(function(s) at(s)[2], c(0, 20), maximum = TRUE, tol = 1e-8)$maximum)
}
told <- function(label, x) {
  cat(sprintf("%-21s sigma2 %.3f, log-likelihood %.3f, mean %.3f (%.3f)\n", label, x[1], x[2], x[3], x[4]))
  x
}
called <- told("as called:", fit())
none <- told("Rscale = \"none\":", fit(Rscale = "none"))
given <- told("A as given, dense:", dense(A))
as_correlations <- told("A as correlations:", dense(cov2cor(A)))
same <- function(a, b) max(abs(a - b)) < 1e-3
seen <- same(called, as_correlations) && same(none, given) && called[1] > 1.2 * given[1]
quit(status = if (seen) 0 else 1)
R
Rscript "$folder/scale.R"
