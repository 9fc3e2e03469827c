#!/usr/bin/env bash
# weights of glmmTMB count rows; they are not those of glm and lmer
#
# R 4.2.2, glmmTMB 1.1.5, lme4 1.1-31 (Debian 12: r-cran-glmmtmb, r-cran-lme4); glmmTMB's issues 285
# and 638, and still so in 1.1.15
#
# One expects: "weights, as in glm", the help page says. There, and in lmer, a row of weight w has the
#   residual variance sigma^2 / w, and weights of 4 for all rows change neither the coefficients nor
#   their standard errors.
# What happens: the log-likelihood of a row is multiplied by its weight. With weights of 4 the fit is
#   that of a table with each row four times: the standard error is 0.072 instead of 0.156, and the
#   variances and coefficients change too.
# Why it matters: 1 / se^2 of first-stage means, numbers of plants or cells a mean is of, are weights
#   that lmer, lme and SAS take for precisions. The same call says that there is 4 times the data.
#
# Output seen:
#   lmer,    no weights:     x 1.0896, se 0.1561, sd of groups 1.327
#   lmer,    weights of 4:   x 1.0896, se 0.1561, sd of groups 1.327
#   glmmTMB, no weights:     x 1.0896, se 0.1565, sd of groups 1.327
#   glmmTMB, weights of 4:   x 1.1073, se 0.0723, sd of groups 1.406
#   glmmTMB, rows 4 times:   x 1.1073, se 0.0723, sd of groups 1.406
set -euo pipefail
command -v Rscript > /dev/null || { echo "needs R with glmmTMB and lme4" >&2; exit 2; }
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cat > "$folder/weights.R" <<'R'
suppressMessages({
  library(lme4)
  library(glmmTMB)
})
stopifnot(packageVersion("glmmTMB") == "1.1.5", packageVersion("lme4") == "1.1.31")
set.seed(2)
data <- expand.grid(row = 1:5, g = factor(1:10))
data$x <- rnorm(50)
data$y <- data$x + rnorm(10)[data$g] + rnorm(50)
data$w <- 4
told <- function(name, slope, sd) {
  cat(sprintf("%s x %.4f, se %.4f, sd of groups %.3f\n", name, slope[1], slope[2], sd))
  c(slope[1:2], sd)
}
of_lmer <- function(name, ...) {
  fit <- lmer(y ~ x + (1 | g), data, REML = FALSE, ...)
  told(name, coef(summary(fit))["x", ], attr(VarCorr(fit)$g, "stddev"))
}
of_tmb <- function(name, rows = data, ...) {
  fit <- glmmTMB(y ~ x + (1 | g), rows, ...)
  told(name, coef(summary(fit))$cond["x", ], attr(VarCorr(fit)$cond$g, "stddev"))
}
plain <- of_lmer("lmer,    no weights:    ")
precise <- of_lmer("lmer,    weights of 4:  ", weights = data$w)
tmb <- of_tmb("glmmTMB, no weights:    ")
counted <- of_tmb("glmmTMB, weights of 4:  ", weights = data$w)
copied <- of_tmb("glmmTMB, rows 4 times:  ", data[rep(1:50, each = 4), ])
same <- max(abs(plain - precise)) < 1e-4 && max(abs(counted - copied)) < 1e-4
quit(status = if (same && counted[2] < tmb[2] / 2) 0 else 1)
R
Rscript "$folder/weights.R"
