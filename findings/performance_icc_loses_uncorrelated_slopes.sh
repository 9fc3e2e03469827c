#!/usr/bin/env bash
# ICC and R2 of performance leave out the slopes of `||`, and a level of `(0 + f | g)`
#
# R 4.2.2, performance 0.10.2, insight 0.19.0, lme4 1.1-31 (Debian 12: r-cran-performance,
# r-cran-insight, r-cran-lme4); insight's issue 304 (closed in 2021); insight 1.5.2 has the same lines
#
# One expects: the variance of random effects is the mean of the diagonal of Z G Z', for `icc`,
#   `r2_nakagawa` and `get_variance` alike: `(x || g)`, whose correlation is estimated as -0.12 by
#   `(x | g)`, has nearly the same ICC, and `(0 + f | g)` and `(f | g)`, one model, the same.
# What happens: terms are looked up by the name of the group, and lme4 calls the second one g.1: the
#   slopes of `||` count as 0, the ICC is 0.33 instead of 0.53. Columns of random effects that are not
#   among the fixed ones are dropped, so of `(0 + f | g)` the first level counts as 0. No message.
# Why it matters: `||` is the usual answer to a fit that does not converge; ICC, R2 and what
#   `model_performance` and `compare_performance` print of it change by that alone.
#
# Output seen:
#   y ~ x + (x | g)      log-likelihood -350.106, ICC 0.5281 (Z G Z' 0.5281), R2 0.5807 (0.5807)
#   y ~ x + (x || g)     log-likelihood -350.131, ICC 0.3308 (Z G Z' 0.5274), R2 0.4311 (0.5798)
#   y ~ f + (f | g)      log-likelihood -356.788, ICC 0.6443 (Z G Z' 0.6443), R2 0.6508 (0.6508)
#   y ~ f + (0 + f | g)  log-likelihood -356.788, ICC 0.5331 (Z G Z' 0.6443), R2 0.5443 (0.6508)
set -euo pipefail
command -v Rscript > /dev/null || { echo "needs R with lme4 and performance" >&2; exit 2; }
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cat > "$folder/icc.R" <<'R'
suppressMessages({
  library(lme4)
  library(performance)
})
stopifnot(packageVersion("performance") == "0.10.2", packageVersion("insight") == "0.19.0")
set.seed(21)
data <- expand.grid(row = 1:6, g = factor(1:30))
data$x <- rnorm(180) + 2
data$f <- factor(rep(c("a", "b", "c"), 60))
data$y <- 1 + 0.5 * data$x + rnorm(30)[data$g] + 0.6 * rnorm(30)[data$g] * data$x +
  rnorm(90)[interaction(data$f, data$g)] + rnorm(180)
by_definition <- function(fit) {
  ZL <- as.matrix(getME(fit, "Z") %*% getME(fit, "Lambda")) * sigma(fit)
  random <- mean(rowSums(ZL^2))
  fixed <- var(as.vector(model.matrix(fit) %*% fixef(fit)))
  c(random / (random + sigma(fit)^2), (random + fixed) / (random + fixed + sigma(fit)^2))
}
models <- c("y ~ x + (x | g)", "y ~ x + (x || g)", "y ~ f + (f | g)", "y ~ f + (0 + f | g)")
off <- sapply(models, function(f) {
  fit <- lmer(formula(f), data)
  right <- by_definition(fit)
  got <- c(icc(fit)$ICC_adjusted, r2_nakagawa(fit)$R2_conditional)
  cat(sprintf("%-20s log-likelihood %.3f, ICC %.4f (Z G Z' %.4f), R2 %.4f (%.4f)\n", f, logLik(fit),
              got[1], right[1], got[2], right[2]))
  max(abs(got - right))
})
quit(status = if (max(off[c(1, 3)]) < 1e-3 && min(off[c(2, 4)]) > 0.05) 0 else 1)
R
Rscript "$folder/icc.R"
