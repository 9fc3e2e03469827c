#!/usr/bin/env bash
# tidy of broom.mixed puts limits of standard deviations beside variances
#
# R 4.2.2, broom.mixed 0.2.9.4, lme4 1.1-31 (Debian 12: r-cran-broom.mixed, r-cran-lme4); broom.mixed's
# issues 94 (2020) and 161 (of 0.2.9.6, 2026)
#
# One expects: `tidy(fit, effects = "ran_pars", scales = "vcov", conf.int = TRUE)` has variances and
#   covariances and limits of them, so that an estimate is within its limits.
# What happens: the estimates are variances, named var__ and cov__; `conf.low` and `conf.high` are those of
#   the standard deviations and the correlation. No message.
# Why it matters: it is the table that goes to a report. Where standard deviations are near 1 the limits look
#   right: a covariance of 0.585 has those of a correlation of 0.404. The residual variance, 0.268, stands
#   beside 0.469 to 0.576.
#
# Output seen:
#   sd__(Intercept)         1.236, limits  0.939 to 1.626;  var__(Intercept)        1.528, limits  0.939 to 1.626
#   cor__(Intercept).visit  0.404, limits  0.049 to 0.670;  cov__(Intercept).visit  0.585, limits  0.049 to 0.670
#   sd__visit               1.173, limits  0.912 to 1.521;  var__visit              1.375, limits  0.912 to 1.521
#   sd__Observation         0.518, limits  0.469 to 0.576;  var__Observation        0.268, limits  0.469 to 0.576
set -euo pipefail
command -v Rscript > /dev/null || { echo "needs R with broom.mixed and lme4" >&2; exit 2; }
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cat > "$folder/tidy.R" <<'R'
suppressMessages({
  library(lme4)
  library(broom.mixed)
})
stopifnot(packageVersion("broom.mixed") == "0.2.9.4", packageVersion("lme4") == "1.1.31")
set.seed(2)
data <- expand.grid(visit = 0:7, id = factor(1:30))
level <- rnorm(30)
data$y <- level[data$id] + (0.5 * level + rnorm(30))[data$id] * data$visit + rnorm(240) * 0.5
fit <- lmer(y ~ visit + (visit | id), data)
of <- function(scale) {
  suppressMessages(tidy(fit, effects = "ran_pars", scales = scale, conf.int = TRUE, conf.method = "profile"))
}
deviations <- of("sdcor")
variances <- of("vcov")
for (row in 1:4) {
  cat(sprintf("%-22s %6.3f, limits %6.3f to %.3f;  %-22s %6.3f, limits %6.3f to %.3f\n", deviations$term[row],
              deviations$estimate[row], deviations$conf.low[row], deviations$conf.high[row],
              variances$term[row], variances$estimate[row], variances$conf.low[row], variances$conf.high[row]))
}
same <- isTRUE(all.equal(deviations$conf.low, variances$conf.low))
outside <- variances$estimate[4] < variances$conf.low[4]
quit(status = if (same && outside && grepl("^var", variances$term[1])) 0 else 1)
R
Rscript "$folder/tidy.R"
