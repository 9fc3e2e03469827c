#!/usr/bin/env bash
# (f || g) of lme4 does not make the effects of a factor independent
#
# R 4.2.2, lme4 1.1-31 (Debian 12: r-cran-lme4)
#
# One expects: `(f || g)` to have no covariances: the variance of the intercept and one for each contrast of f,
#   as `(x1 + x2 || g)` has of numbers. It is written to have fewer parameters than `(f | g)`.
# What happens: the double bar separates terms, and a factor is one term: `(1 | g) + (0 + f | g)`, where the
#   levels of f have all their covariances, and an intercept beside them that the data cannot tell apart.
#   The help page says so; the fit does not.
# Why it matters: for a factor of three levels there are 7 parameters, more than the 6 of `(f | g)`, at the same
#   likelihood, so that AIC and tests charge for one that does nothing. Simplifying a maximal model this
#   way leaves the correlations in.
#
# Output seen:
#   (f || g):       7 parameters, log-likelihood -447.527, largest correlation 0.34
#   (f | g):        6 parameters, log-likelihood -447.527
#   dummies || g:   3 parameters, log-likelihood -454.751
set -euo pipefail
command -v Rscript > /dev/null || { echo "needs R with lme4" >&2; exit 2; }
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cat > "$folder/bar.R" <<'R'
suppressMessages(library(lme4))
stopifnot(packageVersion("lme4") == "1.1.31")
set.seed(2)
data <- expand.grid(f = factor(c("a", "b", "c")), row = 1:3, g = factor(1:30))
effects <- matrix(rnorm(90), 30) %*% chol(matrix(c(1, 0.5, 0.5, 0.5, 1, 0.5, 0.5, 0.5, 1), 3))
data$y <- rnorm(270) + effects[cbind(data$g, data$f)]
data$b <- as.numeric(data$f == "b")
data$c <- as.numeric(data$f == "c")
fit <- function(formula) suppressMessages(suppressWarnings(lmer(formula, data)))
bars <- fit(y ~ f + (f || g))
full <- fit(y ~ f + (f | g))
apart <- fit(y ~ f + (b + c || g))
told <- function(label, fit, rest = "") {
  n <- length(getME(fit, "theta"))
  cat(sprintf("%-15s %d parameters, log-likelihood %.3f%s\n", label, n, logLik(fit), rest))
  n
}
correlations <- attr(VarCorr(bars)[["g.1"]], "correlation")
largest <- max(abs(correlations[upper.tri(correlations)]))
n <- c(told("(f || g):", bars, sprintf(", largest correlation %.2f", largest)),
       told("(f | g):", full), told("dummies || g:", apart))
seen <- identical(n, c(7L, 6L, 3L)) && largest > 0.2 && abs(logLik(bars) - logLik(full)) < 1e-3
quit(status = if (seen) 0 else 1)
R
Rscript "$folder/bar.R"
