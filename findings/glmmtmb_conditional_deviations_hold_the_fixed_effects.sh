#!/usr/bin/env bash
# The conditional standard deviations of random effects by glmmTMB are not those of lme4
#
# R 4.2.2, glmmTMB 1.1.5, lme4 1.1-31 (Debian 12: r-cran-glmmtmb, r-cran-lme4)
#
# One expects: `ranef(fit)` of both have the variances of the random effects given the data, at the
#   estimates: "see ranef.merMod for details", says glmmTMB's help page, and that the only difference
#   is the attribute's name.
# What happens: lme4's are given the fixed effects too, glmmTMB's are prediction errors: they hold the
#   uncertainty of the fixed effects and of the variances. In three arms of 6 subjects a
#   subject's is 0.626 by glmmTMB and 0.363 by lme4; PROC MIXED's "Std Err Pred", without the
#   uncertainty of the variances, is 0.625. Estimates and likelihoods are equal.
# Why it matters: caterpillar plots, reliabilities and rankings of centres are drawn from them; who moves a
#   script from the one package to the other gets intervals 1.7 times as wide, or as narrow.
#
# Output seen:
#   lme4:     effect of subject 1 1.277, its standard deviation 0.363
#   glmmTMB:  effect of subject 1 1.277, its standard deviation 0.626
#   by hand:  given the fixed effects 0.363, with their uncertainty 0.625
set -euo pipefail
command -v Rscript > /dev/null || { echo "needs R with glmmTMB and lme4" >&2; exit 2; }
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cat > "$folder/deviations.R" <<'R'
suppressMessages({
  library(lme4)
  library(glmmTMB)
})
stopifnot(packageVersion("glmmTMB") == "1.1.5", packageVersion("lme4") == "1.1.31")
set.seed(7)
data <- expand.grid(visit = 1:4, id = factor(1:18))
data$arm <- factor(c("a", "b", "c")[as.integer(data$id) %% 3 + 1])
data$y <- rnorm(18)[data$id] + rnorm(72)
first <- lmer(y ~ arm + (1 | id), data)
second <- glmmTMB(y ~ arm + (1 | id), data, REML = TRUE)
g <- attr(VarCorr(first)$id, "stddev")^2
X <- model.matrix(first)
Z <- as.matrix(getME(first, "Z"))
G <- g * diag(18)
V <- Z %*% G %*% t(Z) + sigma(first)^2 * diag(72)
P <- solve(V) - solve(V, X) %*% solve(t(X) %*% solve(V, X), t(solve(V, X)))
given <- sqrt((G - G %*% t(Z) %*% solve(V, Z) %*% G)[1, 1])
predicted <- sqrt((G - G %*% t(Z) %*% P %*% Z %*% G)[1, 1])
of <- function(fit) as.data.frame(ranef(fit, condVar = TRUE))
line <- function(label, effect, deviation) {
  cat(sprintf("%-9s effect of subject 1 %.3f, its standard deviation %.3f\n", label, effect, deviation))
}
line("lme4:", of(first)$condval[1], of(first)$condsd[1])
line("glmmTMB:", of(second)$condval[1], of(second)$condsd[1])
cat(sprintf("by hand:  given the fixed effects %.3f, with their uncertainty %.3f\n", given, predicted))
same <- abs(logLik(first) - logLik(second)) < 1e-5 && abs(of(first)$condsd[1] / given - 1) < 1e-4
quit(status = if (same && of(second)$condsd[1] > predicted && predicted > 1.3 * given) 0 else 1)
R
Rscript "$folder/deviations.R"
