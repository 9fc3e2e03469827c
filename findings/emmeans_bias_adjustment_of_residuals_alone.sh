#!/usr/bin/env bash
# bias.adjust of emmeans takes the residual standard deviation of a mixed model for that of the response
#
# R 4.2.2, emmeans 1.8.4-1, lme4 1.1-31 (Debian 12: r-cran-emmeans, r-cran-lme4); 2.0.5 has the same default
#
# One expects: after `lmer(log(y) ~ arm + (1 | id))` the adjusted mean of y is by the variance of log(y)
#   about the mean of its arm, that of the subjects and of the residuals, as the vignette does it by
#   hand for a generalized model.
# What happens: the default of `sigma` is `sigma(fit)`, that of the residuals. Where subjects have the
#   larger share of the variance most of the correction is left out. The note under the table names
#   the number, and says nothing of the random effects.
# Why it matters: adjusted means are read as means of the population (costs, concentrations, biomass).
#   Here they are 3.0 where the mean of y is 5.4 (4.5 by both variances, to second order).
#
# Output seen:
#   geometric mean:                2.65
#   bias.adjust = TRUE:            3.00
#   bias.adjust, sigma of both:    4.52
#   mean of y:                     5.37
#   sigma(fit) 0.516, with subjects 1.192
set -euo pipefail
command -v Rscript > /dev/null || { echo "needs R with emmeans and lme4" >&2; exit 2; }
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cat > "$folder/bias.R" <<'R'
suppressMessages({
  library(emmeans)
  library(lme4)
})
stopifnot(packageVersion("emmeans") == "1.8.4.1", packageVersion("lme4") == "1.1.31")
set.seed(1)
data <- expand.grid(visit = 1:4, id = factor(1:400))
data$y <- exp(1 + 0.5 * rnorm(1600) + rnorm(400)[data$id] + 0.5 * (data$visit > 2))
data$late <- factor(data$visit > 2)
fit <- lmer(log(y) ~ late + (1 | id), data)
both <- sqrt(sigma(fit)^2 + VarCorr(fit)$id[1])
shown <- function(label, value) cat(sprintf("%-30s %.2f\n", label, value))
mean_of <- function(...) {
  as.data.frame(emmeans(fit, ~ late, type = "response", lmer.df = "asymptotic", ...))$response[1]
}
plain <- mean_of()
adjusted <- mean_of(bias.adjust = TRUE)
right <- mean_of(bias.adjust = TRUE, sigma = both)
shown("geometric mean:", plain)
shown("bias.adjust = TRUE:", adjusted)
shown("bias.adjust, sigma of both:", right)
shown("mean of y:", mean(data$y[data$late == "FALSE"]))
cat(sprintf("sigma(fit) %.3f, with subjects %.3f\n", sigma(fit), both))
by <- function(sd) plain * (1 + sd^2 / 2)
seen <- abs(adjusted / by(sigma(fit)) - 1) < 1e-6 && abs(right / by(both) - 1) < 1e-6
quit(status = if (seen && adjusted < 0.8 * right) 0 else 1)
R
Rscript "$folder/bias.R"
