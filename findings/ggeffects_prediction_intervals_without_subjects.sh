#!/usr/bin/env bash
# Prediction intervals of ggeffects leave the variance between subjects out
#
# R 4.2.2, ggeffects 1.2.0, lme4 1.1-31 (Debian 12: r-cran-ggeffects, r-cran-lme4)
#
# One expects: `ggpredict(fit, "arm", type = "random")` gives population-level predictions whose intervals
#   "also consider ... the mean random effect variance", as its help page says, "and hence can be considered
#   as prediction intervals": intervals for the response of a subject that nobody has seen.
# What happens: the variance added to that of the mean is the residual one alone. The interval is right for
#   no response: one of a new subject varies by both variances, the prediction of a known subject has its
#   random effect. "Intervals are prediction intervals", it prints.
# Why it matters: with standard deviations of 3 between subjects and 1 within, 95 % intervals hold 56 %
#   of what new subjects have. `lme` and glmmTMB fits are treated alike.
#
# Output seen:
#   ggpredict:                 standard deviation 1.2776, holds 56 % of new subjects' responses
#   mean and residuals:        standard deviation 1.2776
#   mean, residuals, subjects: standard deviation 3.6056, holds 97 % of new subjects' responses
set -euo pipefail
command -v Rscript > /dev/null || { echo "needs R with ggeffects and lme4" >&2; exit 2; }
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cat > "$folder/predict.R" <<'R'
suppressMessages({
  library(lme4)
  library(ggeffects)
})
stopifnot(packageVersion("ggeffects") == "1.2.0", packageVersion("lme4") == "1.1.31")
set.seed(3)
draw <- function(subjects) {
  data <- expand.grid(visit = 1:4, id = factor(seq_len(subjects)))
  data$arm <- factor(c("a", "b")[as.integer(data$id) %% 2 + 1])
  data$y <- 3 * rnorm(subjects)[data$id] + rnorm(nrow(data))
  data
}
fit <- lmer(y ~ arm + (1 | id), draw(40))
drawn <- ggpredict(fit, "arm", type = "random")
t_value <- qt(0.975, df.residual(fit))
spread <- (drawn$conf.high - drawn$predicted)[1] / t_value
error <- vcov(fit)[1, 1]
alone <- sqrt(error + sigma(fit)^2)
both <- sqrt(error + sigma(fit)^2 + c(VarCorr(fit)$id))
new <- draw(4000)
holds <- function(spread) {
  centre <- drawn$predicted[as.integer(new$arm)]
  mean(abs(new$y - centre) < t_value * spread)
}
cat(sprintf("ggpredict:                 standard deviation %.4f, holds %.0f %% of new subjects' responses\n",
            spread, 100 * holds(spread)))
cat(sprintf("mean and residuals:        standard deviation %.4f\n", alone))
cat(sprintf("mean, residuals, subjects: standard deviation %.4f, holds %.0f %% of new subjects' responses\n",
            both, 100 * holds(both)))
seen <- abs(spread / alone - 1) < 1e-6 && holds(spread) < 0.7 && holds(both) > 0.9
quit(status = if (seen) 0 else 1)
R
Rscript "$folder/predict.R"
