#!/usr/bin/env bash
# Profile limits of a fit by REML are those of maximum likelihood in lme4, without a word
#
# R 4.2.2, lme4 1.1-31 (Debian 12: r-cran-lme4); the help pages of confint and profile do not speak of REML
#
# One expects: the limits that `confint(fit)` gives for the standard deviation of a random effect belong to
#   the likelihood that was maximised: lmer's default is the restricted one.
# What happens: `profile`, and so `confint`, fits the model anew by maximum likelihood. The limits are those
#   of `refitML(fit)` and centred on its estimate, which is too small by the fixed effects between groups.
#   Those of the restricted profile, from its dense formula, are far wider above.
# Why it matters: of 10 subjects and 4 covariates of subjects the table shows a standard deviation of 1.41
#   with limits 0.59 to 1.68; the restricted likelihood has 0.79 to 3.16. REML was chosen for just this.
#
# Output seen:
#   lmer by REML:                  1.4109, confint 0.5943 to 1.6822
#   lmer by ML:                    0.9627, confint 0.5943 to 1.6822
#   restricted likelihood, dense:  1.4109, profile 0.7883 to 3.1566
#   likelihood, dense:             0.9627, profile 0.5943 to 1.6822
set -euo pipefail
command -v Rscript > /dev/null || { echo "needs R with lme4" >&2; exit 2; }
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cat > "$folder/limits.R" <<'R'
suppressMessages(library(lme4))
stopifnot(packageVersion("lme4") == "1.1.31")
set.seed(5)
data <- expand.grid(visit = 1:6, id = factor(1:10))
for (name in paste0("z", 1:4)) data[[name]] <- rnorm(10)[data$id]
data$y <- rnorm(10)[data$id] * 1.5 + rnorm(60)
fit <- lmer(y ~ z1 + z2 + z3 + z4 + (1 | id), data)
X <- getME(fit, "X")
blocks <- tcrossprod(as.matrix(getME(fit, "Z")))
criterion <- function(sd, sigma, reml) {
  V <- sd^2 * blocks + diag(60) * sigma^2
  VX <- solve(V, X)
  A <- crossprod(X, VX)
  r <- data$y - X %*% solve(A, crossprod(VX, data$y))
  size <- function(M) c(determinant(M)$modulus)
  size(V) + sum(r * solve(V, r)) + if (reml) size(A) else 0
}
dense <- function(reml) {
  at <- function(sd) optimize(function(sigma) criterion(sd, sigma, reml), c(0.3, 3), tol = 1e-9)$objective
  best <- optimize(at, c(0, 5), tol = 1e-7)
  above <- function(sd) at(sd) - best$objective - qchisq(0.95, 1)
  c(best$minimum, uniroot(above, c(0, best$minimum))$root, uniroot(above, c(best$minimum, 20))$root)
}
of <- function(fit) c(attr(VarCorr(fit)$id, "stddev"), confint(fit, ".sig01", quiet = TRUE))
told <- function(name, three, word) {
  cat(sprintf("%-30s %.4f, %s %.4f to %.4f\n", name, three[1], word, three[2], three[3]))
  unname(three)
}
reml <- told("lmer by REML:", of(fit), "confint")
ml <- told("lmer by ML:", of(refitML(fit)), "confint")
restricted <- told("restricted likelihood, dense:", dense(TRUE), "profile")
plain <- told("likelihood, dense:", dense(FALSE), "profile")
near <- function(a, b) all(abs(a / b - 1) < 0.002)
seen <- near(reml[1], restricted[1]) && near(reml[2:3], plain[2:3]) && near(ml, plain)
quit(status = if (seen && restricted[3] > 1.5 * reml[3]) 0 else 1)
R
Rscript "$folder/limits.R"
