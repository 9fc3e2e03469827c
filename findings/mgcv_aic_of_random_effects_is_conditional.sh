#!/usr/bin/env bash
# AIC of a gam with s(g, bs = "re") is conditional on the random effects, for the likelihood of the same fit
#
# R 4.2.2, mgcv 1.8-41, lme4 1.1-31 (Debian 12: r-cran-mgcv, r-cran-lme4)
#
# One expects: `gam(y ~ x + s(g, bs = "re"), method = "ML")` is the model of `lmer(y ~ x + (1 | g), REML = FALSE)`
#   with its estimates, so its AIC against the model without g is the same.
# What happens: `logLik` and `AIC` of gam are of the rows given the predicted random effects, with effective
#   degrees of freedom for parameters; the likelihood that was maximized is in `fit$gcv.ubre` (its negative).
#   The help page says so under `logLik.gam`; the numbers bear the same name.
# Why it matters: the two answer other questions (these groups, other groups) and are compared with each other
#   across packages. Here g is worth 14 by one and 6 by the other; BIC and likelihood-ratio tests by `logLik` alike.
#
# Output seen:
#   standard deviations:   gam 0.797 0.958, lmer 0.797 0.958
#   AIC with and without g: gam 122.67 137.10, lmer 131.34 137.10
#   -fit$gcv.ubre:         gam -61.669, logLik of lmer -61.669, dense -61.669
set -euo pipefail
command -v Rscript > /dev/null || { echo "needs R with mgcv and lme4" >&2; exit 2; }
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cat > "$folder/conditional.R" <<'R'
suppressMessages({
  library(mgcv)
  library(lme4)
})
stopifnot(packageVersion("mgcv") == "1.8.41", packageVersion("lme4") == "1.1.31")
set.seed(6)
g <- factor(rep(1:10, each = 4))
x <- rnorm(40)
y <- rnorm(10)[g] * 0.7 + rnorm(40) + 0.3 * x
of_gam <- gam(y ~ x + s(g, bs = "re"), method = "ML")
of_lmer <- lmer(y ~ x + (1 | g), REML = FALSE)
plain <- c(AIC(gam(y ~ x, method = "ML")), AIC(lm(y ~ x)))
invisible(capture.output(sds <- gam.vcomp(of_gam)[, "std.dev"]))
other <- c(attr(VarCorr(of_lmer)$g, "stddev"), sigma(of_lmer))
V <- other[1]^2 * outer(g, g, "==") + other[2]^2 * diag(40)
rest <- y - drop(cbind(1, x) %*% fixef(of_lmer))
dense <- -(40 * log(2 * pi) + c(determinant(V)$modulus) + sum(rest * solve(V, rest))) / 2
cat(sprintf("standard deviations:   gam %.3f %.3f, lmer %.3f %.3f\n", sds[1], sds[2], other[1], other[2]))
cat(sprintf("AIC with and without g: gam %.2f %.2f, lmer %.2f %.2f\n", AIC(of_gam), plain[1], AIC(of_lmer), plain[2]))
cat(sprintf("-fit$gcv.ubre:         gam %.3f, logLik of lmer %.3f, dense %.3f\n",
            -of_gam$gcv.ubre, logLik(of_lmer), dense))
seen <- max(abs(sds - other)) < 1e-3 && abs(of_gam$gcv.ubre + dense) < 1e-3 &&
  abs(logLik(of_lmer) - dense) < 1e-6 && AIC(of_lmer) - AIC(of_gam) > 5
quit(status = if (seen) 0 else 1)
R
Rscript "$folder/conditional.R"
